"""A process that has imported everything and forks services to be killed: ``python -m tests.service.doomed_service``.

One line of JSON on standard input for each order, one on standard output for each answer: ``start`` answers when the
service listens or has ended, ``wait`` when it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from marginkeep.client.signing import Ed25519Key
from marginkeep.errors import MarginkeepError
from marginkeep.service.access.keys import ApiKey
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.settings import (
    AccessSettings,
    JournalSettings,
    LogSettings,
    ServerSettings,
    Settings,
)
from marginkeep.service.running import run
from tests.journal.houses import RULES_PATH

ROOT = Path(__file__).resolve().parent.parent.parent
CREDENTIAL = Ed25519Key("venue", b"venue".ljust(32, b"."))
KILL = 2
BOUND_SECONDS = 90
DIES_WITH_ITS_PARENT = (1, signal.SIGKILL)
"""What ``prctl`` is told on Linux, so that no service outlives a test that was cut short."""

EXIT_TROUBLE = 4
"""As the command line ends where the journal is in trouble."""

KEY = ApiKey(
    id="venue",
    algorithm="ed25519",
    person="venue",
    created_ns=1,
    public=CREDENTIAL.public,
    scopes=tuple(Scope),
    accounts=("*",),
    addresses=("127.0.0.0/8",),
)


class Nursery:
    """The process, seen from the test; `shim` is loaded into it, for services that die at their n-th write."""

    def __init__(self, folder: Path, shim: Path | None = None) -> None:
        self._folder = folder
        loaded = {} if shim is None else {"LD_PRELOAD": str(shim)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.doomed_service"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **loaded, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )
        assert self._process.stdout.readline() == "ready\n"

    def start(self, place: str, port: int, *, write: int = 0) -> int | None:
        """Start a service; return its process id, None where it has ended before it listened."""
        told = self._ask(order="start", place=place, port=port, write=write, folder=str(self._folder))
        return told["pid"] if told["listens"] else None

    def wait(self) -> int:
        """Wait for the service's end and return its exit code, negative = the signal."""
        return self._ask(order="wait")["code"]

    def logged(self) -> str:
        return (self._folder / "service.log").read_text()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ask(self, **order) -> dict:
        killer = threading.Timer(BOUND_SECONDS, self._process.kill)
        killer.start()
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            killer.cancel()
        assert line, f"no answer to {order['order']!r} within {BOUND_SECONDS} s: {self.logged()[-2000:]}"
        return json.loads(line)


class _KeyMaker:
    """A part of the service that makes the one key that clients sign with."""

    def __init__(self, context):
        self._context = context

    async def start(self):
        await self._context.parts["keys"].create(KEY, "test")

    async def stop(self):
        """Nothing."""


def serve(order: dict, told: int) -> int:
    """Be the service."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(*DIES_WITH_ITS_PARENT)
    folder = Path(order["folder"])
    os.chdir(folder)  # what belongs beside a journal on a server is left where the service runs
    log = os.open(folder / "service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if order["write"]:
        shim = ctypes.CDLL(None)
        shim.shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_ulonglong]
        shim.shim_arm(order["place"].encode(), KILL, order["write"], 0, 0)
    settings = Settings(
        rules=str(RULES_PATH),
        journal=JournalSettings(place=order["place"], signing_key=str(folder / "sign.key"), snapshot_records=400),
        server=ServerSettings(port=order["port"], tick_seconds=0.05, self_check_seconds=0.5),
        access=AccessSettings(requests_per_second=10**6, burst=10**6),
        logs=LogSettings(requests=False),
    )
    try:
        run(settings, prepare=_prepare, listening=lambda url: os.write(told, b"listens\n"))
    except MarginkeepError as error:
        os.write(2, f"{error}\n".encode())
        return EXIT_TROUBLE
    return 0


def _prepare(context):
    context.parts["key maker"] = _KeyMaker(context)


def start(order: dict) -> tuple[int, bool]:
    """Fork a service and wait until it listens or is gone."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            code = serve(order, writing)
        finally:
            os._exit(code)
    os.close(writing)
    listens = os.read(reading, 1) != b""
    os.close(reading)
    return pid, listens


def main() -> None:
    print("ready", flush=True)
    pid = 0
    try:
        for line in sys.stdin:
            order = json.loads(line)
            if order["order"] == "start":
                pid, listens = start(order)
                print(json.dumps({"pid": pid, "listens": listens}), flush=True)
            else:
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                pid = 0
                print(json.dumps({"code": code}), flush=True)
    finally:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
