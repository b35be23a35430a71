"""Who among the winners of a market is closed when the loser cannot be: four rules behind one protocol.

Every rule takes accounts with a profit first. Only when all of them together are too small do accounts without one
follow, by the same rule with what replaces the profit: the size in water-filling, the loss per notional in a queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.deleveraging_filling import water_fill
from marginkeep.liquidation.deleveraging_order import falling
from marginkeep.units import INT64_SAFE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from marginkeep.rulebook.ladder_rules import DeleveragingPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Winners:
    """Accounts that hold one market on one side, as int64[n] columns; amounts in reporting units.

    Attributes
    ----------
    accounts : account indices, rising
    sizes : lots held, above 0 on either side
    profits : unrealised profit of the position, negative for a loss
    equities : equity of the whole account; below 1 it counts as 1 wherever a rule divides by it
    notionals : gross notional of the whole account, at least 1
    relief : what closing its whole position here takes off the account's risk, in clearing the fall of its net
        exposure; negative where the position hedges another
    """

    accounts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    profits: NDArray[np.int64]
    equities: NDArray[np.int64]
    notionals: NDArray[np.int64]
    relief: NDArray[np.int64]

    def __post_init__(self) -> None:
        columns = (self.sizes, self.profits, self.equities, self.notionals, self.relief)
        if any(len(column) != len(self.accounts) for column in columns):
            raise InvariantViolation("the columns of winners differ in length")
        if len(self.accounts) and (int(self.sizes.min()) < 1 or int(self.notionals.min()) < 1):
            raise InvariantViolation("a winner without a size or a notional")
        if not (self.accounts[1:] > self.accounts[:-1]).all():
            raise InvariantViolation("winners are not in the order of their accounts")

    def __len__(self) -> int:
        return len(self.accounts)

    @property
    def own(self) -> NDArray[np.int64]:
        """What divides: the equity, at least 1."""
        return np.maximum(self.equities, 1)


class Policy(Protocol):
    """A rule that chooses among winners."""

    def allocate(self, winners: Winners, lots: int, caps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return lots to close of each, at most `caps`, in sum the lesser of `lots` and the sum of caps."""
        ...

    def order(self, winners: Winners) -> NDArray[np.int64]:
        """Return rows by how exposed they are, the first to be closed, or the most of it closed, first."""
        ...


@dataclass(frozen=True, slots=True)
class Queue:
    """Close whole positions in an order until enough is closed; only the last is closed in part."""

    ranking: Callable[[Winners], NDArray[np.int64]]

    def allocate(self, winners: Winners, lots: int, caps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return lots to close of each; see `Policy`."""
        order = self.ranking(winners)
        ordered = caps[order]
        before = np.cumsum(ordered) - ordered
        closed = np.zeros(len(winners), np.int64)
        closed[order] = np.clip(lots - before, 0, ordered)
        return closed

    def order(self, winners: Winners) -> NDArray[np.int64]:
        """Return rows, the first to be closed first."""
        return self.ranking(winners)


@dataclass(frozen=True, slots=True)
class WaterFilling:
    """Close the same share per weight of everyone, at most the whole position."""

    weights: Callable[[Winners, NDArray[np.int64]], NDArray[np.int64]]

    def allocate(self, winners: Winners, lots: int, caps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return lots to close of each; see `Policy`."""
        closed = np.zeros(len(winners), np.int64)
        for rows in _by_profit(winners):
            if lots and len(rows):
                closed[rows] = water_fill(self.weights(winners, rows), caps[rows], lots)
                lots -= int(closed[rows].sum())
        return closed

    def order(self, winners: Winners) -> NDArray[np.int64]:
        """Return rows by weight per lot: the larger it is, the larger the share of the position that is closed."""
        ordered = [rows[self._by_weight(winners, rows)] for rows in _by_profit(winners)]
        return np.concatenate(ordered)

    def _by_weight(self, winners: Winners, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return falling((self.weights(winners, rows),), (winners.sizes[rows],))


def _by_profit(winners: Winners) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows with a profit, and the rows without one."""
    gains = winners.profits > 0
    return np.flatnonzero(gains), np.flatnonzero(~gains)


def by_profit_and_leverage(winners: Winners) -> NDArray[np.int64]:
    """Rank by profit ratio times leverage, `(profit / equity) * (notional / equity)`, the largest first.

    Those without a profit follow, the smallest loss per notional first (their loss ratio divided by leverage). Ratios
    are compared exactly; ties go to the lower account index.
    """
    gains, rest = _by_profit(winners)
    return np.concatenate([_ranked_gains(winners, gains), _ranked_losses(winners, rest)])


def by_own_relief(winners: Winners) -> NDArray[np.int64]:
    """Rank those whose own health does not suffer first, then those whom the close hurts, the least per lot first.

    Among the first the order is that of `by_profit_and_leverage`. Profit still comes before no profit.
    """
    gains, rest = _by_profit(winners)
    parts = []
    for rows, ranked in ((gains, _ranked_gains), (rest, _ranked_losses)):
        is_hurt = winners.relief[rows] < 0
        parts += [ranked(winners, rows[~is_hurt]), _ranked_by_harm(winners, rows[is_hurt])]
    return np.concatenate(parts)


def _ranked_gains(winners: Winners, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    own = winners.own[rows]
    return rows[falling((winners.profits[rows], winners.notionals[rows]), (own, own))]


def _ranked_losses(winners: Winners, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    losses = -winners.profits[rows]
    none, some = rows[losses == 0], rows[losses > 0]
    return np.concatenate([none, some[falling((winners.notionals[some],), (-winners.profits[some],))]])


def _ranked_by_harm(winners: Winners, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[falling((winners.sizes[rows],), (-winners.relief[rows],))]


def by_profit(winners: Winners, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weigh each by its profit; by its size where it has none."""
    profits = winners.profits[rows]
    return np.where(profits > 0, profits, winners.sizes[rows])


def by_profit_and_risk(winners: Winners, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weigh each by profit (or size) times leverage, `notional / equity`, rounded up to a whole weight."""
    columns = (by_profit(winners, rows), winners.notionals[rows], winners.own[rows])
    lists = zip(*(column.tolist() for column in columns), strict=True)
    weights = [-(-part * notional // own) for part, notional, own in lists]
    if max(weights, default=0) > INT64_SAFE:
        weights = [min(weight, INT64_SAFE) for weight in weights]
    return np.array(weights, np.int64)


POLICIES: Final[Mapping[DeleveragingPolicy, Policy]] = {
    "queue": Queue(by_profit_and_leverage),
    "pro_rata": WaterFilling(by_profit),
    "risk_aware": WaterFilling(by_profit_and_risk),
    "portfolio_aware": Queue(by_own_relief),
}
"""The rules by their name in the rulebook."""


def hyperliquid_index(mark: int, entry: int, notional: int, equity: int) -> Fraction:
    """Return `(mark / entry) * (notional / equity)`, another venue's index of a long, for comparison with it.

    For a short, exchange mark and entry: then profit raises the index there too.
    """
    return Fraction(mark * notional, entry * equity)
