"""A process that makes writers to be killed: warm, so that each is a fork away.

`python -m tests.journal.doomed_writer` reads a line of JSON for each, and answers with lines: ``pid``, ``ack`` with the
last acknowledged sequence after each group, ``ended`` with the exit status.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.postgres_log import PostgresLog
from tests.journal.houses import script, ticking

ROOT = Path(__file__).resolve().parent.parent.parent
GROUPS = [100] * 8 + [50, 50] + [10] * 10


def groups(requests, sizes=GROUPS):
    """Cut requests into groups of these sizes."""
    start = 0
    for size in sizes:
        yield requests[start : start + size]
        start += size


REQUESTS = script(sum(GROUPS))


class Nursery:
    """The process, seen from the test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.doomed_writer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        )  # fmt: skip
        self._lines = os.fdopen(os.dup(self._process.stdout.fileno()), "r")

    def start(self, dsn: str, schema: str) -> int:
        """Make a writer, which waits for `go`; return its process id."""
        self._process.stdin.write(json.dumps([dsn, schema]).encode() + b"\n")
        word, pid = self._lines.readline().split()
        assert word == "pid"
        return int(pid)

    def go(self) -> tuple[int, int]:
        """Let the writer write, and wait for its end; return (last acknowledged sequence, exit status)."""
        self._process.stdin.write(b"go\n")
        acknowledged = 0
        for line in self._lines:
            word, number = line.split()
            if word == "ended":
                return acknowledged, int(number)
            acknowledged = int(number)
        raise AssertionError("the process that makes writers is gone")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._lines.close()
        self._process.stdout.close()


def say(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\n".encode())


def read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def write(dsn: str, schema: str) -> None:
    house = DurableHouse.open(PostgresLog(dsn, schema=schema), clock=ticking())
    for group in groups(REQUESTS):
        say("ack", house.submit(group)[-1].sequence)


def serve() -> None:
    while line := read_line():
        child = os.fork()
        if child == 0:
            say("pid", os.getpid())
            read_line()
            try:
                write(*json.loads(line))
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
            os._exit(0)
        say("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    serve()
