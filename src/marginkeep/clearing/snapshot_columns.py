"""A book as canonical columns: the same accounts give the same bytes, whatever blocks their rows lie in.

Accounts stand in the order of their index, positions by market and balances by asset within an account; empty
positions and zero balances are left out. A column is little-endian integers of the narrowest width that holds them all,
so that its width follows from its values. Small books are written by plain Python, which is quicker there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from marginkeep.book import columns as c
from marginkeep.book.account import MODES, NO_PARENT
from marginkeep.book.columns import AMOUNT, ASK_SIZE, BID_SIZE, COST, MARKET, SIZE, Book
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from marginkeep.book.columns import Rows

    Column = NDArray[np.signedinteger]

INT64_BOUNDS: Final = (-(2**63), 2**63 - 1)

VECTORS_FROM: Final = 48
"""Accounts from which NumPy is quicker than plain Python."""

_STRETCH_ACCOUNTS: Final = 2_048
_STRETCH_ROWS: Final = 8_192
"""How much is worked on at once: little enough to stay in the processor's cache."""

_SPARE_SHARE: Final = 8
"""One row in this many is spare when a book is read."""

_WIDTHS: Final = (1,) * 8 + (2,) * 8 + (4,) * 16 + (8,) * 32
"""Bytes of a column by the bits of its largest magnitude."""

_CODES: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
"""Letters of `struct` by bytes."""

_OWN_WIDTH: Final = 4
"""Columns of an account's own: mode, parent and two counts."""


class BookColumns(msgspec.Struct, forbid_unknown_fields=True):
    """A book's columns as bytes.

    Attributes
    ----------
    accounts : mode, parent, how many positions, how many balances: one number an account
    positions : `MARKET` ... `ASK_COST`, one number a position
    balances : `ASSET`, `AMOUNT`, one number a balance
    """

    accounts: tuple[bytes, ...]
    positions: tuple[bytes, ...]
    balances: tuple[bytes, ...]


class BookCopy(NamedTuple):
    """A book's rows as they stood at one moment, blocks and all."""

    accounts: Rows
    positions: Rows
    balances: Rows


def copy_book(book: Book) -> BookCopy:
    """Return what the columns are made of, independent of the book: the only part that must not be interrupted."""
    return BookCopy(
        book.accounts[: book.count].copy(),
        book.positions.rows[: book.positions.used].copy(),
        book.balances.rows[: book.balances.used].copy(),
    )


def columns_of(copy: BookCopy) -> BookColumns:
    """Return the canonical columns of a book."""
    return plain_columns(copy) if len(copy.accounts) < VECTORS_FROM else vector_columns(copy)


# Writing -------------------------------------------------------------------------------------------------------


def pack(values: Sequence[int]) -> bytes:
    """Return integers as a column."""
    if not any(values):
        return bytes(len(values))
    width = _bytes_for(min(values), max(values))
    return struct.pack(f"<{len(values)}{_CODES[width]}", *values)


def _bytes_for(low: int, high: int) -> int:
    """Return the bytes of the narrowest signed integer that holds both bounds."""
    return _WIDTHS[((low if low >= 0 else ~low) | (high if high >= 0 else ~high)).bit_length()]


def plain_columns(copy: BookCopy) -> BookColumns:
    """Return the columns, made by plain Python: the twin of `vector_columns`."""
    accounts: list[tuple[int, ...]] = []
    positions: list[list[int]] = []
    balances: list[list[int]] = []
    position_rows, balance_rows = copy.positions.tolist(), copy.balances.tolist()
    for mode, parent, start, count, _, balance_start, balance_count, _ in copy.accounts.tolist():
        rows = position_rows[start : start + count]
        held = [row for row in rows if row[SIZE] or row[COST] or row[BID_SIZE] or row[ASK_SIZE]]
        amounts = [row for row in balance_rows[balance_start : balance_start + balance_count] if row[AMOUNT]]
        accounts.append((mode, parent, len(held), len(amounts)))
        positions += sorted(held)
        balances += sorted(amounts)
    return BookColumns(
        _packed(accounts, _OWN_WIDTH), _packed(positions, c.POSITION_WIDTH), _packed(balances, c.BALANCE_WIDTH)
    )


def _packed(rows: Sequence[Sequence[int]], width: int) -> tuple[bytes, ...]:
    return tuple(pack(column) for column in zip(*rows, strict=True)) if rows else (b"",) * width


def vector_columns(copy: BookCopy) -> BookColumns:
    """Return the columns, made by NumPy, a stretch of accounts at a time."""
    accounts, positions, balances = [], [], []
    for first in range(0, max(1, len(copy.accounts)), _STRETCH_ACCOUNTS):
        stretch = copy.accounts[first : first + _STRETCH_ACCOUNTS]
        held, held_counts = _canonical(stretch[:, c.POSITION_START :], copy.positions)
        amounts, amount_counts = _canonical(stretch[:, c.BALANCE_START :], copy.balances)
        accounts.append(_narrowed([stretch[:, c.MODE], stretch[:, c.PARENT], held_counts, amount_counts]))
        positions.append(_narrowed(held))
        balances.append(_narrowed(amounts))
    return BookColumns(_joined(accounts), _joined(positions), _joined(balances))


def _canonical(blocks: Rows, rows: Rows) -> tuple[Rows, Rows]:
    """Return the columns of the blocks' rows in canonical order, and how many each block has."""
    starts, counts = blocks[:, 0], blocks[:, 1]
    owners = np.repeat(np.arange(len(counts)), counts)
    places = (starts - (np.cumsum(counts) - counts))[owners] + np.arange(len(owners))
    columns = np.ascontiguousarray(rows[places].T)
    keys = (owners << 32) | columns[MARKET]
    if not (keys[1:] > keys[:-1]).all():
        columns = columns[:, np.argsort(keys, kind="stable")]
    kept = _is_held(columns)
    if not kept.all():
        columns, counts = columns[:, kept], np.bincount(owners[kept], minlength=len(counts))
    return columns, counts


def _is_held(columns: Sequence[Column] | Rows) -> NDArray[np.bool_]:
    """Tell which positions are not empty, as `Position.is_empty` says, or which balances are not zero."""
    # the amount of a balance stands where a position's size does
    held: NDArray[np.bool_] = columns[SIZE] != 0
    for place in (COST, BID_SIZE, ASK_SIZE) if len(columns) == c.POSITION_WIDTH else ():
        held |= columns[place] != 0
    return held


def _narrowed(columns: Sequence[Rows] | Rows) -> list[Column]:
    return [column.astype(f"<i{_bytes_of(column)}") for column in columns]


def _bytes_of(column: Column) -> int:
    return _bytes_for(int(column.min()), int(column.max())) if len(column) else 1


def _joined(stretches: list[list[Column]]) -> tuple[bytes, ...]:
    """Return each column's stretches as one, of the width of the widest."""
    return tuple(_concatenated([part for part in parts if len(part)]) for parts in zip(*stretches, strict=True))


def _concatenated(parts: list[Column]) -> bytes:
    width = max((part.itemsize for part in parts), default=1)
    return b"".join(part.astype(f"<i{width}", copy=False).data for part in parts)


# Reading -------------------------------------------------------------------------------------------------------


def unpack(column: bytes, count: int, what: str, low: int, high: int) -> Column:
    """Return a column of `count` integers, all within bounds.

    Raises
    ------
    InputError : another count, a number out of bounds, or a width that is not the narrowest
    """
    width = len(column) // count if count else 0
    if len(column) != width * count or (count and width not in _CODES):
        raise InputError(f"the snapshot is damaged: {what} has {len(column)} bytes for {count} numbers: use another")
    if not count:
        return np.zeros(0, np.int8)
    values: Column = np.frombuffer(column, f"<i{width}")
    lowest, highest = int(values.min()), int(values.max())
    if lowest < low or highest > high:
        raise InputError(
            f"the snapshot is damaged: {what} spans {lowest} to {highest}, bounds are {low} and {high}: use another"
        )
    if width != _bytes_for(lowest, highest):
        raise InputError(f"the snapshot is damaged: {what} takes {width} bytes where fewer hold it: use another")
    return values


def book_of(columns: BookColumns, accounts: int, markets: int, assets: int) -> Book:
    """Return the book that columns describe, which later commands may change.

    Raises
    ------
    InputError : counts that do not add up, numbers out of bounds, rows out of order or empty
    """
    _require_width(columns.accounts, "accounts", _OWN_WIDTH)
    bounds = (0, len(MODES) - 1), (NO_PARENT, accounts - 1), (0, markets), (0, assets)
    own = zip(columns.accounts, bounds, strict=True)
    modes, parents, held, paid = (unpack(column, accounts, "accounts", *ends).astype(np.int64) for column, ends in own)
    positions = _read_rows(columns.positions, held, "positions", c.POSITION_WIDTH, markets)
    balances = _read_rows(columns.balances, paid, "balances", c.BALANCE_WIDTH, assets)
    book = Book.from_rows(modes, held, positions[: held.sum()], balances[: paid.sum()], paid, parents)
    book.positions.rows, book.balances.rows = positions, balances
    return book


def _read_rows(columns: Sequence[bytes], counts: Rows, what: str, width: int, kinds: int) -> Rows:
    _require_width(columns, what, width)
    total = int(counts.sum())
    read = [unpack(columns[0], total, f"{what}[0]", 0, kinds - 1)]
    read += [unpack(column, total, f"{what}[{n}]", *INT64_BOUNDS) for n, column in enumerate(columns[1:], 1)]
    rising = read[0][1:] > read[0][:-1]
    begins = np.cumsum(counts)[:-1]
    rising[begins[(begins > 0) & (begins < total)] - 1] = True
    if not rising.all() or not _is_held(read).all():
        raise InputError(f"the snapshot is damaged: {what} are out of order, twice there or empty: use another")
    # With room to grow, which takes no memory yet: else the first new position would copy all the others.
    rows = np.zeros((total + total // _SPARE_SHARE, width), np.int64)
    for first in range(0, total, _STRETCH_ROWS):
        stretch = slice(first, min(first + _STRETCH_ROWS, total))
        for place, column in enumerate(read):
            rows[stretch, place] = column[stretch]
    return rows


def _require_width(columns: Sequence[bytes], what: str, width: int) -> None:
    if len(columns) != width:
        raise InputError(f"the snapshot is damaged: {what} has {len(columns)} columns, not {width}: use another")
