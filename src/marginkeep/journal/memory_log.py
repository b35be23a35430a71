"""A journal in memory, for tests and trials: what the others promise, except that nothing survives the process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from marginkeep.errors import FencedOut, InputError, InvariantViolation, JournalCorrupt
from marginkeep.journal.checking import check_batch
from marginkeep.journal.command_log import Batch, Head, Personal, SnapshotLabel, StoredCheckpoint
from marginkeep.journal.record import genesis_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from marginkeep.journal.record import Genesis, Record


@dataclass(slots=True, eq=False)
class MemoryStore:
    """What outlives a `MemoryLog`: open one store twice to have two writers."""

    genesis: Genesis | None = None
    head: Head = field(default_factory=lambda: Head(0, 0, b""))
    first: int = 1
    records: dict[int, Record] = field(default_factory=dict)
    keys: dict[tuple[str, str], int] = field(default_factory=dict)
    personal: dict[int, Personal] = field(default_factory=dict)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    checkpoints: dict[int, StoredCheckpoint] = field(default_factory=dict)
    labels: dict[int, SnapshotLabel] = field(default_factory=dict)
    snapshots: dict[int, bytes] = field(default_factory=dict)
    parts: dict[int, dict[int, bytes]] = field(default_factory=dict)
    documents: dict[tuple[str, str], bytes] = field(default_factory=dict)
    writer: MemoryLog | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)


class MemoryLog:
    """One opening of a store; see `CommandLog` for what the methods promise."""

    is_remote = False

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store if store is not None else MemoryStore()
        self._epoch = 0

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return "memory"

    @property
    def address(self) -> str:
        """None: another process cannot open it."""
        return ""

    def create(self, genesis: Genesis) -> None:
        """Make an empty journal."""
        with self.store.lock:
            if self.store.genesis is not None:
                raise InputError(f"{self.place}: there is a journal already: open it, or begin with an empty store")
            self.store.genesis = genesis
            self.store.head = Head(0, 0, genesis_hash(genesis))

    def genesis(self) -> Genesis | None:
        """Return what the journal starts from."""
        return self.store.genesis

    def acquire(self, *, take_over: bool = False) -> Head:
        """Become the writer."""
        store = self.store
        with store.lock:
            head = self.head()
            if store.writer not in (None, self) and not take_over:
                raise FencedOut(f"{self.place}: another writer holds the journal: close it first, or take over")
            last = store.records.get(head.sequence)
            if head.sequence >= store.first and (last is None or last.hash != head.hash):
                raise JournalCorrupt(f"{self.place}: the head says record {head.sequence}, which is not there")
            store.writer = self
            self._epoch = head.epoch + 1
            store.head = Head(self._epoch, head.sequence, head.hash)
            for sequence in list(store.parts):
                del store.parts[sequence]
            return store.head

    def head(self) -> Head:
        """Return the head as stored."""
        if self.store.genesis is None:
            raise InputError(f"{self.place} holds no journal: create one first")
        return self.store.head

    def close(self) -> None:
        """Give up the journal; the store stays."""
        with self.store.lock:
            if self.store.writer is self:
                self.store.writer = None
            self._epoch = 0

    def append(self, batch: Batch) -> None:
        """Add a batch, all of it or nothing."""
        store = self.store
        with store.lock:
            self._require_writer()
            if batch.before != store.head:
                raise FencedOut(f"{self.place}: the batch extends record {batch.before.sequence}, not the head")
            check_batch(batch)
            keys = [((record.actor, record.key), record.sequence) for record in batch.records if record.key]
            self._require_new(batch, keys)
            store.keys.update(keys)
            store.records.update((record.sequence, record) for record in batch.records)
            store.personal.update((one.sequence, one) for one in batch.personal)
            store.tiles.update(((tile.level, tile.index), tile.hashes) for tile in batch.tiles)
            if batch.checkpoint is not None:
                store.checkpoints[batch.checkpoint.size] = batch.checkpoint
            if batch.records:
                store.head = Head(self._epoch, batch.records[-1].sequence, batch.records[-1].hash)

    def read(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """Yield records in order."""
        end = self.store.head.sequence if until is None else until
        for sequence in range(max(after + 1, self.store.first), end + 1):
            record = self.store.records.get(sequence)
            if record is not None:
                yield record

    def first(self) -> int:
        """Return the sequence of the first record that is still kept."""
        return self.store.first

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return the records of (actor, idempotency key) pairs."""
        with self.store.lock:
            return {key: self.store.records[self.store.keys[key]] for key in keys if key in self.store.keys}

    def delete_until(self, sequence: int) -> int:
        """Delete the records up to a sequence, which a snapshot must cover."""
        store = self.store
        with store.lock:
            self._require_writer()
            if not any(label.sequence >= sequence for label in store.labels.values()):
                raise InputError(f"{self.place}: no snapshot covers record {sequence}: take one first")
            sequence = min(sequence, store.head.sequence)
            gone = [store.records.pop(number) for number in range(store.first, sequence + 1)]
            for record in gone:
                store.keys.pop((record.actor, record.key), None)
                store.personal.pop(record.sequence, None)
            store.first = max(store.first, sequence + 1)
            return len(gone)

    def tile(self, level: int, index: int) -> bytes | None:
        """Return a complete tile, or None."""
        return self.store.tiles.get((level, index))

    def checkpoints(self, after: int = 0) -> Iterator[StoredCheckpoint]:
        """Yield checkpoints of more than `after` records, in order."""
        with self.store.lock:
            sizes = sorted(size for size in self.store.checkpoints if size > after)
        for size in sizes:
            yield self.store.checkpoints[size]

    def last_checkpoint(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint."""
        with self.store.lock:
            return self.store.checkpoints[max(self.store.checkpoints)] if self.store.checkpoints else None

    def put_snapshot_part(self, sequence: int, number: int, part: bytes) -> None:
        """Store one part of a snapshot in the making."""
        with self.store.lock:
            self._require_writer()
            self.store.parts.setdefault(sequence, {})[number] = part

    def finish_snapshot(self, label: SnapshotLabel) -> None:
        """Declare a snapshot complete."""
        with self.store.lock:
            self._require_writer()
            made = self.store.parts.get(label.sequence, {})
            parts = [made[number] for number in range(label.parts) if number in made]
            if len(parts) != label.parts or sum(map(len, parts)) != label.size:
                raise InvariantViolation(
                    f"snapshot {label.sequence} was declared complete with {label.parts} parts of {label.size} bytes, "
                    f"but {len(parts)} parts of {sum(map(len, parts))} bytes are stored"
                )
            self.store.parts.pop(label.sequence, None)
            self.store.snapshots[label.sequence] = b"".join(parts)
            self.store.labels[label.sequence] = label

    def snapshots(self) -> list[SnapshotLabel]:
        """Return complete snapshots, oldest first."""
        with self.store.lock:
            return [label for _, label in sorted(self.store.labels.items())]

    def snapshot(self, sequence: int) -> bytes:
        """Return a complete snapshot's bytes."""
        if sequence not in self.store.snapshots:
            raise InputError(f"{self.place} holds no snapshot at record {sequence}: see the list of snapshots")
        return self.store.snapshots[sequence]

    def delete_snapshot(self, sequence: int) -> None:
        """Delete a snapshot, complete or not."""
        with self.store.lock:
            self._require_writer()
            self.store.labels.pop(sequence, None)
            self.store.snapshots.pop(sequence, None)
            self.store.parts.pop(sequence, None)

    def personal(self, sequence: int) -> Personal | None:
        """Return a record's personal payload."""
        return self.store.personal.get(sequence)

    def erase_personal(self, sequences: Sequence[int]) -> int:
        """Erase personal payloads for good."""
        with self.store.lock:
            self._require_writer()
            return sum(self.store.personal.pop(sequence, None) is not None for sequence in sequences)

    def put_document(self, kind: str, name: str, body: bytes) -> None:
        """Store or replace a document."""
        with self.store.lock:
            self._require_writer()
            self.store.documents[kind, name] = body

    def documents(self, kind: str) -> dict[str, bytes]:
        """Return all documents of a kind, in order of names."""
        with self.store.lock:
            return {name: body for (of, name), body in sorted(self.store.documents.items()) if of == kind}

    def delete_document(self, kind: str, name: str) -> None:
        """Delete a document; one that is not there is no error."""
        with self.store.lock:
            self._require_writer()
            self.store.documents.pop((kind, name), None)

    def size_bytes(self) -> int:
        """Return roughly how many bytes it takes."""
        bodies = sum(len(record.body) + len(record.events) for record in self.store.records.values())
        return bodies + sum(map(len, self.store.snapshots.values()))

    def _require_writer(self) -> None:
        if self._epoch == 0:
            raise FencedOut(f"{self.place}: this opening has not acquired the journal and may only read it")
        if self.store.head.epoch != self._epoch:
            raise FencedOut(
                f"{self.place}: epoch {self.store.head.epoch} has begun, this writer has epoch {self._epoch}: stop it"
            )

    def _require_new(self, batch: Batch, keys: list[tuple[tuple[str, str], int]]) -> None:
        """Refuse what a database's unique indexes would refuse."""
        known = [key for key, _ in keys if key in self.store.keys]
        if known or len({key for key, _ in keys}) < len(keys):
            raise InvariantViolation(f"an idempotency key was written twice: {(known or keys)[0]!r}; find() it first")
        if any((tile.level, tile.index) in self.store.tiles for tile in batch.tiles):
            raise InvariantViolation("a tile was written twice: a complete tile never changes")
