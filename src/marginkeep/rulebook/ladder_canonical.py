"""The ladder's rules as canonical text: rates as decimals, durations in seconds, amounts and depths in decimals."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from marginkeep.rulebook.durations import format_seconds
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.ladder_reading import NO_LIMIT
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    from marginkeep.rulebook.ladder_rules import LadderRules
    from marginkeep.rulebook.model import Rulebook

_AMOUNTS: Final = {"dust", "tip", "most_debt", "most_debt_of_market", "most_an_event", "most_a_day"}
_PLAIN: Final = {"curve", "restarts", "policy", "socialise"}
_ELSEWHERE: Final = {"name", "market", "move", "calls", "soft", "auctions", "funds", "impacts", "depth"}
"""A table's name is in its path, the move follows from the other parameters, and depths are in lots of a market."""


def ladder_lines(rulebook: Rulebook) -> Iterator[tuple[str, str]]:
    """Yield every parameter of the ladder as (path, text); nothing where the rulebook has none."""
    rules = rulebook.ladder
    if rules is None:
        return
    unit = rulebook.assets[rulebook.reporting].unit
    yield from _lines("ladder", rules, unit)
    for name in ("calls", "soft", "auctions"):
        if getattr(rules, name) is not None:
            yield from _lines(f"ladder.{name}", getattr(rules, name), unit)
    for fund in sorted(rules.funds, key=lambda entry: entry.name):
        yield from _lines(f"ladder.funds.{fund.name}", fund, unit)
    for impact in sorted(rules.impacts, key=lambda entry: entry.market):
        yield f"ladder.impact.{impact.market}.depth", exact_text(impact.depth * rulebook.markets[impact.market].lot)
        yield from _lines(f"ladder.impact.{impact.market}", impact, unit)


def ladder_orders(rules: LadderRules | None) -> dict[str, list[str]]:
    """Return the names whose order is that of the ladder's tables and of its snapshots, by where they stand."""
    if rules is None:
        return {}
    return {
        "ladder.funds order": [fund.name for fund in rules.funds],
        "ladder.impact order": [impact.market for impact in rules.impacts],
    }


def _lines(path: str, rules: Any, unit: Fraction) -> Iterator[tuple[str, str]]:
    for item in fields(rules):
        if item.name not in _ELSEWHERE:
            name = item.name.removesuffix("_ns")
            yield f"{path}.{name}", _text(item.name, getattr(rules, item.name), unit)


def _text(name: str, value: Any, unit: Fraction) -> str:
    if name == "markets":
        return ", ".join(value) or "all"
    if name == "reminders_ns":
        return ", ".join(format_seconds(length) for length in value) or "none"
    if name.endswith("_ns"):
        return format_seconds(value)
    if name in _AMOUNTS:
        return "unlimited" if value == NO_LIMIT else exact_text(value * unit)
    if name in _PLAIN:
        return "none" if value is None else str(value)
    return format_units(value, 9)
