"""The web server of a service: uvicorn, with bounds on everything, and word of where it listens."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn

from marginkeep.errors import InputError, InvariantViolation
from marginkeep.service.application import build_application
from marginkeep.service.http_transport import protocol_for
from marginkeep.service.operations.request_log import RequestLog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from marginkeep.service.context import ServiceContext

GRACE_SECONDS: Final = 20
"""How long requests under way may take to end when the service stops."""

KEEP_ALIVE_SECONDS: Final = 15

_log = structlog.get_logger("marginkeep.service")


class Server(uvicorn.Server):
    """A server that says when it listens, ends gracefully on a first SIGTERM or SIGINT, and at once on a second.

    Parameters
    ----------
    listening : told the address once connections are accepted
    """

    def __init__(self, config: uvicorn.Config, listening: Callable[[str], None] | None = None) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        if not self.started:
            return
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        url = f"{'https' if self.config.is_ssl else 'http'}://{shown}:{port}"
        _log.info("the service listens", url=url)
        if self._listening is not None:
            self._listening(url)

    def end(self) -> None:
        """Begin to stop, as at a first signal."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the caller of `run` goes on afterwards, as the journal is still to be sealed.

        A second signal is not discussed: the journal is made to be killed at any time.
        """
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.should_exit = True


def server_for(context: ServiceContext, listening: Callable[[str], None] | None = None) -> Server:
    """Return the web server of a service; its `run` serves until SIGTERM or SIGINT, then ends what is under way."""
    server, stream = context.settings.server, context.settings.stream
    config = uvicorn.Config(
        _logged(context),
        host=server.host,
        port=server.port,
        loop="uvloop",
        http=protocol_for(server),
        ws="marginkeep.service.stream.transport:StreamProtocol",
        ws_max_size=stream.message_max,
        ws_per_message_deflate=False,  # it would deflate for each socket what all of them are sent
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=server.behind_tls,
        forwarded_allow_ips="127.0.0.1,::1" if server.behind_tls else None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=server.certificate or None,
        ssl_keyfile=server.certificate_key or None,
    )
    server_made = Server(config, listening)
    halting = context.parts.get("halting")
    if halting is not None:
        halting.end = server_made.end
    return server_made


def serve(server: Server, context: ServiceContext) -> None:
    """Serve until told to stop.

    Raises
    ------
    InputError : the address cannot be listened at
    JournalError, InvariantViolation : the service could not start
    """
    try:
        server.run()
    except SystemExit as gave_up:
        # What it was is in the log; the web server knows no better way to say so.
        context.durable.require_usable()
        if server.lifespan.should_exit:
            raise InvariantViolation("the service could not start: the log above says why") from gave_up
        where = f"{server.config.host}:{server.config.port}"
        raise InputError(f"cannot listen at {where}: is another service there? Name another --port") from gave_up


def _logged(context: ServiceContext) -> RequestLog:
    """Return the application with what logs and measures every request around it."""
    return RequestLog(build_application(context), context.writer.observer, writes=context.settings.logs.requests)
