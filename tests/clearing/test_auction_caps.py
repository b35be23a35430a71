"""Many auctions at once: caps, the queue, the end of all of them; prices and rules that change under them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import oracle_houses
from tests.clearing.test_auctions import AUCTIONS, PERCENT, SECOND, at, bid, house_with, long, refused, settled, taken
from tests.houses import prices, rules, usd
from tests.oracle_houses import START, done, quotes

from marginkeep.book.account import Account, Position
from marginkeep.book.valuation import Valuation
from marginkeep.clearing import (
    AdoptRulebook,
    Bid,
    Clearinghouse,
    RegisterLiquidator,
    Rejected,
    Trade,
    check_conservation,
    open_auctions,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.clearing.bidding import BidPlanner, legs_of
from marginkeep.clearing.events import AuctionBid, AuctionOpened, AuctionWaits, RungChanged
from marginkeep.liquidation.auctions import open_auction
from marginkeep.liquidation.incentive import healing_discount, heals
from marginkeep.rulebook import build_tables, read_rulebook
from marginkeep.units import RATE_ONE

SOME = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def on_offer(house: Clearinghouse) -> list[list[tuple[int, int]]]:
    """The legs' values of each auction in progress, in dollars, by market."""
    state = house.state
    return [
        [
            (leg.market, leg.value // 10**6)
            for leg in legs_of(state.book.read(state.index[row.account]), state.valuation)
        ]
        for row in open_auctions(state)
    ]


def crowded(accounts: list[tuple[int, int, int]], **auctions) -> Clearinghouse:
    """Accounts of (tenths of BTC, tens of ETH, dollars of equity left for a lot's worth) just before a crash."""
    house = house_with(**auctions)
    for number, (btc, eth, left) in enumerate(accounts):
        worth = btc / 10 * 46_500 + eth * 10 * 2_790
        long(house, f"a{number}", btc * 350 + eth * 2_100 + worth * left / 10_000, btc=btc / 10, eth=eth * 10)
    return house


ACCOUNTS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 8), st.integers(45, 85)).filter(lambda row: row[0] or row[1]),
    min_size=1,
    max_size=6,
)


@given(ACCOUNTS, st.integers(10, 400), st.integers(10, 200), st.randoms(use_true_random=False))
@SOME
def test_caps_hold_everybody_has_a_turn_and_every_auction_ends(accounts, cap, cap_of_market, random):
    house = crowded(
        accounts, restarts=1, most_debt=f"{cap}000", most_debt_of_market=f"{cap_of_market}000", illness="0.02"
    )
    house.apply(prices(btc=46_500, eth=2_790))
    opened_names = []
    for second in range(2, 2 + 130 * (len(accounts) + 1), 5):
        offers = on_offer(house)
        total = sum(value for legs in offers for _, value in legs)
        assert len(offers) <= 1 or total <= cap * 1_000
        for market in (0, 1):
            values = [value for legs in offers for held, value in legs if held == market]
            assert len(values) <= 1 or sum(values) <= cap_of_market * 1_000
        events = house.apply(at(second))
        opened_names += [event.account for event in events if isinstance(event, AuctionOpened)]
        seen = open_auctions(house.state)
        if seen and random.random() < 0.4:
            house.apply(bid(random.randint(1, RATE_ONE), account=random.choice(seen).account))
        check_conservation(house)
    assert house.state.ill == {}
    assert len(set(opened_names)) == len(opened_names)


def test_who_waits_is_told_once_and_starts_when_there_is_room():
    house = crowded([(10, 0, 60), (10, 0, 60), (10, 0, 60)], most_debt="50000")
    events = house.apply(prices(btc=46_500, eth=2_790))
    assert [event.account for event in events if isinstance(event, AuctionOpened)] == ["a0"]
    waits = [event for event in events if isinstance(event, AuctionWaits)]
    assert [(event.account, event.running) for event in waits] == [("a1", 46_500 * 10**6), ("a2", 46_500 * 10**6)]
    assert house.apply(at(6))[1:] == ()
    taken(house, bid(account="a0"))
    events = house.apply(at(11))
    assert [event.account for event in events if isinstance(event, AuctionOpened)] == ["a1"]
    assert not any(isinstance(event, AuctionWaits) for event in events)


def test_nobody_overtakes_one_who_waits_for_room_in_all():
    house = crowded([(20, 0, 60), (10, 0, 60), (1, 0, 120)], most_debt="120000")
    house.apply(prices(btc=46_500, eth=2_790))
    events = house.apply(prices(btc=46_250, eth=2_790))
    assert [(event.account, event.value) for event in events if isinstance(event, AuctionWaits)] == [
        ("a2", 4_625 * 10**6)
    ]
    assert [row.account for row in open_auctions(house.state)] == ["a0"]


def test_nobody_overtakes_in_a_market_in_which_another_waits():
    house = crowded([(20, 0, 60), (10, 0, 60), (1, 0, 120), (0, 1, 60)], most_debt_of_market="120000")
    house.apply(prices(btc=46_500, eth=2_790))
    assert [row.account for row in open_auctions(house.state)] == ["a0", "a3"]
    house.apply(prices(btc=46_250, eth=2_790))
    assert [row.account for row in open_auctions(house.state)] == ["a0", "a3"]
    taken(house, bid(account="a0"))
    house.apply(at(6))
    assert [row.account for row in open_auctions(house.state)] == ["a1", "a2", "a3"]


def test_nobody_slips_in_while_another_auction_begins_anew():
    house = crowded([(10, 0, 120), (10, 0, 85), (10, 0, 170)], most_debt="50000", restarts=1)
    for btc in (46_500, 46_250, 46_150):  # each brings one of them below; the last is merely reduced
        house.apply(prices(btc=btc, eth=2_790))
    assert house.state.served == house.state.index["a2"]
    for second in range(6, 62, 5):
        house.apply(at(second))  # a0, which waits, is attended before a1, which begins anew at 61 s
        assert [row.account for row in open_auctions(house.state)] == ["a1"]
    assert open_auctions(house.state)[0].restarts == 1


def test_an_auction_given_up_is_not_opened_again_while_budgets_bound_the_house():
    impact = {"BTC-PERP": {"depth": "10", "impact": "0.001", "share": "0.1", "interval": "10s"}}
    house = house_with(restarts=0, ladder={"impact": impact})
    long(house, "ann", 42_000, btc=10)
    house.apply(prices(btc=46_500))
    events = [event for second in range(2, 200) for event in house.apply(at(second))]
    assert not any(isinstance(event, AuctionOpened) for event in events)
    assert house.state.ill == {}


def test_the_state_with_auctions_in_progress_is_restored():
    house = crowded([(10, 0, 60), (10, 0, 60)], most_debt="50000")
    house.apply(prices(btc=46_500, eth=2_790))
    taken(house, bid(RATE_ONE // 9, account="a0"))
    again = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert open_auctions(again.state) == open_auctions(house.state)
    for command in (at(6), bid(account="a0"), at(12)):
        assert again.apply(command) == house.apply(command)
    assert state_hash(again) == state_hash(house)


@given(
    st.integers(-20, 20).filter(bool),
    st.integers(-20, 20),
    st.integers(5, 95),
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.one_of(st.integers(1, 1_000), st.integers(1, RATE_ONE)),
            st.sampled_from([None, "BTC-PERP", "ETH-PERP"]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["linear", "stairstep", "exponential"]),
    st.sampled_from(["0", "7", "100000"]),
)
@SOME
def test_no_bid_whatsoever_leaves_an_account_worse(btc, eth, left, bids, curve, tip):
    house = house_with(curve=curve, cut="0.8", tip=tip, chip="0.001", most="0.2", below_factor="1")
    move = 1 + (-0.06 if btc > 0 else 0.06)
    side = 1 if btc > 0 else -1
    btc, eth = btc / 10 * 3, side * abs(eth) * 3
    needed = (abs(btc) * 50_000 + abs(eth) * 3_000) * 0.06
    worth = abs(btc) * 50_000 + abs(eth) * 3_000
    long(house, "ann", needed + worth * left / 10_000, btc=btc, eth=eth)
    house.apply(prices(btc=50_000 * move, eth=3_000 * move))
    second = 1
    for wait, fraction, market in bids:
        second += wait
        house.apply(at(second))
        before = settled(house, "ann")
        events = house.apply(bid(fraction, market=market))
        check_conservation(house)
        if isinstance(events[0], Rejected):
            continue
        (event,) = [event for event in events if isinstance(event, AuctionBid)]
        assert heals(before, settled(house, "ann"))
        assert event.discount <= event.curve
        assert (before.collateral, before.requirement) == (event.collateral, event.requirement)


def adoptable(**auctions) -> str:
    """The rulebook of `house_with` as TOML."""
    from tests import houses

    linear = {**houses.LINEAR, "tiers": houses.TIERS, "taker_fee": "0.0005"}
    whole = {
        "assets": {"USD": {}, "BTC": houses.BTC},
        "liquidation": {"slippage": "0.002", "penalty": "0.003", "liquidator_share": "0.4"},
        "markets": {
            "BTC-PERP": {**linear, "maker_fee": "-0.0001"},
            "ETH-PERP": {**linear, "lot": "0.01", "tick": "0.01", "max_price": "100000", "maker_fee": "0.0002"},
            "BTC-INV": {
                **houses.INVERSE,
                "max_price": "1000000",
                "tier_unit": "contracts",
                "taker_fee": "0.0005",
                "tiers": houses.TIERS,
            },
            "BTC-OKX": {
                **houses.LINEAR,
                "tier_kind": "whole_position",
                "tier_unit": "base",
                "tiers": houses.JUMPING_TIERS,
            },
        },
        "ladder": {"auctions": {**AUCTIONS, **auctions}} if auctions else {"dust": "1"},
    }
    return "\n".join(f"{name} = {oracle_houses._toml(value)}" for name, value in whole.items())


def ill() -> Clearinghouse:
    house = house_with()
    long(house, "ann", 42_000, btc=10)
    house.apply(prices(btc=46_500))
    return house


def test_a_rulebook_with_shorter_auctions_ends_those_in_progress_earlier():
    house = ill()
    house.apply(at(20))
    events = house.apply(AdoptRulebook(rules=adoptable(duration="10s", restarts=0)))
    assert not isinstance(events[0], Rejected), events[0]
    assert house.state.ill == {}
    house = ill()
    house.apply(AdoptRulebook(rules=adoptable(duration="30s", restarts=0)))
    assert open_auctions(house.state)[0].expires_ns == 31 * SECOND
    house.apply(at(31))
    assert house.state.ill == {}


def test_a_rulebook_with_longer_auctions_lets_those_in_progress_go_on():
    house = ill()
    house.apply(AdoptRulebook(rules=adoptable(duration="90s", restarts=0)))
    house.apply(at(61))
    assert open_auctions(house.state)[0].expires_ns == 91 * SECOND
    house.apply(at(91))
    assert house.state.ill == {}


def test_a_rulebook_without_auctions_ends_them():
    house = ill()
    events = house.apply(AdoptRulebook(rules=adoptable()))
    assert [event.after for event in events if isinstance(event, RungChanged)] == ["partial", "healthy"]
    assert refused(house, bid()).code == "no_auction"


def oracle_house(**actions) -> Clearinghouse:
    """A house with an oracle and a ladder, in which `ann` is in an auction at 46,500."""
    whole = oracle_houses.table(**({"actions": actions} if actions else {}))
    whole["ladder"] = {"auctions": AUCTIONS}
    house = Clearinghouse(read_rulebook(whole))
    done(house, quotes(START, house, BTC=50_000, ETH=3_000, USDC=1, WSTETH=1.2))
    for name, amount in (("ann", 42_000), ("lia", 10**6), ("mm", 10**8)):
        oracle_houses.fund(house, name, amount)
    done(house, RegisterLiquidator(account="lia"))
    done(house, Trade(market="BTC-PERP", buyer="ann", seller="mm", size=10_000, price=500_000))
    for second, price in enumerate((49_000, 48_100, 47_300, 46_500)):
        done(house, quotes(START + 1 + second, house, BTC=price, ETH=3_000, USDC=1, WSTETH=1.2))
    assert [row.account for row in open_auctions(house.state)] == ["ann"]
    return house


def test_a_bid_at_a_price_that_auctions_may_not_use_is_refused_with_the_evidence():
    house = oracle_house(auction=["valid"])
    house.apply(oracle_houses.at(START + 25))
    assert oracle_houses.line(house, "BTC-PERP").quality == "stale"
    answer = refused(house, Bid(account="ann", liquidator="lia", fraction=RATE_ONE))
    assert answer.code == "price"
    assert [seen.name for seen in answer.prices if seen.blocked] == ["BTC-PERP"]
    assert open_auctions(house.state)[0].fraction == 0
    done(house, quotes(START + 26, house, BTC=46_500, ETH=3_000, USDC=1, WSTETH=1.2))
    assert taken(house, Bid(account="ann", liquidator="lia", fraction=RATE_ONE)).prices


def test_a_bid_at_a_price_that_auctions_may_use_goes_through():
    house = oracle_house()
    assert taken(house, Bid(account="ann", liquidator="lia", fraction=RATE_ONE // 5)).fraction == RATE_ONE // 5


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=12), st.sampled_from(["linear", "exponential"]))
@settings(deadline=None)
def test_the_discount_is_continuous_in_time_and_never_above_what_heals(times, curve):
    rulebook = rules(ladder={"auctions": {**AUCTIONS, "curve": curve, "cut": "0.9"}})
    valuation = Valuation(build_tables(rulebook))
    valuation.set_mark(0, 465_000)
    account = Account(balances={0: usd(42_000)}, positions={0: Position(10_000, usd(500_000))})
    seen = []
    for instant in sorted(times):
        now_ns = instant * SECOND // 200
        offer = BidPlanner(account, valuation, open_auction(0, 0), rulebook.ladder.auctions, now_ns).offer(
            RATE_ONE // 10
        )
        released = offer.before.requirement - offer.after.requirement
        assert offer.discount <= healing_discount(*offer.before, offer.value, released)
        seen.append((now_ns, offer.discount))
    for (early, low), (late, high) in pairwise(seen):
        assert 0 <= high - low <= PERCENT * (late - early) // SECOND + 2
