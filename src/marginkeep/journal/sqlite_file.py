"""An SQLite file with one writing and one reading connection, opened so that what is committed is on the disk."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from marginkeep.errors import (
    InputError,
    InvariantViolation,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalStalled,
)
from marginkeep.journal.sqlite_schema import APPLICATION_ID, PAGE_BYTES, TABLES, USER_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUSY_SECONDS: Final = 10
"""How long to wait for another process that holds the file (a backup, a shell)."""

CACHE_KIB: Final = 32_768
WAL_PAGES: Final = 8_000
"""Pages in the write-ahead file (64 MiB) after which they are carried over into the main one: fewer, longer pauses."""

COPIED_BYTES: Final = 1 << 20

_WRITING: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)
_ALWAYS: Final = (
    "PRAGMA foreign_keys = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
    f"PRAGMA cache_size = -{CACHE_KIB}",
)


class SqliteFile:
    """The connections of one journal; every error of SQLite leaves it as one of ours."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._wal = path.with_name(f"{path.name}-wal")
        self._wal_pages = WAL_PAGES
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._stalled: JournalError | None = None
        self._closed = False
        self._opened: os.stat_result | None = None

    # Opening and closing ------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Tell whether there is a journal, and open it; an empty file is none yet.

        Raises
        ------
        InputError : the file is something else
        """
        if self._reader is not None:
            return True
        if self._closed:
            raise InvariantViolation(f"{self.path}: the journal was closed and is still used")
        if not self.path.exists() or self.path.stat().st_size == 0:
            return False
        with self._reading, self._translated("opened"):
            if self._reader is None:
                connection = self._connect_reader()
                if self._is_journal(connection):
                    self._reader = connection
                else:
                    connection.close()
        return self._reader is not None

    def create(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        """Make the tables and execute the statements in a new file, and give it its name when all of it is durable."""
        if self.read_only:
            raise InputError(f"{self.path} was opened for reading only: open it for writing to make a journal")
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            for end in ("", "-wal", "-shm", "-journal"):  # left by an attempt that was cut short
                fresh.with_name(fresh.name + end).unlink(missing_ok=True)
            os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._fill(fresh, statements)
            fresh.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise JournalStalled(
                f"{self.path} cannot be made ({error.strerror}): check the disk and the folder"
            ) from error

    def close(self) -> None:
        """Close both connections."""
        self._closed = True
        with self._writing, self._reading, self._translated("closed"):
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None

    # Reading and writing --------------------------------------------------------------------------------------------

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows: nothing stays open, so readers may interleave."""
        if not self.exists():
            raise InputError(f"{self.path} holds no journal: make one with `marginkeep journal init`")
        with self._reading, self._translated("read"):
            if self._reader is None:
                raise InvariantViolation(f"{self.path}: the journal was closed and is still used")
            return self._reader.execute(statement, values).fetchall()

    @contextmanager
    def reading_apart(self) -> Iterator[sqlite3.Connection]:
        """Give a connection of its own, for a read so long that others must not wait for it."""
        self.exists()
        with self._translated("read"):
            connection = self._connect_reader()
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the writing connection; all that is executed becomes durable together, or none of it.

        Raises
        ------
        JournalStalled, JournalCorrupt : it could not be made durable; nothing more is written by this object
        """
        with self._writing:
            db = self._writing_connection()
            try:
                with self._translated("written"):
                    db.execute("BEGIN IMMEDIATE")
                    yield db
                    db.execute("COMMIT")
                self._require_in_place()
            except BaseException as error:
                self._roll_back(db)
                if isinstance(error, JournalStalled | JournalCorrupt):
                    self._stalled = error
                raise

    def carry_over(self) -> None:
        """Bring all that was committed into the main file and empty the write-ahead file."""
        with self._writing, self._translated("written"):
            busy, pages, carried = self._writing_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy and pages != carried:
                raise JournalStalled(
                    f"{self.path}: a reader has kept {pages - carried} of {pages} pages from being carried over for "
                    f"{BUSY_SECONDS} s: end that reader (a backup, a shell) and start again"
                )

    def write_anew(self) -> None:
        """Write the write-ahead file's own bytes over themselves, and sync them.

        Pages whose sync failed under an earlier process may be in the kernel's memory, marked as written, and not on
        the disk: nothing may be built on them, not even carrying them over, before they have been written once more.
        """
        if self._wal.exists():
            with self.transaction(), self._wal.open("r+b", buffering=0) as wal:  # nobody else writes to it meanwhile
                try:
                    while chunk := wal.read(COPIED_BYTES):
                        wal.seek(-len(chunk), os.SEEK_CUR)
                        wal.write(chunk)
                    os.fsync(wal.fileno())
                except OSError as error:
                    raise JournalStalled(f"{self._wal} cannot be written ({error}): check the disk") from error

    def size_bytes(self) -> int:
        """Return the size of the main and the write-ahead file."""
        ((pages, page),) = self.query("SELECT page_count, page_size FROM pragma_page_count, pragma_page_size")
        return int(pages * page) + (self._wal.stat().st_size if self._wal.exists() else 0)

    # Leaves -----------------------------------------------------------------------------------------------------------

    def _fill(self, fresh: Path, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        with self._translated("made"), closing(self._connect("rw", fresh)) as db:
            for statement in (f"PRAGMA page_size = {PAGE_BYTES}", "PRAGMA synchronous = FULL", "BEGIN", *TABLES):
                db.execute(statement)
            for statement, values in statements:
                db.execute(statement, values)
            db.execute(f"PRAGMA user_version = {USER_VERSION}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("COMMIT")
            db.execute("PRAGMA journal_mode = WAL")

    def _connect(self, mode: str, path: Path | None = None) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{(path or self.path).absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        for pragma in _ALWAYS:
            connection.execute(pragma)
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        """Return a connection that changes nothing and needs no more side files than are there."""
        unfinished = self._wal.exists() and self._wal.stat().st_size > 0
        if not self.read_only and not unfinished:
            connection = self._connect("rw")  # the last one to be closed tidies up
            connection.execute("PRAGMA query_only = ON")
            return connection
        fixed = not unfinished and not os.access(self.path.parent, os.W_OK)
        return self._connect("ro&immutable=1" if fixed else "ro")

    def _is_journal(self, connection: sqlite3.Connection) -> bool:
        """Tell a journal from a file in the making, and refuse any other."""
        application, version, tables = (
            connection.execute(statement).fetchone()[0]
            for statement in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if application == APPLICATION_ID and version == USER_VERSION:
            return True
        if application == APPLICATION_ID:
            raise InputError(
                f"{self.path} is a journal of format {version}, this version writes {USER_VERSION}: "
                f"open it with the version of marginkeep that made it"
            )
        if tables or application or version:
            raise InputError(f"{self.path} is another programme's SQLite file, not a journal: name another file")
        return False

    def _writing_connection(self) -> sqlite3.Connection:
        if self._stalled is not None:
            raise self._stalled
        if self.read_only or self._closed:
            raise InvariantViolation(f"{self.path}: written to though it is closed or was opened for reading only")
        if self._writer is None:
            with self._translated("opened"):
                self._writer = self._connect("rw")
                self._opened = self.path.stat()
                for pragma in _WRITING:
                    self._writer.execute(pragma)
                self._writer.execute(f"PRAGMA wal_autocheckpoint = {self._wal_pages}")
                self._writer.execute(f"PRAGMA journal_size_limit = {self._wal_pages * PAGE_BYTES}")
        return self._writer

    def _require_in_place(self) -> None:
        """Refuse to acknowledge what went into a file that has lost its name: nobody would find it again."""
        try:
            present = self.path.stat()
        except OSError:
            present = None
        if present is None or self._opened is None or not os.path.samestat(present, self._opened):
            raise JournalStalled(
                f"{self.path} was moved, deleted or replaced while it was written to: put it back, then start again"
            )

    def _roll_back(self, db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._stalled = JournalStalled(f"{self.path}: a failed write could not be undone ({error}): start again")

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, str(self.path), verb) from error


def translate(error: sqlite3.Error, place: str, verb: str) -> Exception:
    """Return our error for one of SQLite's."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_NOTADB" and verb == "opened":
        return InputError(f"{place} is not an SQLite file, or its first page is damaged: name a journal")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "decode to UTF-8" in str(error):
        return JournalCorrupt(
            f"{place} is damaged and could not be {verb} ({error}): restore it from a backup, and keep the damaged file"
        )
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return InvariantViolation(f"{place}: SQLite refused what never should be asked of it ({error})")
    cures = {
        "SQLITE_FULL": "the disk is full: make room",
        "SQLITE_BUSY": f"another process has held the file for {BUSY_SECONDS} s: end it",
        "SQLITE_READONLY": "the file may not be written: check its permissions",
        "SQLITE_CANTOPEN": "the file or its folder cannot be opened: check path and permissions",
    }
    cure = next((text for start, text in cures.items() if name.startswith(start)), "check the disk (room, errors)")
    kind = JournalFull if name.startswith("SQLITE_FULL") else JournalStalled
    return kind(f"{place} could not be {verb} ({error}, {name or 'no code'}): {cure}, then start again")


def sync_folder(folder: Path) -> None:
    """Make a new file's name as durable as its content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
