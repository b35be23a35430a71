"""Reading what a request carries: strictly decoded bodies, and the headers of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from marginkeep.journal.durable import Request as Asked
from marginkeep.service.access.access import idempotency_key
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from litestar import Request

    from marginkeep.clearing.commands import Command

    AnyRequest = Request[Any, Any, Any]

CORRELATION_HEADER: Final = "correlation-id"

_Body = TypeVar("_Body")


def decode_body(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    """Decode a body.

    Raises
    ------
    Problem : ``bad_request``, naming the place in the body
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad_request", f"the body cannot be read: {error}") from error


async def read_body(decoder: msgspec.json.Decoder[_Body], request: AnyRequest) -> _Body:
    """Read and decode a request's body."""
    return decode_body(decoder, await request.body())


def asked(request: AnyRequest, command: Command) -> Asked:
    """Return what a request asks of the house, under the idempotency key in its header.

    Raises
    ------
    Problem : ``key_missing``, ``bad_request``
    """
    headers = request.headers
    key, correlation = idempotency_key(headers), headers.get(CORRELATION_HEADER, "")
    if not correlation.isascii():
        raise Problem("bad_request", "the correlation id is not ASCII: send printable ASCII characters")
    return Asked(command=command, actor=request.user.key, key=key, correlation=correlation)
