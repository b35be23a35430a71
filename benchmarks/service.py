"""The service from outside: its process on one core, the load on another, requests signed ahead, answers timed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import Figure
from benchmarks.service_book import MARKETS, called_house, make_journal
from benchmarks.service_calls import tick_to_call
from benchmarks.service_host import JOURNAL, credential, hosted
from benchmarks.service_load import Load, send_all, stream_checks, written
from marginkeep.client.signing import ED25519, HMAC_SHA256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.service_host import Address

ACCOUNTS: Final = 100_000
CHECKS: Final = 10_000
WARMING: Final = 500
CONNECTIONS: Final = 16
PACED_RATE: Final = 2_000
PACED_CONNECTIONS: Final = 64
BATCHES: Final = 200
BATCH: Final = 100
LATE_MS: Final = 20
CALL_MS: Final = 50
ROUNDS: Final = 3
CHECK_PATH: Final = "/v1/orders/check"


def measure_service() -> list[Figure]:
    """Measure checks, orders and margin calls with 100,000 accounts; limits and request lines are switched on."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="marginkeep-bench-") as name, _pinned(cores[0]):
        folder = Path(name)
        make_journal(folder / JOURNAL, called_house(ACCOUNTS))
        with hosted(folder, cores[-1]) as service:
            orders = _orders(random.Random(1))
            figures = [
                *_checks(service, orders, HMAC_SHA256),
                *_checks(service, orders, ED25519),
                *_batches(service, orders),
                *_streamed(service, orders),
                *_reserved(service, orders),
            ]
            calls = tick_to_call(service, credential(HMAC_SHA256))
    return [*figures, *_called(calls)]


def _checks(service: Address, orders: Iterator[dict[str, Any]], algorithm: str) -> list[Figure]:
    """Measure dry runs one by one: as many as go, and at the rate that is the goal."""

    def requests(number: int) -> list[bytes]:
        return [written(credential(algorithm), CHECK_PATH, _json(next(orders))) for _ in range(number)]

    send_all(service.url, requests(WARMING), CONNECTIONS)
    fastest = _best(lambda: send_all(service.url, requests(CHECKS), CONNECTIONS, process=service.process))
    paced = _calmest(lambda: send_all(service.url, requests(CHECKS // 2), PACED_CONNECTIONS, PACED_RATE))
    return [
        Figure(f"checks over HTTP, {algorithm}", fastest.rate, "/s", PACED_RATE),
        Figure(f"of them a second of the server's processor, {algorithm}", fastest.per_processor_second, "/s"),
        Figure(f"p99 at {PACED_RATE:,} checks/s, {algorithm}", paced.percentile(99), "ms", LATE_MS, False),
    ]


def _batches(service: Address, orders: Iterator[dict[str, Any]]) -> list[Figure]:
    def requests() -> list[bytes]:
        bodies = (_json({"orders": [next(orders) for _ in range(BATCH)]}) for _ in range(BATCHES))
        return [written(credential(ED25519), "/v1/orders/check-batch", body) for body in bodies]

    load = _best(lambda: send_all(service.url, requests(), 4))
    return [Figure(f"checks over HTTP in batches of {BATCH}", load.rate * BATCH, "/s", 10_000)]


def _streamed(service: Address, orders: Iterator[dict[str, Any]]) -> list[Figure]:
    def messages(size: int, number: int) -> list[str]:
        places = range(number)
        if size == 1:
            return [json.dumps({"op": "check", "id": place, "order": next(orders)}) for place in places]
        return [
            json.dumps({"op": "check", "id": place, "orders": [next(orders) for _ in range(size)]}) for place in places
        ]

    key = credential(ED25519)
    single = _best(lambda: stream_checks(service.url, key, messages(1, CHECKS), service.process))
    batched = _best(lambda: stream_checks(service.url, key, messages(BATCH, BATCHES), service.process))
    return [
        Figure("checks over one WebSocket, one a message", single.rate, "/s", 10_000),
        Figure(f"checks over one WebSocket, {BATCH} a message", batched.rate * BATCH, "/s", 10_000),
    ]


def _reserved(service: Address, orders: Iterator[dict[str, Any]]) -> list[Figure]:
    keys = count(1)

    def requests() -> list[bytes]:
        key = credential(ED25519)
        return [written(key, "/v1/orders", _json(next(orders)), f"order-{next(keys)}") for _ in range(CHECKS // 2)]

    load = _best(lambda: send_all(service.url, requests(), 2 * CONNECTIONS))
    return [
        Figure("orders reserved over HTTP, durable", load.rate, "/s"),
        Figure(f"p99 of them over {2 * CONNECTIONS} connections", load.percentile(99), "ms"),
    ]


def _called(calls: Load) -> list[Figure]:
    name = "price tick to margin call at a subscriber"
    return [
        Figure(f"{name}, median of {len(calls.seconds):,}", calls.percentile(50), "ms"),
        Figure(f"{name}, p99", calls.percentile(99), "ms", CALL_MS, False),
    ]


# Leaves --------------------------------------------------------------------------------------------------------------


def _orders(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Yield small orders of random people."""
    for number in count(1):
        account = f"user-{chance.randrange(ACCOUNTS):06d}"
        side, price = chance.choice((("buy", "49990"), ("sell", "50010")))
        market = chance.choice(MARKETS)
        yield {
            "account": account,
            "order": f"o{number}",
            "market": market,
            "side": side,
            "size": "0.001",
            "price": price,
        }


def _best(measured: Callable[[], Load]) -> Load:
    """Return the fastest of several: the machine may be somebody else's too."""
    return max((measured() for _ in range(ROUNDS)), key=lambda load: load.rate)


def _calmest(measured: Callable[[], Load]) -> Load:
    return min((measured() for _ in range(ROUNDS)), key=lambda load: load.percentile(99))


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


@contextlib.contextmanager
def _pinned(core: int) -> Iterator[None]:
    """Keep this process, the load, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
