"""A full exact rescan of the book: who is below a level now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.book.health import measure

if TYPE_CHECKING:
    from marginkeep.book.columns import Book
    from marginkeep.book.valuation import Valuation

KERNEL_FROM: Final = 1_000
"""Accounts from which the kernel is used: below, plain Python is done before Numba is imported."""


def below(book: Book, valuation: Valuation, level: int) -> list[int]:
    """Return the indices of accounts whose health at a level is negative, in account order."""
    if book.count < KERNEL_FROM:
        return [i for i in range(book.count) if measure(book.read(i), valuation, level).health < 0]
    from marginkeep.book.kernels import measure_all

    collateral, requirement = measure_all(book, valuation, level)
    indices: list[int] = (collateral < requirement).nonzero()[0].tolist()
    return indices
