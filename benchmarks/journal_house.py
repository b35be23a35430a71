"""The house of the journal's benchmarks: a generated book in a journal's genesis, and a day's mix of commands."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import TYPE_CHECKING, Final

from marginkeep.clearing import Deposit, ReleaseOrder, ReserveOrder, SetPrices, Trade
from marginkeep.clearing.events import OrderReserved
from marginkeep.clearing.snapshot import take_snapshot
from marginkeep.cli.demo import made_up_candles
from marginkeep.cli.session import generated_house
from marginkeep.journal.durable import Request
from marginkeep.journal.record import Genesis
from marginkeep.lab.example_rules import example_rules_text, price_ranges
from marginkeep.lab.opening import price_path
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.clearing import Clearinghouse, Command

SEED: Final = 7
NAME: Final = "bench.example/journal"
MIX: Final = {"reserve": 40, "release": 28, "trade": 12, "deposit": 10, "prices": 10}
"""Parts of a hundred: most of what a house hears is orders that come and go without trading."""


def open_house(accounts: int) -> tuple[Clearinghouse, str]:
    """Return a house with a generated book at the first prices of a made-up day, and its rulebook as text."""
    candles = made_up_candles(SEED, "flash_cascade")
    text = example_rules_text(*price_ranges(candles))
    rulebook = read_rulebook(parse_text(text, ".toml", "the rulebook of the benchmark"))
    house = generated_house(rulebook, price_path(candles, rulebook, "close"), accounts, SEED)
    house.apply(SetPrices(marks=marks_of(house)))
    return house, text


def marks_of(house: Clearinghouse) -> dict[str, int]:
    """Return the marks in force."""
    valuation = house.state.valuation
    return {table.name: int(mark) for table, mark in zip(valuation.tables.markets, valuation.marks, strict=True)}


def genesis_of(house: Clearinghouse, rules: str) -> Genesis:
    """Return a genesis in which the book stands as opening."""
    return Genesis(name=NAME, rules=rules, created_ns=time.time_ns(), opening=take_snapshot(house))


def requests_of(house: Clearinghouse, seed: int = 1) -> Iterator[Request]:
    """Yield the mix without end, each request with an idempotency key; the house is only asked who can trade."""
    chance = random.Random(seed)
    market = DayOfTrading(house, chance)
    kinds = [getattr(market, kind) for kind, parts in MIX.items() for _ in range(parts)]
    for number in count(1):
        command = chance.choice(kinds)(number)
        yield Request(command=command, actor=f"key-{number % 50}", key=f"{seed}-{number:08d}")


class DayOfTrading:
    """What people and prices do: small orders near the mark, and marks that move by some basis points."""

    def __init__(self, house: Clearinghouse, chance: random.Random) -> None:
        self.chance = chance
        self.marks = marks_of(house)
        self.markets = list(self.marks)
        self.traders = _traders(house, self.marks)
        self.orders: list[tuple[str, str]] = []

    def reserve(self, number: int) -> Command:
        """Place an order within a per cent of the mark."""
        account, market = self.chance.choice(self.traders), self.chance.choice(self.markets)
        price = max(1, self.marks[market] * self.chance.randrange(9_900, 10_100) // 10_000)
        side = self.chance.choice(("buy", "sell"))
        self.orders.append((account, f"o{number}"))
        return ReserveOrder(account=account, order=f"o{number}", market=market, side=side, size=1, price=price)

    def release(self, number: int) -> Command:
        """Cancel one of the orders, mostly a young one."""
        if not self.orders:
            return self.reserve(number)
        account, order = self.orders.pop(-1 - int(len(self.orders) * self.chance.random() ** 3))
        return ReleaseOrder(account=account, order=order)

    def trade(self, number: int) -> Command:
        """Clear a trade of two people at the mark."""
        buyer, seller = self.chance.sample(self.traders, 2)
        market = self.chance.choice(self.markets)
        return Trade(market=market, buyer=buyer, seller=seller, size=1, price=self.marks[market])

    def deposit(self, number: int) -> Command:
        """Bring up to a hundred dollars."""
        return Deposit(account=self.chance.choice(self.traders), asset="USD", amount=self.chance.randrange(1, 10**8))

    def prices(self, number: int) -> Command:
        """Move one mark by up to two basis points."""
        market = self.chance.choice(self.markets)
        self.marks[market] = max(1, self.marks[market] * self.chance.randrange(9_998, 10_003) // 10_000)
        return SetPrices(marks={market: self.marks[market]})


def _traders(house: Clearinghouse, marks: dict[str, int]) -> list[str]:
    """Return whoever can place an order of one lot in every market."""
    people = [name for name in house.state.names if name.startswith("user-")]
    return [name for name in people if all(_can_order(house, name, *mark) for mark in marks.items())]


def _can_order(house: Clearinghouse, account: str, market: str, price: int) -> bool:
    order = ReserveOrder(account=account, order="o", market=market, side="buy", size=1, price=price)
    return any(isinstance(event, OrderReserved) for event in house.check(order))
