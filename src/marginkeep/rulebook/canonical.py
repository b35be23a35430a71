"""One canonical text of a rulebook: what its hash covers and what a comparison compares."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marginkeep.rulebook.funding_canonical import funding_lines, limit_lines
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.ladder_canonical import ladder_lines, ladder_orders
from marginkeep.rulebook.model import LEVELS, Rulebook
from marginkeep.rulebook.oracle_canonical import oracle_lines, oracle_orders
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_RATES = {"weight", "debt_weight", "profit_weight", "rates", "maker_fee", "taker_fee"}
_TERMS = {"slippage", "penalty", "liquidator_share"}
_LIMIT_UNITS = {"max_price": "tick", "min_price": "tick", "max_position": "lot", "max_balance": "unit"}
"""The attribute that holds the unit in which a limit is counted; files state limits in decimals."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One parameter that two rulebooks state differently; None where one of them does not have it."""

    path: str
    before: str | None
    after: str | None


def canonical(rulebook: Rulebook) -> dict[str, str]:
    """Return every parameter as path -> decimal string, in a fixed order."""
    lines = {"name": rulebook.name, "reporting": rulebook.reporting}
    for group, table in (("assets", rulebook.assets), ("markets", rulebook.markets)):
        for name in sorted(table):
            lines.update(_flatten(f"{group}.{name}", table[name]))
    lines.update(oracle_lines(rulebook))
    lines.update(ladder_lines(rulebook))
    lines.update(funding_lines(rulebook.funding))
    lines.update(limit_lines(rulebook.limits, rulebook.markets, rulebook.assets[rulebook.reporting].unit))
    return lines


def _flatten(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            content = getattr(value, item.name)
            if item.name in _LIMIT_UNITS and content is not None:
                content *= getattr(value, _LIMIT_UNITS[item.name])
            yield from _named(path, item.name, content)
    elif isinstance(value, tuple):
        for index, entry in enumerate(value):
            yield from _flatten(f"{path}[{index}]", entry)
    elif value is not None:
        yield path, exact_text(value) if isinstance(value, Fraction) else str(value)


def _named(path: str, name: str, value: Any) -> Iterator[tuple[str, str]]:
    if name in _RATES and isinstance(value, tuple):
        stem = path if name == "rates" else f"{path}.{name}"
        for level, rate in zip(LEVELS, value, strict=True):
            yield f"{stem}.{level}", format_units(rate, 9)
    elif name in _RATES or name in _TERMS:
        yield f"{path}.{name}", format_units(value, 9)
    else:
        yield from _flatten(f"{path}.{name}", value)


def rulebook_hash(rulebook: Rulebook) -> str:
    """Return the SHA-256 of the canonical text, as hexadecimal.

    The order of assets and markets is part of it: it is the order of the engine's tables. So is that of the oracle's
    names, and of the ladder's, where it has rules.
    """
    body: dict[str, Any] = {
        "parameters": canonical(rulebook),
        "order": [list(rulebook.assets), list(rulebook.markets)],
    }
    if rulebook.oracle is not None:
        body["oracle order"] = oracle_orders(rulebook.oracle)
    if rulebook.ladder is not None:
        body["ladder order"] = ladder_orders(rulebook.ladder)
    return hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()


def compare(before: Rulebook, after: Rulebook) -> tuple[Difference, ...]:
    """Return what changed from one rulebook to another, in path order of the first; a new order of names comes last.

    Order is the order of the engine's tables: no figure depends on it, but a snapshot holds indices.
    """
    old, new = canonical(before), canonical(after)
    orders = {**oracle_orders(before.oracle), **ladder_orders(before.ladder)}
    new_orders = {**oracle_orders(after.oracle), **ladder_orders(after.ladder)}
    return (
        *_differences(old, new),
        *_order_difference("assets order", before.assets, after.assets),
        *_order_difference("markets order", before.markets, after.markets),
        *(
            difference
            for path in orders
            for difference in _order_difference(path, orders[path], new_orders.get(path, []))
        ),
    )


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    for path in [*old, *(path for path in new if path not in old)]:
        if old.get(path) != new.get(path):
            yield Difference(path, old.get(path), new.get(path))


def _order_difference(path: str, old: Iterable[str], new: Iterable[str]) -> Iterator[Difference]:
    """Yield the two orders of the names that both have, where they differ; other names are differences already."""
    before, after = list(old), list(new)
    stayed = [name for name in before if name in after]
    if stayed != [name for name in after if name in before]:
        yield Difference(path, ", ".join(before), ", ".join(after))
