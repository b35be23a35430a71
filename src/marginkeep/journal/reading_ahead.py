"""A long tail of records, read and checked by a second process while the first one applies what has passed.

The second process opens the journal for itself, sends nothing that it has not checked, and stops at whatever is wrong.
Where it stops too early, for any reason, the first process reads on by itself and meets the reason: so this is a matter
of speed alone, and every error is met, and worded, in one place.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec

from marginkeep.errors import MarginkeepError
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import Head
from marginkeep.journal.opening import open_log
from marginkeep.journal.record import Record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from marginkeep.journal.command_log import CommandLog

AHEAD_FROM: Final = 50_000
"""Records from which a second process is worth its start: it saves 3 microseconds a record, and takes a tenth of a
second to send the first ones."""

FRAME_BYTES: Final = 2**16
"""Bytes of bodies and answers from which a frame is sent: far below what its length can state."""

FRAME_BYTES_MAX: Final = 2**30
"""A length beyond this is none: something else was written."""

PIPE_BYTES: Final = 2**20
"""What may be on its way, some frames: with less the two would wait for each other within every frame."""

_LENGTH: Final = struct.Struct(">I")
_frames: Final = msgspec.msgpack.Decoder(list[Record])


class Tail(msgspec.Struct, frozen=True):
    """What the second process is asked for: the records after a head, up to a sequence."""

    address: str
    before: Head
    until: int


def checked_tail(log: CommandLog, before: Head, until: int, ahead_from: int = AHEAD_FROM) -> Generator[Record]:
    """Yield the records after a head up to a sequence, each one checked; see `checked`.

    Parameters
    ----------
    ahead_from : records from which they are read ahead, where the log has an address
    """
    last = None
    if log.address and until - before.sequence >= ahead_from:
        last = yield from read_ahead(Tail(log.address, before, until))
    if last is None:
        yield from checked(log.read(before.sequence, until), before)
    else:
        head = Head(last.epoch, last.sequence, last.hash)
        yield from checked(log.read(last.sequence, until), head, recorded_ns=last.recorded_ns)


def read_ahead(tail: Tail) -> Generator[Record, None, Record | None]:
    """Yield what a second process has read and checked, all of it or as far as it comes; return the last record."""
    last = None
    with _second_process() as process:
        if process is None:
            return last
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError, ValueError, msgspec.MsgspecError):  # of another version, or with nothing to say
            process.stdin.write(msgspec.json.encode(tail))
            process.stdin.close()
            while frame := _read_frame(process.stdout):
                records = _frames.decode(frame)
                yield from records
                last = records[-1]
    return last


@contextmanager
def _second_process() -> Iterator[subprocess.Popen[bytes] | None]:
    """Start the second process; None where none can be started. It never outlives the block."""
    if not sys.executable or getattr(sys, "frozen", False):  # no interpreter, but a program with one inside
        yield None
        return
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
            [sys.executable, "-P", "-m", __name__],  # -P: whatever lies in the working folder is not imported
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the first one's to answer
        )
    except (OSError, ValueError):
        yield None
        return
    with process:
        try:
            _widen(process.stdout)
            yield process
        finally:
            process.kill()


def _widen(stream: IO[bytes] | None) -> None:
    """Let a pipe hold some frames, where the system can and allows it."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[arg-type]


def _read_frame(stream: IO[bytes]) -> bytes:
    """Return the next frame; nothing where the stream ends, be it in the midst of one."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return b""
    (length,) = _LENGTH.unpack(head)
    frame = stream.read(min(length, FRAME_BYTES_MAX))
    return frame if len(frame) == length else b""


def send_checked(source: IO[bytes], target: IO[bytes]) -> None:
    """Be the second process: read what is asked for, check it, send it in frames; at the first fault, stop.

    What was checked since the last frame is then not sent: the first process reads it again, and the fault with it.
    """
    tail = msgspec.json.decode(source.read(), type=Tail)
    log = open_log(tail.address, read_only=True)
    for part in _parts(checked(log.read(tail.before.sequence, tail.until), tail.before)):
        frame = msgspec.msgpack.encode(part)
        target.write(_LENGTH.pack(len(frame)))
        target.write(frame)
        target.flush()


def _parts(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Yield records in lists of about `FRAME_BYTES`."""
    part: list[Record] = []
    size = 0
    for record in records:
        part.append(record)
        size += len(record.body) + len(record.events)
        if size >= FRAME_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


if __name__ == "__main__":
    records, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing but frames goes to the first process
    try:
        send_checked(sys.stdin.buffer, records)
    except (MarginkeepError, OSError):
        sys.exit(1)
