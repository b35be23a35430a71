"""The rulebook as integer tables: the one form that the plain-Python twin and the kernels both read.

A *value* in settle units is `size * x / y`, where the pair (x, y) of a market depends on its mark only:

========  =======  =====================  =================
payoff    sign     x                      y
========  =======  =====================  =================
linear    +1       price * numerator      denominator
inverse   -1       numerator              price * denominator
========  =======  =====================  =================

with `numerator / denominator` = lot * contract_size * tick (linear) or lot * contract_size / tick (inverse), in
settle units, in lowest terms. An asset's balance is worth `amount * x / y` in reporting units in the same way.

A tier's requirement on a measure `q` (notional, or size) is `whole + (part + (q - offset) * rate) / 10^9`, with
`whole + part / 10^9` the requirement at the floor, precomputed exactly; whole-position tiers have offset 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from marginkeep.rulebook.model import LEVELS, RATE_MAX, Asset, LevelRates, Market, Rulebook
from marginkeep.units import INT64_SAFE, RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Sequence

TierRow = tuple[int, int, int, int, int]
"""(floor, offset, rate, whole, part) of one tier at one level."""

FLOOR_MAX: Final = INT64_SAFE * RATE_ONE // RATE_MAX
"""Highest floor whose row fits int64 columns, 2^60: the requirement at it is at most `RATE_MAX` times as much."""


@dataclass(frozen=True, slots=True)
class AssetTable:
    """One asset in integers: its index, and value = amount * (price * numerator) / denominator."""

    index: int
    name: str
    numerator: int
    denominator: int
    weight: LevelRates
    debt_weight: LevelRates
    asset: Asset


@dataclass(frozen=True, slots=True)
class MarketTable:
    """One market in integers; see the module's docstring for the meaning of numerator and denominator.

    Attributes
    ----------
    sign : +1 linear, -1 inverse
    by_size : tier floors measure the size in lots, which no price moves; else the notional in settle units
    tiers : one tuple of rows a level
    """

    index: int
    name: str
    sign: int
    numerator: int
    denominator: int
    settle: int
    by_size: bool
    tiers: tuple[tuple[TierRow, ...], ...]
    profit_weight: LevelRates
    market: Market


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of a rulebook, by index and by name; index order is the rulebook's own order."""

    rulebook: Rulebook
    reporting: int
    assets: tuple[AssetTable, ...]
    markets: tuple[MarketTable, ...]
    asset_index: dict[str, int]
    market_index: dict[str, int]


def build_tables(rulebook: Rulebook, every_tier: bool = False) -> Tables:
    """Turn a rulebook into integer tables.

    Parameters
    ----------
    every_tier : keep tiers that begin above `FLOOR_MAX`. No position within `marginkeep.book.limits` reaches them, so
        tables for columns leave them out; a case, evaluated without bound, may reach them
    """
    reporting_unit = rulebook.assets[rulebook.reporting].unit
    asset_index = {name: index for index, name in enumerate(rulebook.assets)}
    return Tables(
        rulebook=rulebook,
        reporting=asset_index[rulebook.reporting],
        assets=tuple(
            _asset_table(index, asset, reporting_unit) for index, asset in enumerate(rulebook.assets.values())
        ),
        markets=tuple(
            _market_table(index, market, rulebook.assets[market.settle], asset_index[market.settle], every_tier)
            for index, market in enumerate(rulebook.markets.values())
        ),
        asset_index=asset_index,
        market_index={name: index for index, name in enumerate(rulebook.markets)},
    )


def _asset_table(index: int, asset: Asset, reporting_unit: Fraction) -> AssetTable:
    factor = asset.unit * asset.tick / reporting_unit
    return AssetTable(index, asset.name, factor.numerator, factor.denominator, asset.weight, asset.debt_weight, asset)


def _market_table(index: int, market: Market, settle: Asset, settle_index: int, every_tier: bool) -> MarketTable:
    inverse = market.payoff == "inverse"
    quote_per_lot = market.lot * market.contract_size
    factor = (quote_per_lot / market.tick if inverse else quote_per_lot * market.tick) / settle.unit
    by_size, floor_unit = _tier_measure(market, settle)
    levels = (_tier_rows(market, level, floor_unit) for level in range(len(LEVELS)))
    return MarketTable(
        index=index,
        name=market.name,
        sign=-1 if inverse else 1,
        numerator=factor.numerator,
        denominator=factor.denominator,
        settle=settle_index,
        by_size=by_size,
        tiers=tuple(tuple(row for row in rows if every_tier or row[0] <= FLOOR_MAX) for rows in levels),
        profit_weight=market.profit_weight,
        market=market,
    )


def _tier_measure(market: Market, settle: Asset) -> tuple[bool, Fraction]:
    """Return whether tiers measure the size, and the worth of one unit of the measure in the tier unit.

    A linear market's quote notional and an inverse market's coin notional move with the price; every other
    tier unit is a fixed number of lots.
    """
    lot = market.lot * market.contract_size
    if market.tier_unit == "contracts":
        return True, market.lot
    if (market.payoff == "linear") == (market.tier_unit == "quote"):
        return False, settle.unit
    return True, lot


def _tier_rows(market: Market, level: int, floor_unit: Fraction) -> tuple[TierRow, ...]:
    rows: list[TierRow] = []
    at_floor = Fraction(0)
    for index, tier in enumerate(market.tiers):
        floor = _round_down(tier.floor / floor_unit)
        rate = tier.rates[level]
        if market.tier_kind == "whole_position":
            rows.append((floor, 0, rate, 0, 0))
            continue
        if index:
            below = rows[-1]
            at_floor += Fraction((floor - below[0]) * below[2], RATE_ONE)
        whole = _round_down(at_floor)
        rows.append((floor, floor, rate, whole, int((at_floor - whole) * RATE_ONE)))
    return tuple(rows)


def _round_down(value: Fraction) -> int:
    """Round a floor down to whole units: the higher tier begins early rather than late."""
    return value.numerator // value.denominator


def tier_at(rows: Sequence[TierRow], measure: int) -> TierRow:
    """Return the tier with floor <= measure < next floor."""
    found = rows[0]
    for row in rows:
        if row[0] > measure:
            break
        found = row
    return found
