"""How the client's answers read on a terminal: one fact a line, every number with its unit."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from marginkeep.cli.event_words import SECOND_NS, sentences, until
from marginkeep.client.errors import ClientError, Refused, ServiceError, TooMany, Unavailable, Unreachable
from marginkeep.client.events import OracleChanged
from marginkeep.units import format_exact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from marginkeep.client.answers import Answer, Verdict
    from marginkeep.client.events import Event
    from marginkeep.client.views import AccountView, PositionView

AGAIN = (TooMany, Unavailable, Unreachable)
"""Errors after which the same command may be sent again; all others say themselves what to do."""

QUIET = frozenset({"BookObserved", "PriceAnnounced", "PricesSet", "QuotesTaken", "TimeAdvanced"})
"""Events that come all the time, to everybody; so do changes of the oracle other than a market's state."""

IN_REPORTING_ASSET = ("insufficient_margin", "shortfall_open")


def error_line(error: ClientError) -> str:
    """Return an error in one line: code, what, and the cure."""
    if isinstance(error, Refused):
        return f"refused, {error.refusal}: {error.detail}"
    key = f" with --key {error.key}" if error.key else ""
    look = "see that a service listens there, or name another with --address, then " * isinstance(error, Unreachable)
    return f"{code_of(error)}: {error}" + (f": {look}try again{key}" if isinstance(error, AGAIN) else "")


def code_of(error: ClientError) -> str:
    """Return an error's code: the service's, or what kept the client from asking it."""
    return error.code if isinstance(error, ServiceError) else type(error).__name__.lower()


def error_table(error: ClientError) -> dict[str, Any]:
    """Return an error for JSON: the problem document where there is one."""
    document = error.document if isinstance(error, ServiceError) else {"detail": str(error)}
    return {**document, "code": code_of(error), "key": error.key}


def verdict_lines(verdict: Verdict, what: str, asset: str) -> Iterator[str]:
    """Yield what the pre-trade check says of an order."""
    if verdict.accepted:
        yield f"yes: {what} passes; {verdict.free} {asset} of initial margin would remain free"
        return
    yield f"no: {what} is refused: {verdict.refusal}"
    yield f"    {verdict.reason}"
    unit = f" {asset}" if verdict.refusal in IN_REPORTING_ASSET else ""
    for name, value in verdict.numbers.items():
        yield f"    {name} {value}{unit}"


def answer_lines(answer: Answer, asset: str) -> Iterator[str]:
    """Yield what a command has caused."""
    again = ", as it was answered before" if answer.repeated else ""
    yield f"done: record {answer.sequence}{again}"
    for event in answer.events:
        for line in event_lines(event, asset):
            yield f"    {line}"


def event_lines(event: Event, asset: str) -> Iterator[str]:
    """Yield what an event says to one who watches an account; nothing where it concerns everybody all the time."""
    is_quiet = event.type in QUIET or (isinstance(event, OracleChanged) and event.what != "market")
    for number, line in enumerate(() if is_quiet else sentences(event.raw, asset)):
        yield f"    {line}" if number else line


def account_lines(account: AccountView, asset: str, ticks: Mapping[str, str]) -> Iterator[str]:
    """Yield how an account stands.

    Parameters
    ----------
    ticks : of each market in which it holds a position
    """
    yield f"{account.account} ({account.mode}): {account.status.replace('_', ' ')}"
    yield f"    equity {account.equity} {asset}, free for new risk {account.health_initial}, health {account.health}"
    yield f"    margin: initial {account.initial_margin}, maintenance {account.maintenance_margin} {asset}"
    if account.call is not None and account.call.missing == "0":
        yield "    margin call: nothing is missing any more, which cures it"
    elif account.call is not None:
        yield f"    MARGIN CALL: {account.call.missing} {asset} missing, {until(account.call.deadline_ns)}"
    for name, amount in account.balances.items():
        yield f"    balance {amount} {name}"
    for position in account.positions:
        if position.side is not None:
            yield f"    {_position(position, ticks.get(position.market, ''))}"
    for order in account.orders:
        yield f"    order {order.order}: {order.side} {order.size} {order.market} at {order.price}"


def _position(position: PositionView, tick: str) -> str:
    limit, long = position.liquidation_price, position.side == "long"
    far = "" if position.distance is None else f", {Decimal(position.distance) * 100:+.2f} % from here"
    shown = "" if limit is None else on_grid(limit, tick, up=long)
    tail = f"; liquidation at {shown}{far}" if shown else "; no price liquidates it"
    entry = "an unknown price" if position.entry is None else on_grid(position.entry, tick, up=long)
    return (
        f"{position.side} {position.size.lstrip('-')} {position.market} from {entry}, "
        f"mark {position.mark}, profit {position.unrealized_pnl} {position.settle}{tail}"
    )


def on_grid(price: str, tick: str, *, up: bool) -> str:
    """Return an exact price as a multiple of its market's tick, rounded as stated; the exact one is in the JSON.

    Examples
    --------
    >>> on_grid("96356.391836734693877551", "0.5", up=True)
    '96356.5'
    """
    if not tick:
        return price
    count = Fraction(price) / Fraction(tick)
    return format_exact((ceil if up else floor)(count) * Fraction(tick))


def clock_text(at_ns: int) -> str:
    """Return a time of day."""
    return time.strftime("%H:%M:%S", time.gmtime(at_ns // SECOND_NS))
