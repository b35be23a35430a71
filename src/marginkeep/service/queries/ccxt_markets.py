"""Markets, their tiers and their margin modes in ccxt's unified structures."""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.model import INITIAL, MAINTENANCE
from marginkeep.service.queries.ccxt_symbols import symbols_of
from marginkeep.service.queries.ccxt_views import moment
from marginkeep.service.queries.market_views import RATE_DECIMALS, market_view, rate_text
from marginkeep.units import RATE_ONE, format_exact

if TYPE_CHECKING:
    from marginkeep.clearing.state import State
    from marginkeep.rulebook import MarketTable, Rulebook
    from marginkeep.rulebook.model import Market, Tier

Structure = dict[str, Any]


def market(state: State, table: MarketTable) -> Structure:
    """Return a market."""
    rules, contract = table.market, symbols_of(state.rulebook).contracts[table.name]
    limits, is_linear = state.limits.markets[table.index], rules.payoff == "linear"
    expiry, expiry_text = _expiry(rules)
    line = state.oracle.markets.get(table.index) if state.oracle else None
    return {
        "id": table.name,
        "symbol": contract.symbol,
        "base": contract.base,
        "quote": contract.quote,
        "settle": contract.settle,
        "baseId": contract.base,
        "quoteId": contract.quote,
        "settleId": contract.settle,
        "type": "swap" if rules.kind == "perpetual" else "future",
        "subType": rules.payoff,
        "spot": False,
        "margin": False,
        "swap": rules.kind == "perpetual",
        "future": rules.kind == "future",
        "option": False,
        "active": line is None or line.state_name == "open",
        "contract": True,
        "linear": is_linear,
        "inverse": not is_linear,
        "taker": _rate(rules.taker_fee),
        "maker": _rate(rules.maker_fee),
        "percentage": True,
        "tierBased": False,
        "feeSide": "quote",
        "contractSize": Decimal(exact_text(rules.contract_size)),
        "expiry": expiry,
        "expiryDatetime": expiry_text,
        "strike": None,
        "optionType": None,
        "precision": {"amount": Decimal(exact_text(rules.lot)), "price": Decimal(exact_text(rules.tick))},
        "limits": {
            "leverage": {"min": Decimal(1), "max": _leverage(rules.tiers[0].rates[INITIAL])},
            "amount": _span(rules.lot, limits.max_position * rules.lot),
            "price": _span(limits.min_price * rules.tick, limits.max_price * rules.tick),
            "cost": {"min": None, "max": None},
        },
        "marginModes": {"cross": True, "isolated": True},
        "created": None,
        "info": msgspec.to_builtins(market_view(state, table)),
    }


def leverage_tiers(rulebook: Rulebook, name: str) -> list[Structure]:
    """Return a market's tiers; notionals are in `currency`, and each tier's rates hold for its slice or all of it."""
    rules, symbol = rulebook.markets[name], symbols_of(rulebook).contracts[name].symbol
    factor, currency = _measured_in(rules, rulebook)
    bounds: list[Fraction | None] = [*(tier.floor * factor for tier in rules.tiers[1:]), None]
    return [
        _tier(rules, symbol, currency, number, tier, factor, bound)
        for number, (tier, bound) in enumerate(zip(rules.tiers, bounds, strict=True), 1)
    ]


def _tier(
    rules: Market, symbol: str, currency: str, number: int, tier: Tier, factor: Fraction, bound: Fraction | None
) -> Structure:
    rates = {name: rate_text(tier.rates[level]) for name, level in _LEVELS.items()}
    return {
        "tier": number,
        "symbol": symbol,
        "currency": currency,
        "minNotional": Decimal(exact_text(tier.floor * factor)),
        "maxNotional": None if bound is None else Decimal(exact_text(bound)),
        "maintenanceMarginRate": _rate(tier.rates[MAINTENANCE]),
        "maxLeverage": _leverage(tier.rates[INITIAL]),
        "info": {"market": rules.name, "floor": exact_text(tier.floor), **rates}
        | {"tier_kind": rules.tier_kind, "tier_unit": rules.tier_unit},
    }


_LEVELS: Final = {"initial": INITIAL, "maintenance": MAINTENANCE}


def _measured_in(rules: Market, rulebook: Rulebook) -> tuple[Fraction, str]:
    """Return what a floor is multiplied by, and the currency that it is then in; contracts become what they are of."""
    contract = symbols_of(rulebook).contracts[rules.name]
    is_linear = rules.payoff == "linear"
    if rules.tier_unit == "contracts":
        return rules.contract_size, contract.base if is_linear else contract.quote
    return Fraction(1), contract.base if rules.tier_unit == "base" else contract.quote


def margin_mode(rulebook: Rulebook, name: str, mode: str) -> Structure:
    """Return the margin mode of a market for an account."""
    symbol = symbols_of(rulebook).contracts[name].symbol
    return {"info": {"market": name, "mode": mode}, "symbol": symbol, "marginMode": mode}


def _rate(rate: int) -> Decimal:
    return Decimal(rate_text(rate))


def _leverage(initial: int) -> Decimal | None:
    """Return the highest leverage that an initial rate allows; None where it asks for nothing."""
    return Decimal(format_exact(Fraction(RATE_ONE, initial), RATE_DECIMALS)) if initial else None


def _span(low: Fraction, high: Fraction) -> dict[str, Decimal]:
    return {"min": Decimal(exact_text(low)), "max": Decimal(exact_text(high))}


def _expiry(rules: Market) -> tuple[int | None, str | None]:
    if rules.expiry is None:
        return None, None
    at = datetime.datetime.fromisoformat(rules.expiry)
    return moment(int(at.timestamp()) * 10**9)
