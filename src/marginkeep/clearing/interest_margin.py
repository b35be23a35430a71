"""What the open interest of its markets adds to an account's initial requirement."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from marginkeep.book.health import order_loss, size_requirement
from marginkeep.clearing.position_checks import lot_value
from marginkeep.liquidation.position_limits import interest_share, scaled_requirement
from marginkeep.margin.tiered import convert_floor, notional
from marginkeep.rulebook.model import INITIAL
from marginkeep.units import ceil_div

if TYPE_CHECKING:
    from fractions import Fraction

    from marginkeep.book.account import Account, Position
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.rulebook import MarketTable


def interest_requirement(tx: Transaction, account: Account) -> int:
    """Return what open interest, as staged, adds to the initial requirement, in reporting units rounded up.

    Each position counts at the worse of its market's prices for opening, which the account was last measured at.
    """
    state, total = tx.state, 0
    for index, position in account.positions.items():
        rules = state.position_rules.get(index)
        if rules is None or rules.margin is None or position.is_empty:
            continue
        market = state.tables.markets[index]
        x, y = lot_value(state, market)
        open_interest = ceil_div(tx.open_interest(index) * x, y)
        if open_interest > rules.margin.lower:
            share = interest_share(open_interest, rules.margin)
            total -= convert_floor(-_added(state, market, position, share), *_dearest(state, market.settle))
    return total


def _added(state: State, market: MarketTable, position: Position, share: Fraction) -> int:
    """Return what a position requires more for it, in settle units."""
    added = partial(_added_at, market, position, share)
    if state.opening is not None:
        return state.opening.worsened(market.index, position, added)
    return added(state.valuation.market_x[market.index], state.valuation.market_y[market.index])


def _added_at(market: MarketTable, position: Position, share: Fraction, x: int, y: int) -> int:
    """Return by how much the worst of no order filled, all bids filled, all asks filled requires more when scaled."""
    plain = scaled = 0
    for size, cost, net in (
        (0, 0, position.size),
        (position.bid_size, position.bid_cost, position.size + position.bid_size),
        (-position.ask_size, position.ask_cost, position.size - position.ask_size),
    ):
        requirement, loss = size_requirement(market, INITIAL, net, x, y), order_loss(market, size, cost, x, y)
        plain = max(plain, requirement + loss)
        scaled = max(scaled, scaled_requirement(requirement, notional(net, x, y), share) + loss)
    return scaled - plain


def _dearest(state: State, asset: int) -> tuple[int, int]:
    """Return (x, y) of an asset at its highest price for opening."""
    table = state.tables.assets[asset]
    price = state.valuation.prices[asset] if state.opening is None else state.opening.asset(asset)[1]
    return price * table.numerator, table.denominator
