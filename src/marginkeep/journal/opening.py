"""A journal from a text that says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from marginkeep.journal.command_log import CommandLog

POSTGRES: Final = ("postgresql://", "postgres://")
SCHEMA_OPTION: Final = "schema="
SCHEMA_DEFAULT: Final = "marginkeep"
EXPORTS: Final = (".jsonl", ".jsonl.gz")


def open_log(place: str, *, read_only: bool = False) -> CommandLog:
    """Open a journal; nothing is written before `acquire` or `create`.

    Parameters
    ----------
    place : path of an SQLite file, or a ``postgresql://`` address, in which ``?schema=`` may name the schema
    read_only : the file must exist and is not changed

    Raises
    ------
    InputError : the place cannot be a journal, or a library for it is not installed
    """
    if place.startswith(POSTGRES):
        return _open_postgres(place)
    if place.endswith(EXPORTS):
        raise InputError(f"{place} is an export, which can be verified but not opened: name the journal itself")
    if Path(place).is_dir():
        raise InputError(f"{place} is a folder: name a journal, which is a file")
    from marginkeep.journal.sqlite_log import SqliteLog

    return SqliteLog(place, read_only=read_only)


def _open_postgres(place: str) -> CommandLog:
    try:
        from marginkeep.journal.postgres_log import PostgresLog
    except ImportError as error:
        raise InputError("PostgreSQL needs psycopg: pip install 'marginkeep[postgres]'") from error
    address, _, query = place.partition("?")
    # Everything else stays as it was written: libpq reads it, and not every reader of URLs reads a '+' as it does.
    options = [option for option in query.split("&") if not option.startswith(SCHEMA_OPTION)]
    schemas = [option for option in query.split("&") if option.startswith(SCHEMA_OPTION)]
    schema = unquote(schemas[-1].removeprefix(SCHEMA_OPTION)) if schemas else SCHEMA_DEFAULT
    return PostgresLog(f"{address}?{'&'.join(options)}", schema=schema)
