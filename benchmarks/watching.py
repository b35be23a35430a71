"""The watch against the full exact rescan, on the same book in the same run: a calm market and a falling one."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.books import draw_rows
from benchmarks.figures import Figure, once, seconds
from marginkeep.book import columns as c
from marginkeep.book.columns import Book
from marginkeep.book.kernels import measure_all
from marginkeep.book.watch import Watch
from marginkeep.rulebook import CALL, MAINTENANCE

if TYPE_CHECKING:
    from benchmarks.books import Rows
    from marginkeep.book.valuation import Valuation

POSITIONS = 5
MARKETS = 200
CALM_TICKS = 2_000
CRASH_TICKS = 60
SLACK_MEDIAN = 0.6
SLACK_SIGMA = 1.0
"""Health at call as a share of gross notional: log-normal, so that some accounts are always near their threshold."""


def measure_watching(sizes: tuple[int, ...] = (100_000, 1_000_000, 4_000_000)) -> list[Figure]:
    """Measure calm ticks at each size, then a crash at a million accounts."""
    figures = []
    for accounts in sizes:
        rows, book = make_book(accounts)
        watch = Watch(book, rows.valuation)
        rescan = seconds(partial(full_rescan, book, rows.valuation), 3)
        before = watch.evaluated
        calm = calm_ticks(rows, watch)
        evaluated = watch.evaluated - before
        name = f"{accounts / 1e6:g} M accounts: "
        goal = 40 if accounts >= 1_000_000 else None  # bucket heads cost 10 MB however small the book
        figures += [
            Figure(f"{name}full exact rescan, call and maintenance", rescan * 1e3, "ms"),
            Figure(f"{name}calm tick of {MARKETS} markets, median", float(np.median(calm)) * 1e6, "us"),
            Figure(f"{name}calm tick, mean", float(calm.mean()) * 1e6, "us"),
            Figure(f"{name}rescan / calm tick, median", rescan / float(np.median(calm)), "x", 2_000),
            Figure(f"{name}accounts evaluated in a calm tick", evaluated / CALM_TICKS, ""),
            Figure(f"{name}bytes a position on top of the book", watch.nbytes / len(rows.positions), "B", goal, False),
        ]
        if accounts == 1_000_000:
            figures += [*single_figures(rows, watch), *crash_figures(rows, book, watch, rescan)]
        del watch, book, rows
    return figures


def make_book(accounts: int) -> tuple[Rows, Book]:
    """Draw a book in which four of five accounts hold all positions on one side, and every account is healthy."""
    rows = draw_rows(accounts, POSITIONS, MARKETS)
    rng = np.random.Generator(np.random.PCG64(2))
    side = np.where(rng.random(accounts) < 0.6, 1, -1)[:, None] * np.ones((1, POSITIONS), np.int64)
    mixed = rng.random(accounts) < 0.2
    side[mixed] = np.where(rng.random((int(mixed.sum()), POSITIONS)) < 0.5, 1, -1)
    sign = side.ravel() * np.sign(rows.positions[:, c.SIZE])
    rows.positions[:, c.SIZE] *= sign
    rows.positions[:, c.COST] *= sign
    book = Book.from_rows(rows.modes, rows.counts, rows.positions, rows.balances)
    collateral, requirement = measure_all(book, rows.valuation, CALL)
    x = np.array(rows.valuation.market_x)[rows.positions[:, c.MARKET]]
    gross = np.add.reduceat(np.abs(rows.positions[:, c.SIZE]) * x, book.accounts[:, c.POSITION_START])
    slack = gross * np.minimum(rng.lognormal(np.log(SLACK_MEDIAN), SLACK_SIGMA, accounts), 5)
    book.balances.rows[:, c.AMOUNT] += requirement - collateral + slack.astype(np.int64)
    return rows, book


def full_rescan(book: Book, valuation: Valuation) -> None:
    """Find who is below call and who is below maintenance by looking at everybody."""
    for level in (CALL, MAINTENANCE):
        collateral, requirement = measure_all(book, valuation, level)
        np.nonzero(collateral < requirement)


def calm_ticks(rows: Rows, watch: Watch) -> np.ndarray:
    """Return the durations of ticks in which every market moves by 1 to 3 basis points."""
    rng = np.random.Generator(np.random.PCG64(3))
    volatility = rng.uniform(1e-4, 3e-4, MARKETS)
    price = np.array(rows.valuation.marks, float)
    incoming = np.array([*rows.valuation.marks, *rows.valuation.prices], np.int64)
    durations = np.empty(CALM_TICKS)
    for tick in range(CALM_TICKS):
        price *= np.exp(rng.normal(0, volatility))
        incoming[:MARKETS] = np.maximum(1, price)
        start = time.perf_counter()
        watch.tick(incoming)
        durations[tick] = time.perf_counter() - start
    store_prices(rows, incoming)
    return durations


def store_prices(rows: Rows, incoming: np.ndarray) -> None:
    """Bring the valuation, which full scans read, to the watch's prices."""
    for market in range(MARKETS):
        rows.valuation.set_mark(market, int(incoming[market]))


def single_figures(rows: Rows, watch: Watch) -> list[Figure]:
    """Measure ticks of one market, and the new budget of one account after a trade."""
    marks = rows.valuation.marks
    durations = []
    for tick in range(20_000):
        market = tick % MARKETS
        price = marks[market] + (tick // MARKETS) % 2
        start = time.perf_counter()
        if watch.move(market, price):
            watch.look()
        durations.append(time.perf_counter() - start)
    again = seconds(lambda: watch.update(range(1_000)), 3) / 1_000
    return [
        Figure("tick of one market, median", float(np.median(durations)) * 1e6, "us", 5, at_least=False),
        Figure("new budget of one account", again * 1e6, "us"),
    ]


def crash_figures(rows: Rows, book: Book, watch: Watch, rescan: float) -> list[Figure]:
    """Measure ticks in which the whole market falls by 0.5 %; who is breached is closed, as liquidation would.

    The statuses are compared with a full rescan now and then.
    """
    rng = np.random.Generator(np.random.PCG64(4))
    price = np.array(rows.valuation.marks, float)
    incoming = np.array([*rows.valuation.marks, *rows.valuation.prices], np.int64)
    durations, scans, before = [], [], watch.evaluated
    for tick in range(CRASH_TICKS):
        price *= np.exp(rng.normal(-0.005, 0.0012, MARKETS))
        incoming[:MARKETS] = np.maximum(1, price)
        store_prices(rows, incoming)
        start = time.perf_counter()
        changes = watch.tick(incoming)
        book.accounts[changes.breached, c.POSITION_COUNT] = 0
        watch.update(changes.breached)
        durations.append(time.perf_counter() - start)
        scans.append(once(partial(full_rescan, book, rows.valuation)))
        if tick % 10 == 0:
            assert np.array_equal(watch.statuses, watch.true_statuses())
    typical = float(np.median(scans))
    return [
        Figure("crash: rescan / tick, mean", float(np.mean(scans) / np.mean(durations)), "x", 4),
        Figure("crash: slowest tick / rescan", max(durations) / typical, "x", 1.2, at_least=False),
        Figure("crash: accounts evaluated a tick", (watch.evaluated - before) / CRASH_TICKS, ""),
        Figure("crash: accounts below call at the end", float(np.count_nonzero(watch.statuses)), ""),
        Figure("crash: build of all triggers", once(watch.watch_all), "s"),
    ]
