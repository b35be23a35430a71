"""One request as a value: what is sent, and how its answer is read. Both clients send the same values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Answered = TypeVar("Answered")

KEY_LENGTH_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Call(Generic[Answered]):
    """A request.

    Attributes
    ----------
    target : path and query, percent-encoded as they go over the wire
    read : makes the answer of a response's body
    body : what JSON is made of; None = no body
    mutates : it carries an idempotency key
    key : that key; None = the client makes one
    """

    method: str
    target: str
    read: Callable[[bytes], Answered]
    body: dict[str, Any] | None = None
    mutates: bool = False
    key: str | None = None
    correlation: str = ""


def path(*parts: str) -> str:
    """Return a path of percent-encoded parts under /v1."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def account_path(account: str) -> str:
    """Return the path of an account; an isolated one, ``owner/MARKET``, lies under its owner."""
    owner, _, market = require_name(account, "account").partition("/")
    return path("accounts", owner, "isolated", market) if market else path("accounts", owner)


def with_query(target: str, **members: str | int | bool | None) -> str:
    """Return a path with a query, of those members that are stated, in the order in which they are signed."""
    stated = {name: _query_text(value) for name, value in sorted(members.items()) if value is not None}
    return f"{target}?{urlencode(stated, quote_via=quote)}" if stated else target


def _query_text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def reader(kind: type[Answered]) -> Callable[[bytes], Answered]:
    """Return what reads a struct from a body; fields it does not know are passed over."""
    decoder = msgspec.json.Decoder(kind)
    return decoder.decode


def require_name(value: object, what: str) -> str:
    """Return a name as it is.

    Raises
    ------
    InputError : not a text, or an empty one
    """
    if not isinstance(value, str) or not value:
        raise InputError(f"{what} is {value!r:.60}: give a name")
    return value


def stated_only(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}
