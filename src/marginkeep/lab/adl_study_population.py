"""Winners made to match what was published of those deleveraged; the rest of each is drawn, and said to be.

One market stands for all coins, in lots of one USD of notional at mark. The accounts that the queue will reach are
known beforehand, because its order does not depend on size: they get the sizes whose concentration was published. The
others, of whom nothing was published, get the same distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.errors import InputError
from marginkeep.lab.adl_study_waves import DECIMALS, FACTS
from marginkeep.liquidation.deleveraging import Winners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ACCOUNTS_MIN: Final = 2_000
ACCOUNTS_MAX: Final = 1_000_000
REACHED: Final = 0.6
"""The queue reaches this share of the accounts, and of the notional; not published."""

PROFIT_SIGMA: Final = 0.6
LEVERAGE_SIGMA: Final = 1.0
HEDGED: Final = 0.25
"""Share of the accounts that hold the other side elsewhere; not published."""

HEDGE_RANGE: Final = (0.5, 1.0)
"""How much of its position here a hedged account holds elsewhere."""

MAINTENANCE: Final = 0.02
SCENARIO: Final = 0.08
"""Of a leg's notional: what it requires alone, and what it requires once its hedge is closed."""

PLACEMENTS_MAX: Final = 5_000
_UNIT: Final = float(10**DECIMALS)


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Winners, and which of them hedge something."""

    winners: Winners
    hedged: NDArray[np.bool_]

    @property
    def leverages(self) -> NDArray[np.float64]:
        """Gross notional over equity of each account."""
        result: NDArray[np.float64] = self.winners.notionals / self.winners.equities
        return result


def generate_winners(accounts: int, seed: int, waves: Sequence[int] = ()) -> Population:
    """Return `accounts` winners of one market; the same seed gives the same.

    Parameters
    ----------
    waves : lots that will be closed, wave by wave: no large position is placed where the queue would cut it in two

    Raises
    ------
    InputError : too few for the published concentration, too many, or a negative seed
    """
    if not ACCOUNTS_MIN <= accounts <= ACCOUNTS_MAX:
        raise InputError(f"--accounts is {accounts}: give {ACCOUNTS_MIN} to {ACCOUNTS_MAX}")
    if seed < 0:
        raise InputError(f"--seed is {seed}: give 0 or a positive whole number")
    rng = np.random.Generator(np.random.PCG64(seed))
    profit_ratio = rng.lognormal(0.0, PROFIT_SIGMA, accounts)
    leverage = rng.lognormal(0.0, LEVERAGE_SIGMA, accounts)
    hedged = rng.random(accounts) < HEDGED
    hedge = np.where(hedged, rng.uniform(*HEDGE_RANGE, accounts), 0.0)
    order = np.argsort(-profit_ratio / (1 + hedge) * leverage**2, kind="stable")
    reached = order[: round(accounts * REACHED)]
    sizes = _sizes(rng, reached, order[len(reached) :], waves)
    profit_ratio *= FACTS.profit / float((profit_ratio * sizes)[reached].sum())
    leverage *= float(FACTS.leverage) / float(np.median(leverage[reached]))
    return Population(_winners(sizes, profit_ratio, leverage, hedge), hedged)


def _winners(
    sizes: NDArray[np.int64],
    profit_ratio: NDArray[np.float64],
    leverage: NDArray[np.float64],
    hedge: NDArray[np.float64],
) -> Winners:
    value = sizes * _UNIT
    notionals = value * (1 + hedge)
    relief = np.where(hedge > 0, MAINTENANCE - SCENARIO * hedge, MAINTENANCE) * value
    columns = (value * profit_ratio, notionals / leverage, notionals, relief)
    profits, equities, gross, relieved = (np.rint(column).astype(np.int64) for column in columns)
    return Winners(np.arange(len(sizes)), sizes, np.maximum(profits, 1), equities, gross, relieved)


def _sizes(
    rng: np.random.Generator, reached: NDArray[np.int64], others: NDArray[np.int64], waves: Sequence[int]
) -> NDArray[np.int64]:
    """Return lots: those reached hold what was closed, the others as much as their number is of theirs."""
    sizes = np.zeros(len(reached) + len(others), np.int64)
    beyond = FACTS.notional * len(others) // len(reached)
    for rows, total in ((reached, FACTS.notional), (others, beyond)):
        lots = np.maximum(1, np.floor(size_shares(len(rows)) * total)).astype(np.int64)
        lots[0] += max(0, total - int(lots.sum()))
        sizes[rows] = rng.permutation(lots)
    sizes[reached] = _uncut(rng, sizes[reached], np.cumsum(np.array(waves, np.int64)))
    return sizes


def _uncut(rng: np.random.Generator, sizes: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exchange large positions that the end of a wave would cut for others, until none is, or it seems impossible.

    What is left of a cut position has less leverage, falls back in the queue and may not be reached again: the
    published concentration, which is of what was closed, would be missed.
    """
    large = int(np.sort(sizes)[-FACTS.top[-1][0]])
    for _ in range(PLACEMENTS_MAX):
        after = np.cumsum(sizes)
        at = np.minimum(np.searchsorted(after, ends), len(sizes) - 1)
        cut = at[(after[at] > ends) & (sizes[at] >= large)]
        if not len(cut):
            break
        other = rng.integers(len(sizes))
        sizes[[cut[0], other]] = sizes[[other, cut[0]]]
    return sizes


def size_shares(count: int) -> NDArray[np.float64]:
    """Return falling shares of one whose 1, 10 and 100 largest sum to the published shares.

    Between two published ranks the share falls as a power of the rank, `share(r) = share(r0) * (r / r0)^-a`, with the
    power that gives the published sum.

    Returns
    -------
    float64[count], falling, sum 1
    """
    shares = np.zeros(count)
    shares[0] = float(FACTS.top[0][1])
    marks = [(rank, float(share)) for rank, share in FACTS.top] + [(count, 1.0)]
    for (first, before), (last, upto) in pairwise(marks):
        ranks = np.arange(first + 1, last + 1) / first
        power = _power(ranks, (upto - before) / shares[first - 1])
        shares[first:last] = shares[first - 1] * ranks**-power
    return shares


def _power(ranks: NDArray[np.float64], wanted: float) -> float:
    """Return the power a for which sum(ranks^-a) is the wanted sum, by halving: the sum falls as a rises."""
    low, high = 0.0, 20.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if float((ranks**-middle).sum()) > wanted else (low, middle)
    return (low + high) / 2
