"""What a stream can be subscribed to, and one journal entry cut up for all who listen.

Event channels carry every event in order; row channels carry the latest state of what changed, at most some times a
second. An entry's events are encoded once for each group of viewers that sees the same of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from marginkeep.clearing import events as e
from marginkeep.clearing.loss_events import BadDebtRepaid, Deleveraged, LossCovered, LossSocialised
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.service.access.scopes import Scope
from marginkeep.service.wire.audience import AUCTIONS, Owners, accounts_in, owners_view, public_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.feed import Entry

Channel = Literal["events", "calls", "accounts", "marks", "oracle", "auctions", "funds"]
EVENT_CHANNELS: Final = ("events", "calls", "oracle", "auctions")
ROW_CHANNELS: Final = ("accounts", "marks", "funds")

_KINDS: Final[dict[str, tuple[type[e.Event], ...]]] = {
    "calls": (e.MarginCalled, e.CallReminded, e.CallCured, e.RungChanged, e.Liquidated, Deleveraged, LossCovered),
    "oracle": (e.OracleChanged, e.PriceAnnounced, e.MarketHeld),
    "auctions": (*AUCTIONS, e.LiquidatorRegistered),
}
MOVES_EVERYBODY: Final = (
    *(e.PricesSet, e.FundingPaid, e.OracleChanged, e.MarketHeld, e.RulebookAdopted),
    *(LossSocialised, BadDebtRepaid, e.QuotesTaken, e.TimeAdvanced),
)
"""Events after which the rows of accounts that they do not name may have changed."""

_ANYBODY: Final[Owners] = frozenset()


def channels_of(event: e.Event) -> tuple[str, ...]:
    """Return the event channels that carry an event."""
    return ("events", *(channel for channel, kinds in _KINDS.items() if isinstance(event, kinds)))


class Viewer(NamedTuple):
    """Who listens.

    Attributes
    ----------
    key : the caller's, who is told of its own refusals
    owners : whose accounts it sees
    sees_all : the venue's own
    sees_auctions : it may liquidate
    """

    key: str
    owners: Owners
    sees_all: bool = False
    sees_auctions: bool = False

    @classmethod
    def of(cls, caller: Caller) -> Viewer:
        """Return what a caller may see."""
        return cls(caller.key, caller.accounts, caller.acts_for_all, caller.may(Scope.LIQUIDATE))


class Narrowing(NamedTuple):
    """A subscription's choice among the accounts that it may see; nothing chosen = all of them."""

    names: frozenset[str] = frozenset()

    def keeps(self, accounts: frozenset[str]) -> bool:
        """Tell whether one of the accounts, or its owner, is chosen."""
        return not self.names or any(name in self.names or owner_of(name) in self.names for name in accounts)


class _Item:
    """One event of an entry, and the forms in which it has been encoded."""

    __slots__ = ("accounts", "channels", "encoded", "event", "identity", "number", "owners", "public")

    def __init__(self, event: e.Event, sequence: int, number: int) -> None:
        self.event = event
        self.number = number
        self.identity = b"%d-%d" % (sequence, number)
        self.accounts = accounts_in(event)
        self.owners: Owners = frozenset(map(owner_of, self.accounts))
        self.public = public_view(event)
        self.channels = channels_of(event)
        self.encoded: dict[Owners | None, bytes] = {}


class Bulletin:
    """One durable entry as listeners get it.

    Attributes
    ----------
    owners : whom it concerns
    accounts : that it names
    public : event channels in which everybody is told something
    auctions : it has something for all who may liquidate
    refused : it has a refusal for the key that asked
    moves_everybody : rows of accounts that it does not name may have changed
    """

    __slots__ = (
        "_by_owner",
        "_encode",
        "_everybody",
        "_items",
        "_shared",
        "accounts",
        "actor",
        "auctions",
        "correlation",
        "moves_everybody",
        "owners",
        "public",
        "recorded_ns",
        "refused",
        "sequence",
    )

    def __init__(self, entry: Entry, encode: Callable[[e.Event], bytes]) -> None:
        self.sequence, self.recorded_ns = entry.sequence, entry.recorded_ns
        self.actor, self.correlation = entry.actor, entry.correlation
        self._encode = encode
        self._shared = entry
        self._items = [_Item(event, entry.sequence, number) for number, event in enumerate(entry.events)]
        self.accounts: frozenset[str] = frozenset().union(*(item.accounts for item in self._items))
        self.owners: Owners = frozenset(map(owner_of, self.accounts))
        self.public = frozenset(name for item in self._items if item.public is not None for name in item.channels)
        self.auctions = any(isinstance(item.event, AUCTIONS) for item in self._items)
        self.refused = any(isinstance(item.event, e.Rejected) for item in self._items)
        self.moves_everybody = any(isinstance(item.event, MOVES_EVERYBODY) for item in self._items)
        self._everybody = [n for n, item in enumerate(self._items) if item.public is not None or not item.owners]
        self._by_owner: dict[str, list[int]] = {}
        for number, item in enumerate(self._items):
            for owner in item.owners:
                self._by_owner.setdefault(owner, []).append(number)

    def fragments(self, channel: str, viewer: Viewer, narrowing: Narrowing) -> list[bytes]:
        """Return the events that a viewer gets in a channel, each as a JSON object with its id."""
        found: list[bytes] = []
        for item in self._candidates(channel, viewer):
            if channel in item.channels:
                found.extend(self._told(item, channel, viewer, narrowing))
        return found

    def _candidates(self, channel: str, viewer: Viewer) -> Iterable[_Item]:
        """Return the events that may concern a viewer: of a tick that calls thousands, an owner is told of its own."""
        if viewer.sees_all or channel == "auctions" or self.refused or len(self._items) == 1:
            return self._items
        numbers = {n for owner in viewer.owners for n in self._by_owner.get(owner, ())}
        return [self._items[n] for n in sorted(numbers.union(self._everybody))]

    def _told(self, item: _Item, channel: str, viewer: Viewer, narrowing: Narrowing) -> Iterator[bytes]:
        """Yield the widest form of an event that a viewer may see, if any."""
        own = item.owners & viewer.owners
        if viewer.sees_all or (isinstance(item.event, e.Rejected) and self.actor == viewer.key):
            if narrowing.keeps(item.accounts) or item.public is not None:
                yield self._form(item, None)
        elif channel == "auctions" and viewer.sees_auctions and isinstance(item.event, AUCTIONS):
            if narrowing.keeps(item.accounts):
                yield self._form(item, None)
        elif own and narrowing.keeps(frozenset(name for name in item.accounts if owner_of(name) in own)):
            yield self._form(item, own)
        elif item.public is not None:
            yield self._form(item, _ANYBODY)

    def _form(self, item: _Item, owners: Owners | None) -> bytes:
        """Return an event as JSON: in full (None), as anybody may see it, or as owners may."""
        found = item.encoded.get(owners)
        if found is None:
            event = item.event
            if owners is not None:
                event = owners_view(event, owners) if owners else item.public or event
            wire = self._whole(item) if event is item.event else self._encode(event)
            found = item.encoded[owners] = b'{"id":"%b","event":%b}' % (item.identity, wire)
        return found

    def _whole(self, item: _Item) -> bytes:
        """Return an event's full form, from the entry where somebody has made it already."""
        entry = self._shared
        if entry.wire is None:
            entry.wire = [self._encode(event) for event in entry.events]
        return entry.wire[item.number]
