"""All accounts, nearest to liquidation first, a page at a time: worked out over a copy of the whole book at once.

A page's token is the key of its last row, not a place in a list: it stays good when prices move, when accounts come,
and when the service restarts.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

import msgspec
import numpy as np

from marginkeep.book.account import MODES, SYSTEM
from marginkeep.book.columns import MODE
from marginkeep.book.health import equity, measure
from marginkeep.book.scan import KERNEL_FROM
from marginkeep.liquidation.deleveraging_order import falling
from marginkeep.rulebook.ladder_rules import HEALTHY, RUNGS
from marginkeep.rulebook.model import CALL, INITIAL, MAINTENANCE
from marginkeep.service.queries.account_views import Status
from marginkeep.service.wire.problems import Problem
from marginkeep.units import format_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.service.queries.captured import Captured

    Column = NDArray[np.int64]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
"""As in a statement, best first."""

FACTOR_DECIMALS: Final = 9
TOKEN_MAX: Final = 200


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """One account in a list; amounts are in the reporting asset, at maintenance."""

    account: str
    mode: str
    equity: str
    collateral: str
    requirement: str
    health: str
    health_factor: str | None
    status: Status
    rung: str


class AccountPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some accounts, nearest to liquidation first.

    Attributes
    ----------
    sequence : of the last record that the rows take in
    accounts : how many the book holds
    next : the token of the next page; None = this is the last
    """

    sequence: int
    accounts: int
    rows: list[AccountRow]
    next: str | None


class Board(NamedTuple):
    """The whole book, measured; columns by account index, `order` = users' indices, nearest to liquidation first."""

    copy: Captured
    collateral: Column
    requirement: Column
    equities: Column
    statuses: Column
    rungs: Column
    order: Column

    def key(self, index: int) -> tuple[int, Fraction, int]:
        """Return what a row is sorted by: those with a health factor first, then by it, then by age."""
        collateral, requirement = int(self.collateral[index]), int(self.requirement[index])
        if requirement or collateral < 0:
            return 0, Fraction(collateral, max(1, requirement)), index
        return 1, Fraction(0), index


def measured(copy: Captured) -> Board:
    """Measure a whole book; not for the loop."""
    book, valuation = copy.book, copy.valuation
    (collateral, requirement), call, initial = (_level(copy, level) for level in (MAINTENANCE, CALL, INITIAL))
    equities = _equities(copy)
    statuses = np.zeros(book.count, np.int64)
    statuses[initial[0] < initial[1]] = 1
    statuses[call[0] < call[1]] = 2
    statuses[collateral < requirement] = 3
    statuses[equities < 0] = 4
    rungs = np.full(book.count, HEALTHY, np.int64)
    for index, rung in copy.rungs.items():
        rungs[index] = rung
    users = np.flatnonzero(book.accounts[: book.count, MODE] != SYSTEM)
    assert valuation.tables.rulebook is copy.rulebook, "prices and rules of two moments"
    return Board(
        copy, collateral, requirement, equities, statuses, rungs, users[_order(collateral[users], requirement[users])]
    )


def _level(copy: Captured, level: int) -> tuple[Column, Column]:
    """Return collateral and requirement of every account at a level."""
    book = copy.book
    if book.count >= KERNEL_FROM:
        from marginkeep.book.kernels import measure_all

        collateral, requirement = measure_all(book, copy.valuation, level)
        return collateral, requirement
    rows = [measure(book.read(index), copy.valuation, level) for index in range(book.count)]
    columns = np.array(rows, np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def _equities(copy: Captured) -> Column:
    book = copy.book
    if book.count >= KERNEL_FROM:
        from marginkeep.book.kernels import equity_all

        found: Column = equity_all(book, copy.valuation)
        return found
    return np.array([equity(book.read(index), copy.valuation) for index in range(book.count)], np.int64)


def _order(collateral: Column, requirement: Column) -> Column:
    """Return rows by the exact ratio of collateral to requirement, the lowest first; those without one last."""
    divided = np.maximum(requirement, 1)
    below = np.flatnonzero(collateral < 0)
    zero = np.flatnonzero((collateral == 0) & (requirement > 0))
    above = np.flatnonzero((collateral > 0) & (requirement > 0))
    none = np.flatnonzero((collateral >= 0) & (requirement == 0))
    worst = below[falling((-collateral[below],), (divided[below],))]
    rest = above[falling((requirement[above],), (collateral[above],))]
    return np.concatenate([worst, zero, rest, none])


def page_of(board: Board, after: str, limit: int, status: str = "", rung: str = "") -> AccountPage:
    """Return the rows after a token, of those with a status and on a rung.

    Raises
    ------
    Problem : ``bad_request`` for a token that is none
    """
    start = bisect_right(board.order, _read_token(after), key=lambda index: board.key(int(index))) if after else 0
    rest = board.order[start:]
    kept = np.ones(len(rest), np.bool_)
    if status:
        kept &= board.statuses[rest] == STATUSES.index(status)
    if rung:
        kept &= board.rungs[rest] == RUNGS.index(rung)
    chosen: list[int] = rest[kept][: limit + 1].tolist()
    more = len(chosen) > limit
    rows = [_row(board, index) for index in chosen[:limit]]
    copy = board.copy
    return AccountPage(
        sequence=copy.sequence,
        accounts=copy.book.count,
        rows=rows,
        next=_token(board.key(chosen[limit - 1])) if more else None,
    )


def _row(board: Board, index: int) -> AccountRow:
    copy = board.copy
    money = copy.units.grid("reporting", "").format
    collateral, requirement = int(board.collateral[index]), int(board.requirement[index])
    return AccountRow(
        account=copy.names[index],
        mode=MODES[int(copy.book.accounts[index, MODE])],
        equity=money(int(board.equities[index])),
        collateral=money(collateral),
        requirement=money(requirement),
        health=money(collateral - requirement),
        health_factor=format_ratio(collateral, requirement, FACTOR_DECIMALS),
        status=STATUSES[int(board.statuses[index])],
        rung=RUNGS[int(board.rungs[index])],
    )


def _token(key: tuple[int, Fraction, int]) -> str:
    kind, ratio, index = key
    text = f"{kind}:{ratio.numerator}:{ratio.denominator}:{index}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, Fraction, int]:
    try:
        if len(token) > TOKEN_MAX:
            raise ValueError("too long")
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        kind, numerator, denominator, index = map(int, text.split(":"))
        return kind, Fraction(numerator, denominator), index
    except (ValueError, ZeroDivisionError, binascii.Error) as error:
        raise Problem("bad_request", "after is not the token of a page: give `next` as it was answered") from error
