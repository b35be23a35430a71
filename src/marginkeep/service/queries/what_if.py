"""What would be if: prices moved, money came or went, trades were made. Tried on copies; nothing is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from marginkeep.book.account import SYSTEM
from marginkeep.book.columns import MODE
from marginkeep.book.statement import AccountStatement, state_account
from marginkeep.clearing import commands as core
from marginkeep.clearing.events import Event, Rejected
from marginkeep.clearing.state import EXTERNAL
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.service.queries.account_pages import measured
from marginkeep.service.queries.account_views import AccountView, account_view
from marginkeep.service.queries.excerpt import Excerpt, reprice, set_prices
from marginkeep.service.wire.amounts import DECIMAL_LENGTH_MAX, DECIMAL_PATTERN, units_of
from marginkeep.service.wire.answers import refusal_problem
from marginkeep.service.wire.commands import NAME_LENGTH_MAX, WIRE
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.clearing import Clearinghouse
    from marginkeep.service.queries.account_pages import Board
    from marginkeep.service.queries.captured import Captured

CHANGES_MAX: Final = 100
PRICES_MAX: Final = 1_000

TRIED: Final = (
    core.Deposit,
    core.Withdraw,
    core.Transfer,
    core.AddMargin,
    core.RemoveMargin,
    core.ChangeMode,
    core.ReserveOrder,
    core.ReleaseOrder,
    core.Trade,
)
"""Commands that may be tried."""

Change: Any = WIRE[TRIED[0]]
for _kind in TRIED[1:]:
    Change |= WIRE[_kind]

Price = Annotated[
    str, Meta(pattern=DECIMAL_PATTERN, max_length=DECIMAL_LENGTH_MAX, description="price", examples=["45000"])
]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to try: prices first, then changes in their order.

    Attributes
    ----------
    account : owner, or isolated account, to be shown before and after; left out by the venue alone, with prices: the
        whole book is counted
    prices : of markets and assets, as though they were good ones of this moment; a stable price stays as it is
    changes : commands as they would be sent; a trade's other side may be ``external``
    case : a whole case instead: rules, prices and accounts of its own, as in a case file
    """

    account: Annotated[str, Meta(min_length=1, max_length=129)] | None = None
    prices: Annotated[dict[Name, Price], Meta(max_length=PRICES_MAX)] = {}
    changes: Annotated[list[Change], Meta(max_length=CHANGES_MAX)] = []
    case: dict[str, Any] | None = None


class ChangeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a change would be answered; see the problem document for what belongs to a refusal."""

    status: Literal["accepted", "rejected"]
    refusal: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    numbers: dict[str, str | int] | msgspec.UnsetType = msgspec.UNSET


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a whole book stands.

    Attributes
    ----------
    called, liquidatable, bankrupt : accounts below the call level, below maintenance, and with negative equity; each
        is counted once, at the worst
    shortfall : what those below maintenance lack there together, reporting asset
    deficit : what those with negative equity owe beyond all they have
    """

    called: int
    liquidatable: int
    bankrupt: int
    shortfall: str
    deficit: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What would be.

    Attributes
    ----------
    sequence : of the last record that it takes in
    before, after : the accounts, at present and when all of it is done
    results : of the changes, in their order
    book_before, book_after : the whole book at present and at the stated prices
    accounts : of a case, as `marginkeep health` states them
    """

    sequence: int
    before: list[AccountView] | msgspec.UnsetType = msgspec.UNSET
    after: list[AccountView] | msgspec.UnsetType = msgspec.UNSET
    results: list[ChangeResult] | msgspec.UnsetType = msgspec.UNSET
    book_before: Standing | msgspec.UnsetType = msgspec.UNSET
    book_after: Standing | msgspec.UnsetType = msgspec.UNSET
    accounts: list[AccountStatement] | msgspec.UnsetType = msgspec.UNSET


def named_in(change: Any) -> set[str]:
    """Return the accounts that a change names, the external counterparty left out."""
    fields = ("account", "source", "target", "buyer", "seller")
    found = {getattr(change, field) for field in fields if hasattr(change, field)}
    return found - ({EXTERNAL} if isinstance(change, WIRE[core.Trade]) else set())


def try_changes(cut: Excerpt, shown: str, asked: Question, sequence: int) -> Answer:
    """Try prices and changes on an excerpt, which is used up by it.

    Raises
    ------
    Problem : ``rejected`` or ``bad_request``, for a price or number that cannot be
    """
    before = _views(cut, shown)
    reprice(cut.house.state, asked.prices)
    results = [_try(cut.house, change) for change in asked.changes]
    return Answer(sequence=sequence, before=before, after=_views(cut, shown), results=results)


def _views(cut: Excerpt, shown: str) -> list[AccountView]:
    """Return an owner's accounts, or the one isolated account that was asked for, on the rungs where they stand."""
    state = cut.house.state
    names = [state.names[index] for index in state.accounts_of(owner_of(shown))]
    state.ill, state.called = cut.ill, cut.called
    views = [account_view(state, name) for name in names if shown in (name, owner_of(name))]
    state.ill, state.called = {}, {}
    return views


def _try(house: Clearinghouse, change: Any) -> ChangeResult:
    state = house.state
    try:
        command = change.to_command(state.rulebook)
    except Problem as problem:
        if problem.code != "rejected":
            raise
        return _rejected(problem)
    answer: tuple[Event, ...] = house.apply(command)
    if answer and isinstance(answer[0], Rejected):
        return _rejected(refusal_problem(answer[0], command, units_of(state.rulebook)))
    return ChangeResult(status="accepted")


def _rejected(problem: Problem) -> ChangeResult:
    more = problem.more
    return ChangeResult(
        status="rejected", refusal=more["refusal"], reason=problem.detail, numbers=more.get("numbers", {})
    )


def try_book(ticks: Mapping[str, int], copy: Captured) -> Answer:
    """Count who would be called and liquidated at other prices; not for the loop."""
    before = _standing(measured(copy))
    set_prices(copy.valuation, ticks)
    return Answer(sequence=copy.sequence, book_before=before, book_after=_standing(measured(copy)))


def _standing(board: Board) -> Standing:
    copy, money = board.copy, board.copy.units.grid("reporting", "").format
    users = copy.book.accounts[: copy.book.count, MODE] != SYSTEM
    counts = np.bincount(board.statuses[users], minlength=5).tolist()
    lacking = (board.requirement - board.collateral)[users]
    owed = -board.equities[users]
    return Standing(
        called=counts[2],
        liquidatable=counts[3],
        bankrupt=counts[4],
        shortfall=money(sum(lacking[lacking > 0].tolist())),
        deficit=money(sum(owed[owed > 0].tolist())),
    )


def try_case(case: dict[str, Any], sequence: int) -> Answer:
    """State every account of a case of its own; not for the loop.

    Raises
    ------
    InputError : the case cannot be read, and why
    """
    from marginkeep.book.case import read_case

    read = read_case(case)
    accounts = [state_account(name, account, read.valuation) for name, account in read.accounts.items()]
    return Answer(sequence=sequence, accounts=accounts)
