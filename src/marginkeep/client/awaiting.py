"""The asynchronous client: the methods of the blocking one, to be awaited, and the sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from marginkeep.client import commands
from marginkeep.client.exchange import RETRIES, TIMEOUT_SECONDS, Conduct, Reply, Send, Signer, Wait, exchange, keyed
from marginkeep.client.methods import Methods
from marginkeep.client.pipeline import Socket
from marginkeep.client.watching import stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    import httpx

    from marginkeep.client.answers import Answer, Result
    from marginkeep.client.calls import Call
    from marginkeep.client.signing import Credential, Credentials
    from marginkeep.client.stream_messages import StreamMessage

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient(Methods):
    """Calls a service from an event loop; an asynchronous context manager. See `Client` for the parameters."""

    def __init__(
        self,
        address: str | None,
        credentials: Credentials | Credential | Path | str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        conduct: Conduct | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        import httpx

        self.conduct = conduct or Conduct(timeout=timeout, retries=retries)
        self.signer = Signer(address, credentials, self.conduct)
        self._http: httpx.AsyncClient = httpx.AsyncClient(timeout=self.conduct.timeout)
        self._sleep = sleep

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call that a function of `commands`, `queries` or `rule_changes` has built, until it is answered.

        Raises
        ------
        ClientError : see `errors`
        """
        steps = exchange(call, self.signer, self.conduct)
        given: Reply | None = None
        while True:
            try:
                step = steps.send(given)
            except StopIteration as done:
                answer: T = done.value
                return answer
            given = await self._take(step)

    async def send_built(self, build: Callable[P, Call[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send what a function builds of its arguments: what every other method does."""
        return await self.send(build(*args, **kwargs))

    async def _take(self, step: Send | Wait) -> Reply | None:
        if isinstance(step, Wait):
            await self._sleep(step.seconds)
            return None
        import httpx

        url = self.signer.address + step.target
        try:
            response = await self._http.request(step.method, url, content=step.body, headers=step.headers)
        except httpx.TransportError as error:
            return Reply(trouble=f"{self.signer.address}: {error or type(error).__name__}")
        return Reply(response.status_code, response.headers, response.content)

    async def batch(self, calls: Iterable[Call[Answer]]) -> tuple[Result, ...]:
        """Apply commands in order; a refusal is a value among the results. Those without a key get one."""
        return await self.send(commands.batch([keyed(call, self.conduct) for call in calls]))

    def stream(
        self, *channels: str, accounts: Iterable[str] = (), after: int | None = None
    ) -> AsyncIterator[StreamMessage]:
        """Yield what channels tell, for ever: snapshots, deltas, and `Resync` where something was lost.

        A lost connection is made again and resumes behind what was seen last, each event channel by its own sequence.

        Parameters
        ----------
        channels : ``events``, ``calls``, ``accounts``, ``marks``, ``oracle``, ``auctions``, ``funds``
        accounts : only what concerns these; none = all that the key may see
        after : begin event channels behind this sequence instead of with a snapshot
        """
        return stream(self.signer, self.conduct, channels, tuple(accounts), after, self._sleep)

    def socket(self, *, patience: float = 60.0, in_flight_max: int = 512) -> Socket:
        """Return a socket for checks and commands, many at a time; an asynchronous context manager.

        Parameters
        ----------
        patience : seconds for which an operation waits while there is no connection
        in_flight_max : operations that may wait for their answers; more wait to be sent
        """
        return Socket(self.signer, self.conduct, self._sleep, patience, in_flight_max)
