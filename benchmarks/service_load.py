"""Requests signed and written out ahead, and connections that send them: the load costs as little as can be."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import numpy as np
import uvloop
from websockets.asyncio.client import connect

from marginkeep.client.signing import sign_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from marginkeep.client.signing import Credential

WINDOW_MS: Final = 60_000
IN_FLIGHT: Final = 64
"""Messages on a WebSocket that wait for their answers."""


@dataclass(slots=True)
class Load:
    """What came of some requests.

    Attributes
    ----------
    seconds : from each request's turn to its answer
    duration, processor : of all of them, as time and as the server's time on its processor
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    duration: float = 0.0
    processor: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.seconds) / self.duration

    @property
    def per_processor_second(self) -> float:
        """Requests a second that the server had its processor to itself."""
        return len(self.seconds) / max(self.processor, 1e-9)

    def percentile(self, share: float) -> float:
        """Return the milliseconds that a share of the requests stayed below."""
        return float(np.percentile(self.seconds, share)) * 1e3


def written(credential: Credential, target: str, body: bytes, idempotency_key: str = "") -> bytes:
    """Return a signed POST as it goes over the wire."""
    headers = sign_request(credential, "POST", target, body, window_ms=WINDOW_MS, idempotency_key=idempotency_key)
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"POST {target} HTTP/1.1\r\nHost: bench\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def stream_headers(credential: Credential) -> dict[str, str]:
    """Return the headers that open the stream."""
    return sign_request(credential, "GET", "/v1/stream", window_ms=WINDOW_MS)


def send_all(
    url: str, requests: Sequence[bytes], connections: int, rate: float | None = None, process: int | None = None
) -> Load:
    """Send requests over connections that are kept open.

    Parameters
    ----------
    rate : requests a second, each on its turn and timed from it, however late the server is with those before;
        None = each connection sends as soon as it has been answered
    process : the server's, whose time on the processor is taken
    """
    load = uvloop.run(_send_all(url, requests, connections, rate, process))
    if load.statuses.keys() - {200, 422}:
        raise SystemExit(f"the service refused what it was to be measured with: {dict(load.statuses)}")
    return load


def stream_checks(url: str, credential: Credential, messages: Sequence[str], process: int | None = None) -> Load:
    """Send messages over one WebSocket, some ahead of their answers."""
    return uvloop.run(_stream_checks(url, credential, messages, process))


def processor_seconds(process: int | None) -> float:
    """Return the time that a process has had on processors."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer: status and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


async def _send_all(
    url: str, requests: Sequence[bytes], connections: int, rate: float | None, process: int | None
) -> Load:
    place, load = urlsplit(url), Load()
    streams = [await asyncio.open_connection(place.hostname, place.port) for _ in range(connections)]
    spent, began = processor_seconds(process), time.perf_counter()
    turns = _turns(requests, began, rate)
    await asyncio.gather(*(_one_connection(reader, writer, turns, load) for reader, writer in streams))
    load.duration, load.processor = time.perf_counter() - began, processor_seconds(process) - spent
    for _, writer in streams:
        writer.close()
    return load


def _turns(requests: Sequence[bytes], began: float, rate: float | None) -> Iterator[tuple[bytes, float]]:
    """Yield requests and when each is due."""
    for number, request in enumerate(requests):
        yield request, time.perf_counter() if rate is None else began + number / rate


async def _one_connection(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    turns: Iterator[tuple[bytes, float]],
    load: Load,
) -> None:
    for request, due in turns:
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        writer.write(request)
        status, _ = await answer_of(reader)
        load.seconds.append(time.perf_counter() - due)
        load.statuses[status] += 1


async def _stream_checks(url: str, credential: Credential, messages: Sequence[str], process: int | None) -> Load:
    load, room = Load(), asyncio.Semaphore(IN_FLIGHT)
    address = f"ws://{urlsplit(url).netloc}/v1/stream"
    async with connect(address, additional_headers=stream_headers(credential), compression=None) as socket:
        spent, began = processor_seconds(process), time.perf_counter()
        sent: list[float] = []

        async def send() -> None:
            for message in messages:
                await room.acquire()
                sent.append(time.perf_counter())
                await socket.send(message)

        sending = asyncio.create_task(send())
        for number in range(len(messages)):
            answer = await socket.recv()
            load.seconds.append(time.perf_counter() - sent[number])
            room.release()
            if '"error"' in str(answer)[:200]:
                raise SystemExit(f"the stream refused a check: {answer!s:.300}")
        await sending
        load.duration, load.processor = time.perf_counter() - began, processor_seconds(process) - spent
    return load
