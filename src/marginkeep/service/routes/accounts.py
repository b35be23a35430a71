"""Questions about accounts: one's own in full or lean, and, for the venue, all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from litestar.params import FromPath, FromQuery
from litestar.response.base import ASGIResponse

from marginkeep.book.account import SYSTEM
from marginkeep.book.statement import state_account
from marginkeep.service.access.access import ACCOUNT_NOT_FOUND, require_account
from marginkeep.service.queries.account_pages import AccountPage, measured, page_of
from marginkeep.service.queries.account_views import (
    AccountView,
    OrderView,
    PositionView,
    Status,
    account_view,
    orders_of,
    positions_of,
)
from marginkeep.service.queries.captured import beside_of
from marginkeep.service.queries.question import (
    PAGE_DEFAULT,
    AnyRequest,
    context_of,
    page_size,
    question,
    require_venue,
    settled_answer,
)
from marginkeep.service.queries.queue_places import queue_places
from marginkeep.service.stream.rows import account_row
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.clearing.state import State
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext

_TAGS: Final = ("accounts",)
Rung = Literal["healthy", "called", "soft", "partial", "auction", "bankrupt", "closed"]


class OwnerView(msgspec.Struct, frozen=True, kw_only=True):
    """An owner's accounts: the cross account and the isolated ones.

    Attributes
    ----------
    sequence, house_ns : the last record that the numbers take in, and the house's time
    liquidator : it may bid in auctions
    """

    owner: str
    sequence: int
    house_ns: int
    liquidator: bool
    accounts: list[AccountView]


class OwnedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One account."""

    sequence: int
    house_ns: int
    account: AccountView


class OwnedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position and the account that holds it."""

    account: str
    mode: str
    position: PositionView


class PositionList(msgspec.Struct, frozen=True, kw_only=True):
    """All positions of an owner."""

    owner: str
    sequence: int
    positions: list[OwnedPosition]


class OrderList(msgspec.Struct, frozen=True, kw_only=True):
    """All open orders of an owner."""

    owner: str
    sequence: int
    orders: list[OrderView]


class HealthRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account's health in few numbers, in the reporting asset; collateral and requirement at maintenance."""

    account: str
    equity: str
    collateral: str
    requirement: str
    health: str
    initial_health: str
    health_factor: str | None
    rung: str
    deadline_ns: int
    waits_for: list[str]


class HealthList(msgspec.Struct, frozen=True, kw_only=True):
    """The health of all accounts of an owner."""

    owner: str
    sequence: int
    accounts: list[HealthRow]


def accounts_of(state: State, caller: Caller, owner: str) -> list[str]:
    """Return the names of an owner's accounts, oldest first.

    Raises
    ------
    Problem : ``not_found``, for an owner that is not the caller's and for one that does not exist alike
    """
    require_account(caller, owner)
    names = [state.names[index] for index in state.accounts_of(owner)]
    if not caller.acts_for_all:
        names = [name for name in names if state.book.read(state.index[name]).mode != SYSTEM]
    if not names:
        raise Problem("not_found", ACCOUNT_NOT_FOUND)
    return names


async def _views(context: ServiceContext, names: list[str]) -> list[AccountView]:
    """Return accounts in full; the queues first, for while they are worked out the house goes on."""
    held = [context.state.book.read(context.state.index[name]) for name in names]
    sides = {(market, p.size > 0) for account in held for market, p in account.positions.items() if p.size}
    places = await queue_places(context, sides)
    return [account_view(context.state, name, places) for name in names]


@question("/v1/accounts/{owner:str}", OwnerView, "Show an owner's accounts", name="ShowAccounts", tags=_TAGS, weight=2)
async def show_accounts(request: AnyRequest, owner: FromPath[str]) -> ASGIResponse:
    """Answer balances, positions, orders, distances to liquidation and standing of all of an owner's accounts."""
    context = context_of(request)
    views = await _views(context, accounts_of(context.state, request.user, owner))
    answer = OwnerView(
        owner=owner,
        sequence=context.durable.head.sequence,
        house_ns=context.state.now_ns,
        liquidator=owner in context.state.liquidators,
        accounts=views,
    )
    return await settled_answer(context, answer, answer.sequence)


@question(
    "/v1/accounts/{owner:str}/isolated/{market:str}",
    OwnedAccount,
    "Show an isolated account",
    name="ShowIsolatedAccount",
    tags=_TAGS,
    weight=2,
)
async def show_isolated_account(request: AnyRequest, owner: FromPath[str], market: FromPath[str]) -> ASGIResponse:
    """Answer the isolated account of a market in full."""
    context = context_of(request)
    name = f"{owner}/{market}"
    if name not in accounts_of(context.state, request.user, owner):
        raise Problem("not_found", ACCOUNT_NOT_FOUND)
    (view,) = await _views(context, [name])
    answer = OwnedAccount(sequence=context.durable.head.sequence, house_ns=context.state.now_ns, account=view)
    return await settled_answer(context, answer, answer.sequence)


@question(
    "/v1/accounts/{owner:str}/positions", PositionList, "List an owner's positions", name="ListPositions", tags=_TAGS
)
async def list_positions(request: AnyRequest, owner: FromPath[str]) -> ASGIResponse:
    """Answer the positions of all of an owner's accounts, without their places in deleveraging."""
    context = context_of(request)
    state = context.state
    found: list[OwnedPosition] = []
    for name in accounts_of(state, request.user, owner):
        account = state.book.read(state.index[name])
        stated = state_account(name, account, state.valuation)
        views = positions_of(state, state.index[name], account, stated, {})
        found += [OwnedPosition(account=name, mode=stated.mode, position=view) for view in views]
    answer = PositionList(owner=owner, sequence=context.durable.head.sequence, positions=found)
    return await settled_answer(context, answer, answer.sequence)


@question("/v1/accounts/{owner:str}/orders", OrderList, "List an owner's orders", name="ListOrders", tags=_TAGS)
async def list_orders(request: AnyRequest, owner: FromPath[str]) -> ASGIResponse:
    """Answer what is left of the open orders of all of an owner's accounts."""
    context = context_of(request)
    names = accounts_of(context.state, request.user, owner)
    orders = [order for name in names for order in orders_of(context.state, name)]
    answer = OrderList(owner=owner, sequence=context.durable.head.sequence, orders=orders)
    return await settled_answer(context, answer, answer.sequence)


@question("/v1/accounts/{owner:str}/health", HealthList, "Show an owner's health", name="ShowHealth", tags=_TAGS)
async def show_health(request: AnyRequest, owner: FromPath[str]) -> ASGIResponse:
    """Answer the health of all of an owner's accounts, and nothing that takes long."""
    context = context_of(request)
    names = accounts_of(context.state, request.user, owner)
    rows: list[dict[str, Any]] = [row for name in names if (row := account_row(context.state, name)) is not None]
    sequence = context.durable.head.sequence
    return await settled_answer(context, {"owner": owner, "sequence": sequence, "accounts": rows}, sequence)


@question(
    "/v1/accounts",
    AccountPage,
    "List all accounts",
    name="ListAccounts",
    tags=_TAGS,
    weight=20,
    knows=("after", "limit", "status", "rung"),
    venue_only=True,
)
async def list_accounts(
    request: AnyRequest,
    after: FromQuery[str] = "",
    limit: FromQuery[int] = PAGE_DEFAULT,
    status: FromQuery[Status | None] = None,
    rung: FromQuery[Rung | None] = None,
) -> ASGIResponse:
    """Answer a page of the whole book, nearest to liquidation first; give `next` as `after` for the page behind it."""
    require_venue(request, "the list of all accounts")
    context = context_of(request)
    rows = page_size(context, limit)
    board = await beside_of(context).find(context, "accounts", measured)
    page = page_of(board, after, rows, status or "", rung or "")
    return await settled_answer(context, page, page.sequence)


ROUTES: Final = [
    show_accounts,
    show_isolated_account,
    list_positions,
    list_orders,
    show_health,
    list_accounts,
]
