"""Orders and trades: the pre-trade check, the reserve, and the clearing of both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.account import ISOLATED, SYSTEM
from marginkeep.book.fills import cost_of
from marginkeep.book.limits import ORDERS_MAX
from marginkeep.clearing.events import OrderReleased, OrderReserved, Traded, TradeSide
from marginkeep.clearing.gates import action_of, require_action
from marginkeep.clearing.position_checks import note_reaches, require_within_limits
from marginkeep.clearing.state import Order
from marginkeep.clearing.transaction import Transaction, refuse
from marginkeep.units import rate_ceil

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.clearing.commands import ReleaseOrder, ReserveOrder, Trade
    from marginkeep.margin.solvency import Measure
    from marginkeep.rulebook import MarketTable


def reserve_order(tx: Transaction, command: ReserveOrder) -> None:
    """Reserve margin for an order's worst-case fill; refuse it, with the amount missing, if it is unsafe.

    An order passes when the initial requirement holds with it, or when it does not lower initial health at all:
    one that only reduces risk.
    """
    market = tx.marked_market(command.market)
    _check_order(tx, command, market)
    account = tx.user_account(command.account)
    _require_market_allowed(account, command.account, market)
    if tx.state.oracle is not None:
        require_action(tx, _action_of_order(account, command, market), market, f"order {command.order!r}")
    reaches = note_reaches(tx, market, (command.account,))
    is_buy = command.side == "buy"
    cost = cost_of(market, command.size if is_buy else -command.size, command.price)
    tx.position(command.account, market)
    tx.set_order(command.account, command.order, Order(market.index, is_buy, command.size, command.price, cost))
    require_within_limit(tx, command.account, market)
    require_within_limits(tx, market, reaches)
    after = tx.initial(command.account)
    free = after.health
    if free < 0 or tx.state.halted:
        _refuse_if_worse(tx, command, after)
    tx.events.append(
        OrderReserved(account=command.account, order=command.order, free=free, postings=tx.take_postings())
    )


def _refuse_if_worse(tx: Transaction, command: ReserveOrder, after: Measure) -> None:
    """Refuse an order that lowers initial health where it is below 0, or where risk may only be reduced."""
    if after.health >= tx.measure_initial(tx.before(command.account)).health:
        return
    tx.refuse_if_halted(f"order {command.order!r}")
    refuse(
        "insufficient_margin",
        f"order {command.order!r} needs {-after.health} more than {command.account} has free: "
        f"deposit at least that, or make the order smaller",
        tx.worse_prices(command.account),
        missing=-after.health,
        collateral=after.collateral,
        requirement=after.requirement,
    )


def _action_of_order(account: Account, command: ReserveOrder, market: MarketTable) -> str:
    """Return ``reduce`` for an order that, with those already open on its side, at most closes the position."""
    held = account.positions.get(market.index)
    if held is None or not held.size or (held.size > 0) == (command.side == "buy"):
        return "open"
    reserved = held.ask_size if held.size > 0 else held.bid_size
    return "reduce" if reserved + command.size <= abs(held.size) else "open"


def _check_order(tx: Transaction, command: ReserveOrder, market: MarketTable) -> None:
    require_price(tx, market, command.price)
    if command.size <= 0:
        refuse("bad_size", f"size is {command.size} lots: it must be above 0")
    if tx.order(command.account, command.order) is not None:
        refuse("duplicate_order", f"{command.account} already has an order {command.order!r}: use another id")
    if tx.count_orders(command.account) >= ORDERS_MAX:
        refuse("limit", f"{command.account} has {ORDERS_MAX} open orders, the most allowed", bound=ORDERS_MAX)


def release_order(tx: Transaction, command: ReleaseOrder) -> None:
    """Give back what an order still reserves."""
    tx.user_account(command.account)
    if tx.order(command.account, command.order) is None:
        refuse("unknown_order", f"{command.account} has no open order {command.order!r}: it was filled or released")
    tx.set_order(command.account, command.order, None)
    tx.events.append(OrderReleased(account=command.account, order=command.order, reason="released"))


def require_price(tx: Transaction, market: MarketTable, price: int) -> None:
    """Refuse a price outside the market's limits."""
    limits = tx.state.limits.markets[market.index]
    if not limits.min_price <= price <= limits.max_price:
        refuse(
            "bad_price",
            f"price is {price} ticks: {market.name} accepts {limits.min_price} to {limits.max_price}",
            lowest=limits.min_price,
            highest=limits.max_price,
        )


def trade(tx: Transaction, command: Trade) -> None:
    """Clear a trade; if either side may not take it, nothing moves.

    A side passes when its initial requirement holds afterwards, or when the trade leaves it no worse: maintenance
    requirement not higher, ratio of collateral to requirement not lower.
    """
    market = tx.marked_market(command.market)
    require_price(tx, market, command.price)
    if command.size <= 0:
        refuse("bad_size", f"size is {command.size} lots: it must be above 0")
    if command.buyer == command.seller:
        refuse("self_trade", f"{command.buyer!r} is on both sides: nothing would change but fees")
    sides = (
        (command.buyer, command.buyer_order, command.size, command.taker == "buyer"),
        (command.seller, command.seller_order, -command.size, command.taker == "seller"),
    )
    for name, _, _, _ in sides:
        tx.remember(name)
    reaches = note_reaches(tx, market, (command.buyer, command.seller))
    buyer, paid = _clear_side(tx, market, *sides[0], command.price)
    seller, received = _clear_side(tx, market, *sides[1], command.price)
    tx.post_dust(market, paid + received)
    require_within_limits(tx, market, reaches)
    for name, _, _, _ in sides:
        tx.require_solvent(name, f"the trade in {market.name}")
    if tx.state.oracle is not None and market.index in tx.state.oracle.markets:
        tx.state.oracle.markets[market.index].mark.observe_trade(command.price, command.size, tx.state.now_ns)
    tx.events.append(
        Traded(
            market=market.name,
            size=command.size,
            price=command.price,
            buyer=buyer,
            seller=seller,
            postings=tx.take_postings(),
        )
    )


def _clear_side(
    tx: Transaction, market: MarketTable, name: str, order: str | None, size: int, is_taker: bool, price: int
) -> tuple[TradeSide, int]:
    """Clear one side; return what has become of it, and what the fill cost it."""
    account = tx.account(name)
    _require_market_allowed(account, name, market)
    held = account.positions.get(market.index)
    size_before = 0 if held is None else held.size
    if order is not None:
        _consume_order(tx, name, market, order, size)
    settle = account.balances.get(market.settle, 0)
    position = tx.position(name, market)
    funding = account.balances.get(market.settle, 0) - settle
    fill = tx.fill(name, market, size, price)
    if tx.state.oracle is not None:
        action = action_of(account, size_before, position.size)
        require_action(tx, action, market, f"the trade in {market.name}")
    fee = 0
    if account.mode != SYSTEM:
        fee = rate_ceil(abs(fill.cost), market.market.taker_fee if is_taker else market.market.maker_fee)
        tx.charge_fee(name, market, fee)
    require_within_limit(tx, name, market)
    return TradeSide(name, order, fee, fill.realised, funding, position.size, position.cost), fill.cost


def _consume_order(tx: Transaction, name: str, market: MarketTable, key: str, size: int) -> None:
    """Take a fill out of the order that reserved it; the reserve shrinks by what was filled."""
    order = tx.order(name, key)
    if order is None:
        refuse("unknown_order", f"{name} has no open order {key!r}: it was filled or released")
    if order.market != market.index or order.is_buy != (size > 0):
        refuse("wrong_order", f"order {key!r} of {name} is for another market or the other side")
    if order.size < abs(size):
        refuse("overfill", f"order {key!r} of {name} has {order.size} lots left, the trade has {abs(size)}")
    left = order.size - abs(size)
    if left == 0:
        tx.set_order(name, key, None)
        tx.events.append(OrderReleased(account=name, order=key, reason="filled"))
        return
    cost = cost_of(market, left if order.is_buy else -left, order.price)
    tx.set_order(name, key, Order(order.market, order.is_buy, left, order.price, cost))


def _require_market_allowed(account: Account, name: str, market: MarketTable) -> None:
    """Keep an isolated account to its own market."""
    if account.mode == ISOLATED and not name.endswith(f"/{market.name}"):
        refuse("isolated_account", f"{name!r} is isolated to its own market and may not trade {market.name}")


def require_within_limit(tx: Transaction, name: str, market: MarketTable) -> None:
    """Refuse a position that, with its open orders, could pass the largest size that columns can hold."""
    account = tx.account(name)
    if account.mode == SYSTEM:
        return
    position = account.positions[market.index]
    most = tx.state.limits.markets[market.index].max_position
    reach = abs(position.size) + position.bid_size + position.ask_size
    if reach > most:
        refuse(
            "position_limit",
            f"{name} would reach {reach} lots in {market.name}, open orders included; the limit is {most}",
            bound=most,
        )
