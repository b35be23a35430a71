"""From a price tick to the margin call that it causes, as a subscriber sees it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import uvloop
from websockets.asyncio.client import connect

from benchmarks.service_book import MARK_TICKS, MARKETS
from benchmarks.service_load import Load, answer_of, stream_headers, written

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from benchmarks.service_host import Address
    from marginkeep.client.signing import Credential

FIRST: Final = MARK_TICKS * 979 // 1_000
"""At this mark thousands are called at once, which is not measured; each tick after it calls a few."""

TICKS: Final = 700
STEP: Final = 5
PAUSE_SECONDS: Final = 0.02
QUIET_SECONDS: Final = 1.0
"""A subscriber that has heard nothing for so long has heard everything."""


def tick_to_call(service: Address, credential: Credential) -> Load:
    """Publish falling prices over HTTP and time each tick's first call on a subscriber's socket."""
    return uvloop.run(_tick_to_call(service.url, credential))


async def _tick_to_call(url: str, credential: Credential) -> Load:
    place = urlsplit(url)
    headers = stream_headers(credential)
    async with connect(f"ws://{place.netloc}/v1/stream", additional_headers=headers, max_size=2**26) as socket:
        await socket.send(json.dumps({"op": "subscribe", "id": 1, "channels": ["calls"]}))
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        sent: dict[int, float] = {}
        await _publish(reader, writer, credential, FIRST, sent)
        heard = asyncio.create_task(_listen(socket))
        await asyncio.sleep(QUIET_SECONDS)
        sent.clear()
        for number in range(1, TICKS + 1):
            await _publish(reader, writer, credential, FIRST - number * STEP, sent)
            await asyncio.sleep(PAUSE_SECONDS)
        writer.close()
        arrived = await heard
    load = Load()
    load.seconds = [arrived[sequence] - at for sequence, at in sent.items() if sequence in arrived]
    return load


async def _publish(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    credential: Credential,
    ticks: int,
    sent: dict[int, float],
) -> None:
    """Send one price for every market, and remember when by the record that it became."""
    price = f"{ticks // 10}.{ticks % 10}"
    body = json.dumps({"marks": dict.fromkeys(MARKETS, price)}).encode()
    request = written(credential, "/v1/prices", body, f"tick-{ticks}")
    at = time.perf_counter()
    writer.write(request)
    status, answer = await answer_of(reader)
    if status != 200:
        raise SystemExit(f"a price was answered {status}: {answer.decode()}")
    sent[json.loads(answer)["sequence"]] = at


async def _listen(socket: ClientConnection) -> dict[int, float]:
    """Return when the first call of each record arrived."""
    arrived: dict[int, float] = {}
    while True:
        try:
            message = await asyncio.wait_for(socket.recv(), QUIET_SECONDS * 5)
        except TimeoutError:
            return arrived
        at = time.perf_counter()
        entry = json.loads(message)
        if entry["type"] == "delta" and any(one["event"]["type"] == "MarginCalled" for one in entry["events"]):
            arrived.setdefault(entry["sequence"], at)
