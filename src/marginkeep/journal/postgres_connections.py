"""Connections to a PostgreSQL server, a few for reading and those whose commits must last; what its errors mean."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from marginkeep.errors import (
    InputError,
    InvariantViolation,
    JournalCorrupt,
    JournalFull,
    JournalStalled,
    MarginkeepError,
)
from marginkeep.journal.postgres_schema import require_schema_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import LiteralString

Row = tuple[Any, ...]

READERS_MAX: Final = 4

DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "fallback_application_name": "marginkeep",
}
"""A silent network is noticed within half a minute; whatever the connection string says otherwise holds."""

_SESSION: Final = """
SELECT set_config('search_path', %s, false),
    set_config('default_transaction_read_only', %s, false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('statement_timeout', '0', false),
    set_config('idle_in_transaction_session_timeout', '10s', false),
    set_config('enable_seqscan', 'off', false),
    set_config('jit', 'off', false),
    set_config('tcp_keepalives_idle', '10', false),
    set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false)
"""
# A writer that stops in the midst of a transaction must not keep its successor waiting for longer than 10 seconds.
# Every statement goes by a key: a plan made while the tables were empty must not read them from end to end later. The
# one row of the head has no key; that a scan of it counts as dear must not have it compiled.

_DURABILITY: Final = """
SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
    current_setting('server_encoding'), pg_is_in_recovery()
"""
_STRONG_ENOUGH: Final = ("on", "remote_apply")

_DAMAGED: Final = (errors.DataCorrupted, errors.IndexCorrupted)
_REFUSED: Final = (
    errors.InsufficientPrivilege,
    errors.DuplicateTable,
    errors.DuplicateSchema,
    psycopg.DataError,
    psycopg.NotSupportedError,
)


class Connections:
    """The way to one journal's schema on one server. Readers may be used from several threads.

    Attributes
    ----------
    place : server, database and schema, without user and password
    address : a URL with everything the connection string said
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self.schema = require_schema_name(schema)
        try:
            stated = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            # libpq's own message would repeat a part of the string, perhaps the password.
            raise InputError(
                "the PostgreSQL connection string cannot be read: give postgresql://user:password@host:port/database "
                "or host=... dbname=..."
            ) from None
        self._options = {**DEFAULTS, **stated}
        self.place = _place(self._options, schema)
        self.address = f"postgresql://?{urlencode({**stated, 'schema': schema}, quote_via=quote)}"
        self._idle: list[psycopg.Connection[Row]] = []
        self._slots = threading.BoundedSemaphore(READERS_MAX)

    def connect(self, *, writes: bool) -> psycopg.Connection[Row]:
        """Open a connection in the journal's schema.

        Raises
        ------
        JournalStalled : the server cannot be reached, or refuses this user
        """
        connection = None
        try:
            connection = psycopg.connect(autocommit=True, **self._options)  # type: ignore[arg-type]
            connection.execute(_SESSION, (self.schema, "off" if writes else "on"))
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
            raise JournalStalled(
                f"{self.place} cannot be reached ({self.reason(error)}): check that the server runs, and the address, "
                f"user and password in the connection string"
            ) from None
        return connection

    def rows(self, query: LiteralString, arguments: Sequence[object] = ()) -> list[Row]:
        """Read. A connection that turns out to be broken is replaced, once.

        Raises
        ------
        JournalStalled, JournalCorrupt, InputError : see `explain`
        """
        with self._slots:
            try:
                return self._rows_once(query, arguments)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self._close_idle()
            try:
                return self._rows_once(query, arguments)
            except psycopg.Error as error:
                raise self.explain(error, "read") from error

    def _rows_once(self, query: LiteralString, arguments: Sequence[object]) -> list[Row]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.connect(writes=False)
        try:
            with connection.cursor(binary=True) as cursor:
                found = cursor.execute(query, arguments).fetchall()
        except (psycopg.OperationalError, psycopg.InterfaceError):
            connection.close()
            raise
        except psycopg.Error as error:
            self._idle.append(connection)
            raise self.explain(error, "read") from error
        self._idle.append(connection)
        return found

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Close the readers' connections; the next reader opens a new one."""
        self._close_idle()

    def explain(self, error: psycopg.Error, doing: str) -> MarginkeepError:
        """Return the error that a caller of the journal can meet.

        Parameters
        ----------
        doing : what failed, a past participle: ``read``, ``written``
        """
        reason = self.reason(error)
        if isinstance(error, _DAMAGED):
            return JournalCorrupt(f"{self.place} is damaged on the server's disk ({reason}): restore it from a backup")
        if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName):
            return InputError(f"{self.place} holds no journal: create one, or name the schema that holds it")
        if isinstance(error, errors.UniqueViolation):
            return self._explain_twice(error)
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return JournalStalled(f"{self.place} is read-only, a standby: promote it, or name the primary")
        if isinstance(error, errors.DiskFull):
            return JournalFull(
                f"{self.place} could not be {doing} ({reason}): the disk of the server is full: make room, then "
                f"restart this process"
            )
        if isinstance(error, _REFUSED):
            return InputError(
                f"{self.place} refuses what was to be {doing} ({reason}): change it, or the user's rights"
            )
        return JournalStalled(
            f"{self.place} could not be {doing} ({reason}): look at the server and its disk, then restart this process"
        )

    def _explain_twice(self, error: psycopg.Error) -> MarginkeepError:
        twice = error.diag.message_detail or self.reason(error)
        if error.diag.constraint_name == "records_pkey":
            return JournalCorrupt(
                f"{self.place}: a record is there although the head is before it ({twice}): keep the database as it "
                f"is, and restore the schema from a backup"
            )
        return InvariantViolation(f"{self.place}: what is written once was to be written again ({twice})")

    def reason(self, error: psycopg.Error) -> str:
        """Return the server's own words without the password."""
        reason = error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
        secret = str(self._options.get("password") or "")
        return reason.replace(secret, "***") if secret else reason


class DurableConnection:
    """A connection whose commits are on disk, and on a synchronous standby where there is one, when they return.

    Attributes
    ----------
    durability : what the server promises, in its own settings
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection = connections.connect(writes=True)
        self._warnings: list[str] = []
        self._connection.add_notice_handler(self._notice)
        try:
            self.durability = self._require_durability()
        except psycopg.Error as error:
            self.close()
            raise connections.explain(error, "opened") from error
        except MarginkeepError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Cursor[Row]]:
        """Make what happens within durable, all of it or nothing.

        Raises
        ------
        psycopg.Error : it failed; if the connection is lost, it may or may not be durable
        JournalStalled : it is on this server's disk, but the server was told to wait no longer for its standby
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            yield cursor
            self._warnings.clear()
        if self._warnings:
            # A cancelled wait for the standby ends in a successful COMMIT with a warning, in the server's language.
            raise JournalStalled(
                f"{self._connections.place} has committed with a warning ({self._warnings[0]}): the standby may lack "
                f"it; see that the standby is back, then restart this process"
            )

    def close(self) -> None:
        """Close the connection; the server then releases its locks."""
        self._connection.close()

    def _notice(self, diagnostic: errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warnings.append(diagnostic.message_primary or "without words")

    def _require_durability(self) -> str:
        place = self._connections.place
        row = self._connection.execute(_DURABILITY).fetchone()
        assert row is not None
        fsync, commit, standbys, encoding, standby = row
        if standby:
            raise JournalStalled(f"{place} is read-only, a standby: promote it, or name the primary")
        if fsync != "on":
            raise InputError(
                f"{place}: the server runs with fsync={fsync} and would lose acknowledged commands in a power failure: "
                f"set fsync=on in postgresql.conf and restart the server"
            )
        if encoding != "UTF8":
            raise InputError(f"{place}: the database's encoding is {encoding}: make one with ENCODING 'UTF8'")
        if commit not in _STRONG_ENOUGH:
            commit = "on"
            self._connection.execute("SET synchronous_commit = 'on'")
        return f"fsync={fsync}, synchronous_commit={commit}, synchronous_standby_names={standbys!r}"


def _place(options: dict[str, Any], schema: str) -> str:
    host = options.get("host") or options.get("hostaddr") or "local socket"
    port = options.get("port") or 5432
    database = options.get("dbname") or options.get("user") or "default database"
    return f"postgresql://{host}:{port}/{database} schema {schema}"
