"""The journal in one SQLite file: the default, for a house on one machine."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.errors import FencedOut, InputError, InvariantViolation, JournalCorrupt
from marginkeep.journal.checking import check_batch, checked
from marginkeep.journal.command_log import Batch, Head, Personal, SnapshotLabel, StoredCheckpoint
from marginkeep.journal.record import Genesis, genesis_hash
from marginkeep.journal.sqlite_file import SqliteFile
from marginkeep.journal.sqlite_keys import NewestKeys
from marginkeep.journal.sqlite_schema import (
    COUNT_PARTS,
    DELETE_KEYS,
    DELETE_OTHER_PARTS,
    DELETE_UNFINISHED,
    GENESIS_KINDS,
    HEAD_KINDS,
    INSERT_MANY,
    INSERT_ONE,
    KEY_DIGEST,
    KNOWN_KEYS,
    LATER_KEYS,
    PUT_LABEL,
    PUT_PART,
    ROWS_AT_ONCE,
    SELECT_LABELS,
    SELECT_PARTS,
    SELECT_RECORDS,
    SEQUENCE,
    SWAP_HEAD,
    key_digest,
    record_of,
    require_kinds,
    rows_of,
)
from marginkeep.journal.writer_lock import WriterLock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from marginkeep.journal.record import Record

PAGE_ROWS: Final = 2_000
"""Rows that a reader takes at a time."""

KEYS_AT_ONCE: Final = 500
KEYS_MOVED: Final = 2
"""Keys taken into the index for each new one: a generation is in before the next is complete."""

DELETED_AT_ONCE: Final = 5_000
"""Records deleted in one transaction, so that no batch waits long."""


class SqliteLog:
    """One opening of a journal; see `CommandLog` for what the methods promise.

    Beside the file stands `<path>.lock`, locked as long as the writer lives.
    """

    is_remote = False

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.place, self.address = str(self.path), str(self.path.absolute())
        if read_only and not self.path.exists():
            raise InputError(f"{self.path} does not exist: name a journal")
        self._file = SqliteFile(self.path, read_only=read_only)
        self._lock = WriterLock(self.path.with_name(f"{self.path.name}.lock"))
        self._epoch = 0
        self._keys: NewestKeys | None = None
        self._file.exists()

    # Beginning and end --------------------------------------------------------------------------------------

    def create(self, genesis: Genesis) -> None:
        """Make an empty journal."""
        start = (genesis.name, genesis.rules, genesis.created_ns, genesis.opening)
        if not self.path.parent.is_dir():
            raise InputError(f"{self.path} cannot be made, its folder is not there: name a file in a present folder")
        if self._file.exists():
            raise InputError(f"{self.path} holds a journal already: open it, or name another file")
        self._lock.acquire(take_over=False)
        try:
            if self._file.exists():
                raise InputError(f"{self.path} was made by another process just now: open it")
            self._file.create(
                [
                    ("INSERT INTO genesis VALUES (1, ?, ?, ?, ?)", start),
                    ("INSERT INTO head VALUES (1, 0, 0, ?, 1)", (genesis_hash(genesis),)),
                    ("INSERT INTO keys_end VALUES (1, 0)", ()),
                ]
            )
        finally:
            self._lock.release()

    def genesis(self) -> Genesis | None:
        """Return what the journal starts from; None where there is no journal yet."""
        if not self._file.exists():
            return None
        row = self._one("SELECT name, rules, created_ns, opening FROM genesis")
        require_kinds(row, GENESIS_KINDS, "beginning")
        name, rules, created_ns, opening = row
        return Genesis(name=name, rules=rules, created_ns=created_ns, opening=opening)

    def acquire(self, *, take_over: bool = False) -> Head:
        """Become the writer: the epoch rises, and whoever wrote before can write no more."""
        self._epoch = 0
        self.head()
        self._lock.acquire(take_over=take_over)
        try:
            self._file.write_anew()
            with self._file.transaction() as db:
                epoch, sequence, stated = self._checked_head(db)
                db.execute("UPDATE head SET epoch = ?", (epoch + 1,))
                db.execute(DELETE_UNFINISHED)
                self._keys = NewestKeys(db)
            self._file.carry_over()
        except BaseException:
            self._lock.release()
            raise
        self._epoch = epoch + 1
        return Head(self._epoch, sequence, stated)

    def head(self) -> Head:
        """Return the head as stored."""
        row = self._one("SELECT epoch, sequence, hash FROM head")
        require_kinds(row, HEAD_KINDS, "head")
        return Head(*row)

    def close(self) -> None:
        """Give up the writer's lock, if held, and every connection."""
        self._epoch = 0
        self._file.close()
        self._lock.release()

    # Records --------------------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> None:
        """Make a batch durable, all of it or nothing."""
        before = batch.before
        last = batch.records[-1] if batch.records else None
        rows = rows_of(batch.records)
        digests = [(row[KEY_DIGEST], row[SEQUENCE]) for row in rows if row[KEY_DIGEST] is not None]
        with self._writing() as db:
            end = (last.sequence, last.hash) if last is not None else (before.sequence, before.hash)
            if db.execute(SWAP_HEAD, (*end, before.epoch, before.sequence, before.hash)).rowcount != 1:
                raise FencedOut(
                    f"{self.path}: the batch extends record {before.sequence} of epoch {before.epoch}, which is not "
                    f"the journal's head: another writer has gone on; stop this one"
                )
            check_batch(batch)
            keys = self._newest_keys(digests)
            _insert(db, rows)
            keys.move(db, KEYS_MOVED * len(rows))
            for one in batch.personal:
                db.execute("INSERT INTO personal VALUES (?, ?, ?)", (one.sequence, one.salt, one.payload))
            for tile in batch.tiles:
                db.execute("INSERT INTO tiles VALUES (?, ?, ?)", (tile.level, tile.index, tile.hashes))
            if batch.checkpoint is not None:
                note = (batch.checkpoint.size, batch.checkpoint.note)
                db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", note)
        keys.landed(digests)

    def read(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """Yield records with `after < sequence <= until`, in order, as stored: checking them is the reader's task."""
        end = self.head().sequence if until is None else until
        while after < end:
            rows = self._page(after, end)
            for row in rows:
                yield record_of(row)
            if not rows:
                return
            if rows[-1][0] <= after:
                raise JournalCorrupt(f"{self.path}: after record {after} comes {rows[-1][0]}: restore it from a backup")
            after = rows[-1][0]

    def first(self) -> int:
        """Return the sequence of the first record that is still kept; head + 1 where none is."""
        return int(self._one("SELECT first FROM head")[0])

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return the records of (actor, idempotency key) pairs; those that are not there are left out."""
        digests = [key_digest(*key) for key in keys]
        newest = self._keys.find(digests) if self._keys is not None else {}
        sequences = list(newest.values())
        for some in _pieces([one for one in digests if one not in newest]):
            for statement in (KNOWN_KEYS,) if self._keys is not None else (KNOWN_KEYS, LATER_KEYS):
                sequences += [row[0] for row in self._file.query(statement.format(_marks(some)), some)]
        wanted, found = set(keys), {}
        for some in _pieces(sequences):
            for row in self._file.query(f"{SELECT_RECORDS} WHERE sequence IN ({_marks(some)})", some):
                record = record_of(row)
                if (record.actor, record.key) in wanted:
                    found[record.actor, record.key] = record
        return found

    def delete_until(self, sequence: int) -> int:
        """Delete the records up to a sequence, which a snapshot must cover; their personal payloads go with them."""
        with self._writing() as db:
            covered, first, last = db.execute(
                "SELECT (SELECT max(sequence) FROM snapshots), first, sequence FROM head"
            ).fetchone()
        if covered is None or covered < sequence:
            raise InputError(f"{self.path}: no snapshot covers record {sequence}: take one first")
        deleted, sequence = 0, min(sequence, last)
        while first <= sequence:
            until = min(first + DELETED_AT_ONCE - 1, sequence)
            with self._writing() as db:
                db.execute(DELETE_KEYS, (until,))
                deleted += db.execute("DELETE FROM records WHERE sequence <= ?", (until,)).rowcount
                db.execute("PRAGMA secure_delete = ON")
                db.execute("DELETE FROM personal WHERE sequence <= ?", (until,))
                db.execute("PRAGMA secure_delete = OFF")
                db.execute("UPDATE head SET first = ?", (until + 1,))
            if self._keys is not None:
                self._keys.forget(until)
            first = until + 1
        return deleted

    # The tree -------------------------------------------------------------------------------------------------

    def tile(self, level: int, index: int) -> bytes | None:
        """Return a complete tile, or None."""
        rows = self._file.query("SELECT hashes FROM tiles WHERE level = ? AND number = ?", (level, index))
        return rows[0][0] if rows else None

    def checkpoints(self, after: int = 0) -> Iterator[StoredCheckpoint]:
        """Yield checkpoints of more than `after` records, in order."""
        page = "SELECT size, note FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?"
        while rows := self._file.query(page, (after, PAGE_ROWS)):
            for size, note in rows:
                yield StoredCheckpoint(size, note)
            after = rows[-1][0]

    def last_checkpoint(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint."""
        rows = self._file.query("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return StoredCheckpoint(*rows[0]) if rows else None

    # Snapshots ------------------------------------------------------------------------------------------------

    def put_snapshot_part(self, sequence: int, number: int, part: bytes) -> None:
        """Store one part, from 0, of a snapshot in the making; a complete one stays as it is until the end."""
        with self._writing() as db:
            db.execute(PUT_PART, {"sequence": sequence, "number": number, "part": part})

    def finish_snapshot(self, label: SnapshotLabel) -> None:
        """Declare a snapshot complete: only then can it be seen."""
        values = msgspec.structs.asdict(label)
        with self._writing() as db:
            making, parts, size = db.execute(COUNT_PARTS, values).fetchone()
            if (parts, size) != (label.parts, label.size):
                raise InvariantViolation(
                    f"snapshot {label.sequence} was declared complete with {label.parts} parts of {label.size} bytes, "
                    f"but {parts} parts of {size} bytes are stored"
                )
            db.execute(PUT_LABEL, {**values, "making": making})
            db.execute(DELETE_OTHER_PARTS, {**values, "making": making})

    def snapshots(self) -> list[SnapshotLabel]:
        """Return complete snapshots, oldest first."""
        rows = self._file.query(SELECT_LABELS)
        return [SnapshotLabel(**dict(zip(SnapshotLabel.__struct_fields__, row, strict=True))) for row in rows]

    def snapshot(self, sequence: int) -> bytes:
        """Return a complete snapshot's bytes, as stored."""
        with self._file.reading_apart() as db:
            encoded = b"".join(part for (part,) in db.execute(SELECT_PARTS, (sequence,)))
        if not encoded and all(label.sequence != sequence for label in self.snapshots()):
            raise InputError(f"{self.path} holds no snapshot at record {sequence}: see the list of snapshots")
        return encoded

    def delete_snapshot(self, sequence: int) -> None:
        """Delete a snapshot, complete or not; one that is not there is no error."""
        with self._writing() as db:
            db.execute("DELETE FROM snapshots WHERE sequence = ?", (sequence,))
            db.execute("DELETE FROM snapshot_parts WHERE sequence = ?", (sequence,))

    # Beside the records ---------------------------------------------------------------------------------------

    def personal(self, sequence: int) -> Personal | None:
        """Return a record's personal payload; None where it has none or it is erased."""
        rows = self._file.query("SELECT sequence, salt, payload FROM personal WHERE sequence = ?", (sequence,))
        return Personal(*rows[0]) if rows else None

    def erase_personal(self, sequences: Sequence[int]) -> int:
        """Overwrite personal payloads, in the write-ahead file too, and return how many there were."""
        with self._writing() as db:
            db.execute("PRAGMA secure_delete = ON")
            rows = [(sequence,) for sequence in sequences]
            erased = db.executemany("DELETE FROM personal WHERE sequence = ?", rows).rowcount
            db.execute("PRAGMA secure_delete = OFF")
        self._file.carry_over()
        return erased

    def put_document(self, kind: str, name: str, body: bytes) -> None:
        """Store what the service must remember beside the books; replaces."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, body))

    def documents(self, kind: str) -> dict[str, bytes]:
        """Return all documents of a kind by name, in order of names."""
        return dict(self._file.query("SELECT name, body FROM documents WHERE kind = ? ORDER BY name", (kind,)))

    def delete_document(self, kind: str, name: str) -> None:
        """Delete a document; one that is not there is no error."""
        with self._writing() as db:
            db.execute("DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name))

    def size_bytes(self) -> int:
        """Return the bytes of the file and its write-ahead file."""
        return self._file.size_bytes()

    # Leaves -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction in which the journal is known to be this writer's."""
        if self._epoch == 0:
            raise FencedOut(f"{self.path}: this opening has not acquired the journal and may only read it")
        with self._file.transaction() as db:
            (epoch,) = db.execute("SELECT epoch FROM head").fetchone()
            if epoch != self._epoch:
                raise FencedOut(f"{self.path}: epoch {epoch} has begun, this writer has epoch {self._epoch}: stop it")
            yield db

    def _newest_keys(self, digests: list[tuple[bytes, int]]) -> NewestKeys:
        """Return the keys that are not in their table yet, after making sure that these are new."""
        if self._keys is None:
            raise InvariantViolation(f"{self.path}: written to before the journal was acquired")
        self._keys.require_new([digest for digest, _ in digests])
        return self._keys

    def _one(self, statement: str) -> tuple[Any, ...]:
        rows = self._file.query(statement)
        if len(rows) != 1:
            raise JournalCorrupt(f"{self.path}: {len(rows)} rows where one belongs ({statement}): restore a backup")
        return tuple(rows[0])

    def _page(self, after: int, end: int) -> list[Any]:
        """Return the next rows; where they cannot be read, one row, so that the damaged one can be named."""
        page = SELECT_RECORDS + "WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
        try:
            return self._file.query(page, (after, end, PAGE_ROWS))
        except JournalCorrupt:
            pass
        try:
            return self._file.query(page, (after, end, 1))
        except JournalCorrupt as error:
            raise JournalCorrupt(f"record {after + 1} cannot be read: {error}") from error

    def _checked_head(self, db: sqlite3.Connection) -> tuple[int, int, bytes]:
        """Return the head (epoch, sequence, hash) after holding it against the first and the last record."""
        epoch, sequence, stated, first = db.execute("SELECT epoch, sequence, hash, first FROM head").fetchone()
        row = db.execute(SELECT_RECORDS + "ORDER BY sequence DESC LIMIT 1").fetchone()
        begin = db.execute("SELECT min(sequence) FROM records").fetchone()[0]
        last = record_of(row) if row is not None else None
        at = (last.sequence, last.hash, begin) if last is not None else (first - 1, stated, first)
        if at != (sequence, stated, first):
            raise JournalCorrupt(
                f"{self.path}: by its head the journal keeps records {first} to {sequence} (hash {_short(stated)}), "
                f"but records {at[2]} to {at[0]} (hash {_short(at[1])}) are there: restore it from a backup"
            )
        if last is not None:
            list(checked(iter([last]), Head(0, sequence - 1, last.previous)))
            if not isinstance(epoch, int) or last.epoch > epoch:
                raise JournalCorrupt(
                    f"{self.path}: record {sequence} is of epoch {last.epoch}, but by its head the journal has only "
                    f"reached {epoch}: the head is older than the records; restore it from a backup"
                )
        return epoch, sequence, stated


def _insert(db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    whole = len(rows) - len(rows) % ROWS_AT_ONCE
    for start in range(0, whole, ROWS_AT_ONCE):
        db.execute(INSERT_MANY, [field for row in rows[start : start + ROWS_AT_ONCE] for field in row])
    db.executemany(INSERT_ONE, rows[whole:])


def _pieces(values: list[Any]) -> Iterator[list[Any]]:
    return (values[start : start + KEYS_AT_ONCE] for start in range(0, len(values), KEYS_AT_ONCE))


def _marks(values: list[Any]) -> str:
    return ", ".join("?" * len(values))


def _short(stored: object) -> str:
    """Return the beginning of a hash; damage can make it anything."""
    return stored.hex()[:16] if isinstance(stored, bytes) else repr(stored)[:16]
