"""Reading rulebooks from TOML or JSON; every refusal names path, value, bound and cure."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import Fields, checked_rate
from marginkeep.rulebook.model import (
    CALL,
    INITIAL,
    MAINTENANCE,
    TARGET,
    Asset,
    LevelRates,
    LiquidationTerms,
    Market,
    Rulebook,
)
from marginkeep.rulebook.tiers import RATE_MAX, between_levels, read_tiers
from marginkeep.units import DECIMALS_MAX, RATE_ONE, rate_ceil

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_SHARES = (RATE_ONE // 4, RATE_ONE // 2)
"""Call and target, when not stated, lie at a quarter and at half of the way from maintenance to initial."""

DEFAULT_ASSET_TICK = Fraction(1, 10**4)
_NO_COST = LiquidationTerms(slippage=0, penalty=0, liquidator_share=RATE_ONE // 2)


def parse_file(path: Path) -> dict[str, Any]:
    """Parse a TOML or JSON file, keeping every decimal exact.

    Raises
    ------
    RulebookError : unreadable, not TOML or JSON by its suffix, or malformed
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulebookError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse_text(text, path.suffix.lower(), str(path))


def parse_text(text: str, suffix: str, name: str) -> dict[str, Any]:
    """Parse TOML (``.toml``) or JSON (``.json``) text; see `parse_file`."""
    try:
        if suffix == ".toml":
            return tomllib.loads(text, parse_float=_exact)
        if suffix == ".json":
            loaded = json.loads(text, parse_float=_exact, parse_constant=_exact, object_pairs_hook=_unique)
            return dict(Fields(loaded, "").table)
    except (ValueError, RecursionError) as error:
        raise RulebookError(f"{name} is not valid {suffix[1:].upper()}: {error}") from error
    raise RulebookError(f"{name} has suffix {suffix or 'none'}: use .toml or .json")


def _exact(text: str) -> Decimal | str:
    """Keep what is not a finite decimal as text, so that the field that holds it names it in its refusal."""
    return text if text.lower().lstrip("+-") in {"nan", "inf", "infinity"} else Decimal(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} stands twice in one table")
    return table


def load_rulebook(path: Path) -> Rulebook:
    """Read a rulebook file.

    Raises
    ------
    RulebookError : with the path of the field, its value, the bound it breaks, and the cure
    """
    return read_rulebook(parse_file(path), default_name=path.stem)


def read_rulebook(table: dict[str, Any], default_name: str = "rulebook") -> Rulebook:
    """Read a parsed rulebook; see `load_rulebook`."""
    fields = Fields(table, "")
    name = fields.text("name", default_name)
    shares = read_shares(fields)
    terms = read_terms(fields, _NO_COST)
    rows = list(fields.tables("assets"))
    if not rows:
        raise RulebookError("assets is missing: name at least the reporting asset, for example [assets.USD]")
    reporting = find_reporting(fields, [name for name, _ in rows])
    assets = {key: read_asset(key, row, reporting, shares, terms, strict=True) for key, row in rows}
    markets = {key: read_market(key, row, assets, shares, terms, strict=True) for key, row in fields.tables("markets")}
    fields.finish()
    check_names(assets, markets)
    return Rulebook(name, reporting, assets, markets)


def find_reporting(fields: Fields, assets: list[str]) -> str:
    """Return the asset in which accounts are reported: as stated, else USD, else the only one there is."""
    stated = fields.text("reporting", None)
    if stated is None:
        if "USD" in assets:
            return "USD"
        if len(assets) == 1:
            return assets[0]
        raise RulebookError(f'reporting is missing: name one of {", ".join(assets)}, as in reporting = "{assets[0]}"')
    if stated not in assets:
        raise RulebookError(f"reporting is {stated!r}, which is not an asset: use one of {', '.join(assets)}")
    return str(stated)


def check_names(assets: dict[str, Asset], markets: dict[str, Market]) -> None:
    """Refuse a name that stands for both an asset and a market: prices are given by name."""
    for name in markets:
        if name in assets:
            raise RulebookError(f"markets.{name} has the name of an asset: rename it, for example {name}-PERP")


def read_shares(fields: Fields) -> tuple[int, int]:
    """Read where call and target lie between maintenance and initial when a tier does not state them."""
    levels = fields.sub("levels", {})
    shares = (
        checked_rate(levels.take("call", "0.25"), levels.at("call"), 0, RATE_ONE),
        checked_rate(levels.take("target", "0.5"), levels.at("target"), 0, RATE_ONE),
    )
    levels.finish()
    return shares


def read_terms(fields: Fields, default: LiquidationTerms) -> LiquidationTerms:
    """Read a ``liquidation`` table; what it leaves out comes from the default."""
    if not fields.has("liquidation"):
        fields.take("liquidation", None)
        return default
    table = fields.sub("liquidation")
    terms = LiquidationTerms(
        table.rate("slippage", 0, RATE_ONE // 2) if table.has("slippage") else default.slippage,
        table.rate("penalty", 0, RATE_ONE // 2) if table.has("penalty") else default.penalty,
        table.rate("liquidator_share", 0, RATE_ONE) if table.has("liquidator_share") else default.liquidator_share,
    )
    for name in ("slippage", "penalty", "liquidator_share"):
        table.take(name, None)
    table.finish()
    return terms


def read_asset(
    name: str,
    row: Fields,
    reporting: str,
    shares: tuple[int, int],
    terms: LiquidationTerms,
    strict: bool,
    default_tick: Fraction = DEFAULT_ASSET_TICK,
) -> Asset:
    """Read one asset. A loan may be written as weights or as loan-to-value and liquidation threshold."""
    decimals = row.whole("decimals", 0, DECIMALS_MAX, 6 if name == reporting else 8)
    tick = Fraction(1) if name == reporting else row.positive("tick", str(default_tick_text(default_tick)))
    asset = Asset(
        name=name,
        decimals=decimals,
        tick=tick,
        weight=_read_weight(row, shares),
        debt_weight=_read_debt_weight(row, shares, strict),
        liquidation=read_terms(row, terms),
        max_price=_limit(row, "max_price", tick, "tick"),
        max_balance=_limit(row, "max_balance", Fraction(1, 10**decimals), "smallest unit"),
    )
    row.finish()
    return asset


def default_tick_text(tick: Fraction) -> Decimal:
    """Return a tick as an exact decimal."""
    return Decimal(tick.numerator) / Decimal(tick.denominator)


def _limit(row: Fields, name: str, unit: Fraction, unit_name: str) -> int | None:
    """Read an optional limit and round it down to whole units: a limit between two units is the lower one."""
    if row.take(name, None) is None:
        return None
    count = row.positive(name) / unit
    if count < 1:
        raise RulebookError(f"{row.at(name)} is below one {unit_name}: raise it")
    return count.numerator // count.denominator


def _read_weight(row: Fields, shares: tuple[int, int]) -> LevelRates:
    if row.has("loan_to_value") or row.has("liquidation_threshold"):
        initial = row.rate("loan_to_value", 0, RATE_ONE)
        maintenance = row.rate("liquidation_threshold", 0, RATE_ONE)
        names = ("loan_to_value", "liquidation_threshold")
        weight = _between_weights(initial, maintenance, shares)
    else:
        weight = read_level_rates(row, "weight", 0, RATE_ONE, shares)
        names = ("weight.initial", "weight.maintenance")
    if not weight[INITIAL] <= weight[CALL] <= weight[MAINTENANCE] >= weight[TARGET]:
        raise RulebookError(
            f"{row.at(names[0])} is above {row.at(names[1])}: a holding counts least when opening, "
            f"initial <= call <= maintenance and target <= maintenance"
        )
    return weight


def _between_weights(initial: int, maintenance: int, shares: tuple[int, int]) -> LevelRates:
    gap = maintenance - initial
    return (
        initial,
        maintenance - rate_ceil(gap, shares[0]),
        maintenance,
        maintenance - rate_ceil(gap, shares[1]),
    )


def _read_debt_weight(row: Fields, shares: tuple[int, int], strict: bool) -> LevelRates:
    weight = read_level_rates(row, "debt_weight", RATE_ONE if strict else 0, RATE_MAX, shares)
    if not weight[INITIAL] >= weight[CALL] >= weight[MAINTENANCE] <= weight[TARGET]:
        raise RulebookError(
            f"{row.at('debt_weight')}: a debt counts most when opening, initial >= call >= maintenance "
            f"and target >= maintenance"
        )
    return weight


def read_level_rates(row: Fields, name: str, lowest: int, highest: int, shares: tuple[int, int]) -> LevelRates:
    """Read a rate given once for all levels, or as a table by level; default 1."""
    value = row.take(name, "1")
    if not isinstance(value, dict):
        rate = checked_rate(value, row.at(name), lowest, highest)
        return (rate, rate, rate, rate)
    table = Fields(value, row.at(name))
    initial = table.rate("initial", lowest, highest)
    maintenance = table.rate("maintenance", lowest, highest)
    if initial >= maintenance:
        rates = between_levels(table, initial, maintenance, shares)
    else:
        call, target = table.take("call", None), table.take("target", None)
        derived = _between_weights(initial, maintenance, shares)
        rates = (
            initial,
            derived[CALL] if call is None else table.rate("call", lowest, highest),
            maintenance,
            derived[TARGET] if target is None else table.rate("target", lowest, highest),
        )
    table.finish()
    return rates


def read_market(
    name: str,
    row: Fields,
    assets: dict[str, Asset],
    shares: tuple[int, int],
    terms: LiquidationTerms,
    strict: bool,
) -> Market:
    """Read one market; refuse what the engine could not clear exactly."""
    settle = row.text("settle")
    if settle not in assets:
        raise RulebookError(f"{row.at('settle')} is {settle!r}, which is not an asset: use one of {', '.join(assets)}")
    kind = row.choice("kind", ("perpetual", "future"), "perpetual")
    tier_kind = row.choice("tier_kind", ("marginal", "whole_position"), "marginal")
    lot, tick = row.positive("lot"), row.positive("tick")
    maker_fee = row.rate("maker_fee", -RATE_ONE // 10, RATE_ONE // 10, "0")
    taker_fee = row.rate("taker_fee", 0, RATE_ONE // 10, "0")
    if maker_fee + taker_fee < 0:
        raise RulebookError(f"{row.at('maker_fee')} pays back more than taker_fee brings in: raise one of them")
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
        tiers=read_tiers(row.rows("tiers"), shares, tier_kind, strict),
        maker_fee=maker_fee,
        taker_fee=taker_fee,
        profit_weight=_read_profit_weight(row, shares),
        liquidation=read_terms(row, terms),
        symbol=row.text("symbol", None),
        expiry=_read_expiry(row, kind),
        max_price=_limit(row, "max_price", tick, "tick"),
        min_price=_limit(row, "min_price", tick, "tick"),
        max_position=_limit(row, "max_position", lot, "lot"),
    )
    row.finish()
    return market


def _read_profit_weight(row: Fields, shares: tuple[int, int]) -> LevelRates:
    weight = read_level_rates(row, "profit_weight", 0, RATE_ONE, shares)
    if not weight[INITIAL] <= weight[CALL] <= weight[MAINTENANCE] >= weight[TARGET]:
        raise RulebookError(
            f"{row.at('profit_weight')}: profit counts least when opening, initial <= call <= maintenance"
        )
    return weight


def _read_expiry(row: Fields, kind: str) -> str | None:
    expiry = row.text("expiry", None)
    if kind == "perpetual" and expiry is not None:
        raise RulebookError(f'{row.at("expiry")} is {expiry!r}, but a perpetual has none: use kind = "future"')
    if kind == "future" and expiry is None:
        raise RulebookError(f'{row.at("expiry")} is missing: a future needs one, as in expiry = "2027-03-26T08:00:00Z"')
    return None if expiry is None else str(expiry)
