"""Between the feed and the sockets: entries cut up and rows computed once for all, old entries from the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from marginkeep.clearing.event_codec import decode_events
from marginkeep.service.feed import Entry
from marginkeep.service.queries.event_pages import refused_command
from marginkeep.service.stream.boards import RowBoard
from marginkeep.service.stream.channels import Bulletin
from marginkeep.service.stream.listeners import Listeners
from marginkeep.service.stream.rows import account_row, fund_rows, mark_rows
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.events import wire_event
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.clearing.commands import Command
    from marginkeep.clearing.events import Event
    from marginkeep.journal.command_log import CommandLog
    from marginkeep.service.context import ServiceContext
    from marginkeep.service.stream.listeners import Listener
    from marginkeep.service.stream.rows import Row

BULLETINS_KEPT: Final = 1_024
"""What listeners a little behind share; who is further behind has its own cut anew from the entries."""

PAGE_RECORDS: Final = 256
SLICE_ACCOUNTS: Final = 64
"""Accounts measured in one go; bounds how long the event loop is kept from everything else."""

REST_SHARE: Final = 4
"""A round of rows is followed by a rest of at least this many times its own length."""

REPLAYS_MAX: Final = 4
"""Sockets that read old entries from the log at the same time."""

_encode = msgspec.json.Encoder().encode


class StreamHub:
    """One for a service; sockets join it.

    Attributes
    ----------
    last : the sequence up to which listeners have been told
    connections : sockets that are open, with and without subscriptions
    sockets : those that are served, all watched over
    resyncs : times that a subscription was too far behind and began anew
    """

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.last = context.feed.last
        self.connections = 0
        self.resyncs = 0
        self.listeners = Listeners()
        self.sockets: set[Listener] = set()
        self.boards = {"accounts": RowBoard(), "marks": RowBoard(), "funds": RowBoard()}
        self.replays = asyncio.Semaphore(REPLAYS_MAX)
        self._interval = context.settings.stream.row_interval_ms / 1000
        self._bulletins: OrderedDict[int, Bulletin] = OrderedDict()
        self._dirty: set[str] = set()
        self._everybody = False
        self._accounts = len(context.state.names)
        self._moved = asyncio.Event()
        self._measuring = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to listen to the feed."""
        jobs = (("stream", self._spread_all()), ("rows", self._measure_all()), ("watchdog", self._watch_over()))
        self._tasks = [asyncio.create_task(job, name=name) for name, job in jobs]

    async def stop(self) -> None:
        """Stop listening; sockets close when the server does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def encode_event(self, event: Event, command: Command | None = None) -> bytes:
        """Return an event as it goes over the wire; a refusal's units are its command's."""
        return _encode(wire_event(event, units_of(self.context.rulebook), command))

    def join(self, listener: Listener) -> None:
        """Take a socket in, or note that its subscriptions changed."""
        self.boards["accounts"].forget(self.listeners.refresh(listener))

    def leave(self, listener: Listener) -> None:
        """Forget a socket."""
        self.boards["accounts"].forget(self.listeners.remove(listener))

    def bulletin(self, sequence: int) -> Bulletin | None:
        """Return an entry that is still kept."""
        found = self._bulletins.get(sequence)
        if found is None:
            entries = self.context.feed.since(sequence - 1, 1)
            found = self._cut(entries[0]) if entries and entries[0].sequence == sequence else None
        return found

    async def page(self, after: int) -> list[Bulletin] | None:
        """Return the next entries after a sequence, from the ring or from the log; None where they were compacted."""
        entries = self.context.feed.since(after, PAGE_RECORDS)
        if entries is None:
            async with self.replays:
                entries = await asyncio.to_thread(read_entries, self.context.log, after, self.context.feed.last)
            if not entries or entries[0].sequence != after + 1:
                return None
        return [self._bulletins.get(entry.sequence) or self._written(entry) for entry in entries]

    async def settled(self) -> int:
        """Return the sequence of the state as it is now, once durable; what happens meanwhile is told by deltas."""
        sequence: int = self.context.durable.head.sequence
        await self.context.writer.settled(sequence)
        return sequence

    # Entries ---------------------------------------------------------------------------------------------------

    async def _spread_all(self) -> None:
        while True:
            await self.context.feed.wait(self.last)
            entries = self.context.feed.since(self.last)
            if entries is None:
                self.last, self._everybody = self.context.feed.last, True
                for listener in self.listeners:
                    listener.lose(self.last)
                entries = []
            for entry in entries:
                self._spread(entry)
            self._moved.set()
            await asyncio.sleep(0)

    def _spread(self, entry: Entry) -> None:
        self.last = entry.sequence
        if not len(self.listeners):
            return
        bulletin = self._cut(entry)
        self._everybody |= bulletin.moves_everybody
        self._dirty |= bulletin.accounts
        for listener in self.listeners.concerned_by(bulletin):
            listener.note(entry.sequence)

    def _cut(self, entry: Entry) -> Bulletin:
        bulletin = self._bulletins[entry.sequence] = self._written(entry)
        while len(self._bulletins) > BULLETINS_KEPT or next(iter(self._bulletins)) < self.context.feed.first:
            self._bulletins.popitem(last=False)
        return bulletin

    def _written(self, entry: Entry) -> Bulletin:
        return Bulletin(entry, partial(self.encode_event, command=entry.command))

    # Rows ------------------------------------------------------------------------------------------------------

    async def _measure_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._moved.wait()
            self._moved.clear()
            began = loop.time()
            # Where the journal is in trouble nothing more becomes true: the rows stay as they are.
            with contextlib.suppress(Problem):
                await self._measure_round()
            await asyncio.sleep(max(self._interval, REST_SHARE * (loop.time() - began)))

    async def _measure_round(self) -> None:
        if not len(self.listeners):
            return
        async with self._measuring:
            self._look_for_accounts()
            everybody, dirty = self._everybody, self._dirty
            self._everybody, self._dirty = False, set()
            wanted = self.listeners.accounts
            names = sorted(wanted) if everybody else sorted(dirty.intersection(wanted))
            changed = await self._take_in(names)
        if changed:
            for listener in self.listeners:
                listener.wake()

    def _look_for_accounts(self) -> None:
        """Let subscriptions to all accounts of an owner take new ones in."""
        count = len(self.context.state.names)
        if count != self._accounts:
            self._accounts = count
            for listener in self.listeners:
                if listener.look_for_accounts():
                    self.join(listener)

    async def _take_in(self, names: Iterable[str]) -> bool:
        """Bring the boards to the present state, for accounts only those named; tell whether anything changed."""
        sequence = self.context.durable.head.sequence
        state = self.context.state
        marks, funds = mark_rows(state), fund_rows(state)
        accounts = await self._measure(names)
        await self.settled()
        changed = [
            self.boards["marks"].update(marks, sequence),
            self.boards["funds"].update(funds, sequence),
            self.boards["accounts"].update(accounts, sequence),
        ]
        return any(changed)

    async def _measure(self, names: Iterable[str]) -> dict[str, Row | None]:
        """Return accounts' rows, slice by slice: the later ones may show a later state."""
        rows: dict[str, Row | None] = {}
        pending = iter(names)
        while chunk := list(islice(pending, SLICE_ACCOUNTS)):
            rows.update((name, account_row(self.context.state, name)) for name in chunk)
            await asyncio.sleep(0)
        return rows

    async def rows_now(self, channel: str, names: frozenset[str] | None) -> tuple[int, int, list[bytes]]:
        """Return (sequence, version, rows) of a channel as it is now, durable."""
        async with self._measuring:
            await self._take_in(names or ())
            board = self.boards[channel]
            return board.sequence, board.version, board.since(0, None if channel != "accounts" else names or ())

    async def _watch_over(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self.context.settings.stream.stalled_seconds / 2))
            for socket in list(self.sockets):
                socket.watch_over(loop.time())


def read_entries(log: CommandLog, after: int, until: int, most: int = PAGE_RECORDS) -> list[Entry]:
    """Return entries that have left the ring, from the log; for a thread."""
    return [
        Entry(
            sequence=record.sequence,
            recorded_ns=record.recorded_ns,
            actor=record.actor,
            correlation=record.correlation,
            events=decode_events(record.events) if record.events else (),
            command=refused_command(record),
        )
        for record in islice(log.read(after, min(until, after + most)), most)
    ]
