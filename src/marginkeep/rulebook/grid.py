"""Exact decimals on a grid of units: written with all their digits, refused with their neighbours."""

from __future__ import annotations

from fractions import Fraction

from marginkeep.errors import PrecisionError
from marginkeep.units import decimals_of, format_exact


def exact_text(value: Fraction) -> str:
    """Write a decimal fraction with all its digits; `format_exact` rounds at the 18th.

    Examples
    --------
    >>> exact_text(Fraction(1, 10**20))
    '0.00000000000000000001'
    """
    return format_exact(value, decimals_of(value))


def count_units(value: Fraction, unit: Fraction, what: str, unit_name: str, cure: str = "", zero: bool = True) -> int:
    """Convert an exact decimal to a whole number of units; refuse what lies between two units.

    Parameters
    ----------
    value, unit : for example a size of ``-3/2`` and a lot of ``1/1000``
    what, unit_name : words for the message, for example a field's path and ``"lot"``
    cure : what else can be done than taking a neighbour, for example ``", or a finer lot"``
    zero : 0 is a value that may be used; if not, it is not offered as a neighbour

    Raises
    ------
    PrecisionError : the value is not a multiple of the unit

    Examples
    --------
    >>> count_units(Fraction(-3, 2), Fraction(1, 1000), "size", "lot")
    -1500
    """
    count = Fraction(value, unit)
    if count.denominator == 1:
        return count.numerator
    below = count.numerator // count.denominator
    neighbours = [exact_text(near * unit) for near in (below, below + 1) if near or zero]
    raise PrecisionError(
        f"{what} {exact_text(value)} is not a multiple of the {unit_name} {exact_text(unit)}: "
        f"use {' or '.join(neighbours)}{cure}"
    )
