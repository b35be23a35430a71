"""`marginkeep serve` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

BOUND_S = 60


class Serving:
    """One process, started with --json on a free port.

    Attributes
    ----------
    told : what it printed on start
    """

    def __init__(self, *arguments, folder, environment=None):
        command = [sys.executable, "-m", "marginkeep", "serve", "--json", "--port", "0", *map(str, arguments)]
        kept = {name: text for name, text in os.environ.items() if not name.startswith("MARGINKEEP_")}
        self.log = open(folder / "serve.log", "w+")  # noqa: SIM115 - closed at the end
        self.process = subprocess.Popen(
            command, cwd=folder, env={**kept, **(environment or {})}, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        killer = threading.Timer(BOUND_S, self.process.kill)
        killer.start()
        line = self.process.stdout.readline()
        killer.cancel()
        if not line:
            code = self.process.wait(BOUND_S)
            raise AssertionError(f"it ended with {code} before it listened: {self.logged()}")
        self.told = json.loads(line)

    def signal(self, number):
        self.process.send_signal(number)

    def ended(self):
        """Wait for the end and return the exit code."""
        code = self.process.wait(BOUND_S)
        self.process.stdout.close()
        return code

    def logged(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(BOUND_S)
        self.process.stdout.close()
        self.log.close()


def ended_at_once(*arguments, folder, environment=None):
    """Run the command where it is expected to end by itself; return its exit code, output and errors."""
    command = [sys.executable, "-m", "marginkeep", "serve", *map(str, arguments)]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("MARGINKEEP_")}
    done = subprocess.run(
        command, cwd=folder, env={**kept, **(environment or {})}, capture_output=True, text=True, timeout=BOUND_S
    )
    return done.returncode, done.stdout, done.stderr
