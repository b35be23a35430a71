"""The book of the benchmarks: a million accounts, five positions each, 200 markets; sizes are log-normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from marginkeep.book import columns as c
from marginkeep.book.valuation import Valuation
from marginkeep.rulebook import build_tables, read_rulebook

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIERS = [
    {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
    {"floor": "50000", "initial": "0.04", "maintenance": "0.02"},
    {"floor": "250000", "initial": "0.05", "maintenance": "0.025"},
    {"floor": "1000000", "initial": "0.1", "maintenance": "0.05"},
    {"floor": "3000000", "initial": "0.2", "maintenance": "0.1"},
    {"floor": "6000000", "initial": "0.25", "maintenance": "0.125"},
    {"floor": "12000000", "initial": "0.5", "maintenance": "0.25"},
    {"floor": "30000000", "initial": "1", "maintenance": "0.5"},
]
"""Eight tiers: the mean of 349 published tables."""

NOTIONAL_MEDIAN = 3_000.0
NOTIONAL_SIGMA = 1.6


@dataclass(frozen=True, slots=True)
class Rows:
    """Raw rows of a book, and the valuation they are drawn at."""

    valuation: Valuation
    modes: NDArray[np.int64]
    counts: NDArray[np.int64]
    positions: NDArray[np.int64]
    balances: NDArray[np.int64]


def draw_rows(accounts: int, per_account: int, markets: int, seed: int = 1) -> Rows:
    """Draw a book; every account holds `per_account` different markets."""
    names = [f"M{number:03d}-PERP" for number in range(markets)]
    market = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000", "tiers": TIERS}
    valuation = Valuation(build_tables(read_rulebook({"assets": {"USD": {}}, "markets": dict.fromkeys(names, market)})))
    rng = np.random.Generator(np.random.PCG64(seed))
    for index in range(markets):
        valuation.set_mark(index, int(rng.integers(1_000, 500_000)))
    total = accounts * per_account
    rows = np.zeros((total, c.POSITION_WIDTH), np.int64)
    step = max(1, markets // per_account) - 1
    rows[:, c.MARKET] = (rng.integers(0, markets, accounts)[:, None] + np.arange(per_account) * step).ravel() % markets
    lot_value = np.array(valuation.market_x)[rows[:, c.MARKET]]
    lots = np.maximum(1, rng.lognormal(np.log(NOTIONAL_MEDIAN), NOTIONAL_SIGMA, total) * 1e6 / lot_value)
    rows[:, c.SIZE] = np.where(rng.random(total) < 0.55, 1, -1) * np.minimum(lots, 40_000_000).astype(np.int64)
    rows[:, c.COST] = (rows[:, c.SIZE] * lot_value * rng.uniform(0.97, 1.03, total)).astype(np.int64)
    balances = np.zeros((accounts, c.BALANCE_WIDTH), np.int64)
    balances[:, c.AMOUNT] = rng.integers(0, 10**11, accounts)
    return Rows(valuation, np.zeros(accounts, np.int64), np.full(accounts, per_account), rows, balances)
