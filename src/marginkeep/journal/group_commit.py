"""Batches committed by a thread of their own, so that the next is applied while the last becomes durable."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Final

from marginkeep.errors import JournalStalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from marginkeep.journal.durable import DurableHouse, Known, Outcome, Request, Staged
    from marginkeep.journal.snapshotting import SnapshotJob

IN_FLIGHT_MAX: Final = 2
"""Batches staged and not yet durable: one is being written while one is being applied; beyond, submitting waits."""


class GroupCommit:
    """Commits for one durable house. All submitting is done by one thread.

    When a batch cannot be made durable, its future and those of all later ones fail with the same error.
    """

    def __init__(self, house: DurableHouse) -> None:
        self.house = house
        self._waiting: deque[tuple[Staged, Future[list[Outcome]]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._jobs: deque[tuple[Iterator[object], Future[None]]] = deque()
        self._snapshot: Future[int] | None = None
        self._thread = self._begin("journal", self._run)

    def submit(self, requests: Sequence[Request], known: Known | None = None) -> Future[list[Outcome]]:
        """Apply a batch now and return the future of its outcomes, done when they are durable; see `stage`."""
        with self._changed:
            self._require_open()
            self._changed.wait_for(lambda: len(self._waiting) < IN_FLIGHT_MAX)
        staged = self.house.stage(requests, known)
        future: Future[list[Outcome]] = _begun()
        with self._changed:
            self._waiting.append((staged, future))
            self._changed.notify_all()
        return future

    @property
    def is_full(self) -> bool:
        """Tell whether `submit` would wait."""
        return len(self._waiting) >= IN_FLIGHT_MAX

    def snapshot(self) -> Future[int]:
        """Begin a snapshot of what is applied now; the future gives its sequence. One at a time."""
        with self._changed:
            if self._snapshot is not None:
                return self._snapshot
            self._require_open()
            job = self.house.begin_snapshot()
            future = self._snapshot = _begun()
        self._begin("snapshot", lambda: self._encode(job, future))
        return future

    def between_batches(self, steps: Iterator[object]) -> Future[None]:
        """Take the steps of a longer piece of work on the log one by one, each between two batches."""
        future: Future[None] = _begun()
        with self._changed:
            self._require_open()
            self._jobs.append((steps, future))
            self._changed.notify_all()
        return future

    def close(self) -> None:
        """Wait for everything submitted, and for a snapshot in the making, and stop the thread."""
        while True:
            with self._changed:
                snapshot = self._snapshot
                if snapshot is None:
                    self._closing = True
                    self._changed.notify_all()
                    break
            wait([snapshot])
        self._thread.join()

    def _require_open(self) -> None:
        if self._closing:
            raise JournalStalled(f"{self.house.log.place}: the journal is being closed: ask again after the restart")

    def _begin(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def _encode(self, job: SnapshotJob, future: Future[int]) -> None:
        def finished(stored: Future[None]) -> None:
            self._snapshot = None
            error = stored.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(job.sequence)

        try:
            job.encode()
        except BaseException as error:
            self._snapshot = None
            future.set_exception(error)
            return
        self.between_batches(self._stored(job)).add_done_callback(finished)

    def _stored(self, job: SnapshotJob) -> Iterator[None]:
        """Store a snapshot step by step, once the records that lead to it are durable."""
        while self.house.durable.sequence < job.sequence:
            self.house.require_usable()
            yield
        yield from job.parts(self.house.log)

    def _run(self) -> None:
        while self._take_turn():
            pass

    def _take_turn(self) -> bool:
        """Commit one batch and take one step of other work; tell whether there may be more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._jobs or self._closing)
            first = self._waiting[0] if self._waiting else None
            if first is None and not self._jobs:
                return False
        if first is not None:
            self._commit(*first)
        if self._jobs:
            self._step(*self._jobs[0])
        return True

    def _commit(self, staged: Staged, future: Future[list[Outcome]]) -> None:
        try:
            self.house.commit(staged)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(staged.outcomes)
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()

    def _step(self, steps: Iterator[object], future: Future[None]) -> None:
        """Take one step of the first piece of work."""
        try:
            next(steps)
            return
        except StopIteration:
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)
        self._jobs.popleft()


def _begun() -> Future[Any]:
    """Return a future that its reader cannot cancel: whoever stops waiting stops nothing, and others still learn."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future
