"""First form of liquidation: reduce to the target level by the smallest sufficient size, at mark less slippage.

Legs are taken in the order of the requirement they release, largest first; each is closed by the smallest size that
restores health at the target level, or whole when that is not enough. When all positions are gone and debts remain,
holdings are sold against them. Penalties are taken only from what the account has left. The full ladder (call, soft,
auction) will stand beside this module and end in the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.book.fills import book_funding, fill_position
from marginkeep.book.health import equity, measure, size_requirement
from marginkeep.liquidation.sizing import smallest_sufficient
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.model import MAINTENANCE, TARGET
from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_ceil, rate_floor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import AssetTable, LiquidationTerms, MarketTable


class Close(NamedTuple):
    """Trade `size` lots (against the position) at `price` ticks, then take `penalty` settle units."""

    market: int
    size: int
    price: int
    value: int
    realised: int
    penalty: int


class Sale(NamedTuple):
    """Give `amount` of an asset for `proceeds` of the owed asset, then take `penalty` of the owed asset."""

    asset: int
    amount: int
    price: int
    owed: int
    proceeds: int
    penalty: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, in order, and the account as it will be after them."""

    steps: tuple[Close | Sale, ...]
    after: Account


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be used of an account now.

    Attributes
    ----------
    lots : by market, the most that may be closed; a market that is not named has no bound
    kept : assets that may be neither sold nor bought
    """

    lots: Mapping[int, int] = field(default_factory=dict)
    kept: frozenset[int] = frozenset()


_EVERYTHING: Final = Allowance()


def plan_reduction(account: Account, valuation: Valuation, allowance: Allowance = _EVERYTHING) -> Plan:
    """Return the steps that bring an account back to its target level, or close it, as far as it is allowed.

    Parameters
    ----------
    account : below maintenance; open orders must have been released before
    valuation : current prices
    """
    state = account.copy()
    steps: list[Close | Sale] = []
    for index in _leg_order(state, valuation):
        if measure(state, valuation, TARGET).health >= 0:
            break
        most = allowance.lots.get(index, abs(state.positions[index].size))
        if most > 0:
            steps.append(_reduce_leg(state, valuation.tables.markets[index], most, valuation))
    for owed in _debt_order(state, valuation):
        for asset in _holding_order(state, valuation):
            if asset in allowance.kept or owed in allowance.kept:
                continue
            if state.balances[owed] >= 0 or measure(state, valuation, TARGET).health >= 0:
                break
            steps.append(_sell_holding(state, asset, owed, valuation))
    return Plan(tuple(steps), state)


def _leg_order(account: Account, valuation: Valuation) -> list[int]:
    """Return markets by the maintenance requirement that closing them releases, largest first."""

    def released(index: int) -> int:
        market = valuation.tables.markets[index]
        x, y = valuation.market_x[index], valuation.market_y[index]
        required = size_requirement(market, MAINTENANCE, account.positions[index].size, x, y)
        return -convert_floor(-required, valuation.asset_x[market.settle], valuation.asset_y[market.settle])

    legs = [index for index, position in account.positions.items() if position.size]
    return sorted(legs, key=lambda index: (-released(index), index))


def _reduce_leg(state: Account, market: MarketTable, most: int, valuation: Valuation) -> Close:
    """Close the smallest sufficient part of one position, at most `most` lots; changes `state`."""
    held = state.positions[market.index].size
    side = -1 if held > 0 else 1

    def health_after(lots: int) -> int:
        trial = state.copy()
        close_position(trial, market, side * lots, valuation)
        return measure(trial, valuation, TARGET).health

    closable = min(abs(held), most)
    stops = [stop for stop in _tier_stops(market, abs(held), valuation) if stop < closable]
    lots = smallest_sufficient(closable, health_after, stops)
    return close_position(state, market, side * lots, valuation)


def _tier_stops(market: MarketTable, held: int, valuation: Valuation) -> list[int]:
    """Return the sizes whose closing leaves a position just below a tier's floor, rising."""
    x, y = valuation.market_x[market.index], valuation.market_y[market.index]
    floors = [row[0] for row in reversed(market.tiers[TARGET]) if row[0]]
    kept = [floor - 1 if market.by_size else (floor - 1) * y // x for floor in floors]
    return [held - lots for lots in kept if 0 < lots < held]


def close_position(state: Account, market: MarketTable, size: int, valuation: Valuation) -> Close:
    """Trade against a position at mark less slippage and take the penalty; changes `state`."""
    position = state.positions[market.index]
    terms = market.market.liquidation
    price = slipped_price(valuation.marks[market.index], terms.slippage, selling=size < 0)
    paid, _ = book_funding(position, valuation.funding_index(market.index, position.size))
    fill = fill_position(market, position, size, price)
    value = abs(fill.cost)
    balance = state.balances.get(market.settle, 0) + paid + fill.realised
    state.balances[market.settle] = balance
    penalty = _affordable(state, value, terms, market.settle, valuation)
    state.balances[market.settle] = balance - penalty
    return Close(market.index, size, price, value, fill.realised, penalty)


def slipped_price(mark: int, slippage: int, selling: bool) -> int:
    """Return the price of a forced trade: below the mark when selling, above when buying, whole ticks, at least 1."""
    if selling:
        return max(1, rate_floor(mark, RATE_ONE - slippage))
    return rate_ceil(mark, RATE_ONE + slippage)


def _affordable(state: Account, value: int, terms: LiquidationTerms, settle: int, valuation: Valuation) -> int:
    """Return the penalty on `value`, at most what the account's equity still covers, in units of `settle`."""
    wanted = rate_ceil(value, terms.penalty)
    left = max(0, equity(state, valuation))
    return min(wanted, convert_floor(left, valuation.asset_y[settle], valuation.asset_x[settle]))


def _debt_order(state: Account, valuation: Valuation) -> list[int]:
    """Return owed assets, the largest value first."""
    owed = [asset for asset, amount in state.balances.items() if amount < 0]
    return sorted(owed, key=lambda asset: (_worth(state, asset, valuation), asset))


def _holding_order(state: Account, valuation: Valuation) -> list[int]:
    """Return held assets, the largest value first."""
    held = [asset for asset, amount in state.balances.items() if amount > 0 and valuation.prices[asset]]
    return sorted(held, key=lambda asset: (-_worth(state, asset, valuation), asset))


def _worth(state: Account, asset: int, valuation: Valuation) -> int:
    return convert_floor(state.balances[asset], valuation.asset_x[asset], valuation.asset_y[asset])


def _sell_holding(state: Account, asset: int, owed: int, valuation: Valuation) -> Sale:
    """Sell the smallest sufficient part of a holding against a debt; changes `state`."""
    table = valuation.tables.assets[asset]
    most = min(state.balances[asset], _amount_to_repay(state, table, owed, valuation))

    def health_after(amount: int) -> int:
        trial = state.copy()
        sell_asset(trial, table, amount, owed, valuation)
        return measure(trial, valuation, TARGET).health

    return sell_asset(state, table, smallest_sufficient(most, health_after), owed, valuation)


def _amount_to_repay(state: Account, table: AssetTable, owed: int, valuation: Valuation) -> int:
    """Return how much of an asset repays the whole debt, slippage and penalty included, rounded up."""
    terms = table.asset.liquidation
    kept = rate_floor(RATE_ONE - terms.slippage, RATE_ONE - terms.penalty)
    debt = -_worth(state, owed, valuation)
    x, y = valuation.asset_x[table.index], valuation.asset_y[table.index]
    return max(1, ceil_div((debt + 1) * y * RATE_ONE, x * kept) + 1)


def sell_asset(state: Account, table: AssetTable, amount: int, owed: int, valuation: Valuation) -> Sale:
    """Give an amount of an asset for the owed asset at its price less slippage; changes `state`."""
    terms = table.asset.liquidation
    x, y = valuation.asset_x[table.index], valuation.asset_y[table.index]
    worth = rate_floor(convert_floor(amount, x, y), RATE_ONE - terms.slippage)
    proceeds = floor_div(worth * valuation.asset_y[owed], valuation.asset_x[owed])
    state.balances[table.index] -= amount
    state.balances[owed] += proceeds
    penalty = _affordable(state, proceeds, terms, owed, valuation)
    state.balances[owed] -= penalty
    price = slipped_price(valuation.prices[table.index], terms.slippage, selling=True)
    return Sale(table.index, amount, price, owed, proceeds, penalty)
