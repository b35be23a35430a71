"""Exact health of one account in plain Python: the twin of the kernels, and the source of every explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.book.account import SYSTEM
from marginkeep.margin.solvency import Measure
from marginkeep.margin.tiered import (
    convert_floor,
    notional,
    requirement_by_size,
    requirement_by_value,
    signed_value,
)
from marginkeep.rulebook.model import INITIAL
from marginkeep.rulebook.tables import tier_at
from marginkeep.units import rate_ceil, rate_floor

if TYPE_CHECKING:
    from marginkeep.book.account import Account, Position
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import MarketTable


class PositionTerms(NamedTuple):
    """What one position adds at one level, in settle units: unrealised profit, its counted part, requirement."""

    profit: int
    counted: int
    requirement: int


def size_requirement(market: MarketTable, level: int, size: int, x: int, y: int) -> int:
    """Return the requirement of holding `size` lots at one level, in settle units rounded up."""
    if size == 0:
        return 0
    if market.by_size:
        lots = abs(size)
        _, offset, rate, whole, part = tier_at(market.tiers[level], lots)
        return requirement_by_size(lots, offset, rate, whole, part, x, y)
    measure = notional(size, x, y)
    _, offset, rate, whole, part = tier_at(market.tiers[level], measure)
    return requirement_by_value(measure, offset, rate, whole, part)


def order_loss(market: MarketTable, size: int, cost: int, x: int, y: int) -> int:
    """Return what filling all orders of one side costs at once: the fill against the mark, and the taker fee."""
    if size == 0:
        return 0
    against_mark = cost - signed_value(size, market.sign, x, y)
    return max(0, against_mark) + rate_ceil(abs(cost), market.market.taker_fee)


def requirement_with_orders(market: MarketTable, level: int, position: Position, x: int, y: int) -> int:
    """Return the largest requirement over: no order filled, all bids filled, all asks filled."""
    worst = size_requirement(market, level, position.size, x, y)
    if position.bid_size:
        bids = size_requirement(market, level, position.size + position.bid_size, x, y)
        worst = max(worst, bids + order_loss(market, position.bid_size, position.bid_cost, x, y))
    if position.ask_size:
        asks = size_requirement(market, level, position.size - position.ask_size, x, y)
        worst = max(worst, asks + order_loss(market, -position.ask_size, position.ask_cost, x, y))
    return worst


def unrealised_profit(market: MarketTable, position: Position, valuation: Valuation) -> int:
    """Return value - cost with funding not yet booked, in settle units rounded down."""
    index = market.index
    value = signed_value(position.size, market.sign, valuation.market_x[index], valuation.market_y[index])
    funding = valuation.funding_index(index, position.size) - position.funding_entry
    return value - position.cost + (rate_floor(-position.size, funding) if funding else 0)


def position_terms(market: MarketTable, position: Position, valuation: Valuation, level: int) -> PositionTerms:
    """Return one position's terms at a level; open orders count at the initial level only."""
    x, y = valuation.market_x[market.index], valuation.market_y[market.index]
    profit = unrealised_profit(market, position, valuation)
    counted = rate_floor(profit, market.profit_weight[level]) if profit > 0 else profit
    if level == INITIAL:
        return PositionTerms(profit, counted, requirement_with_orders(market, level, position, x, y))
    return PositionTerms(profit, counted, size_requirement(market, level, position.size, x, y))


def balance_terms(amount: int, asset: int, valuation: Valuation, level: int) -> tuple[int, int]:
    """Return (collateral, requirement) that one balance adds at a level, in reporting units."""
    table = valuation.tables.assets[asset]
    x, y = valuation.asset_x[asset], valuation.asset_y[asset]
    if amount >= 0:
        return rate_floor(convert_floor(amount, x, y), table.weight[level]), 0
    return 0, rate_ceil(-convert_floor(amount, x, y), table.debt_weight[level])


def measure(account: Account, valuation: Valuation, level: int) -> Measure:
    """Return an account's collateral and requirement at a level, in reporting units.

    collateral = sum(weight * balance * price, holdings) + sum(counted profit);
    requirement = sum(debt_weight * debt * price) + sum(position requirement), each term rounded against the account.
    A system account is not measured: both are 0.
    """
    if account.mode == SYSTEM:
        return Measure(0, 0)
    collateral = requirement = 0
    for asset, amount in account.balances.items():
        held, owed = balance_terms(amount, asset, valuation, level)
        collateral += held
        requirement += owed
    markets = valuation.tables.markets
    for index, position in account.positions.items():
        market = markets[index]
        terms = position_terms(market, position, valuation, level)
        x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
        collateral += convert_floor(terms.counted, x, y)
        requirement -= convert_floor(-terms.requirement, x, y)
    return Measure(collateral, requirement)


def equity(account: Account, valuation: Valuation) -> int:
    """Return sum(balance * price) + sum(unrealised profit) with every weight 1, in reporting units rounded down."""
    total = 0
    for asset, amount in account.balances.items():
        total += convert_floor(amount, valuation.asset_x[asset], valuation.asset_y[asset])
    for index, position in account.positions.items():
        market = valuation.tables.markets[index]
        x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
        total += convert_floor(unrealised_profit(market, position, valuation), x, y)
    return total


def position_value(account: Account, valuation: Valuation) -> int:
    """Return the gross notional of all positions, in reporting units rounded up."""
    total = 0
    for index, position in account.positions.items():
        market = valuation.tables.markets[index]
        value = notional(position.size, valuation.market_x[index], valuation.market_y[index])
        total -= convert_floor(-value, valuation.asset_x[market.settle], valuation.asset_y[market.settle])
    return total
