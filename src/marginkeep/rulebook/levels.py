"""Reading rates by level: initial and maintenance are stated, call and target may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import Fields, checked_rate
from marginkeep.rulebook.model import CALL, INITIAL, LEVELS, MAINTENANCE, TARGET, LevelRates
from marginkeep.units import RATE_ONE, format_units, rate_ceil

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_SHARES: Final = (RATE_ONE // 4, RATE_ONE // 2)
"""Call and target, when not stated, lie at a quarter and at half of the way from maintenance to initial."""

_ORDERED: Final = (
    (INITIAL, MAINTENANCE, INITIAL),
    (INITIAL, CALL, CALL),
    (CALL, MAINTENANCE, CALL),
    (TARGET, MAINTENANCE, TARGET),
)
"""(lower, higher, the one to blame) of every pair of levels that a share must keep in order."""


def read_shares(fields: Fields) -> tuple[int, int]:
    """Read where call and target lie between maintenance and initial when a tier does not state them."""
    levels = fields.sub("levels", {})
    shares = (
        checked_rate(levels.take("call", format_units(DEFAULT_SHARES[0], 9)), levels.at("call"), 0, RATE_ONE),
        checked_rate(levels.take("target", format_units(DEFAULT_SHARES[1], 9)), levels.at("target"), 0, RATE_ONE),
    )
    levels.finish()
    return shares


def derived_levels(initial: int, maintenance: int, shares: tuple[int, int]) -> LevelRates:
    """Return all four levels, call and target at their share of the way from maintenance to initial."""
    call, target = (_between(initial, maintenance, share) for share in shares)
    return initial, call, maintenance, target


def _between(initial: int, maintenance: int, share: int) -> int:
    """Return the rate at a share of the way, rounded against the account: toward initial."""
    way = rate_ceil(abs(initial - maintenance), share)
    return maintenance + way if initial >= maintenance else maintenance - way


def complete_levels(
    fields: Fields, initial: int, maintenance: int, shares: tuple[int, int], lowest: int, highest: int
) -> LevelRates:
    """Return all four levels: call and target as their fields state them, else derived."""
    rates = derived_levels(initial, maintenance, shares)
    call, target = (
        rates[level] if fields.take(name, None) is None else fields.rate(name, lowest, highest)
        for level, name in ((CALL, "call"), (TARGET, "target"))
    )
    return initial, call, maintenance, target


def read_level_rates(row: Fields, name: str, lowest: int, highest: int, shares: tuple[int, int]) -> LevelRates:
    """Read a rate given once for all levels, or as a table by level; default 1."""
    value = row.take(name, "1")
    if not isinstance(value, dict):
        rate = checked_rate(value, row.at(name), lowest, highest)
        return (rate, rate, rate, rate)
    table = Fields(value, row.at(name))
    initial = table.rate("initial", lowest, highest)
    maintenance = table.rate("maintenance", lowest, highest)
    rates = complete_levels(table, initial, maintenance, shares, lowest, highest)
    table.finish()
    return rates


def check_shares(paths: Sequence[str], rates: LevelRates, why: str) -> None:
    """Refuse shares of a value that break initial <= call <= maintenance, target <= maintenance.

    Parameters
    ----------
    paths : the field of each level
    why : the reason of the rule, for the message
    """
    _check_order(paths, rates, 1, f"{why}: initial <= call <= maintenance and target <= maintenance")


def check_factors(paths: Sequence[str], rates: LevelRates, why: str) -> None:
    """Refuse factors on a debt that break initial >= call >= maintenance, target >= maintenance."""
    _check_order(paths, rates, -1, f"{why}: initial >= call >= maintenance and target >= maintenance")


def _check_order(paths: Sequence[str], rates: LevelRates, sign: int, rule: str) -> None:
    for lower, higher, blamed in _ORDERED:
        if sign * rates[lower] > sign * rates[higher]:
            other = higher if blamed == lower else lower
            relation = "above" if rates[blamed] > rates[other] else "below"
            raise RulebookError(
                f"{paths[blamed]} is {format_units(rates[blamed], 9)}, {relation} {paths[other].rpartition('.')[2]} "
                f"{format_units(rates[other], 9)}; {rule}"
            )


def level_paths(row: Fields, name: str) -> list[str]:
    """Return the path of each level of a field that is a table by level."""
    return [f"{row.at(name)}.{level}" for level in LEVELS]
