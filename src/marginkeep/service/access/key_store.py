"""Where keys live: documents of the journal, a copy in memory, and a folder in which the host leaves requests.

The command line never writes the journal, which has one writer. It leaves a file beside the journal; the service takes
it up before it serves the first request, and then every two seconds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import structs

from marginkeep.errors import InputError, KeyReused
from marginkeep.service.access.audit_notes import Submit, key_created, key_expiry_set, key_revoked
from marginkeep.service.access.key_requests import KeyRequest, discard, waiting_requests
from marginkeep.service.access.keys import ApiKey, LoadedKey, check_key, decode_key, encode_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.journal.command_log import CommandLog
    from marginkeep.service.access.sealing import Seal

DOCUMENT: Final = "key"
KEYS_MAX: Final = 100_000
REQUESTS_EVERY_SECONDS: Final = 2

_log = structlog.get_logger("marginkeep.access")


class KeyStore:
    """Every key the service knows.

    Parameters
    ----------
    submit : the writer's; every change is noted in the chain
    clock : nanoseconds UTC
    seal : of the secrets of HMAC keys
    requests : folder in which the command line leaves requests; None = none is watched
    """

    def __init__(
        self,
        log: CommandLog,
        submit: Submit,
        clock: Callable[[], int],
        seal: Seal | None = None,
        requests: Path | None = None,
    ) -> None:
        self.seal = seal
        self._log, self._submit, self._clock, self._requests = log, submit, clock, requests
        self._keys: dict[str, LoadedKey] = {}
        self._changing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.load()

    def load(self) -> None:
        """Read all keys anew."""
        found = (decode_key(body) for body in self._log.documents(DOCUMENT).values())
        self._keys = {key.id: LoadedKey(key, self.seal) for key in found}

    def get(self, key_id: str) -> LoadedKey | None:
        """Return a key, live or not; None where there is none."""
        return self._keys.get(key_id)

    def is_live(self, key_id: str) -> bool:
        """Tell whether a key is still good: what a long-lived connection asks again and again."""
        found = self._keys.get(key_id)
        return found is not None and found.key.is_live(self._clock())

    def every(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        return sorted((loaded.key for loaded in self._keys.values()), key=lambda key: (key.created_ns, key.id))

    async def create(self, key: ApiKey, by: str) -> ApiKey:
        """Add a key; one that is there already, unchanged, is returned as it is.

        Raises
        ------
        InputError : it breaks a rule, or there are too many
        KeyReused : its id stands for another
        """
        check_key(key)
        async with self._changing:
            known = self._keys.get(key.id)
            if known is not None:
                _require_same(known.key, key)
                return known.key
            if len(self._keys) >= KEYS_MAX:
                raise InputError(f"there are {KEYS_MAX} keys, which is the most")
            await self._submit([key_created(key, by)])
            await self._store(key)
            return key

    async def revoke(self, key_id: str, by: str) -> ApiKey | None:
        """Take a key out of use at once and for good; None where there is none.

        It is out of use before anything is written: a journal in trouble must not keep a stolen key alive.
        """
        async with self._changing:
            known = self._keys.get(key_id)
            if known is None:
                return None
            key = known.key
            if not key.revoked_ns:
                key = structs.replace(key, revoked_ns=self._clock())
            self._keys[key_id] = LoadedKey(key, self.seal)
            await self._store(key)
            await self._submit([key_revoked(key, by)])
            return key

    async def expire(self, key_id: str, at_ns: int, by: str) -> ApiKey | None:
        """Let a key expire sooner than it would: the end of a rotation. None where there is none."""
        async with self._changing:
            known = self._keys.get(key_id)
            if known is None:
                return None
            key = known.key
            if key.expires_ns and key.expires_ns <= at_ns:
                return key
            key = structs.replace(key, expires_ns=at_ns)
            await self._submit([key_expiry_set(key, by)])
            await self._store(key)
            return key

    async def start(self) -> None:
        """Take up what the host has asked while nobody served, then watch for more."""
        await self.take_requests()
        if self._requests is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch(), name="key requests")

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def take_requests(self) -> int:
        """Carry out what waits in the folder, and return how many requests that was."""
        if self._requests is None:
            return 0
        waiting = await asyncio.to_thread(waiting_requests, self._requests)
        for path, request in waiting:
            try:
                await self._carry_out(request)
            except InputError as error:
                _log.error("a request of the command line is refused", file=path.name, why=str(error))
            await asyncio.to_thread(discard, path)
        return len(waiting)

    async def _carry_out(self, request: KeyRequest) -> None:
        if request.create is not None:
            await self.create(request.create, "local")
        if request.revoke:
            await self.revoke(request.revoke, "local")
        if request.expire:
            await self.expire(request.expire, request.at_ns, "local")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(REQUESTS_EVERY_SECONDS)
            try:
                await self.take_requests()
            except Exception as error:
                # Whatever it is, the next look may succeed, and nobody else would see it.
                _log.error("requests of the command line could not be taken up", why=repr(error))

    async def _store(self, key: ApiKey) -> None:
        await asyncio.to_thread(self._log.put_document, DOCUMENT, key.id, encode_key(key))
        self._keys[key.id] = LoadedKey(key, self.seal)


def _require_same(known: ApiKey, asked: ApiKey) -> None:
    """Refuse an id that stands for another key; when it was made and what became of it since does not count."""
    fresh = {"created_ns": 0, "expires_ns": 0, "revoked_ns": 0, "sealed": b""}
    if structs.replace(known, **fresh) != structs.replace(asked, **fresh):
        raise KeyReused(f"key {asked.id!r} is there already, with other properties: take another id")
