"""Who would have paid for the waves of 10 October 2025 under each deleveraging policy.

Every policy closes the same lots of the same winners, wave after wave. At the bankruptcy price a wave takes what is
needed; at the prices of production it takes what production took. The policy decides from whom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.lab.adl_study_waves import DECIMALS, lots_of
from marginkeep.liquidation.deleveraging import Audit, Deleveraged, Winners, allocate, audit, overlaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from marginkeep.lab.adl_study_population import Population
    from marginkeep.lab.adl_study_waves import Wave
    from marginkeep.rulebook.ladder_rules import DeleveragingPolicy

POLICIES: Final[tuple[DeleveragingPolicy, ...]] = ("queue", "pro_rata", "risk_aware", "portfolio_aware")
PRODUCTION: Final = "production"
A_LOT: Final = Fraction(10**DECIMALS)
"""A lot is one USD of notional at mark."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyRun:
    """One policy over all waves, in the generated population.

    Attributes
    ----------
    name : the policy's, or ``production`` for the queue at production's prices
    figures : needed, taken, over, under, haircuts
    waves : taken less needed, wave by wave, millionths of a USD
    leverage : median of the accounts of which something was closed
    hedges : how many of them it left with less health than before
    health_lost : their health at maintenance that it cost, millionths of a USD
    profit : that was realised by the closes, before haircuts
    """

    name: str
    figures: Audit
    waves: tuple[int, ...]
    leverage: float
    hedges: int
    health_lost: int
    profit: int


@dataclass(frozen=True, slots=True)
class Identity:
    """The gap between queue and pro rata for the top winner, in profit space: `H * (1 - w1 / U)` for H <= w1.

    Amounts in millionths of a USD: budget H, largest profit w1, sum of profits U, what the top winner gives up under
    the queue and pro rata, and what the identity says of the difference.
    """

    budget: int
    top: int
    total: int
    queue: int
    pro_rata: int
    formula: Fraction

    @property
    def holds(self) -> bool:
        """Tell whether the gap is the identity's, to one unit of rounding."""
        return abs(self.queue - self.pro_rata - self.formula) < 1


def run_policies(waves: Sequence[Wave], population: Population) -> tuple[PolicyRun, ...]:
    """Apply the waves under production's prices and under each policy at the bankruptcy price."""
    at_production = run_policy(waves, population, "queue", production=True)
    return at_production, *(run_policy(waves, population, policy) for policy in POLICIES)


def run_policy(
    waves: Sequence[Wave], population: Population, policy: DeleveragingPolicy, *, production: bool = False
) -> PolicyRun:
    """Apply the waves, one after the other, to what the ones before have left.

    Parameters
    ----------
    production : close at the prices at which the published sums were taken, instead of at the bankruptcy price
    """
    winners = population.winners
    done: list[Deleveraged] = []
    gaps: list[int] = []
    relief = np.zeros(len(winners), np.int64)
    profit = 0
    for wave, lots in zip(waves, lots_of(waves), strict=True):
        taken = Fraction(wave.taken if production else wave.needed, max(1, lots))
        needed = Fraction(wave.needed, max(1, lots))
        closed = allocate(policy, winners, lots, overlaps(winners, taken))
        event = Deleveraged(lots, winners.accounts, closed, needed, taken, A_LOT)
        figures = audit([event])
        left = after_close(winners, closed, figures)
        gaps.append(figures.taken - figures.needed)
        relief[winners.accounts] += winners.relief - left.relief
        profit += int((winners.profits - left.profits).sum())
        done.append(event)
        winners = _still_open(left)
    name, figures, hurt = PRODUCTION if production else policy, audit(done), relief < 0
    return PolicyRun(
        name=name,
        figures=figures,
        waves=tuple(gaps),
        leverage=float(np.median(population.leverages[figures.accounts])) if figures.count else 0.0,
        hedges=int(np.count_nonzero(hurt)),
        health_lost=-int(relief[hurt].sum()),
        profit=profit,
    )


def after_close(winners: Winners, closed: NDArray[np.int64], figures: Audit) -> Winners:
    """Return the same accounts after a close: what belongs to a position shrinks with it, equity pays the haircut."""
    kept = winners.sizes - closed
    equities = winners.equities.copy()
    equities[np.searchsorted(winners.accounts, figures.accounts)] -= figures.haircuts
    return replace(
        winners,
        sizes=np.maximum(kept, 1),
        profits=np.where(kept > 0, _part(winners.profits, kept, winners.sizes), 0),
        equities=equities,
        notionals=np.maximum(1, winners.notionals - closed * int(A_LOT)),
        relief=np.where(kept > 0, _part(winners.relief, kept, winners.sizes), 0),
    )


def _part(amounts: NDArray[np.int64], kept: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    rows = np.flatnonzero(kept != sizes)
    result = amounts.copy()
    columns = (amounts[rows].tolist(), kept[rows].tolist(), sizes[rows].tolist())
    result[rows] = [amount * part // whole for amount, part, whole in zip(*columns, strict=True)]
    return result


def _still_open(winners: Winners) -> Winners:
    """Drop accounts whose position is closed: their profit is gone."""
    rows = np.flatnonzero(winners.profits > 0)
    names = ("accounts", "sizes", "profits", "equities", "notionals", "relief")
    return Winners(**{name: getattr(winners, name)[rows] for name in names})


def prove_identity(winners: Winners, budget: int) -> Identity | None:
    """Share a budget in profit space, where what is closed is profit itself, under queue and pro rata.

    There a lot is a unit of profit, all else is equal, and so the queue takes the largest profit first. None where the
    budget is larger than the largest profit: the identity is not about that.
    """
    profits = np.sort(winners.profits)[::-1]
    ones = np.ones(len(profits), np.int64)
    space = Winners(np.arange(len(profits)), profits, profits, ones, ones, ones)
    top, total = int(profits[0]), int(profits.sum())
    if budget > top:
        return None
    queue, pro_rata = (int(allocate(policy, space, budget)[0]) for policy in POLICIES[:2])
    return Identity(budget, top, total, queue, pro_rata, budget * (1 - Fraction(top, total)))
