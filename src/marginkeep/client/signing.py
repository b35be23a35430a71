"""Signing requests: one canonical text, Ed25519 or HMAC-SHA256 over it, and the file that keeps the secret.

The text is nine lines: ``v1``, the key, the method, path and query as sent, the time in microseconds, the nonce, the
SHA-256 of the body in hexadecimal, the idempotency key and the window, the last two empty where the request has none.
A WebSocket is opened with the same headers over method GET and an empty body; where headers cannot be set, they go into
its first message, ``{"login": {...}}``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION: Final = "v1"
KEY: Final = "Marginkeep-Key"
TIMESTAMP: Final = "Marginkeep-Timestamp"
NONCE: Final = "Marginkeep-Nonce"
SIGNATURE: Final = "Marginkeep-Signature"
WINDOW: Final = "Marginkeep-Window"
IDEMPOTENCY: Final = "Idempotency-Key"

ED25519: Final = "ed25519"
HMAC_SHA256: Final = "hmac-sha256"
SECRET_BYTES: Final = 32
SIGNATURE_BYTES: Final = {ED25519: 64, HMAC_SHA256: 32}
NONCE_BYTES: Final = 16
OWNER_ONLY: Final = 0o600
TOML: Final = ".toml"
OTHERS: Final = 0o077


class Credential(Protocol):
    """What can sign."""

    @property
    def key(self) -> str:
        """The key's id."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""


class Ed25519Key:
    """A private Ed25519 key.

    Parameters
    ----------
    key : the id under which the service knows the public key
    seed : 32 secret bytes
    """

    algorithm: Final = ED25519

    def __init__(self, key: str, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        _require_length(key, seed)
        self.key = key
        self._private = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes: what the service is given."""
        return self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._private.sign(message)


class HmacKey:
    """A secret shared with the service, for HMAC-SHA256."""

    algorithm: Final = HMAC_SHA256

    def __init__(self, key: str, secret: bytes) -> None:
        _require_length(key, secret)
        self.key = key
        self._secret = secret

    def sign(self, message: bytes) -> bytes:
        """Return the code of a message, 32 bytes."""
        return hmac.digest(self._secret, message, "sha256")


def canonical_text(
    key: str,
    method: str,
    target: str,
    timestamp_us: int,
    nonce: str,
    body: bytes,
    *,
    idempotency_key: str = "",
    window: str = "",
) -> bytes:
    """Return what is signed. Nothing is decoded or put in order, so no two requests have one text.

    Parameters
    ----------
    target : path and query exactly as they go over the wire, percent signs included
    idempotency_key, window : those headers' texts, empty where they are not sent
    """
    digest = hashlib.sha256(body).hexdigest()
    path, _, query = target.partition("?")
    lines = (
        VERSION,
        key,
        method.upper(),
        target if query else path,
        str(timestamp_us),
        nonce,
        digest,
        idempotency_key,
        window,
    )
    return "\n".join(lines).encode()


def fresh_nonce(random: Callable[[int], bytes] = os.urandom) -> str:
    """Return a nonce that has not been used: 16 random bytes in hexadecimal."""
    return random(NONCE_BYTES).hex()


def sign_request(
    credential: Credential,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    clock: Callable[[], int] = time.time_ns,
    nonce: Callable[[], str] = fresh_nonce,
    window_ms: int | None = None,
    idempotency_key: str = "",
) -> dict[str, str]:
    """Return the headers that sign a request.

    Parameters
    ----------
    target : path and query exactly as sent
    clock : nanoseconds UTC
    window_ms : how old it may be when it is applied; None = what the service allows unless told otherwise
    idempotency_key : of a request that changes something; comes back as its header
    """
    timestamp_us, chosen = clock() // 1_000, nonce()
    window = "" if window_ms is None else str(window_ms)
    stated = {"idempotency_key": idempotency_key, "window": window}
    signature = credential.sign(canonical_text(credential.key, method, target, timestamp_us, chosen, body, **stated))
    headers = {
        KEY: credential.key,
        TIMESTAMP: str(timestamp_us),
        NONCE: chosen,
        SIGNATURE: base64.b64encode(signature).decode(),
    }
    return headers | {name: text for name, text in ((WINDOW, window), (IDEMPOTENCY, idempotency_key)) if text}


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key with its secret, as kept in a file that only its owner may read.

    Attributes
    ----------
    key : the key's id
    algorithm : ``ed25519`` or ``hmac-sha256``
    secret : the seed or the shared secret, base64
    url : of the service, empty where the caller states it
    """

    key: str
    algorithm: str
    secret: str
    url: str = ""

    def credential(self) -> Ed25519Key | HmacKey:
        """Return what signs."""
        try:
            secret = base64.b64decode(self.secret, validate=True)
        except ValueError as error:
            raise InputError(f"the secret of key {self.key!r} is not base64: take the file that was written") from error
        if self.algorithm == ED25519:
            return Ed25519Key(self.key, secret)
        if self.algorithm == HMAC_SHA256:
            return HmacKey(self.key, secret)
        raise InputError(f"key {self.key!r} has algorithm {self.algorithm!r}: {ED25519} and {HMAC_SHA256} are known")

    @classmethod
    def load(cls, path: Path | str) -> Credentials:
        """Read a file written by `save`.

        Raises
        ------
        InputError : it cannot be read, is no credentials file, or other users of the machine may read it
        """
        place = Path(path)
        try:
            mode = place.stat().st_mode
            if mode & OTHERS:
                raise InputError(f"{place} is open to others (mode {mode & 0o777:o}): chmod 600 it")
            decode = msgspec.toml.decode if place.suffix == TOML else msgspec.json.decode
            return decode(place.read_bytes(), type=cls)
        except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
            raise InputError(
                f"the credentials {place} cannot be read ({error}): make them with `marginkeep keys create`"
            ) from error

    def save(self, path: Path | str) -> None:
        """Write a new file with mode 0600, TOML where its name ends so and JSON else.

        Raises
        ------
        InputError : it exists already, or cannot be written
        """
        place = Path(path)
        try:
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
            with open(descriptor, "wb") as file:
                file.write(self._as_toml() if place.suffix == TOML else self._as_json())
        except OSError as error:
            raise InputError(f"{place} cannot be written ({error.strerror}): name a new file") from error

    def _as_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def _as_toml(self) -> bytes:
        members = msgspec.to_builtins(self).items()
        return "".join(f"{name} = {json.dumps(text)}\n" for name, text in members).encode()

    def __repr__(self) -> str:
        """Return everything but the secret."""
        return f"Credentials(key={self.key!r}, algorithm={self.algorithm!r}, url={self.url!r})"


def login_message(credential: Credential, target: str, **options: Any) -> str:
    """Return the first message that signs in on a WebSocket whose headers could not be set."""
    return json.dumps({"login": sign_request(credential, "GET", target, **options)})


def _require_length(key: str, secret: bytes) -> None:
    if len(secret) != SECRET_BYTES:
        raise InputError(f"the secret of key {key!r} has {len(secret)} bytes, {SECRET_BYTES} are needed")
