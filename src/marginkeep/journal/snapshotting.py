"""Writing a snapshot beside a running house: captured at once, encoded elsewhere, stored part by part."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from marginkeep.clearing.snapshot import capture_snapshot
from marginkeep.journal.command_log import SNAPSHOT_PART_BYTES, SnapshotLabel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.clearing import Clearinghouse
    from marginkeep.journal.command_log import CommandLog, Head

SNAPSHOTS_KEPT: Final = 3


class SnapshotJob:
    """One snapshot in the making.

    Making the job copies what the house may change next. `encode` may run in any thread; `parts` runs where batches are
    committed, one step between two batches, and not before the records up to `sequence` are durable.
    """

    def __init__(self, house: Clearinghouse, head: Head, rules: str, taken_ns: int) -> None:
        self.sequence = head.sequence
        self._head, self._rules, self._taken_ns = head, rules, taken_ns
        self._finish = capture_snapshot(house)
        self._encoded: bytes | None = None

    def encode(self) -> bytes:
        """Return the snapshot's bytes."""
        if self._encoded is None:
            self._encoded = self._finish()
        return self._encoded

    def parts(self, log: CommandLog) -> Iterator[None]:
        """Store part after part; when the last step is done, the snapshot is complete and old ones are gone."""
        encoded = self.encode()
        starts = range(0, len(encoded), SNAPSHOT_PART_BYTES)
        for number, start in enumerate(starts):
            log.put_snapshot_part(self.sequence, number, encoded[start : start + SNAPSHOT_PART_BYTES])
            yield
        label = SnapshotLabel(
            sequence=self.sequence,
            record_hash=self._head.hash,
            state_hash=hashlib.sha256(encoded).digest(),
            rules=self._rules,
            size=len(encoded),
            parts=len(starts),
            taken_ns=self._taken_ns,
        )
        log.finish_snapshot(label)
        yield
        for old in log.snapshots()[:-SNAPSHOTS_KEPT]:
            log.delete_snapshot(old.sequence)
            yield

    def write(self, log: CommandLog) -> None:
        """Store it at once."""
        for _ in self.parts(log):
            pass
