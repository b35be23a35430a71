"""Checking one request's signature: everything that decides whether it is let in, without a word about the network."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.client.signing import IDEMPOTENCY, KEY, NONCE, SIGNATURE, TIMESTAMP, WINDOW, canonical_text
from marginkeep.service.access.keys import ed25519_check
from marginkeep.service.access.nonces import AHEAD_MAX_NS
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from marginkeep.service.access.key_store import KeyStore
    from marginkeep.service.access.keys import LoadedKey
    from marginkeep.service.access.nonces import NonceCache
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.operations.settings import AccessSettings

MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 10**6
NONCE_FORM: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
NUMBER_FORM: Final = re.compile(r"[0-9]{1,19}")
SIGNATURE_TEXT_MAX: Final = 96
NAME_MAX: Final = 64

UNAUTHENTICATED: Final = "the request names no key that is good here, or its signature is not that key's over it"
"""One answer for an unknown key, a revoked one and a bad signature: it tells a stranger nothing."""

_LINE_ENDS: Final = frozenset("\r\n")
"""Within a line of what is signed they would make two of it; a header cannot hold them, a first message can."""

_HEADERS: Final = (KEY, TIMESTAMP, NONCE, SIGNATURE)
_NOBODY: Final = ed25519_check(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
"""A public key that nobody uses here; what it checks takes as long as a real check does."""


class RefusedSignIn(Problem):
    """A sign-in that is refused.

    Attributes
    ----------
    reason : for the chain, not for the caller
    known : the key's id where it is one of ours
    """

    def __init__(self, code: str, detail: str, reason: str, known: str = "", **more: Any) -> None:
        super().__init__(code, detail, **more)
        self.reason, self.known = reason, known


class SignedHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of itself.

    Attributes
    ----------
    window, idempotency_key : as sent, empty where they are not
    """

    key: str
    timestamp_us: int
    nonce: str
    signature: bytes
    window: str
    idempotency_key: str


def read_headers(headers: Mapping[str, str]) -> SignedHeaders:
    """Return the headers of a signed request, by their names in any case.

    Raises
    ------
    RefusedSignIn : one is missing or has another form
    """
    given = {name.lower(): text for name, text in headers.items()}
    key, timestamp, nonce, signature = (given.get(name.lower(), "") for name in _HEADERS)
    window, idempotency_key = given.get(WINDOW.lower(), ""), given.get(IDEMPOTENCY.lower(), "")
    well_formed = (
        0 < len(key) <= NAME_MAX
        and NUMBER_FORM.fullmatch(timestamp)
        and NONCE_FORM.fullmatch(nonce)
        and (not window or NUMBER_FORM.fullmatch(window))
        and not _LINE_ENDS.intersection(key + idempotency_key)
    )
    if not well_formed:
        raise RefusedSignIn("unauthenticated", f"a request is signed with {', '.join(_HEADERS)}", "headers")
    return SignedHeaders(
        key=key,
        timestamp_us=int(timestamp),
        nonce=nonce,
        signature=_decoded(signature),
        window=window,
        idempotency_key=idempotency_key,
    )


def _decoded(text: str) -> bytes:
    """Return a signature's bytes; what is no base64 is no signature, which the check will say."""
    if len(text) > SIGNATURE_TEXT_MAX:
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _signed_text(stated: SignedHeaders, method: str, target: str, body: bytes) -> bytes:
    more = {"idempotency_key": stated.idempotency_key, "window": stated.window}
    return canonical_text(stated.key, method, target, stated.timestamp_us, stated.nonce, body, **more)


class SignatureDesk:
    """Decides whether a signed request is let in, in one step that nothing can come between.

    Parameters
    ----------
    clock : nanoseconds UTC
    """

    def __init__(self, keys: KeyStore, nonces: NonceCache, settings: AccessSettings, clock: Callable[[], int]) -> None:
        self._keys, self._nonces, self._settings, self._clock = keys, nonces, settings, clock

    def admit(self, stated: SignedHeaders, method: str, target: str, body: bytes, address: str) -> Caller:
        """Return who a request comes from.

        The time is looked at first, which tells nothing about any key. Everything else that a stranger could ask about
        is answered alike; only who has signed rightly learns what else is wrong.

        Raises
        ------
        RefusedSignIn : it is not let in
        """
        now_ns = self._clock()
        until_ns = self._check_time(stated, now_ns)
        loaded = self._verified(stated, _signed_text(stated, method, target, body))
        self._check_nonce(stated, now_ns)
        key = loaded.key
        if not key.is_live(now_ns):
            raise RefusedSignIn("unauthenticated", UNAUTHENTICATED, "expired key", key.id)
        if not loaded.is_used_from(address):
            raise RefusedSignIn(
                "forbidden", "the key may not be used from this address: see its list", "address", key.id
            )
        return loaded.caller(address, until_ns)

    def _check_time(self, stated: SignedHeaders, now_ns: int) -> int:
        """Return until when the request may be applied."""
        window_ms = int(stated.window) if stated.window else self._settings.window_ms
        window_ns = min(window_ms, self._settings.window_ms_max) * MILLISECOND_NS
        age_ns = now_ns - stated.timestamp_us * MICROSECOND_NS
        if age_ns > window_ns or -age_ns >= AHEAD_MAX_NS:
            raise RefusedSignIn(
                "expired",
                f"the request is {age_ns // MILLISECOND_NS} ms old by this clock ({now_ns // MICROSECOND_NS} us); "
                f"-{AHEAD_MAX_NS // MILLISECOND_NS} to {window_ns // MILLISECOND_NS} ms are accepted: set the clock",
                "time",
            )
        return stated.timestamp_us * MICROSECOND_NS + window_ns

    def _verified(self, stated: SignedHeaders, message: bytes) -> LoadedKey:
        loaded = self._keys.get(stated.key)
        if loaded is None:
            _NOBODY(message, stated.signature.ljust(64, b"\0")[:64])
            raise RefusedSignIn("unauthenticated", UNAUTHENTICATED, "unknown key")
        if not loaded.verifies(message, stated.signature):
            raise RefusedSignIn("unauthenticated", UNAUTHENTICATED, "signature", loaded.key.id)
        return loaded

    def _check_nonce(self, stated: SignedHeaders, now_ns: int) -> None:
        if self._nonces.seen(stated.key, stated.nonce):
            raise RefusedSignIn("expired", "the nonce was used before: sign each request anew", "replayed", stated.key)
        if not self._nonces.has_room(stated.key, now_ns):
            raise RefusedSignIn(
                "too_many_requests", "too many nonces are remembered: wait", "nonces", stated.key, retry_after=1
            )
        self._nonces.add(stated.key, stated.nonce, now_ns)
