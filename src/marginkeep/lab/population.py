"""A made-up but plausible book: who holds how much, on how much leverage, in which markets.

Shape, from what venues publish: equities are log-normal (many small, few large), leverage is skewed with a median of
about 6 and a tail up to what the tiers allow, most accounts hold one or two positions, longs outnumber shorts, the
largest markets hold most of the interest, and one account in six holds part of its collateral in coin. Every account
meets its initial requirement at the start; the account `external` takes the other side, so sizes sum to zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.book import columns as c
from marginkeep.book.account import CROSS, SYSTEM
from marginkeep.book.columns import Book
from marginkeep.book.kernels import measure_all
from marginkeep.clearing.state import EXTERNAL, LIQUIDATOR
from marginkeep.errors import InputError
from marginkeep.rulebook.model import INITIAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.book.valuation import Valuation

ACCOUNTS_MAX: Final = 4_000_000
SYSTEM_ACCOUNTS: Final = (EXTERNAL, LIQUIDATOR)

EQUITY_MEDIAN: Final = 1_500.0
EQUITY_SIGMA: Final = 1.9
EQUITY_MAX: Final = 5_000_000.0
LEVERAGE_MEDIAN: Final = 6.0
LEVERAGE_SIGMA: Final = 0.9
LEVERAGE_OF_LIMIT: Final = 0.85
"""Nobody opens above this share of the leverage that the first tier allows."""

LONG_SHARE: Final = 0.6
COIN_SHARE: Final = 1 / 6
ENTRY_SPREAD: Final = 0.03
"""Standard deviation of entry prices around the first mark."""

POSITIONS_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Population:
    """A generated book and its accounts' names; index 0 and 1 are the system accounts."""

    book: Book
    names: tuple[str, ...]


def generate_population(valuation: Valuation, accounts: int, seed: int) -> Population:
    """Return a book of `accounts` accounts at the valuation's prices.

    Parameters
    ----------
    valuation : marks and asset prices at the start; markets must settle in the reporting asset
    accounts : how many, system accounts not counted
    seed : the same seed gives the same book

    Raises
    ------
    InputError : no market, a market that settles in another asset, or an unreasonable number of accounts
    """
    _check(valuation, accounts, seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    counts = np.minimum(1 + rng.geometric(0.55, accounts) - 1, min(POSITIONS_MAX, len(valuation.marks)))
    equity = np.minimum(rng.lognormal(np.log(EQUITY_MEDIAN), EQUITY_SIGMA, accounts) + 20, EQUITY_MAX)
    owners = np.repeat(np.arange(accounts), counts)
    rows = _draw_positions(rng, valuation, owners, equity, counts)
    balances, balance_counts = _draw_balances(rng, valuation, equity)
    book = _assemble(valuation, counts, rows, balances, balance_counts)
    _top_up(book, valuation)
    names = (*SYSTEM_ACCOUNTS, *(f"user-{number:06d}" for number in range(accounts)))
    return Population(book, names)


def _check(valuation: Valuation, accounts: int, seed: int) -> None:
    if not 1 <= accounts <= ACCOUNTS_MAX:
        raise InputError(f"accounts is {accounts}: give 1 to {ACCOUNTS_MAX}")
    if seed < 0:
        raise InputError(f"seed is {seed}: give 0 or a positive whole number")
    if not valuation.tables.markets:
        raise InputError("the rulebook has no market: a generated book needs at least one")
    for table in valuation.tables.markets:
        if table.settle != valuation.tables.reporting or table.sign < 0:
            raise InputError(
                f"market {table.name} does not settle linearly in {valuation.tables.rulebook.reporting}: "
                f"a generated book holds only such markets; give your own accounts with --book"
            )


def _draw_positions(
    rng: np.random.Generator,
    valuation: Valuation,
    owners: NDArray[np.int64],
    equity: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return position rows, account by account; sizes below one lot become one lot."""
    tables = valuation.tables
    total = len(owners)
    markets = _draw_markets(rng, owners, counts, len(tables.markets))
    allowed = np.array([1e9 / max(1, t.tiers[INITIAL][0][2]) for t in tables.markets])[markets]
    leverage = rng.lognormal(np.log(LEVERAGE_MEDIAN), LEVERAGE_SIGMA, len(equity))[owners]
    leverage = np.minimum(leverage, allowed * LEVERAGE_OF_LIMIT)
    share = rng.gamma(2.0, 1.0, total)
    share /= np.bincount(owners, share, len(equity))[owners]
    unit = 1 / float(tables.assets[tables.reporting].asset.unit)
    lot_value = np.array([x / y for x, y in zip(valuation.market_x, valuation.market_y, strict=True)])[markets]
    lots = np.maximum(1, (equity[owners] * leverage * share * unit / lot_value).astype(np.int64))
    limits = np.array([_position_cap(valuation, index) for index in range(len(tables.markets))])[markets]
    lots = np.minimum(lots, limits)
    side = np.where(rng.random(total) < LONG_SHARE, 1, -1)
    entry = 1 + np.clip(rng.normal(0, ENTRY_SPREAD, total), -0.1, 0.1)
    rows = np.zeros((total, c.POSITION_WIDTH), np.int64)
    rows[:, c.MARKET] = markets
    rows[:, c.SIZE] = side * lots
    rows[:, c.COST] = np.rint(side * lots * lot_value * entry).astype(np.int64)
    return rows


def _draw_markets(
    rng: np.random.Generator, owners: NDArray[np.int64], counts: NDArray[np.int64], markets: int
) -> NDArray[np.int64]:
    """Return distinct markets for each account; the n-th market is chosen with weight 1 / (n + 1)."""
    weights = np.log(1 / (1 + np.arange(markets)))
    keys = weights + rng.gumbel(size=(len(counts), markets))
    order = np.argsort(-keys, axis=1)
    place = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[owners, place]


def _position_cap(valuation: Valuation, market: int) -> int:
    from marginkeep.book.limits import prove_limits

    return prove_limits(valuation.tables).markets[market].max_position


def _draw_balances(
    rng: np.random.Generator, valuation: Valuation, equity: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return balance rows and how many each account has: the reporting asset, and coin for one in six."""
    tables = valuation.tables
    coins = [a.index for a in tables.assets if a.index != tables.reporting and valuation.prices[a.index]]
    has_coin = (rng.random(len(equity)) < COIN_SHARE) & bool(coins)
    share = np.where(has_coin, rng.uniform(0.2, 0.8, len(equity)), 0.0)
    coin = np.array(coins or [tables.reporting])[rng.integers(0, max(1, len(coins)), len(equity))]
    unit = 1 / float(tables.assets[tables.reporting].asset.unit)
    counts = 1 + has_coin.astype(np.int64)
    first = np.cumsum(counts) - counts
    rows = np.zeros((int(counts.sum()), c.BALANCE_WIDTH), np.int64)
    rows[first, c.ASSET] = tables.reporting
    rows[first, c.AMOUNT] = (equity * (1 - share) * unit).astype(np.int64)
    second = first[has_coin] + 1
    worth = np.array([x / y if x else 1.0 for x, y in zip(valuation.asset_x, valuation.asset_y, strict=True)])
    rows[second, c.ASSET] = coin[has_coin]
    rows[second, c.AMOUNT] = (equity * share * unit / worth[coin]).astype(np.int64)[has_coin]
    return rows, counts


def _assemble(
    valuation: Valuation,
    counts: NDArray[np.int64],
    rows: NDArray[np.int64],
    balances: NDArray[np.int64],
    balance_counts: NDArray[np.int64],
) -> Book:
    """Put the system accounts before the drawn ones; `external` holds the other side of every market."""
    markets = len(valuation.tables.markets)
    other = np.zeros((markets, c.POSITION_WIDTH), np.int64)
    other[:, c.MARKET] = np.arange(markets)
    np.subtract.at(other[:, c.SIZE], rows[:, c.MARKET], rows[:, c.SIZE])
    np.subtract.at(other[:, c.COST], rows[:, c.MARKET], rows[:, c.COST])
    modes = np.full(len(counts) + 2, CROSS)
    modes[:2] = SYSTEM
    return Book.from_rows(
        modes,
        np.concatenate([[markets, 0], counts]),
        np.concatenate([other, rows]),
        balances,
        np.concatenate([[0, 0], balance_counts]),
    )


def _top_up(book: Book, valuation: Valuation) -> None:
    """Give accounts that would start below their initial requirement what they lack, and a tenth of it more."""
    collateral, requirement = measure_all(book, valuation, INITIAL)
    short = np.maximum(0, requirement - collateral)
    lacking = np.nonzero(short)[0]
    first = book.accounts[lacking, c.BALANCE_START]
    book.balances.rows[first, c.AMOUNT] += short[lacking] + requirement[lacking] // 10
