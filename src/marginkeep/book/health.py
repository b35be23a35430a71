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
from marginkeep.units import RATE_ONE, rate_ceil, rate_floor

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
    fee = rate_ceil(abs(cost), market.market.taker_fee)
    return fee + against_mark if against_mark > 0 else fee


def requirement_with_orders(market: MarketTable, level: int, position: Position, x: int, y: int) -> int:
    """Return the largest requirement over: no order filled, all bids filled, all asks filled."""
    size, bid_size, ask_size = position.size, position.bid_size, position.ask_size
    worst = size_requirement(market, level, size, x, y)
    if bid_size:
        bids = size_requirement(market, level, size + bid_size, x, y)
        worst = max(worst, bids + order_loss(market, bid_size, position.bid_cost, x, y))
    if ask_size:
        asks = size_requirement(market, level, size - ask_size, x, y)
        worst = max(worst, asks + order_loss(market, -ask_size, position.ask_cost, x, y))
    return worst


def profit_at(market: MarketTable, position: Position, x: int, y: int, funding_index: int) -> int:
    """Return value - cost with funding not yet booked, in settle units rounded down, at the mark's pair (x, y).

    Parameters
    ----------
    funding_index : the index that a position of this size follows
    """
    profit = signed_value(position.size, market.sign, x, y) - position.cost
    moved = funding_index - position.funding_entry
    return profit + rate_floor(-position.size, moved) if moved else profit


def unrealised_profit(market: MarketTable, position: Position, valuation: Valuation) -> int:
    """Return value - cost with funding not yet booked, in settle units rounded down."""
    index = market.index
    x, y = valuation.market_x[index], valuation.market_y[index]
    return profit_at(market, position, x, y, valuation.funding_index(index, position.size))


def terms_at(
    market: MarketTable, position: Position, level: int, x: int, y: int, funding_index: int
) -> tuple[int, int, int]:
    """Return one position's terms at a level, at the mark's pair (x, y): a plain tuple of `PositionTerms`."""
    profit = counted = profit_at(market, position, x, y, funding_index)
    weight = market.profit_weight[level]
    if profit > 0 and weight != RATE_ONE:
        counted = rate_floor(profit, weight)
    if level == INITIAL and (position.bid_size or position.ask_size):
        return profit, counted, requirement_with_orders(market, level, position, x, y)
    return profit, counted, size_requirement(market, level, position.size, x, y)


def position_terms(market: MarketTable, position: Position, valuation: Valuation, level: int) -> PositionTerms:
    """Return one position's terms at a level; open orders count at the initial level only."""
    index = market.index
    x, y = valuation.market_x[index], valuation.market_y[index]
    return PositionTerms(*terms_at(market, position, level, x, y, valuation.funding_index(index, position.size)))


def balance_terms(amount: int, asset: int, valuation: Valuation, level: int) -> tuple[int, int]:
    """Return (collateral, requirement) that one balance adds at a level, in reporting units."""
    table = valuation.tables.assets[asset]
    x, y = valuation.asset_x[asset], valuation.asset_y[asset]
    worth = amount if x == y else convert_floor(amount, x, y)
    if amount >= 0:
        weight = table.weight[level]
        return worth if weight == RATE_ONE else rate_floor(worth, weight), 0
    return 0, rate_ceil(-worth, table.debt_weight[level])


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
    markets, market_x, market_y = valuation.tables.markets, valuation.market_x, valuation.market_y
    longs, shorts = valuation.funding, valuation.funding_short
    for index, position in account.positions.items():
        market = markets[index]
        funding_index = (
            shorts[index] if position.size < 0 else longs[index]
        )  # `Valuation.funding_index`, without a call
        _, counted, required = terms_at(market, position, level, market_x[index], market_y[index], funding_index)
        x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
        if x != y:
            counted, required = convert_floor(counted, x, y), -convert_floor(-required, x, y)
        collateral += counted
        requirement += required
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
