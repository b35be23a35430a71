"""Word to systemd, for units of Type=notify: that the service is ready, and that it stops."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

ADDRESS: Final = "NOTIFY_SOCKET"


def tell_supervisor(state: str, environment: Mapping[str, str]) -> bool:
    """Send a state such as ``READY=1``; False where no supervisor listens.

    Parameters
    ----------
    environment : names the supervisor's socket; a leading ``@`` stands for the abstract namespace
    """
    address = environment.get(ADDRESS, "")
    if not address.startswith(("/", "@")):
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), target)
    except OSError:
        return False
    return True


class Supervisor:
    """A part of the service that tells its supervisor when the stopping begins; put last, it is stopped first."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def start(self) -> None:
        """Say nothing yet: connections are accepted later."""

    async def stop(self) -> None:
        """Say that the service stops."""
        tell_supervisor("STOPPING=1", self._environment)
