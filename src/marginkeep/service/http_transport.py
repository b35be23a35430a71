"""The server's HTTP protocol with bounds: on the size of a request's head, on time, and on how many are connected.

Give `protocol_for` to uvicorn as `http`. What it refuses itself is answered by problem documents like everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from marginkeep.service.access.addresses import group_of
from marginkeep.service.wire.problems import PROBLEM_TYPE, Problem

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Iterable

    from marginkeep.service.operations.settings import ServerSettings

HEAD_BYTES_MAX: Final = 32_768
HEADERS_MAX: Final = 100
LOOKS: Final = 4
"""Looks at a connection within the time that its client has; so that is kept to a quarter."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes
    ----------
    patience : seconds that a client has to send a request's head, to end a body that nobody reads, to take an answer
    connections_max : connections in all; beyond, the one that has been idle longest gives way
    connections_per_address : of one address; beyond, the one of its own that has been idle longest gives way
    """

    patience: ClassVar[float] = 10.0
    connections_max: ClassVar[int] = 4_096
    connections_per_address: ClassVar[int] = 2_048

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to watch over a connection; refuse it where all others are at work."""
        super().connection_made(transport)
        self._head_bytes = self._headers = self._requests = 0
        self._since = self._sent_at = self.loop.time()
        self._unsent = 0
        self._problem = Problem("bad_request", "this is no HTTP request that can be read")
        self._watch = self.loop.call_later(self.patience / LOOKS, self._look)
        self._require_place()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what belongs to no request yet is bounded."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.is_idle and self.headers is not None:
            self._count_head(len(data))

    # What the parser says -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._head_bytes = self._headers = 0
        self._since = self.loop.time()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._require_small(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers += 1
        self._require_small(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End a head."""
        self._requests += 1
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read."""
        self._refuse(self._problem)

    # Bounds -------------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self._requests == 0 or self.cycle is None or self.cycle.response_complete

    def _count_head(self, count: int) -> None:
        """Bound a head that does not end, and a body that comes although its request has been answered."""
        self._head_bytes += count
        if self._head_bytes <= 2 * HEAD_BYTES_MAX or self.transport.is_closing():
            return
        if self._requests and self.cycle.more_body:
            self.transport.close()
        else:
            self._refuse(Problem("too_large", _TOO_LARGE))

    def _require_small(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX or self._headers > HEADERS_MAX:
            self._problem = Problem("too_large", _TOO_LARGE)
            raise ValueError(_TOO_LARGE)

    def _require_place(self) -> None:
        """Refuse the connection where those of all, or those of its address, are too many and all at work."""
        if len(self.connections) > self.connections_max:
            if not self._make_room(self.connections):
                words = f"{self.connections_max} connections are at work: retry"
                self._refuse(Problem("overloaded", words, retry_after=1))
        elif len(self.connections) > self.connections_per_address:  # to count them takes a while: only where it may be
            address = _address_of(self)
            same = [one for one in self.connections if _address_of(one) == address]
            if len(same) > self.connections_per_address and not self._make_room(same):
                words = f"{self.connections_per_address} connections of one address are at work: close some"
                self._refuse(Problem("too_many_requests", words, retry_after=1))

    def _make_room(self, among: Iterable[Any]) -> bool:
        """Close the connection that has been idle longest; tell whether there was one."""
        idle = [one for one in among if isinstance(one, BoundedProtocol) and one._may_give_way(self)]
        if idle:
            min(idle, key=lambda one: one._since).transport.abort()
        return bool(idle)

    def _may_give_way(self, other: BoundedProtocol) -> bool:
        return self is not other and self.is_idle and not self.transport.is_closing()

    def _look(self) -> None:
        """Close the connection if its client makes no progress."""
        if self.transport.get_protocol() is not self:
            return
        now = self.loop.time()
        self._watch = self.loop.call_later(self.patience / LOOKS, self._look)
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:
            self._sent_at = now
        self._unsent = unsent
        if now - self._sent_at > self.patience:
            self.transport.abort()
        elif self.is_idle and now - self._since > self.patience and unsent == 0:
            self._end_of_patience()

    def _end_of_patience(self) -> None:
        """Close an idle connection; one that has begun a request is told why."""
        if self._head_bytes and self._requests == 0 and not self.transport.is_closing():
            self._refuse(Problem("too_slow", f"the request's head took more than {self.patience} s to arrive"))
        elif self.timeout_keep_alive_task is None:
            self.transport.abort()

    def _refuse(self, problem: Problem) -> None:
        """Answer a problem and close."""
        body = msgspec.json.encode(problem.document())
        headers = {
            "content-type": PROBLEM_TYPE,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "connection": "close",
        }
        if "retry_after" in problem.more:
            headers["retry-after"] = str(problem.more["retry_after"])
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items()).encode()
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)
        self.transport.close()


def protocol_for(server: ServerSettings) -> type[BoundedProtocol]:
    """Return the protocol with the bounds of some settings."""
    most = server.connections_max
    bounds: dict[str, Any] = {
        "patience": server.patience_seconds,
        "connections_max": most,
        # A proxy's address is one for all: it has to count them itself.
        "connections_per_address": most if server.behind_tls else server.connections_per_address,
    }
    return type("ServiceProtocol", (BoundedProtocol,), bounds)


def _address_of(connection: Any) -> str:
    """Return what connections, of any protocol, are counted under."""
    return group_of(connection.client[0]) if connection.client else ""


_TOO_LARGE: Final = f"a request's head has at most {HEADERS_MAX} headers and {HEAD_BYTES_MAX} bytes"
