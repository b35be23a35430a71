"""Clients that come and go: each writes down what was acknowledged, and asks again with the same key what was not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
from collections import Counter
from urllib.parse import urlsplit

from benchmarks.service_book import MARK_TICKS, MARKETS
from benchmarks.service_host import credential
from benchmarks.service_load import answer_of, stream_headers, written
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from marginkeep.client.signing import HMAC_SHA256

KEY = credential(HMAC_SHA256)
ANSWER_SECONDS = 20
AWAY_SECONDS = 0.1
OPEN_ORDERS_MAX = 50
"""Of one trader: a book that grows takes more memory, which would hide what the service itself takes more and more."""

SWING = 0.024
SWING_STEPS = 300
CHANNELS = ("events", "calls", "accounts", "marks", "oracle", "auctions", "funds")


class World:
    """What all clients share.

    Attributes
    ----------
    url : where the service is now; changes when it is started again
    acknowledged : idempotency key -> the record's sequence, as answered
    heard : messages of the streams by their type
    """

    def __init__(self, url, people):
        self.url, self.people = url, people
        self.acknowledged, self.heard = {}, Counter()
        self.stopping = asyncio.Event()
        self._numbers = 0

    @property
    def running(self):
        return not self.stopping.is_set()

    def next_key(self):
        self._numbers += 1
        return f"soak-{self._numbers}"

    async def rest(self, seconds):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)


class Connection:
    """A connection that is made again, to wherever the service is, when it breaks."""

    def __init__(self, world):
        self.world, self._stream = world, None

    async def command(self, target, document):
        """Have a command acknowledged, however often it must be sent."""
        key = self.world.next_key()
        while True:
            status, answer = await self._ask(target, document, key)
            if status in (200, 422):
                assert key not in self.world.acknowledged
                self.world.acknowledged[key] = answer["sequence"]
                return status == 200
            assert status in (0, 503), (status, answer)
            await asyncio.sleep(AWAY_SECONDS)

    async def ask(self, target, document):
        """Ask something that changes nothing in the journal until it is answered."""
        while (answered := await self._ask(target, document, ""))[0] in (0, 503):
            await asyncio.sleep(AWAY_SECONDS)
        return answered

    async def _ask(self, target, document, key):
        try:
            if self._stream is None:
                place = urlsplit(self.world.url)
                self._stream = await asyncio.open_connection(place.hostname, place.port)
            reader, writer = self._stream
            writer.write(written(KEY, target, json.dumps(document).encode(), key))
            status, body = await asyncio.wait_for(answer_of(reader), ANSWER_SECONDS)
            return status, json.loads(body)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, {}

    def close(self):
        if self._stream is not None:
            self._stream[1].close()
            self._stream = None


async def trader(world, seed):
    """Come, place, cancel, trade, bring money, check, and go."""
    chance, orders = random.Random(seed), []
    while world.running:
        connection = Connection(world)
        for _ in range(chance.randrange(5, 60)):
            await one_act(world, connection, chance, orders)
            await world.rest(chance.random() * 0.03)
        connection.close()


async def one_act(world, connection, chance, orders):
    account, market, kind = chance.choice(world.people), chance.choice(MARKETS), chance.randrange(10)
    order = {"market": market, "side": chance.choice(("buy", "sell")), "size": "0.001", "price": "50000"}
    if kind < 4 and len(orders) < OPEN_ORDERS_MAX:
        name = world.next_key()
        if await connection.command("/v1/orders", {"account": account, "order": name, **order}):
            orders.append({"account": account, "order": name})
    elif kind < 7 and orders:
        await connection.command("/v1/orders/releases", orders.pop(chance.randrange(len(orders))))
    elif kind == 7:
        other = chance.choice([name for name in world.people if name != account])
        trade = {"market": market, "buyer": account, "seller": other, "size": "0.001", "price": "50000"}
        await connection.command("/v1/trades", trade)
    elif kind == 8:
        await connection.command("/v1/deposits", {"account": account, "asset": "USD", "amount": "1"})
    else:
        await connection.ask("/v1/orders/check", {"account": account, "order": "c", **order})


async def prices(world):
    """Let the market swing so far that people are called, and back so that they are cured."""
    connection, step = Connection(world), 0
    while world.running:
        step += 1
        ticks = round(MARK_TICKS * (1 - SWING * (1 - math.cos(2 * math.pi * step / SWING_STEPS)) / 2))
        await connection.command("/v1/prices", {"marks": dict.fromkeys(MARKETS, f"{ticks // 10}.{ticks % 10}")})
        await world.rest(0.1)
    connection.close()


async def listener(world, seed):
    """Subscribe to this and that for some seconds, and leave, sometimes without a word."""
    chance = random.Random(seed)
    while world.running:
        try:
            async with _open(world) as socket:
                await _subscribe(world, socket, chance)
                await _hear(world, socket, chance.uniform(1, 10))
                if chance.random() < 0.3:
                    socket.transport.abort()
        except (OSError, WebSocketException, TimeoutError):
            await world.rest(AWAY_SECONDS)


async def slow_reader(world, seed):
    """Subscribe to everything and take nothing."""
    chance = random.Random(seed)
    while world.running:
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            async with _open(world, max_queue=1) as socket:
                await _subscribe(world, socket, chance, everything=True)
                await world.rest(chance.uniform(5, 40))
                socket.transport.abort()
        await world.rest(AWAY_SECONDS)


def _open(world, **options):
    address = f"ws://{urlsplit(world.url).netloc}/v1/stream"
    return connect(address, additional_headers=stream_headers(KEY), max_size=2**26, close_timeout=1, **options)


async def _subscribe(world, socket, chance, *, everything=False):
    chosen = [name for name in CHANNELS if everything or chance.random() < 0.5] or ["events"]
    accounts = chance.sample(world.people, 20)
    await socket.send(json.dumps({"op": "subscribe", "id": 1, "channels": chosen, "accounts": accounts}))


async def _hear(world, socket, seconds):
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                world.heard[json.loads(await socket.recv())["type"]] += 1
