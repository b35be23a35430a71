"""Checks and commands over one WebSocket, many at a time: what a matching engine uses.

Operations go out in the order in which they are asked for, each with a number; answers come back by number. When the
connection is lost it is made again, and everything unanswered is sent once more in its order: keys keep a command from
being applied twice, and its recorded answer comes instead.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.client.answers import Answer, Result, Verdict, read_message, read_result, understood
from marginkeep.client.commands import batch_item
from marginkeep.client.errors import ClientError, ServiceError, TooMany, Unavailable, Unreachable, error_of
from marginkeep.client.exchange import keyed, may_pass
from marginkeep.client.upgrades import OPTIONS, TARGET, trouble_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from websockets.asyncio.client import ClientConnection

    from marginkeep.client.calls import Call
    from marginkeep.client.exchange import Conduct, Signer

ANSWER: Final = "an answer on the socket"
RETRIED: Final = ("too_many_requests", "overloaded", "halted")
"""Results that are no decision of the clearinghouse: the same command may be sent again."""


class Socket:
    """An asynchronous context manager; made by `AsyncClient.socket`.

    Attributes
    ----------
    reconnections : how often the connection has been lost and made again
    reconnected : called each time, before anything new is sent
    """

    def __init__(
        self,
        signer: Signer,
        conduct: Conduct,
        sleep: Callable[[float], Awaitable[None]],
        patience: float,
        in_flight_max: int,
    ) -> None:
        self.reconnections = 0
        self.reconnected: Callable[[], None] = lambda: None
        self._signer, self._conduct, self._sleep, self._patience = signer, conduct, sleep, patience
        self._room = asyncio.Semaphore(in_flight_max)
        self._waiting: dict[int, tuple[bytes, asyncio.Future[dict[str, Any]]]] = {}
        self._unsent: dict[int, bytes] = {}
        self._something = asyncio.Event()
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    async def __aenter__(self) -> Socket:
        self._task = asyncio.create_task(self._run())
        connected = asyncio.create_task(self._connected.wait())
        try:
            await asyncio.wait((connected, self._task), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            connected.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; what is unanswered raises `Unreachable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail(Unreachable("the socket was closed before an answer came"))

    # What is asked ------------------------------------------------------------------------------------------------

    async def command(self, call: Call[Answer]) -> Result:
        """Apply a command that a function of `commands` has built; a refusal is a value.

        Raises
        ------
        ClientError : it could not be sent or answered; `key` asks again
        """
        (result,) = await self._apply("command", (keyed(call, self._conduct),))
        return result

    async def commands(self, calls: Iterable[Call[Answer]]) -> list[Result]:
        """Apply commands in order; one that is refused does not keep the others back."""
        return await self._apply("commands", [keyed(call, self._conduct) for call in calls])

    async def check(self, call: Call[Verdict]) -> Verdict:
        """Ask what an order, by `commands.check_order`, would be answered now."""
        answer = await self._ask({"op": "check", "order": call.body})
        with understood(ANSWER):
            return _verdict(answer["result"])

    async def checks(self, calls: Iterable[Call[Verdict]]) -> list[Verdict]:
        """Ask about many orders at once, each as if it were the only one."""
        answer = await self._ask({"op": "check", "orders": [call.body for call in calls]})
        with understood(ANSWER):
            return [_verdict(members) for members in answer["results"]]

    async def ping(self) -> int:
        """Return the sequence of the last durable record."""
        answer = await self._ask({"op": "ping"})
        with understood(ANSWER):
            sequence: int = answer["sequence"]
            return sequence

    async def _apply(self, operation: str, calls: Iterable[Call[Answer]]) -> list[Result]:
        items = [batch_item(call) for call in calls]
        asked = {"op": operation, **(items[0] if operation == "command" else {"commands": items})}
        for failures in range(1, self._conduct.retries + 2):
            try:
                answer = await self._ask(asked)
                with understood(ANSWER):
                    results = [read_result(one) for one in answer.get("results") or [answer["result"]]]
            except ClientError as error:
                error.key = items[0]["key"] if len(items) == 1 else ""
                raise
            waits = [one.retry_after or 0.0 for one in results if one.status in RETRIED]
            if not waits or failures > self._conduct.retries:
                return results
            await self._sleep(max(self._conduct.pause(failures), *waits))
        raise AssertionError  # pragma: no cover - the loop ends by itself

    async def _ask(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Send an operation and return its answer; again where the service asks for patience."""
        failures = 0
        while True:
            try:
                return await self._ask_once(operation)
            except (TooMany, Unavailable) as error:
                failures += 1
                if failures > self._conduct.retries:
                    raise
                await self._sleep(max(self._conduct.pause(failures), error.retry_after or 0.0))

    async def _ask_once(self, operation: dict[str, Any]) -> dict[str, Any]:
        async with self._room:
            if self._task is None or self._task.done():
                raise Unreachable("the socket is closed: open another")
            self._number += 1
            number = self._number
            message = msgspec.json.encode({**operation, "id": number})
            future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._waiting[number] = (message, future)
            self._unsent[number] = message
            self._something.set()
            try:
                return await future
            finally:
                self._waiting.pop(number, None)
                self._unsent.pop(number, None)

    # The connection -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect again and again; where that is refused, or lasts too long, fail what waits."""
        loop = asyncio.get_running_loop()
        failures, lost_at = 0, loop.time()
        while True:
            try:
                await self._serve()
            except ClientError as error:
                if self._connected.is_set():
                    self._connected.clear()
                    failures, lost_at = 0, loop.time()
                    self.reconnections += 1
                failures += 1
                if not may_pass(error) or loop.time() - lost_at > self._patience:
                    self._fail(error)
                    raise
                await self._sleep(min(self._conduct.pause(failures), 1.0))

    async def _serve(self) -> None:
        """Serve one connection until it ends, with an error."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        conduct, url = self._conduct, self._signer.stream_address + TARGET
        try:
            headers = self._signer.headers("GET", TARGET)
            async with connect(url, additional_headers=headers, open_timeout=conduct.timeout, **OPTIONS) as connection:
                if self.reconnections:
                    self.reconnected()
                self._unsent = {number: message for number, (message, _) in self._waiting.items()}
                self._something.set()
                self._connected.set()
                await self._both(connection)
        except (OSError, WebSocketException) as error:
            raise trouble_of(error, self._signer.address) from error

    async def _both(self, connection: ClientConnection) -> None:
        """Send and receive until one of the two ends."""
        tasks = [asyncio.create_task(self._send(connection)), asyncio.create_task(self._receive(connection))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, connection: ClientConnection) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while self._unsent:
                number = next(iter(self._unsent))
                await connection.send(self._unsent.pop(number), text=True)

    async def _receive(self, connection: ClientConnection) -> None:
        async for text in connection:
            message = read_message(text)
            if message.get("type") == "error" and message.get("id") == "":
                self._fail(error_of(message))
            _, future = self._waiting.get(message.get("id", ""), (b"", None))
            if future is None or future.done():
                continue
            if message.get("type") == "error":
                future.set_exception(error_of(message))
            else:
                future.set_result(message)
        raise Unreachable(f"{self._signer.address} has closed the socket")

    def _fail(self, error: ClientError) -> None:
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(_again(error))


def _again(error: ClientError) -> ClientError:
    """Return the same error anew: each of those who wait puts a key of its own on it."""
    return error_of(error.document) if isinstance(error, ServiceError) else type(error)(*error.args)


def _verdict(members: dict[str, Any]) -> Verdict:
    return msgspec.convert(members, Verdict)
