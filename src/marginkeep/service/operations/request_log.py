"""Around the whole application: one log line and one measurement for every request, whoever answers it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

import structlog

from marginkeep.service.operations.observing import Observer
from marginkeep.service.wire.answers import SEQUENCE
from marginkeep.service.wire.bodies import CORRELATION_HEADER
from marginkeep.service.wire.openapi import TEXT_MAX

_SEQUENCE: Final = SEQUENCE.encode()
_CORRELATION: Final = CORRELATION_HEADER.encode()
NO_ANSWER: Final = 499
"""Written for a caller who has hung up before an answer."""


class RequestLog:
    """Logs key, route, status, milliseconds, sequence and correlation id; never bodies, headers or signatures.

    Parameters
    ----------
    application : the whole application, so that what is turned away at the door is seen too
    observer : is told as well
    writes : a line for each request
    ticks : seconds of a clock that does not jump
    """

    def __init__(
        self, application: Any, observer: Observer, *, writes: bool = True, ticks: Callable[[], float] = perf_counter
    ) -> None:
        self._application, self._observer, self._writes, self._ticks = application, observer, writes, ticks
        self._log = structlog.get_logger("marginkeep.requests").bind()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        answer = _Answer(send)
        began = self._ticks()
        try:
            await self._application(scope, receive, answer.send)
        finally:
            self._tell(scope, answer, self._ticks() - began)

    def _tell(self, scope: Any, answer: _Answer, seconds: float) -> None:
        handler = scope.get("route_handler")
        route = scope.get("path_template") or "" if handler is not None else ""
        is_request = scope["type"] == "http"
        if is_request:
            bucket = handler.opt.get("bucket", "public") if handler is not None else "public"
            self._observer.served(route, scope["method"], bucket, answer.status, seconds)
        if self._writes:
            self._write(scope, route, answer, seconds, "request" if is_request else "socket")

    def _write(self, scope: Any, route: str, answer: _Answer, seconds: float, what: str) -> None:
        user = scope.get("user")
        members = {
            "key": user.key if user is not None else "",
            "method": scope.get("method", "GET"),
            "route": route or "unmatched",
            "status": answer.status,
            "ms": round(seconds * 1000, 3),
        }
        if answer.sequence:
            members["sequence"] = int(answer.sequence)
        correlation = _correlation(scope)
        if correlation:
            members["correlation"] = correlation
        self._log.info(what, **members)


class _Answer:
    """Sends, and remembers what was answered."""

    __slots__ = ("_send", "sequence", "status")

    def __init__(self, send: Any) -> None:
        self._send = send
        self.status = NO_ANSWER
        self.sequence = b""

    async def send(self, message: Any) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            for name, text in message.get("headers", ()):
                if name == _SEQUENCE:
                    self.sequence = text
        elif kind == "websocket.accept":
            self.status = 101
        elif kind == "websocket.close":
            self.status = message.get("code", 1000)
        await self._send(message)


def _correlation(scope: Any) -> str:
    for name, text in scope["headers"]:
        if name == _CORRELATION:
            shown: str = text.decode("latin-1")[:TEXT_MAX]
            return shown if shown.isprintable() else ""
    return ""
