"""A PostgreSQL server on this machine's disk, where its programs are installed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.journal.command_log import CommandLog

SETTINGS: Final = {"shared_buffers": "128MB", "max_wal_size": "2GB", "max_connections": "20"}


@contextlib.contextmanager
def postgres_log() -> Iterator[CommandLog | None]:
    """Give an empty journal in a server of its own, or None where there is no server to start."""
    try:
        from tests.journal.postgres_servers import PostgresServer, find_binaries, server_user

        from marginkeep.journal.postgres_log import PostgresLog
    except ImportError:
        yield None
        return
    if find_binaries() is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="marginkeep-bench-postgres-"))
    user = server_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = PostgresServer(folder, **SETTINGS)
    try:
        server.init().start()
        yield PostgresLog(server.dsn, schema="bench")
    finally:
        server.remove()
