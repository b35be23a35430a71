"""Plans for many accounts at once, read out of the kernel's columns one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from marginkeep.book.columns import POSITION_COUNT
from marginkeep.book.kernels import level_columns
from marginkeep.liquidation import plan_kernels as p
from marginkeep.liquidation.plan_desk import Prices, make_desk
from marginkeep.liquidation.reduction import Close
from marginkeep.margin.solvency import Measure
from marginkeep.rulebook.model import MAINTENANCE, TARGET
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.book.account import Account
    from marginkeep.book.columns import Book
    from marginkeep.book.valuation import Valuation


class Planned(NamedTuple):
    """What `reduction.plan_reduction` would plan for an account, and what measuring it before and after would say.

    Attributes
    ----------
    before : at maintenance
    health_target, health_after : at target, before and after the steps
    steps : all of them closes
    left : (market, size, cost) of every position that is closed in part or whole, after the steps
    balances : asset -> balance after the steps, of every asset that they settle in
    """

    before: Measure
    health_target: int
    health_after: int
    steps: list[Close]
    left: list[tuple[int, int, int]]
    balances: dict[int, int]

    def is_booked(self, account: Account) -> bool:
        """Tell whether an account has become what was planned."""
        for market, size, cost in self.left:
            position = account.positions[market]
            if position.size != size or position.cost != cost:
                return False
        return all(account.balances.get(asset, 0) == amount for asset, amount in self.balances.items())


class BatchPlans:
    """Plans of accounts as book, prices and rules are now: they hold until one of these changes for the account.

    Parameters
    ----------
    indices : accounts; open orders, which count at the initial level only, make no difference
    """

    __slots__ = ("_closes", "_figures", "_rows", "_settles")

    def __init__(self, book: Book, valuation: Valuation, indices: Sequence[int]) -> None:
        chosen = np.array(indices, np.int64)
        self._figures = np.zeros((len(chosen), p.FIGURES_WIDTH), np.int64)
        self._closes = np.zeros((int(book.accounts[chosen, POSITION_COUNT].sum()), p.CLOSE_WIDTH), np.int64)
        self._rows = {index: row for row, index in enumerate(indices)}
        self._settles = [market.settle for market in valuation.tables.markets]
        rows = (book.accounts, book.positions.rows, book.balances.rows)
        p.plan_all(chosen, *rows, _prices(valuation), make_desk(), self._figures, self._closes)

    def of(self, index: int) -> Planned | None:
        """Return the plan of an account; None where it is left to the plain path."""
        verdict, first, count, collateral, requirement, target, health_after = self._figures[self._rows[index]].tolist()
        if verdict == p.UNFIT:
            return None
        steps, left, balances, settles = [], [], {}, self._settles
        for market, size, price, value, realised, penalty, *after in self._closes[first : first + count].tolist():
            steps.append(Close(market, size, price, value, realised, penalty))
            left.append((market, after[0], after[1]))
            balances[settles[market]] = after[2]
        return Planned(Measure(collateral, requirement), target, health_after, steps, left, balances)


def _prices(valuation: Valuation) -> Prices:
    terms = np.zeros((len(valuation.tables.markets), 5), np.int64)
    for market in valuation.tables.markets:
        rates = market.market.liquidation
        mark, slippage = valuation.marks[market.index], min(rates.slippage, RATE_ONE // 2)
        terms[market.index] = mark, market.numerator, market.denominator, slippage, rates.penalty
    return Prices(level_columns(valuation, MAINTENANCE), level_columns(valuation, TARGET), terms)
