"""What the chain keeps about access: keys made and revoked, sign-ins refused, rulebooks proposed and approved.

Names of people and addresses go into payloads that can be erased; the chain keeps their salted hash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from marginkeep.journal.durable import Outcome, Request
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.service.access.keys import ApiKey

Submit = Callable[[Sequence[Request]], Awaitable[list[Outcome]]]
"""`Writer.submit`."""

REFUSALS_EVERY_SECONDS: Final = 10
"""Refused sign-ins are noted at most this often, however many there are."""

REFUSALS_KINDS_MAX: Final = 64
"""Kinds of refusal (reason, key, address) told apart in one note; the rest are counted together."""

_log = structlog.get_logger("marginkeep.access")


def note(kind: str, actor: str, once: str, members: dict[str, Any], personal: dict[str, Any] | None = None) -> Request:
    """Return a note for the chain.

    Parameters
    ----------
    once : what makes it the same note when it is written again after a failure
    personal : what may be erased later
    """
    payload = b"" if personal is None else msgspec.json.encode(personal)
    return Request(note={"type": kind, **members}, actor=actor, key=once, personal=payload)


def key_created(key: ApiKey, by: str) -> Request:
    """Return the note of a new key."""
    members = {
        "key": key.id,
        "algorithm": key.algorithm,
        "public": key.public.hex(),
        "scopes": list(key.scopes),
        "accounts": list(key.accounts),
        "expires_ns": key.expires_ns,
        "bound": bool(key.addresses),
    }
    return note("KeyCreated", by, f"key-created:{key.id}", members, {"person": key.person, "addresses": key.addresses})


def key_revoked(key: ApiKey, by: str) -> Request:
    """Return the note of a key that is no longer good."""
    return note("KeyRevoked", by, f"key-revoked:{key.id}", {"key": key.id, "revoked_ns": key.revoked_ns})


def key_expiry_set(key: ApiKey, by: str) -> Request:
    """Return the note of a key that will expire sooner, because another takes its place."""
    once = f"key-expires:{key.id}:{key.expires_ns}"
    return note("KeyExpirySet", by, once, {"key": key.id, "expires_ns": key.expires_ns})


class RefusedSignIns:
    """Counts refused sign-ins and writes one note for all of an interval: a flood costs one record in ten seconds.

    Parameters
    ----------
    submit : the writer's
    """

    def __init__(self, submit: Submit, every_seconds: float = REFUSALS_EVERY_SECONDS) -> None:
        self._submit = submit
        self._every = every_seconds
        self._counts: dict[tuple[str, str, str], int] = {}
        self._others = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.total = 0

    def add(self, reason: str, key: str, address: str) -> None:
        """Count one; `key` is the id of a known key, else empty, so that a stranger's text never enters the chain."""
        self.total += 1
        kind = (reason, key, address)
        if kind in self._counts or len(self._counts) < REFUSALS_KINDS_MAX:
            self._counts[kind] = self._counts.get(kind, 0) + 1
        else:
            self._others += 1
        self._arrived.set()

    async def start(self) -> None:
        """Begin to write notes."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="refused sign-ins")

    async def stop(self) -> None:
        """Write what is counted and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.write()

    async def write(self) -> None:
        """Write one note of what is counted; where the writer has no room it is counted on."""
        if not self._counts and not self._others:
            return
        counts, others = self._counts, self._others
        self._counts, self._others = {}, 0
        try:
            await self._submit([_refusals_note(counts, others)])
        except Problem as problem:
            self._others += others + sum(counts.values())
            _log.warning("refused sign-ins could not be noted", why=problem.detail, count=self._others)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self.write()
            await asyncio.sleep(self._every)


def _refusals_note(counts: dict[tuple[str, str, str], int], others: int) -> Request:
    rows = [
        {"reason": reason, "key": key, "count": count, "place": place}
        for place, ((reason, key, _), count) in enumerate(counts.items())
    ]
    members = {"refusals": rows, "others": others}
    return note("SignInRefused", "service", "", members, {"addresses": [address for _, _, address in counts]})
