"""Reading one asset of a rulebook or case."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import shown
from marginkeep.rulebook.levels import check_factors, check_shares, derived_levels, level_paths, read_level_rates
from marginkeep.rulebook.model import INITIAL, MAINTENANCE, RATE_MAX, Asset, LevelRates, LiquidationTerms
from marginkeep.rulebook.terms import read_terms
from marginkeep.units import DECIMALS_MAX, RATE_ONE

if TYPE_CHECKING:
    from marginkeep.rulebook.fields import Fields

DEFAULT_ASSET_TICK: Final = Fraction(1, 10**4)

_LOAN: Final = ("loan_to_value", "liquidation_threshold")


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
    if name == reporting:
        _refuse_price_fields(name, row)
    tick = Fraction(1) if name == reporting else row.step("tick", default_tick)
    asset = Asset(
        name=name,
        decimals=decimals,
        tick=tick,
        weight=_read_weight(row, shares),
        debt_weight=_read_debt_weight(row, shares, strict),
        liquidation=read_terms(row, terms),
        max_price=row.limit("max_price", tick, "tick"),
        max_balance=row.limit("max_balance", Fraction(1, 10**decimals), "smallest unit"),
    )
    row.finish()
    return asset


def _refuse_price_fields(name: str, row: Fields) -> None:
    for field in ("tick", "max_price"):
        if row.has(field):
            raise RulebookError(
                f"{row.at(field)} is {shown(row.take(field))}, but {name} is the reporting asset, "
                f"whose price is always 1: leave {field} out"
            )


def _read_weight(row: Fields, shares: tuple[int, int]) -> LevelRates:
    why = "a holding counts least when opening"
    if not any(row.has(name) for name in _LOAN):
        weight = read_level_rates(row, "weight", 0, RATE_ONE, shares)
        check_shares(level_paths(row, "weight"), weight, why)
        return weight
    if row.has("weight"):
        raise RulebookError(
            f"{row.at('weight')} stands beside {' and '.join(name for name in _LOAN if row.has(name))}, "
            f"which say the same in other words: leave one of the two forms out"
        )
    initial, maintenance = (row.rate(name, 0, RATE_ONE) for name in _LOAN)
    weight = derived_levels(initial, maintenance, shares)
    paths = level_paths(row, "weight")
    paths[INITIAL], paths[MAINTENANCE] = (row.at(name) for name in _LOAN)
    check_shares(paths, weight, why)
    return weight


def _read_debt_weight(row: Fields, shares: tuple[int, int], strict: bool) -> LevelRates:
    weight = read_level_rates(row, "debt_weight", RATE_ONE if strict else 0, RATE_MAX, shares)
    check_factors(level_paths(row, "debt_weight"), weight, "a debt counts most when opening")
    return weight
