"""The middleware at the door: reads the body, checks signature, scope and limits, and answers for those it turns away.

For a WebSocket whose upgrade is not signed, the first message must sign in; the room behind it sees neither that
message nor the accepting of the socket, only a caller. A socket whose key is revoked or expires is closed at its next
message.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.client.signing import KEY
from marginkeep.service.access.access import TooManyRequests, idempotency_key, require_scope
from marginkeep.service.wire.problems import PROBLEM_TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from litestar.types import ASGIApp, Receive, Scope, Send

    from marginkeep.service.access.access import Access
    from marginkeep.service.access.rate_limits import Spent
    from marginkeep.service.access.scopes import Caller

BODY_SECONDS: Final = 10.0
LOGIN_SECONDS: Final = 5.0
LOGIN_CHARACTERS_MAX: Final = 4_096
LOGINS_WAITING_MAX: Final = 256
CLOSE_CODES: Final = 4_000
"""A socket is closed with this much more than the status that a request would have been answered with."""

_KEY_HEADER: Final = KEY.lower().encode()
_RESPONSE_EXTENSION: Final = "websocket.http.response"
_CONNECTION_ENDS: Final = {"too_large", "too_slow"}


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    login: dict[str, str]


class _Gone(Exception):
    """The caller has hung up."""


class AuthenticationMiddleware:
    """Lets signed requests through, with `scope["user"]` set to their `Caller`; deny is the default.

    A handler states in its `opt`: ``scope`` (None = public; a handler that states nothing is closed to all),
    ``weight`` and ``bucket`` of the rate limit, ``mutates`` (an idempotency key is demanded), ``body_max`` (a larger
    body, for keys that have the scope).

    Parameters
    ----------
    body_max : bytes of a request's body
    body_seconds, login_seconds : how long a body and a first message may take to arrive
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        body_max: int,
        body_seconds: float = BODY_SECONDS,
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        self.app, self.access = app, access
        self.body_max, self.body_seconds, self.login_seconds = body_max, body_seconds, login_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = str(scope["type"])
        if kind == "http":
            await self._serve_request(scope, receive, send)
        elif kind == "websocket":
            await self._serve_socket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    # Requests -----------------------------------------------------------------------------------------------------

    async def _serve_request(self, scope: Any, receive: Any, send: Any) -> None:
        opt = _opt_of(scope)
        try:
            headers = single_headers(scope)
            body = await self._read_body(receive, headers, self._body_limit(headers, opt))
            spent = self._admit(scope, headers, body, opt)
        except Problem as problem:
            await _answer(send, problem)
            return
        except _Gone:
            return
        await self.app(scope, _replayed(body, receive), _stamped(send, spent))

    def _admit(self, scope: Any, headers: Mapping[str, str], body: bytes, opt: Mapping[str, Any]) -> Spent:
        """Set the caller and take the request's weight out of its bucket."""
        weight = opt.get("weight", 1)
        scope["user"], scope["auth"] = None, None
        if is_public(scope, opt):
            return self.access.charge_stranger(scope, weight)
        caller = self.access.sign_in(scope, scope["method"], headers, body)
        require_scope(caller, opt)
        if opt.get("mutates"):
            idempotency_key(headers)
        scope["user"] = caller
        return self.access.charge(caller, opt.get("bucket", "read"), weight)

    def _body_limit(self, headers: Mapping[str, str], opt: Mapping[str, Any]) -> int:
        """Return how large a body may be: more only for a route that says so and a key that may use it."""
        larger = opt.get("body_max", self.body_max)
        if larger <= self.body_max:
            return int(larger)
        found = self.access.keys.get(headers.get(KEY.lower(), ""))
        return int(larger) if found is not None and opt.get("scope") in found.scopes else self.body_max

    async def _read_body(self, receive: Any, headers: Mapping[str, str], limit: int) -> bytes:
        stated = headers.get("content-length", "0")
        if not stated.isdecimal() or int(stated) > limit:
            raise Problem("too_large", f"a body of {stated:.20} bytes: at most {limit} are read")
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(self.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise Problem("too_large", f"the body is larger than {limit} bytes, which is the most")
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise Problem("too_slow", f"the body took more than {self.body_seconds} s to arrive") from error
        return b"".join(parts)

    # Sockets ------------------------------------------------------------------------------------------------------

    async def _serve_socket(self, scope: Any, receive: Any, send: Any) -> None:
        opt = _opt_of(scope)
        scope["user"], scope["auth"] = None, None
        if is_public(scope, opt):
            await self.app(scope, receive, send)
            return
        signed = any(name == _KEY_HEADER for name, _ in scope["headers"])
        try:
            if signed:
                caller = self._admit_socket(scope, single_headers(scope), opt)
            else:
                caller = await self._await_login(scope, receive, send, opt)
        except Problem as problem:
            await _refuse_socket(scope, receive, send, problem, opened=not signed)
            return
        except _Gone:
            return
        scope["user"] = caller
        guard = _LiveSocket(self.access, caller, receive, send, opened=not signed)
        await self.app(scope, guard.receive, guard.send)

    def _admit_socket(self, scope: Any, headers: Mapping[str, str], opt: Mapping[str, Any]) -> Caller:
        caller = self.access.sign_in(scope, "GET", headers, b"")
        require_scope(caller, opt)
        self.access.charge(caller, opt.get("bucket", "read"), opt.get("weight", 1))
        return caller

    async def _await_login(self, scope: Any, receive: Any, send: Any, opt: Mapping[str, Any]) -> Caller:
        """Accept the socket and take its first message for the headers it could not send."""
        await receive()
        await send({"type": "websocket.accept"})
        if self.access.logins_waiting >= LOGINS_WAITING_MAX:
            waiting = self.access.logins_waiting
            raise Problem("overloaded", f"{waiting} sockets have not signed in yet: retry", retry_after=1)
        self.access.logins_waiting += 1
        try:
            async with asyncio.timeout(self.login_seconds):
                message = await receive()
        except TimeoutError as error:
            raise Problem("too_slow", f"the first message must sign in within {self.login_seconds} s") from error
        finally:
            self.access.logins_waiting -= 1
        if message["type"] != "websocket.receive":
            raise _Gone
        return self._admit_socket(scope, _login_headers(message.get("text") or ""), opt)


class _LiveSocket:
    """A socket that lives no longer than the key that opened it."""

    def __init__(self, access: Access, caller: Caller, receive: Any, send: Any, *, opened: bool) -> None:
        self._keys, self._key = access.keys, caller.key
        self._receive, self._send = receive, send
        self._opened = opened
        self._accepts_to_swallow = opened
        self._closed = False

    async def receive(self) -> Any:
        """Return the next message; a disconnect once the key is no longer good."""
        if self._opened:
            self._opened = False
            return {"type": "websocket.connect"}
        if not self._closed:
            message = await self._receive()
            if self._keys.is_live(self._key):
                return message
            await self._close()
        return {"type": "websocket.disconnect", "code": CLOSE_CODES + 401}

    async def send(self, message: Any) -> None:
        """Send a message, or close the socket instead."""
        if self._closed:
            return
        if message["type"] == "websocket.accept" and self._accepts_to_swallow:
            self._accepts_to_swallow = False
            return
        if not self._keys.is_live(self._key):
            await self._close()
            return
        self._closed = message["type"] == "websocket.close"
        await self._send(message)

    async def _close(self) -> None:
        self._closed = True
        await self._send({"type": "websocket.close", "code": CLOSE_CODES + 401, "reason": "unauthenticated"})


# Leaves --------------------------------------------------------------------------------------------------------------


def is_public(scope: Mapping[str, Any], opt: Mapping[str, Any]) -> bool:
    """Tell whether everybody may ask: where the scope is stated to be None, and which methods a path has."""
    return ("scope" in opt and opt["scope"] is None) or scope.get("method") == "OPTIONS"


def single_headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return headers by lower-case name; two of ours with one name are refused rather than chosen between.

    Raises
    ------
    Problem : ``bad_request``
    """
    headers: dict[str, str] = {}
    for raw, text in scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in headers and (name.startswith("marginkeep-") or name == "idempotency-key"):
            raise Problem("bad_request", f"header {name} is there twice: send it once")
        headers[name] = text.decode("latin-1")
    return headers


def _opt_of(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    handler = scope.get("route_handler")
    return {} if handler is None else handler.opt


def _login_headers(text: str) -> dict[str, str]:
    if len(text) > LOGIN_CHARACTERS_MAX:
        raise Problem("too_large", f"the first message has {len(text)} characters, at most {LOGIN_CHARACTERS_MAX}")
    try:
        return msgspec.json.decode(text, type=_Login).login
    except msgspec.DecodeError as error:
        raise Problem(
            "unauthenticated", 'the first message must be {"login": {...}} with the signing headers'
        ) from error


def _replayed(body: bytes, receive: Receive) -> Callable[[], Awaitable[Any]]:
    """Return a receive that gives the body that was read, then what comes after it."""
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _stamped(send: Send, spent: Spent) -> Callable[[Any], Awaitable[None]]:
    """Return a send that states on the response what is left of the bucket."""

    async def stamp(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *spent.headers()]}
        await send(message)

    return stamp


def _response_parts(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    body = msgspec.json.encode(problem.document())
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if isinstance(problem, TooManyRequests):
        headers += problem.spent.headers()
    elif "retry_after" in problem.more:
        headers.append((b"retry-after", str(problem.more["retry_after"]).encode()))
    if problem.code in _CONNECTION_ENDS:
        headers.append((b"connection", b"close"))
    return headers, body


async def _answer(send: Any, problem: Problem) -> None:
    headers, body = _response_parts(problem)
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse_socket(scope: Any, receive: Any, send: Any, problem: Problem, *, opened: bool) -> None:
    """Answer an upgrade with a problem where the server can, and close what is open already."""
    if opened or _RESPONSE_EXTENSION not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": CLOSE_CODES + problem.status, "reason": problem.code})
        return
    await receive()
    headers, body = _response_parts(problem)
    await send({"type": "websocket.http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
