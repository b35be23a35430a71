"""A proxy between a writer and its PostgreSQL server that kills the writer at the n-th message it sends.

What the server gets is exact to the byte: the proxy stops forwarding before it kills, and whatever it was to forward it
forwards although the writer is dead by then.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
from dataclasses import dataclass, field

ENDS = ("torn", "after")
"""The server gets half of the n-th message, or all of it; nothing of it is all of the one before."""


@dataclass(eq=False)
class Side:
    """One end of a forwarded connection."""

    socket: socket.socket
    other: Side | None = None
    from_client: bool = False
    started: bool = False
    pending: bytearray = field(default_factory=bytearray)

    def next_message(self) -> bytes | None:
        """Take one whole protocol message off what has arrived: type (not in the first), length, body."""
        start = 1 if self.started else 0
        if len(self.pending) < start + 4:
            return None
        length = start + int.from_bytes(self.pending[start : start + 4], "big")
        if len(self.pending) < length:
            return None
        message = bytes(self.pending[:length])
        del self.pending[:length]
        self.started = True
        return message


class CuttingProxy:
    """Forwards to one server; `arm` it before each run.

    Attributes
    ----------
    sent : messages that clients have sent since then, in the order of their arrival
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self.arm(0, 0, "")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def arm(self, victim: int, at: int, end: str) -> None:
        """Kill process `victim` at its `at`-th message; 0 = never."""
        self.sent: list[bytes] = []
        self._victim, self._at, self._end, self.cut = victim, at, end, False

    def close(self) -> None:
        self._wake.close()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    return
                elif key.data.socket.fileno() >= 0:
                    self._forward(key.data)

    def _accept(self) -> None:
        client = Side(self._listener.accept()[0], from_client=True)
        server = Side(socket.create_connection(("127.0.0.1", self._server_port)), client)
        client.other = server
        for side in (client, server):
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _forward(self, side: Side) -> None:
        try:
            chunk = side.socket.recv(65536)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self._drop(side)
        elif not side.from_client:
            self._send(side.other, chunk)
        else:
            side.pending += chunk
            self._forward_messages(side)

    def _forward_messages(self, side: Side) -> None:
        whole = bytearray()
        while not self.cut and (message := side.next_message()) is not None:
            self.sent.append(message)
            if len(self.sent) == self._at:
                self.cut = True
                os.kill(self._victim, signal.SIGKILL)
                message = message[: len(message) // 2] if self._end == "torn" else message
            whole += message
        if whole:
            self._send(side.other, bytes(whole))
        if self.cut:
            self._drop(side)

    def _send(self, side: Side, chunk: bytes) -> None:
        try:
            side.socket.sendall(chunk)
        except OSError:
            self._drop(side)

    def _drop(self, side: Side) -> None:
        for end in (side, side.other):
            if end.socket.fileno() >= 0:
                self._selector.unregister(end.socket)
                end.socket.close()
