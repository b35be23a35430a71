"""The ladder as a whole: liveness by time alone, nobody forgotten, halted markets, and rules that take it away."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import oracle_houses
from tests.clearing.ladder_world import AUCTIONS, CALLS, FULL, IMPACT, SECOND, SOFT, World, check_all, watched
from tests.clearing.test_margin_calls import CALLED_AT, START, at, house_of_ann, rung_of
from tests.clearing.test_soft_steps import lots_of
from tests.ladder_houses import TIERS, check_books, fund, kinds, only, opened, prices, rules_text, usd

from marginkeep.book.health import measure
from marginkeep.clearing import (
    AdoptRulebook,
    Clearinghouse,
    Deposit,
    Halt,
    Liquidated,
    MarginCalled,
    Rejected,
    Resume,
    Trade,
    Withdraw,
    check_conservation,
    ladder,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.clearing.events import AuctionOpened, CallReminded, RungChanged
from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.impact import most_lots
from marginkeep.rulebook import MAINTENANCE, read_rulebook
from marginkeep.units import ceil_div

SOME = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))

EACH_RUNG = [("called", CALLED_AT), ("soft", 47_970), ("auction", 47_650)]
WHOLE = {**FULL, "impact": {}}


def rungs_of(events: tuple) -> list[str]:
    return [change.after for change in only(events, RungChanged)]


def on(rung: str, price: float, rungs: dict = WHOLE) -> Clearinghouse:
    """Ann on a rung."""
    house = house_of_ann(rungs)
    house.apply(prices(price))
    assert rung_of(house) == rung
    return house


# Liveness --------------------------------------------------------------------------------------------------------


def bound_ns(house: Clearinghouse) -> int:
    """How long everybody who is ill now may stay so while prices stand still, by the rules alone.

    A call's deadline, the paced reduction and one step, every run of an auction, and the intervals that it takes to
    close every lot that is open.
    """
    rules, state = house.state.rulebook.ladder, house.state
    bound = rules.calls.deadline_ns if rules.calls else 0
    if rules.soft:
        bound += rules.soft.duration_ns + rules.soft.step_ns
    if rules.auctions:
        bound += rules.auctions.duration_ns * (rules.auctions.restarts + 1)
    for impact in rules.impacts:
        lots = 2 * state.open_interest[state.tables.market_index[impact.market]]
        bound += impact.interval_ns * (ceil_div(lots, most_lots(impact)) + len(state.ill) + 1)
    return bound


@SOME
@given(
    st.integers(0, 10**6),
    st.sampled_from([FULL, WHOLE, {"soft": SOFT}, {"calls": CALLS}, {"auctions": AUCTIONS, "impact": IMPACT}]),
    st.floats(0.93, 1.06),
    st.booleans(),
)
def test_when_prices_stop_everything_is_resolved_in_bounded_time(seed, rungs, crash, with_watch):
    house, world = opened(rungs), World(seed, adopts=False)
    house = watched(house) if with_watch else house
    world.begin(house)
    world.btc *= crash
    world.eth *= random.Random(seed).uniform(0.93, 1.06)
    house.apply(prices(world.btc, world.eth))
    began, bound = house.state.now_ns, bound_ns(house)
    while house.state.ill and house.state.now_ns - began <= bound:
        events = at(house, house.state.now_ns / SECOND + 5)
        check_all(house, events)
    assert not house.state.ill, {name: rung_of(house, name) for name in house.state.ill}
    check_conservation(house)


def test_without_calls_the_target_alone_heals():
    """A target milder than the call level: forced reduction ends at it all the same."""
    tiers = [{**TIERS[0], "target": "0.02"}]
    market = {"settle": "USD", "tiers": tiers, "lot": "0.001", "tick": "0.1", "max_price": "1000000"}
    house = house_of_ann({"dust": "0"}, markets={"BTC-PERP": market, "ETH-PERP": market})
    events = house.apply(prices(47_800))
    assert rungs_of(events) == ["partial", "healthy"]
    assert 0 < lots_of(house) < 1_000
    assert not house.state.ill


def test_the_house_takes_what_no_auction_sold_and_begins_no_other():
    """The budget needs several intervals for what the auction leaves; each is used by the clock alone."""
    impact = {"BTC-PERP": {"depth": "1", "impact": "0.001", "share": "0.2", "interval": "10s"}}
    house = on("auction", 47_650, {"auctions": AUCTIONS, "impact": impact})
    opened_once = 0
    for seconds in range(1, 140):
        events = at(house, START + seconds)
        opened_once += len(only(events, AuctionOpened))
        assert seconds >= 60 or lots_of(house) == 1_000
    assert opened_once == 0
    assert lots_of(house) < 1_000
    assert not house.state.ill


# Nobody is forgotten ---------------------------------------------------------------------------------------------


@SOME
@given(st.integers(0, 10**6), st.lists(st.floats(0.96, 1.03), min_size=1, max_size=8))
def test_a_scan_a_watch_and_a_restored_house_find_the_same_accounts(seed, moves):
    plain, kept = opened(FULL), watched(opened(FULL))
    for house in (plain, kept):
        World(seed).begin(house)
    other = restore_snapshot(plain.state.rulebook, take_snapshot(plain))
    btc = 50_000.0
    for number, move in enumerate(moves):
        btc *= move
        for command in (prices(btc), None):
            answers = [
                house.apply(command) if command else at(house, 100 * (number + 1)) for house in (plain, kept, other)
            ]
            assert answers[0] == answers[1] == answers[2]
            for house in (plain, kept):
                check_books(house)
            assert state_hash(plain) == state_hash(kept) == state_hash(other)
        other = restore_snapshot(other.state.rulebook, take_snapshot(other))


# Healing ---------------------------------------------------------------------------------------------------------


@pytest.mark.without_shadows
def test_a_penalty_that_does_not_heal_is_an_impossible_state(monkeypatch):
    plan = ladder.plan_reduction

    def greedy(account, valuation, allowance):
        found = plan(account, valuation, allowance)
        found.after.balances[0] -= usd(400)
        first = found.steps[0]
        return replace(found, steps=(first._replace(penalty=first.penalty + usd(400)),))

    monkeypatch.setattr(ladder, "plan_reduction", greedy)
    house = house_of_ann({"dust": "0"})
    with pytest.raises(InvariantViolation, match="took the settled measure of ann"):
        house.apply(prices(47_900))


# Halted markets --------------------------------------------------------------------------------------------------


def halted(rungs: dict, price: float) -> tuple[Clearinghouse, tuple]:
    """Ann ill in a market whose oracle works and that an operator has halted."""
    house = Clearinghouse(read_rulebook({**oracle_houses.table(), "ladder": rungs}))
    oracle_houses.done(house, oracle_houses.quotes(START, house, BTC=50_000, ETH=3_000, USDC=1, WSTETH=1.2))
    fund(house, "bob", 500_000)
    fund(house, "ann", 1_300)
    oracle_houses.done(house, Trade(market="BTC-PERP", buyer="ann", seller="bob", size=1_000, price=500_000))
    oracle_houses.done(house, Halt(market="BTC-PERP"))
    events = house.apply(oracle_houses.quotes(START + 1, house, BTC=price))
    return house, events


@pytest.mark.parametrize("rungs", [{"soft": SOFT}, {"dust": "0"}, {"auctions": AUCTIONS}, {"soft": SOFT, **WHOLE}])
def test_a_halted_market_is_called_and_not_sold_until_it_opens(rungs):
    rungs = {key: value for key, value in rungs.items() if key != "calls"}
    house, events = halted(rungs, 49_100)
    assert [call.account for call in only(events, MarginCalled)] == ["ann"]
    assert not only(events, Liquidated)
    for seconds in range(2, 200, 9):
        events = house.apply(oracle_houses.quotes(START + seconds, house, BTC=49_100, ETH=3_000, USDC=1, WSTETH=1.2))
        assert lots_of(house) == 1_000
        assert not only(events, MarginCalled)
    house.apply(Resume(market="BTC-PERP"))
    now = START + seconds
    for step in range(1, 20):
        house.apply(oracle_houses.quotes(now + 5 * step, house, BTC=49_100, ETH=3_000, USDC=1, WSTETH=1.2))
    assert lots_of(house) < 1_000
    assert not house.state.ill
    assert not house.state.called
    check_conservation(house)


def test_a_top_up_while_the_market_is_halted_cures():
    house, events = halted({"soft": SOFT}, 49_100)
    (call,) = only(events, MarginCalled)
    house.apply(Deposit(account="ann", asset="USD", amount=call.missing + usd(1_000)))
    assert not house.state.called
    house.apply(Resume(market="BTC-PERP"))
    assert lots_of(house) == 1_000


# Rules that change -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rung", "price"), EACH_RUNG)
def test_rules_without_a_ladder_end_calls_and_auctions_and_maintenance_decides(rung, price):
    house = on(rung, price)
    before = lots_of(house)
    events = house.apply(AdoptRulebook(rules=rules_text(None)))
    assert [(change.before, change.after) for change in only(events, RungChanged)] == [(rung, "healthy")]
    assert not house.state.ill
    state = house.state
    assert measure(state.book.read(state.index["ann"]), state.valuation, MAINTENANCE).health >= 0
    assert (lots_of(house) < before) == (rung == "auction")  # a soft step has left the other above maintenance
    assert len(only(events, Liquidated)) == (rung == "auction")
    for command in (Withdraw(account="ann", asset="USD", amount=1), Deposit(account="ann", asset="USD", amount=1)):
        house.apply(command)
    assert kinds(at(house, START + 10_000)) == ["TimeAdvanced"]
    check_conservation(house)


@pytest.mark.parametrize(("rung", "price"), EACH_RUNG)
def test_rules_that_drop_one_rung_move_who_stands_on_it(rung, price):
    house = on(rung, price)
    rungs = {key: value for key, value in WHOLE.items() if key not in ("soft", "auctions")}
    events = house.apply(AdoptRulebook(rules=rules_text(rungs)))
    assert not isinstance(events[0], Rejected)
    check_all(house, events)
    assert rung_of(house) == ("called" if rung == "called" else "healthy")
    assert (lots_of(house) == 1_000) == (rung == "called")


def test_rules_without_calls_let_an_issued_one_run_its_time():
    house = on("called", CALLED_AT)
    house.apply(AdoptRulebook(rules=rules_text({"soft": SOFT})))
    assert rung_of(house) == "called"
    at(house, START + 599)
    assert rung_of(house) == "called"
    assert rungs_of(at(house, START + 600)) == ["soft"]


def test_a_ladder_that_is_adopted_finds_who_is_ill():
    house = house_of_ann(None)
    house.apply(prices(CALLED_AT))
    (call,) = only(house.apply(AdoptRulebook(rules=rules_text(FULL))), MarginCalled)
    assert (call.account, rung_of(house)) == ("ann", "called")


def test_quotes_are_a_command_that_moves_time():
    """Nothing acts on a quote that moves no price, but its arrival ends a call."""
    tiers = [{"floor": "0", "initial": "0.05", "call": "0.03", "maintenance": "0.01", "target": "0.04"}]
    table = oracle_houses.table()
    for market in table["markets"].values():
        market["tiers"] = tiers
    house = Clearinghouse(read_rulebook({**table, "ladder": {"calls": CALLS, "soft": SOFT}}))
    each = {"ETH": 3_000, "USDC": 1, "WSTETH": 1.2}
    oracle_houses.done(house, oracle_houses.quotes(START, house, BTC=50_000, **each))
    fund(house, "bob", 500_000)
    fund(house, "ann", 2_500)
    oracle_houses.done(house, Trade(market="BTC-PERP", buyer="ann", seller="bob", size=1_000, price=500_000))
    (call,) = only(house.apply(oracle_houses.quotes(START + 1, house, BTC=CALLED_AT, **each)), MarginCalled)
    reminded = []
    for seconds in range(2, 620):
        events = house.apply(oracle_houses.quotes(START + seconds, house, BTC=CALLED_AT, **each))
        reminded += [START + seconds] * len(only(events, CallReminded))
        if rung_of(house) != "called":
            break
    assert reminded == [START + 301, START + 541]
    assert START + seconds == call.deadline_ns // SECOND
