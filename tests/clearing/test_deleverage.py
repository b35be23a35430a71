"""Deleveraging in the house: whom a bankrupt account's positions are closed against, at which price, and how much."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ladder_houses import (
    LADDER,
    MARKETS,
    balance,
    check_books,
    fund,
    kinds,
    ledger,
    only,
    opened,
    position,
    prices,
    trade,
    usd,
)

from marginkeep.book.health import equity
from marginkeep.clearing import AddMargin, Deposit, PayFunding, ReserveOrder, SetPrices, TopUpFund, Trade
from marginkeep.clearing import winners as winners_module
from marginkeep.clearing.deleverage import queue_place
from marginkeep.clearing.loss_events import Deleveraged, LossCovered, LossSocialised
from marginkeep.clearing.winners import winners_of
from marginkeep.errors import InputError


def equity_of(house, name):
    return equity(house.state.book.read(house.state.index[name]), house.state.valuation)


def crowd(house, sizes, cash=100_000, loser="ann", loser_cash=5_000):
    """A long against so many shorts of given sizes."""
    fund(house, loser, loser_cash)
    for number, size in enumerate(sizes):
        fund(house, f"w{number}", cash)
        trade(house, loser, f"w{number}", size, 50_000)


def test_winners_take_a_bankrupt_position_at_the_price_at_which_nothing_is_owed():
    house = opened()
    crowd(house, [1_000, 500])
    events = house.apply(prices(46_000))
    assert kinds(events) == ["PricesSet", "RungChanged", "Deleveraged", "RungChanged"]
    done = events[2]
    assert (done.wanted, done.size, done.mark) == (1_500, -1_500, 460_000)
    assert done.price == 466_667  # 50,000 less 5,000 / 1.5, up to a tick
    assert [(fill.account, fill.size) for fill in done.fills] == [("w0", 1_000), ("w1", 500)]
    assert done.needed == usd(1_000)
    assert 0 <= done.taken - done.needed <= 1_500 * 100  # a tenth of a dollar a coin: one tick
    assert (done.over, done.under) == (done.taken - done.needed, 0)
    assert sum(fill.haircut for fill in done.fills) == done.taken
    assert 0 <= balance(house, "ann") == done.over
    assert position(house, "w0", "BTC-PERP") is None
    check_books(house)


def test_nobody_is_deleveraged_when_the_funds_will_pay():
    house = opened()
    house.apply(TopUpFund(asset="USD", amount=usd(1_200)))
    crowd(house, [1_500])
    events = house.apply(prices(46_000))
    assert only(events, Deleveraged) == []
    assert only(events, LossCovered)[0].fund_paid == usd(1_000 + 138)


def test_what_the_funds_pay_winners_do_not_bear():
    house = opened()
    house.apply(TopUpFund(asset="USD", amount=usd(600)))
    crowd(house, [1_000, 500])
    events = house.apply(prices(46_000))
    done, covered = only(events, Deleveraged)[0], only(events, LossCovered)[0]
    assert done.needed == usd(400)
    assert usd(600) - 1_500 * 100 <= covered.fund_paid <= usd(600)
    assert covered.fund_paid + done.taken == usd(1_000)
    assert (covered.socialised, covered.bad_debt, balance(house, "ann")) == (0, 0, 0)
    check_books(house)


def test_a_fund_that_pays_the_loss_but_not_the_slippage_has_winners_closed_at_mark():
    house = opened()
    house.apply(TopUpFund(asset="USD", amount=usd(1_100)))
    crowd(house, [1_500])
    done = only(house.apply(prices(46_000)), Deleveraged)[0]
    assert (done.price, done.needed, done.taken) == (460_000, 0, 0)
    assert ledger(house, "insurance_fund") == usd(100)


@pytest.mark.parametrize("ladder", [None, {**LADDER, "policy": "none"}])
def test_without_a_policy_nobody_is_deleveraged(ladder):
    house = opened(ladder)
    crowd(house, [1_500])
    assert only(house.apply(prices(46_000)), Deleveraged) == []
    assert position(house, "w0", "BTC-PERP").size == -1_500


def test_the_system_is_no_winner():
    house = opened()
    fund(house, "ann", 5_000)
    trade(house, "ann", "external", 1_000, 50_000)
    fund(house, "bob", 50_000)
    trade(house, "ann", "bob", 500, 50_000)
    done = only(house.apply(prices(46_000)), Deleveraged)[0]
    assert [fill.account for fill in done.fills] == ["bob"]
    assert (done.wanted, done.size) == (1_500, -500)
    assert position(house, "external", "BTC-PERP").size == -1_000
    assert position(house, "liquidator", "BTC-PERP").size == 1_000
    check_books(house)


def test_an_isolated_account_is_an_account():
    house = opened()
    fund(house, "bob", 50_000)
    house.apply(AddMargin(account="bob", market="BTC-PERP", amount=usd(10_000)))
    fund(house, "ann", 5_000)
    trade(house, "ann", "bob/BTC-PERP", 1_000, 50_000)
    trade(house, "ann", "bob", 500, 50_000)
    done = only(house.apply(prices(46_000)), Deleveraged)[0]
    assert [(fill.account, fill.size) for fill in done.fills] == [("bob", 500), ("bob/BTC-PERP", 1_000)]


def test_a_winner_that_the_price_would_ruin_is_left_out_and_the_rest_is_socialised():
    """The second short is ruined by its own loss in ETH, which is why it has so little."""
    house = opened()
    fund(house, "poor", 1_900)
    fund(house, "ann", 2_000)
    fund(house, "rich", 100_000)
    trade(house, "ann", "poor", 500, 50_000)
    trade(house, "ann", "rich", 100, 50_000)
    fund(house, "eve", 10_000)
    trade(house, "poor", "eve", 200, 3_000, "ETH-PERP")
    events = house.apply(prices(40_000, 300))  # poor: 1,900 + 5,000 - 5,400; ann: 2,000 - 6,000
    done = next(event for event in only(events, Deleveraged) if event.account == "ann")
    assert [fill.account for fill in done.fills] == ["rich"]
    assert done.size == -100
    assert done.under > 0
    assert done.taken - done.needed == done.over - done.under
    assert only(events, LossSocialised)[0].market == "BTC-PERP"
    check_books(house)


def test_open_orders_of_a_winner_stay():
    house = opened()
    crowd(house, [1_500])
    order = ReserveOrder(account="w0", order="1", market="BTC-PERP", side="buy", size=7, price=400_000)
    house.apply(order)
    house.apply(prices(46_000))
    left = position(house, "w0", "BTC-PERP")
    assert (left.size, left.bid_size) == (0, 7)
    check_books(house)


def test_every_leg_has_its_share_and_a_winner_of_both_pays_twice_at_most_what_it_has():
    house = opened()
    fund(house, "ann", 6_000)
    fund(house, "bob", 20_000)
    trade(house, "ann", "bob", 1_000, 50_000)
    trade(house, "ann", "bob", 1_500, 3_000, "ETH-PERP")
    events = house.apply(prices(46_000, 2_700))  # loses 4,000 and 4,500, has 6,000
    first, second = only(events, Deleveraged)
    assert (first.market, second.market) == ("BTC-PERP", "ETH-PERP")
    assert first.needed + second.needed in (usd(2_500), usd(2_500) + 1)
    assert first.needed * 2_700 * 15 == pytest.approx(second.needed * 46_000, rel=1e-6)  # by requirement
    assert 0 <= first.over + second.over <= 100 * 1_000 + 100 * 1_500
    assert equity_of(house, "bob") == usd(26_000) - balance(house, "ann")
    check_books(house)


def inverse_house(cash, lots, drop):
    """A long and a short of an inverse market, settled in BTC, where every fill rounds; the short loses in ETH.

    Returns the house and the events of a fall.
    """
    inverse = {"settle": "BTC", "payoff": "inverse", "lot": "1", "contract_size": "1", "tick": "0.5"}
    tiers = [{"floor": "0", "initial": "0.05", "maintenance": "0.01"}]
    market = {**inverse, "max_price": "1000000", "tier_unit": "contracts", "tiers": tiers}
    house = opened(btc=None, eth=None, markets={"BTC-INV": market, "ETH-PERP": MARKETS["ETH-PERP"]})

    def at(price, eth):
        return house.apply(SetPrices(marks={"BTC-INV": 2 * price, "ETH-PERP": 100 * eth}, prices={"BTC": 100 * price}))

    at(50_000, 3_000)
    house.apply(Deposit(account="ann", asset="BTC", amount=130 * lots))
    house.apply(Deposit(account="bob", asset="USD", amount=cash))
    house.apply(Trade(market="BTC-INV", buyer="ann", seller="bob", size=lots, price=100_000))
    trade(house, "bob", "external", lots // 10, 3_000, "ETH-PERP")
    house.apply(PayFunding(market="BTC-INV", rate=777_777))
    return house, at(50_000 - drop, 2_600)


@settings(max_examples=25, deadline=None)
@given(lots=st.integers(1_000, 20_000), drop=st.integers(4_000, 9_000), off=st.integers(-2_000, 2_000))
def test_rounding_leaves_no_winner_below_zero(lots, drop, off):
    """The winner has what it takes, give or take a few of the smallest units of what the market settles in."""
    rich = usd(100_000)
    house, events = inverse_house(rich, lots, drop)
    check_books(house)
    assert len(only(events, Deleveraged)) == 1
    house, events = inverse_house(rich - equity_of(house, "bob") + off, lots, drop)
    check_books(house)
    if only(events, Deleveraged):
        assert equity_of(house, "bob") >= 0


def test_funding_that_is_owed_is_booked_with_the_fill():
    house = opened()
    crowd(house, [1_000, 500])
    house.apply(PayFunding(market="BTC-PERP", rate=10_000_000))
    house.apply(prices(46_000))
    check_books(house)
    assert position(house, "ann", "BTC-PERP") is None


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 700), min_size=2, max_size=6), lots=st.integers(50, 300))
def test_pro_rata_is_exact_to_one_lot_and_blind_to_order(sizes, lots):
    """Everyone holds more than is closed: shorts of another long, who does not fall."""

    def closed(order):
        house = opened()
        fund(house, "whale", 10**7)
        fund(house, "ann", 50_000 * lots // 1_000 // 10)
        for number in order:
            fund(house, f"w{number}", 10**6)
            trade(house, "whale", f"w{number}", sizes[number] + lots, 50_000)
        trade(house, "ann", "whale", lots, 50_000)
        events = house.apply(prices(44_000))
        done = only(events, Deleveraged)[0]
        check_books(house)
        return done, {fill.account: fill.size for fill in done.fills}

    done, first = closed(range(len(sizes)))
    _, second = closed(list(reversed(range(len(sizes)))))
    assert -done.size == done.wanted == lots == sum(first.values())
    whole = sum(size + lots for size in sizes)
    for number, size in enumerate(sizes):
        share = first.get(f"w{number}", 0)
        assert abs(share * whole - lots * (size + lots)) <= whole
        assert abs(share - second.get(f"w{number}", 0)) <= 1  # equal remainders go to the lower account index
    assert sorted(fill.haircut for fill in done.fills)[0] >= 0


@settings(max_examples=10, deadline=None)
@given(parts=st.lists(st.integers(50, 400), min_size=2, max_size=5))
def test_splitting_an_account_does_not_change_what_it_bears(parts):
    def taken(split):
        house = opened()
        fund(house, "whale", 10**7)
        fund(house, "ann", 1_500)
        fund(house, "other", 10**6)
        trade(house, "whale", "other", 700, 50_000)
        for number, size in enumerate(split):
            fund(house, f"me{number}", 1_000 * size)
            trade(house, "whale", f"me{number}", size, 50_000)
        trade(house, "ann", "whale", 300, 50_000)
        done = only(house.apply(prices(44_000)), Deleveraged)[0]
        check_books(house)
        mine = [fill for fill in done.fills if fill.account.startswith("me")]
        return sum(fill.size for fill in mine), sum(fill.haircut for fill in mine), done

    whole, borne_whole, done = taken([sum(parts)])
    split, borne_split, _ = taken(parts)
    assert abs(whole - split) <= len(parts)
    assert abs(borne_whole - borne_split) <= len(parts) * (abs(done.price - done.mark) * 100 + 2)


def random_house(seed, accounts=60):
    """A house of cross-holding accounts, some in both markets, some isolated."""
    random = np.random.default_rng(seed)
    house = opened({**LADDER, "policy": "risk_aware"})
    names = [f"u{number}" for number in range(accounts)]
    for name in names:
        fund(house, name, int(random.integers(2_000, 60_000)))
    for _ in range(3 * accounts):
        buyer, seller = random.choice(accounts, 2, replace=False)
        market = ("BTC-PERP", "ETH-PERP")[int(random.integers(2))]
        price = 50_000 if market == "BTC-PERP" else 3_000
        ticks = price * (10 if market == "BTC-PERP" else 100)
        size = int(random.integers(1, 400))
        house.apply(Trade(market=market, buyer=names[buyer], seller=names[seller], size=size, price=ticks))
    house.apply(PayFunding(market="BTC-PERP", rate=1_234_567))
    return house


@pytest.mark.without_shadows
@pytest.mark.parametrize("is_long", [True, False])
def test_the_columns_of_many_winners_are_those_of_each(monkeypatch, is_long):
    house = random_house(1)
    state = house.state
    state.valuation.set_mark(0, 478_123)
    state.valuation.funding_short[0] -= 777_777_777
    staged = {index: state.book.read(index) for index in (5, 9, 12, 20)}
    for index, account in staged.items():
        account.balances[0] = account.balances.get(0, 0) - usd(index)
    staged[9].positions.pop(0, None)
    market = state.tables.markets[0]
    one_by_one = winners_of(state.book, state.valuation, market, is_long, staged)
    monkeypatch.setattr(winners_module, "KERNEL_FROM", 0)
    at_once = winners_of(state.book, state.valuation, market, is_long, staged)
    assert len(one_by_one) > 10
    assert 9 not in one_by_one.accounts
    assert (one_by_one.relief < 0).any()
    for name in ("accounts", "sizes", "profits", "equities", "notionals", "relief"):
        assert getattr(one_by_one, name).tolist() == getattr(at_once, name).tolist(), name


@pytest.mark.parametrize("seed", range(4))
def test_no_winner_comes_out_below_zero_and_the_books_balance(seed):
    house = random_house(seed)
    for btc, eth in ((46_000, 3_300), (41_000, 3_300), (41_000, 2_300), (60_000, 4_000)):
        events = house.apply(prices(btc, eth))
        check_books(house)
        borne = {fill.account for event in only(events, Deleveraged) for fill in event.fills}
        marked = only(events, LossSocialised)
        for name in borne:
            assert equity_of(house, name) >= 0 or marked
        for event in only(events, Deleveraged):
            assert sum(fill.haircut for fill in event.fills) == event.taken
            assert sum(fill.size for fill in event.fills) == -event.size
            assert event.taken - event.needed == event.over - event.under


def test_everyone_sees_a_place_in_the_queue():
    house = opened({**LADDER, "policy": "queue"})
    fund(house, "whale", 10**7)
    for number, cash in enumerate((3_000, 5_000, 10_000, 50_000, 500_000)):
        fund(house, f"w{number}", cash)
        trade(house, "whale", f"w{number}", 1_000, 50_000)
    house.apply(prices(49_000))
    assert [queue_place(house.state, f"w{number}", "BTC-PERP") for number in range(5)] == [5, 4, 3, 2, 1]
    assert queue_place(house.state, "whale", "BTC-PERP") == 5


def test_a_place_in_the_queue_needs_a_queue_and_a_position():
    house = opened()
    fund(house, "ann", 1)
    for account, market in (("ann", "BTC-PERP"), ("bob", "BTC-PERP"), ("ann", "XRP"), ("liquidator", "BTC-PERP")):
        with pytest.raises(InputError):
            queue_place(house.state, account, market)
    with pytest.raises(InputError, match="no ladder"):
        queue_place(opened(None).state, "ann", "BTC-PERP")
