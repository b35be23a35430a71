"""Reading and checking tier tables; the checks are those that real venues' tables have been seen to break."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.errors import RulebookError
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.levels import complete_levels
from marginkeep.rulebook.model import CALL, INITIAL, LEVELS, MAINTENANCE, RATE_MAX, TARGET, LevelRates, Tier
from marginkeep.units import RATE_ONE, ceil_div, format_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.rulebook.fields import Fields

TIERS_MAX: Final = 64
"""Most tiers of one market."""


_VENUE_WORDS: Final = ("max_leverage", "imr", "mmr", "maintenance_amount")


class _Words(NamedTuple):
    """The fields in which a tier states its rates, so that a refusal names what the file says."""

    initial: str
    maintenance: str


def read_tiers(
    rows: Sequence[Fields], shares: tuple[int, int], kind: str, strict: bool, path: str = "tiers"
) -> tuple[Tier, ...]:
    """Read a tier table, lowest tier first.

    Parameters
    ----------
    rows : tables with ``floor``, ``initial``, ``maintenance`` and, if wanted, ``call`` and ``target``; or in a
        venue's words ``floor``, ``cap``, ``max_leverage`` (or ``imr``), ``mmr``, ``maintenance_amount``
    shares : where call and target lie between maintenance and initial when not stated (rates)
    kind : ``marginal`` or ``whole_position``
    strict : a rulebook must leave a gap between maintenance and initial; a what-if case need not
    path : the field that holds the table

    Raises
    ------
    RulebookError : a hole, a falling rate, rates out of order, a bounded last tier, ...
    """
    if not rows:
        raise RulebookError(f"{path} is empty: give at least one tier with floor 0")
    if len(rows) > TIERS_MAX:
        raise RulebookError(
            f"{path} has {len(rows)} tiers, the bound is {TIERS_MAX}: join neighbours, at the higher tier's rates "
            f"and the lower one's floor"
        )
    tiers = tuple(_read_tier(row, shares) for row in rows)
    _check_floors(rows, tiers)
    _check_caps(rows, tiers)
    _check_rates(rows, tiers, strict)
    if kind == "marginal":
        _check_amounts(rows, tiers)
    else:
        _check_no_amounts(rows)
    for row in rows:
        row.finish()
    return tiers


def _read_tier(row: Fields, shares: tuple[int, int]) -> Tier:
    floor = row.decimal("floor")
    words = _words(row)
    initial = _read_leverage(row) if words.initial == "max_leverage" else row.rate(words.initial, 0, RATE_MAX)
    maintenance = row.rate(words.maintenance, 0, RATE_MAX)
    return Tier(floor, complete_levels(row, initial, maintenance, shares, 0, RATE_MAX))


def _words(row: Fields) -> _Words:
    """Return the fields that hold a tier's rates: the house's words, else a venue's; null is as good as not given."""
    given = [name for name in (*_VENUE_WORDS, "initial", "maintenance") if row.table.get(name) is not None]
    for house, venue in (("initial", "imr"), ("maintenance", "mmr")):
        if house in given and venue in given:
            raise RulebookError(f"{row.at(house)} and {row.at(venue)} state the same rate: leave one of them out")
    by_venue = any(name in _VENUE_WORDS for name in given)
    otherwise = ("max_leverage", "mmr") if by_venue else ("initial", "maintenance")
    words = _Words(
        next((name for name in ("initial", "imr", "max_leverage") if name in given), otherwise[0]),
        next((name for name in ("maintenance", "mmr") if name in given), otherwise[1]),
    )
    for name in (*_VENUE_WORDS, "initial", "maintenance"):
        if row.has(name):
            row.take(name)
    return words


def _read_leverage(row: Fields) -> int:
    leverage = row.positive("max_leverage")
    rate = ceil_div(RATE_ONE * leverage.denominator, leverage.numerator)
    if rate > RATE_MAX:
        raise RulebookError(
            f"{row.at('max_leverage')} is {exact_text(leverage)}: it must be at least "
            f"{exact_text(Fraction(RATE_ONE, RATE_MAX))}"
        )
    return rate


def _stated(row: Fields, level: int, rates: LevelRates) -> str:
    """Say what the file says of a level: the field and its rate."""
    words, rate = _words(row), format_units(rates[level], 9)
    if level == INITIAL and words.initial == "max_leverage":
        return f"{row.at('max_leverage')} makes initial {rate}"
    name = {INITIAL: words.initial, MAINTENANCE: words.maintenance}.get(level, LEVELS[level])
    return f"{row.at(name)} is {rate}"


def _check_floors(rows: Sequence[Fields], tiers: Sequence[Tier]) -> None:
    if tiers[0].floor != 0:
        raise RulebookError(f"{rows[0].at('floor')} is {exact_text(tiers[0].floor)}: the first tier must start at 0")
    for row, below, tier in zip(rows[1:], tiers, tiers[1:], strict=False):
        if tier.floor <= below.floor:
            raise RulebookError(
                f"{row.at('floor')} is {exact_text(tier.floor)}, not above the floor before it, "
                f"{exact_text(below.floor)}: list tiers by rising floor"
            )


def _check_caps(rows: Sequence[Fields], tiers: Sequence[Tier]) -> None:
    for row, above in zip(rows, tiers[1:], strict=False):
        if row.take("cap", None) is not None and row.decimal("cap") != above.floor:
            cap = row.decimal("cap")
            what = "a hole" if cap < above.floor else "an overlap"
            raise RulebookError(
                f"{row.at('cap')} is {exact_text(cap)} but the next floor is {exact_text(above.floor)}: "
                f"{what} between tiers; make them equal"
            )
    if rows[-1].take("cap", None) is not None:
        raise RulebookError(
            f"{rows[-1].at('cap')} bounds the last tier: leave its cap out (a position above every tier needs "
            f"a rate too) and state the limit as max_position"
        )


def _check_rates(rows: Sequence[Fields], tiers: Sequence[Tier], strict: bool) -> None:
    for index, (row, tier) in enumerate(zip(rows, tiers, strict=True)):
        _check_level_order(row, tier.rates, strict)
        for level in range(len(LEVELS)):
            if index and tier.rates[level] < tiers[index - 1].rates[level]:
                raise RulebookError(
                    f"{_stated(row, level, tier.rates)}, below the tier before it, "
                    f"{format_units(tiers[index - 1].rates[level], 9)}: rates must not fall as positions grow"
                )


def _check_level_order(row: Fields, rates: LevelRates, strict: bool) -> None:
    """Refuse requirement rates that break initial >= call >= maintenance, target >= maintenance."""
    initial, call, maintenance, target = (format_units(rate, 9) for rate in rates)
    if rates[MAINTENANCE] > rates[INITIAL] or (strict and rates[MAINTENANCE] == rates[INITIAL]):
        bound = "below" if strict else "at most"
        raise RulebookError(
            f"{_stated(row, MAINTENANCE, rates)}, initial is {initial}: maintenance must be {bound} "
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
        raise RulebookError(f"{_stated(row, MAINTENANCE, rates)}: a maintenance rate must be below 1")


def _check_amounts(rows: Sequence[Fields], tiers: Sequence[Tier]) -> None:
    """Check a venue's maintenance amounts against amount_n = amount_(n-1) + floor_n * (rate_n - rate_(n-1))."""
    amount = Fraction(0)
    for index, (row, tier) in enumerate(zip(rows, tiers, strict=True)):
        if index:
            step = tier.rates[MAINTENANCE] - tiers[index - 1].rates[MAINTENANCE]
            amount += tier.floor * Fraction(step, RATE_ONE)
        if row.take("maintenance_amount", None) is not None and row.decimal("maintenance_amount") != amount:
            raise RulebookError(
                f"{row.at('maintenance_amount')} is {exact_text(row.decimal('maintenance_amount'))}, but floors "
                f"and rates make it {exact_text(amount)}: the table is not marginal, or a number is wrong"
            )


def _check_no_amounts(rows: Sequence[Fields]) -> None:
    for row in rows:
        if row.take("maintenance_amount", None) is not None and row.decimal("maintenance_amount") != 0:
            raise RulebookError(
                f"{row.at('maintenance_amount')} is {exact_text(row.decimal('maintenance_amount'))}, but a "
                f'whole-position table deducts nothing: read the table as "marginal", or leave the amount out'
            )
