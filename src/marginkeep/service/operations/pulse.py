"""What a running service does by itself: tells the house the time, and takes snapshots."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from marginkeep.clearing.commands import AdvanceTime
from marginkeep.journal.durable import Request
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.service.feed import Feed
    from marginkeep.service.writer import Writer

    Clock = Callable[[], int]

ACTOR: Final = "clock"

_log = structlog.get_logger("marginkeep.pulse")


class BackgroundTask:
    """A part of the service with one task."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=type(self).__name__)
        self._task.add_done_callback(_tell_of_failure)

    async def stop(self) -> None:
        """Stop at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        raise NotImplementedError


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.critical("a task has failed and does not run any more", task=task.get_name(), exc_info=error)


class Ticker(BackgroundTask):
    """Tells the house the time at an interval, so that deadlines and auctions go on when nobody sends anything."""

    def __init__(self, writer: Writer, clock: Callable[[], int], seconds: float) -> None:
        super().__init__()
        self._writer, self._clock, self._seconds = writer, clock, seconds

    async def _run(self) -> None:
        # At once: a house that has not been told the time would date its first deadlines from 1970.
        while True:
            await self.tick()
            await asyncio.sleep(self._seconds)

    async def tick(self) -> None:
        """Tell the house the time once, unless it is ahead already: quotes bring it the time as well."""
        now_ns, house = self._clock(), self._writer.house
        if house.trouble is not None or now_ns <= house.house.state.now_ns:
            return
        try:
            await self._writer.submit((Request(command=AdvanceTime(now_ns=now_ns), actor=ACTOR),), protective=True)
        except Problem as problem:
            _log.warning("the time could not be told", code=problem.code, detail=problem.detail)


class Snapshots(BackgroundTask):
    """Begins a snapshot when enough has been recorded since the last.

    Parameters
    ----------
    records : that many
    last, taken_ns : record that the newest snapshot covers, and when it was taken; 0 = there is none

    Attributes
    ----------
    seconds : how long the last one of this run took
    """

    def __init__(
        self, writer: Writer, feed: Feed, records: int, last: int, taken_ns: int = 0, clock: Clock = time.time_ns
    ) -> None:
        super().__init__()
        self._writer, self._feed, self._records, self._clock = writer, feed, records, clock
        self.last, self.taken_ns, self.seconds = last, taken_ns, 0.0

    async def _run(self) -> None:
        while True:
            await self._feed.wait(self.last + self._records - 1)
            await self.take()

    async def take(self) -> None:
        """Take one now; where it fails, the next is due after as many records again."""
        self.last, began_ns = self._feed.last, self._clock()
        try:
            sequence = await asyncio.wrap_future(self._writer.commits.snapshot())
        except Exception as error:
            _log.error("a snapshot could not be taken", sequence=self.last, error=str(error))
            return
        self.last, self.taken_ns = max(self.last, sequence), self._clock()
        self.seconds = (self.taken_ns - began_ns) / 10**9
        _log.info("a snapshot was taken", sequence=sequence)
