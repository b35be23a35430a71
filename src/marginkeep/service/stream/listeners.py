"""Who listens to what: an index, so that an entry costs those whom it concerns and nobody else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from marginkeep.service.stream.channels import Bulletin, Viewer


class Listener(Protocol):
    """A socket, as the hub sees it."""

    viewer: Viewer

    @property
    def event_channels(self) -> frozenset[str]:
        """The event channels that it is subscribed to."""

    @property
    def row_accounts(self) -> frozenset[str]:
        """The accounts whose rows it is subscribed to."""

    def note(self, sequence: int) -> None:
        """Learn that an entry has something for it."""

    def lose(self, until: int) -> None:
        """Learn that entries up to a sequence can no longer be had."""

    def wake(self) -> None:
        """Learn that rows have changed."""

    def look_for_accounts(self) -> bool:
        """Learn that accounts were opened; tell whether it wants some of their rows."""

    def watch_over(self, now: float) -> None:
        """Close itself if its client has taken nothing for too long."""


class Listeners:
    """Sockets by what concerns them.

    Attributes
    ----------
    accounts : how many sockets want an account's row
    """

    def __init__(self) -> None:
        self.accounts: Counter[str] = Counter()
        self._all: dict[Listener, frozenset[str]] = {}
        self._by_owner: dict[str, set[Listener]] = {}
        self._by_key: dict[str, set[Listener]] = {}
        self._of_the_venue: set[Listener] = set()
        self._of_auctions: set[Listener] = set()
        self._by_channel: dict[str, set[Listener]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Listener]:
        return iter(list(self._all))

    @property
    def hears_events(self) -> bool:
        """Tell whether anybody is subscribed to an event channel."""
        return any(self._by_channel.values())

    def refresh(self, listener: Listener) -> list[str]:
        """Take a socket in, or note that its subscriptions changed; return accounts that nobody wants any more."""
        gone = self.remove(listener)
        self._all[listener] = listener.row_accounts
        self.accounts.update(self._all[listener])
        channels, viewer = listener.event_channels, listener.viewer
        for channel in channels:
            self._by_channel.setdefault(channel, set()).add(listener)
        if channels:
            self._by_key.setdefault(viewer.key, set()).add(listener)
            for owner in viewer.owners:
                self._by_owner.setdefault(owner, set()).add(listener)
            if viewer.sees_all:
                self._of_the_venue.add(listener)
        if "auctions" in channels and viewer.sees_auctions:
            self._of_auctions.add(listener)
        return [name for name in gone if not self.accounts[name]]

    def remove(self, listener: Listener) -> list[str]:
        """Forget a socket; return accounts that nobody wants any more."""
        wanted = self._all.pop(listener, frozenset())
        self.accounts.subtract(wanted)
        gone = [name for name in wanted if self.accounts[name] <= 0]
        for name in gone:
            del self.accounts[name]
        _discard(self._by_key, (listener.viewer.key,), listener)
        _discard(self._by_owner, listener.viewer.owners, listener)
        _discard(self._by_channel, list(self._by_channel), listener)
        self._of_the_venue.discard(listener)
        self._of_auctions.discard(listener)
        return gone

    def concerned_by(self, bulletin: Bulletin) -> set[Listener]:
        """Return the sockets for which an entry may have something."""
        found = set(self._of_the_venue)
        for owner in bulletin.owners:
            found |= self._by_owner.get(owner, _NOBODY)
        for channel in bulletin.public:
            found |= self._by_channel.get(channel, _NOBODY)
        if bulletin.auctions:
            found |= self._of_auctions
        if bulletin.refused:
            found |= self._by_key.get(bulletin.actor, _NOBODY)
        return found


_NOBODY: frozenset[Listener] = frozenset()


def _discard(index: dict[str, set[Listener]], keys: Iterable[str], listener: Listener) -> None:
    for key in keys:
        found = index.get(key)
        if found is not None:
            found.discard(listener)
            if not found:
                del index[key]
