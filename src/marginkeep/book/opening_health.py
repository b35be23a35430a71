"""Initial health at the worse of two prices: what is gained counts at the lowest price, what is owed at the highest.

Used where an oracle keeps a stable price beside the mark: new risk must be safe at both, liquidation looks at the mark
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from marginkeep.book.account import SYSTEM
from marginkeep.book.health import PositionTerms, position_terms
from marginkeep.margin.solvency import Measure
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.model import INITIAL
from marginkeep.units import rate_ceil, rate_floor

if TYPE_CHECKING:
    from marginkeep.book.account import Account, Position
    from marginkeep.book.valuation import Valuation


class OpeningPrices(Protocol):
    """Lowest and highest price for opening, in ticks, by market and by asset index; (0, 0) where there is none."""

    def market(self, index: int) -> tuple[int, int]:
        """Return a market's."""

    def asset(self, index: int) -> tuple[int, int]:
        """Return an asset's; the lowest is 0 where holdings do not count."""


def measure_opening(account: Account, valuation: Valuation, prices: OpeningPrices) -> Measure:
    """Return collateral and requirement at the initial level, each position at whichever of its prices is worse.

    Parameters
    ----------
    valuation : a copy, which this function leaves changed: it sets the prices of what the account holds
    """
    if account.mode == SYSTEM:
        return Measure(0, 0)
    collateral = requirement = 0
    for asset, amount in account.balances.items():
        table = valuation.tables.assets[asset]
        if amount >= 0:
            collateral += rate_floor(_worth(amount, asset, valuation, prices, 0), table.weight[INITIAL])
        else:
            requirement += rate_ceil(-_worth(amount, asset, valuation, prices, 1), table.debt_weight[INITIAL])
    for index, position in account.positions.items():
        settle = valuation.tables.markets[index].settle
        terms = _worse_terms(index, position, valuation, prices)
        collateral += _worth(terms.counted, settle, valuation, prices, 0 if terms.counted > 0 else 1)
        requirement -= _worth(-terms.requirement, settle, valuation, prices, 1)
    return Measure(collateral, requirement)


def _worth(amount: int, asset: int, valuation: Valuation, prices: OpeningPrices, side: int) -> int:
    """Return an amount in reporting units, rounded down, at the lowest (side 0) or highest (1) price of its asset."""
    table = valuation.tables.assets[asset]
    return convert_floor(amount, prices.asset(asset)[side] * table.numerator, table.denominator)


def _worse_terms(index: int, position: Position, valuation: Valuation, prices: OpeningPrices) -> PositionTerms:
    """Return a position's terms at the price at which it adds less to initial health."""
    market = valuation.tables.markets[index]
    low, high = prices.market(index)
    found: PositionTerms | None = None
    for ticks in (low,) if low == high else (low, high):
        valuation.set_mark(index, ticks)
        terms = position_terms(market, position, valuation, INITIAL)
        if found is None or terms.counted - terms.requirement < found.counted - found.requirement:
            found = terms
    assert found is not None
    return found
