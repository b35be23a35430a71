"""Losses that nobody pays: spread by one step of an index, at once, to the unit, and not to be dodged."""

import numpy as np
import pytest
from tests.ladder_houses import (
    balance,
    check_books,
    fund,
    ledger,
    only,
    opened,
    position,
    prices,
    trade,
    usd,
)

from marginkeep.book.health import equity
from marginkeep.clearing import Deposit, Liquidated, PayFunding, Rejected, Trade, Withdraw, state_hash
from marginkeep.clearing.funding import index_bound
from marginkeep.clearing.loss_events import Deleveraged, LossCovered, LossSocialised
from marginkeep.clearing.losses import Loss
from marginkeep.clearing.socialise import socialise
from marginkeep.clearing.transaction import Transaction
from marginkeep.clearing.waterfall import cover
from marginkeep.units import RATE_ONE

SPREAD = {"policy": "none", "socialise": "side"}


def equity_of(house, name):
    return equity(house.state.book.read(house.state.index[name]), house.state.valuation)


def ruined(ladder=SPREAD, shorts=(1_000, 500), cash=100_000, loser_cash=5_000):
    """A long against shorts of given sizes, and the events of a fall that it cannot pay: 1,138 are missing."""
    house = opened(ladder)
    fund(house, "ann", loser_cash)
    for number, size in enumerate(shorts):
        fund(house, f"s{number}", cash)
        trade(house, "ann", f"s{number}", size, 50_000)
    return house, house.apply(prices(46_000))


def close(house, name, price=46_000):
    """Close a position at mark with the liquidator's trade against the outside."""
    size = position(house, name, "BTC-PERP").size
    sides = ("external", name) if size > 0 else (name, "external")
    trade(house, *sides, abs(size), price)


def test_the_winning_side_bears_it_by_the_lot():
    house, events = ruined()
    spread, covered = only(events, LossSocialised)[0], only(events, LossCovered)[0]
    assert (spread.side, spread.lots, spread.amount) == ("short", 1_500, usd(1_138))
    assert spread.index_move == -(-usd(1_138) * RATE_ONE // 1_500)
    assert (covered.owed, covered.socialised, covered.bad_debt) == (usd(1_138), usd(1_138), 0)
    assert balance(house, "ann") == 0
    assert ledger(house, "bad_debt") == 0
    for name, size in (("s0", 1_000), ("s1", 500)):
        expected = usd(100_000 + 4 * size) - -(-usd(1_138) * size // 1_500)
        assert equity_of(house, name) in (expected, expected - 1)
    check_books(house)


def test_what_rounding_leaves_goes_to_the_fund_and_not_a_unit_is_lost():
    house, _ = ruined(shorts=(700, 301, 499))
    for name in ("s0", "s1", "s2"):
        close(house, name)
        check_books(house)
    assert position(house, "s0", "BTC-PERP") is None
    assert 0 <= ledger(house, "funding:BTC-PERP") * RATE_ONE - house.state.funding_dust[0] < RATE_ONE


def test_the_whole_market_bears_it_where_the_rulebook_says_so():
    house, events = ruined({**SPREAD, "socialise": "market"})
    spread = only(events, LossSocialised)[0]
    assert (spread.side, spread.lots) == ("both", 3_000)
    assert house.state.valuation.funding[0] == spread.index_move == -house.state.valuation.funding_short[0]
    check_books(house)


def test_a_short_is_paid_for_by_the_longs():
    house = opened(SPREAD)
    fund(house, "ann", 5_000)
    fund(house, "bob", 100_000)
    trade(house, "bob", "ann", 1_000, 50_000)
    spread = only(house.apply(prices(56_000)), LossSocialised)[0]
    assert spread.side == "long"
    assert house.state.valuation.funding[0] == spread.index_move
    assert house.state.valuation.funding_short[0] == 0
    assert equity_of(house, "bob") == usd(106_000) - spread.amount
    check_books(house)


def test_funding_goes_on_from_two_indices():
    house, _ = ruined()
    moved = house.state.valuation.funding_short[0]
    house.apply(PayFunding(market="BTC-PERP", rate=1_000_000))
    assert house.state.valuation.funding_short[0] - house.state.valuation.funding[0] == moved
    check_books(house)
    close(house, "s0")
    trade(house, "s0", "s1", 200, 46_000)
    check_books(house)


@pytest.mark.without_shadows  # a loss made by hand
@pytest.mark.parametrize("accounts", [3, 300])
def test_the_cost_does_not_grow_with_the_number_of_accounts(accounts):
    house = opened(SPREAD)
    fund(house, "whale", 10**6)
    for number in range(accounts):
        fund(house, f"s{number}", 10_000)
        trade(house, "whale", f"s{number}", 10, 50_000)
    tx = Transaction(house.state)
    before = house.state.book.positions.rows.copy()
    borne = socialise(tx, "whale", 0, usd(7), {0: Loss(usd(7), True)})
    assert borne == usd(7)
    assert tx.touched() == [house.state.index["whale"]]
    assert len(tx.postings) == 0
    assert len(only(tx.events, LossSocialised)[0].postings) <= 2
    tx.commit()
    assert (house.state.book.positions.rows == before).all()


def test_who_withdraws_first_pays_all_the_same():
    def left(withdraws):
        house = opened(SPREAD)
        fund(house, "ann", 5_000)
        for name in ("bob", "cid"):
            fund(house, name, 100_000)
            trade(house, "ann", name, 700, 50_000)
        if withdraws:
            assert not isinstance(house.apply(Withdraw(account="bob", asset="USD", amount=usd(90_000)))[0], Rejected)
        house.apply(prices(45_000))
        check_books(house)
        return equity_of(house, "bob") + (usd(90_000) if withdraws else 0), equity_of(house, "cid")

    assert left(withdraws=True) == left(withdraws=False)
    assert left(withdraws=True)[0] == left(withdraws=True)[1]


def test_a_loss_is_spread_in_proportion_to_where_it_was_made():
    house = opened(SPREAD)
    fund(house, "ann", 3_000)
    for name in ("bob", "cid"):
        fund(house, name, 100_000)
    trade(house, "ann", "bob", 600, 50_000)
    trade(house, "ann", "cid", 1_000, 3_000, "ETH-PERP")
    events = house.apply(prices(45_000, 2_500))
    btc, eth = only(events, LossSocialised)
    covered = only(events, LossCovered)[0]
    assert btc.amount + eth.amount == covered.owed == covered.socialised
    realised = {step.name: -step.realised for step in only(events, Liquidated)[0].steps}
    whole = sum(realised.values())
    assert abs(btc.amount * whole - covered.owed * realised["BTC-PERP"]) <= whole
    check_books(house)


@pytest.mark.without_shadows  # the index is set by hand
def test_what_does_not_fit_the_index_is_bad_debt():
    house = opened(SPREAD)
    fund(house, "ann", 5_000)
    fund(house, "bob", 100_000)
    trade(house, "ann", "bob", 1_500, 50_000)
    bound = index_bound(house.state, house.state.tables.markets[0])
    house.state.valuation.funding_short[0] = -bound + 200_000 * RATE_ONE
    bob = house.state.book.read(house.state.index["bob"])
    bob.positions[0].funding_entry = house.state.valuation.funding_short[0]
    house.state.book.write(house.state.index["bob"], bob)
    events = house.apply(prices(46_000))
    covered = only(events, LossCovered)[0]
    assert only(events, LossSocialised)[0].amount == 200_000 * 1_500
    assert house.state.valuation.funding_short[0] == -bound
    assert covered.socialised == usd(300)
    assert covered.bad_debt == usd(838)
    assert ledger(house, "bad_debt") == -usd(838)
    check_books(house)


@pytest.mark.without_shadows  # a debt made by hand
def test_without_open_interest_or_a_known_market_it_is_bad_debt():
    house = opened(SPREAD)
    fund(house, "ann", 1)
    for lost in ({0: Loss(1, True)}, {}):
        tx = Transaction(house.state)
        tx.post(0, "ann", "outside", usd(8), "made by hand")
        covered = cover(tx, "ann", lost)
        assert (covered.socialised, covered.bad_debt) == (0, usd(7))


@pytest.mark.parametrize("spread", ["none", "side"])
@pytest.mark.parametrize("watch_from", [1, 2_000])
def test_whoever_it_makes_ill_is_liquidated_by_the_same_command(spread, watch_from):
    """The short wins 10,000 in BTC, loses as much in ETH, and is asked for 5,080 when it has 5,000 left."""
    house = opened({"policy": "none", "socialise": spread})
    house.state.watch_from = watch_from
    fund(house, "bob", 5_000)
    fund(house, "ann", 5_000)
    fund(house, "eve", 100_000)
    trade(house, "ann", "bob", 1_000, 50_000)
    trade(house, "bob", "eve", 1_000, 3_000, "ETH-PERP")
    events = house.apply(prices(40_000, 2_000))
    check_books(house)
    if spread == "none":
        assert [event.account for event in only(events, Liquidated)] == ["ann"]
        assert position(house, "bob", "BTC-PERP").size == -1_000
        return
    assert [event.account for event in only(events, Liquidated)] == ["ann", "bob"]
    assert [event.market for event in only(events, LossSocialised)] == ["BTC-PERP", "ETH-PERP"]
    assert position(house, "bob", "BTC-PERP") is None
    assert house.state.moved == []


def cascade(seed, watch_from=None):
    """A house of levered accounts that trade with one another, and the events of a crash in it."""
    random = np.random.default_rng(seed)
    house = opened({"policy": ("none", "queue", "pro_rata")[seed % 3], "socialise": ("side", "market")[seed % 2]})
    if watch_from is not None:
        house.state.watch_from = watch_from
    names = [f"u{number}" for number in range(30)]
    for name in names:
        fund(house, name, int(random.integers(1_000, 8_000)))
    for _ in range(90):
        buyer, seller = random.choice(len(names), 2, replace=False)
        market = ("BTC-PERP", "ETH-PERP")[int(random.integers(2))]
        ticks, size = (500_000, int(random.integers(1, 300))) if market == "BTC-PERP" else (300_000, 100)
        house.apply(Trade(market=market, buyer=names[buyer], seller=names[seller], size=size, price=ticks))
    answers = []
    for step in range(12):
        move = random.uniform(-0.25, 0.25, 2)
        answers.append(house.apply(prices(50_000 * (1 + move[0]), 3_000 * (1 - move[1]))))
        if step % 4 == 3:
            answers.append(house.apply(PayFunding(market="BTC-PERP", rate=int(random.integers(-(10**6), 10**6)))))
            answers.append(house.apply(Deposit(account=names[step], asset="USD", amount=usd(500))))
        check_books(house)
        assert house.state.moved == []
    return house, answers


@pytest.mark.parametrize("seed", range(6))
def test_with_a_watch_and_without_one_the_same_happens(seed):
    scanned, first = cascade(seed)
    watched, second = cascade(seed, watch_from=1)
    assert watched.state.watch is not None
    assert not watched.state.halted
    assert first == second
    assert state_hash(scanned) == state_hash(watched)
    happened = [event for answer in first for event in answer]
    assert only(happened, Deleveraged if seed % 3 else LossSocialised)
