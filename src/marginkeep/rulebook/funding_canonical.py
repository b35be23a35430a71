"""The rules of funding and of position limits as canonical text: decimals, durations in seconds, sizes in contracts."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Final

from marginkeep.rulebook.durations import format_seconds
from marginkeep.rulebook.grid import exact_text
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from fractions import Fraction

    from marginkeep.rulebook.funding_rules import FundingRules
    from marginkeep.rulebook.limit_rules import PositionRules, SizeBound
    from marginkeep.rulebook.model import Market

_AS_THEY_ARE: Final = {"average", "votes", "least_votes", "cap_divisor", "paid_on", "accrual"}


def funding_lines(funding: Iterable[FundingRules]) -> Iterator[tuple[str, str]]:
    """Yield every parameter of funding as (path, text); no preset's name, but what it states."""
    for rules in sorted(funding, key=lambda entry: entry.market):
        for item in fields(rules):
            if item.name != "market":
                path = f"funding.{rules.market}.{item.name.removesuffix('_ns')}"
                yield path, _text(item.name, getattr(rules, item.name))


def _text(name: str, value: object) -> str:
    if name in _AS_THEY_ARE:
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return " to ".join(format_units(bound, 9) for bound in value)
    assert isinstance(value, int), f"{name} is {value!r}"
    return format_seconds(value) if name.endswith("_ns") else format_units(value, 9)


def limit_lines(
    limits: Iterable[PositionRules], markets: Mapping[str, Market], unit: Fraction
) -> Iterator[tuple[str, str]]:
    """Yield every position limit as (path, text); `unit` is the smallest of the reporting asset."""
    for rules in sorted(limits, key=lambda entry: entry.market):
        path, lot = f"limits.{rules.market}", markets[rules.market].lot
        for name, bound in (("account", rules.account), ("group", rules.group), ("interest", rules.interest)):
            yield from _bound_lines(f"{path}.{name}", bound, lot, unit)
        if rules.margin is not None:
            yield f"{path}.margin.from", exact_text(rules.margin.lower * unit)
            yield f"{path}.margin.to", exact_text(rules.margin.upper * unit)


def _bound_lines(path: str, bound: SizeBound, lot: Fraction, unit: Fraction) -> Iterator[tuple[str, str]]:
    if bound.lots is not None:
        yield f"{path}.size", exact_text(bound.lots * lot)
    if bound.value is not None:
        yield f"{path}.value", exact_text(bound.value * unit)
    if bound.depths is not None:
        yield f"{path}.depth", format_units(bound.depths, 9)
