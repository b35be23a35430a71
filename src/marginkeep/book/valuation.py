"""Prices and funding indices in the form that valuation needs: per market and asset one pair (x, y)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.limits import payoff_at

if TYPE_CHECKING:
    from marginkeep.rulebook import Tables


class Valuation:
    """Current marks, asset prices and funding indices of a rulebook's markets and assets.

    Attributes
    ----------
    marks, prices : ticks by market and by asset index; 0 where no price has arrived yet
    market_x, market_y, asset_x, asset_y : value = size * x / y, amount * x / y (see `rulebook.tables`)
    funding, funding_short : cumulative funding index by market, 10^-9 settle units a lot, of longs and of shorts; they
        part only where a loss has been socialised, which one side pays and nobody receives
    """

    __slots__ = (
        "asset_x", "asset_y", "funding", "funding_short", "market_x", "market_y", "marks", "prices", "tables",
    )  # fmt: skip

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.marks = [0] * len(tables.markets)
        self.market_x = [0] * len(tables.markets)
        self.market_y = [1] * len(tables.markets)
        self.prices = [0] * len(tables.assets)
        self.asset_x = [0] * len(tables.assets)
        self.asset_y = [1] * len(tables.assets)
        self.funding = [0] * len(tables.markets)
        self.funding_short = [0] * len(tables.markets)
        self.set_price(tables.reporting, 1)

    def set_mark(self, market: int, ticks: int) -> None:
        """Set a market's mark price."""
        self.marks[market] = ticks
        self.market_x[market], self.market_y[market] = payoff_at(self.tables.markets[market], ticks)

    def set_price(self, asset: int, ticks: int) -> None:
        """Set an asset's price in the reporting asset."""
        table = self.tables.assets[asset]
        self.prices[asset] = ticks
        self.asset_x[asset] = ticks * table.numerator
        self.asset_y[asset] = table.denominator

    def funding_index(self, market: int, size: int) -> int:
        """Return the cumulative funding index that a position of this size follows."""
        return self.funding_short[market] if size < 0 else self.funding[market]

    def copy(self) -> Valuation:
        """Return an independent copy, for a what-if."""
        other = Valuation(self.tables)
        names = ("asset_x", "asset_y", "funding", "funding_short", "market_x", "market_y", "marks", "prices")
        for name in names:
            setattr(other, name, list(getattr(self, name)))
        return other
