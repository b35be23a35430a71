"""Stated bars such as ``bad_debt>0``: a run fails when one of them comes out true."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Final

from marginkeep.errors import InputError
from marginkeep.lab.result import Bar
from marginkeep.units import format_units, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction

_PATTERN: Final = re.compile(r"\s*([a-z_]+)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*\Z")
_OPERATORS: Final[Mapping[str, Callable[[Fraction, Fraction], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def check_expressions(expressions: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Refuse malformed expressions before a run rather than after it.

    Raises
    ------
    InputError : not ``name operator number``, or a name that the summary does not have
    """
    for expression in expressions:
        match = _PATTERN.match(expression)
        if match is None:
            raise InputError(f"--fail-if {expression!r}: write a name, an operator and a number, as in 'bad_debt>0'")
        if match[1] not in names:
            raise InputError(f"--fail-if {expression!r}: {match[1]!r} is not a figure; use one of {', '.join(names)}")
        parse_decimal(match[3], f"the number in --fail-if {expression!r}")


def judge_bars(
    expressions: tuple[str, ...], summary: Mapping[str, int | str], amounts: frozenset[str], decimals: int
) -> tuple[Bar, ...]:
    """Return each expression with the figure it met; amounts are compared in whole units of the reporting asset."""
    return tuple(_judge(expression, summary, amounts, decimals) for expression in expressions)


def _judge(expression: str, summary: Mapping[str, int | str], amounts: frozenset[str], decimals: int) -> Bar:
    match = _PATTERN.match(expression)
    assert match is not None, "expressions are checked before the run"
    name, symbol, number = match[1], match[2], match[3]
    figure = summary[name]
    assert isinstance(figure, int), "only figures are offered as names"
    value = format_units(figure, decimals if name in amounts else 0)
    failed = _OPERATORS[symbol](parse_decimal(value), parse_decimal(number))
    return Bar(expression, value, failed)
