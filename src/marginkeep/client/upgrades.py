"""How sockets are opened, and what it means when they are not."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from marginkeep.client.errors import ClientError, Unreachable, error_of

TARGET: Final = "/v1/stream"
MESSAGE_MAX: Final = 2**24
CLOSE_CODES: Final = 4_000
"""The service closes a socket with this much more than the status that a request would have been answered with."""

TRY_AGAIN_STATUS: Final = (408, 429, 503)
OPTIONS: Final[dict[str, Any]] = {"compression": None, "max_size": MESSAGE_MAX, "close_timeout": 2}


def trouble_of(error: Exception, address: str) -> ClientError:
    """Return what a failed or lost connection means to the caller."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    if isinstance(error, InvalidStatus):
        return error_of(_document(error.response.status_code, error.response.body))
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        status, reason = error.rcvd.code - CLOSE_CODES, error.rcvd.reason
        if 400 <= status < 600 and status not in TRY_AGAIN_STATUS:
            return error_of({"status": status, "code": reason, "detail": f"the service closed the socket: {reason}"})
    return Unreachable(f"{address}: {error or type(error).__name__}")


def _document(status: int, body: bytes | bytearray | None) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(bytes(body or b""), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        document = {"code": "", "detail": f"the socket was refused with status {status}"}
    return {**document, "status": status}
