"""Market states: what each refuses, how much may be liquidated while guarded, and that all resolves afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.houses import opened as without_oracle
from tests.oracle_houses import (
    GUARDED_AT_10,
    SECOND,
    START,
    at,
    buy,
    calls,
    changes,
    done,
    fund,
    health,
    line,
    liquidated,
    mark,
    opened,
    quotes,
    refused,
    rules_text,
    units,
)

from marginkeep.book.columns import MARKET, SIZE
from marginkeep.clearing import (
    AdoptRulebook,
    Clearinghouse,
    Deposit,
    Liquidated,
    PayFunding,
    Withdraw,
    check_conservation,
    restore_snapshot,
    take_snapshot,
)
from marginkeep.clearing.commands import Halt, Resume
from marginkeep.clearing.events import MarketHeld
from marginkeep.rulebook.oracle_rules import GUARDED, MARKET_STATES

BREAKERS = {"breakers": {"BTC-PERP": GUARDED_AT_10}, "feeds__BTC": {"volatile_band": "0"}}
ALLOWED = {
    "open": {"open"},
    "reduce": {"open", "reduce_only", "guarded"},
    "withdraw": {"open", "reduce_only"},
    "fund": {"open", "reduce_only", "guarded"},
    "liquidate": {"open", "reduce_only", "guarded"},
    "deposit": set(MARKET_STATES),
}


def state(house: Clearinghouse, market: str = "BTC-PERP") -> str:
    return line(house, market).state_name


def with_positions(**changed) -> Clearinghouse:
    """A house in which ann is long and rich, and bob long with little."""
    house = opened(**changed)
    for name, amount in (("ann", 500_000), ("bob", 3_000)):
        fund(house, name, amount)
        done(house, buy(house, name, "BTC-PERP", 1_000))
    return house


def command_for(action: str, house: Clearinghouse):
    return {
        "open": buy(house, "ann", "BTC-PERP", 1),
        "reduce": buy(house, "ann", "BTC-PERP", -1),
        "withdraw": Withdraw(account="ann", asset="USD", amount=1),
        "fund": PayFunding(market="BTC-PERP", rate=1),
        "deposit": Deposit(account="ann", asset="USD", amount=1),
    }[action]


# What each state refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", MARKET_STATES)
@pytest.mark.parametrize("action", [action for action in ALLOWED if action != "liquidate"])
def test_each_state_refuses_what_it_must_and_nothing_else(held, action):
    house = with_positions()
    if held != "open":
        events = done(house, Halt(market="BTC-PERP", state=held))
        assert changes(events, "market") == [("BTC-PERP", "open", held)]
    if held in ALLOWED[action]:
        done(house, command_for(action, house))
        return
    answer = refused(house, command_for(action, house))
    assert answer.code == "price"
    assert f"it is {held}: held at {held} by the operator since {START * SECOND} ns" in answer.reason
    assert (answer.prices[0].name, answer.prices[0].state) == ("BTC-PERP", held)


@pytest.mark.parametrize("held", MARKET_STATES)
def test_only_a_halted_market_liquidates_nothing(held):
    house = with_positions()
    if held != "open":
        done(house, Halt(market="BTC-PERP", state=held))
    events = done(house, quotes(START + 1, BTC=47_000))
    assert liquidated(events) == (["bob"] if held in ALLOWED["liquidate"] else [])
    assert calls(events) == ([] if held in ALLOWED["liquidate"] else ["bob"])


def test_a_hold_and_its_end_are_events_also_when_the_state_stays():
    house = with_positions(**BREAKERS)
    done(house, quotes(START + 1, BTC=39_000))
    assert done(house, Halt(market="BTC-PERP")) == (MarketHeld(market="BTC-PERP", state="halted"),)
    assert done(house, Resume(market="BTC-PERP")) == (MarketHeld(market="BTC-PERP", state="open"),)
    assert done(house, Resume()) == (MarketHeld(market=None, state="open"),)


def test_a_hold_of_one_market_leaves_the_others_alone():
    house = with_positions()
    done(house, Halt(market="BTC-PERP"))
    done(house, buy(house, "ann", "ETH-PERP", 10))
    fund(house, "eve", 10_000)
    done(house, buy(house, "eve", "ETH-PERP", 10))
    done(house, Withdraw(account="eve", asset="USD", amount=1))
    assert refused(house, Withdraw(account="ann", asset="USD", amount=1)).prices[0].name == "BTC-PERP"


def test_an_operator_can_hold_only_what_the_oracle_marks():
    assert refused(opened(), Halt(market="COIN-PERP")).code == "no_mark"
    assert refused(opened(), Halt(market="DOGE-PERP")).code == "unknown_market"
    assert refused(opened(), Halt(state="open")).code == "bad_choice"
    assert refused(opened(), Resume(market="COIN-PERP")).code == "no_mark"
    assert refused(without_oracle(), Halt()).code == "no_oracle"
    assert refused(without_oracle(), Resume()).code == "no_oracle"


# Breakers ----------------------------------------------------------------------------------------------------------


def test_a_crash_closes_a_market_by_degrees_and_time_opens_it_again_by_degrees():
    house = with_positions(**BREAKERS)
    seen = []
    path = [(1, 47_000), (2, 44_500), (3, 39_500), *((second, 39_500) for second in range(5, 400, 5))]
    for second, btc in path:
        seen += changes(done(house, quotes(START + second, BTC=btc)), "market")
    names = [(before, after) for _, before, after in seen]
    assert names[:3] == [("open", "reduce_only"), ("reduce_only", "guarded"), ("guarded", "halted")]
    assert names[3:] == [("halted", "guarded"), ("guarded", "reduce_only"), ("reduce_only", "open")]


def test_a_breach_says_which_price_broke_which_bound():
    house = with_positions(**BREAKERS)
    events = done(house, quotes(START + 1, BTC=44_500))
    why = next(event.why for event in events if getattr(event, "what", "") == "market")
    assert "price 445000" in why
    assert "outside 450000 to 550000, the bounds around 500000" in why
    answer = refused(house, buy(house, "ann", "BTC-PERP", 1))
    assert "it is guarded: price 445000" in answer.reason


def test_a_rise_closes_a_market_as_well():
    house = with_positions(**BREAKERS)
    assert changes(done(house, quotes(START + 1, BTC=60_500)), "market") == [("BTC-PERP", "open", "halted")]


def test_a_resume_ends_the_hold_and_not_what_the_breaker_has_done():
    house = with_positions(**BREAKERS)
    done(house, Halt(market="BTC-PERP"))
    done(house, quotes(START + 1, BTC=44_500))
    assert state(house) == "halted"
    events = done(house, Resume(market="BTC-PERP"))
    assert changes(events, "market") == [("BTC-PERP", "halted", "guarded")]


# Bounded liquidation -----------------------------------------------------------------------------------------------


def crowd(house: Clearinghouse, count: int = 12, lots: int = 400) -> None:
    """Longs of 20,000 dollars each, with 1,200 each: all fall at about the same price; hedged by one large short."""
    for number in range(count):
        fund(house, f"long{number:02}", 1_200)
        done(house, buy(house, f"long{number:02}", "BTC-PERP", lots))


def open_interest(house: Clearinghouse, market: str = "BTC-PERP") -> int:
    rows = house.state.book.position_rows()
    sizes = rows[rows[:, MARKET] == house.state.tables.market_index[market], SIZE]
    return int(sizes[sizes > 0].sum())


class Budget:
    """What the rule of a guarded market allows, reckoned from the events alone: the share of each interval."""

    def __init__(self) -> None:
        self.started = self.spent = 0
        self.most = 0

    def check(self, events, before: int, after: int, now: int, is_guarded: bool) -> None:
        lots = sum(abs(s.size) for e in events if isinstance(e, Liquidated) for s in e.steps if s.name == "BTC-PERP")
        if not is_guarded or not lots:
            return
        if now >= self.started + 10 * SECOND:
            self.started, self.spent, self.most = now, 0, 0
        self.spent += lots
        self.most = max(self.most, before, after)
        assert self.spent <= max(1, self.most // 50)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(-120, 40)), min_size=5, max_size=40))
@pytest.mark.without_shadows("one house after another; the seeded worlds have shadows")
def test_while_guarded_no_interval_liquidates_more_than_its_share_of_open_interest(path):
    house, budget = opened(**BREAKERS), Budget()
    crowd(house)
    seconds, btc = START, 50_000
    for step, move in [(1, -1_000), (1, -100), *path]:
        seconds, btc = seconds + step, max(10_000, btc + btc * move // 1_000)
        before = open_interest(house)
        events = done(house, quotes(seconds, BTC=btc))
        is_guarded = line(house, "BTC-PERP").state >= GUARDED
        budget.check(events, before, open_interest(house), seconds * SECOND, is_guarded)
        if state(house) == "halted":
            assert liquidated(events) == []
        check_conservation(house)
        below = {name for name in house.state.index if health(house, name) < 0}
        assert below <= set(house.state.called)


def test_what_may_not_be_liquidated_in_this_interval_is_called_and_liquidated_in_a_later_one():
    house = opened(**BREAKERS)
    crowd(house)
    share = open_interest(house) // 50
    assert share == 96
    first = done(house, quotes(START + 1, BTC=44_500))
    assert state(house) == "guarded"
    assert closed_lots(first) == share
    assert len(calls(first)) == 12
    blocked = next(e for e in first if getattr(e, "missing", 0)).because
    assert "the share of open interest that may be liquidated in this interval is used up" in blocked
    assert closed_lots(done(house, quotes(START + 5, BTC=44_500))) == 0
    assert closed_lots(done(house, at(START + 10.9))) == 0
    later = done(house, at(START + 11))
    assert closed_lots(later) == share
    assert calls(later) == []


def closed_lots(events) -> int:
    return sum(abs(step.size) for event in events if isinstance(event, Liquidated) for step in event.steps)


@pytest.mark.parametrize("hold", [None, "halted", "guarded"])
def test_after_a_crash_everybody_is_well_again_in_bounded_steps(hold):
    """Liveness: when the price rests, the market re-opens, and no account stays below maintenance or called."""
    house = opened(**BREAKERS)
    crowd(house)
    if hold:
        done(house, Halt(market="BTC-PERP", state=hold))
    for second in range(1, 30):
        done(house, quotes(START + second, BTC=44_600 - 200 * second))
    assert house.state.called
    if hold:
        done(house, Resume(market="BTC-PERP"))
    for second in range(30, 400, 10):
        done(house, quotes(START + second, BTC=38_800))
    assert state(house) == "open"
    assert house.state.called == {}
    assert all(health(house, name) >= 0 for name in house.state.index)
    check_conservation(house)


def test_a_halt_stops_a_cascade_and_top_ups_save_those_who_make_them():
    house = opened(**BREAKERS)
    crowd(house, count=4)
    events = done(house, quotes(START + 1, BTC=39_000))
    assert state(house) == "halted"
    assert liquidated(events) == []
    called = calls(events)
    assert called == ["long00", "long01", "long02", "long03"]
    missing = {e.account: e.missing for e in events if getattr(e, "missing", 0)}
    done(house, Deposit(account="long00", asset="USD", amount=missing["long00"]))
    assert "long00" not in house.state.called
    sold = []
    for second in range(2, 400, 5):
        sold += liquidated(done(house, quotes(START + second, BTC=39_000)))
    assert set(sold) == {"long01", "long02", "long03"}
    assert house.state.called == {}


# Venue -------------------------------------------------------------------------------------------------------------


def test_when_enough_markets_are_guarded_all_are_and_return_together():
    house = opened(
        breakers={"BTC-PERP": GUARDED_AT_10, "ETH-PERP": GUARDED_AT_10},
        venue_breaker={"markets": 2, "state": "guarded"},
        feeds__BTC={"volatile_band": "0"},
        feeds__ETH={"volatile_band": "0"},
    )
    fund(house, "ann", 100_000)
    fund(house, "eve", 100_000)
    done(house, buy(house, "eve", "ETH-USDC", 10))
    events = done(house, quotes(START + 1, BTC=44_500))
    assert changes(events, "market") == [("BTC-PERP", "open", "guarded")]
    events = done(house, quotes(START + 2, ETH=2_600))
    assert {name for name, _, after in changes(events, "market") if after == "guarded"} == {
        "ETH-PERP",
        "BTC-INV",
        "ETH-USDC",
    }
    answer = refused(house, Withdraw(account="eve", asset="USD", amount=1))
    assert "it is guarded: the whole venue is guarded" in answer.reason
    assert refused(house, buy(house, "ann", "BTC-INV", 1)).prices[0].state == "guarded"
    for second in range(3, 300):
        done(house, quotes(START + second, BTC=44_500, ETH=2_600, USDC=1))
    assert {state(house, name) for name in ("BTC-PERP", "ETH-PERP", "BTC-INV", "ETH-USDC")} == {"open"}
    done(house, buy(house, "ann", "BTC-INV", 1))


def test_an_operator_holds_and_resumes_the_whole_venue():
    house = with_positions()
    events = done(house, Halt())
    assert {after for _, _, after in changes(events, "market")} == {"halted"}
    assert len(changes(events, "market")) == 4
    assert "the whole venue is halted" in refused(house, buy(house, "ann", "ETH-PERP", 1)).reason
    done(house, Halt(market="BTC-PERP", state="reduce_only"))
    events = done(house, Resume())
    assert ("BTC-PERP", "halted", "reduce_only") in changes(events, "market")
    assert state(house, "ETH-PERP") == "open"


# Holds last --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("market", [None, "BTC-PERP"])
@pytest.mark.parametrize("changed", [{}, {"stable": {}}, {"breakers": {"BTC-PERP": {"triggers": []}}}])
def test_an_operators_hold_survives_a_rulebook_and_a_restart(market, changed):
    house = with_positions(**BREAKERS)
    done(house, Halt(market=market, state="reduce_only"))
    done(house, AdoptRulebook(rules=rules_text(**{**BREAKERS, **changed})))
    house = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert state(house) == "reduce_only"
    done(house, quotes(START + 60, BTC=50_000))
    assert refused(house, buy(house, "ann", "BTC-PERP", 1)).prices[0].state == "reduce_only"
    done(house, Resume(market=market))
    done(house, buy(house, "ann", "BTC-PERP", 1))


def test_what_a_breaker_has_done_survives_a_restart_and_a_rulebook_that_leaves_it_alone():
    house = with_positions(**BREAKERS)
    done(house, quotes(START + 1, BTC=44_500))
    done(house, AdoptRulebook(rules=rules_text(**BREAKERS, stable={}, actions={"fund": ["valid"]})))
    house = restore_snapshot(house.state.rulebook, take_snapshot(house))
    done(house, quotes(START + 2, BTC=44_500))
    assert state(house) == "guarded"
    assert mark(house, "BTC-PERP") == 445_000
    assert units(1) == 10**6
