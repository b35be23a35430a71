"""Write a small journal that is the same on every machine: Ann is called, waits fifteen minutes, and is reduced.

Clock, key, salts and prices are fixed, so that every hash in the documentation can be compared. Never sign anything
that matters with a key made like this::

    python examples/make_journal.py house.db

It writes the journal, the key that signs its checkpoints beside it (house.key), and the one that verifies them
(house.vkey).
"""
# ruff: noqa: T201, S311 - it is run to be read, and its prices are made up

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

from marginkeep.clearing import AdvanceTime, Deposit, ReserveOrder, SetPrices, TopUpFund, Trade, Withdraw
from marginkeep.errors import InputError
from marginkeep.journal.checkpoint import make_key
from marginkeep.journal.durable import DurableHouse, Request
from marginkeep.journal.record import Genesis
from marginkeep.journal.sqlite_log import SqliteLog

START, SECOND = 1_772_000_000 * 10**9, 10**9
USD = 10**6
BTC = "BTC-PERP"
RULES = Path(__file__).with_name("ladder.toml")
MINUTES, STEP_SECONDS = 15, 5
SNAPSHOT_AFTER = 300


def fixed_bytes(purpose: str, length: int) -> bytes:
    """Return bytes that look random and are always the same."""
    return hashlib.shake_256(f"marginkeep example, {purpose}".encode()).digest(length)


def opening() -> list[Request]:
    """Return how the house is furnished, and the one trade."""
    reference = b'{"bank": "transfer of 25 February, reference 4711"}'
    return [
        Request(command=AdvanceTime(now_ns=START), actor="clock"),
        Request(command=SetPrices(marks={BTC: 500_000, "ETH-PERP": 300_000}, prices={"BTC": 500_000}), actor="feed"),
        Request(command=TopUpFund(asset="USD", amount=5_000 * USD), actor="venue", key="fund-1"),
        Request(command=Deposit(account="ben", asset="USD", amount=200_000 * USD), actor="venue", key="deposit-1"),
        Request(
            command=Deposit(account="ann", asset="USD", amount=30_000 * USD),
            actor="venue",
            key="deposit-2",
            personal=reference,
        ),
        Request(
            command=Trade(market=BTC, buyer="ann", seller="ben", size=10_000, price=500_000),
            actor="venue",
            key="trade-1",
            correlation="match-1",
        ),
        Request(command=Withdraw(account="ann", asset="USD", amount=20_000 * USD), actor="ann-desk", key="withdraw-1"),
        Request(
            command=ReserveOrder(account="ben", order="b1", market=BTC, side="buy", size=500, price=480_000),
            actor="ben-bot",
            key="order-1",
        ),
        Request(
            command=ReserveOrder(account="ben", order="b1", market=BTC, side="buy", size=500, price=480_000),
            actor="ben-bot",
            key="order-1",  # sent again: it is answered from the record
        ),
    ]


def fifteen_minutes() -> list[tuple[int, Request]]:
    """Return time and prices with their seconds: down to 48,500 in three minutes, and about there from then on."""
    chance = random.Random(7)
    found = []
    for second in range(STEP_SECONDS, MINUTES * 60 + 1, STEP_SECONDS):
        fallen = min(second / 180, 1) * 15_000
        price = 500_000 - round(fallen + chance.gauss(0, 100))
        found.append((second, Request(command=AdvanceTime(now_ns=START + second * SECOND), actor="clock")))
        found.append((second + 1, Request(command=SetPrices(marks={BTC: price}, prices={"BTC": price}), actor="feed")))
    return found


def write(place: Path) -> DurableHouse:
    """Write the journal and return the house as it ends."""
    signer = make_key(place.with_suffix(".key"), "example.org/house", lambda length: fixed_bytes("key", length))
    place.with_suffix(".vkey").write_text(f"{signer.vkey}\n")
    log = SqliteLog(place)
    log.create(Genesis(name="example.org/house", rules=RULES.read_text(), created_ns=START))
    now_ns = START
    house = DurableHouse.open(log, clock=lambda: now_ns, signer=signer, salt=lambda: fixed_bytes("salt", 16))
    story = [*((0, request) for request in opening()), *fifteen_minutes()]
    for number, (second, request) in enumerate(story):
        now_ns = START + second * SECOND
        house.submit([request])
        if number == SNAPSHOT_AFTER:
            house.begin_snapshot().write(log)
    house.seal()
    return house


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "house.db")
    try:
        written = write(target)
    except InputError as error:
        raise SystemExit(f"make_journal: {error}") from error
    print(f"{written.head.sequence} records in {target}, the last with hash {written.head.hash.hex()[:16]}")
    written.close()
