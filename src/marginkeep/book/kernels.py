"""Exact health of a whole book: Numba kernels over the columns, equal to `marginkeep.book.health` to the unit.

The leaves are the twin's own functions, compiled; only the loops are written twice. Importing this module imports
Numba (about half a second), so callers import it only when a book is large enough to gain by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from marginkeep import units
from marginkeep.book import columns as c
from marginkeep.book.account import SYSTEM
from marginkeep.compiled import kernel
from marginkeep.margin import tiered
from marginkeep.rulebook.model import INITIAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.book.columns import Book, Rows
    from marginkeep.book.valuation import Valuation

_compiled = kernel()
_rate_floor = _compiled(units.rate_floor)
_convert_floor = _compiled(tiered.convert_floor)
_signed_value = _compiled(tiered.signed_value)
_notional = _compiled(tiered.notional)
_requirement_by_value = _compiled(tiered.requirement_by_value)
_requirement_by_size = _compiled(tiered.requirement_by_size)


SIGN, X, Y, LONG_INDEX, SHORT_INDEX, SETTLE_X, SETTLE_Y, BY_SIZE, FIRST_TIER, LAST_TIER, PROFIT_WEIGHT = range(11)
TAKER_FEE, PLAIN_BELOW, FIRST_RATE, SETTLE_ASSET = 11, 12, 13, 14
_MARKET_WIDTH = 15


class LevelColumns(NamedTuple):
    """Rules and prices at one level, gathered for the kernels: everything a position's row needs is in one row.

    Attributes
    ----------
    markets : int64[markets, 15], columns `SIGN` ... `SETTLE_ASSET`; positions worth less than `PLAIN_BELOW` are the
        common case: linear, settled in the reporting asset, whole units, profit counted in full, in the first tier
    tiers : int64[tiers, 5]: floor, offset, rate, whole, part
    assets : int64[assets, 4]: x, y, weight, debt weight
    """

    markets: Rows
    tiers: Rows
    assets: Rows


def level_columns(valuation: Valuation, level: int) -> LevelColumns:
    """Gather rules at a level and current prices into columns for the kernels."""
    tables = valuation.tables
    tiers: list[tuple[int, int, int, int, int]] = []
    markets = np.zeros((len(tables.markets), _MARKET_WIDTH), np.int64)
    for table in tables.markets:
        first = len(tiers)
        tiers.extend(table.tiers[level])
        x, y = valuation.market_x[table.index], valuation.market_y[table.index]
        settle_x, settle_y = valuation.asset_x[table.settle], valuation.asset_y[table.settle]
        weight = table.profit_weight[level]
        plain = (table.sign, y, table.settle, table.by_size, weight) == (1, 1, tables.reporting, False, units.RATE_ONE)
        second_floor = table.tiers[level][1][0] if len(table.tiers[level]) > 1 else units.INT64_SAFE
        markets[table.index] = (
            *(table.sign, x, y, valuation.funding[table.index], valuation.funding_short[table.index]),
            *(settle_x, settle_y, table.by_size, first, len(tiers) - 1, weight, table.market.taker_fee),
            *(min(second_floor, units.INT64_SAFE) if plain else 0, table.tiers[level][0][2], table.settle),
        )
    assets = [
        (valuation.asset_x[a.index], valuation.asset_y[a.index], a.weight[level], a.debt_weight[level])
        for a in tables.assets
    ]
    return LevelColumns(markets, np.array(tiers, np.int64).reshape(-1, 5), np.array(assets, np.int64))


@_compiled
def _size_requirement(size: int, number: int, markets: Rows, tiers: Rows, x: int, y: int) -> int:
    measure = abs(size)
    if not markets[number, BY_SIZE]:
        measure = measure * x if y == 1 else _notional(size, x, y)
    tier = _tier_at(measure, number, markets, tiers)
    offset, rate, whole, part = tiers[tier, 1], tiers[tier, 2], tiers[tier, 3], tiers[tier, 4]
    if markets[number, BY_SIZE]:
        return _requirement_by_size(measure, offset, rate, whole, part, x, y) if size else 0
    return _requirement_by_value(measure, offset, rate, whole, part)


@_compiled
def _tier_at(measure: int, number: int, markets: Rows, tiers: Rows) -> Any:
    tier, last, one = np.uintp(markets[number, FIRST_TIER]), np.uintp(markets[number, LAST_TIER]), np.uintp(1)
    while tier < last and tiers[tier + one, 0] <= measure:
        tier += one
    return tier


@_compiled
def _order_loss(size: int, cost: int, number: int, markets: Rows) -> int:
    value = _signed_value(size, markets[number, SIGN], markets[number, X], markets[number, Y])
    return max(0, cost - value) - _rate_floor(-abs(cost), markets[number, TAKER_FEE])


@kernel()
def _requirement_with_orders(positions: Rows, slot: int, markets: Rows, tiers: Rows) -> int:
    number, size = positions[slot, c.MARKET], positions[slot, c.SIZE]
    bid, ask = positions[slot, c.BID_SIZE], positions[slot, c.ASK_SIZE]
    x, y = markets[number, X], markets[number, Y]
    worst = _size_requirement(size, number, markets, tiers, x, y)
    if bid:
        loss = _order_loss(bid, positions[slot, c.BID_COST], number, markets)
        worst = max(worst, loss + _size_requirement(size + bid, number, markets, tiers, x, y))
    if ask:
        loss = _order_loss(-ask, positions[slot, c.ASK_COST], number, markets)
        worst = max(worst, loss + _size_requirement(size - ask, number, markets, tiers, x, y))
    return worst


@_compiled
def _profit(positions: Rows, slot: int, number: int, markets: Rows) -> int:
    size, sign, x, y = positions[slot, c.SIZE], markets[number, SIGN], markets[number, X], markets[number, Y]
    value = sign * size * x if y == 1 else _signed_value(size, sign, x, y)
    moved = markets[number, LONG_INDEX + (size < 0)] - positions[slot, c.FUNDING]
    return value - positions[slot, c.COST] + (_rate_floor(-size, moved) if moved else 0)


@_compiled
def _first_tier_requirement(notional: int, rate: int) -> Any:
    """Return `requirement_by_value` in a first tier: unsigned, which the compiler divides in half the time."""
    measure, share, one = np.uint64(notional), np.uint64(rate), np.uint64(units.RATE_ONE)
    high = measure // one
    return np.int64(high * share + ((measure - high * one) * share + (one - np.uint64(1))) // one)


@kernel()
def _terms(positions: Rows, slot: int, markets: Rows, tiers: Rows, with_orders: bool) -> tuple[int, int]:
    number = positions[slot, c.MARKET]
    if with_orders:
        required = _requirement_with_orders(positions, slot, markets, tiers)
    else:
        x, y = markets[number, X], markets[number, Y]
        required = _size_requirement(positions[slot, c.SIZE], number, markets, tiers, x, y)
    counted = _profit(positions, slot, number, markets)
    if counted > 0 and markets[number, PROFIT_WEIGHT] != units.RATE_ONE:
        counted = _rate_floor(counted, markets[number, PROFIT_WEIGHT])
    x, y = markets[number, SETTLE_X], markets[number, SETTLE_Y]
    if x == 1 and y == 1:
        return counted, required
    return _convert_floor(counted, x, y), -_convert_floor(-required, x, y)


@_compiled
def _balances(balances: Rows, start: int, count: int, assets: Rows) -> tuple[int, int]:
    held = owed = 0
    for slot in range(start, start + count):
        row = np.uintp(slot)
        asset, worth = np.uintp(balances[row, c.ASSET]), balances[row, c.AMOUNT]
        if assets[asset, 0] != 1 or assets[asset, 1] != 1:
            worth = _convert_floor(worth, assets[asset, 0], assets[asset, 1])
        if worth < 0:
            owed -= _rate_floor(worth, assets[asset, 3])
        elif assets[asset, 2] == units.RATE_ONE:
            held += worth
        else:
            held += _rate_floor(worth, assets[asset, 2])
    return held, owed


@kernel()
def _measure_all(
    accounts: Rows,
    positions: Rows,
    balances: Rows,
    markets: Rows,
    tiers: Rows,
    assets: Rows,
    with_orders: bool,
    collateral: Rows,
    requirement: Rows,
) -> None:
    for number_of_account in range(len(collateral)):
        index = np.uintp(number_of_account)
        if accounts[index, c.MODE] == SYSTEM:
            collateral[index] = requirement[index] = 0
            continue
        held, owed = _balances(balances, accounts[index, c.BALANCE_START], accounts[index, c.BALANCE_COUNT], assets)
        start = accounts[index, c.POSITION_START]
        end = start + accounts[index, c.POSITION_COUNT]
        for slot in range(start, end):
            row = np.uintp(slot)  # unsigned: the compiler need not ask whether an index counts from the end
            number = np.uintp(positions[row, c.MARKET])
            size = positions[row, c.SIZE]
            value = size * markets[number, X]
            if abs(value) < markets[number, PLAIN_BELOW] and not with_orders:
                owed += _first_tier_requirement(abs(value), markets[number, FIRST_RATE])
                held += value - positions[row, c.COST]
                moved = markets[number, LONG_INDEX + (size < 0)] - positions[row, c.FUNDING]
                if moved:
                    held += _rate_floor(-size, moved)
            else:
                counted, required = _terms(positions, slot, markets, tiers, with_orders)
                held += counted
                owed += required
        collateral[index] = held
        requirement[index] = owed


@kernel()
def _equity_all(accounts: Rows, positions: Rows, balances: Rows, markets: Rows, assets: Rows, equity: Rows) -> None:
    for index in range(len(equity)):
        total = 0
        start = accounts[index, c.BALANCE_START]
        for slot in range(start, start + accounts[index, c.BALANCE_COUNT]):
            asset = balances[slot, c.ASSET]
            total += _convert_floor(balances[slot, c.AMOUNT], assets[asset, 0], assets[asset, 1])
        start = accounts[index, c.POSITION_START]
        for slot in range(start, start + accounts[index, c.POSITION_COUNT]):
            number = positions[slot, c.MARKET]
            profit = _profit(positions, slot, number, markets)
            total += _convert_floor(profit, markets[number, SETTLE_X], markets[number, SETTLE_Y])
        equity[index] = total


def measure_all(book: Book, valuation: Valuation, level: int) -> tuple[Rows, Rows]:
    """Return (collateral, requirement), int64[accounts] each, of every account at a level, in reporting units."""
    collateral = np.empty(book.count, np.int64)
    requirement = np.empty(book.count, np.int64)
    columns = level_columns(valuation, level)
    _measure_all(*_rows(book), *columns, level == INITIAL, collateral, requirement)
    return collateral, requirement


def measure_listed(book: Book, valuation: Valuation, level: int, listed: Sequence[int]) -> tuple[Rows, Rows]:
    """Return (collateral, requirement), int64[listed] each, of some accounts at a level, in reporting units."""
    accounts, positions, balances = _rows(book)
    chosen = accounts[np.array(listed, np.int64)]
    collateral, requirement = np.empty(len(chosen), np.int64), np.empty(len(chosen), np.int64)
    _measure_all(
        chosen, positions, balances, *level_columns(valuation, level), level == INITIAL, collateral, requirement
    )
    return collateral, requirement


def equity_all(book: Book, valuation: Valuation) -> Rows:
    """Return the equity, int64[accounts], of every account in reporting units."""
    equity = np.empty(book.count, np.int64)
    columns = level_columns(valuation, INITIAL)
    _equity_all(*_rows(book), columns.markets, columns.assets, equity)
    return equity


def _rows(book: Book) -> tuple[Rows, Rows, Rows]:
    return book.accounts, book.positions.rows, book.balances.rows
