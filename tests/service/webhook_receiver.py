"""A web server that takes notices, or behaves as badly as it is told to."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_SECONDS = 20


class Receiver:
    """Listens on a free port. `script` says what to do with the next requests, `always` with all others.

    ``take`` answers 200; a number answers that; ``hang`` answers nothing; ``redirect`` points elsewhere; ``die`` closes
    the connection in the middle of an answer; ``flood`` answers without end.

    Attributes
    ----------
    taken : notices that were answered 200, in order
    seen : (headers, body) of every request
    """

    def __init__(self, script=(), always="take"):
        self.script, self.always = list(script), always
        self.taken, self.seen = [], []
        self.changed = threading.Condition()
        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def wait(self, holds, seconds=WAIT_SECONDS):
        """Wait until something holds of the receiver."""
        with self.changed:
            assert self.changed.wait_for(lambda: holds(self), seconds), (len(self.seen), self.ids())

    def ids(self):
        return [notice.get("id") for notice in self.taken]

    def _handler(receiver):  # noqa: N805, C901 - a class with short methods
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.changed:
                    receiver.seen.append((self.headers, body))
                    what = receiver.script.pop(0) if receiver.script else receiver.always
                    if what == "take":
                        receiver.taken.append(json.loads(body))
                    receiver.changed.notify_all()
                self._behave(what)

            def _behave(self, what):
                if what == "hang":
                    receiver.released.wait(WAIT_SECONDS)
                elif what == "die":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                elif what == "redirect":
                    self.send_response(307)
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                    self.end_headers()
                elif what == "flood":
                    self._flood()
                else:
                    self.send_response(200 if what == "take" else what)
                    self.end_headers()

            def _flood(self):
                self.send_response(500)
                self.end_headers()
                end = time.monotonic() + WAIT_SECONDS
                try:
                    while time.monotonic() < end:
                        self.wfile.write(b"x" * 65_536)
                except OSError:
                    return

            def log_message(self, *_):
                pass

        return Handler
