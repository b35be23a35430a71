"""The server's WebSocket protocol with one thing added: to close a connection whose client reads nothing.

ASGI has only an orderly close, which waits until the client has taken everything that was sent before. Give this class
to uvicorn as `ws`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from marginkeep.service.stream.socket import CLOSE_EXTENSION

if TYPE_CHECKING:
    from websockets.http11 import Request

GRACE_SECONDS: Final = 2.0
"""How long the client still has to take what was sent, and the code of the closing."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """Offers `CLOSE_EXTENSION` to the application."""

    def handle_connect(self, event: Request) -> None:
        """Accept the upgrade, and put the extension where the application finds it."""
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)
        if scope is not None:
            scope["extensions"][CLOSE_EXTENSION] = self.close_at_once

    def close_at_once(self, code: int, reason: str) -> None:
        """Queue a close frame behind what is there, and cut the connection if that is not taken soon."""
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.close()
        self.loop.call_later(GRACE_SECONDS, self.transport.abort)
