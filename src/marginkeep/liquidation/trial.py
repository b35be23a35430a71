"""An account under reduction: what it would be after a close or a sale, at the cost of the leg that changes.

Health at target, the settled measure at maintenance (see `incentive`) and equity are kept as sums of terms. Closing
part of one leg changes that leg's terms and those of its settle asset, so a try costs the same for an account of two
legs and of two hundred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.book.fills import book_funding, cost_of, fill_position
from marginkeep.book.health import balance_terms, position_terms, size_requirement, unrealised_profit
from marginkeep.margin.solvency import Measure
from marginkeep.margin.tiered import convert_floor, signed_value
from marginkeep.rulebook.model import MAINTENANCE, TARGET

if TYPE_CHECKING:
    from marginkeep.book.account import Account, Position
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import MarketTable


class Closed(NamedTuple):
    """A leg after part of it was closed: its position, what moved, and what it cost against the mark, settle units."""

    position: Position
    price: int
    paid: int
    cost: int
    realised: int
    lost: int


class Trial:
    """Sums over an account's terms; `account` itself changes only by `keep` and `swap`.

    Attributes
    ----------
    health : at target, reporting units
    """

    __slots__ = ("_required", "_settled", "account", "health", "valuation")

    def __init__(self, account: Account, valuation: Valuation) -> None:
        self.account = account.copy()
        self.valuation = valuation
        self._settled = dict(account.balances)
        self._required: dict[int, int] = {}
        self.health = 0
        markets = valuation.tables.markets
        for asset, amount in account.balances.items():
            self.health += self._balance_health(asset, amount)
        for index, position in account.positions.items():
            market = markets[index]
            self.health += self._leg_health(market, position)
            profit = unrealised_profit(market, position, valuation)
            self._settled[market.settle] = self._settled.get(market.settle, 0) + profit
            self._required[index] = self._requirement(market, position.size)

    # Terms -----------------------------------------------------------------------------------------------------

    def _balance_health(self, asset: int, amount: int) -> int:
        held, owed = balance_terms(amount, asset, self.valuation, TARGET)
        return held - owed

    def _leg_health(self, market: MarketTable, position: Position) -> int:
        terms = position_terms(market, position, self.valuation, TARGET)
        return self._worth(market.settle, terms.counted) + self._worth(market.settle, -terms.requirement)

    def _requirement(self, market: MarketTable, size: int) -> int:
        valuation = self.valuation
        x, y = valuation.market_x[market.index], valuation.market_y[market.index]
        return -self._worth(market.settle, -size_requirement(market, MAINTENANCE, size, x, y))

    def _worth(self, asset: int, amount: int) -> int:
        return convert_floor(amount, self.valuation.asset_x[asset], self.valuation.asset_y[asset])

    # Asking ----------------------------------------------------------------------------------------------------

    def settled(self) -> Measure:
        """Return collateral and requirement at maintenance as if all profit had been booked."""
        return self._measure(self._settled)

    def settled_after_swap(self, given: int, amount: int, taken: int, proceeds: int) -> Measure:
        """Return the settled measure after giving `amount` of one asset for `proceeds` of another."""
        settled = dict(self._settled)
        for asset, moved in ((given, -amount), (taken, proceeds)):
            settled[asset] = settled.get(asset, 0) + moved
        return self._measure(settled)

    def _measure(self, settled: dict[int, int]) -> Measure:
        collateral, requirement = 0, sum(self._required.values())
        for asset, amount in settled.items():
            held, owed = balance_terms(amount, asset, self.valuation, MAINTENANCE)
            collateral += held
            requirement += owed
        return Measure(collateral, requirement)

    def equity(self) -> int:
        """Return what the account is worth, every weight 1, in reporting units."""
        return sum(self._worth(asset, amount) for asset, amount in self._settled.items())

    def required(self, market: int) -> int:
        """Return what a leg requires at maintenance, in reporting units."""
        return self._required[market]

    def released(self, market: MarketTable, left: int) -> int:
        """Return what the requirement falls by when `left` lots of a leg remain."""
        return self._required[market.index] - self._requirement(market, left)

    def closed(self, market: MarketTable, size: int, price: int) -> Closed:
        """Return a leg as it would be after trading `size` lots at `price` ticks."""
        position = self.account.positions[market.index].copy()
        index = self.valuation.funding_index(market.index, position.size)
        paid, _ = book_funding(position, index)
        fill = fill_position(market, position, size, price)
        x, y = self.valuation.market_x[market.index], self.valuation.market_y[market.index]
        lost = cost_of(market, size, price) - signed_value(size, market.sign, x, y)
        return Closed(position, price, paid, fill.cost, fill.realised, max(0, lost))

    def health_after(self, market: MarketTable, leg: Closed, penalty: int) -> int:
        """Return health at target after a close and its penalty."""
        before = self.account.balances.get(market.settle, 0)
        after = before + leg.paid + leg.realised - penalty
        return (
            self.health
            - self._leg_health(market, self.account.positions[market.index])
            + self._leg_health(market, leg.position)
            - self._balance_health(market.settle, before)
            + self._balance_health(market.settle, after)
        )

    # Going on --------------------------------------------------------------------------------------------------

    def keep(self, market: MarketTable, leg: Closed, penalty: int) -> None:
        """Make a close and its penalty the account's state."""
        self.health = self.health_after(market, leg, penalty)
        profit = unrealised_profit(market, self.account.positions[market.index], self.valuation)
        left = unrealised_profit(market, leg.position, self.valuation)
        booked = leg.paid + leg.realised - penalty
        balances = self.account.balances
        balances[market.settle] = balances.get(market.settle, 0) + booked
        self._settled[market.settle] = self._settled.get(market.settle, 0) + booked + left - profit
        self.account.positions[market.index] = leg.position
        self._required[market.index] = self._requirement(market, leg.position.size)

    def health_after_swap(self, given: int, amount: int, taken: int, proceeds: int) -> int:
        """Return health at target after giving `amount` of one asset for `proceeds` of another."""
        balances = self.account.balances
        change = 0
        for asset, moved in ((given, -amount), (taken, proceeds)):
            before = balances.get(asset, 0)
            change += self._balance_health(asset, before + moved) - self._balance_health(asset, before)
        return self.health + change

    def swap(self, given: int, amount: int, taken: int, proceeds: int) -> None:
        """Give an amount of one asset for another."""
        self.health = self.health_after_swap(given, amount, taken, proceeds)
        for asset, moved in ((given, -amount), (taken, proceeds)):
            self.account.balances[asset] = self.account.balances.get(asset, 0) + moved
            self._settled[asset] = self._settled.get(asset, 0) + moved
