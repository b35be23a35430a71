"""A service of its own process to be measured from outside: ``python -m benchmarks.service_host FOLDER CORE LOGS``.

The folder holds the journal; the address is written to `READY` there once connections are accepted. Core -1 = any.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.client.signing import ED25519, HMAC_SHA256, Ed25519Key, HmacKey
from marginkeep.service.access.scopes import EVERY_ACCOUNT, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.service.context import ServiceContext

JOURNAL: Final = "journal.db"
READY: Final = "ready.json"
LOG: Final = "service.log"
START_SECONDS: Final = 120
STOP_SECONDS: Final = 60
SECRET: Final = b"s" * 32
UNLIMITED: Final = 10**8
"""The rate limits are kept, and never reached: their cost is measured, not what they forbid."""


class Address(msgspec.Struct, frozen=True):
    """Where the service listens, and which process it is."""

    url: str
    process: int


def credential(algorithm: str) -> HmacKey | Ed25519Key:
    """Return the venue's key of an algorithm, which has every scope."""
    return HmacKey("bench-hmac", SECRET) if algorithm == HMAC_SHA256 else Ed25519Key("bench-ed25519", SECRET)


@contextlib.contextmanager
def hosted(folder: Path, core: int, *, logs: bool = True) -> Iterator[Address]:
    """Run the service over a folder's journal on one core, as long as the context lasts."""
    process = start_host(folder, core, logs=logs)
    try:
        yield wait_until_ready(folder, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def start_host(folder: Path, core: int = -1, *, logs: bool = True) -> subprocess.Popen[bytes]:
    """Start the service's process."""
    (folder / READY).unlink(missing_ok=True)
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.service_host", str(folder), str(core), "logs" if logs else ""],
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parent.parent,
        )


def wait_until_ready(folder: Path, process: subprocess.Popen[bytes]) -> Address:
    """Return the address once the service accepts connections."""
    end = time.monotonic() + START_SECONDS
    while not (folder / READY).exists():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the service did not start: see {folder / LOG}")
        time.sleep(0.02)
    return msgspec.json.decode((folder / READY).read_bytes(), type=Address)


class _Keys:
    """A part of the service that makes the keys of the benchmark."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    async def start(self) -> None:
        from marginkeep.service.access.keys import ApiKey

        keys = self._context.parts["keys"]
        for algorithm in (HMAC_SHA256, ED25519):
            known = credential(algorithm)
            secret: dict[str, Any] = (
                {"public": known.public}
                if isinstance(known, Ed25519Key)
                else {"sealed": keys.seal.seal(known.key, SECRET)}
            )
            if keys.get(known.key) is None:
                key = ApiKey(
                    id=known.key,
                    algorithm=algorithm,
                    person="benchmark",
                    created_ns=1,
                    scopes=tuple(Scope),
                    accounts=(EVERY_ACCOUNT,),
                    addresses=("127.0.0.0/8",),
                    **secret,
                )
                await keys.create(key, "benchmark")

    async def stop(self) -> None:
        pass


def serve(folder: Path, core: int, *, logs: bool) -> None:
    """Serve until told to stop."""
    from marginkeep.service.operations.logs import configure_logs
    from marginkeep.service.operations.settings import (
        AccessSettings,
        JournalSettings,
        LogSettings,
        NotificationSettings,
        ServerSettings,
        Settings,
    )
    from marginkeep.service.running import run

    if core >= 0:
        os.sched_setaffinity(0, {core})
    settings = Settings(
        journal=JournalSettings(place=str(folder / JOURNAL)),
        server=ServerSettings(port=0),
        access=AccessSettings(requests_per_second=UNLIMITED, burst=UNLIMITED),
        notifications=NotificationSettings(allow_private_addresses=True),
        logs=LogSettings(format="json", requests=logs),
    )
    configure_logs(settings.logs, time.time_ns)

    def listening(url: str) -> None:
        fresh = folder / f"{READY}.new"
        fresh.write_bytes(msgspec.json.encode(Address(url, os.getpid())))
        fresh.replace(folder / READY)

    def prepare(context: ServiceContext) -> None:
        context.parts["benchmark"] = _Keys(context)

    run(settings, prepare=prepare, listening=listening)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), logs=sys.argv[3] == "logs")
