"""What happens around one call, without a network: signing each attempt, waiting, trying again, reading the answer.

`exchange` is a generator: it yields what is to be sent or how long to wait, and is given what came of it. The blocking
client and the asynchronous one drive the same generator.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from marginkeep.client.answers import understood
from marginkeep.client.calls import KEY_LENGTH_MAX, Call
from marginkeep.client.errors import (
    ClientError,
    ServiceError,
    TooMany,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
    error_of,
)
from marginkeep.client.signing import Credential, Credentials, fresh_nonce, sign_request
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

T = TypeVar("T")

CORRELATION: Final = "Correlation-Id"
TIMEOUT_SECONDS: Final = 10.0
RETRIES: Final = 5
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 10.0
REFUSED: Final = 400
IN_PROGRESS: Final = "in_progress"
EXAMPLE: Final = "http://127.0.0.1:8470"


@dataclass(frozen=True, slots=True)
class Send:
    """Ask the driver to send a request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask the driver to wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a response, or nothing but the reason why there is none."""

    status: int = 0
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a client behaves, and where it takes time and chance from.

    Attributes
    ----------
    retries : attempts after the first
    new_key : makes idempotency keys
    chance : a number in [0, 1), by which waits are spread
    clock : nanoseconds UTC, for signatures
    random : makes the bytes of nonces
    """

    timeout: float = TIMEOUT_SECONDS
    retries: int = RETRIES
    new_key: Callable[[], str] = lambda: str(uuid.uuid4())
    chance: Callable[[], float] = random.random
    clock: Callable[[], int] = time.time_ns
    random: Callable[[int], bytes] = os.urandom

    def pause(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row: twice as long each time, spread at random."""
        longest: float = min(FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 30), LONGEST_WAIT_SECONDS)
        return longest * (0.5 + 0.5 * self.chance())


class Signer:
    """Signs requests to one service.

    Parameters
    ----------
    address : ``http://host:port``; None = as the credentials state
    credentials : a key, its file's content, or the path of that file
    """

    def __init__(
        self, address: str | None, credentials: Credentials | Credential | Path | str, conduct: Conduct
    ) -> None:
        if isinstance(credentials, (str, Path)):
            credentials = Credentials.load(credentials)
        stated = credentials.url if isinstance(credentials, Credentials) else ""
        self.address = _plain_address(address or stated)
        self._credential = credentials.credential() if isinstance(credentials, Credentials) else credentials
        self._conduct = conduct

    @property
    def stream_address(self) -> str:
        """Where the stream is."""
        return "ws" + self.address.removeprefix("http")

    def headers(self, method: str, target: str, body: bytes = b"", key: str = "") -> dict[str, str]:
        """Return a new signature, which serves for one attempt, with the idempotency key if there is one."""
        conduct = self._conduct
        return sign_request(
            self._credential,
            method,
            target,
            body,
            clock=conduct.clock,
            nonce=lambda: fresh_nonce(conduct.random),
            idempotency_key=key,
        )


def keyed(call: Call[T], conduct: Conduct) -> Call[T]:
    """Return a call with its idempotency key, a new one where it has none.

    Raises
    ------
    InputError : the key is too long, or not printable
    """
    if not call.mutates:
        return call
    key = conduct.new_key() if call.key is None else call.key
    sendable = key.isprintable() and key.isascii() and key == key.strip()
    if not 0 < len(key) <= KEY_LENGTH_MAX or not sendable:
        raise InputError(f"the key {key!r:.60} is none: give 1 to {KEY_LENGTH_MAX} printable ASCII characters")
    return replace(call, key=key)


def exchange(call: Call[T], signer: Signer, conduct: Conduct) -> Generator[Send | Wait, Reply | None, T]:
    """Send a call until it is answered, and return what its answer says.

    Raises
    ------
    ClientError : see `errors`; with the key that asks again
    """
    call = keyed(call, conduct)
    body = b"" if call.body is None else msgspec.json.encode(call.body)
    for failures in count(1):
        reply = yield Send(call.method, call.target, _headers(call, signer, body), body)
        assert reply is not None
        error = _error_in(reply)
        if error is None:
            return _read(call, reply)
        error.key = call.key or ""
        pause = _pause_before_retry(error, failures, conduct)
        if pause is None:
            raise error
        yield Wait(pause)
    raise AssertionError  # pragma: no cover - the loop ends by itself


def _headers(call: Call[T], signer: Signer, body: bytes) -> dict[str, str]:
    headers = signer.headers(call.method, call.target, body, call.key or "")
    if body:
        headers["Content-Type"] = "application/json"
    if call.correlation:
        headers[CORRELATION] = call.correlation
    return headers


def _read(call: Call[T], reply: Reply) -> T:
    try:
        with understood(f"the answer to {call.method} {call.target}"):
            return call.read(reply.body)
    except UnreadableAnswer as error:
        error.key = call.key or ""
        raise


def _error_in(reply: Reply) -> ClientError | None:
    if reply.trouble:
        return Unreachable(reply.trouble)
    if reply.status < REFUSED:
        return None
    return error_of(_document(reply))


def _document(reply: Reply) -> dict[str, Any]:
    """Return a problem document; of what is none (a proxy's page), the status alone."""
    try:
        document = msgspec.json.decode(reply.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        document = {"code": "", "detail": f"status {reply.status} without a problem document"}
    document["status"] = reply.status
    after = (reply.headers or {}).get("retry-after", "")
    if "retry_after" not in document and after.isdecimal():
        document["retry_after"] = int(after)
    return document


def may_pass(error: ClientError) -> bool:
    """Tell whether the same attempt may succeed a little later."""
    if isinstance(error, (Unreachable, TooMany, Unavailable)):
        return True
    return isinstance(error, ServiceError) and error.code == IN_PROGRESS


def _pause_before_retry(error: ClientError, failures: int, conduct: Conduct) -> float | None:
    """Return how long to wait before the next attempt; None = there is none."""
    if failures > conduct.retries or not may_pass(error):
        return None
    stated = error.retry_after if isinstance(error, ServiceError) else None
    pause = conduct.pause(failures)
    if stated is not None and stated > LONGEST_WAIT_SECONDS:
        return None
    return max(pause, stated or 0.0)


def _plain_address(address: str) -> str:
    if not address:
        raise InputError("no address of the service is stated, nor in the credentials: give one such as " + EXAMPLE)
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
        raise InputError(f"the service's address is {address!r:.80}: give one such as {EXAMPLE}")
    return f"{parts.scheme}://{parts.netloc}"
