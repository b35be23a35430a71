"""What has become durable, for everybody who listens: one bounded ring, however many listeners there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.clearing.commands import Command
    from marginkeep.clearing.events import Event

ENTRIES_KEPT: Final = 16_384
BYTES_KEPT: Final = 16 * 2**20
"""Of answers as recorded: a crash's one tick may call or sell thousands, and is as large as all the rest."""


class Entry(msgspec.Struct, kw_only=True, eq=False):
    """One durable record and what the house answered.

    Attributes
    ----------
    command : what was asked, by which a refusal's counts are read; None of a note, and where the journal was read and
        nothing refused
    size : bytes of the answer as recorded; 0 where the journal was read, whose entries the ring does not keep
    wire : its events as they go over the wire, made once, when the first listener needs them
    """

    sequence: int
    recorded_ns: int
    actor: str
    correlation: str
    events: tuple[Event, ...]
    command: Command | None = None
    size: int = 0
    wire: list[bytes] | None = None


class Feed:
    """The last entries. A listener keeps the sequence it has seen and asks for what came after.

    Lives in the event loop's thread.

    Parameters
    ----------
    entries_max, bytes_max : what is kept at most; the newest entry always is

    Attributes
    ----------
    first : sequence of the oldest entry kept; the next one to come where none is
    last : of the newest; every number in between is kept
    """

    def __init__(self, last: int, entries_max: int = ENTRIES_KEPT, bytes_max: int = BYTES_KEPT) -> None:
        self.first, self.last = last + 1, last
        self._entries_max, self._bytes_max = entries_max, bytes_max
        self._entries: dict[int, Entry] = {}
        self._bytes = 0
        self._changed = asyncio.Event()

    def publish(self, entries: Iterable[Entry]) -> None:
        """Add entries in order and wake every listener."""
        for entry in entries:
            assert entry.sequence == self.last + 1, f"entry {entry.sequence} follows {self.last}"
            self._entries[entry.sequence] = entry
            self._bytes += entry.size
            self.last = entry.sequence
        while len(self._entries) > self._entries_max or (self._bytes > self._bytes_max and self.first < self.last):
            self._bytes -= self._entries.pop(self.first).size
            self.first += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def since(self, after: int, most: int = 1024) -> list[Entry] | None:
        """Return up to `most` entries after a sequence; None where some are gone: read the log."""
        if after >= self.last:
            return []
        if after + 1 < self.first:
            return None
        return [self._entries[number] for number in range(after + 1, min(self.last, after + most) + 1)]

    async def wait(self, after: int) -> None:
        """Wait until there is something after a sequence."""
        while self.last <= after:
            await self._changed.wait()

    async def published(self) -> None:
        """Wait until something is published, if only word that a batch has failed."""
        await self._changed.wait()
