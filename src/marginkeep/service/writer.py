"""The single writer: a bounded queue in front of the durable house, emptied in batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal

import structlog

from marginkeep.errors import InputError, JournalStalled
from marginkeep.journal.durable import check_request
from marginkeep.service.feed import Entry, Feed
from marginkeep.service.operations.halting import words_for_callers
from marginkeep.service.operations.observing import Observer
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marginkeep.errors import MarginkeepError
    from marginkeep.journal.durable import Known, Outcome, Request
    from marginkeep.journal.group_commit import GroupCommit

QUEUE_MAX: Final = 10_000
"""Requests that may wait; beyond, the door answers 503."""

RESERVE: Final = 1_024
"""Further requests that may wait where they protect somebody: top-ups, releases, prices, holds, revocations."""

BATCH_REQUESTS_MAX: Final = 256
"""Requests applied in one go; bounds how long the event loop is kept from everything else."""

_log = structlog.get_logger("marginkeep.writer")


class Deadline:
    """Until when its sender wants a request to be begun; what has begun by then is finished.

    Parameters
    ----------
    at_ns : 0 = whenever
    """

    __slots__ = ("at_ns", "begun")

    def __init__(self, at_ns: int) -> None:
        self.at_ns, self.begun = at_ns, at_ns == 0

    def has_passed(self, now_ns: int) -> bool:
        """Tell whether it is too late to begin."""
        return not self.begun and now_ns > self.at_ns


_Waiting = tuple["Sequence[Request]", "asyncio.Future[list[Outcome]]", Deadline | None]


class Writer:
    """Applies what is asked, one batch after another, and answers when it is durable.

    Everything but committing happens in the event loop's thread: reading the house between two batches needs no lock.
    What a reader has seen is durable once `settled` returns.

    Attributes
    ----------
    observer : is told how long everything takes
    """

    def __init__(
        self,
        commits: GroupCommit,
        feed: Feed,
        queue_max: int = QUEUE_MAX,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.commits = commits
        self.house = commits.house
        self.feed = feed
        self.queue_max = queue_max
        self._clock = clock
        self.observer = Observer()
        self.waiting_requests = 0
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._in_flight = 0
        self._task: asyncio.Task[None] | None = None
        self._draining = False
        self._asking = ThreadPoolExecutor(1, "keys")

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="writer")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Refuse what comes from now on, finish what is queued, and make it durable."""
        self._draining = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await asyncio.to_thread(self.commits.close)
        self._asking.shutdown()

    @property
    def state(self) -> Literal["starting", "running", "stopping"]:
        """Whether it works."""
        if self._draining:
            return "stopping"
        return "starting" if self._task is None else "running"

    async def submit(
        self, requests: Sequence[Request], *, deadline: Deadline | None = None, protective: bool = False
    ) -> list[Outcome]:
        """Apply requests in order, in pieces that fit a batch, and return their outcomes once all are durable.

        Parameters
        ----------
        deadline : of the whole, which is begun or not begun
        protective : they are no new risk, and find room where that finds none

        Raises
        ------
        Problem : ``bad_request`` for what cannot be recorded, ``overloaded`` where the queue is full, ``expired`` where
            the deadline passes before their turn, ``halted`` where the journal is in trouble or the service is stopping
        """
        if not requests:
            return []
        if self._draining or self.house.trouble is not None:
            raise Problem("halted", self._why_halted())
        _check(requests)
        self.require_room(len(requests), protective=protective)
        began = perf_counter()
        starts = range(0, len(requests), BATCH_REQUESTS_MAX)
        pieces = [self._queue_up(requests[start : start + BATCH_REQUESTS_MAX], deadline) for start in starts]
        outcomes = [outcome for piece in await asyncio.gather(*pieces) for outcome in piece]
        self.observer.answered(perf_counter() - began)
        return outcomes

    def _queue_up(self, piece: Sequence[Request], deadline: Deadline | None) -> asyncio.Future[list[Outcome]]:
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._queue.append((piece, future, deadline))
        self.waiting_requests += len(piece)
        self._arrived.set()
        return future

    def require_room(self, count: int, *, protective: bool = False) -> None:
        """Refuse more requests than may wait.

        Raises
        ------
        Problem : ``overloaded``
        """
        most = self.queue_max + (RESERVE if protective else 0)
        if self.waiting_requests + count > most:
            raise Problem("overloaded", f"{self.waiting_requests} requests wait, at most {most}: retry", retry_after=1)

    async def settled(self, sequence: int | None = None) -> None:
        """Wait until what is applied by now (or up to a sequence) is durable: what was read may then be told."""
        sought = self.house.head.sequence if sequence is None else sequence
        while self.house.durable.sequence < sought:
            if self.house.trouble is not None:
                raise Problem("halted", self._why_halted())
            await self.feed.published()

    def _why_halted(self) -> str:
        if self.house.trouble is not None:
            return words_for_callers(self.house.trouble, self.house.log)
        return "the service is stopping: retry in a moment, with the same idempotency key"

    async def idle(self) -> None:
        """Wait until nothing is on its way to the journal."""
        while self._in_flight:
            await self.feed.published()

    def halt(self, trouble: MarginkeepError) -> None:
        """Accept nothing more, and tell everybody who waits."""
        self.house.halt(trouble)
        self.feed.publish(())

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Where the writer has met a defect of its own, let nobody wait for it."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.critical("the writer has failed", error=repr(error), exc_info=error)
            self.halt(JournalStalled(f"{self.house.log.place}: the writer has failed ({error!r}): start again"))
        while self._queue:
            self._fail([(0, self._queue.popleft()[1])])

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                await self._wait_for_room()
                await self._begin(self._take())
                await asyncio.sleep(0)
            if self._draining:
                await self._wait_for_room(all_of_it=True)
                return

    async def _wait_for_room(self, *, all_of_it: bool = False) -> None:
        while self._in_flight and (all_of_it or self._in_flight >= 2 or self.commits.is_full):
            self._room.clear()
            await self._room.wait()

    def _take(self) -> list[_Waiting]:
        """Take as many waiting groups as fit one batch, at least one."""
        taken: list[_Waiting] = []
        count = 0
        while self._queue and (not taken or count + len(self._queue[0][0]) <= BATCH_REQUESTS_MAX):
            taken.append(self._queue.popleft())
            count += len(taken[-1][0])
        self.waiting_requests -= count
        return taken

    async def _begin(self, groups: Sequence[_Waiting]) -> None:
        """Refuse the groups whose time has passed, and apply the others."""
        try:
            known = await self._look_up([request for group, _, _ in groups for request in group])
            in_time = [one for one in groups if self._is_in_time(one, known)]
            if in_time:
                self._submit(in_time, known)
        except Exception as error:
            # A defect, or earlier trouble: the durable house accepts nothing more, and all who come are told the same.
            if error is not self.house.trouble:
                _log.critical("a batch could not be applied", error=repr(error), exc_info=True)
                self.house.halt(JournalStalled(f"{self.house.log.place}: a batch could not be applied ({error!r})"))
            self._fail([(len(group), future) for group, future, _ in groups])
            self.feed.publish(())
            self.observer.failed()

    async def _look_up(self, requests: Sequence[Request]) -> Known:
        """Ask the journal for the requests' keys; a server in a thread, for a network may fall silent."""
        if not self.house.log.is_remote:
            return self.house.look_up(requests)
        return await asyncio.get_running_loop().run_in_executor(self._asking, self.house.look_up, requests)

    def _is_in_time(self, waiting: _Waiting, known: Known) -> bool:
        """Tell whether a group begins; a late one does only to be answered what is recorded."""
        group, future, deadline = waiting
        if deadline is None:
            return True
        if deadline.has_passed(self._clock()) and not all(one.key and (one.actor, one.key) in known for one in group):
            _end([(len(group), future)], Problem("expired", _TOO_LATE))
            return False
        deadline.begun = True
        return True

    def _submit(self, groups: Sequence[_Waiting], known: Known) -> None:
        requests = [request for group, _, _ in groups for request in group]
        waiting = [(len(group), future) for group, future, _ in groups]
        began = perf_counter()
        durable = asyncio.wrap_future(self.commits.submit(requests, known))
        self._in_flight += 1
        applied = perf_counter()
        durable.add_done_callback(lambda done: self._landed(done, requests, waiting, applied))
        self.observer.applied(len(requests), applied - began)

    def _landed(
        self,
        done: asyncio.Future[list[Outcome]],
        requests: list[Request],
        waiting: list[tuple[int, asyncio.Future[list[Outcome]]]],
        applied: float,
    ) -> None:
        """Tell everybody: first the feed, then those who asked, last whoever counts."""
        self._in_flight -= 1
        self._room.set()
        if done.exception() is not None:
            self._fail(waiting)
            self.feed.publish(())
            self.observer.failed()
            return
        outcomes = done.result()
        self.feed.publish(
            Entry(
                sequence=outcome.sequence,
                recorded_ns=outcome.recorded_ns,
                actor=request.actor,
                correlation=request.correlation,
                events=outcome.events,
                command=request.command,
                size=len(outcome.payload),
            )
            for request, outcome in zip(requests, outcomes, strict=True)
            if not outcome.repeated
        )
        start = 0
        for count, future in waiting:
            if not future.done():
                future.set_result(outcomes[start : start + count])
            start += count
        self.observer.landed(requests, outcomes, perf_counter() - applied)

    def _fail(self, waiting: list[tuple[int, asyncio.Future[list[Outcome]]]]) -> None:
        _end(waiting, Problem("halted", self._why_halted()))


_TOO_LATE: Final = "the request waited for the writer until its window had passed, and was not applied: sign it anew"


def _check(requests: Sequence[Request]) -> None:
    try:
        for request in requests:
            check_request(request)
    except InputError as error:
        raise Problem("bad_request", str(error)) from error


def _end(waiting: list[tuple[int, asyncio.Future[list[Outcome]]]], problem: Problem) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(Problem(problem.code, problem.detail))
