"""Who holds a market on one side, in the columns by which deleveraging chooses.

The columns come out of the book in one pass; accounts that a transaction has already changed are measured as staged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from marginkeep.book.account import SYSTEM
from marginkeep.book.columns import COST, FUNDING, MARKET, MODE, POSITION_COUNT, POSITION_START, SIZE
from marginkeep.book.health import equity, position_value, unrealised_profit
from marginkeep.book.scan import KERNEL_FROM
from marginkeep.liquidation.deleveraging import Winners
from marginkeep.margin.tiered import convert_floor, notional, signed_value
from marginkeep.units import rate_floor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from marginkeep.book.account import Account
    from marginkeep.book.columns import Book, Rows
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import MarketTable


def winners_of(
    book: Book, valuation: Valuation, market: MarketTable, is_long: bool, staged: Mapping[int, Account]
) -> Winners:
    """Return the accounts that hold a market on one side, without the system's.

    Under tiered margin a close always lowers an account's own requirement, so its margin does not show a hedge. The
    column `relief` is therefore the exposure that closing the whole position takes from the account: what the absolute
    value of the sum of its signed notionals falls by; negative where the position offsets others.

    Parameters
    ----------
    staged : accounts as a transaction has changed them so far, by index
    """
    side = 1 if is_long else -1
    holders = _holders(book, market.index, side)
    if len(holders) < KERNEL_FROM:
        return _measured_one_by_one(book, valuation, market, side, holders, staged)
    columns = _columns(book, valuation, market, side, holders)
    return _with_staged(columns, valuation, market, side, staged)


def _holders(book: Book, market: int, side: int) -> NDArray[np.int64]:
    """Return the indices of the accounts that hold a market on a side, rising."""
    owners, slots = _slots(book.accounts[: book.count])
    rows = book.positions.rows
    held = owners[(rows[slots, MARKET] == market) & (rows[slots, SIZE] * side > 0)]
    holders: NDArray[np.int64] = held[book.accounts[held, MODE] != SYSTEM]
    return holders


def _slots(accounts: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each position of some accounts, in order, which of these accounts owns it, and its row."""
    starts, counts = accounts[:, POSITION_START], accounts[:, POSITION_COUNT]
    owners = np.repeat(np.arange(len(accounts)), counts)
    return owners, np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def _measured_one_by_one(
    book: Book,
    valuation: Valuation,
    market: MarketTable,
    side: int,
    holders: NDArray[np.int64],
    staged: Mapping[int, Account],
) -> Winners:
    rows = []
    for index in holders.tolist():
        account = staged.get(index) or book.read(index)
        if _still_holds(account, market, side):
            rows.append((index, *_row(account, valuation, market)))
    return Winners(*np.array(rows, np.int64).reshape(-1, 6).T)


def _still_holds(account: Account, market: MarketTable, side: int) -> bool:
    position = account.positions.get(market.index)
    return position is not None and position.size * side > 0


def _row(account: Account, valuation: Valuation, market: MarketTable) -> tuple[int, int, int, int, int]:
    """Return size, profit, equity, gross notional and relief of one holder."""
    position = account.positions[market.index]
    x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
    profit = convert_floor(unrealised_profit(market, position, valuation), x, y)
    gross = position_value(account, valuation)
    net = own = 0
    for index, held in account.positions.items():
        table = valuation.tables.markets[index]
        value = notional(held.size, valuation.market_x[index], valuation.market_y[index])
        worth = -convert_floor(-value, valuation.asset_x[table.settle], valuation.asset_y[table.settle])
        signed = worth if held.size > 0 else -worth
        net += signed
        own = signed if index == market.index else own
    relief = abs(net) - abs(net - own)
    return abs(position.size), profit, equity(account, valuation), max(1, gross), relief


def _columns(
    book: Book, valuation: Valuation, market: MarketTable, side: int, holders: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Return the same for many holders at once; sizes and values are within the limits that the columns prove."""
    from marginkeep.book.kernels import equity_all

    owners, slots = _slots(book.accounts[holders])
    rows = book.positions.rows[slots]
    own = rows[rows[:, MARKET] == market.index]
    sizes, worth = own[:, SIZE], _worths(rows, valuation)
    signed = np.sign(rows[:, SIZE]) * worth
    gross, net = np.zeros((2, len(holders)), np.int64)
    np.add.at(gross, owners, worth)
    np.add.at(net, owners, signed)
    value = signed_value(sizes, market.sign, valuation.market_x[market.index], valuation.market_y[market.index])
    moved = valuation.funding_index(market.index, side) - own[:, FUNDING]
    profits = value - own[:, COST] + rate_floor(-sizes, moved)
    x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
    return {
        "accounts": holders,
        "sizes": np.abs(sizes),
        "profits": np.asarray(convert_floor(profits, x, y)),
        "equities": equity_all(book, valuation)[holders],
        "notionals": np.maximum(gross, 1),
        "relief": np.abs(net) - np.abs(net - signed[rows[:, MARKET] == market.index]),
    }


def _worths(rows: Rows, valuation: Valuation) -> NDArray[np.int64]:
    """Return the notional of each position in reporting units, rounded up."""
    tables = valuation.tables.markets
    pairs = [
        (
            valuation.market_x[m.index],
            valuation.market_y[m.index],
            valuation.asset_x[m.settle],
            valuation.asset_y[m.settle],
        )
        for m in tables
    ]
    x, y, settle_x, settle_y = np.array(pairs, np.int64)[rows[:, MARKET]].T
    value = -(-np.abs(rows[:, SIZE]) * x // y)
    quotient = -value // settle_y
    return np.asarray(-(quotient * settle_x + (-value - quotient * settle_y) * settle_x // settle_y))


def _with_staged(
    columns: dict[str, NDArray[np.int64]],
    valuation: Valuation,
    market: MarketTable,
    side: int,
    staged: Mapping[int, Account],
) -> Winners:
    """Measure staged accounts anew, and leave out those that hold no more."""
    holders = columns["accounts"]
    kept = np.ones(len(holders), np.bool_)
    for index, account in sorted(staged.items()):
        place = int(np.searchsorted(holders, index))
        if place == len(holders) or holders[place] != index:
            continue
        kept[place] = _still_holds(account, market, side)
        if kept[place]:
            values = (index, *_row(account, valuation, market))
            for column, value in zip(columns.values(), values, strict=True):
                column[place] = value
    return Winners(**{name: column[kept] for name, column in columns.items()})
