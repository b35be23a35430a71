"""Real PostgreSQL servers for tests: found on this machine, run on loopback in folders of their own, killed at will."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from marginkeep.journal.postgres_log import PostgresLog

BINARIES = ("initdb", "postgres", "pg_basebackup", "pg_ctl")
START_SECONDS = 60
MEMORY_BYTES_NEEDED = 2**30
"""Free space from which a memory file system is used: a killed process loses nothing there, and its disk is fast."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "max_wal_senders": "4",
    "min_wal_size": "16MB",
    "max_wal_size": "64MB",
    "autovacuum": "on",
    "fsync": "on",
}


def find_binaries() -> Path | None:
    """Return the folder with the server's programs, the newest version of several."""
    folders = [Path(os.environ["MARGINKEEP_POSTGRES_BIN"])] if "MARGINKEEP_POSTGRES_BIN" in os.environ else []
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(
        debian, key=lambda folder: int("0" + "".join(filter(str.isdigit, folder.parent.name))), reverse=True
    )
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in folders:
        if all((folder / name).exists() for name in BINARIES):
            return folder
    return None


def require_binaries() -> Path:
    """Return the folder with the server's programs, or skip the test."""
    folder = find_binaries()
    if folder is None:
        pytest.skip(
            "no PostgreSQL server programs: install the package postgresql (Debian, Ubuntu) or postgresql-server "
            "(Fedora), or set MARGINKEEP_POSTGRES_BIN to the folder with initdb, postgres, pg_ctl and pg_basebackup"
        )
    return folder


def server_user() -> pwd.struct_passwd | None:
    """Return who the server must run as: it refuses to be root; None where we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("root cannot run PostgreSQL and there is neither a user postgres nor nobody: make one")


def new_folder() -> Path:
    """Make a folder that the server's user can reach; pytest's own are closed to others."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= MEMORY_BYTES_NEEDED
    folder = Path(tempfile.mkdtemp(prefix="marginkeep-postgres-", dir=memory if usable else None))
    user = server_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """One server: its folder, its process, its address."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = {**SETTINGS, "unix_socket_directories": str(folder), **settings}
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres sslmode=disable gssencmode=disable"

    @property
    def log_text(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def init(self) -> PostgresServer:
        self._run(
            "initdb", "--pgdata", self._data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--data-checksums", "--wal-segsize=4", "--no-sync",
        )  # fmt: skip
        return self

    def copy_of(self, primary: PostgresServer, name: str) -> PostgresServer:
        """Make this server a standby of another, which follows it from its first start."""
        self._run(
            "pg_basebackup", "--pgdata", self._data, "--checkpoint=fast", "--write-recovery-conf",
            "--wal-method=stream", "--no-sync", "--dbname", f"{primary.dsn} application_name={name}",
        )  # fmt: skip
        self.settings["primary_conninfo"] = f"{primary.dsn} application_name={name}"
        return self

    def start(self, file_bytes_max: int | None = None) -> PostgresServer:
        """Start it; the kernel refuses to let it write any file beyond `file_bytes_max`."""

        def limit_files() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

        arguments = [f"-c{name}={value}" for name, value in {**self.settings, "port": str(self.port)}.items()]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [require_binaries() / "postgres", "-D", self._data, *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True,
                preexec_fn=limit_files if file_bytes_max else None,  # noqa: PLW1509  (two system calls, no locks)
                **self._identity(),
            )  # fmt: skip
        self._wait_until_ready()
        return self

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: SIGINT = disconnect everyone and shut down, SIGQUIT = at once."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_SECONDS)
            self.process = None

    def kill(self) -> None:
        """Kill -9 the server with every process it has started."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)  # so that it starts none while we look
        for pid in (*children_of(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(START_SECONDS)
        self.process = None

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "--pgdata", self._data, "--wait")

    def execute(self, query: str, arguments: tuple = ()) -> list[tuple]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, arguments)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _identity(self) -> dict:
        user = server_user()
        if user is None:
            return {}
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [require_binaries() / program, *arguments], cwd=self.folder, capture_output=True, text=True,
            env={**os.environ, "LC_ALL": "C"}, **self._identity(),
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def _wait_until_ready(self) -> None:
        for _ in wait_for(f"PostgreSQL on port {self.port} to start"):
            assert self.process.poll() is None, self.log_text
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.dsn, connect_timeout=2):
                return


def wait_for(what: str, seconds: int = START_SECONDS):
    """Yield until the caller has seen what it waits for; fail when that takes too long."""
    deadline = time.monotonic() + seconds
    for _ in itertools.count():
        yield
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [child for child, parent in pairs if parent == pid]


@pytest.fixture(scope="session")
def postgres_server():
    """One server for all tests of this process that only need some server."""
    require_binaries()
    server = PostgresServer(new_folder())
    try:
        yield server.init().start()
    finally:
        server.remove()


SCHEMAS = itertools.count(1)


@pytest.fixture
def postgres_home(postgres_server):
    """A callable; each call is another opening of one new schema, whose name is its attribute `schema`."""
    schema = f"house_{next(SCHEMAS)}"

    def open_one(dsn=postgres_server.dsn):
        return PostgresLog(dsn, schema=schema)

    open_one.schema = schema
    yield open_one
    postgres_server.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
