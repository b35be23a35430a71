"""One client's socket: what it listens to, and everything that is sent to it, by one task, bounded.

Nothing is queued for a client but the sequences of entries that concern it: messages are made when the socket can take
them. Who is too far behind is told to resynchronise; who takes nothing at all is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from marginkeep.service.stream.channels import EVENT_CHANNELS
from marginkeep.service.stream.messages import encode, error_message, parted
from marginkeep.service.stream.rows import event_snapshot, visible_accounts
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.service.stream.channels import Bulletin, Narrowing, Viewer
    from marginkeep.service.stream.hub import StreamHub

REPLY_BYTES_MAX: Final = 1 << 20
"""Answers that may wait for the socket; beyond, no more operations are read from it."""

STALLED: Final = 4_408
CLOSE_EXTENSION: Final = "marginkeep.close"
"""A server that offers it closes a socket at once, even where its client takes nothing."""


class Subscription:
    """One channel of one subscribe operation.

    Attributes
    ----------
    position : the sequence up to which it has been looked after
    previous : sequence of the message sent last, its snapshot's at first
    version : of the board, for row channels
    after : resume behind this sequence; None = start with a snapshot
    """

    def __init__(self, identity: str | int, channel: str, narrowing: Narrowing, after: int | None) -> None:
        self.identity, self.channel, self.narrowing = identity, channel, narrowing
        self.after = after
        self.position = self.previous = 0
        self.version = 0
        self.accounts: frozenset[str] = frozenset()
        self.started = False
        self.cancelled = False
        self._label = b'"id":%b,"channel":"%b"' % (encode(identity), channel.encode())

    @property
    def carries_events(self) -> bool:
        """Tell an event channel from a row channel."""
        return self.channel in EVENT_CHANNELS

    def head(self, kind: bytes, sequence: int) -> bytes:
        """Return the beginning of a message."""
        return b'{"type":"%b",%b,"sequence":%d,"previous":%d' % (kind, self._label, sequence, self.previous)

    def resync(self) -> bytes:
        """Return the message that tells the client to forget what it knows after `previous`: a snapshot follows."""
        return b'{"type":"resync",%b,"from":%d}' % (self._label, self.previous)


class StreamSocket:
    """A client's subscriptions, and the one task that sends.

    Parameters
    ----------
    send : sends one text message, and returns when the transport has room again
    close_at_once : closes the transport with a code, whatever is still to be sent
    """

    def __init__(self, hub: StreamHub, viewer: Viewer, send: Any, close_at_once: Any) -> None:
        self.hub = hub
        self.viewer = viewer
        self.subscriptions: list[Subscription] = []
        self._send_text, self._close_at_once = send, close_at_once
        self._behind_max = hub.context.settings.stream.behind_max
        self._stalled_seconds = hub.context.settings.stream.stalled_seconds
        self._pending: deque[int] = deque()
        self._lost_until = 0
        self._replies: deque[bytes] = deque()
        self._reply_bytes = 0
        self._awake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._sending_since: float | None = None
        self._failure: BaseException | None = None
        self._clock = asyncio.get_running_loop().time

    # What the hub says --------------------------------------------------------------------------------------------

    @property
    def event_channels(self) -> frozenset[str]:
        """The event channels that it is subscribed to."""
        return frozenset(one.channel for one in self.subscriptions if one.carries_events)

    @property
    def row_accounts(self) -> frozenset[str]:
        """The accounts whose rows it is subscribed to."""
        return frozenset().union(*(one.accounts for one in self.subscriptions))

    def note(self, sequence: int) -> None:
        """Learn that an entry has something for it."""
        if len(self._pending) >= self._behind_max:
            self.lose(sequence)
        else:
            self._pending.append(sequence)
            self._awake.set()

    def lose(self, until: int) -> None:
        """Learn that entries up to a sequence can no longer be had."""
        self._pending.clear()
        self._lost_until = until
        self._awake.set()

    def wake(self) -> None:
        """Learn that rows have changed."""
        self._awake.set()

    def look_for_accounts(self) -> bool:
        """Learn that accounts were opened; tell whether some of them are among those whose rows it wants."""
        changed = False
        for one in self.subscriptions:
            if one.channel == "accounts" and (found := self._accounts_of(one)) != one.accounts:
                one.accounts, changed = found, True
        return changed

    def watch_over(self, now: float) -> None:
        """Close the socket if its client has taken nothing for too long."""
        if self._sending_since is not None and now - self._sending_since > self._stalled_seconds:
            self._close_at_once(STALLED, f"nothing was taken for {self._stalled_seconds} s")

    # What the client asks -----------------------------------------------------------------------------------------

    async def reply(self, message: bytes) -> None:
        """Queue an answer; waits while too much of what was answered before has not been taken."""
        self._replies.append(message)
        self._reply_bytes += len(message)
        if self._reply_bytes > REPLY_BYTES_MAX:
            self._drained.clear()
        self._awake.set()
        await self._drained.wait()

    def subscribe(self, added: Sequence[Subscription]) -> None:
        """Take subscriptions in; the sending task starts them."""
        for one in added:
            if one.channel == "accounts":
                one.accounts = self._accounts_of(one)
            self.subscriptions.append(one)
        self.hub.join(self)
        self._awake.set()

    def unsubscribe(self, identity: str | int) -> bool:
        """End what was subscribed under an id; tell whether there was anything."""
        kept = [one for one in self.subscriptions if one.identity != identity]
        for one in self.subscriptions:
            one.cancelled = one.identity == identity
        found = len(kept) < len(self.subscriptions)
        self.subscriptions = kept
        self.hub.join(self)
        return found

    def fail(self, error: BaseException | None) -> None:
        """Let the sending task end with the defect of another."""
        self._failure = error
        self._awake.set()

    def _accounts_of(self, one: Subscription) -> frozenset[str]:
        return frozenset(visible_accounts(self.hub.context.state, self.viewer, one.narrowing))

    # The sending task ---------------------------------------------------------------------------------------------

    async def deliver(self) -> None:
        """Send what there is to be sent, for ever."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            if self._failure is not None:
                raise self._failure
            await self._send_replies()
            for one in list(self.subscriptions):
                if not one.started and not one.cancelled:
                    await self._start(one)
            await self._send_entries()
            await self._send_rows()

    async def _send(self, message: bytes) -> None:
        self._sending_since = self._clock()
        await self._send_text(message.decode())
        self._sending_since = None

    async def _send_replies(self) -> None:
        while self._replies:
            message = self._replies.popleft()
            self._reply_bytes -= len(message)
            await self._send(message)
        self._drained.set()

    async def _start(self, one: Subscription) -> None:
        one.started = True
        try:
            if not one.carries_events:
                await self._start_rows(one)
            elif one.after is not None:
                await self._replay(one, one.after)
            else:
                await self._send_snapshot(one)
        except Problem as problem:
            one.cancelled = True
            self.subscriptions = [other for other in self.subscriptions if other is not one]
            self.hub.join(self)
            await self._send(error_message(one.identity, problem))

    async def _send_snapshot(self, one: Subscription) -> None:
        """Send an event channel's state as it is; entries up to there are no news any more."""
        rows = [encode(row) for row in event_snapshot(self.hub.context.state, one.channel, self.viewer, one.narrowing)]
        one.position = one.previous = await self.hub.settled()
        for message in parted(one.head(b"snapshot", one.position), b"rows", rows):
            await self._send(message)

    async def _replay(self, one: Subscription, after: int) -> None:
        """Send what came after a sequence, until there is no more; then the pending entries follow on."""
        one.position = one.previous = after
        while one.position < self.hub.last and not one.cancelled:
            bulletins = await self.hub.page(one.position)
            if bulletins is None:
                await self._resync(one)
                return
            for bulletin in bulletins:
                await self._tell(one, bulletin)
            await self._send_replies()

    async def _resync(self, one: Subscription) -> None:
        self.hub.resyncs += 1
        await self._send(one.resync())
        await self._send_snapshot(one)

    async def _send_entries(self) -> None:
        while self._pending or self._lost_until:
            if self._lost_until:
                until, self._lost_until = self._lost_until, 0
                for one in list(self.subscriptions):
                    if one.carries_events and one.started and one.position < until:
                        await self._resync(one)
                continue
            sequence = self._pending.popleft()
            bulletin = self.hub.bulletin(sequence)
            if bulletin is None:
                self.lose(sequence)
                continue
            for one in list(self.subscriptions):
                if one.carries_events and one.started:
                    await self._tell(one, bulletin)
            if self._replies:
                await self._send_replies()

    async def _tell(self, one: Subscription, bulletin: Bulletin) -> None:
        """Send what an entry has for a subscription."""
        if bulletin.sequence <= one.position or one.cancelled:
            return
        one.position = bulletin.sequence
        fragments = bulletin.fragments(one.channel, self.viewer, one.narrowing)
        if not fragments:
            return
        head = b'%b,"recorded_ns":%d' % (one.head(b"delta", bulletin.sequence), bulletin.recorded_ns)
        if self.viewer.sees_all or bulletin.actor == self.viewer.key:
            head += b',"actor":%b,"correlation":%b' % (encode(bulletin.actor), encode(bulletin.correlation))
        for message in parted(head, b"events", fragments):
            await self._send(message)
        one.previous = bulletin.sequence

    # Rows ---------------------------------------------------------------------------------------------------------

    async def _start_rows(self, one: Subscription) -> None:
        names = one.accounts if one.channel == "accounts" else None
        sequence, one.version, rows = await self.hub.rows_now(one.channel, names)
        one.previous = sequence
        for message in parted(one.head(b"snapshot", sequence), b"rows", rows):
            await self._send(message)

    async def _send_rows(self) -> None:
        """Send the latest of every row that has changed; what it was in between is of no use to anybody."""
        for one in list(self.subscriptions):
            if one.carries_events or not one.started or one.cancelled:
                continue
            board = self.hub.boards[one.channel]
            version, sequence = board.version, board.sequence
            rows = board.since(one.version, one.accounts if one.channel == "accounts" else None)
            one.version = version
            if rows:
                for message in parted(one.head(b"delta", sequence), b"rows", rows):
                    await self._send(message)
                one.previous = sequence
