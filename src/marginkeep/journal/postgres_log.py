"""The journal in a PostgreSQL server: one writer, fenced by a lock and by the head row; anyone may read."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg
from psycopg import sql

from marginkeep.errors import FencedOut, InputError, InvariantViolation, JournalCorrupt, JournalStalled, MarginkeepError
from marginkeep.journal import postgres_schema as statements
from marginkeep.journal.checking import check_batch
from marginkeep.journal.command_log import Batch, Head, SnapshotLabel
from marginkeep.journal.postgres_connections import DurableConnection, Row
from marginkeep.journal.postgres_reader import PostgresReader
from marginkeep.journal.record import Genesis, genesis_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACQUIRE_TIMEOUT: Final = "30s"
"""How long a new writer waits for a transaction of the old one to end."""

LOCK_TRIES: Final = 20
LOCK_PAUSE_SECONDS: Final = 0.05
"""The server needs a moment to notice that a killed writer is gone; until then its lock seems to be held."""


class PostgresLog(PostgresReader):
    """A journal in one schema of a PostgreSQL database (protocol `CommandLog`).

    `append` and `acquire` use one connection, whose session holds the writer's lock; snapshots, documents and erasures
    use another; readers share a few. A writer that has been fenced out can change nothing through either.

    Parameters
    ----------
    dsn : connection string or URL as libpq reads it; several hosts and ``target_session_attrs`` are possible
    schema : lower-case letters, digits and underscores

    Raises
    ------
    InputError : the connection string or the schema's name cannot be read
    """

    def __init__(self, dsn: str, *, schema: str = "marginkeep") -> None:
        super().__init__(dsn, schema)
        self._schema = schema
        self._epoch: int | None = None
        self._writer: DurableConnection | None = None
        self._writer_lock = threading.RLock()
        self._aside: DurableConnection | None = None
        self._aside_lock = threading.Lock()

    @property
    def durability(self) -> str:
        """What the server promises of a commit; empty before `acquire`."""
        return self._writer.durability if self._writer is not None else ""

    # Beginning and end --------------------------------------------------------------------------------------

    def create(self, genesis: Genesis) -> None:
        """Make the schema, where it is not there, its tables and an empty journal.

        Raises
        ------
        InputError : there is a journal already, or the user may not create
        """
        with self._aside_transaction(fenced=False) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (statements.creators_lock(self._schema),))
            cursor.execute("SELECT to_regnamespace(%s) IS NULL, to_regclass('genesis') IS NULL", (self._schema,))
            no_schema, no_journal = _one(cursor)
            if not no_journal:
                raise InputError(f"{self.place} holds a journal already: open it, or name another schema")
            if no_schema:
                cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._schema)))
            cursor.execute(statements.TABLES)
            cursor.execute(
                "INSERT INTO genesis VALUES (true, %s, %s, %s, %s, %s)",
                (statements.LAYOUT, genesis.name, genesis.rules, genesis.created_ns, genesis.opening),
            )
            cursor.execute("INSERT INTO head VALUES (true, 0, 0, %s)", (genesis_hash(genesis),))

    def acquire(self, *, take_over: bool = False) -> Head:
        """Become the writer: see `CommandLog.acquire`.

        Raises
        ------
        FencedOut : another session holds the lock of the present epoch and `take_over` is not set
        JournalCorrupt : the stated head is not that of the last record
        JournalStalled : the server cannot be reached, or is a standby
        InputError : there is no journal, or the server would not keep what it acknowledges
        """
        tries_left = 1 if take_over else LOCK_TRIES
        with self._writer_lock:
            while True:
                tries_left -= 1
                try:
                    return self._acquire_once(take_over)
                except FencedOut:
                    if tries_left == 0:
                        self._drop_writer()
                        raise
                time.sleep(LOCK_PAUSE_SECONDS)

    def _acquire_once(self, take_over: bool) -> Head:
        try:
            if self._writer is None:
                self._writer = DurableConnection(self._connections)
            with self._writer.transaction() as cursor:
                head = self._raise_epoch(cursor, take_over)
        except FencedOut:
            raise
        except psycopg.Error as error:
            self._drop_writer()
            raise self._connections.explain(error, "acquired") from error
        except BaseException:
            self._drop_writer()
            raise
        self._epoch = head.epoch
        return head

    def _raise_epoch(self, cursor: psycopg.Cursor[Row], take_over: bool) -> Head:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (ACQUIRE_TIMEOUT,))
        epoch, sequence, record_hash = _one(cursor.execute(statements.LOCK_HEAD))
        self._require_last_record(cursor, sequence, record_hash)
        if not self._try_lock(cursor, epoch) and not take_over:
            raise FencedOut(
                f"{self.place}: the writer of epoch {epoch} is connected and holds the journal: stop it first, or take "
                f"over from it if it must not go on"
            )
        (epoch,) = _one(cursor.execute(statements.RAISE_EPOCH))
        if not self._try_lock(cursor, epoch):
            raise FencedOut(
                f"{self.place}: another session holds the lock of epoch {epoch}: find out which, and end it"
            )
        cursor.execute(statements.FORGET_PARTS)
        return Head(epoch, sequence, record_hash)

    def _try_lock(self, cursor: psycopg.Cursor[Row], epoch: int) -> bool:
        cursor.execute(statements.TRY_WRITERS_LOCK, (statements.writers_lock(self._schema, epoch),))
        return bool(_one(cursor)[0])

    def _require_last_record(self, cursor: psycopg.Cursor[Row], sequence: int, record_hash: bytes) -> None:
        last = cursor.execute(statements.LAST_RECORD).fetchone()
        if last is None and (sequence == 0 or _one(cursor.execute(statements.SNAPSHOT_FROM, (sequence,)))[0]):
            return
        if last != (sequence, record_hash):
            found = f"record {last[0]} with hash {last[1].hex()[:16]}" if last else "none, and no snapshot covers it"
            raise JournalCorrupt(
                f"{self.place}: the head says record {sequence} with hash {record_hash.hex()[:16]}, the last one found "
                f"is {found}: restore the schema from a backup"
            )

    def close(self) -> None:
        """Give up the writer's lock, if held, and every connection."""
        with self._writer_lock:
            self._epoch = None
            self._drop_writer()
        with self._aside_lock:
            self._drop_aside()
        self._connections.close()

    # Records --------------------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> None:
        """Make a batch durable, all of it or nothing.

        Raises
        ------
        FencedOut : the head is not `batch.before`, or the epoch has risen
        JournalStalled : it could not be made durable; it may or may not be there after a restart
        """
        check_batch(batch)
        with self._writer_lock:
            writer = self._require_writer(batch)
            try:
                with writer.transaction() as cursor:
                    self._advance(cursor, batch)
                    _copy(cursor, batch)
            except psycopg.Error as error:
                raise self._after_failure(error, batch) from error
            except JournalStalled:
                self._drop_writer()
                raise

    def _require_writer(self, batch: Batch) -> DurableConnection:
        self._require_acquired()
        if batch.before.epoch != self._epoch:
            raise FencedOut(f"{self.place}: a batch of epoch {batch.before.epoch}, but this writer has {self._epoch}")
        if self._writer is None:
            raise JournalStalled(f"{self.place}: an earlier write failed: restart this process, which recovers")
        return self._writer

    def _advance(self, cursor: psycopg.Cursor[Row], batch: Batch) -> None:
        """Move the head on, if it is where the batch begins; the row stays locked until the commit."""
        before = batch.before
        last = (batch.records[-1].sequence, batch.records[-1].hash) if batch.records else (before.sequence, before.hash)
        cursor.execute(statements.ADVANCE, (*last, before.epoch, before.sequence, before.hash))
        if cursor.rowcount != 1:
            raise self._fenced(before, Head(*_one(cursor.execute(statements.HEAD))))

    def _fenced(self, mine: Head, stored: Head) -> FencedOut:
        return FencedOut(
            f"{self.place}: its head is record {stored.sequence} of epoch {stored.epoch}, this writer's is record "
            f"{mine.sequence} of epoch {mine.epoch}: another writer has taken over; stop this process"
        )

    def _after_failure(self, error: psycopg.Error, batch: Batch) -> MarginkeepError:
        """Tell a writer that lost its connection because it was replaced from one that only lost its connection."""
        explained = self._connections.explain(error, "written")
        if not isinstance(explained, JournalStalled):
            return explained
        self._drop_writer()
        try:
            stored = self.head()
        except MarginkeepError:
            return explained
        return explained if stored.epoch == batch.before.epoch else self._fenced(batch.before, stored)

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # Beside the records ---------------------------------------------------------------------------------------

    def delete_until(self, sequence: int) -> int:
        """Delete the records up to a sequence, which a snapshot must cover, and return how many; the tiles stay."""
        with self._aside_transaction() as cursor:
            if not _one(cursor.execute(statements.SNAPSHOT_FROM, (sequence,)))[0]:
                raise InputError(f"{self.place}: no snapshot covers record {sequence}: take one first")
            cursor.execute("DELETE FROM personal WHERE sequence <= %s", (sequence,))
            return cursor.execute("DELETE FROM records WHERE sequence <= %s", (sequence,)).rowcount

    def put_snapshot_part(self, sequence: int, number: int, part: bytes) -> None:
        """Store one part, from 0, of a snapshot in the making; writing one again replaces it."""
        with self._aside_transaction() as cursor:
            cursor.execute(statements.PUT_PART, (sequence, number, part))

    def finish_snapshot(self, label: SnapshotLabel) -> None:
        """Declare a snapshot complete: only then can it be seen."""
        with self._aside_transaction() as cursor:
            found = _one(cursor.execute(statements.COUNT_PARTS, (label.sequence, label.parts)))
            if found != (label.parts, label.size):
                raise InvariantViolation(
                    f"snapshot {label.sequence} was declared complete with {label.parts} parts of {label.size} bytes, "
                    f"but {found[0]} parts of {found[1]} bytes are stored"
                )
            cursor.execute(statements.DROP_REPLACED_PARTS, (label.sequence, label.parts))
            cursor.execute(statements.COMPLETE_PARTS, (label.sequence,))
            cursor.execute(statements.PUT_LABEL, msgspec.structs.astuple(label))

    def delete_snapshot(self, sequence: int) -> None:
        """Delete a snapshot, complete or not; one that is not there is no error."""
        with self._aside_transaction() as cursor:
            cursor.execute("DELETE FROM snapshots WHERE sequence = %s", (sequence,))
            cursor.execute("DELETE FROM snapshot_parts WHERE sequence = %s", (sequence,))

    def erase_personal(self, sequences: Sequence[int]) -> int:
        """Erase personal payloads, and return how many there were; the records keep their hashes.

        The server's backups and archived WAL still hold them until they expire, its table files until a VACUUM FULL.
        """
        with self._aside_transaction() as cursor:
            return cursor.execute("DELETE FROM personal WHERE sequence = ANY(%s)", (list(sequences),)).rowcount

    def put_document(self, kind: str, name: str, body: bytes) -> None:
        """Store what the service must remember beside the books; replaces."""
        with self._aside_transaction() as cursor:
            cursor.execute(statements.PUT_DOCUMENT, (kind, name, body))

    def delete_document(self, kind: str, name: str) -> None:
        """Delete a document; one that is not there is no error."""
        with self._aside_transaction() as cursor:
            cursor.execute("DELETE FROM documents WHERE kind = %s AND name = %s", (kind, name))

    @contextmanager
    def _aside_transaction(self, *, fenced: bool = True) -> Iterator[psycopg.Cursor[Row]]:
        """Change something beside the records, if this is still the writer; does not wait for an `append`."""
        with self._aside_lock:
            if fenced:
                self._require_acquired()
            try:
                if self._aside is None:
                    self._aside = DurableConnection(self._connections)
                with self._aside.transaction() as cursor:
                    if fenced:
                        self._require_still_writer(cursor)
                    yield cursor
            except psycopg.Error as error:
                self._drop_aside()
                raise self._connections.explain(error, "written") from error
            except JournalStalled:
                self._drop_aside()
                raise

    def _require_acquired(self) -> None:
        if self._epoch is None:
            raise FencedOut(f"{self.place}: this opening has not acquired the journal and may only read it")

    def _require_still_writer(self, cursor: psycopg.Cursor[Row]) -> None:
        if cursor.execute(statements.STILL_WRITER, (self._epoch,)).fetchone() is None:
            raise FencedOut(f"{self.place}: another writer has begun after epoch {self._epoch}, this writer's: stop it")

    def _drop_aside(self) -> None:
        if self._aside is not None:
            self._aside.close()
            self._aside = None


def _one(cursor: psycopg.Cursor[Row]) -> Row:
    row = cursor.fetchone()
    if row is None:
        raise JournalCorrupt("the journal's head is missing from its table: restore the schema from a backup")
    return row


def _copy(cursor: psycopg.Cursor[Row], batch: Batch) -> None:
    """Send everything but the head."""
    if batch.records:
        with cursor.copy(statements.COPY_RECORDS) as copy:
            copy.set_types(statements.COLUMN_TYPES)
            for record in batch.records:
                copy.write_row(msgspec.structs.astuple(record))
    if batch.personal:
        cursor.executemany(statements.ADD_PERSONAL, [msgspec.structs.astuple(one) for one in batch.personal])
    if batch.tiles:
        cursor.executemany(statements.ADD_TILE, [msgspec.structs.astuple(tile) for tile in batch.tiles])
    if batch.checkpoint is not None:
        cursor.execute(statements.ADD_CHECKPOINT, (batch.checkpoint.size, batch.checkpoint.note))
