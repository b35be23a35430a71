"""The oracle rules as canonical text: rates as decimals, durations in seconds, prices in decimals, states by name."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.rulebook.durations import format_seconds, format_time
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.model import LEVELS
from marginkeep.rulebook.oracle_rules import ACTIONS, MARKET_STATES, QUALITIES
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.rulebook.model import Rulebook
    from marginkeep.rulebook.oracle_rules import FeedRules, OracleRules, PegRules

_RATES: Final = {
    "trim", "outlier_band", "max_confidence", "max_dispersion", "volatile_band", "quarantine_above", "return_below",
    "yearly", "per_second", "delayed_per_hour", "decay", "band", "liquidation_share", "deviation", "dispersion",
}  # fmt: skip
_FACTORS: Final = {"lower", "upper"}
_FACTOR_DECIMALS: Final = 18
_KEYS: Final = {"name", "market", "asset"}
"""What a table is named by is in its path already."""


def oracle_lines(rulebook: Rulebook) -> Iterator[tuple[str, str]]:
    """Yield every parameter of the oracle as (path, text); nothing where the rulebook has none."""
    rules = rulebook.oracle
    if rules is None:
        return
    for action, bits in zip(ACTIONS, rules.accepts, strict=True):
        names = [quality for number, quality in enumerate(QUALITIES) if bits >> number & 1]
        yield f"oracle.actions.{action}", ", ".join(names) or "nothing"
    for market, breaker in sorted(rules.breakers, key=lambda entry: entry[0]):
        yield from _lines(f"oracle.breakers.{market}", breaker)
    for feed in sorted(rules.feeds, key=lambda entry: entry.name):
        yield from _feed_lines(f"oracle.feeds.{feed.name}", feed)
    for mark in sorted(rules.marks, key=lambda entry: entry.market):
        yield from _lines(f"oracle.marks.{mark.market}", mark)
    for peg in sorted(rules.pegs, key=lambda entry: entry.asset):
        yield from _peg_lines(f"oracle.pegs.{peg.asset}", peg, rulebook.assets[peg.asset].tick)
    yield from _lines("oracle.stable", rules.stable)
    yield from _lines("oracle.venue_breaker", rules.venue)


def oracle_orders(rules: OracleRules | None) -> dict[str, list[str]]:
    """Return the names whose order is that of the oracle's tables and of its snapshots, by where they stand."""
    if rules is None:
        return {}
    return {
        "oracle.feeds order": [feed.name for feed in rules.feeds],
        **{f"oracle.feeds.{feed.name}.sources order": [one.name for one in feed.sources] for feed in rules.feeds},
        "oracle.marks order": [mark.market for mark in rules.marks],
        "oracle.breakers order": [market for market, _ in rules.breakers],
        "oracle.pegs order": [peg.asset for peg in rules.pegs],
    }


def _feed_lines(path: str, feed: FeedRules) -> Iterator[tuple[str, str]]:
    yield from _lines(path, feed, {"sources", "growth_cap", "jump_limit"})
    for source in sorted(feed.sources, key=lambda entry: entry.name):
        yield from _lines(f"{path}.sources.{source.name}", source)
    if feed.growth_cap is not None:
        yield f"{path}.growth_cap.ratio", exact_text(feed.growth_cap.ratio * feed.tick)
        yield from _lines(f"{path}.growth_cap", feed.growth_cap, {"ratio"})
    if feed.jump_limit is not None:
        yield f"{path}.jump_limit.ratio", format_units(feed.jump_limit.ratio, 9)
        yield from _lines(f"{path}.jump_limit", feed.jump_limit, {"ratio"})


def _peg_lines(path: str, peg: PegRules, tick: Fraction) -> Iterator[tuple[str, str]]:
    yield f"{path}.target", exact_text(peg.target * tick)
    yield from _lines(path, peg, {"target", "stages"})
    for index, stage in enumerate(peg.stages):
        # a stage is found by its place, so its name is a parameter and its weight is not a component's
        yield f"{path}.stages[{index}].name", stage.name
        yield from _lines(f"{path}.stages[{index}]", stage, {"weight"})
        for level, rate in zip(LEVELS, stage.weight, strict=True):
            yield f"{path}.stages[{index}].weight.{level}", format_units(rate, 9)


def _lines(path: str, rules: Any, elsewhere: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the fields of a dataclass of rules, those inside it included, except some that are written elsewhere."""
    if rules is None:
        return
    for item in fields(rules):
        if item.name not in _KEYS and item.name not in (elsewhere or ()):
            yield from _text(path, item.name, getattr(rules, item.name))


def _text(path: str, name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, tuple):
        for index, entry in enumerate(value):
            yield from _lines(f"{path}.{name}[{index}]", entry)
    elif name == "score":
        yield from _lines(f"{path}.{name}", value)
    elif name == "since_ns":
        yield f"{path}.since", format_time(value)
    elif name.endswith("_ns"):
        yield f"{path}.{name.removesuffix('_ns')}", format_seconds(value)
    else:
        yield f"{path}.{name}", _scalar(name, value)


def _scalar(name: str, value: Any) -> str:
    if name in _RATES:
        return format_units(value, 9)
    if name in _FACTORS:
        return format_units(value, _FACTOR_DECIMALS)
    if name == "state":
        return MARKET_STATES[value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return exact_text(value) if isinstance(value, Fraction) else str(value)
