"""Reading one market of a rulebook or case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import shown
from marginkeep.rulebook.levels import check_shares, level_paths, read_level_rates
from marginkeep.rulebook.model import Asset, LevelRates, LiquidationTerms, Market
from marginkeep.rulebook.terms import read_terms
from marginkeep.rulebook.tiers import read_tiers
from marginkeep.units import RATE_ONE, format_units

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from marginkeep.rulebook.fields import Fields

_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)
_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def read_market(
    name: str,
    row: Fields,
    assets: Mapping[str, Asset],
    shares: tuple[int, int],
    terms: LiquidationTerms,
    strict: bool,
    default_lot: Fraction | None = None,
    default_tick: Fraction | None = None,
) -> Market:
    """Read one market; refuse what the engine could not clear exactly. Without defaults, lot and tick are required."""
    settle = row.text("settle")
    if settle not in assets:
        raise RulebookError(f"{row.at('settle')} is {settle!r}, which is not an asset: use one of {', '.join(assets)}")
    kind = row.choice("kind", ("perpetual", "future"), "perpetual")
    tier_kind = row.choice("tier_kind", ("marginal", "whole_position"), "marginal")
    lot, tick = row.step("lot", default_lot), row.step("tick", default_tick)
    maker_fee, taker_fee = _read_fees(row)
    market = Market(
        name=name,
        kind=kind,
        payoff=row.choice("payoff", ("linear", "inverse"), "linear"),
        settle=settle,
        contract_size=row.positive("contract_size", "1"),
        lot=lot,
        tick=tick,
        tier_kind=tier_kind,
        tier_unit=row.choice("tier_unit", ("quote", "base", "contracts"), "quote"),
        tiers=read_tiers(row.rows("tiers"), shares, tier_kind, strict, row.at("tiers")),
        maker_fee=maker_fee,
        taker_fee=taker_fee,
        profit_weight=_read_profit_weight(row, shares),
        liquidation=read_terms(row, terms),
        symbol=row.text("symbol", None),
        expiry=_read_expiry(row, kind),
        max_price=row.limit("max_price", tick, "tick"),
        min_price=row.limit("min_price", tick, "tick"),
        max_position=row.limit("max_position", lot, "lot"),
    )
    row.finish()
    return market


def _read_fees(row: Fields) -> tuple[int, int]:
    maker = row.rate("maker_fee", -RATE_ONE // 10, RATE_ONE // 10, "0")
    taker = row.rate("taker_fee", 0, RATE_ONE // 10, "0")
    if maker + taker < 0:
        raise RulebookError(
            f"{row.at('maker_fee')} is {format_units(maker, 9)}, which pays back more than taker_fee "
            f"{format_units(taker, 9)} brings in: raise one of them"
        )
    return maker, taker


def _read_profit_weight(row: Fields, shares: tuple[int, int]) -> LevelRates:
    weight = read_level_rates(row, "profit_weight", 0, RATE_ONE, shares)
    check_shares(level_paths(row, "profit_weight"), weight, "profit counts least when opening")
    return weight


def _read_expiry(row: Fields, kind: str) -> str | None:
    expiry = row.take("expiry", None)
    example = 'expiry = "2027-03-26T08:00:00Z"'
    if kind == "perpetual" and expiry is not None:
        raise RulebookError(f'{row.at("expiry")} is {shown(expiry)}, but a perpetual has none: use kind = "future"')
    if kind == "future" and expiry is None:
        raise RulebookError(f"{row.at('expiry')} is missing: a future needs one, as in {example}")
    if expiry is not None and not _is_time(expiry):
        raise RulebookError(f"{row.at('expiry')} is {shown(expiry)}: give a UTC time in quotes, as in {example}")
    return None if expiry is None else str(expiry)


def _is_time(value: object) -> bool:
    """Tell whether a value is a UTC time of ISO 8601 in its one form here; the core has no calendar to ask."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    year, month, day, hour, minute, second = map(int, match.groups())
    if not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59:
        return False
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= day <= _MONTH_DAYS[month - 1] + leap
