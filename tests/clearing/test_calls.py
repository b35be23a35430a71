"""Margin calls where liquidation waits: once, for the amount that is missing, ended by a top-up, and resolved later."""

from __future__ import annotations

import pytest
from tests.oracle_houses import START, at, buy, calls, done, fund, health, line, liquidated, mark, opened, quotes, units

from marginkeep.clearing import (
    AddMargin,
    Clearinghouse,
    Deposit,
    Liquidated,
    SetPrices,
    restore_snapshot,
    take_snapshot,
)
from marginkeep.clearing.commands import Halt, Resume
from marginkeep.clearing.events import MarginCalled

DIVERGENT_FALL = (46_100, 47_000, 47_900)
"""Nobody may be liquidated at sources as far apart as these."""


def with_long(amount: float = 3_000, **changes) -> Clearinghouse:
    """A house in which ann is long one BTC; one of 3,000 dollars bears a fall to 47,475."""
    house = opened(**changes)
    fund(house, "ann", amount)
    done(house, buy(house, "ann", "BTC-PERP", 1_000))
    return house


def call_of(events) -> MarginCalled:
    (call,) = [event for event in events if isinstance(event, MarginCalled)]
    return call


def test_whom_only_a_price_in_doubt_puts_below_maintenance_is_called_and_not_liquidated():
    house = with_long()
    events = done(house, quotes(START + 1, BTC=DIVERGENT_FALL))
    call = call_of(events)
    assert (call.account, call.missing) == ("ann", units(470))
    assert liquidated(events) == []
    assert mark(house, "BTC-PERP") == 500_000
    (seen,) = call.prices
    assert (seen.name, seen.price, seen.latest, seen.quality) == ("BTC-PERP", 500_000, 470_000, "divergent")
    assert "below maintenance at the latest prices, which liquidation may not use yet (BTC-PERP: " in call.because


def test_a_call_goes_out_once_while_the_price_moves_on():
    house = with_long()
    assert calls(done(house, quotes(START + 1, BTC=DIVERGENT_FALL))) == ["ann"]
    assert calls(done(house, quotes(START + 2, BTC=(46_000, 46_900, 47_800)))) == []
    assert calls(done(house, at(START + 5))) == []
    assert house.state.called == {"ann": ("BTC-PERP",)}


def test_a_top_up_of_exactly_what_is_missing_ends_the_call_and_one_unit_less_does_not():
    for short in (0, 1):
        house = with_long()
        missing = call_of(done(house, quotes(START + 1, BTC=DIVERGENT_FALL))).missing
        done(house, Deposit(account="ann", asset="USD", amount=missing - short))
        assert bool(house.state.called) == bool(short)
        events = done(house, quotes(START + 2, BTC=47_000))
        assert liquidated(events) == (["ann"] if short else [])


def test_who_has_topped_up_and_falls_again_is_called_again():
    """Both falls come without any step of the oracle between: the call is forgotten at the top-up itself."""
    house = with_long()
    done(house, quotes(START + 1, BTC=DIVERGENT_FALL))
    done(house, Deposit(account="ann", asset="USD", amount=units(500)))
    assert house.state.called == {}
    assert calls(done(house, quotes(START + 2, BTC=(45_100, 46_000, 46_900)))) == ["ann"]


def test_when_the_price_may_be_used_the_account_is_liquidated_and_no_longer_called():
    house = with_long()
    done(house, quotes(START + 1, BTC=DIVERGENT_FALL))
    events = done(house, quotes(START + 2, BTC=47_000))
    assert liquidated(events) == ["ann"]
    assert house.state.called == {}


def test_when_the_doubtful_price_turns_out_wrong_the_call_is_forgotten():
    house = with_long()
    done(house, quotes(START + 1, BTC=DIVERGENT_FALL))
    events = done(house, quotes(START + 2, BTC=50_000))
    assert (liquidated(events), calls(events), house.state.called) == ([], [], {})


@pytest.mark.parametrize("watch_from", [0, 10**9])
def test_who_is_below_at_a_trusted_price_that_has_become_unusable_is_called(watch_from):
    """The account falls through another market, whose position is sold; BTC-PERP waits, and follows later."""
    house = with_long()
    house.state.watch_from = watch_from
    done(house, SetPrices(marks={"COIN-PERP": 1_000}))
    done(house, buy(house, "ann", "COIN-PERP", 50_000))
    done(house, quotes(START + 1, BTC=(49_100, 50_000, 50_900)))
    events = done(house, SetPrices(marks={"COIN-PERP": 490}))
    assert liquidated(events) == ["ann"]
    call = call_of(events)
    assert call.missing == -health(house, "ann") > 0
    assert (
        "it is below maintenance and liquidation waits (BTC-PERP: liquidation: its price is divergent" in call.because
    )
    assert house.state.called == {"ann": ("BTC-PERP",)}
    for second in (START + 1.1, START + 1.2):
        events = done(house, quotes(second, BTC=(None, None, 50_850)))
        assert (liquidated(events), calls(events)) == ([], [])
    events = done(house, quotes(START + 1.3, BTC=50_000))
    assert (liquidated(events), house.state.called) == (["ann"], {})


def test_collateral_of_unknown_worth_is_not_sold_until_its_price_may_be_used():
    house = opened(feeds__ETH={"volatile_band": "0"})
    fund(house, "ann", 1, "BTC")
    done(house, buy(house, "ann", "ETH-PERP", 20_000))
    done(house, quotes(START + 1, BTC=(49_100, 50_000, 50_900)))
    events = done(house, quotes(START + 2, ETH=2_755))
    (event,) = [event for event in events if isinstance(event, Liquidated)]
    assert [(step.what, step.name) for step in event.steps] == [("close", "ETH-PERP")]
    assert [(seen.name, bool(seen.blocked)) for seen in event.prices] == [("ETH-PERP", False), ("BTC", True)]
    assert calls(events) == ["ann"]
    assert house.state.called == {"ann": ("BTC",)}
    (event,) = [event for event in done(house, quotes(START + 3, BTC=50_000)) if isinstance(event, Liquidated)]
    assert [(step.what, step.name) for step in event.steps] == [("sell", "BTC")]
    assert house.state.called == {}


def test_a_halt_calls_whom_its_latest_price_will_liquidate_and_nobody_else():
    house = with_long()
    fund(house, "rich", 100_000)
    fund(house, "short", 3_000)
    done(house, buy(house, "rich", "BTC-PERP", 1_000))
    done(house, buy(house, "short", "BTC-PERP", -1_000))
    done(house, Halt(market="BTC-PERP"))
    events = done(house, quotes(START + 1, BTC=47_000))
    assert (calls(events), liquidated(events)) == (["ann"], [])
    assert mark(house, "BTC-PERP") == 500_000
    events = done(house, Resume(market="BTC-PERP"))
    assert (calls(events), liquidated(events)) == ([], ["ann"])


def test_a_called_isolated_position_is_topped_up_from_its_owner():
    house = opened()
    fund(house, "ann", 10_000)
    done(house, AddMargin(account="ann", market="BTC-PERP", amount=units(3_000)))
    done(house, buy(house, "ann/BTC-PERP", "BTC-PERP", 1_000))
    done(house, Halt(market="BTC-PERP"))
    call = call_of(done(house, quotes(START + 1, BTC=47_000)))
    assert call.account == "ann/BTC-PERP"
    done(house, AddMargin(account="ann", market="BTC-PERP", amount=call.missing))
    assert house.state.called == {}
    assert liquidated(done(house, Resume(market="BTC-PERP"))) == []


def test_a_rulebook_in_which_calls_accept_only_valid_prices_calls_at_no_others():
    house = with_long(actions={"call": ["valid"]})
    assert calls(done(house, quotes(START + 1, BTC=DIVERGENT_FALL))) == []


def test_an_account_whose_settle_asset_is_in_doubt_is_called_for_it():
    """ann holds no USDC, but her loss is in it: when it may be worth more than a dollar, so may be her loss."""
    house = opened(feeds__ETH={"volatile_band": "0"}, feeds__USDC={"volatile_band": "0"})
    fund(house, "ann", 3_100)
    done(house, buy(house, "ann", "ETH-USDC", 1_000))
    done(house, quotes(START + 1, ETH=2_720, USDC=1))
    assert 0 < health(house, "ann") < units(30)
    events = done(house, quotes(START + 2, USDC=(1.005, 1.02, 1.04)))
    assert line(house, "USDC").quality == "divergent"
    assert calls(events) == ["ann"]
    assert house.state.called == {"ann": ("USDC",)}


def test_funding_and_set_prices_call_too_where_something_waits():
    house = with_long()
    done(house, SetPrices(marks={"COIN-PERP": 1_000}))
    done(house, buy(house, "ann", "COIN-PERP", 40_000))
    done(house, quotes(START + 1, BTC=(47_600, 48_500, 49_400)))
    assert house.state.called == {}
    assert calls(done(house, SetPrices(marks={"COIN-PERP": 800}))) == []
    assert calls(done(house, SetPrices(marks={"COIN-PERP": 740}))) == ["ann"]


@pytest.mark.parametrize("quiet", [True, False])
def test_calls_survive_a_restart(quiet):
    house = with_long()
    done(house, quotes(START + 1, BTC=DIVERGENT_FALL))
    house = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert house.state.called == {"ann": ("BTC-PERP",)}
    assert calls(done(house, at(START + 2) if quiet else quotes(START + 2, BTC=(46_000, 46_900, 47_800)))) == []
    assert liquidated(done(house, quotes(START + 3, BTC=47_000))) == ["ann"]


def test_two_obstacles_are_named_and_the_call_is_repeated_when_they_change():
    house = opened()
    fund(house, "ann", 3_000)
    done(house, SetPrices(marks={"COIN-PERP": 1_000}))
    done(house, buy(house, "ann", "BTC-PERP", 500))
    done(house, buy(house, "ann", "ETH-PERP", 500))
    done(house, buy(house, "ann", "COIN-PERP", 50_000))
    done(house, Halt(market="BTC-PERP"))
    done(house, Halt(market="ETH-PERP"))
    events = done(house, SetPrices(marks={"COIN-PERP": 430}))
    assert calls(events) == ["ann"]
    assert house.state.called == {"ann": ("BTC-PERP", "ETH-PERP")}
    assert len(call_of(events).prices) == 2
    events = done(house, Resume(market="ETH-PERP"))
    assert liquidated(events) == ["ann"]
    assert house.state.called in ({}, {"ann": ("BTC-PERP",)})
    assert calls(events) == list(house.state.called)
