"""The file beside a journal that says, while it is locked, that a writer is alive.

The lock keeps two writers apart politely; what makes the stale one harmless is the epoch in the journal itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from marginkeep.errors import FencedOut, JournalStalled

if TYPE_CHECKING:
    from pathlib import Path


class WriterLock:
    """An advisory lock, held until released or until the process is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, take_over: bool) -> None:
        """Lock the file; with `take_over`, put a new one in the place of one that somebody holds.

        Raises
        ------
        FencedOut : somebody holds it
        JournalStalled : the file cannot be made
        """
        if self._descriptor is not None and self._is_in_place(self._descriptor):
            return
        self.release()  # somebody took over: what is held is no longer the lock
        try:
            self._descriptor = self._lock_present()
            if self._descriptor is None and take_over:
                self._descriptor = self._replace()
        except OSError as error:
            raise JournalStalled(
                f"{self.path}: the writer's lock cannot be taken ({error.strerror}): "
                f"make the folder writable for this user"
            ) from error
        if self._descriptor is None:
            raise FencedOut(
                f"{self.path} is locked by process {self._holder()}, which writes this journal: stop that process, "
                f"or take over from it (it will then be refused)"
            )

    def release(self) -> None:
        """Unlock; the file stays, so that nobody ever locks one that has just been unlinked."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock_present(self) -> int | None:
        """Return the descriptor of the locked file, None where somebody else holds it."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            if self._is_in_place(descriptor):
                return self._sign(descriptor)
            os.close(descriptor)  # it was replaced between opening and locking

    def _replace(self) -> int:
        """Lock a new file and put it in the place of the present one, whose holder keeps a lock on nothing."""
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._sign(descriptor)
        fresh.replace(self.path)
        return descriptor

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            present = self.path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(present, os.fstat(descriptor))

    def _sign(self, descriptor: int) -> int:
        """Write the process's number into the file, for whoever finds it locked; a full disk leaves it unsigned."""
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def _holder(self) -> str:
        try:
            return self.path.read_text().strip() or "unknown"
        except OSError:
            return "unknown"
