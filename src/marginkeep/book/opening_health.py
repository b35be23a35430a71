"""Initial health at the worse of two prices: what is gained counts at the lowest price, what is owed at the highest.

Used where an oracle keeps a stable price beside the mark: new risk must be safe at both, liquidation looks at the mark
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from marginkeep.book.account import SYSTEM
from marginkeep.book.health import terms_at
from marginkeep.book.limits import payoff_at
from marginkeep.margin.solvency import Measure
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.model import INITIAL
from marginkeep.units import rate_ceil, rate_floor

if TYPE_CHECKING:
    from marginkeep.book.account import Account, Position
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import AssetTable, MarketTable


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
    valuation : its funding indices and tables count; its prices do not
    """
    if account.mode == SYSTEM:
        return Measure(0, 0)
    tables = valuation.tables
    spans: dict[int, tuple[int, int]] = {}
    collateral = requirement = 0
    for index, amount in account.balances.items():
        asset = tables.assets[index]
        low, high = spans[index] = prices.asset(index)
        if amount >= 0:
            collateral += rate_floor(_worth(amount, asset, low), asset.weight[INITIAL])
        else:
            requirement += rate_ceil(-_worth(amount, asset, high), asset.debt_weight[INITIAL])
    for index, position in account.positions.items():
        market = tables.markets[index]
        if market.settle not in spans:
            spans[market.settle] = prices.asset(market.settle)
        asset, (low, high) = tables.assets[market.settle], spans[market.settle]
        counted, required = _worse_terms(market, position, valuation, prices)
        collateral += _worth(counted, asset, low if counted > 0 else high)
        requirement -= _worth(-required, asset, high)
    return Measure(collateral, requirement)


def _worth(amount: int, asset: AssetTable, ticks: int) -> int:
    """Return an amount of an asset in reporting units, rounded down, at a price."""
    x = ticks * asset.numerator
    return amount if x == asset.denominator else convert_floor(amount, x, asset.denominator)


def _worse_terms(
    market: MarketTable, position: Position, valuation: Valuation, prices: OpeningPrices
) -> tuple[int, int]:
    """Return a position's counted profit and requirement at the price at which it adds less to initial health."""
    low, high = prices.market(market.index)
    funding_index = valuation.funding_index(market.index, position.size)
    _, counted, required = terms_at(market, position, INITIAL, *payoff_at(market, low), funding_index)
    if high != low:
        _, other, needed = terms_at(market, position, INITIAL, *payoff_at(market, high), funding_index)
        if other - needed < counted - required:
            return other, needed
    return counted, required
