"""`GET /v1/metrics` for Prometheus, which cannot sign: open on this machine, by a token or a signed key elsewhere."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
from functools import cache
from pathlib import Path
from typing import Final

from litestar import get
from litestar.response.base import ASGIResponse

from marginkeep.client.signing import KEY
from marginkeep.errors import InputError
from marginkeep.service.access.access import require_scope
from marginkeep.service.access.addresses import address_of
from marginkeep.service.access.authentication import single_headers
from marginkeep.service.access.scopes import Scope
from marginkeep.service.context import ServiceContext
from marginkeep.service.queries.question import AnyRequest, context_of
from marginkeep.service.wire.problems import Problem

TEXT: Final = "text/plain; version=0.0.4"
TOKEN_MIN: Final = 32
BEARER: Final = "bearer "
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@get(
    "/v1/metrics",
    opt={"scope": None, "weight": 1},
    operation_id="Metrics",
    summary="Tell Prometheus how the service does",
    tags=["operations"],
    media_type="text/plain",
)
async def metrics(request: AnyRequest) -> ASGIResponse:
    """Answer in Prometheus' text format.

    Open to requests that come straight from this machine, while no proxy stands in front; else it takes the bearer
    token of `server.metrics_token`, or a signature by a key with scope audit.read.
    """
    context = context_of(request)
    _require_reader(request, context)
    text = context.parts["metrics"].text()
    # A journal in trouble is what is asked about most urgently: then the answer does not wait for it.
    with contextlib.suppress(Problem):
        await context.writer.settled()
    return ASGIResponse(body=text, media_type=TEXT)


def read_token(path: str) -> bytes:
    """Return the token in a file.

    Raises
    ------
    InputError : it cannot be read, or is too short to be one
    """
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise InputError(f"server.metrics_token is {path!r}, which cannot be read ({error.strerror})") from error
    if len(token) < TOKEN_MIN:
        raise InputError(f"the token in {path} has {len(token)} characters: write {TOKEN_MIN} or more, at random")
    return token


def _require_reader(request: AnyRequest, context: ServiceContext) -> None:
    scope, server = request.scope, context.settings.server
    headers = single_headers(scope)
    if KEY.lower() in headers:
        access = context.parts["access"]
        caller = access.sign_in(scope, "GET", headers, b"")
        require_scope(caller, {"scope": Scope.AUDIT_READ})
        if not caller.acts_for_all:
            raise Problem("forbidden", "metrics are of every account: use a key that acts for all of them")
        return
    if server.metrics_token and _bears(headers.get("authorization", ""), server.metrics_token):
        return
    # A proxy on this machine would make everybody look like this machine.
    proxied = server.behind_tls or any(name in headers for name in _FORWARDED)
    if proxied or not _is_loopback(address_of(scope)):
        raise Problem("unauthenticated", "metrics are read on the service's machine, with its token, or signed")


_token_of = cache(read_token)


def _bears(authorization: str, path: str) -> bool:
    if not authorization.lower().startswith(BEARER):
        return False
    return hmac.compare_digest(authorization[len(BEARER) :].strip().encode("latin-1"), _token_of(path))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


ROUTES: Final = [metrics]
