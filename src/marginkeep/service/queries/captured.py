"""A copy of the book and its prices, so that long questions are worked on beside the loop while the house goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from marginkeep.book.columns import BALANCE_WIDTH, POSITION_WIDTH, BlockRows, Book
from marginkeep.book.scan import KERNEL_FROM
from marginkeep.clearing.snapshot_columns import copy_book
from marginkeep.service.wire.amounts import Units, units_of

if TYPE_CHECKING:
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.context import ServiceContext

REFRESH_NS: Final = 10**9
"""An answer over a large book is worked out anew at most this often, and says which record it takes in last."""

_Found = TypeVar("_Found")


class Captured(NamedTuple):
    """The book as it stood at one record.

    Attributes
    ----------
    sequence : of the last record it takes in
    names : of the accounts, by index; may have grown at the end since
    rungs : index -> rung, of those that are not healthy
    """

    sequence: int
    rulebook: Rulebook
    book: Book
    valuation: Valuation
    names: Sequence[str]
    rungs: dict[int, int]

    @property
    def units(self) -> Units:
        """The grids of its rulebook."""
        return units_of(self.rulebook)


def capture(context: ServiceContext) -> Captured:
    """Copy what questions need; about 100 bytes a position, in the loop's thread."""
    state = context.state
    rows = copy_book(state.book)
    book = Book()
    book.count, book.accounts = len(rows.accounts), rows.accounts
    book.positions = BlockRows(POSITION_WIDTH, rows.positions)
    book.balances = BlockRows(BALANCE_WIDTH, rows.balances)
    rungs = {state.index[name]: ill.rung for name, ill in state.ill.items()}
    sequence = context.durable.head.sequence
    return Captured(sequence, state.rulebook, book, state.valuation.copy(), state.names, rungs)


class Beside:
    """Answers worked out on copies in a thread, one at a time, and kept while they are fresh."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[int, int, Any]] = {}
        self._turn = asyncio.Lock()

    async def find(self, context: ServiceContext, key: Hashable, work: Callable[[Captured], _Found]) -> _Found:
        """Return what `work` makes of a copy of the book, or made of one not long ago.

        Parameters
        ----------
        key : stands for the question
        """
        async with self._turn:
            known = self._known.get(key)
            if known is not None and self._is_fresh(context, known):
                found: _Found = known[2]
                return found
            copy, now_ns = capture(context), context.clock()
            found = await asyncio.to_thread(work, copy)
            self._known[key] = (copy.sequence, now_ns, found)
            return found

    @staticmethod
    def _is_fresh(context: ServiceContext, known: tuple[int, int, Any]) -> bool:
        sequence, made_ns, _ = known
        if sequence == context.durable.head.sequence:
            return True
        return context.state.book.count >= KERNEL_FROM and 0 <= context.clock() - made_ns < REFRESH_NS


def beside_of(context: ServiceContext) -> Beside:
    """Return the service's own, made when first asked for."""
    part: Beside = context.parts.setdefault("beside", Beside())
    return part
