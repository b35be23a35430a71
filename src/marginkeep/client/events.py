"""What happened, as the service tells it: amounts are decimal strings in whole units, times integer nanoseconds.

An event of a kind that is not listed here is a plain `Event`; every event keeps all its members in `raw`.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

Holder = TypeVar("Holder", bound=msgspec.Struct)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events, and any event without a class of its own.

    Attributes
    ----------
    type : its kind
    raw : all its members as they came
    """

    type: str
    raw: dict[str, Any] = {}


class Rejected(Event, frozen=True, kw_only=True):
    """A command was refused and nothing changed."""

    command: str
    code: str
    reason: str
    numbers: dict[str, str | int] = {}


class AccountOpened(Event, frozen=True, kw_only=True):
    """A new account exists."""

    account: str
    mode: str


class BalanceMoved(Event, frozen=True, kw_only=True):
    """A deposit, withdrawal, transfer, margin assignment or fund top-up was booked."""

    what: str
    asset: str
    amount: str
    source: str
    target: str


class ModeChanged(Event, frozen=True, kw_only=True):
    """A position moved between its owner's cross account and an isolated account."""

    account: str
    market: str
    mode: str
    margin: str


class OrderReserved(Event, frozen=True, kw_only=True):
    """An order passed the pre-trade check; `free` is the initial health that remains."""

    account: str
    order: str
    free: str


class OrderReleased(Event, frozen=True, kw_only=True):
    """An order no longer reserves anything: ``released``, ``filled`` or ``liquidation``."""

    account: str
    order: str
    reason: str


class TradeSide(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a trade: `size` and `cost` after it; empty names where it is somebody else's."""

    account: str
    size: str
    cost: str
    fee: str
    realised: str
    funding: str
    order: str | None = None


class Traded(Event, frozen=True, kw_only=True):
    """A trade was cleared on both sides."""

    market: str
    size: str
    price: str
    buyer: TradeSide
    seller: TradeSide


class PricesSet(Event, frozen=True, kw_only=True):
    """Marks and asset prices moved."""

    marks: dict[str, str]
    prices: dict[str, str] = {}


class MarketHeld(Event, frozen=True, kw_only=True):
    """An operator holds a market, or all of them (None), at a state or worse; ``open`` ends the hold."""

    market: str | None
    state: str


class OracleChanged(Event, frozen=True, kw_only=True):
    """A quality, market state, peg or source changed."""

    what: str
    name: str
    before: str
    after: str
    why: str


class DepositAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A deposit that would cure a margin call; `value` in units of the reporting asset."""

    asset: str
    amount: str
    value: str


class CloseAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A trade that would cure a margin call: `size` is negative where one must sell."""

    market: str
    size: str
    price: str
    cost: str


class MarginCalled(Event, frozen=True, kw_only=True):
    """An account must be topped up, and nothing is sold yet.

    Attributes
    ----------
    missing : what lacks, in units of the reporting asset
    deadline_ns : until when it may be cured before forced reduction begins; 0 = as soon as prices allow
    deposits, closes : each of them cures it alone, cheapest first
    """

    account: str
    missing: str
    because: str
    deadline_ns: int = 0
    deposits: tuple[DepositAsked, ...] = ()
    closes: tuple[CloseAsked, ...] = ()


class CallReminded(Event, frozen=True, kw_only=True):
    """The deadline of a margin call comes near."""

    account: str
    missing: str
    deadline_ns: int


class CallCured(Event, frozen=True, kw_only=True):
    """A margin call is cured."""

    account: str


class RungChanged(Event, frozen=True, kw_only=True):
    """An account moved on the ladder."""

    account: str
    before: str
    after: str


class LiquidationStep(msgspec.Struct, frozen=True, kw_only=True):
    """One forced close or sale."""

    what: str
    name: str
    size: str
    price: str
    asset: str
    value: str
    realised: str
    penalty: str
    mark: str


class Liquidated(Event, frozen=True, kw_only=True):
    """An account was reduced by force; see the engine's event of this name for every member."""

    account: str
    collateral: str
    requirement: str
    health_after: str
    notional: str
    penalty: str
    fund_paid: str
    bad_debt: str
    steps: tuple[LiquidationStep, ...] = ()
    rung: str = ""


class AuctionOpened(Event, frozen=True, kw_only=True):
    """An account's positions are on offer."""

    account: str
    discount: str
    most: str
    expires_ns: int
    legs: dict[str, str]


class AuctionBid(Event, frozen=True, kw_only=True):
    """A liquidator took a share of an auctioned account."""

    account: str
    liquidator: str
    fraction: str
    discount: str
    notional: str
    reward: str
    reward_asset: str


class Deleveraged(Event, frozen=True, kw_only=True):
    """A bankrupt position was closed against winners."""

    account: str
    market: str
    size: str
    price: str


class FundingPaid(Event, frozen=True, kw_only=True):
    """A market's funding moved."""

    market: str
    rate: str


class Halted(Event, frozen=True, kw_only=True):
    """The audit of the watch found a contradiction: from now on only commands that reduce risk are accepted."""

    report: str


KINDS: Final[dict[str, type[Event]]] = {kind.__name__: kind for kind in Event.__subclasses__()}


def read_event(members: dict[str, Any]) -> Event:
    """Return an event of its members.

    Raises
    ------
    msgspec.ValidationError : a member of a kind that is known is missing or another type
    """
    kind = KINDS.get(str(members.get("type", "")), Event)
    return msgspec.convert({**members, "raw": members}, kind)


def read_events(rows: list[dict[str, Any]]) -> tuple[Event, ...]:
    """Return events of their members."""
    return tuple(read_event(members) for members in rows)


def holding_events(members: dict[str, Any], kind: type[Holder]) -> Holder:
    """Return a struct with a field `events` of its members, each event of its own class."""
    holder = msgspec.convert({**members, "events": ()}, kind)
    return msgspec.structs.replace(holder, events=read_events(members.get("events", [])))
