"""An account's numbers as people read them: the fields of design section 9, and sentences that say why."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from marginkeep.book.account import MODES, SYSTEM
from marginkeep.book.health import equity, measure, position_terms, position_value
from marginkeep.book.threshold_prices import bankruptcy_price, liquidation_price
from marginkeep.margin.tiered import notional
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.model import CALL, INITIAL, MAINTENANCE
from marginkeep.units import format_exact, format_ratio, format_units

if TYPE_CHECKING:
    from marginkeep.book.account import Account, Position
    from marginkeep.book.valuation import Valuation
    from marginkeep.margin.solvency import Measure
    from marginkeep.rulebook import MarketTable

HEALTHY = "healthy"
REDUCE_ONLY = "reduce_only"
MARGIN_CALL = "margin_call"
LIQUIDATABLE = "liquidatable"
BANKRUPT = "bankrupt"


@dataclass(frozen=True, slots=True)
class PositionStatement:
    """One position; amounts are in the market's settle asset."""

    market: str
    settle: str
    size: str
    notional: str
    mark: str
    unrealized_pnl: str
    initial_margin: str
    maintenance_margin: str
    liquidation_price: str | None
    bankruptcy_price: str | None


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """One account; amounts are in the reporting asset, None where a number does not exist."""

    id: str
    mode: str
    equity: str
    collateral: str
    initial_margin: str
    maintenance_margin: str
    health: str
    health_initial: str
    health_factor: str | None
    margin_ratio: str | None
    leverage: str | None
    status: str
    positions: tuple[PositionStatement, ...]
    why: tuple[str, ...]


def state_account(name: str, account: Account, valuation: Valuation) -> AccountStatement:
    """Return an account's statement at the valuation's prices."""
    initial = measure(account, valuation, INITIAL)
    call = measure(account, valuation, CALL)
    maintenance = measure(account, valuation, MAINTENANCE)
    own = equity(account, valuation)
    gross = position_value(account, valuation)
    asset = valuation.tables.assets[valuation.tables.reporting].asset
    status = _status(account, own, initial, call, maintenance)

    def money(amount: int) -> str:
        return format_units(amount, asset.decimals)

    return AccountStatement(
        id=name,
        mode=MODES[account.mode],
        equity=money(own),
        collateral=money(maintenance.collateral),
        initial_margin=money(initial.requirement),
        maintenance_margin=money(maintenance.requirement),
        health=money(maintenance.health),
        health_initial=money(initial.health),
        health_factor=format_ratio(maintenance.collateral, maintenance.requirement),
        margin_ratio=format_ratio(maintenance.collateral, gross),
        leverage=format_ratio(gross, own) if own > 0 else None,
        status=status,
        positions=tuple(
            state_position(account, valuation.tables.markets[index], valuation) for index in sorted(account.positions)
        ),
        why=tuple(_reasons(account, valuation, (initial, call, maintenance), status)),
    )


def _status(account: Account, own: int, initial: Measure, call: Measure, maintenance: Measure) -> str:
    if account.mode == SYSTEM:
        return HEALTHY
    if own < 0:
        return BANKRUPT
    if maintenance.health < 0:
        return LIQUIDATABLE
    if call.health < 0:
        return MARGIN_CALL
    return REDUCE_ONLY if initial.health < 0 else HEALTHY


def state_position(account: Account, market: MarketTable, valuation: Valuation) -> PositionStatement:
    """Return one position's statement; prices are exact roots to 18 decimals."""
    position = account.positions[market.index]
    rules = market.market
    settle = valuation.tables.assets[market.settle].asset
    initial = position_terms(market, position, valuation, INITIAL)
    maintenance = position_terms(market, position, valuation, MAINTENANCE)
    value = notional(position.size, valuation.market_x[market.index], valuation.market_y[market.index])
    held = position.size != 0 and account.mode != SYSTEM
    liquidation = liquidation_price(account, market, valuation) if held else None
    bankruptcy = bankruptcy_price(account, market, valuation) if held else None
    return PositionStatement(
        market=market.name,
        settle=rules.settle,
        size=exact_text(position.size * rules.lot),
        notional=format_units(value, settle.decimals),
        mark=exact_text(valuation.marks[market.index] * rules.tick),
        unrealized_pnl=format_units(initial.profit, settle.decimals),
        initial_margin=format_units(initial.requirement, settle.decimals),
        maintenance_margin=format_units(maintenance.requirement, settle.decimals),
        liquidation_price=None if liquidation is None else format_exact(liquidation * rules.tick),
        bankruptcy_price=None if bankruptcy is None else format_exact(bankruptcy * rules.tick),
    )


def _reasons(
    account: Account, valuation: Valuation, measures: tuple[Measure, Measure, Measure], status: str
) -> list[str]:
    initial, _, maintenance = measures
    reporting = valuation.tables.assets[valuation.tables.reporting].asset
    lines = [_balance_reason(index, account.balances[index], valuation) for index in sorted(account.balances)]
    lines += [
        _position_reason(valuation.tables.markets[index], account.positions[index], valuation)
        for index in sorted(account.positions)
    ]

    def money(amount: int) -> str:
        return f"{format_units(amount, reporting.decimals)} {reporting.name}"

    lines.append(
        f"health at maintenance = collateral {money(maintenance.collateral)} - requirement "
        f"{money(maintenance.requirement)} = {money(maintenance.health)}"
    )
    lines.append(
        _verdict(
            status,
            money(equity(account, valuation)),
            money(initial.health),
            *(money(-level.health) for level in measures),
        )
    )
    return lines


def _verdict(status: str, own: str, free: str, below_initial: str, below_call: str, below_maintenance: str) -> str:
    return {
        HEALTHY: f"healthy: {free} above the initial requirement is free",
        REDUCE_ONLY: f"reduce only: {below_initial} short of the initial requirement; new risk is refused",
        MARGIN_CALL: f"margin call: {below_call} short of the call requirement, {below_initial} short of the initial "
        f"requirement; deposit or reduce",
        LIQUIDATABLE: f"liquidatable: {below_maintenance} short of the maintenance requirement",
        BANKRUPT: f"bankrupt: equity is negative, {own}; what all its assets fetch does not pay its debts",
    }[status]


def _balance_reason(index: int, amount: int, valuation: Valuation) -> str:
    asset = valuation.tables.assets[index].asset
    price = exact_text(valuation.prices[index] * asset.tick)
    weights = asset.weight if amount >= 0 else asset.debt_weight
    what = "holding" if amount >= 0 else "debt"
    return (
        f"{what} of {format_units(abs(amount), asset.decimals)} {asset.name} at {price}, "
        f"weight {format_units(weights[MAINTENANCE], 9)} at maintenance, {format_units(weights[INITIAL], 9)} at initial"
    )


def _position_reason(market: MarketTable, position: Position, valuation: Valuation) -> str:
    rules = market.market
    mark = exact_text(valuation.marks[market.index] * rules.tick)
    if position.size == 0:
        return f"{rules.name} no position at mark {mark}{_orders_reason(market, position)}"
    decimals = valuation.tables.assets[market.settle].asset.decimals
    terms = position_terms(market, position, valuation, MAINTENANCE)
    value = notional(position.size, valuation.market_x[market.index], valuation.market_y[market.index])
    rate = Fraction(terms.requirement, value) if value else Fraction(0)
    side = "long" if position.size > 0 else "short"
    return (
        f"{rules.name} {side} {exact_text(abs(position.size) * rules.lot)} at mark {mark}: unrealised profit "
        f"{format_units(terms.profit, decimals)} {rules.settle}, maintenance requirement "
        f"{format_units(terms.requirement, decimals)} {rules.settle} = {format_exact(rate, 6)} of "
        f"{format_units(value, decimals)}{_orders_reason(market, position)}"
    )


def _orders_reason(market: MarketTable, position: Position) -> str:
    if not position.bid_size and not position.ask_size:
        return ""
    return (
        f"; open orders buy {format_exact(position.bid_size * market.market.lot)}, "
        f"sell {format_exact(position.ask_size * market.market.lot)} count at initial"
    )
