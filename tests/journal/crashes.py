"""Crashes on order: a shim compiled for the occasion, and the process that dies in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.journal.crash_runs import COMMANDS, RUNS, leavings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODES = ("off", "count", "kill", "torn", "short", "fail", "sync fails once", "power cut", "lose sync")
"""In the order of the shim's."""

MEMORY = Path("/dev/shm")


class CrashRoom:
    """A folder (in memory where the machine has one: the shim keeps no sync anyway) and a process to crash in it."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None or not sys.platform.startswith("linux"):
            pytest.skip("crashes at every write need Linux and a C compiler: install gcc")
        shim = folder / "shim.so"
        source = HERE / "crash_shim.c"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="crash-", dir=MEMORY if os.access(MEMORY, os.W_OK) else folder))
        self.path = self.scratch / "house.journal"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.crash_runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        shutil.rmtree(self.scratch)

    def crash(self, run: str, mode: str, at: int, *, error: int = 0, seed: int = 0) -> dict:
        """Run on an empty folder until call `at` on the journal's files; return what was acknowledged."""
        for file in self.scratch.iterdir():
            file.unlink()
        return self.go_on(run, mode, at, error=error, seed=seed, fresh=True)

    def go_on(self, run: str, mode: str, at: int, *, error: int = 0, seed: int = 0, fresh: bool = False) -> dict:
        """Run on what is there."""
        order = {"run": run, "path": str(self.path), "mode": MODES.index(mode), "at": at}
        order |= {"error": error, "seed": seed, "fresh": fresh}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        if mode == "power cut":
            self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)
        return told

    def undisturbed(self, run: str) -> tuple[int, list, object]:
        """Return how many calls an undisturbed run makes, what it leaves, and its last word."""
        calls = self.crash(run, "count", 0)["calls"]
        left = leavings(self.path, run)
        assert len(left) == COMMANDS
        return calls, left, RUNS[run][0](self.path, lambda number: None)

    def require_nothing_lost(self, run: str, told: dict, whole: tuple) -> None:
        """Check what a crash has left, then finish the run by retries and check that it ends as if undisturbed."""
        _, expected, last_word = whole
        acknowledged = max(told["acknowledged"], default=0)
        left = leavings(self.path, run)
        assert len(left) >= acknowledged, f"{acknowledged} commands were acknowledged, {len(left)} are there"
        assert left == expected[: len(left)], "what is there is not what was asked for"
        again = []
        assert RUNS[run][0](self.path, again.append) == last_word
        assert leavings(self.path, run) == expected
        assert again == list(range(50, COMMANDS + 1, 50))
