"""All accounts as int64 columns.

A position is one row of eight int64, a cache line, so that a trade or a re-evaluation touches one line a position and
a scan reads memory in order; `rows[:, SIZE]` is still a NumPy column. An account owns one contiguous block of position
rows and one of balance rows, named by start, count and capacity; a full block moves to a larger one, and the old one
is reused. The same rows can serve kernels that apply whole batches of trades (see `docs/decisions/0003`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.book.account import NO_PARENT, Account, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

MARKET: Final = 0
SIZE: Final = 1
COST: Final = 2
FUNDING: Final = 3
BID_SIZE: Final = 4
BID_COST: Final = 5
ASK_SIZE: Final = 6
ASK_COST: Final = 7
POSITION_WIDTH: Final = 8

ASSET: Final = 0
AMOUNT: Final = 1
BALANCE_WIDTH: Final = 2

MODE: Final = 0
PARENT: Final = 1
POSITION_START: Final = 2
POSITION_COUNT: Final = 3
POSITION_CAPACITY: Final = 4
BALANCE_START: Final = 5
BALANCE_COUNT: Final = 6
BALANCE_CAPACITY: Final = 7
ACCOUNT_WIDTH: Final = 8


class BlockRows:
    """Rows of int64 handed out in contiguous blocks; freed blocks are reused by capacity."""

    __slots__ = ("_free", "rows", "used")

    def __init__(self, width: int, rows: Rows | None = None) -> None:
        self.rows: Rows = np.zeros((0, width), np.int64) if rows is None else rows
        self.used = len(self.rows)
        self._free: dict[int, list[int]] = {}

    def allocate(self, capacity: int) -> int:
        """Return the start of a block of `capacity` rows."""
        free = self._free.get(capacity)
        if free:
            return free.pop()
        start = self.used
        self.used += capacity
        if self.used > len(self.rows):
            self._grow()
        return start

    def release(self, start: int, capacity: int) -> None:
        """Give a block back."""
        if capacity:
            self._free.setdefault(capacity, []).append(start)

    def store(self, start: int, capacity: int, values: Sequence[tuple[int, ...]]) -> tuple[int, int, int]:
        """Store rows in a block, or in a larger one when they do not fit; return start, count and capacity."""
        count = len(values)
        if count > capacity:
            self.release(start, capacity)
            capacity = 1 << (count - 1).bit_length()
            start = self.allocate(capacity)
        if count:
            self.rows[start : start + count] = values
        return start, count, capacity

    def _grow(self) -> None:
        rows = np.zeros((max(64, self.used + self.used // 2), self.rows.shape[1]), np.int64)
        rows[: len(self.rows)] = self.rows
        self.rows = rows


class Book:
    """All accounts, by index.

    Attributes
    ----------
    accounts : int64[capacity, 8], columns `MODE` ... `BALANCE_CAPACITY`; the first `count` rows are in use
    positions : blocks of int64[.., 8], columns `MARKET` ... `ASK_COST`, in lots and settle units
    balances : blocks of int64[.., 2], columns `ASSET`, `AMOUNT`, in smallest units
    """

    __slots__ = ("accounts", "balances", "count", "positions")

    def __init__(self) -> None:
        self.accounts: Rows = np.zeros((0, ACCOUNT_WIDTH), np.int64)
        self.count = 0
        self.positions = BlockRows(POSITION_WIDTH)
        self.balances = BlockRows(BALANCE_WIDTH)

    @classmethod
    def from_rows(
        cls,
        modes: Rows,
        positions_per_account: Rows,
        positions: Rows,
        balances: Rows,
        balances_per_account: Rows | None = None,
        parents: Rows | None = None,
    ) -> Book:
        """Build a whole book at once, without copying the rows.

        Parameters
        ----------
        modes : int64[accounts]
        positions_per_account : int64[accounts], how many position rows each account owns
        positions : int64[sum, 8], account by account, at most one row a market in an account
        balances : int64[sum, 2], account by account, at most one row an asset in an account
        balances_per_account : int64[accounts], how many balance rows each owns; one each when left out
        parents : int64[accounts], indices of the owners of isolated accounts; none has a parent when left out
        """
        count = len(modes)
        book = cls()
        book.count = count
        book.accounts = np.zeros((count, ACCOUNT_WIDTH), np.int64)
        book.accounts[:, MODE] = modes
        book.accounts[:, PARENT] = NO_PARENT if parents is None else parents
        if balances_per_account is None:
            balances_per_account = np.ones(count, np.int64)
        for first, counts in ((POSITION_START, positions_per_account), (BALANCE_START, balances_per_account)):
            book.accounts[:, first] = np.cumsum(counts) - counts
            book.accounts[:, first + 1] = counts
            book.accounts[:, first + 2] = counts
        book.positions = BlockRows(POSITION_WIDTH, np.ascontiguousarray(positions, np.int64))
        book.balances = BlockRows(BALANCE_WIDTH, np.ascontiguousarray(balances, np.int64))
        return book

    @property
    def nbytes(self) -> int:
        """Bytes held by the columns."""
        return self.accounts.nbytes + self.positions.rows.nbytes + self.balances.rows.nbytes

    def position_rows(self) -> Rows:
        """Return a copy of all position rows in use, account by account."""
        return self.positions.rows[self._rows_in_use(POSITION_START)]

    def balance_rows(self) -> Rows:
        """Return a copy of all balance rows in use, account by account."""
        return self.balances.rows[self._rows_in_use(BALANCE_START)]

    def _rows_in_use(self, start_column: int) -> Rows:
        starts, counts = self.accounts[: self.count, start_column : start_column + 2].T
        return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())

    def add(self, account: Account) -> int:
        """Add an account and return its index."""
        index = self.count
        if index == len(self.accounts):
            grown = np.zeros((max(64, index + index // 2), ACCOUNT_WIDTH), np.int64)
            grown[:index] = self.accounts
            self.accounts = grown
        self.count += 1
        self.accounts[index, PARENT] = NO_PARENT
        self.write(index, account)
        return index

    def read(self, index: int) -> Account:
        """Return an account as plain Python values, independent of the columns."""
        mode, parent, start, count, _, balance_start, balance_count, _ = self.accounts[index].tolist()
        rows = self.positions.rows[start : start + count].tolist()
        positions = {market: Position(a, b, c, d, e, f, g) for market, a, b, c, d, e, f, g in rows}  # as in `Position`
        balances = dict(self.balances.rows[balance_start : balance_start + balance_count].tolist())
        return Account(mode, parent, balances, positions)

    def write(self, index: int, account: Account) -> None:
        """Replace an account's rows; empty positions and zero balances are dropped."""
        row = self.accounts[index].tolist()
        _, _, start, _, capacity, balance_start, _, balance_capacity = row
        held = [
            (market, p.size, p.cost, p.funding_entry, p.bid_size, p.bid_cost, p.ask_size, p.ask_cost)
            for market, p in account.positions.items()
            if p.size or p.bid_size or p.ask_size or p.cost  # not `is_empty`, which would be called for every position
        ]
        balances = [item for item in account.balances.items() if item[1]]
        in_positions = self.positions.store(start, capacity, held)
        in_balances = self.balances.store(balance_start, balance_capacity, balances)
        written = [account.mode, account.parent, *in_positions, *in_balances]
        if written != row:
            self.accounts[index] = written


def totals_by(keys: Rows, amounts: Rows, size: int) -> list[int]:
    """Return exact sums of int64 amounts by key in [0, size), as Python ints: no sum can overflow.

    Parameters
    ----------
    keys, amounts : int64[rows]
    """
    low, high = np.zeros(size, np.int64), np.zeros(size, np.int64)
    np.add.at(low, keys, amounts & 0xFFFFFFFF)
    np.add.at(high, keys, amounts >> 32)
    return [(h << 32) + part for h, part in zip(high.tolist(), low.tolist(), strict=True)]
