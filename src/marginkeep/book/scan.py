"""A full exact rescan of the book: who is below a level now."""

from __future__ import annotations

from functools import cmp_to_key
from typing import TYPE_CHECKING, Final

from marginkeep.book.columns import Book
from marginkeep.book.health import measure
from marginkeep.book.limits import TERM_MAX, prove_limits
from marginkeep.errors import RulebookError
from marginkeep.margin.solvency import Measure, compare_risk
from marginkeep.rulebook.model import MAINTENANCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation

KERNEL_FROM: Final = 1_000
"""Accounts from which the kernel is used: below, plain Python is done before Numba is imported."""


WATCH_FROM: Final = 2_000
"""Accounts from which a clearinghouse keeps a watch instead of scanning; its kernels take seconds to compile once."""


def below(book: Book, valuation: Valuation, level: int) -> list[int]:
    """Return the indices of accounts whose health at a level is negative, in account order."""
    if book.count < KERNEL_FROM:
        return [i for i in range(book.count) if measure(book.read(i), valuation, level).health < 0]
    from marginkeep.book.kernels import measure_all

    collateral, requirement = measure_all(book, valuation, level)
    indices: list[int] = (collateral < requirement).nonzero()[0].tolist()
    return indices


def riskiest(accounts: Sequence[Account], valuation: Valuation, count: int) -> list[int]:
    """Return the indices of the accounts with the lowest ratio of collateral to requirement, lowest first."""
    measures = _measures(accounts, valuation)

    def safer(first: int, second: int) -> int:
        return compare_risk(measures[second], measures[first])

    return sorted(range(len(accounts)), key=cmp_to_key(safer))[:count]


def _measures(accounts: Sequence[Account], valuation: Valuation) -> list[Measure]:
    """Measure every account at maintenance; with the kernel when there are many and they fit its columns."""
    if len(accounts) < KERNEL_FROM or not _fits_columns(accounts, valuation):
        return [measure(account, valuation, MAINTENANCE) for account in accounts]
    from marginkeep.book.kernels import measure_all

    book = Book()
    for account in accounts:
        book.add(account)
    collateral, requirement = measure_all(book, valuation, MAINTENANCE)
    return [Measure(*pair) for pair in zip(collateral.tolist(), requirement.tolist(), strict=True)]


def _fits_columns(accounts: Sequence[Account], valuation: Valuation) -> bool:
    """Tell whether a case's numbers lie within the limits that the columns prove; a case may exceed them."""
    try:
        limits = prove_limits(valuation.tables)
    except RulebookError:
        return False
    if any(mark > bound.max_price for mark, bound in zip(valuation.marks, limits.markets, strict=True)):
        return False
    if any(mark and mark < bound.min_price for mark, bound in zip(valuation.marks, limits.markets, strict=True)):
        return False
    if any(price > bound.max_price for price, bound in zip(valuation.prices, limits.assets, strict=True)):
        return False
    return all(
        abs(p.size) + p.bid_size + p.ask_size <= limits.markets[m].max_position and abs(p.cost) <= TERM_MAX
        for account in accounts
        for m, p in account.positions.items()
    ) and all(
        abs(amount) <= limits.assets[asset].max_balance
        for account in accounts
        for asset, amount in account.balances.items()
    )
