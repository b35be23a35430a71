"""Prices for opening risk, where the house has an oracle: the worse of mark and stable price, asset by asset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.health import position_terms
from marginkeep.book.opening_health import measure_opening
from marginkeep.book.valuation import Valuation
from marginkeep.rulebook.model import INITIAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.book.account import Account, Position
    from marginkeep.margin.solvency import Measure
    from marginkeep.oracle.lines import Line
    from marginkeep.oracle.oracle import Oracle
    from marginkeep.oracle.price_seen import PriceSeen


class Opening:
    """Measures accounts at the initial level. Derived from the state: made anew when rules or weights change."""

    __slots__ = ("_action", "_oracle", "_room", "_valuation")

    def __init__(self, oracle: Oracle, valuation: Valuation) -> None:
        self._oracle = oracle
        self._valuation = valuation
        self._room = Valuation(valuation.tables)
        self._room.funding, self._room.funding_short = valuation.funding, valuation.funding_short
        self._action = "open"

    def market(self, index: int) -> tuple[int, int]:
        """Return a market's lowest and highest price for opening; its mark where the oracle has none."""
        line = self._oracle.markets.get(index)
        low, high = line.opening_prices(self._action) if line else (0, 0)
        mark = self._valuation.marks[index]
        return (low, high) if high else (mark, mark)

    def asset(self, index: int) -> tuple[int, int]:
        """Return an asset's lowest and highest price for opening; its price where the oracle has none."""
        line = self._oracle.assets.get(index)
        low, high = line.opening_prices(self._action) if line else (0, 0)
        price = self._valuation.prices[index]
        return (low, high) if high else (price, price)

    def measure(self, account: Account, action: str) -> Measure:
        """Measure an account at the initial level, for opening or withdrawing."""
        self._action = action
        return measure_opening(account, self._room, self)

    def worsened(self, market: int, position: Position, added: Callable[[int, int], int]) -> int:
        """Return what a position adds less to initial health where its requirement is raised, in settle units.

        Parameters
        ----------
        added : by how much it is raised where the market's pair is (x, y); the worse of its prices may be another then
        """
        plain, raised = [], []
        for ticks in self.market(market):
            self._room.set_mark(market, ticks)
            terms = position_terms(self._room.tables.markets[market], position, self._room, INITIAL)
            plain.append(terms.counted - terms.requirement)
            raised.append(plain[-1] - added(self._room.market_x[market], self._room.market_y[market]))
        return min(plain) - min(raised)

    def evidence(self, account: Account, action: str, now_ns: int) -> tuple[PriceSeen, ...]:
        """Return the prices in an account that count worse for an action than they do for liquidation."""
        self._action = action
        oracle, valuation = self._oracle, self._valuation
        held: list[tuple[Line, tuple[int, int], int]] = [
            (oracle.markets[index], self.market(index), valuation.marks[index])
            for index in sorted(account.positions)
            if index in oracle.markets
        ]
        held += [
            (oracle.assets[index], self.asset(index), valuation.prices[index])
            for index in sorted(account.balances)
            if index in oracle.assets and account.balances[index]
        ]
        return tuple(
            oracle.evidence.seen(line, now_ns, line.obstacle(action) or f"counts at {low} to {high} ticks")
            for line, (low, high), price in held
            if (low, high) != (price, price)
        )
