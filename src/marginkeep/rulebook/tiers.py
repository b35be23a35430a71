"""Reading and checking tier tables; the checks are those that real venues' tables have been seen to break."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import Fields, checked_rate
from marginkeep.rulebook.model import CALL, INITIAL, LEVELS, MAINTENANCE, TARGET, LevelRates, Tier
from marginkeep.units import RATE_ONE, ceil_div, format_exact, format_units, rate_ceil

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_MAX = 4 * RATE_ONE
"""Highest requirement rate (400 %): leaves room for rate products in int64."""

TIERS_MAX = 64
"""Most tiers of one market."""


def read_tiers(rows: Sequence[Fields], shares: tuple[int, int], kind: str, strict: bool) -> tuple[Tier, ...]:
    """Read a tier table, lowest tier first.

    Parameters
    ----------
    rows : tables with ``floor``, ``initial``, ``maintenance`` and, if wanted, ``call`` and ``target``; or in a
        venue's words ``floor``, ``cap``, ``max_leverage`` (or ``imr``), ``mmr``, ``maintenance_amount``
    shares : where call and target lie between maintenance and initial when not stated (rates)
    kind : ``marginal`` or ``whole_position``
    strict : a rulebook must leave a gap between maintenance and initial; a what-if case need not

    Raises
    ------
    RulebookError : a hole, a falling rate, rates out of order, a bounded last tier, ...
    """
    if not rows:
        raise RulebookError("the tier table is empty: give at least one tier with floor 0")
    if len(rows) > TIERS_MAX:
        raise RulebookError(f"{rows[0].path} starts a table of {len(rows)} tiers, the bound is {TIERS_MAX}")
    tiers = tuple(_read_tier(row, shares) for row in rows)
    _check_floors(rows, tiers)
    _check_caps(rows, tiers)
    _check_rates(rows, tiers, strict)
    if kind == "marginal":
        _check_amounts(rows, tiers)
    for row in rows:
        row.finish()
    return tiers


def _read_tier(row: Fields, shares: tuple[int, int]) -> Tier:
    floor = row.decimal("floor")
    maintenance = row.rate("mmr" if row.has("mmr") else "maintenance", 0, RATE_MAX)
    return Tier(floor, between_levels(row, _read_initial(row), maintenance, shares))


def _read_initial(row: Fields) -> int:
    leverage = row.take("max_leverage", None)
    if leverage is None or row.has("initial"):
        return row.rate("initial", 0, RATE_MAX)
    if row.take("imr", None) is not None:
        return row.rate("imr", 0, RATE_MAX)
    return ceil_div(RATE_ONE * (exact := row.positive("max_leverage")).denominator, exact.numerator)


def between_levels(fields: Fields, initial: int, maintenance: int, shares: tuple[int, int]) -> LevelRates:
    """Return all four levels: call and target as stated, else at their share of the way from maintenance."""
    gap = initial - maintenance
    call = fields.take("call", None)
    target = fields.take("target", None)
    return (
        initial,
        maintenance + rate_ceil(gap, shares[0]) if call is None else _stated(fields, "call", call),
        maintenance,
        maintenance + rate_ceil(gap, shares[1]) if target is None else _stated(fields, "target", target),
    )


def _stated(fields: Fields, name: str, value: object) -> int:
    return checked_rate(value, fields.at(name), 0, RATE_MAX)


def _check_floors(rows: Sequence[Fields], tiers: Sequence[Tier]) -> None:
    if tiers[0].floor != 0:
        raise RulebookError(f"{rows[0].at('floor')} is {format_exact(tiers[0].floor)}: the first tier must start at 0")
    for row, below, tier in zip(rows[1:], tiers, tiers[1:], strict=False):
        if tier.floor <= below.floor:
            raise RulebookError(
                f"{row.at('floor')} is {format_exact(tier.floor)}, not above the floor before it, "
                f"{format_exact(below.floor)}: list tiers by rising floor"
            )


def _check_caps(rows: Sequence[Fields], tiers: Sequence[Tier]) -> None:
    for row, above in zip(rows, tiers[1:], strict=False):
        if row.take("cap", None) is not None and row.decimal("cap") != above.floor:
            cap = row.decimal("cap")
            what = "a hole" if cap < above.floor else "an overlap"
            raise RulebookError(
                f"{row.at('cap')} is {format_exact(cap)} but the next floor is {format_exact(above.floor)}: "
                f"{what} between tiers; make them equal"
            )
    if rows[-1].take("cap", None) is not None:
        raise RulebookError(
            f"{rows[-1].at('cap')} bounds the last tier: leave its cap out (a position above every tier needs "
            f"a rate too) and state the limit as max_position"
        )


def _check_rates(rows: Sequence[Fields], tiers: Sequence[Tier], strict: bool) -> None:
    for index, (row, tier) in enumerate(zip(rows, tiers, strict=True)):
        check_level_order(row, tier.rates, strict)
        for level, name in enumerate(LEVELS):
            if index and tier.rates[level] < tiers[index - 1].rates[level]:
                raise RulebookError(
                    f"{row.at(name)} is {format_units(tier.rates[level], 9)}, below the tier before it, "
                    f"{format_units(tiers[index - 1].rates[level], 9)}: rates must not fall as positions grow"
                )


def check_level_order(row: Fields, rates: LevelRates, strict: bool) -> None:
    """Refuse requirement rates that break initial >= call >= maintenance, target >= maintenance."""
    initial, call, maintenance, target = (format_units(rate, 9) for rate in rates)
    if rates[MAINTENANCE] > rates[INITIAL] or (strict and rates[MAINTENANCE] == rates[INITIAL]):
        bound = "below" if strict else "at most"
        raise RulebookError(
            f"{row.at('maintenance')} is {maintenance}, initial is {initial}: maintenance must be {bound} "
            f"initial, else a position may be liquidated the moment it is opened"
        )
    if not rates[MAINTENANCE] <= rates[CALL] <= rates[INITIAL]:
        raise RulebookError(
            f"{row.at('call')} is {call}: it must lie from maintenance {maintenance} to initial {initial}"
        )
    if rates[TARGET] < rates[MAINTENANCE]:
        raise RulebookError(
            f"{row.at('target')} is {target}, below maintenance {maintenance}: liquidation would stop too early"
        )
    if strict and rates[MAINTENANCE] >= RATE_ONE:
        raise RulebookError(f"{row.at('maintenance')} is {maintenance}: a maintenance rate must be below 1")


def _check_amounts(rows: Sequence[Fields], tiers: Sequence[Tier]) -> None:
    """Check a venue's maintenance amounts against amount_n = amount_(n-1) + floor_n * (rate_n - rate_(n-1))."""
    amount = Fraction(0)
    for index, (row, tier) in enumerate(zip(rows, tiers, strict=True)):
        if index:
            step = tier.rates[MAINTENANCE] - tiers[index - 1].rates[MAINTENANCE]
            amount += tier.floor * Fraction(step, RATE_ONE)
        if row.take("maintenance_amount", None) is not None and row.decimal("maintenance_amount") != amount:
            raise RulebookError(
                f"{row.at('maintenance_amount')} is {format_exact(row.decimal('maintenance_amount'))}, but floors "
                f"and rates make it {format_exact(amount)}: the table is not marginal, or a number is wrong"
            )
