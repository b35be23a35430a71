"""What the command line asks of a service's keys: one file a request, in a folder that only its owner may enter."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from marginkeep.errors import InputError
from marginkeep.service.access.keys import ApiKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.journal.command_log import CommandLog

FOLDER_MODE: Final = 0o700
OTHERS_WRITE: Final = 0o022
REQUEST_BYTES_MAX: Final = 1 << 20
ENDING: Final = ".request"
MEMORY: Final = "memory"
NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.]+")

_log = structlog.get_logger("marginkeep.access")


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done: any of the three, in this order.

    Attributes
    ----------
    create : a key to add
    revoke : id of a key to take out of use
    expire, at_ns : id of a key, and when it is to expire
    """

    create: ApiKey | None = None
    revoke: str = ""
    expire: str = ""
    at_ns: int = 0


def beside(log: CommandLog, ending: str) -> Path | None:
    """Return a path beside a journal: its file's own with an ending; for a database server, one in the working folder.

    None for a journal in memory, which nothing can be beside.
    """
    if log.place == MEMORY:
        return None
    path = getattr(log, "path", None)
    if path is not None:
        return Path(f"{path}{ending}")
    name = NOT_IN_NAMES.sub("-", log.place).strip("-")
    return Path(f"{name}{ending}")


def leave_request(folder: Path, request: KeyRequest, clock: Callable[[], int]) -> Path:
    """Put a request into the folder, whole or not at all; they are taken up in order of their names.

    Raises
    ------
    InputError : the folder cannot be written, or others may write it
    """
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        _require_own(folder)
        name = f"{clock():020d}-{os.getpid()}"
        fresh = folder / f"{name}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(request))
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"{name}{ENDING}"
        fresh.rename(path)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): run this as the service's user") from error
    return path


def waiting_requests(folder: Path) -> list[tuple[Path, KeyRequest]]:
    """Return what waits, oldest first; a file that is no request is named in the log and left."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            _require_own(folder)
            _require_own(path)
            found.append((path, _read(path)))
        except (InputError, OSError, msgspec.DecodeError) as error:
            _log.error("a file among the key requests is passed over", file=path.name, why=str(error))
    return found


def discard(path: Path) -> None:
    """Delete a request that has been carried out."""
    path.unlink(missing_ok=True)


def _read(path: Path) -> KeyRequest:
    if path.stat().st_size > REQUEST_BYTES_MAX:
        raise InputError(f"{path.name} is larger than {REQUEST_BYTES_MAX} bytes")
    return msgspec.json.decode(path.read_bytes(), type=KeyRequest)


def _require_own(path: Path) -> None:
    """Refuse what somebody else could have written: a request is worth as much as the file's owner."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid not in (os.geteuid(), 0) or found.st_mode & OTHERS_WRITE:
        raise InputError(f"{path} may be written by others than this user: chmod go-w it, and look who did")
