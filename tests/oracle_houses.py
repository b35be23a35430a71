"""Small houses with an oracle: a rulebook whose BTC, ETH, WSTETH and USDC are priced by quotes, and shorthands.

Prices are given in dollars and become ticks here. Unless a test says otherwise a quote is made and arrives at once.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from marginkeep.book.health import measure
from marginkeep.clearing import (
    AdvanceTime,
    Clearinghouse,
    Command,
    Deposit,
    Event,
    Liquidated,
    Rejected,
    Trade,
)
from marginkeep.clearing.commands import PublishQuotes, Quote
from marginkeep.clearing.events import MarginCalled, OracleChanged
from marginkeep.rulebook import MAINTENANCE, Rulebook, read_rulebook
from tests.houses import TIERS

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 3_600 * SECOND
START = 1_000
"""Seconds at which houses open."""

SOURCES = ("binance", "okx", "bybit")
TICKS = {"BTC": 100, "ETH": 100, "WSTETH": 10**6, "USDC": 10**4, "COIN": 100}
"""Ticks of one dollar (of one ETH for WSTETH, a ratio)."""

LINEAR = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000", "tiers": TIERS}
WEIGHT = {"initial": "0.9", "maintenance": "0.95"}
TABLE: dict[str, Any] = {
    "assets": {
        "USD": {},
        "BTC": {"tick": "0.01", "weight": WEIGHT, "max_price": "1000000"},
        "ETH": {"tick": "0.01", "weight": WEIGHT, "max_price": "100000"},
        "WSTETH": {"tick": "0.01", "weight": WEIGHT, "max_price": "100000"},
        "USDC": {"tick": "0.0001", "weight": {"initial": "0.98", "maintenance": "0.99"}, "max_price": "100"},
        "COIN": {"tick": "0.01", "weight": WEIGHT, "max_price": "100000"},
    },
    "liquidation": {"slippage": "0.002", "penalty": "0.003", "liquidator_share": "0.4"},
    "markets": {
        "BTC-PERP": LINEAR,
        "ETH-PERP": {**LINEAR, "lot": "0.01", "tick": "0.01", "max_price": "100000"},
        "BTC-INV": {
            "settle": "BTC",
            "payoff": "inverse",
            "lot": "1",
            "contract_size": "1",
            "tick": "0.5",
            "max_price": "1000000",
            "tier_unit": "contracts",
            "tiers": TIERS,
        },
        "ETH-USDC": {**LINEAR, "settle": "USDC", "lot": "0.01", "tick": "0.01", "max_price": "100000"},
        "COIN-PERP": {**LINEAR, "lot": "0.01", "tick": "0.01", "max_price": "100000"},
    },
    "oracle": {
        "sources": list(SOURCES),
        "feeds": {"BTC": {}, "ETH": {}, "USDC": {}},
        "marks": {
            "BTC-PERP": {"index": "BTC", "preset": "index"},
            "ETH-PERP": {"index": "ETH", "preset": "index"},
            "BTC-INV": {"index": "BTC", "preset": "index"},
            "ETH-USDC": {"index": "ETH", "preset": "index"},
        },
    },
}
"""COIN and COIN-PERP have no feed: they are priced by hand."""

GUARDED_AT_10 = {
    "liquidation_share": "0.02",
    "liquidation_interval": "10s",
    "triggers": [
        {"horizon": "60s", "fall": "0.05", "rise": "0.05", "state": "reduce_only", "duration": "30s"},
        {"horizon": "60s", "fall": "0.1", "rise": "0.1", "state": "guarded", "duration": "60s"},
        {"horizon": "60s", "fall": "0.2", "rise": "0.2", "state": "halted", "duration": "60s"},
    ],
}
"""A breaker that closes a market by degrees."""

PEG = {
    "target": "1",
    "return_after": "10m",
    "stages": [
        {"name": "strained", "deviation": "0.005", "after": "0s", "weight": "0.9", "opens": True},
        {"name": "broken", "deviation": "0.02", "after": "1m", "weight": "0.5"},
    ],
}
STETH = {"base": "ETH", "tick": "0.000001"}


def table(**changes: Any) -> dict[str, Any]:
    """The rulebook's table; each change is set in its oracle table, tables within are named with two underscores."""
    whole = copy.deepcopy(TABLE)
    for path, value in changes.items():
        *outer, last = path.split("__")
        inner = whole["oracle"]
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return whole


def rules(**changes: Any) -> Rulebook:
    return read_rulebook(table(**changes))


def rules_text(oracle: bool = True, **changes: Any) -> str:
    """The same as TOML, for adoption; `oracle` False leaves the oracle out."""
    whole = table(**changes)
    if not oracle:
        del whole["oracle"]
    return "\n".join(f"{name} = {_toml(value)}" for name, value in whole.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def new_house(**changes: Any) -> Clearinghouse:
    """A house that no price has reached yet."""
    return Clearinghouse(rules(**changes))


def opened(
    btc: float = 50_000, eth: float = 3_000, usdc: float = 1, at: float = START, **changes: Any
) -> Clearinghouse:
    """A house with valid prices of everything that its rulebook feeds."""
    house = new_house(**changes)
    done(house, quotes(at, house, BTC=btc, ETH=eth, USDC=usdc, WSTETH=1.2))
    return house


def quote(source: str, feed: str, price: float, at: float, *, made: float | None = None, **more: int) -> Quote:
    """One source's quote, in dollars; `at` and `made` are seconds of arrival and of its source."""
    return Quote(
        source=source,
        feed=feed,
        price=round(price * TICKS[feed]),
        source_ns=round((at if made is None else made) * SECOND),
        arrival_ns=round(at * SECOND),
        **more,
    )


def quotes(at: float, house: Clearinghouse | None = None, **prices: float | Iterable[float | None]) -> PublishQuotes:
    """A batch: of each feed one price that all sources agree on, or one price a source (None = it says nothing).

    With a house, feeds that it does not have are left out.
    """
    rows = []
    for feed, price in prices.items():
        if house is not None and feed not in house.state.oracle.feeds.numbers:
            continue
        each = [price] * len(SOURCES) if isinstance(price, int | float) else price
        rows += [quote(source, feed, p, at) for source, p in zip(SOURCES, each, strict=False) if p is not None]
    return PublishQuotes(quotes=tuple(rows))


def done(house: Clearinghouse, command: Command) -> tuple[Event, ...]:
    """Apply a command, which must succeed."""
    events = house.apply(command)
    assert not isinstance(events[0], Rejected), f"{command}: {events[0]}"
    return events


def refused(house: Clearinghouse, command: Command) -> Rejected:
    """Apply a command, which must be refused."""
    events = house.apply(command)
    assert isinstance(events[0], Rejected), f"{command}: {events}"
    return events[0]


def at(seconds: float) -> AdvanceTime:
    return AdvanceTime(now_ns=round(seconds * SECOND))


def units(amount: float, asset: str = "USD") -> int:
    return round(amount * (10**6 if asset == "USD" else 10**8))


def fund(house: Clearinghouse, account: str, amount: float, asset: str = "USD") -> tuple[Event, ...]:
    decimals = house.state.rulebook.assets[asset].decimals
    return done(house, Deposit(account=account, asset=asset, amount=round(amount * 10**decimals)))


def buy(house: Clearinghouse, account: str, market: str, size: int, seller: str = "external") -> Trade:
    """A trade at the mark; a negative size sells."""
    price = house.state.valuation.marks[house.state.tables.market_index[market]]
    buyer, seller = (account, seller) if size > 0 else (seller, account)
    return Trade(market=market, buyer=buyer, seller=seller, size=abs(size), price=price)


def line(house: Clearinghouse, name: str):
    """The oracle's line of a market or an asset."""
    state = house.state
    if name in state.tables.market_index:
        return state.oracle.markets[state.tables.market_index[name]]
    return state.oracle.assets[state.tables.asset_index[name]]


def mark(house: Clearinghouse, market: str) -> int:
    return house.state.valuation.marks[house.state.tables.market_index[market]]


def price(house: Clearinghouse, asset: str) -> int:
    return house.state.valuation.prices[house.state.tables.asset_index[asset]]


def health(house: Clearinghouse, account: str, level: int = MAINTENANCE) -> int:
    state = house.state
    return measure(state.book.read(state.index[account]), state.valuation, level).health


def calls(events: Iterable[Event]) -> list[str]:
    return [event.account for event in events if isinstance(event, MarginCalled)]


def liquidated(events: Iterable[Event]) -> list[str]:
    return [event.account for event in events if isinstance(event, Liquidated)]


def changes(events: Iterable[Event], what: str) -> list[tuple[str, str, str]]:
    """Changes of one kind as (name, before, after)."""
    return [(e.name, e.before, e.after) for e in events if isinstance(e, OracleChanged) and e.what == what]
