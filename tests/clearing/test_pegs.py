"""An asset that does not hold its peg: weights fall at once, nothing new opens in it, and all comes back."""

from __future__ import annotations

import msgspec
import pytest
from tests.oracle_houses import (
    PEG,
    START,
    at,
    buy,
    changes,
    done,
    fund,
    health,
    line,
    liquidated,
    opened,
    price,
    quotes,
    refused,
    units,
)

from marginkeep.clearing import (
    Clearinghouse,
    Deposit,
    ReserveOrder,
    Withdraw,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.rulebook import INITIAL, MAINTENANCE

PEGGED = {"pegs": {"USDC": PEG}, "feeds__USDC": {"volatile_band": "0"}}
"""Strained from 0.5 % off at once, broken from 2 % off after a minute, back after ten minutes."""


def weights(house: Clearinghouse) -> tuple[int, int]:
    table = house.state.valuation.tables.assets[house.state.tables.asset_index["USDC"]]
    assert table is house.state.tables.assets[table.index]
    return table.weight[INITIAL], table.weight[MAINTENANCE]


def move(house: Clearinghouse, usdc: float, second: float, **more) -> tuple:
    return done(house, quotes(START + second, USDC=usdc, BTC=50_000, ETH=3_000, **more))


def test_each_stage_lowers_the_weight_of_what_accounts_hold():
    house = opened(**PEGGED)
    assert weights(house) == (980_000_000, 990_000_000)
    assert changes(move(house, 0.993, 1), "peg") == [("USDC", "pegged", "strained")]
    assert weights(house) == (882_000_000, 891_000_000)
    move(house, 0.97, 2)
    assert changes(move(house, 0.97, 61), "peg") == []
    assert changes(move(house, 0.97, 62), "peg") == [("USDC", "strained", "broken")]
    assert weights(house) == (490_000_000, 495_000_000)


def test_accounts_that_hold_the_asset_are_judged_at_the_change_of_stage_alone():
    """The price stays where it has been for a minute: it is the lasting of it that liquidates."""
    house = opened(**PEGGED)
    fund(house, "ann", 20_000, "USDC")
    done(house, buy(house, "ann", "BTC-PERP", 9_000))
    events = move(house, 0.97, 1)
    assert changes(events, "peg") == [("USDC", "pegged", "strained")]
    assert liquidated(events) == []
    assert liquidated(move(house, 0.97, 60)) == []
    events = move(house, 0.97, 61)
    assert changes(events, "peg") == [("USDC", "strained", "broken")]
    assert liquidated(events) == ["ann"]
    assert price(house, "USDC") == 9_700


def test_a_broken_peg_refuses_new_risk_in_markets_that_settle_in_it():
    house = opened(**PEGGED)
    fund(house, "ann", 100_000)
    done(house, buy(house, "ann", "ETH-USDC", 100))
    move(house, 0.993, 1)
    done(house, buy(house, "ann", "ETH-USDC", 1))
    move(house, 0.97, 2)
    move(house, 0.97, 62)
    answer = refused(house, buy(house, "ann", "ETH-USDC", 1))
    assert answer.code == "price"
    assert (
        "needs USDC, but its peg is broken: USDC is broken: price 9700 is 0.03 below its target 10000" in answer.reason
    )
    assert (answer.prices[0].name, answer.prices[0].state, answer.prices[0].quality) == ("USDC", "broken", "valid")
    order = ReserveOrder(account="ann", order="1", market="ETH-USDC", side="buy", size=1, price=300_000)
    assert refused(house, order).code == "price"
    done(house, buy(house, "ann", "ETH-USDC", -50))
    done(house, buy(house, "ann", "ETH-PERP", 1))
    done(house, Withdraw(account="ann", asset="USD", amount=1))
    done(house, Deposit(account="ann", asset="USDC", amount=1))


def test_a_peg_that_holds_again_gives_the_weight_back_after_its_time():
    house = opened(**PEGGED)
    fund(house, "ann", 100_000)
    move(house, 0.97, 1)
    move(house, 0.97, 61)
    assert line(house, "USDC").state_name == "broken"
    seen = [change for second in range(70, 2_000, 10) for change in changes(move(house, 1, second), "peg")]
    assert seen == [("USDC", "broken", "pegged")]
    assert weights(house) == (980_000_000, 990_000_000)
    done(house, buy(house, "ann", "ETH-USDC", 1))


def test_time_alone_changes_a_stage():
    """Silence does not interrupt a deviation."""
    house = opened(**PEGGED)
    move(house, 0.97, 1)
    assert changes(done(house, at(START + 61)), "peg") == [("USDC", "strained", "broken")]


def test_a_price_above_the_peg_counts_as_well():
    house = opened(**PEGGED)
    assert changes(move(house, 1.01, 1), "peg") == [("USDC", "pegged", "strained")]


def test_sources_far_apart_strain_a_peg():
    house = opened(**PEGGED)
    events = done(house, quotes(START + 1, USDC=(0.994, 1, 1.006)))
    assert changes(events, "peg") == [("USDC", "pegged", "strained")]


def test_a_stage_survives_a_restart():
    house = opened(**PEGGED)
    move(house, 0.97, 1)
    move(house, 0.97, 61)
    house = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert weights(house) == (490_000_000, 495_000_000)
    assert house.state.opening is not None
    fund(house, "ann", 100, "USDC")
    assert health(house, "ann") == units(100 * 0.97 * 0.495)


def pair() -> tuple[Clearinghouse, Clearinghouse]:
    watched, scanned = opened(**PEGGED), opened(**PEGGED)
    watched.state.watch_from = 0
    return watched, scanned


@pytest.mark.parametrize("falls", [True, False])
def test_with_a_watch_a_change_of_stage_and_of_prices_in_one_batch_find_the_same_accounts(falls):
    """ann holds USDC; bob does not, and falls by BTC in the very batch that changes the weights."""
    answers = []
    for house in pair():
        events = []
        fund(house, "ann", 20_000, "USDC")
        fund(house, "bob", 3_000)
        fund(house, "cat", 10_000, "USDC")
        done(house, buy(house, "ann", "ETH-PERP", 15_000))
        done(house, buy(house, "bob", "BTC-PERP", 1_000))
        events += move(house, 0.97, 1)
        assert (house.state.watch is not None) == (house.state.watch_from == 0)
        events += done(house, quotes(START + 61, USDC=0.97, BTC=47_000 if falls else 50_000, ETH=3_000))
        events += done(house, quotes(START + 62, USDC=0.97, BTC=46_900, ETH=3_000))
        answers.append((msgspec.json.encode(events), state_hash(house)))
        assert liquidated(events) == ["ann", "bob"]
    assert answers[0] == answers[1]


def test_with_a_watch_begun_before_the_first_price_the_same_accounts_are_found():
    """A watch that saw no price of USDC yet valued it by no unit: 10^8 units of it were worth as many dollars."""
    from tests.oracle_houses import new_house

    answers = []
    for watch_from in (0, 10**9):
        house = new_house(**PEGGED)
        house.state.watch_from = watch_from
        fund(house, "ann", 3_000)
        done(house, quotes(START, BTC=50_000, ETH=3_000))
        done(house, quotes(START + 1, USDC=1, BTC=50_000, ETH=3_000))
        events = list(done(house, buy(house, "ann", "ETH-USDC", 1_000)))
        events += done(house, buy(house, "ann", "BTC-INV", 1_000))
        for eth in (2_950, 2_900, 2_800, 2_700):
            events += done(house, quotes(START + 2, USDC=1, BTC=50_000, ETH=eth))
        assert not house.state.halted
        assert liquidated(events) == ["ann"]
        answers.append((msgspec.json.encode(events), state_hash(house)))
    assert answers[0] == answers[1]
