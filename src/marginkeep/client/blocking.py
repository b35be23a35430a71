"""The blocking client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from marginkeep.client import commands
from marginkeep.client.exchange import RETRIES, TIMEOUT_SECONDS, Conduct, Reply, Send, Signer, Wait, exchange, keyed
from marginkeep.client.methods import Methods
from marginkeep.client.watching import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import httpx

    from marginkeep.client.answers import Answer, Result
    from marginkeep.client.calls import Call
    from marginkeep.client.signing import Credential, Credentials
    from marginkeep.client.stream_messages import StreamMessage

P = ParamSpec("P")
T = TypeVar("T")


class Client(Methods):
    """Calls a service and waits for its answers. May be used by one thread at a time; a context manager.

    Parameters
    ----------
    address : ``http://host:port``; None = as the credentials state
    credentials : a key, the content of its file, or the path of that file
    timeout : seconds for one attempt
    retries : attempts after the first, where none has been answered or the service asks for patience
    conduct : where time, chance and keys come from; `timeout` and `retries` then are its own
    sleep : waits between attempts
    """

    def __init__(
        self,
        address: str | None,
        credentials: Credentials | Credential | Path | str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        conduct: Conduct | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx

        self.conduct = conduct or Conduct(timeout=timeout, retries=retries)
        self.signer = Signer(address, credentials, self.conduct)
        self._http: httpx.Client = httpx.Client(timeout=self.conduct.timeout)
        self._sleep = sleep

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
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
            given = self._take(step)

    def send_built(self, build: Callable[P, Call[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send what a function builds of its arguments: what every other method does."""
        return self.send(build(*args, **kwargs))

    def _take(self, step: Send | Wait) -> Reply | None:
        if isinstance(step, Wait):
            self._sleep(step.seconds)
            return None
        import httpx

        url = self.signer.address + step.target
        try:
            response = self._http.request(step.method, url, content=step.body, headers=step.headers)
        except httpx.TransportError as error:
            return Reply(trouble=f"{self.signer.address}: {error or type(error).__name__}")
        return Reply(response.status_code, response.headers, response.content)

    def batch(self, calls: Iterable[Call[Answer]]) -> tuple[Result, ...]:
        """Apply commands in order; a refusal is a value among the results. Those without a key get one."""
        return self.send(commands.batch([keyed(call, self.conduct) for call in calls]))

    def watch(
        self,
        *channels: str,
        accounts: Iterable[str] = (),
        after: int | None = None,
        seconds: float | None = None,
    ) -> Iterator[StreamMessage]:
        """Yield what channels tell, for ever or for some seconds; see `AsyncClient.stream`."""
        return watch(self.signer, self.conduct, channels, tuple(accounts), after, seconds, self._sleep)
