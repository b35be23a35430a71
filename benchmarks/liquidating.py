"""A crash in one tick: 37,000 accounts of a million fall below maintenance and are reduced; who bears what is left."""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.books import draw_rows
from benchmarks.figures import Figure, once, seconds
from benchmarks.watching import make_book
from marginkeep.book import Account, Position
from marginkeep.book import columns as c
from marginkeep.book.account import SYSTEM
from marginkeep.book.columns import Book, totals_by
from marginkeep.book.kernels import measure_all
from marginkeep.clearing import Clearinghouse, Liquidated, SetPrices
from marginkeep.clearing.losses import Loss
from marginkeep.clearing.socialise import socialise
from marginkeep.clearing.state import EXTERNAL, LIQUIDATOR
from marginkeep.clearing.transaction import Transaction
from marginkeep.liquidation.batch_plans import BatchPlans
from marginkeep.liquidation.deleveraging import Winners, allocate
from marginkeep.rulebook import MAINTENANCE, LiquidationTerms, read_rulebook
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from benchmarks.books import Rows
    from marginkeep.book.valuation import Valuation
    from marginkeep.clearing import Event
    from marginkeep.rulebook.ladder_rules import LadderRules

ACCOUNTS = 1_000_000
FALLING = 37_000
WARMED = 3_000
WINNERS = 100_000
SPREADS = 2_000
LADDER = read_rulebook({"assets": {"USD": {}}, "ladder": {"policy": "none", "socialise": "side"}}).ladder
TERMS = LiquidationTerms(slippage=RATE_ONE // 500, penalty=3 * RATE_ONE // 1_000, liquidator_share=RATE_ONE // 2)
POLICIES = ("queue", "pro_rata", "risk_aware", "portfolio_aware")


def measure_liquidating() -> list[Figure]:
    """Measure the crash, then deleveraging, then socialised losses."""
    return [*crash_figures(ACCOUNTS, FALLING), *deleveraging_figures(), *socialising_figures()]


def crash_figures(accounts: int, falling: int) -> list[Figure]:
    """Let all markets fall in one tick by as much as brings so many accounts below maintenance."""
    first = once(partial(crash, *before_crash(WARMED, WARMED // 5)))
    house, share = before_crash(accounts, falling)
    ill = ill_at(house, share)
    planning = seconds(partial(BatchPlans, house.state.book, fallen(house, share), ill), 3)
    gc.collect()
    events: list[Event] = []
    duration = once(lambda: events.extend(crash(house, share)))
    done = [event for event in events if isinstance(event, Liquidated)]
    assert len(done) == len(ill)
    return [
        Figure("first crash: compiles, or loads what was compiled", first, "s"),
        Figure("accounts that fall below maintenance in one tick", len(done), ""),
        Figure("all markets fall by", 100 * (1 - share), "%"),
        Figure("positions closed, an account", sum(len(event.steps) for event in done) / len(done), ""),
        Figure(f"the tick: all found, planned, booked, of {accounts / 1e6:g} M", duration, "s", 3, at_least=False),
        Figure("the tick, an account that falls", duration / len(done) * 1e6, "us"),
        Figure("of which planning", planning / len(ill) * 1e6, "us"),
    ]


def before_crash(accounts: int, falling: int) -> tuple[Clearinghouse, float]:
    """Return a house whose watch is built, and the share of their price at which so many accounts are ill."""
    house = open_house(*make_book(accounts))
    crash(house, 1)
    low, high = 0.5, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if len(ill_at(house, middle)) >= falling else (low, middle)
    return house, low


def crash(house: Clearinghouse, share: float) -> tuple[Event, ...]:
    """Set all marks to a share of what they are."""
    marks = fallen(house, share).marks
    return house.apply(SetPrices(marks={market.name: marks[market.index] for market in house.state.tables.markets}))


def fallen(house: Clearinghouse, share: float) -> Valuation:
    """Return the valuation with all marks at a share of what they are."""
    valuation = house.state.valuation.copy()
    for market, mark in enumerate(valuation.marks):
        valuation.set_mark(market, int(mark * share))
    return valuation


def ill_at(house: Clearinghouse, share: float) -> list[int]:
    """Return who would be below maintenance."""
    collateral, requirement = measure_all(house.state.book, fallen(house, share), MAINTENANCE)
    found: list[int] = np.flatnonzero(collateral < requirement).tolist()
    return found


def open_house(rows: Rows, book: Book, ladder: LadderRules | None = None) -> Clearinghouse:
    """Return a clearinghouse of a book, whose other side somebody outside holds, at the book's prices."""
    tables, used = rows.valuation.tables, book.positions.rows[: len(rows.positions)]
    sizes, costs = (totals_by(used[:, c.MARKET], used[:, column], len(tables.markets)) for column in (c.SIZE, c.COST))
    other = Account(mode=SYSTEM)
    for market, (size, cost) in enumerate(zip(sizes, costs, strict=True)):
        other.positions[market] = Position(size=-size, cost=-cost)
    names = [f"user{number}" for number in range(book.count)]
    book.add(other)
    book.add(Account(mode=SYSTEM))
    markets = {name: replace(market, liquidation=TERMS) for name, market in tables.rulebook.markets.items()}
    rulebook = replace(tables.rulebook, markets=markets, ladder=ladder)
    house = Clearinghouse.opened_with(rulebook, book, [*names, EXTERNAL, LIQUIDATOR])
    for market, mark in enumerate(rows.valuation.marks):
        house.state.valuation.set_mark(market, mark)
    return house


def deleveraging_figures() -> list[Figure]:
    """Close a tenth of what 100,000 winners hold by each policy."""
    rng = np.random.Generator(np.random.PCG64(5))
    sizes = np.maximum(1, rng.lognormal(8, 2, WINNERS)).astype(np.int64)
    notionals = sizes * rng.integers(1_000, 100_000, WINNERS)
    profits = (notionals * rng.normal(0.03, 0.1, WINNERS)).astype(np.int64)
    equities = (notionals * rng.lognormal(np.log(0.5), 1, WINNERS)).astype(np.int64)
    relief = (notionals * rng.normal(0, 0.02, WINNERS)).astype(np.int64)
    winners = Winners(np.arange(WINNERS), sizes, profits, equities, np.maximum(1, notionals), relief)
    lots = int(sizes.sum()) // 10
    return [
        Figure(
            f"deleveraging over {WINNERS:,} winners, {policy}",
            seconds(partial(allocate, policy, winners, lots)) * 1e3,
            "ms",
            100,
            at_least=False,
        )
        for policy in POLICIES
    ]


def socialising_figures() -> list[Figure]:
    """Spread a loss over a market of few accounts, and over one of many."""
    took = {accounts: spread_many(accounts) for accounts in (10_000, 1_000_000)}
    few, many = took.values()
    return [
        *(
            Figure(f"a loss is socialised, {accounts:,} accounts", spent * 1e6, "us")
            for accounts, spent in took.items()
        ),
        Figure("socialising, many accounts against few", many / few, "x", 2, at_least=False),
    ]


def spread_many(accounts: int) -> float:
    """Return the shortest duration of spreading a loss of one USD over the first market."""
    rows = draw_rows(accounts, 1, 4)
    house = open_house(rows, Book.from_rows(rows.modes, rows.counts, rows.positions, rows.balances), LADDER)
    lost = {0: Loss(10**6, True)}
    assert socialise(Transaction(house.state), "user0", 0, 10**6, lost) == 10**6
    return seconds(lambda: socialise(Transaction(house.state), "user0", 0, 10**6, lost), SPREADS)
