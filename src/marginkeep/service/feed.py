"""What has become durable, for everybody who listens: one bounded ring, however many listeners there are."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.clearing.commands import Command
    from marginkeep.clearing.events import Event

ENTRIES_KEPT: Final = 16_384


class Entry(msgspec.Struct, kw_only=True, eq=False):
    """One durable record and what the house answered.

    Attributes
    ----------
    command : what was asked, by which a refusal's counts are read; None of a note, and where the journal was read and
        nothing refused
    wire : its events as they go over the wire, made once, when the first listener needs them
    """

    sequence: int
    recorded_ns: int
    actor: str
    correlation: str
    events: tuple[Event, ...]
    command: Command | None = None
    wire: list[bytes] | None = None


class Feed:
    """The last entries. A listener keeps the sequence it has seen and asks for what came after.

    Lives in the event loop's thread.
    """

    def __init__(self, last: int, capacity: int = ENTRIES_KEPT) -> None:
        self.last = last
        self._entries: deque[Entry] = deque(maxlen=capacity)
        self._changed = asyncio.Event()

    def publish(self, entries: Iterable[Entry]) -> None:
        """Add entries in order and wake every listener."""
        for entry in entries:
            self._entries.append(entry)
            self.last = entry.sequence
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def first(self) -> int:
        """The sequence of the oldest entry kept; the next one to come where none is."""
        return self._entries[0].sequence if self._entries else self.last + 1

    def since(self, after: int, most: int = 1024) -> list[Entry] | None:
        """Return up to `most` entries after a sequence; None where some are gone: read the log."""
        if after >= self.last:
            return []
        if after + 1 < self.first:
            return None
        start = after + 1 - self.first
        return list(islice(self._entries, start, start + most))

    async def wait(self, after: int) -> None:
        """Wait until there is something after a sequence."""
        while self.last <= after:
            await self._changed.wait()

    async def published(self) -> None:
        """Wait until something is published, if only word that a batch has failed."""
        await self._changed.wait()
