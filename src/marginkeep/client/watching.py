"""Streams over real sockets: connect, subscribe, and begin again behind what was seen last, for ever."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from marginkeep.client.errors import ClientError, Unreachable
from marginkeep.client.exchange import may_pass
from marginkeep.client.stream_messages import StreamGap, StreamView
from marginkeep.client.upgrades import OPTIONS, TARGET, trouble_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from marginkeep.client.exchange import Conduct, Signer
    from marginkeep.client.stream_messages import StreamMessage

FOR_EVER: Final = 10**9


async def stream(
    signer: Signer,
    conduct: Conduct,
    channels: Sequence[str],
    accounts: Sequence[str],
    after: int | None,
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncIterator[StreamMessage]:
    """Yield what channels tell, across lost connections; see `AsyncClient.stream`.

    Raises
    ------
    ClientError : the service refuses, or it cannot be reached `retries` times in a row
    """
    view, attempts = StreamView(channels, accounts, after), Attempts(conduct)
    while True:
        try:
            async with aclosing(_messages(signer, conduct, view)) as messages:
                async for message in messages:
                    attempts.succeeded()
                    yield message
        except ClientError as error:
            await sleep(attempts.pause_after(error))


async def _messages(signer: Signer, conduct: Conduct, view: StreamView) -> Any:
    """Yield what one connection tells until it ends, with an error."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    try:
        headers = signer.headers("GET", TARGET)
        url = signer.stream_address + TARGET
        async with connect(url, additional_headers=headers, open_timeout=conduct.timeout, **OPTIONS) as socket:
            for operation in view.subscriptions():
                await socket.send(operation, text=True)
            async for text in socket:
                message = view.take(text)
                if message is not None:
                    yield message
    except (OSError, WebSocketException) as error:
        raise trouble_of(error, signer.address) from error
    raise Unreachable(f"{signer.address} has closed the stream")


def watch(
    signer: Signer,
    conduct: Conduct,
    channels: Sequence[str],
    accounts: Sequence[str],
    after: int | None,
    seconds: float | None,
    sleep: Callable[[float], None],
    now: Callable[[], float] = time.monotonic,
) -> Iterator[StreamMessage]:
    """Yield what channels tell, across lost connections, for ever or for some seconds; see `Client.watch`."""
    view, attempts = StreamView(channels, accounts, after), Attempts(conduct)
    until = now() + (FOR_EVER if seconds is None else seconds)
    while now() < until:
        try:
            for message in _read(signer, conduct, view, lambda: until - now()):
                attempts.succeeded()
                yield message
        except ClientError as error:
            sleep(min(attempts.pause_after(error), max(until - now(), 0)))


def _read(signer: Signer, conduct: Conduct, view: StreamView, left: Callable[[], float]) -> Iterator[StreamMessage]:
    """Yield what one connection tells until it ends, with an error, or the time is over."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    try:
        headers = signer.headers("GET", TARGET)
        url = signer.stream_address + TARGET
        with connect(url, additional_headers=headers, open_timeout=conduct.timeout, **OPTIONS) as socket:
            for operation in view.subscriptions():
                socket.send(operation, text=True)
            while (seconds := left()) > 0:
                try:
                    message = view.take(socket.recv(min(seconds, FOR_EVER)))
                except TimeoutError:
                    return
                if message is not None:
                    yield message
    except (OSError, WebSocketException) as error:
        raise trouble_of(error, signer.address) from error


class Attempts:
    """Counts connections that have told nothing, and says how long to wait before the next."""

    def __init__(self, conduct: Conduct) -> None:
        self._conduct = conduct
        self._failures = 0

    def succeeded(self) -> None:
        """Learn that a connection works."""
        self._failures = 0

    def pause_after(self, error: ClientError) -> float:
        """Return how long to wait.

        Raises
        ------
        ClientError : the error itself, where another attempt would meet it again, or too many have
        """
        self._failures += 1
        if self._failures > self._conduct.retries or not (may_pass(error) or isinstance(error, StreamGap)):
            raise error
        return self._conduct.pause(self._failures)
