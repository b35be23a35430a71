"""The WebSocket at /v1/stream: snapshots and sequenced deltas out, subscriptions, commands and dry runs in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar import WebSocket, websocket

from marginkeep.service.access.authentication import CLOSE_CODES
from marginkeep.service.access.rate_limits import RateLimits
from marginkeep.service.access.scopes import Scope
from marginkeep.service.stream.channels import Viewer
from marginkeep.service.stream.hub import StreamHub
from marginkeep.service.stream.messages import error_message
from marginkeep.service.stream.operations import Operations
from marginkeep.service.stream.socket import CLOSE_EXTENSION, StreamSocket
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext

OVERLOADED: Final = 4_503
TOO_LARGE: Final = 4_413
TOO_MANY: Final = 4_429
FAILED: Final = 1_011

_log = structlog.get_logger("marginkeep.stream")
AnySocket = WebSocket[Any, Any, Any]


class _Closing(Exception):
    """Ends a connection with a code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@websocket("/v1/stream", opt={"scope": Scope.READ, "weight": 1, "bucket": "read"})
async def stream(socket: AnySocket) -> None:
    """Serve one client until it leaves, or is shown out."""
    context: ServiceContext = socket.app.state.context
    hub: StreamHub = context.parts["stream"]
    await socket.accept()
    if hub.connections >= context.settings.stream.connections_max:
        await socket.close(OVERLOADED, f"{hub.connections} sockets are open, the most allowed")
        return
    hub.connections += 1
    try:
        await _Connection(socket, socket.scope["user"], context, hub).serve()
    finally:
        hub.connections -= 1


class _Connection:
    """A socket's two tasks: one reads and answers, one sends; when either ends, so does the other."""

    def __init__(self, socket: AnySocket, caller: Caller, context: ServiceContext, hub: StreamHub) -> None:
        self._socket, self._hub = socket, hub
        self._settings = context.settings.stream
        self._clock = context.clock
        rate = self._settings.messages_per_second
        self._limit = RateLimits(rate, 2 * rate, 1)
        self._stream = StreamSocket(hub, Viewer.of(caller), socket.send_text, self._close_at_once)
        self._operations = Operations(context, caller, self._stream)
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        """Serve until one of the two tasks ends."""
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._stream.deliver())]
        self._hub.sockets.add(self._stream)
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._end([task.exception() for task in done if not task.cancelled()])
        finally:
            self._hub.sockets.discard(self._stream)
            self._hub.leave(self._stream)
            self._operations.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end(self, errors: list[BaseException | None]) -> None:
        """Tell the client why the connection ends, where it does not end it itself."""
        for error in errors:
            if isinstance(error, _Closing):
                await self._socket.close(error.code, error.reason)
            elif isinstance(error, Problem):
                await self._socket.close(CLOSE_CODES + error.status, error.code)
            elif error is not None and not _is_disconnect(error):
                _log.error("a stream ended by a defect", error=repr(error))
                await self._socket.close(FAILED, "defect")

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            content: Any = message.get("text")
            content = message.get("bytes") or b"" if content is None else content
            if len(content) > self._settings.message_max:
                raise _Closing(TOO_LARGE, f"a message of {len(content)} bytes")
            if not self._limit.spend("", "messages", 1, self._clock()).granted:
                problem = Problem("too_many_requests", f"at most {self._limit.rate} messages a second are read")
                await self._stream.reply(error_message("", problem))
                raise _Closing(TOO_MANY, "too many messages")
            await self._operations.answer(content)

    def _close_at_once(self, code: int, reason: str) -> None:
        """End a connection whose client takes nothing; if the server cannot, at least nothing more is kept for it."""
        _log.warning("a stream is closed", code=code, reason=reason)
        extensions: dict[str, Any] = self._socket.scope.get("extensions") or {}
        close: Callable[[int, str], None] | None = extensions.get(CLOSE_EXTENSION)
        if close is not None:
            close(code, reason)
        for task in self._tasks:
            task.cancel()


def _is_disconnect(error: BaseException) -> bool:
    """Tell whether an error only says that the client is gone."""
    from litestar.exceptions import WebSocketDisconnect

    return isinstance(error, (WebSocketDisconnect, OSError))


ROUTES: Final = [stream]
