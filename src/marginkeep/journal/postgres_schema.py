"""The tables of a journal in PostgreSQL and every statement on them; all in one schema, found by `search_path`."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from marginkeep.errors import InputError

LAYOUT: Final = 1
"""Version of the tables below; stands in `genesis.layout`."""

SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")

TABLES: Final = """
CREATE TABLE genesis (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    layout integer NOT NULL,
    name text NOT NULL,
    rules text NOT NULL,
    created_ns bigint NOT NULL,
    opening bytea NOT NULL
);
CREATE TABLE head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    hash bytea NOT NULL
);
CREATE TABLE records (
    sequence bigint PRIMARY KEY,
    epoch bigint NOT NULL,
    schema integer NOT NULL,
    kind text NOT NULL,
    recorded_ns bigint NOT NULL,
    causation bigint NOT NULL,
    actor text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    correlation text NOT NULL,
    personal bytea NOT NULL,
    body bytea NOT NULL,
    events bytea NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL
);
CREATE UNIQUE INDEX records_by_key ON records (actor, key) WHERE key <> '';
CREATE TABLE personal (
    sequence bigint PRIMARY KEY,
    salt bytea NOT NULL,
    payload bytea NOT NULL
);
CREATE TABLE tiles (
    level integer NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (level, index)
);
CREATE TABLE checkpoints (
    size bigint PRIMARY KEY,
    note text NOT NULL
);
CREATE TABLE snapshots (
    sequence bigint PRIMARY KEY,
    record_hash bytea NOT NULL,
    state_hash bytea NOT NULL,
    rules text NOT NULL,
    size bigint NOT NULL,
    parts integer NOT NULL,
    taken_ns bigint NOT NULL
);
CREATE TABLE snapshot_parts (
    sequence bigint NOT NULL,
    complete boolean NOT NULL,
    number integer NOT NULL,
    part bytea NOT NULL,
    PRIMARY KEY (sequence, complete, number)
);
ALTER TABLE snapshot_parts ALTER part SET STORAGE EXTERNAL;
CREATE TABLE documents (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (kind, name)
);
"""

COLUMN_TYPES: Final = (
    "int8",
    "int8",
    "int4",
    "text",
    "int8",
    "int8",
    "text",
    "text",
    "text",
    "bytea",
    "bytea",
    "bytea",
    "bytea",
    "bytea",
)
"""Of the columns of `records`, in the order of `Record`'s fields."""

# The one writer ---------------------------------------------------------------------------------------------------

LOCK_HEAD: Final = "SELECT epoch, sequence, hash FROM head FOR UPDATE"
LAST_RECORD: Final = "SELECT sequence, hash FROM records ORDER BY sequence DESC LIMIT 1"
SNAPSHOT_FROM: Final = "SELECT EXISTS (SELECT FROM snapshots WHERE sequence >= %s)"
FORGET_PARTS: Final = "DELETE FROM snapshot_parts WHERE NOT complete"
TRY_WRITERS_LOCK: Final = "SELECT pg_try_advisory_lock(%s)"
RAISE_EPOCH: Final = "UPDATE head SET epoch = epoch + 1 RETURNING epoch"
ADVANCE: Final = "UPDATE head SET sequence = %s, hash = %s WHERE epoch = %s AND sequence = %s AND hash = %s"
COPY_RECORDS: Final = "COPY records FROM STDIN (FORMAT BINARY)"
ADD_PERSONAL: Final = "INSERT INTO personal VALUES (%s, %s, %s)"
ADD_TILE: Final = "INSERT INTO tiles VALUES (%s, %s, %s)"
ADD_CHECKPOINT: Final = """
INSERT INTO checkpoints VALUES (%s, %s) ON CONFLICT (size) DO UPDATE SET note = excluded.note
"""

PUT_PART: Final = """
INSERT INTO snapshot_parts VALUES (%s, false, %s, %s)
ON CONFLICT (sequence, complete, number) DO UPDATE SET part = excluded.part
"""
COUNT_PARTS: Final = """
SELECT count(*), coalesce(sum(length(part)), 0)::bigint FROM snapshot_parts
WHERE sequence = %s AND NOT complete AND number < %s
"""
DROP_REPLACED_PARTS: Final = "DELETE FROM snapshot_parts WHERE sequence = %s AND (complete OR number >= %s)"
COMPLETE_PARTS: Final = "UPDATE snapshot_parts SET complete = true WHERE sequence = %s"
PUT_LABEL: Final = """
INSERT INTO snapshots VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (sequence) DO UPDATE SET
    record_hash = excluded.record_hash, state_hash = excluded.state_hash, rules = excluded.rules,
    size = excluded.size, parts = excluded.parts, taken_ns = excluded.taken_ns
"""
PUT_DOCUMENT: Final = """
INSERT INTO documents VALUES (%s, %s, %s) ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body
"""

STILL_WRITER: Final = "SELECT 1 FROM head WHERE epoch = %s FOR KEY SHARE"
"""Asked before any other change. Waits for an `acquire` in progress (which locks FOR UPDATE), not for an `append`."""

# Reading ----------------------------------------------------------------------------------------------------------

GENESIS: Final = "SELECT layout, name, rules, created_ns, opening FROM genesis"
HEAD: Final = "SELECT epoch, sequence, hash FROM head"
FIRST: Final = "SELECT coalesce((SELECT min(sequence) FROM records), (SELECT sequence + 1 FROM head))"
READ: Final = "SELECT * FROM records WHERE sequence > %s AND sequence <= %s ORDER BY sequence LIMIT %s"
FIND: Final = """
SELECT found.* FROM unnest(%s::text[], %s::text[]) AS wanted (actor, key)
CROSS JOIN LATERAL (
    SELECT * FROM records WHERE actor = wanted.actor AND key = wanted.key AND key <> '' LIMIT 1
) AS found
"""
PARTS: Final = "SELECT part FROM snapshot_parts WHERE sequence = %s AND complete ORDER BY number"
CHECKPOINTS: Final = "SELECT size, note FROM checkpoints WHERE size > %s ORDER BY size LIMIT %s"
SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = %s AND relkind = 'r'
"""


def writers_lock(schema: str, epoch: int) -> int:
    """Return the advisory lock that the writer of an epoch holds.

    Each epoch has its own: after a take-over the new writer must hold one although the old one still holds his.
    """
    digest = hashlib.sha256(f"marginkeep writer of {schema} in epoch {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def creators_lock(schema: str) -> int:
    """Return the advisory lock that is held while the tables are made."""
    digest = hashlib.sha256(f"marginkeep creator of {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def require_schema_name(schema: str) -> str:
    """Return a schema's name, which is put into statements as it is.

    Raises
    ------
    InputError : it is not lower-case letters, digits and underscores, 63 at most
    """
    if not SCHEMA_NAME.fullmatch(schema):
        raise InputError(
            f"PostgreSQL schema {schema!r:.80}: give lower-case letters, digits and underscores, at most 63, "
            f"beginning with a letter"
        )
    return schema
