"""A house that makes its own funding: quotes, books and time, a minute at a time."""

from __future__ import annotations

from typing import Any

from tests.oracle_houses import START, done, quotes, table
from tests.oracle_houses import _toml as toml

from marginkeep.clearing import Clearinghouse, Event
from marginkeep.clearing.commands import ObserveBook
from marginkeep.clearing.events import FundingPaid
from marginkeep.rulebook import read_rulebook

MARKET = "BTC-PERP"
INTERVAL = 600
FIRST = 1_200
"""Seconds from one payment to the next, and when the first is due in a house that opens at `START` = 1,000."""

PLAIN = {
    "interval": "10m",
    "period": "10m",
    "interest": "0",
    "damping": False,
    "cap_of_margin": "0",
}
"""The rate of a payment is the mean premium of its minutes, and nothing else."""


def tables(
    funding: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **oracle: Any
) -> dict[str, Any]:
    """The oracle house's table with rules of funding and limits; without any, plain funding of BTC-PERP."""
    whole = table(**oracle)
    whole["funding"] = {MARKET: PLAIN} if funding is None else funding
    if limits is not None:
        whole["limits"] = limits
    return whole


def text(whole: dict[str, Any]) -> str:
    """A table as TOML, for adoption."""
    return "\n".join(f"{name} = {toml(value)}" for name, value in whole.items())


def house_of(whole: dict[str, Any], btc: float = 50_000) -> Clearinghouse:
    house = Clearinghouse(read_rulebook(whole))
    done(house, quotes(START, house, BTC=btc, ETH=3_000, USDC=1))
    return house


def funded(btc: float = 50_000, oracle: dict[str, Any] | None = None, **rules: Any) -> Clearinghouse:
    """A house with BTC at a price whose BTC-PERP is funded plainly but for these rules."""
    return house_of(tables({MARKET: {**PLAIN, **rules}}, **(oracle or {})), btc)


def book(house: Clearinghouse, at: float, premium: float | None, btc: float = 50_000) -> tuple[Event, ...]:
    """A book whose impact prices lie both this far from the index; None = no impact price."""
    ticks = 0 if premium is None else round(btc * 10 * (1 + premium))
    middle = round(btc * 10)
    command = ObserveBook(
        market=MARKET, bid=middle - 1, ask=middle + 1, impact_bid=ticks, impact_ask=ticks, at_ns=round(at * 10**9)
    )
    return done(house, command)


def minute(house: Clearinghouse, at: float, premium: float | None, btc: float = 50_000) -> list[FundingPaid]:
    """Quotes, then a book; return what was paid on the way."""
    events = [*done(house, quotes(at, house, BTC=btc, ETH=3_000, USDC=1)), *book(house, at, premium, btc)]
    return payments(events)


def run(
    house: Clearinghouse, start: float, end: float, premium: float | None, btc: float = 50_000
) -> list[FundingPaid]:
    """A premium each minute from start to end, both included."""
    paid = []
    for at in range(round(start), round(end) + 1, 60):
        paid += minute(house, at, premium, btc)
    return paid


def payments(events: tuple[Event, ...] | list[Event]) -> list[FundingPaid]:
    return [event for event in events if isinstance(event, FundingPaid)]
