"""Auctions: who may bid, what a bid takes, what it gives; that every auction ends, and never at a cost that harms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.houses import balance, fund, opened, position, prices, usd

from marginkeep.book.health import measure
from marginkeep.clearing import (
    AddMargin,
    AdvanceTime,
    Bid,
    ChangeMode,
    Clearinghouse,
    Deposit,
    Liquidated,
    RegisterLiquidator,
    Rejected,
    ReserveOrder,
    Trade,
    check_conservation,
    open_auctions,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.clearing.events import (
    AuctionBid,
    AuctionOpened,
    AuctionRestarted,
    OrderReleased,
    RungChanged,
)
from marginkeep.liquidation.incentive import healing_discount, heals
from marginkeep.liquidation.trial import Trial
from marginkeep.rulebook.model import TARGET
from marginkeep.units import RATE_ONE

SECOND = 10**9
PERCENT = RATE_ONE // 100
AUCTIONS = {
    "below_factor": "0.9",
    "curve": "linear",
    "start": "0.001",
    "most": "0.03",
    "illness": "0.002",
    "duration": "60s",
    "step": "5s",
}
"""Half a permille a second."""


def at(seconds: float) -> AdvanceTime:
    return AdvanceTime(now_ns=round(seconds * SECOND))


def house_with(ladder: dict | None = None, **auctions) -> Clearinghouse:
    """A house at 1 s with two rich liquidators, a poor one, and a market maker."""
    house = opened(ladder={"auctions": {**AUCTIONS, **auctions}, **(ladder or {})})
    house.apply(at(1))
    for name, amount in (("lia", 10**6), ("leo", 10**6), ("poor", 100), ("mm", 10**8)):
        fund(house, name, amount)
    for name in ("lia", "leo", "poor"):
        house.apply(RegisterLiquidator(account=name))
    return house


def long(house: Clearinghouse, name: str, deposit: float, btc: float = 0, eth: float = 0) -> None:
    """Open positions (negative = short) against the market maker at 50,000 and 3,000."""
    fund(house, name, deposit)
    for market, size, price in (("BTC-PERP", round(btc * 1000), 500_000), ("ETH-PERP", round(eth * 100), 300_000)):
        if size:
            sides = {"buyer": name, "seller": "mm"} if size > 0 else {"buyer": "mm", "seller": name}
            events = house.apply(Trade(market=market, size=abs(size), price=price, **sides))
            assert not isinstance(events[0], Rejected), events[0]


def ill_ann(**changes) -> Clearinghouse:
    """`ann`, long 10 BTC with 42,000, at 46,500: equity about 6,750 against 10,125 required."""
    house = house_with(**changes)
    long(house, "ann", 42_000, btc=10)
    house.apply(prices(btc=46_500))
    assert [row.account for row in open_auctions(house.state)] == ["ann"]
    return house


def bid(fraction: int = RATE_ONE, by: str = "lia", account: str = "ann", **more) -> Bid:
    return Bid(account=account, liquidator=by, fraction=fraction, **more)


def taken(house: Clearinghouse, command: Bid) -> AuctionBid:
    """Bid, which must succeed, and check what every bid must hold."""
    events = house.apply(command)
    found = [event for event in events if isinstance(event, AuctionBid)]
    assert len(found) == 1, events
    event = found[0]
    assert event.requirement_after == 0 or (
        event.collateral_after * event.requirement > event.collateral * event.requirement_after
    )
    assert event.discount <= event.curve
    check_conservation(house)
    return event


def refused(house: Clearinghouse, command) -> Rejected:
    before = state_hash(house)
    (event,) = house.apply(command)
    assert isinstance(event, Rejected), event
    house.state.sequence -= 1
    assert state_hash(house) == before, "a refusal changed something"
    house.state.sequence += 1
    return event


def settled(house: Clearinghouse, name: str):
    return Trial(house.state.book.read(house.state.index[name]), house.state.valuation).settled()


def test_an_account_below_the_threshold_is_offered_and_its_orders_are_released():
    house = house_with()
    long(house, "ann", 42_000, btc=10)
    house.apply(ReserveOrder(account="ann", order="one", market="BTC-PERP", side="sell", size=10, price=510_000))
    events = house.apply(prices(btc=46_500))
    assert [type(event) for event in events[1:]] == [RungChanged, OrderReleased, AuctionOpened]
    opened_now = events[-1]
    assert opened_now.legs == {"BTC-PERP": 10_000}
    assert opened_now.expires_ns == 61 * SECOND == house.state.ill["ann"].due_ns
    assert opened_now.most == 3 * PERCENT
    assert opened_now.requirement == usd(10_125)
    (seen,) = open_auctions(house.state)
    assert 0 < seen.discount <= opened_now.discount
    assert seen.lots["BTC-PERP"] > 0


def test_a_bid_for_all_brings_the_account_to_its_target_and_not_a_lot_further():
    house = ill_ann()
    event = taken(house, bid())
    assert 0 < event.fraction < event.asked == RATE_ONE
    account = house.state.book.read(house.state.index["ann"])
    left = measure(account, house.state.valuation, TARGET).health
    assert 0 <= left < usd(46.5 * 0.05)
    assert "ann" not in house.state.ill
    assert open_auctions(house.state) == []
    assert position(house, "lia", "BTC-PERP").size + position(house, "ann", "BTC-PERP").size == 10_000


def test_both_sides_trade_at_one_price_and_the_bidder_owns_the_discount():
    house = ill_ann()
    house.apply(at(7))
    (seen,) = open_auctions(house.state)
    event = taken(house, bid(RATE_ONE // 10))
    assert event.discount == seen.discount
    (fill,) = event.fills
    assert fill.price == 465_000 - 465_000 * event.discount // RATE_ONE
    assert position(house, "lia", "BTC-PERP").cost == fill.value
    gain = position(house, "lia", "BTC-PERP").size * 46_500_000 - fill.value
    assert 0 <= event.notional * event.discount // RATE_ONE - gain < 10**5 * 1_000
    assert refused(house, bid(by="lia", account="mm")).code == "no_auction"


def test_of_two_bids_in_one_instant_the_first_in_the_log_has_what_it_asked_for():
    orders = {}
    for first, second in (("lia", "leo"), ("leo", "lia")):
        house = ill_ann()
        wanted = open_auctions(house.state)[0].fraction
        taken(house, bid(wanted, by=first))
        answer = house.apply(bid(wanted, by=second))[0]
        orders[first] = (answer.code, position(house, first, "BTC-PERP").size)
    assert orders["lia"] == orders["leo"]
    assert orders["lia"][0] == "no_auction"


def test_small_bids_in_turn_bring_it_home_and_each_raises_its_health():
    house = ill_ann(ladder={"dust": "100"})
    bids = 0
    while open_auctions(house.state):
        before = settled(house, "ann")
        taken(house, bid(RATE_ONE // 50, by=("lia", "leo")[bids % 2]))
        assert heals(before, settled(house, "ann"))
        bids += 1
    assert 10 < bids < 50
    assert "ann" not in house.state.ill


def test_partial_bids_can_take_it_to_the_last_lot():
    house = house_with()
    long(house, "ann", 1_220, btc=0.3)
    house.apply(prices(btc=46_000))
    house.apply(at(50))
    events = []
    while open_auctions(house.state):
        events.append(taken(house, bid(RATE_ONE // 3)))
    assert len(events) > 5
    assert position(house, "ann", "BTC-PERP") is None
    assert events[-1].requirement_after == 0
    assert balance(house, "ann") >= 0


def test_one_leg_can_be_bid_on_alone():
    house = house_with()
    long(house, "ann", 42_000, btc=8, eth=150)
    house.apply(prices(btc=46_800, eth=2_910))
    event = taken(house, bid(RATE_ONE // 5, market="ETH-PERP"))
    assert [fill.name for fill in event.fills] == ["ETH-PERP"]
    assert position(house, "ann", "ETH-PERP").size == 12_000
    assert position(house, "ann", "BTC-PERP").size == 8_000
    assert {fill.name for fill in taken(house, bid(RATE_ONE // 9)).fills} == {"BTC-PERP", "ETH-PERP"}
    assert refused(house, bid(market="BTC-OKX")).code == "no_position"
    assert refused(house, bid(market="DOGE")).code == "unknown_market"


def test_a_short_is_bought_back_above_the_mark():
    house = house_with()
    long(house, "ann", 42_000, btc=-10)
    house.apply(prices(btc=53_450))
    house.apply(at(5))
    event = taken(house, bid(RATE_ONE // 4))
    assert event.discount > 0
    assert event.fills[0].size == 2_500
    assert event.fills[0].price == 534_500 + 534_500 * event.discount // RATE_ONE
    assert position(house, "lia", "BTC-PERP").size == -2_500


def test_an_inverse_leg_heals_too_though_its_discount_costs_more_than_its_rate():
    house = house_with()
    fund(house, "ann", 1, "BTC")
    house.apply(Trade(market="BTC-INV", buyer="ann", seller="mm", size=600_000, price=100_000))
    house.apply(prices(btc=46_500))
    house.apply(at(40))
    while open_auctions(house.state):
        assert taken(house, bid(RATE_ONE // 3)).reward_asset == "BTC"
    assert "ann" not in house.state.ill


def test_a_discount_that_becomes_debt_is_cut_down_to_what_in_fact_heals():
    house = house_with(illness="0")
    fund(house, "ann", 1, "BTC")
    house.apply(Trade(market="ETH-PERP", buyer="ann", seller="mm", size=25_000, price=300_000))
    house.apply(prices(eth=2_850))
    while settled(house, "ann").health < 0:
        taken(house, bid(RATE_ONE // 20))
    house.apply(at(60))
    event = taken(house, bid(RATE_ONE // 10))
    assert event.collateral > event.requirement
    assert event.discount < event.curve
    released = event.requirement - event.requirement_after + event.notional * event.discount // RATE_ONE
    assert event.discount < healing_discount(event.collateral, event.requirement, event.notional, released)


def test_when_only_debts_are_left_the_house_sells_holdings_at_once():
    house = house_with(illness="0", start="0")
    fund(house, "ann", 1, "BTC")
    house.apply(Trade(market="ETH-PERP", buyer="ann", seller="mm", size=20_000, price=300_000))
    house.apply(prices(btc=45_500, eth=2_785))
    assert [row.account for row in open_auctions(house.state)] == ["ann"]
    events = house.apply(bid())
    assert events[0].requirement_after > events[0].collateral_after > 0
    assert position(house, "ann", "ETH-PERP") is None
    assert [event.rung for event in events if isinstance(event, Liquidated)] == ["auction"]
    assert [step.what for event in events[1:] if isinstance(event, Liquidated) for step in event.steps] == ["sell"]
    assert "ann" not in house.state.ill
    check_conservation(house)


def test_only_the_first_bid_earns_tip_and_chip_out_of_what_the_account_has_left():
    house = ill_ann(tip="5", chip="0.0001")
    before = balance(house, "lia")
    event = taken(house, bid(RATE_ONE // 10))
    assert event.reward == usd(5) + event.notional // 10_000
    assert balance(house, "lia") - before == event.reward
    assert taken(house, bid(RATE_ONE // 10, by="leo")).reward == 0


def test_a_tip_is_cut_down_to_what_heals():
    house = ill_ann(tip="100000", most="0.002", start="0")
    event = taken(house, bid(RATE_ONE // 100))
    assert 0 < event.reward < usd(100)
    released = event.requirement - event.requirement_after
    lost = event.collateral - event.collateral_after
    assert event.reward <= lost
    assert lost * event.requirement < event.collateral * released
    assert (lost + usd(0.02)) * event.requirement >= event.collateral * released


def test_nobody_bids_on_an_account_of_its_own():
    house = ill_ann()
    house.apply(RegisterLiquidator(account="ann"))
    assert refused(house, bid(by="ann")).code == "self_bid"


def test_nobody_bids_on_an_isolated_position_of_its_own():
    house = house_with()
    fund(house, "ann", 100_000)
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="mm", size=10_000, price=500_000))
    house.apply(ChangeMode(account="ann", market="BTC-PERP", mode="isolated", margin=usd(42_000)))
    house.apply(RegisterLiquidator(account="ann"))
    house.apply(prices(btc=46_500))
    child = "ann/BTC-PERP"
    assert refused(house, bid(by="ann", account=child)).code == "self_bid"
    assert taken(house, bid(account=child)).account == child


def test_a_bidder_without_margin_is_refused_with_the_numbers():
    house = ill_ann()
    answer = refused(house, bid(by="poor"))
    assert answer.code == "insufficient_margin"
    assert answer.numbers["missing"] > 0
    assert answer.numbers["requirement"] > answer.numbers["collateral"]
    assert house.state.ill["ann"].auction.bids == 0


@pytest.mark.without_shadows(reason="changes limits by hand")
def test_a_bidder_whose_position_would_be_too_large_is_refused():
    house = ill_ann()
    limits = house.state.limits
    house.state.limits = replace(limits, markets=(replace(limits.markets[0], max_position=50), *limits.markets[1:]))
    (answer,) = house.apply(bid(RATE_ONE // 10))
    assert answer.code == "position_limit"
    assert answer.numbers == {"bound": 50}


def test_what_is_wrong_with_a_bid_is_said():
    house = ill_ann()
    assert refused(house, bid(by="mm")).code == "not_a_liquidator"
    assert refused(house, bid(account="mm")).code == "no_auction"
    assert refused(house, bid(account="nobody")).code == "unknown_account"
    assert refused(house, bid(account="liquidator")).code == "system_account"
    assert refused(house, bid(0)).code == "bad_fraction"
    assert refused(house, bid(-5)).code == "bad_fraction"
    answer = refused(house, bid(least_discount=9 * PERCENT))
    assert answer.code == "discount_too_low"
    assert answer.numbers["asked"] == 9 * PERCENT > answer.numbers["discount"]
    assert taken(house, bid(7 * RATE_ONE, least_discount=answer.numbers["discount"])).fraction < RATE_ONE


def test_who_may_bid_is_registered_once():
    house = house_with()
    assert refused(house, RegisterLiquidator(account="lia")).code == "duplicate_liquidator"
    assert refused(house, RegisterLiquidator(account="nobody")).code == "unknown_account"
    assert refused(house, RegisterLiquidator(account="liquidator")).code == "system_account"
    house.apply(AddMargin(account="lia", market="BTC-PERP", amount=usd(1)))
    assert refused(house, RegisterLiquidator(account="lia/BTC-PERP")).code == "isolated_account"
    again = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert again.state.liquidators == {"lia", "leo", "poor"}


def test_a_deposit_that_heals_ends_the_auction():
    house = ill_ann()
    house.apply(Deposit(account="ann", asset="USD", amount=usd(20_000)))
    assert open_auctions(house.state) == []
    assert refused(house, bid()).code == "no_auction"


@pytest.mark.without_shadows(reason="halts by hand")
def test_a_halted_house_takes_no_bids():
    house = ill_ann()
    house.state.halted = "something is wrong"
    assert refused(house, bid()).code == "halted"


def test_an_auction_begins_anew_at_its_first_discount_and_then_the_house_closes():
    house = ill_ann(restarts=1)
    first = open_auctions(house.state)[0].discount
    house.apply(at(60.999999999))
    later = open_auctions(house.state)[0]
    assert later.discount > first
    (_, restarted) = house.apply(at(61))
    assert restarted == AuctionRestarted(account="ann", restarts=1, expires_ns=121 * SECOND)
    assert open_auctions(house.state)[0].discount == first
    events = house.apply(at(121))
    assert any(isinstance(event, Liquidated) and event.rung == "auction" for event in events)
    assert "ann" not in house.state.ill
    assert refused(house, bid()).code == "no_auction"
    check_conservation(house)


def test_a_bid_after_the_end_finds_no_auction():
    house = ill_ann(restarts=0)
    house.apply(at(400))
    assert refused(house, bid()).code == "no_auction"
