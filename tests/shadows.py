"""Shadow replicas (design section 10): whatever a test applies is applied again, in four other ways.

The same commands must give the same events and the same state: again from the start, from a snapshot taken on the
way, after a restart before each batch, and in another process with another hash seed.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from marginkeep.clearing import Clearinghouse, Command, restore_snapshot, state_hash, take_snapshot
from marginkeep.rulebook import Rulebook

BATCHES = 8
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Recording:
    """One clearinghouse of one test: where it started, what was applied, what it answered."""

    house: Clearinghouse
    rulebook: Rulebook
    start: bytes
    commands: list[Command] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)


def digest_events(answers: list[bytes]) -> str:
    return hashlib.sha256(b"\n".join(answers)).hexdigest()


def replay(rulebook: Rulebook, start: bytes, commands: list[Command], restarts: frozenset[int]) -> tuple[str, str]:
    """Return (state hash, digest of events) of a replica that restarts from its own snapshot before some commands."""
    house = restore_snapshot(rulebook, start)
    answers = []
    for number, command in enumerate(commands):
        if number in restarts:
            house = restore_snapshot(house.state.rulebook, take_snapshot(house))
        answers.append(msgspec.json.encode(house.apply(command)))
    return state_hash(house), digest_events(answers)


def check_shadows(recording: Recording, other_process: OtherProcess) -> None:
    """Fail if any replica differs from what the test saw."""
    seen = (state_hash(recording.house), digest_events(recording.events))
    count = len(recording.commands)
    middle = int(seen[0][:8], 16) % count
    every_batch = frozenset(range(0, count, max(1, count // BATCHES)))
    arguments = (recording.rulebook, recording.start, recording.commands)
    assert replay(*arguments, frozenset()) == seen, "applied again, the same commands gave another state"
    assert replay(*arguments, frozenset({middle})) == seen, f"restored before command {middle}, the state differs"
    assert replay(*arguments, every_batch) == seen, "restarted before each batch, the state differs"
    assert other_process.replay(*arguments) == seen, "under another hash seed, the state differs"


class OtherProcess:
    """A Python with another hash seed, started when first needed, kept for the session."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def replay(self, rulebook: Rulebook, start: bytes, commands: list[Command]) -> tuple[str, str]:
        if self._process is None:
            environment = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.shadows"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd=ROOT,
            )
        send(self._process.stdin, pickle.dumps((rulebook, start, commands)))
        answer = pickle.loads(receive(self._process.stdout))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()


def send(stream, body: bytes) -> None:
    stream.write(struct.pack("<Q", len(body)) + body)
    stream.flush()


def receive(stream) -> bytes:
    header = stream.read(8)
    return stream.read(struct.unpack("<Q", header)[0]) if header else b""


def serve() -> None:
    while body := receive(sys.stdin.buffer):
        try:
            answer = replay(*pickle.loads(body), frozenset())
        except Exception as error:
            answer = error
        send(sys.stdout.buffer, pickle.dumps(answer))


if __name__ == "__main__":
    serve()
