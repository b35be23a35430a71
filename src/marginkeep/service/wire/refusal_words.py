"""Refusals in whole units: the core counts smallest units, lots and ticks, people read amounts, contracts and prices.

A refusal's sentence also names what its numbers do not, such as which side of a trade falls short: so it is kept, and
each count in it is written in whole units. One table says which counts the sentences of a code hold.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.clearing.commands import Command
    from marginkeep.clearing.events import Rejected
    from marginkeep.service.wire.amounts import Kind, Units

_LIMITS: Final = (
    ("reach {lots} lots in {name}, open orders included; the limit is {lots}",) * 2,
    ("reach {lots} lots; the limit is {lots}",) * 2,
    ("reach {lots} lots on one side; the limit is {lots}",) * 2,
    ("reach {lots} lots, open orders included; the limit is {lots}",) * 2,
)

PHRASES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "insufficient_margin": (
        ("leave {who} {reporting} units short", "leave {who} {reporting} short"),
        ("needs {reporting} more", "needs {reporting} more"),
    ),
    "insufficient_balance": (
        (
            "holds {amount} units of {name}, {amount} fewer than the {who} of {amount}",
            "holds {amount}, {amount} less than the {who} of {amount}",
        ),
        ("holds {amount} units, margin is {amount}", "holds {amount}, margin is {amount}"),
    ),
    "shortfall_open": (
        ("waits: {amount} units of {name} were", "waits: {amount} were"),
        (
            "owe {reporting} reporting units and the funds hold {reporting}",
            "owe {reporting} and the funds hold {reporting}",
        ),
    ),
    "bad_amount": (("margin is {amount}:", "margin is {amount}:"), ("amount is {amount}:", "amount is {amount}:")),
    "bad_size": (("size is {lots} lots", "size is {lots}"),),
    "bad_price": (
        (
            "price of {name} is {ticks} ticks: accepted are {ticks} to {ticks}",
            "price of {name} is {ticks}: accepted are {ticks} to {ticks}",
        ),
        (
            "price is {ticks} ticks: {name} accepts {ticks} to {ticks}",
            "price is {ticks}: {name} accepts {ticks} to {ticks}",
        ),
        ("is {ticks} ticks: accepted are {ticks} to {ticks}", "is {ticks}: accepted are {ticks} to {ticks}"),
    ),
    "bad_rate": (
        ("rate is {rate} of 10^9 a payment: the bound is {rate}", "rate is {rate} a payment: the bound is {rate}"),
    ),
    "bad_fraction": (("fraction is {rate} parts of 10^9", "fraction is {rate}"),),
    "discount_too_low": (("discount is {rate} parts of 10^9, and {rate} was", "discount is {rate}, and {rate} was"),),
    "limit": (
        (
            "index of {name} would be {index}, beyond its bound {index}",
            "index of {name} would be {index}, beyond its bound {index}",
        ),
        ("hold {amount} units, beyond max_balance {amount}", "hold {amount}, beyond max_balance {amount}"),
        ("hold {amount} units, beyond the bound", "hold {amount}, beyond the bound"),
    ),
    "overfill": (("has {lots} lots left, the trade has {lots}", "has {lots} left, the trade has {lots}"),),
    **dict.fromkeys(
        ("position_limit", "group_limit", "interest_limit"),
        tuple((core, wire.replace(" lots", "")) for core, wire in _LIMITS),
    ),
    "rulebook": (
        ("{name}: a position of {lots} lots is open", "{name}: a position of {lots} is open"),
        ("{name}: the mark of {ticks} ticks is", "{name}: the mark of {ticks} is"),
        ("{name}: a balance of {amount} units is held", "{name}: a balance of {amount} is held"),
    ),
}
"""Code of a refusal -> (what the core says, what people read). `name` names the asset or market of what is counted,
where the command does not; `who` is any text."""

_TEXTS: Final = {"name": r"(?P<name>\S+?)", "who": r"(?P<who>.+?)"}
_COUNT: Final = r"(-?[0-9]+)"
_FIELD: Final = re.compile(r"\{([a-z]+)\}")


def refusal_words(refused: Rejected, units: Units, command: Command | None) -> str:
    """Return why the house refused a command, in whole units; as the core says it where no unit can be known."""
    said = _found(refused)
    if said is None:
        return refused.reason
    found, kinds, wire = said
    texts = found.groupdict()
    named = found.re.groupindex.values()
    counts = [int(count) for group, count in enumerate(found.groups(), 1) if group not in named]
    try:
        written = [
            _written(kind, count, texts.get("name", ""), units, command)
            for kind, count in zip(kinds, counts, strict=True)
        ]
    except Problem:
        return refused.reason
    left = iter(written)
    words = _FIELD.sub(lambda field: texts[field[1]] if field[1] in texts else next(left), wire)
    return refused.reason[: found.start()] + words + refused.reason[found.end() :]


def counted_in(refused: Rejected) -> tuple[Kind, str]:
    """Return what a refusal's sentence counts last, and the asset or market it names for it; else "plain"."""
    said = _found(refused)
    if said is not None:
        return said[1][-1], said[0].groupdict().get("name", "")
    return ("amount" if refused.code == "insufficient_balance" else "plain"), ""


def owner_of_count(kind: Kind, name: str, units: Units, command: Command | None) -> str:
    """Return the asset or market that a count belongs to: the one that is named, or else the command's."""
    market = getattr(command, "market", None) or ""
    if name or kind != "amount":
        return name or market
    settles = units.rulebook.markets.get(market)
    return getattr(command, "asset", "") or (settles.settle if settles is not None else "")


def _found(refused: Rejected) -> tuple[re.Match[str], tuple[Kind, ...], str] | None:
    """Return where a refusal's sentence counts, what, and how people read it; None where it counts nothing."""
    for core, wire in PHRASES.get(refused.code, ()):
        pattern, kinds = _pattern(core)
        found = pattern.search(refused.reason)
        if found is not None:
            return found, kinds, wire
    return None


@cache
def _pattern(core: str) -> tuple[re.Pattern[str], tuple[Kind, ...]]:
    """Return what finds a phrase, and the kinds of its counts in order."""
    parts, kinds = [], []
    for number, part in enumerate(_FIELD.split(core)):
        if number % 2 == 0:
            parts.append(re.escape(part))
        elif part in _TEXTS:
            parts.append(_TEXTS[part])
        else:
            parts.append(_COUNT)
            kinds.append(part)
    return re.compile("".join(parts)), tuple(kinds)  # type: ignore[arg-type]


def _written(kind: Kind, count: int, name: str, units: Units, command: Command | None) -> str:
    """Write a count, an amount with its asset.

    Raises
    ------
    Problem : nothing says which asset or market it belongs to
    """
    owner = owner_of_count(kind, name, units, command)
    text = units.grid(kind, owner).format(count)
    if kind == "reporting":
        owner = units.rulebook.reporting
    return f"{text} {owner}" if kind in ("reporting", "amount") else text
