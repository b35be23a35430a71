"""Full exact revaluation of a large book, against NumPy and against the same loop in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from benchmarks.books import draw_rows
from benchmarks.figures import Figure, once, seconds
from marginkeep.book import columns as c
from marginkeep.book import kernels as k
from marginkeep.book.columns import Book
from marginkeep.book.kernels import level_columns, measure_all
from marginkeep.rulebook import MAINTENANCE
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from marginkeep.book.kernels import LevelColumns

ACCOUNTS = 1_000_000
POSITIONS = 5
MARKETS = 200


def measure_revaluation() -> list[Figure]:
    """Build the book, revalue it three ways in one run, and check that the exact ways agree to the unit."""
    rows = draw_rows(ACCOUNTS, POSITIONS, MARKETS)
    book = Book()

    def build() -> None:
        nonlocal book
        book = Book.from_rows(rows.modes, rows.counts, rows.positions, rows.balances)

    build_seconds = once(build)
    columns = level_columns(rows.valuation, MAINTENANCE)
    kernel = seconds(lambda: measure_all(book, rows.valuation, MAINTENANCE), 7)
    collateral, requirement = measure_all(book, rows.valuation, MAINTENANCE)
    written = seconds(lambda: health_in_numpy(book, columns), 2)
    tuned = seconds(lambda: health_in_tuned_numpy(book, columns), 3)
    assert np.array_equal(health_in_numpy(book, columns), collateral - requirement)
    assert np.array_equal(health_in_tuned_numpy(book, columns), collateral - requirement)
    floats = FloatBook(book, columns)
    loop = seconds(floats.health, 7)
    assert np.allclose(floats.health(), (collateral - requirement).astype(float), rtol=1e-9, atol=1e3)
    return [
        Figure("exact kernel", kernel * 1e3, "ms"),
        Figure("NumPy, the formula as written / exact kernel", written / kernel, "x", 25),
        Figure("NumPy, tuned by hand / exact kernel", tuned / kernel, "x"),
        Figure("exact kernel / same loop in float64", kernel / loop, "x", 2, at_least=False),
        Figure("book build", build_seconds, "s", 10, at_least=False),
        Figure("bytes a position", book.positions.rows.nbytes / len(rows.positions), "B", 120, at_least=False),
        Figure("bytes an account", (book.accounts.nbytes + book.balances.rows.nbytes) / ACCOUNTS, "B", 300, False),
    ]


def health_in_numpy(book: Book, columns: LevelColumns) -> np.ndarray:
    """Return every account's health by the formula as it is written, exact like the kernel.

    M(N) = sum over tiers of rate * (part of N inside the tier), one column a tier; then a sum by account.
    """
    rows = book.positions.rows
    market = rows[:, c.MARKET]
    value = rows[:, c.SIZE] * columns.markets[market, k.X]
    floors, widths, rates = tiers_by_market(columns)
    slices = np.clip(np.abs(value)[:, None] - floors[market], 0, widths[market])
    high, low = np.divmod(slices, RATE_ONE)
    required = (high * rates[market]).sum(axis=1) - (-(low * rates[market]).sum(axis=1) // RATE_ONE)
    health = book.balances.rows[:, c.AMOUNT].copy()
    owners = np.repeat(np.arange(book.count), book.accounts[:, c.POSITION_COUNT])
    np.add.at(health, owners, value - rows[:, c.COST] - required)
    return health


def tiers_by_market(columns: LevelColumns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return floors, widths and rates as int64[markets, tiers]; all markets here have the same number of tiers."""
    count = int(columns.markets[0, k.LAST_TIER] - columns.markets[0, k.FIRST_TIER]) + 1
    floors = columns.tiers[:, 0].reshape(-1, count)
    rates = columns.tiers[:, 2].reshape(-1, count)
    unbounded = np.full((len(floors), 1), 2**62)
    widths = np.concatenate([np.diff(floors, axis=1), unbounded], axis=1)
    return floors, widths, rates


def health_in_tuned_numpy(book: Book, columns: LevelColumns) -> np.ndarray:
    """Return the same by the best array expressions we know: one tier a position, precomputed requirement at floors."""
    rows = book.positions.rows
    market = rows[:, c.MARKET]
    value = rows[:, c.SIZE] * columns.markets[market, k.X]
    notional = np.abs(value)
    tier, last = columns.markets[market, k.FIRST_TIER], columns.markets[market, k.LAST_TIER]
    for _ in range(int((columns.markets[:, k.LAST_TIER] - columns.markets[:, k.FIRST_TIER]).max())):
        above = np.minimum(tier + 1, last)
        tier = np.where(columns.tiers[above, 0] <= notional, above, tier)
    rate = columns.tiers[tier, 2]
    high, low = np.divmod(notional - columns.tiers[tier, 1], RATE_ONE)
    required = columns.tiers[tier, 3] + high * rate - (-(columns.tiers[tier, 4] + low * rate) // RATE_ONE)
    own = np.add.reduceat(value - rows[:, c.COST] - required, book.accounts[:, c.POSITION_START])
    return own + book.balances.rows[:, c.AMOUNT]


class FloatBook:
    """The same book in float64, with the same layout, tiers and loop."""

    def __init__(self, book: Book, columns: LevelColumns) -> None:
        self.accounts = book.accounts
        self.positions = book.positions.rows.astype(np.float64)
        self.balances = book.balances.rows.astype(np.float64)
        self.markets = columns.markets.astype(np.float64)
        self.first = np.ascontiguousarray(columns.markets[:, k.FIRST_TIER])
        self.last = np.ascontiguousarray(columns.markets[:, k.LAST_TIER])
        self.tiers = columns.tiers.astype(np.float64)
        self.tiers[:, 2] /= RATE_ONE
        self.tiers[:, 3] += columns.tiers[:, 4] / RATE_ONE

    def health(self) -> np.ndarray:
        """Return every account's health in float64."""
        out = np.empty(len(self.accounts))
        _float_health(
            self.accounts, self.positions, self.balances, self.markets, self.first, self.last, self.tiers, out
        )
        return out


@njit(cache=True, error_model="numpy")
def _float_health(accounts, positions, balances, markets, first, last, tiers, out):  # noqa: ANN001, ANN202
    for index in range(len(out)):
        held = owed = 0.0
        start = accounts[index, 5]
        for slot in range(start, start + accounts[index, 6]):
            held += balances[slot, 1]
        start = accounts[index, 2]
        for slot in range(start, start + accounts[index, 3]):
            row = np.uintp(slot)
            number = np.uintp(positions[row, 0])
            value = positions[row, 1] * markets[number, k.X]
            notional = abs(value)
            if notional < markets[number, k.PLAIN_BELOW]:
                owed += notional * markets[number, k.FIRST_RATE] / 1e9
            else:
                tier = first[number]
                while tier < last[number] and tiers[tier + 1, 0] <= notional:
                    tier += 1
                owed += tiers[tier, 3] + (notional - tiers[tier, 1]) * tiers[tier, 2]
            held += value - positions[row, 2]
            moved = markets[number, 3] - positions[row, 3]
            if moved:
                held -= positions[row, 1] * moved / 1e9
        out[index] = held - owed
