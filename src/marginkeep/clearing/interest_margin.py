"""What the open interest of its markets adds to an account's initial requirement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.health import order_loss, size_requirement
from marginkeep.book.limits import payoff_at
from marginkeep.clearing.position_checks import lot_value
from marginkeep.liquidation.position_limits import interest_share, scaled_requirement
from marginkeep.margin.tiered import convert_floor, notional
from marginkeep.rulebook.model import INITIAL
from marginkeep.units import ceil_div

if TYPE_CHECKING:
    from fractions import Fraction

    from marginkeep.book.account import Account, Position
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.rulebook import MarketTable


def interest_requirement(tx: Transaction, account: Account) -> int:
    """Return what open interest, as staged, adds to the initial requirement, in reporting units rounded up.

    Each position counts at the dearer of its market's prices for opening.
    """
    state, total = tx.state, 0
    for index, position in account.positions.items():
        rules = state.position_rules.get(index)
        if rules is None or rules.margin is None or position.is_empty:
            continue
        market = state.tables.markets[index]
        x, y = lot_value(state, market)
        share = interest_share(ceil_div(tx.open_interest(index) * x, y), rules.margin)
        prices, coin = _prices(tx, market)
        added = max(_added(market, position, payoff_at(market, ticks), share) for ticks in prices)
        settle = state.tables.assets[market.settle]
        total -= convert_floor(-added, coin * settle.numerator, settle.denominator)
    return total


def _prices(tx: Transaction, market: MarketTable) -> tuple[tuple[int, int], int]:
    """Return lowest and highest price of a market for opening, and the highest of what it settles in, in ticks."""
    state = tx.state
    if state.opening is not None:
        return state.opening.market(market.index), state.opening.asset(market.settle)[1]
    mark = state.valuation.marks[market.index]
    return (mark, mark), state.valuation.prices[market.settle]


def _added(market: MarketTable, position: Position, price: tuple[int, int], share: Fraction) -> int:
    """Return by how much the worst of no order filled, all bids filled, all asks filled requires more when scaled."""
    plain = scaled = 0
    for size, cost, net in (
        (0, 0, position.size),
        (position.bid_size, position.bid_cost, position.size + position.bid_size),
        (-position.ask_size, position.ask_cost, position.size - position.ask_size),
    ):
        requirement, loss = size_requirement(market, INITIAL, net, *price), order_loss(market, size, cost, *price)
        plain = max(plain, requirement + loss)
        scaled = max(scaled, scaled_requirement(requirement, notional(net, *price), share) + loss)
    return scaled - plain
