"""Prices for opening risk, where the house has an oracle: the worse of mark and stable price, asset by asset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.opening_health import measure_opening
from marginkeep.book.valuation import Valuation

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.margin.solvency import Measure
    from marginkeep.oracle.oracle import Oracle


class Opening:
    """Measures accounts at the initial level. Derived from the state: made anew when rules or weights change."""

    __slots__ = ("_oracle", "_room", "_valuation")

    def __init__(self, oracle: Oracle, valuation: Valuation) -> None:
        self._oracle = oracle
        self._valuation = valuation
        self._room = Valuation(valuation.tables)
        self._room.funding = valuation.funding

    def market(self, index: int) -> tuple[int, int]:
        """Return a market's lowest and highest price for opening; its mark where the oracle has none."""
        line = self._oracle.markets.get(index)
        low, high = line.opening_prices() if line else (0, 0)
        mark = self._valuation.marks[index]
        return (low, high) if high else (mark, mark)

    def asset(self, index: int) -> tuple[int, int]:
        """Return an asset's lowest and highest price for opening; its price where the oracle has none."""
        line = self._oracle.assets.get(index)
        low, high = line.opening_prices() if line else (0, 0)
        price = self._valuation.prices[index]
        return (low, high) if high else (price, price)

    def measure(self, account: Account) -> Measure:
        """Measure an account at the initial level."""
        return measure_opening(account, self._room, self)
