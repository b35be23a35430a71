"""The tables of a journal in SQLite, and how records become rows.

Anybody may read the file with any SQLite: times are nanoseconds UTC, hashes and JSON are blobs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from marginkeep.errors import JournalCorrupt
from marginkeep.journal.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

APPLICATION_ID: Final = 0x4D4B4A31
"""``MKJ1``: which programme's file it is."""

USER_VERSION: Final = 1
"""Version of the tables below."""

PAGE_BYTES: Final = 8192

TABLES: Final = (
    """CREATE TABLE records (
        sequence INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, schema INTEGER NOT NULL, kind TEXT NOT NULL,
        recorded_ns INTEGER NOT NULL, causation INTEGER NOT NULL, actor TEXT NOT NULL, key TEXT NOT NULL,
        correlation TEXT NOT NULL, personal BLOB NOT NULL, key_digest BLOB, previous BLOB NOT NULL,
        hash BLOB NOT NULL, body BLOB NOT NULL, events BLOB NOT NULL)""",
    "CREATE TABLE keys (digest BLOB PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE keys_end (one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT NULL)",
    "CREATE TABLE personal (sequence INTEGER PRIMARY KEY, salt BLOB NOT NULL, payload BLOB NOT NULL)",
    """CREATE TABLE tiles (
        level INTEGER NOT NULL, number INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, number))""",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL)",
    """CREATE TABLE snapshots (
        sequence INTEGER PRIMARY KEY, making INTEGER NOT NULL, record_hash BLOB NOT NULL, state_hash BLOB NOT NULL,
        rules TEXT NOT NULL, size INTEGER NOT NULL, parts INTEGER NOT NULL, taken_ns INTEGER NOT NULL)""",
    """CREATE TABLE snapshot_parts (
        sequence INTEGER NOT NULL, making INTEGER NOT NULL, number INTEGER NOT NULL, part BLOB NOT NULL,
        PRIMARY KEY (sequence, making, number))""",
    """CREATE TABLE documents (
        kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, name))""",
    """CREATE TABLE genesis (
        one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, rules TEXT NOT NULL, created_ns INTEGER NOT NULL,
        opening BLOB NOT NULL)""",
    """CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
        hash BLOB NOT NULL, first INTEGER NOT NULL)""",
)
"""In `snapshots` and `snapshot_parts`, `making` tells the parts of a complete snapshot from those of its successor.
`keys` leads from digests to records up to `keys_end`, and to some after it; see `sqlite_keys`.
"""

SELECT_RECORDS: Final = (
    "SELECT sequence, epoch, schema, kind, recorded_ns, causation, actor, key, correlation, personal, previous, hash, "
    "body, events FROM records "
)

_RECORD_KINDS: Final = (int, int, int, str, int, int, str, str, str, bytes, bytes, bytes, bytes, bytes)

GENESIS_KINDS: Final = (str, str, int, bytes)
HEAD_KINDS: Final = (int, int, bytes)

_INSERT_RECORDS: Final = (
    "INSERT INTO records (sequence, epoch, schema, kind, recorded_ns, causation, actor, key, correlation, personal, "
    "key_digest, previous, hash, body, events) VALUES "
)
_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ROWS_AT_ONCE: Final = 256
"""Rows that one statement inserts: other threads run beside it, while a statement for each row hardly lets them."""

KNOWN_KEYS: Final = "SELECT sequence FROM keys WHERE digest IN ({0})"
LATER_KEYS: Final = """SELECT sequence FROM records
    WHERE sequence > (SELECT sequence FROM keys_end) AND key_digest IN ({0})"""
"""For who is not the writer and does not know the newest keys."""

DELETE_KEYS: Final = "DELETE FROM keys WHERE digest IN (SELECT key_digest FROM records WHERE sequence <= ?)"

SEQUENCE: Final = 0
KEY_DIGEST: Final = 10
"""Places in a row as inserted."""

INSERT_ONE: Final = _INSERT_RECORDS + _ROW
INSERT_MANY: Final = _INSERT_RECORDS + ", ".join([_ROW] * ROWS_AT_ONCE)

SWAP_HEAD: Final = "UPDATE head SET sequence = ?, hash = ? WHERE epoch = ? AND sequence = ? AND hash = ?"
"""The fence: it changes one row where the writer knows the head, and none where another one has gone on."""

PUT_PART: Final = """INSERT OR REPLACE INTO snapshot_parts (sequence, making, number, part)
    SELECT :sequence, 1 + coalesce(max(making), 0), :number, :part FROM snapshots WHERE sequence = :sequence"""
COUNT_PARTS: Final = """SELECT 1 + coalesce((SELECT making FROM snapshots WHERE sequence = :sequence), 0), count(*),
    coalesce(sum(length(part)), 0) FROM snapshot_parts WHERE sequence = :sequence AND number < :parts
    AND making = 1 + coalesce((SELECT making FROM snapshots WHERE sequence = :sequence), 0)"""
PUT_LABEL: Final = """INSERT OR REPLACE INTO snapshots VALUES
    (:sequence, :making, :record_hash, :state_hash, :rules, :size, :parts, :taken_ns)"""
DELETE_OTHER_PARTS: Final = """DELETE FROM snapshot_parts
    WHERE sequence = :sequence AND (making <> :making OR number >= :parts)"""
DELETE_UNFINISHED: Final = """DELETE FROM snapshot_parts
    WHERE (sequence, making) NOT IN (SELECT sequence, making FROM snapshots)"""
SELECT_LABELS: Final = (
    "SELECT sequence, record_hash, state_hash, rules, size, parts, taken_ns FROM snapshots ORDER BY sequence"
)
SELECT_PARTS: Final = """SELECT part FROM snapshot_parts JOIN snapshots USING (sequence, making)
    WHERE sequence = ? AND number < parts ORDER BY number"""

_DIGEST_BYTES: Final = 16


def key_digest(actor: str, key: str) -> bytes:
    """Return what the index holds of an actor and an idempotency key: 16 bytes keep it small."""
    return hashlib.blake2b(f"{len(actor)} {actor}{key}".encode(), digest_size=_DIGEST_BYTES).digest()


def rows_of(records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Return records as rows for `INSERT_ONE` and, flat, for `INSERT_MANY`."""
    return [
        (
            record.sequence,
            record.epoch,
            record.schema,
            record.kind,
            record.recorded_ns,
            record.causation,
            record.actor,
            record.key,
            record.correlation,
            record.personal,
            key_digest(record.actor, record.key) if record.key else None,
            record.previous,
            record.hash,
            record.body,
            record.events,
        )
        for record in records
    ]


def require_kinds(row: Sequence[Any], kinds: tuple[type, ...], what: str) -> None:
    """Refuse a row with another kind of value in a column: SQLite itself lets any column hold anything.

    Raises
    ------
    JournalCorrupt : naming the value
    """
    if tuple(map(type, row)) != kinds:
        value, kind = next(both for both in zip(row, kinds, strict=True) if type(both[0]) is not both[1])
        raise JournalCorrupt(
            f"the {what} has {value!r:.40} where {kind.__name__} belongs: restore the journal from a backup"
        )


def record_of(row: Sequence[Any]) -> Record:
    """Return the record of a row of `SELECT_RECORDS`, as stored.

    Raises
    ------
    JournalCorrupt : a column holds another kind of value
    """
    if tuple(map(type, row)) != _RECORD_KINDS:
        require_kinds(row, _RECORD_KINDS, f"record {row[0]!r:.20}")
    return Record(
        sequence=row[0],
        epoch=row[1],
        schema=row[2],
        kind=row[3],
        recorded_ns=row[4],
        causation=row[5],
        actor=row[6],
        key=row[7],
        correlation=row[8],
        personal=row[9],
        previous=row[10],
        hash=row[11],
        body=row[12],
        events=row[13],
    )
