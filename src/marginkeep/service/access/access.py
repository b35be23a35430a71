"""What stands at the door, in one object: keys, nonces, limits, and the account of who was turned away."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from marginkeep.client.signing import IDEMPOTENCY
from marginkeep.service.access.addresses import address_of, group_of
from marginkeep.service.access.audit_notes import RefusedSignIns
from marginkeep.service.access.key_requests import beside
from marginkeep.service.access.key_store import KeyStore
from marginkeep.service.access.nonces import NonceCache
from marginkeep.service.access.proposals import Proposals
from marginkeep.service.access.rate_limits import RateLimits, Spent
from marginkeep.service.access.scopes import Scope
from marginkeep.service.access.sealing import Seal
from marginkeep.service.access.signatures import (
    MILLISECOND_NS,
    UNAUTHENTICATED,
    RefusedSignIn,
    SignatureDesk,
    read_headers,
)
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext
    from marginkeep.service.operations.settings import AccessSettings

FAILURES_RATE: Final = 10
FAILURES_BURST: Final = 100
"""Sign-ins that one address may fail, a second and at once; rightly signed requests from it still pass."""

PUBLIC_RATE: Final = 200
PUBLIC_BURST: Final = 400

IDEMPOTENCY_MAX: Final = 128
"""Characters of an idempotency key, as in the journal."""

ACCOUNT_NOT_FOUND: Final = "there is no such account among yours"

SECRET_ENDING: Final = ".secret"  # noqa: S105 - the end of a file's name
REQUESTS_ENDING: Final = ".key-requests"


class TooManyRequests(Problem):
    """A bucket does not hold a request's weight."""

    def __init__(self, spent: Spent, bucket: str) -> None:
        detail = f"bucket {bucket!r} holds {spent.remaining} of {spent.limit}: wait {spent.retry_seconds} s"
        super().__init__("too_many_requests", detail, retry_after=spent.retry_seconds, bucket=bucket)
        self.spent = spent


class Access:
    """Who is let in, and how often.

    Attributes
    ----------
    keys : every key
    limits : what keys spend, by key and bucket
    sign_ins : those that were refused, on their way into the chain
    logins_waiting : sockets that are open and have not signed in yet
    """

    def __init__(
        self, keys: KeyStore, sign_ins: RefusedSignIns, settings: AccessSettings, clock: Callable[[], int]
    ) -> None:
        self.keys, self.sign_ins = keys, sign_ins
        self.limits = RateLimits(settings.requests_per_second, settings.burst)
        self._failures = RateLimits(FAILURES_RATE, FAILURES_BURST)
        self._public = RateLimits(PUBLIC_RATE, PUBLIC_BURST)
        nonces = NonceCache(settings.window_ms_max * MILLISECOND_NS)
        self._desk = SignatureDesk(keys, nonces, settings, clock)
        self._clock = clock
        self.logins_waiting = 0

    def sign_in(self, scope: Mapping[str, Any], method: str, headers: Mapping[str, str], body: bytes) -> Caller:
        """Return who a request comes from.

        An address that has failed too often is told so, and unknown keys from it are no longer looked into; a request
        that is rightly signed passes all the same, so that nobody behind the same address can be locked out.

        Raises
        ------
        Problem : it is not let in
        """
        address = address_of(scope)
        group = group_of(address)
        exhausted = self._failures.look(group, "failures", self._clock()) < 1
        try:
            stated = read_headers(headers)
            if exhausted and self.keys.get(stated.key) is None:
                raise RefusedSignIn("unauthenticated", UNAUTHENTICATED, "unknown key")
            return self._desk.admit(stated, method, target_of(scope), body, address)
        except RefusedSignIn as refused:
            self.sign_ins.add(refused.reason, refused.known, address)
            spent = self._failures.spend(group, "failures", 1, self._clock())
            if not spent.granted:
                raise TooManyRequests(spent, "failures") from refused
            raise

    def charge(self, caller: Caller, bucket: str, weight: int = 1) -> Spent:
        """Take a weight out of one of a key's buckets.

        Raises
        ------
        TooManyRequests : it does not hold that much
        """
        spent = self.limits.spend(caller.key, bucket, weight, self._clock())
        if not spent.granted:
            raise TooManyRequests(spent, bucket)
        return spent

    def charge_stranger(self, scope: Mapping[str, Any], weight: int = 1) -> Spent:
        """Take a weight out of the bucket of an address that asks what everybody may."""
        spent = self._public.spend(group_of(address_of(scope)), "public", weight, self._clock())
        if not spent.granted:
            raise TooManyRequests(spent, "public")
        return spent

    async def start(self) -> None:
        """Begin to note refusals; the writer must be running."""
        await self.sign_ins.start()

    async def stop(self) -> None:
        """Stop; the writer must still be running."""
        await self.sign_ins.stop()


def open_access(context: ServiceContext, seal: Seal | None = None) -> Access:
    """Make the door of a service and put it among its parts: ``access``, ``keys``, ``proposals`` and ``seal``.

    Those that have `start` and `stop` are started once the writer runs and before anybody is served.

    Parameters
    ----------
    seal : None = the secret that the settings name, or that beside the journal, made where there is none; a journal in
        memory keeps none
    """
    stated = context.settings.access.sealing_key
    secret = Path(stated) if stated else beside(context.log, SECRET_ENDING)
    if seal is None and secret is not None:
        seal = Seal.open(secret)
    submit = partial(context.writer.submit, protective=True)
    keys = KeyStore(context.log, submit, context.clock, seal, beside(context.log, REQUESTS_ENDING))
    access = Access(keys, RefusedSignIns(context.writer.submit), context.settings.access, context.clock)
    context.parts.update(seal=seal, access=access, keys=keys, proposals=Proposals(context, keys))
    return access


def target_of(scope: Mapping[str, Any]) -> str:
    """Return a request's path and query as they came over the wire."""
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else path


def require_scope(caller: Caller, opt: Mapping[str, Any]) -> None:
    """Refuse a caller whose key lacks the scope of a route; a route that states none is nobody's.

    Raises
    ------
    Problem : ``forbidden``
    """
    wanted = opt.get("scope")
    if not isinstance(wanted, Scope):
        raise Problem("forbidden", "no key may do this: the route states no scope")
    if not caller.may(wanted):
        raise Problem("forbidden", f"the key lacks scope {wanted.value}: ask for one that has it", scope=wanted.value)


def require_account(caller: Caller, account: str) -> None:
    """Refuse an account that is not the caller's, in the words used for one that does not exist.

    Raises
    ------
    Problem : ``not_found``
    """
    if not caller.acts_for(account):
        raise Problem("not_found", ACCOUNT_NOT_FOUND)


def idempotency_key(headers: Mapping[str, str]) -> str:
    """Return the idempotency key of a request that changes something.

    Raises
    ------
    Problem : ``key_missing``
    """
    key = headers.get(IDEMPOTENCY.lower()) or headers.get(IDEMPOTENCY) or ""
    if not key or len(key) > IDEMPOTENCY_MAX or not (key.isascii() and key.isprintable()):
        raise Problem("key_missing", f"send {IDEMPOTENCY} with 1 to {IDEMPOTENCY_MAX} printable ASCII characters")
    return key
