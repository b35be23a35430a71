"""A command that a page leaves running, such as a service, until the page ends it or is over."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

STARTS_WITHIN_SECONDS = 30
ENDS_WITHIN_SECONDS = 30


class Background:
    """At most one command at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(
        self, command: str, folder: Path, environment: dict[str, str], is_shown: Callable[[list[str]], bool]
    ) -> tuple[int, tuple[str, ...]]:
        """Start a command and return once it has printed what the page shows; the code is 0 while it runs.

        Parameters
        ----------
        is_shown : tells whether the lines printed so far are those of the page
        """
        assert self._process is None, f"{command}: end the command before it with `kill %1`"
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec env {command}"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed: list[str] = []
        killer = threading.Timer(STARTS_WITHIN_SECONDS, self._process.kill)
        killer.start()
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                printed.append(line.rstrip("\n"))
                if is_shown(printed):
                    return 0, tuple(printed)
        finally:
            killer.cancel()
        return self._ended(), tuple(printed)

    def end(self) -> int:
        """Ask the command to end, wait for it, and return its exit code; 0 where there is none."""
        if self._process is None:
            return 0
        self._process.terminate()
        return self._ended()

    def _ended(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        try:
            return process.wait(ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            assert process.stdout is not None
            process.stdout.close()


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
