"""One endpoint's task: what came after its cursor, in order, each until delivered or declared a dead letter.

The journal is the outbox. The cursor is the sequence up to which everything is dealt with; after a restart what came
behind the saved cursor is delivered again, with the same ids.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

import structlog

from marginkeep.errors import JournalError
from marginkeep.service.notifications.endpoints import DeadLetter, wants
from marginkeep.service.notifications.sending import Undelivered

if TYPE_CHECKING:
    from marginkeep.service.notifications.endpoints import Endpoint
    from marginkeep.service.notifications.notices import Notice
    from marginkeep.service.notifications.room import Notifications

QUEUE_MAX: Final = 1_000
"""Notices that wait in memory; beyond, they are read from the journal when their turn comes."""

REMEMBERED_MAX: Final = 4_096
BACKOFF: Final = 2
_log = structlog.get_logger("marginkeep.notifications")


class Delivery:
    """Keeps one endpoint served.

    Attributes
    ----------
    cursor : sequence up to which everything is delivered, or a dead letter
    behind : what comes next must be read from the journal
    failing : the last notice became a dead letter: until one is taken again, each gets a single attempt
    """

    def __init__(self, room: Notifications, endpoint: Endpoint, cursor: int) -> None:
        self.room = room
        self.endpoint = endpoint
        self.cursor = cursor
        self.behind = True
        self.failing = False
        self.delivered = 0
        self._queue: deque[Notice] = deque()
        self._extra: deque[Notice] = deque()
        self._told: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._awake = asyncio.Event()
        self._awake.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run(), name=f"endpoint {self.endpoint.id}")

    async def stop(self) -> None:
        """Stop; an attempt that is under way is given up and made again after a restart."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def offer(self, notice: Notice) -> None:
        """Queue a notice of the journal."""
        if self.behind or notice.sequence <= self.cursor or not wants(self.endpoint, notice):
            return
        if len(self._queue) >= QUEUE_MAX:
            self.fall_behind()
        else:
            self._queue.append(notice)
            self._awake.set()

    def fall_behind(self) -> None:
        """Go on from the journal, behind the cursor."""
        self.behind = True
        self._queue.clear()
        self._awake.set()

    def offer_extra(self, notice: Notice) -> bool:
        """Queue a notice that does not move the cursor: what no record stands behind, or a dead letter once more."""
        if len(self._extra) >= QUEUE_MAX:
            return False
        self._extra.append(notice)
        self._awake.set()
        return True

    @property
    def awaits_levels(self) -> bool:
        """Tell whether a fall below a watched level is still to be delivered."""
        return any(notice.kind == "health" for notice in self._extra)

    def passed(self) -> bool:
        """Move the cursor on where nothing waits; tell whether it moved."""
        if self.behind or self._queue or self.cursor >= self.room.last:
            return False
        self.cursor = self.room.last
        return True

    async def _run(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            try:
                await self._deliver_what_waits()
            except JournalError as error:
                _log.error("the journal could not be read", endpoint=self.endpoint.id, error=str(error))
                self.fall_behind()
                await asyncio.sleep(self._wait(1))

    async def _deliver_what_waits(self) -> None:
        while self._extra:
            await self._deliver(self._extra[0])
            self._extra.popleft()
        if self.behind:
            await self._catch_up()
        while self._queue and not self._extra:
            await self._deliver_next()
        if self._queue or self._extra or self.behind:
            self._awake.set()

    async def _deliver_next(self) -> None:
        notice = self._queue[0]
        await self._deliver(notice)
        if self._queue and self._queue[0] is notice:
            self._queue.popleft()
            following = self._queue[0].sequence if self._queue else 0
            self.cursor = max(self.cursor, notice.sequence - 1 if following == notice.sequence else notice.sequence)

    async def _catch_up(self) -> None:
        """Deliver from the journal until the room's own position is reached; from there on notices are offered."""
        self._queue.clear()
        while self.cursor < self.room.last:
            entries = await self.room.page(self.cursor)
            for sequence, notices in entries:
                for notice in notices:
                    if wants(self.endpoint, notice):
                        await self._deliver(notice)
                self.cursor = sequence
        self.behind = False

    async def _deliver(self, notice: Notice) -> None:
        """Try until it is taken or the attempts are used up."""
        if self._is_repetition(notice):
            return
        settings = self.room.settings
        most = 1 if self.failing else settings.attempts_max
        for attempt in range(1, most + 1):
            try:
                async with self.room.sending:
                    await self.room.sender.send(self.endpoint, notice)
            except Undelivered as error:
                if attempt == most:
                    self.failing = True
                    await self.room.bury(self._dead(notice, attempt, str(error)))
                await asyncio.sleep(self._wait(attempt if most > 1 else settings.attempts_max))
            else:
                self.failing = False
                self.delivered += 1
                self._remember(notice)
                await self.room.landed(self.endpoint, notice)
                return

    def _wait(self, attempt: int) -> float:
        """Return how long to wait after a failed attempt: twice as long each time, anything from half of it to all."""
        settings = self.room.settings
        longest: float = min(settings.retry_seconds * BACKOFF ** (attempt - 1), settings.retry_seconds_max)
        return longest * (0.5 + self.room.random() / 2)

    def _dead(self, notice: Notice, attempts: int, reason: str) -> DeadLetter:
        return DeadLetter(
            endpoint=self.endpoint.id,
            owner=self.endpoint.owner,
            notice=notice,
            attempts=attempts,
            reason=reason,
            at_ns=self.room.clock(),
        )

    def _is_repetition(self, notice: Notice) -> bool:
        """Tell whether the same was said of the same account a moment ago; what is critical is said again."""
        quiet_ns = self.endpoint.preferences.quiet_seconds * 10**9
        told_ns = self._told.get((notice.kind, notice.account))
        if notice.severity == "critical" or notice.kind == "test" or told_ns is None:
            return False
        return 0 <= notice.recorded_ns - told_ns < quiet_ns  # what is older is a dead letter, asked for once more

    def _remember(self, notice: Notice) -> None:
        self._told[notice.kind, notice.account] = notice.recorded_ns
        self._told.move_to_end((notice.kind, notice.account))
        if len(self._told) > REMEMBERED_MAX:
            self._told.popitem(last=False)
