"""One account as its owner reads it: what it holds, how far it is from liquidation, and where it stands."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from marginkeep.book.account import SYSTEM
from marginkeep.book.health import measure
from marginkeep.book.statement import AccountStatement, PositionStatement, state_account
from marginkeep.rulebook.ladder_rules import HEALTHY, RUNGS
from marginkeep.rulebook.model import CALL
from marginkeep.service.queries.queue_places import QueuePlace
from marginkeep.service.wire.amounts import units_of
from marginkeep.units import format_exact, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.book.account import Account, Position
    from marginkeep.clearing.state import State
    from marginkeep.rulebook import MarketTable
    from marginkeep.service.queries.queue_places import Places

MOVE_DECIMALS: Final = 9
Status = Literal["healthy", "reduce_only", "margin_call", "liquidatable", "bankrupt"]


class PositionView(msgspec.Struct, frozen=True, kw_only=True):
    """One position; amounts are in the market's settle asset, None where a number does not exist.

    Attributes
    ----------
    side : None where only orders are open
    entry : average price that its cost comes to
    distance : relative move of the mark to the liquidation price, negative = a fall
    distance_value : what the position loses on the way there; of an account already below, what it must gain
    queue : place in deleveraging; None where the rulebook has none, or in lists that leave it out
    """

    market: str
    settle: str
    side: Literal["long", "short"] | None
    size: str
    entry: str | None
    cost: str
    notional: str
    mark: str
    unrealized_pnl: str
    initial_margin: str
    maintenance_margin: str
    liquidation_price: str | None
    bankruptcy_price: str | None
    distance: str | None
    distance_value: str | None
    queue: QueuePlace | None = None


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of an open order."""

    order: str
    account: str
    market: str
    side: Literal["buy", "sell"]
    size: str
    price: str


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """A margin call.

    Attributes
    ----------
    missing : to the call requirement, now
    deadline_ns : until when it may be cured; 0 = as soon as prices allow more than a call
    reminded : reminders sent
    waits_for : markets and assets whose price or state keeps the account from being liquidated
    """

    missing: str
    deadline_ns: int
    reminded: int
    waits_for: list[str]


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """One account; amounts are in the reporting asset, None where a number does not exist.

    Attributes
    ----------
    health, health_initial : collateral less requirement, at maintenance and when opening
    rung, since_ns : where it stands on the ladder, and since when
    auctioned : its positions are on offer
    why : the numbers in sentences
    """

    account: str
    mode: Literal["cross", "isolated", "system"]
    equity: str
    collateral: str
    initial_margin: str
    maintenance_margin: str
    health: str
    health_initial: str
    health_factor: str | None
    margin_ratio: str | None
    leverage: str | None
    status: Status
    rung: str
    since_ns: int
    call: CallView | None
    auctioned: bool
    balances: dict[str, str]
    positions: list[PositionView]
    orders: list[OrderView]
    why: list[str]


def account_view(state: State, name: str, places: Mapping[tuple[int, bool], Places] | None = None) -> AccountView:
    """Return an existing account's view.

    Parameters
    ----------
    places : queues of the sides that it holds, see `queue_places`
    """
    index = state.index[name]
    account = state.book.read(index)
    stated = state_account(name, account, state.valuation)
    ill = state.ill.get(name)
    same = {field: getattr(stated, field) for field in AccountStatement.__slots__ if field not in _OTHERWISE}
    return AccountView(
        account=name,
        **same,
        rung=RUNGS[ill.rung if ill is not None else HEALTHY],
        since_ns=ill.since_ns if ill is not None else 0,
        call=_call(state, name, account),
        auctioned=ill is not None and ill.auction is not None,
        balances=balances_of(state, account),
        positions=positions_of(state, index, account, stated, places or {}),
        orders=orders_of(state, name),
        why=list(stated.why),
    )


_OTHERWISE: Final = ("id", "positions", "why")
"""What the view tells in its own way; the rest of the statement it takes over as it is."""


def balances_of(state: State, account: Account) -> dict[str, str]:
    """Return balances by asset, in whole units."""
    units, assets = units_of(state.rulebook), state.tables.assets
    return {
        assets[index].name: units.grid("amount", assets[index].name).format(amount)
        for index, amount in sorted(account.balances.items())
    }


def positions_of(
    state: State, index: int, account: Account, stated: AccountStatement, places: Mapping[tuple[int, bool], Places]
) -> list[PositionView]:
    """Return an account's positions, in order of markets."""
    views = []
    for market_index, line in zip(sorted(account.positions), stated.positions, strict=True):
        position = account.positions[market_index]
        queue = places.get((market_index, position.size > 0)) if position.size and account.mode != SYSTEM else None
        views.append(
            _position(state, state.tables.markets[market_index], position, line, queue.of(index) if queue else None)
        )
    return views


def _position(
    state: State, market: MarketTable, position: Position, stated: PositionStatement, queue: QueuePlace | None
) -> PositionView:
    distance, value = _distance(state, market, position, stated)
    same = {field: getattr(stated, field) for field in PositionStatement.__slots__}
    return PositionView(
        **same,
        side=None if not position.size else "long" if position.size > 0 else "short",
        entry=entry_price(state, market, position),
        cost=units_of(state.rulebook).grid("settle", market.name).format(position.cost),
        distance=distance,
        distance_value=value,
        queue=queue,
    )


def entry_price(state: State, market: MarketTable, position: Position) -> str | None:
    """Return the price that a position's cost comes to; None where it has no size or no cost."""
    if not position.size or not position.cost:
        return None
    contracts = position.size * market.market.lot * market.market.contract_size
    cost = position.cost * state.tables.assets[market.settle].asset.unit
    return format_exact(cost / contracts if market.sign > 0 else -contracts / cost)


def _distance(
    state: State, market: MarketTable, position: Position, stated: PositionStatement
) -> tuple[str | None, str | None]:
    """Return how far the mark is from the liquidation price: relative, and in settle units of the whole position."""
    if stated.liquidation_price is None:
        return None, None
    mark, price = parse_decimal(stated.mark), parse_decimal(stated.liquidation_price)
    if not mark or not price:
        return None, None
    contracts = abs(position.size) * market.market.lot * market.market.contract_size
    move = price - mark if market.sign > 0 else Fraction(1) / mark - Fraction(1) / price
    decimals = state.tables.assets[market.settle].asset.decimals
    return format_exact(price / mark - 1, MOVE_DECIMALS), format_exact(abs(move) * contracts, decimals)


def _call(state: State, name: str, account: Account) -> CallView | None:
    ill, waits_for = state.ill.get(name), state.called.get(name, ())
    if not waits_for and (ill is None or ill.deadline_ns is None):
        return None
    missing = max(0, -measure(account, state.valuation, CALL).health)
    return CallView(
        missing=units_of(state.rulebook).grid("reporting", "").format(missing),
        deadline_ns=(ill.deadline_ns or 0) if ill is not None else 0,
        reminded=ill.reminded if ill is not None else 0,
        waits_for=list(waits_for),
    )


def orders_of(state: State, name: str) -> list[OrderView]:
    """Return an account's open orders by id."""
    units, markets = units_of(state.rulebook), state.tables.markets
    found = []
    for key, order in sorted(state.orders.get(state.index[name], {}).items()):
        market = markets[order.market].name
        found.append(
            OrderView(
                order=key,
                account=name,
                market=market,
                side="buy" if order.is_buy else "sell",
                size=units.grid("lots", market).format(order.size),
                price=units.grid("ticks", market).format(order.price),
            )
        )
    return found
