"""Reading a journal in a PostgreSQL server, its primary or a standby."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal import postgres_schema as statements
from marginkeep.journal.command_log import Head, Personal, SnapshotLabel, StoredCheckpoint
from marginkeep.journal.postgres_connections import Connections, Row
from marginkeep.journal.record import Genesis, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import LiteralString

PAGE_RECORDS: Final = 1000
"""Records fetched at a time."""

_FIELDS: Final = Record.__struct_fields__


class PostgresReader:
    """The part of `CommandLog` that changes nothing, for several threads at once."""

    is_remote = True

    def __init__(self, dsn: str, schema: str) -> None:
        self._connections = Connections(dsn, schema)

    @property
    def place(self) -> str:
        """Server, database and schema, without user and password."""
        return self._connections.place

    @property
    def address(self) -> str:
        """A URL that holds everything the connection string said, and the schema."""
        return self._connections.address

    def genesis(self) -> Genesis | None:
        """Return what the journal starts from; None where there is no journal yet."""
        found = self._rows("SELECT to_regclass('genesis') IS NOT NULL")
        if not found[0][0]:
            return None
        layout, name, rules, created_ns, opening = self._row(statements.GENESIS)
        if layout != statements.LAYOUT:
            raise InputError(
                f"{self.place} has tables of version {layout}, this program reads version {statements.LAYOUT}: "
                f"use the program that made them"
            )
        return Genesis(name=name, rules=rules, created_ns=created_ns, opening=opening)

    def head(self) -> Head:
        """Return the head as stored."""
        return Head(*self._row(statements.HEAD))

    def read(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """Yield records with `after < sequence <= until`, in order, as stored, a page at a time."""
        end = self.head().sequence if until is None else until
        while after < end:
            page = self._rows(statements.READ, (after, end, PAGE_RECORDS))
            for row in page:
                yield Record(**dict(zip(_FIELDS, row, strict=True)))
            if len(page) < PAGE_RECORDS:
                return
            after = page[-1][0]

    def first(self) -> int:
        """Return the sequence of the first record that is still kept; head + 1 where none is."""
        return int(self._row(statements.FIRST)[0])

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return the records of (actor, idempotency key) pairs; those that are not there are left out."""
        if not keys:
            return {}
        rows = self._rows(statements.FIND, ([actor for actor, _ in keys], [key for _, key in keys]))
        records = [Record(**dict(zip(_FIELDS, row, strict=True))) for row in rows]
        return {(record.actor, record.key): record for record in records}

    def tile(self, level: int, index: int) -> bytes | None:
        """Return a complete tile, or None."""
        found = self._rows("SELECT hashes FROM tiles WHERE level = %s AND index = %s", (level, index))
        return found[0][0] if found else None

    def checkpoints(self, after: int = 0) -> Iterator[StoredCheckpoint]:
        """Yield checkpoints of more than `after` records, in order."""
        while page := self._rows(statements.CHECKPOINTS, (after, PAGE_RECORDS)):
            for size, note in page:
                yield StoredCheckpoint(size, note)
            after = page[-1][0]

    def last_checkpoint(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint."""
        found = self._rows("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return StoredCheckpoint(*found[0]) if found else None

    def snapshots(self) -> list[SnapshotLabel]:
        """Return complete snapshots, oldest first."""
        rows = self._rows("SELECT * FROM snapshots ORDER BY sequence")
        return [SnapshotLabel(**dict(zip(SnapshotLabel.__struct_fields__, row, strict=True))) for row in rows]

    def snapshot(self, sequence: int) -> bytes:
        """Return a complete snapshot's bytes, as stored."""
        if not self._rows("SELECT FROM snapshots WHERE sequence = %s", (sequence,)):
            raise InputError(f"{self.place} holds no snapshot at record {sequence}: see the list of snapshots")
        return b"".join(part for (part,) in self._rows(statements.PARTS, (sequence,)))

    def personal(self, sequence: int) -> Personal | None:
        """Return a record's personal payload; None where it has none or it is erased."""
        found = self._rows("SELECT * FROM personal WHERE sequence = %s", (sequence,))
        return Personal(*found[0]) if found else None

    def documents(self, kind: str) -> dict[str, bytes]:
        """Return all documents of a kind by name, in order of names."""
        return dict(self._rows("SELECT name, body FROM documents WHERE kind = %s ORDER BY name", (kind,)))

    def size_bytes(self) -> int:
        """Return how many bytes the tables take on the server, with their indexes."""
        return int(self._row(statements.SIZE, (self._connections.schema,))[0])

    def _rows(self, query: LiteralString, arguments: Sequence[object] = ()) -> list[Row]:
        return self._connections.rows(query, arguments)

    def _row(self, query: LiteralString, arguments: Sequence[object] = ()) -> Row:
        found = self._rows(query, arguments)
        if not found:
            raise JournalCorrupt(f"{self.place}: a table of the journal is empty that never is: restore the schema")
        return found[0]
