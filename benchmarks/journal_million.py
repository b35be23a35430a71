"""A house of a million accounts with five positions each, and what it is told after its snapshot."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.books import TIERS
from benchmarks.journal_house import marks_of
from benchmarks.watching import MARKETS, make_book
from marginkeep.book import columns as c
from marginkeep.book.account import CROSS, SYSTEM
from marginkeep.book.columns import Book
from marginkeep.clearing import Clearinghouse, Deposit, ReleaseOrder, ReserveOrder, SetPrices, Trade
from marginkeep.clearing.state import EXTERNAL, LIQUIDATOR
from marginkeep.journal.durable import Request
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

if TYPE_CHECKING:
    from benchmarks.books import Rows
    from marginkeep.clearing import Command

SYSTEM_ACCOUNTS: Final = (EXTERNAL, LIQUIDATOR)


def million_house(accounts: int = 1_000_000) -> tuple[Clearinghouse, str]:
    """Return a house with the watch's book, priced once, and its rulebook as text."""
    rows, healthy = make_book(accounts)
    text = _rules_text()
    names = (*SYSTEM_ACCOUNTS, *(f"user-{number:07d}" for number in range(accounts)))
    rulebook = read_rulebook(parse_text(text, ".toml", "the rulebook of the benchmark"))
    house = Clearinghouse.opened_with(rulebook, _with_system_accounts(rows, healthy), names)
    house.apply(SetPrices(marks={name: int(mark) for name, mark in zip(_names(), rows.valuation.marks, strict=True)}))
    return house, text


def busy_requests(house: Clearinghouse, number: int, seed: int = 1) -> list[Request]:
    """Return commands of the usual mix, spread over all accounts and markets."""
    chance = random.Random(seed)
    people = len(house.state.names) - len(SYSTEM_ACCOUNTS)
    marks = marks_of(house)
    requests = []
    for place in range(number):
        account, other = (f"user-{chance.randrange(people):07d}" for _ in range(2))
        market = chance.choice(list(marks))
        command: Command = ReserveOrder(
            account=account, order=f"o{place}", market=market, side="buy", size=1, price=marks[market]
        )
        if place % 10 == 9:
            command = SetPrices(marks={market: marks[market] + place % 3 - 1})
        elif place % 10 == 8:
            command = Deposit(account=account, asset="USD", amount=1_000_000)
        elif place % 10 == 7:
            command = Trade(market=market, buyer=account, seller=other, size=1, price=marks[market])
        elif place % 2:
            before = requests[-1].command
            command = ReleaseOrder(account=before.account, order=before.order)
        requests.append(Request(command=command, actor=f"key-{place % 50}", key=f"{place:08d}"))
    return requests


def _names() -> list[str]:
    return [f"M{number:03d}-PERP" for number in range(MARKETS)]


def _with_system_accounts(rows: Rows, healthy: Book) -> Book:
    """Put the system accounts before the others; one of them holds the other side of every market."""
    other = np.zeros((MARKETS, c.POSITION_WIDTH), np.int64)
    other[:, c.MARKET] = np.arange(MARKETS)
    for column in (c.SIZE, c.COST):
        np.subtract.at(other[:, column], rows.positions[:, c.MARKET], rows.positions[:, column])
    accounts = len(rows.counts)
    modes = np.full(accounts + 2, CROSS)
    modes[:2] = SYSTEM
    return Book.from_rows(
        modes,
        np.concatenate([[MARKETS, 0], rows.counts]),
        np.concatenate([other, rows.positions]),
        healthy.balances.rows[:accounts],
        np.concatenate([[0, 0], np.ones(accounts, np.int64)]),
    )


def _rules_text() -> str:
    """Return the rulebook of `benchmarks.books` as TOML."""
    tiers = "".join(
        f"  {{ {', '.join(f'{name} = {value!r}' for name, value in tier.items())} }},\n" for tier in TIERS
    ).replace("'", '"')
    market = f'settle = "USD"\nlot = "0.001"\ntick = "0.1"\nmax_price = "1000000"\ntiers = [\n{tiers}]\n'
    return "[assets.USD]\n" + "".join(f"\n[markets.{name}]\n{market}" for name in _names())
