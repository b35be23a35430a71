"""Accounts and funding in ccxt's unified structures: its field names, numbers as JSON numbers of exact decimals.

What ccxt has no field for, and every number as the text that it is elsewhere, is in `info`.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.book.account import ISOLATED
from marginkeep.book.health import measure
from marginkeep.book.statement import AccountStatement, state_account
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.model import INITIAL
from marginkeep.service.queries.account_views import PositionView, positions_of
from marginkeep.service.queries.ccxt_symbols import symbols_of
from marginkeep.service.queries.market_views import funding_view, market_view, rate_text
from marginkeep.units import floor_div

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.clearing.state import State
    from marginkeep.rulebook import MarketTable

MILLISECOND_NS: Final = 10**6
DIGITS: Final = 18
HOUR_NS: Final = 3_600 * 10**9

Structure = dict[str, Any]


def number(text: str | None) -> Decimal | None:
    """Return a decimal string as a number; None where there is none."""
    return None if text is None else Decimal(text)


def ratio(part: str | None, whole: str | None, factor: int = 1) -> Decimal | None:
    """Return `factor * part / whole` to 18 decimals; None where it does not exist."""
    if part is None or whole is None or not Fraction(whole):
        return None
    return round(Decimal(part) * factor / Decimal(whole), DIGITS).normalize() + 0


def moment(at_ns: int | None) -> tuple[int | None, str | None]:
    """Return milliseconds and the ISO 8601 text of an instant; None for none."""
    if not at_ns:
        return None, None
    milliseconds = floor_div(at_ns, MILLISECOND_NS)
    seconds, rest = divmod(milliseconds, 1000)
    try:
        text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return milliseconds, None
    return milliseconds, f"{text}.{rest:03}Z"


def positions(state: State, name: str, markets: set[str], now_ns: int) -> list[Structure]:
    """Return an account's positions in some markets; those without a size are none."""
    index = state.index[name]
    account = state.book.read(index)
    stated = state_account(name, account, state.valuation)
    views = positions_of(state, index, account, stated, {})
    shown = [view for view in views if view.market in markets and view.side is not None]
    return [_position(state, account, stated, view, now_ns) for view in shown]


def _position(state: State, account: Account, stated: AccountStatement, view: PositionView, now_ns: int) -> Structure:
    """Return one position. Initial margin excludes open orders' part only where none are open.

    Collateral is the account's: of a cross account all of it stands behind each position.
    """
    timestamp, text = moment(now_ns)
    isolated = account.mode == ISOLATED
    rules = state.rulebook.markets[view.market]
    return {
        "info": {"account": stated.id, **msgspec.to_builtins(view), "collateral": stated.collateral},
        "id": f"{stated.id}:{view.market}",
        "symbol": symbols_of(state.rulebook).contracts[view.market].symbol,
        "timestamp": timestamp,
        "datetime": text,
        "lastUpdateTimestamp": timestamp,
        "isolated": isolated,
        "hedged": False,
        "side": view.side,
        "contracts": abs(Decimal(view.size)),
        "contractSize": Decimal(exact_text(rules.contract_size)),
        "entryPrice": number(view.entry),
        "markPrice": number(view.mark),
        "lastPrice": None,
        "notional": number(view.notional),
        "leverage": ratio(view.notional, view.initial_margin),
        "collateral": number(stated.collateral),
        "initialMargin": number(view.initial_margin),
        "initialMarginPercentage": ratio(view.initial_margin, view.notional),
        "maintenanceMargin": number(view.maintenance_margin),
        "maintenanceMarginPercentage": ratio(view.maintenance_margin, view.notional),
        "unrealizedPnl": number(view.unrealized_pnl),
        "realizedPnl": None,
        "liquidationPrice": number(view.liquidation_price),
        "marginMode": "isolated" if isolated else "cross",
        "marginRatio": ratio(stated.maintenance_margin, stated.collateral),
        "percentage": ratio(view.unrealized_pnl, view.initial_margin, 100),
        "stopLossPrice": None,
        "takeProfitPrice": None,
    }


def balance(state: State, names: list[str], now_ns: int) -> Structure:
    """Return what accounts hold together; `free` could be withdrawn alone, a debt is apart from what is held."""
    totals: dict[str, list[Fraction]] = {}
    for name in names:
        account = state.book.read(state.index[name])
        for asset, part in _parts(state, account).items():
            row = totals.setdefault(asset, [Fraction(0)] * 3)
            totals[asset] = [known + one for known, one in zip(row, part, strict=True)]
    timestamp, text = moment(now_ns)
    rows = {asset: _balance(*row) for asset, row in sorted(totals.items())}
    sides = {side: {asset: row[side] for asset, row in rows.items()} for side in ("free", "used", "total", "debt")}
    info = {asset: {side: f"{row[side]:f}" for side in row} for asset, row in rows.items()}
    return {"info": {"accounts": names, **info}, "timestamp": timestamp, "datetime": text, **sides, **rows}


def _balance(total: Fraction, free: Fraction, debt: Fraction) -> dict[str, Decimal]:
    found = {"free": free, "used": total - free, "total": total, "debt": debt}
    return {name: Decimal(exact_text(value)) for name, value in found.items()}


def _parts(state: State, account: Account) -> dict[str, tuple[Fraction, Fraction, Fraction]]:
    """Return (held, free, owed) of each asset: free is what initial health covers of it, at its weight."""
    valuation, parts = state.valuation, {}
    health = measure(account, valuation, INITIAL).health
    for index, amount in sorted(account.balances.items()):
        table = state.tables.assets[index]
        unit = table.asset.unit
        if amount < 0:
            parts[table.name] = (Fraction(0), Fraction(0), -amount * unit)
            continue
        worth = Fraction(valuation.asset_x[index], valuation.asset_y[index]) * table.weight[INITIAL] / 10**9
        covered = amount if not worth else min(amount, int(max(0, health) / worth))
        parts[table.name] = (amount * unit, covered * unit, Fraction(0))
    return parts


def funding_rate(state: State, market: MarketTable, now_ns: int) -> Structure:
    """Return a market's funding: the rate of the next payment if things go on as they do, and when it is due."""
    view, funding = market_view(state, market), funding_view(state, market)
    timestamp, text = moment(now_ns)
    due, due_text = moment(funding.next_ns)
    machine = state.funding_machines.get(market.index)
    interest = None
    if machine is not None and machine.due_ns is not None:
        interest = number(rate_text(machine.predicted(state.now_ns).interest))
    hours = None if funding.interval_ns is None else f"{floor_div(funding.interval_ns, HOUR_NS)}h"
    return {
        "info": {"market": market.name, **msgspec.to_builtins(funding)},
        "symbol": symbols_of(state.rulebook).contracts[market.name].symbol,
        "markPrice": number(view.mark),
        "indexPrice": number(view.index),
        "interestRate": interest,
        "estimatedSettlePrice": None,
        "timestamp": timestamp,
        "datetime": text,
        "fundingRate": number(funding.rate),
        "fundingTimestamp": due,
        "fundingDatetime": due_text,
        "nextFundingRate": None,
        "nextFundingTimestamp": None,
        "nextFundingDatetime": None,
        "previousFundingRate": None,
        "previousFundingTimestamp": None,
        "previousFundingDatetime": None,
        "interval": hours,
    }
