"""Secrets of HMAC keys at rest: AES-256-GCM under a secret of the service's own, kept in a file beside the journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 12
OWNER_ONLY: Final = 0o600
OTHERS: Final = 0o077


class Seal:
    """Encrypts and decrypts short secrets; each is bound to the name of its key.

    Parameters
    ----------
    secret : 32 bytes
    random : gives as many random bytes as asked for
    """

    def __init__(self, secret: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(secret) != SECRET_BYTES:
            raise InputError(f"the service's secret has {len(secret)} bytes, {SECRET_BYTES} are needed")
        self._cipher = AESGCM(secret)
        self._random = random

    @classmethod
    def open(cls, path: Path, random: Callable[[int], bytes] = os.urandom) -> Seal:
        """Read the service's secret, or make it where there is none.

        Raises
        ------
        InputError : the file cannot be read or made, is damaged, or other users of the machine may read it
        """
        try:
            _make_unless_there(path, random)
            mode, text = path.stat().st_mode, path.read_text().strip()
            secret = bytes.fromhex(text)
        except (OSError, ValueError) as error:
            raise InputError(f"the service's secret {path} cannot be read ({error}): restore it") from error
        if mode & OTHERS:
            raise InputError(f"the service's secret {path} is open to others (mode {mode & 0o777:o}): chmod 600 it")
        return cls(secret, random)

    def seal(self, name: str, secret: bytes) -> bytes:
        """Encrypt a key's secret."""
        nonce = self._random(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, name.encode())

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """Decrypt a key's secret.

        Raises
        ------
        InputError : it was sealed under another secret or for another key, or is damaged
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise InputError(f"the secret of key {name!r} cannot be unsealed: restore the service's secret") from error


def _make_unless_there(path: Path, random: Callable[[int], bytes]) -> None:
    """Write a new secret; a link makes it appear whole, so that of two who do it at once both read the same."""
    if path.exists():
        return
    fresh = path.with_name(f"{path.name}.{random(8).hex()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
    with open(descriptor, "w") as file:
        file.write(f"{random(SECRET_BYTES).hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
