"""What questions about accounts and records are answered: amounts are decimal strings, None where there is no number.

Members that this client does not know are passed over, so that it goes on working with a newer service.
"""

from __future__ import annotations

from typing import Any

import msgspec

from marginkeep.client.events import Event  # noqa: TC001 - msgspec reads the annotations


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is shown."""


class QueuePlace(View, frozen=True, kw_only=True):
    """A place among those whose positions are closed when winners bear a loss; 1 = the first."""

    rank: int
    of: int
    lights: int
    sequence: int = 0


class PositionView(View, frozen=True, kw_only=True):
    """One position; amounts are in the market's settle asset.

    Attributes
    ----------
    side : ``long``, ``short``, None where only orders are open
    distance : relative move of the mark to the liquidation price, negative = a fall
    """

    market: str
    settle: str
    side: str | None
    size: str
    entry: str | None
    cost: str
    notional: str
    mark: str
    unrealized_pnl: str
    initial_margin: str
    maintenance_margin: str
    liquidation_price: str | None = None
    bankruptcy_price: str | None = None
    distance: str | None = None
    distance_value: str | None = None
    queue: QueuePlace | None = None


class OrderView(View, frozen=True, kw_only=True):
    """What is left of an open order."""

    order: str
    account: str
    market: str
    side: str
    size: str
    price: str


class CallView(View, frozen=True, kw_only=True):
    """A margin call; `deadline_ns` 0 = as soon as prices allow more than a call."""

    missing: str
    deadline_ns: int
    reminded: int = 0
    waits_for: list[str] = []


class AccountView(View, frozen=True, kw_only=True):
    """One account; amounts are in the reporting asset."""

    account: str
    mode: str
    equity: str
    collateral: str
    initial_margin: str
    maintenance_margin: str
    health: str
    health_initial: str
    status: str
    rung: str
    health_factor: str | None = None
    margin_ratio: str | None = None
    leverage: str | None = None
    since_ns: int = 0
    call: CallView | None = None
    auctioned: bool = False
    balances: dict[str, str] = {}
    positions: list[PositionView] = []
    orders: list[OrderView] = []
    why: list[str] = []


class OwnerView(View, frozen=True, kw_only=True):
    """An owner's accounts: the cross account and the isolated ones, as of a record."""

    owner: str
    sequence: int
    house_ns: int
    accounts: list[AccountView]
    liquidator: bool = False

    def named(self, account: str) -> AccountView:
        """Return one of the accounts.

        Raises
        ------
        KeyError : the owner has no such account
        """
        found = {one.account: one for one in self.accounts}
        return found[account]


class OwnedPosition(View, frozen=True, kw_only=True):
    """A position and the account that holds it."""

    account: str
    mode: str
    position: PositionView


class PositionList(View, frozen=True, kw_only=True):
    """All positions of an owner."""

    owner: str
    sequence: int
    positions: list[OwnedPosition]


class OrderList(View, frozen=True, kw_only=True):
    """All open orders of an owner."""

    owner: str
    sequence: int
    orders: list[OrderView]


class HealthRow(View, frozen=True, kw_only=True):
    """An account's health in few numbers."""

    account: str
    equity: str
    collateral: str
    requirement: str
    health: str
    initial_health: str
    rung: str
    health_factor: str | None = None
    deadline_ns: int = 0
    waits_for: list[str] = []


class HealthList(View, frozen=True, kw_only=True):
    """The health of all accounts of an owner."""

    owner: str
    sequence: int
    accounts: list[HealthRow]


class AccountRow(View, frozen=True, kw_only=True):
    """One account in the list of all."""

    account: str
    mode: str
    equity: str
    collateral: str
    requirement: str
    health: str
    status: str
    rung: str
    health_factor: str | None = None


class AccountPage(View, frozen=True, kw_only=True):
    """Some accounts, nearest to liquidation first; `next` is the token of the page behind, None on the last."""

    sequence: int
    accounts: int
    rows: list[AccountRow]
    next: str | None = None


class WhatIf(View, frozen=True, kw_only=True):
    """What would be; which members there are depends on the question.

    Attributes
    ----------
    before, after : the accounts, at present and when all of it is done
    results : of the changes: ``status`` each, and of a refusal ``refusal``, ``reason`` and ``numbers``
    book_before, book_after : the whole book at present and at the stated prices
    accounts : of a case
    """

    sequence: int
    before: list[AccountView] = []
    after: list[AccountView] = []
    results: list[dict[str, Any]] = []
    book_before: dict[str, Any] | None = None
    book_after: dict[str, Any] | None = None
    accounts: list[dict[str, Any]] = []


class RecordEvents(View, frozen=True, kw_only=True):
    """A durable record, with what the key may see of what it caused."""

    sequence: int
    recorded_ns: int
    events: tuple[Event, ...]


class EventPage(View, frozen=True, kw_only=True):
    """Records after one; give `after` for the next page, until it is `last`.

    Attributes
    ----------
    first, last : of the journal, the first that is still kept and the last that is durable
    """

    records: list[RecordEvents]
    after: int
    last: int
    first: int = 1


class RecordView(View, frozen=True, kw_only=True):
    """One record, and the proof that it is under a signed checkpoint.

    Attributes
    ----------
    hash : SHA-256 in hexadecimal, which the next record continues
    proof : as ``marginkeep verify`` reads it; None where there is none yet, and `unproved` says why
    """

    sequence: int
    recorded_ns: int
    kind: str
    hash: str
    events: tuple[Event, ...]
    actor: str = ""
    key: str = ""
    correlation: str = ""
    body: dict[str, Any] | None = None
    proof: dict[str, Any] | None = None
    unproved: str = ""


class Status(View, frozen=True, kw_only=True):
    """How the service stands; empty texts and zeros where the key may not see more."""

    version: str
    name: str
    sequence: int
    durable: int
    epoch: int
    rulebook: str
    rulebook_hash: str
    place: str = ""
    waiting: int = 0
    waiting_max: int = 0
    accounts: int = 0
    halted: str = ""
    trouble: str = ""
    house_ns: int = 0


class ServiceTime(View, frozen=True, kw_only=True):
    """The server's clock and the house's time."""

    server_ns: int
    house_ns: int


class OwnKey(View, frozen=True, kw_only=True):
    """What the calling key may do, for whom (``*`` = every account), and until when."""

    id: str
    scopes: list[str]
    accounts: list[str]
    expires_ns: int = 0
