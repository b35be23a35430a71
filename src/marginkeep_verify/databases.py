"""The lines of a journal (see `export_form`) read out of a database, in one consistent view of it."""

from __future__ import annotations

import heapq
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from marginkeep_verify.export_form import FIELDS, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Ask = Callable[..., Iterator[tuple[Any, ...]]]
    Words = tuple[str, str, str, str]
    Row = tuple[tuple[int, int, int], dict[str, Any]]

POSTGRES = ("postgresql://", "postgres://")
RECORD = ", ".join(FIELDS["record"])
NEWEST = "sequence = ?1 AND making = (SELECT making FROM snapshots WHERE sequence = ?1)"
BY_DIGEST = """coalesce((SELECT sequence FROM keys WHERE digest = key_digest),
    CASE WHEN key_digest IS NOT NULL AND sequence > (SELECT sequence FROM keys_end) THEN sequence END)"""
STRAYS = """(SELECT count(*) FROM keys
    WHERE NOT EXISTS (SELECT 1 FROM records WHERE sequence = keys.sequence AND key_digest = digest))"""
BY_INDEX = """(SELECT sequence FROM records AS other
    WHERE other.actor = records.actor AND other.key = records.key AND other.key <> '' LIMIT 1) AS found"""
OF_SQLITE = ("number", NEWEST, f", {BY_DIGEST}, key_digest", f", first, {STRAYS}")
OF_POSTGRES = ("index", "sequence = ?1", f", {BY_INDEX}", "")
"""What differs: the column of a tile's index, the condition on a snapshot's parts, more columns of records and head.

Those of records are the record that its key leads to (records after `keys_end` are found by `key_digest` alone), and
the digest; those of the head the first record, and how many entries of the index of keys are of no record.
"""
MORE = {"record": ("found", "key_digest"), "head": ("first", "strays")}


def read_sqlite(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal in SQLite; the file is opened to be read only."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)) as db:

        def ask(statement: str, *values: int) -> Iterator[tuple[Any, ...]]:
            yield from db.execute(statement, values)

        db.text_factory = lambda raw: raw.decode(errors="surrogateescape")
        db.execute("BEGIN")
        yield from _lines(ask, OF_SQLITE)


def read_postgres(dsn: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal in PostgreSQL; ``?schema=`` in the address names its schema."""
    import psycopg

    address, _, query = dsn.partition("?")
    options = [option for option in query.split("&") if not option.startswith("schema=")]
    schemas = [unquote(option[7:]) for option in query.split("&") if option.startswith("schema=")]
    schema = schemas[-1] if schemas else "marginkeep"
    with psycopg.connect(f"{address}?{'&'.join(options)}") as db:
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        db.execute("SELECT set_config('search_path', %s, true), set_config('enable_seqscan', 'off', true)", (schema,))
        row = db.execute("SELECT to_regclass('records_by_key') IS NOT NULL").fetchone()
        words = OF_POSTGRES if row and row[0] else (*OF_POSTGRES[:2], ", NULL::bigint", "")
        asked = iter(range(1 << 30))

        def ask(statement: str, *values: int) -> Iterator[tuple[Any, ...]]:
            with db.cursor(name=f"asked_{next(asked)}") as cursor:
                cursor.itersize = 500
                yield from cursor.execute(statement.replace("?1", "%s"), values)

        yield from _lines(ask, words)


def _lines(ask: Ask, words: Words) -> Iterator[dict[str, Any]]:
    for row in ask("SELECT name, rules, created_ns, opening FROM genesis"):
        yield _line("genesis", row)
    yield from (line for _, line in heapq.merge(*_streams(ask, words), key=lambda row: row[0]))
    for row in ask(f"SELECT epoch, sequence, hash{words[3]} FROM head"):  # noqa: S608
        yield _line("head", row)


def _line(name: str, row: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    names = (*FIELDS[name], *MORE.get(name, ()))
    return checked({"line": name, **dict(zip(names, row, strict=False)), **more})


def _streams(ask: Ask, words: Words) -> list[Iterator[Row]]:
    index, parts, more_columns, _ = words
    tiles = f"SELECT level, {index}, hashes FROM tiles"  # noqa: S608 - words of this module

    def rows(name: str, rank: int, statement: str) -> Iterator[Row]:
        for row in ask(f"SELECT {statement}"):
            yield _placed(_line(name, row), row[0], rank)

    def lower_tiles() -> Iterator[Row]:
        for row in ask(f"{tiles} WHERE level = 0 ORDER BY {index}"):
            yield _placed(_line("tile", row), row[1] * 256 if isinstance(row[1], int) else 0, 5)

    def upper_tiles() -> Iterator[Row]:
        keys = [
            (row[1] + 1 << 8 * min(max(row[0], 0) + 1, 9), *row) for row in ask(tiles.replace("hashes", "1")) if row[0]
        ]
        for end, level, place, _ in sorted(keys):
            for row in ask(f"{tiles} WHERE level = {int(level)} AND {index} = {int(place)}"):
                yield _placed(_line("tile", row), end, 2)

    def snapshots() -> Iterator[Row]:
        for sequence, record_hash, state_hash, size, rules in list(
            ask("SELECT sequence, record_hash, state_hash, size, rules FROM snapshots ORDER BY sequence")
        ):
            content = ask(f"SELECT part FROM snapshot_parts WHERE {parts} ORDER BY number", sequence)  # noqa: S608
            more = {"state_hash": state_hash, "size": size, "rules": rules, "content": content}
            yield _placed(_line("snapshot", (sequence, record_hash), **more), sequence, 4)

    return [
        lower_tiles(),
        rows("record", 0, f"{RECORD}{more_columns} FROM records ORDER BY sequence"),
        rows("personal", 1, "sequence, salt, payload FROM personal ORDER BY sequence"),
        upper_tiles(),
        rows("checkpoint", 3, "size, note FROM checkpoints ORDER BY size"),
        snapshots(),
    ]


def _placed(line: dict[str, Any], sequence: Any, rank: int) -> Row:
    return (sequence if isinstance(sequence, int) else 0, rank, 0), line
