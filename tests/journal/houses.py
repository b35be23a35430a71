"""A small journal to test with: one market, a clock that ticks once a reading, and a script of commands."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

from marginkeep.clearing import Deposit, ReleaseOrder, ReserveOrder, SetPrices, Trade, Withdraw
from marginkeep.journal.durable import DurableHouse, Request
from marginkeep.journal.memory_log import MemoryLog, MemoryStore
from marginkeep.journal.record import Genesis
from marginkeep.rulebook import load_rulebook

RULES_PATH = Path(__file__).resolve().parent.parent.parent / "examples" / "rulebook.toml"
RULES_TEXT = RULES_PATH.read_text()
RULES = load_rulebook(RULES_PATH)
GENESIS = Genesis(name="test.example/journal", rules=RULES_TEXT, created_ns=1)
MARKET = "BTC-PERP"


def ticking(start=1_000):
    """Return a clock that is one nanosecond later at each reading."""
    readings = count(start)
    return lambda: next(readings)


def new_store(genesis=GENESIS):
    store = MemoryStore()
    MemoryLog(store).create(genesis)
    return store


def opened(store, **options):
    """Open a memory store's journal; the clock goes on from where the journal ends."""
    return DurableHouse.open(MemoryLog(store), **{"clock": ticking(), **options})


def deposit(account, units=10**9, key=""):
    return Request(command=Deposit(account=account, asset="USD", amount=units), key=key)


def script(length, seed=1):
    """Return requests as a busy house sees them: money, orders, trades, prices, and some that are refused."""
    chance = random.Random(seed)
    people = [f"user-{number}" for number in range(8)]
    requests = [SetPrices(marks={MARKET: 500_000})]
    requests += [Deposit(account=name, asset="USD", amount=10**10) for name in people]
    while len(requests) < length:
        requests.append(_one(chance, people, len(requests)))
    return [Request(command=command, key=f"key-{number}") for number, command in enumerate(requests[:length])]


def _one(chance, people, number):
    price = 500_000 + chance.randrange(-20_000, 20_000)
    buyer, seller = chance.sample(people, 2)
    kind = chance.randrange(6)
    if kind == 0:
        return Deposit(account=buyer, asset="USD", amount=chance.randrange(1, 10**9))
    if kind == 1:
        return Withdraw(account=buyer, asset="USD", amount=chance.randrange(1, 10**10))
    if kind == 2:
        return SetPrices(marks={MARKET: price})
    if kind == 3:
        size = chance.randrange(1, 900)
        return ReserveOrder(account=buyer, order=f"o{number}", market=MARKET, side="buy", size=size, price=price)
    if kind == 4:
        return ReleaseOrder(account=buyer, order=f"o{number - chance.randrange(1, 9)}")
    return Trade(market=MARKET, buyer=buyer, seller=seller, size=chance.randrange(1, 400), price=price)
