"""Delayed feeds: a price is announced a period before it counts, and whom it will put below maintenance is called."""

from __future__ import annotations

from tests.oracle_houses import (
    STETH,
    at,
    buy,
    calls,
    changes,
    done,
    fund,
    health,
    line,
    liquidated,
    opened,
    price,
    quotes,
    units,
)

from marginkeep.clearing import Clearinghouse, Deposit, restore_snapshot, take_snapshot
from marginkeep.clearing.events import MarginCalled, PriceAnnounced

HOUR = 3_600
DELAYED = {"feeds__BTC": {"delay": "1h", "volatile_band": "0"}}
BEFORE = HOUR - 100
"""Houses open shortly before a publication, which falls on whole hours."""


def house_of(*named: tuple[str, float], **changed) -> Clearinghouse:
    """A house in which each account holds one BTC and is short ETH-PERP for some dollars."""
    house = opened(at=BEFORE, **{**DELAYED, **changed})
    for name, eth in named:
        fund(house, name, 1, "BTC")
        done(house, buy(house, name, "ETH-PERP", -round(eth * 100)))
    return house


def tick(house: Clearinghouse, second: float, btc: float, eth: float = 3_000) -> tuple:
    return done(house, quotes(second, BTC=btc, ETH=eth, USDC=1))


def announced(events) -> list[PriceAnnounced]:
    return [event for event in events if isinstance(event, PriceAnnounced)]


def test_a_delayed_price_is_announced_and_counts_an_hour_later():
    house = house_of()
    tick(house, BEFORE + 1, 40_000)
    assert price(house, "BTC") == 5_000_000
    events = tick(house, HOUR, 30_000)
    assert announced(events) == [PriceAnnounced(asset="BTC", price=3_000_000, at_ns=2 * HOUR * 10**9)]
    assert price(house, "BTC") == 5_000_000
    assert announced(tick(house, HOUR + 1_800, 20_000)) == []
    assert price(house, "BTC") == 5_000_000
    events = tick(house, 2 * HOUR, 20_000)
    assert price(house, "BTC") == 3_000_000
    assert announced(events) == [PriceAnnounced(asset="BTC", price=2_000_000, at_ns=3 * HOUR * 10**9)]


def test_early_calls_go_to_exactly_those_who_would_be_below_maintenance():
    house = house_of(("ann", 310), ("bob", 200), ("cat", 10))
    fund(house, "dan", 1_000_000)
    events = tick(house, HOUR, 20_000)
    assert calls(events) == ["ann"]
    (call,) = [event for event in events if isinstance(event, MarginCalled)]
    now = health(house, "ann")
    assert call.missing == units(30_000 * 0.95) - now
    assert (
        "it will be below maintenance at the prices announced (BTC at 2000000 ticks from 7200000000000 ns on)"
        in call.because
    )
    assert [seen.name for seen in call.prices] == ["BTC"]
    assert liquidated(events) == []
    assert house.state.called == {}


def test_who_tops_up_in_time_is_not_liquidated_when_the_price_counts_and_who_does_not_is():
    house = house_of(("ann", 310), ("bob", 310))
    events = tick(house, HOUR, 20_000)
    missing = {event.account: event.missing for event in events if isinstance(event, MarginCalled)}
    assert sorted(missing) == ["ann", "bob"]
    done(house, Deposit(account="ann", asset="USD", amount=missing["ann"]))
    assert liquidated(tick(house, 2 * HOUR - 1, 20_000)) == []
    events = tick(house, 2 * HOUR, 20_000)
    assert liquidated(events) == ["bob"]


def test_nobody_is_called_for_an_announced_rise_of_collateral():
    house = house_of(("ann", 200))
    events = tick(house, HOUR, 60_000)
    assert len(announced(events)) == 1
    assert calls(events) == []


def test_time_alone_publishes_what_was_announced():
    house = house_of(("ann", 310))
    tick(house, HOUR, 20_000)
    events = done(house, at(2 * HOUR))
    assert price(house, "BTC") == 2_000_000
    assert (calls(events), house.state.called) == (["ann"], {"ann": ("ETH-PERP",)})  # of ETH nothing is known by now
    assert liquidated(done(house, quotes(2 * HOUR + 1, ETH=3_000))) == ["ann"]


def test_a_restart_in_the_hour_changes_nothing_of_it():
    house = house_of(("ann", 310))
    tick(house, HOUR, 20_000)
    house = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert announced(tick(house, HOUR + 10, 20_000)) == []
    assert liquidated(tick(house, 2 * HOUR, 20_000)) == ["ann"]


def test_a_ratio_is_announced_once_though_its_base_moves_all_the_time():
    """What is delayed is the ratio; the product with the base is news with every quote of the base."""
    house = opened(at=BEFORE, feeds__WSTETH={**STETH, "delay": "1h", "volatile_band": "0"})
    fund(house, "ann", 10, "WSTETH")
    done(house, buy(house, "ann", "BTC-PERP", -700))
    done(house, quotes(HOUR, WSTETH=0.2, ETH=3_000, BTC=50_000))
    seen: list = []
    for step in range(1, 40):
        seen += done(house, quotes(HOUR + step, ETH=3_000 + step % 3, BTC=50_000, WSTETH=0.2))
    assert announced(seen) == []
    assert calls(seen) == []
    events = done(house, quotes(2 * HOUR, ETH=3_000, BTC=50_000, WSTETH=0.2))
    assert price(house, "WSTETH") == 60_000
    assert liquidated(events) == []


def test_an_announced_price_that_the_books_cannot_hold_calls_nobody_and_halts_when_it_comes():
    house = house_of(("ann", 10))
    events = tick(house, HOUR, 1_000_001)
    assert (announced(events), calls(events)) == ([], [])
    events = tick(house, 2 * HOUR, 50_000)
    assert ("BTC", "valid", "halted") in changes(events, "quality")
    assert price(house, "BTC") == 5_000_000
    assert line(house, "BTC").quality == "halted"
