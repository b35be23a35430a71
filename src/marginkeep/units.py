"""Numbers with units: integers inside, decimal strings at every edge.

A *size* counts lots, a *price* counts ticks, an *amount* counts an asset's smallest unit, a *rate* counts parts
per 10^9. Each conversion and each rounding of the house is in this module, under a name that says its direction.

Rounding contract (against the one who acts; the dust goes to the insurance fund):

====================  =========  ==========================
quantity              direction  function
====================  =========  ==========================
assets, payouts       down       `floor_div`, `rate_floor`
debts, requirements   up         `ceil_div`, `rate_ceil`
fees                  up         `rate_ceil`
shown ratios          down       `format_ratio`
====================  =========  ==========================
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from marginkeep.errors import PrecisionError

RATE_ONE: Final = 1_000_000_000
"""A rate of 100 %."""

INT64_SAFE: Final = 2**62
"""Bound of every stored number and product: one doubling below the int64 limit, so that a sum of two is safe."""

DECIMALS_MAX: Final = 9
"""Most decimals an asset may have (design section 3)."""

RATIO_DECIMALS: Final = 18
"""Decimals of ratios and of prices that are roots, in JSON."""

_DECIMAL_PATTERN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\Z", re.ASCII)


def floor_div(numerator: int, denominator: int) -> int:
    """Divide and round toward minus infinity: for assets and payouts."""
    return numerator // denominator


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round toward plus infinity: for debts, requirements and fees."""
    return -(-numerator // denominator)


def multiply_divide(first: int, second: int, divisor: int) -> int:
    """Return `first * second / divisor` rounded down, for products that int64 need not hold: kernels have their own."""
    return first * second // divisor


def rate_floor(amount: int, rate: int) -> int:
    """Return `amount * rate / 10^9` rounded down, with no intermediate beyond int64 while the result stays below 2^62.

    Both factors are split at 10^9, so the same source is exact in Python and, compiled, in int64 columns.
    """
    amount_high = amount // RATE_ONE
    amount_low = amount - amount_high * RATE_ONE
    rate_high = rate // RATE_ONE
    rate_low = rate - rate_high * RATE_ONE
    return amount_high * rate + amount_low * rate_high + amount_low * rate_low // RATE_ONE


def rate_ceil(amount: int, rate: int) -> int:
    """Return `amount * rate / 10^9` rounded up; see `rate_floor`."""
    return -rate_floor(-amount, rate)


def parse_decimal(value: object, what: str = "number") -> Fraction:
    """Read a decimal string (or an int, or a `Decimal`) exactly.

    Parameters
    ----------
    value : decimal string such as ``"0.001"``; floats are refused, they have already lost digits
    what : how to call the number in the error message

    Raises
    ------
    PrecisionError : not a finite decimal number
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise PrecisionError(f'{what} is {value!r}: give a decimal string such as "0.001"')
    text = str(value).strip()
    if len(text) > 60 or not _DECIMAL_PATTERN.match(text):
        raise PrecisionError(f'{what} is {text[:60]!r}: give a finite decimal number such as "0.001"')
    try:
        return Fraction(Decimal(text))
    except InvalidOperation as error:  # pragma: no cover - the pattern admits no such text
        raise PrecisionError(f"{what} is {text!r}: not a decimal number") from error


def to_units(value: object, unit: Fraction, what: str, unit_name: str = "unit") -> int:
    """Convert a decimal to a whole number of units; refuse what lies between two units.

    Parameters
    ----------
    value : decimal string, for example a size ``"-1.5"``
    unit : the size of one unit, for example a lot of ``1/1000``
    what, unit_name : words for the message, for example ``"size"`` and ``"lot"``

    Raises
    ------
    PrecisionError : the value is not a multiple of the unit

    Examples
    --------
    >>> to_units("-1.5", Fraction(1, 1000), "size", "lot")
    -1500
    """
    exact = parse_decimal(value, what)
    count = exact / unit
    if count.denominator != 1:
        below = count.numerator // count.denominator
        raise PrecisionError(
            f"{what} {format_exact(exact)} is not a multiple of the {unit_name} {format_exact(unit)}: "
            f"use {format_exact(below * unit)} or {format_exact((below + 1) * unit)}, or a finer {unit_name}"
        )
    return int(count.numerator)


def parse_rate(value: object, what: str) -> int:
    """Read a rate, a fraction of one, as parts per 10^9.

    Examples
    --------
    >>> parse_rate("0.025", "maintenance")
    25000000
    """
    return to_units(value, Fraction(1, RATE_ONE), what, "rate step")


def format_exact(value: Fraction, decimals: int = RATIO_DECIMALS) -> str:
    """Write a fraction as a plain decimal string, rounded half to even when it has more decimals.

    Examples
    --------
    >>> format_exact(Fraction(5, 2)), format_exact(Fraction(1, 3), decimals=4)
    ('2.5', '0.3333')
    """
    return format_units(round(value * 10**decimals), decimals)


def format_ratio(numerator: int, denominator: int, decimals: int = RATIO_DECIMALS) -> str | None:
    """Write a ratio rounded down; None where it does not exist (denominator 0).

    Examples
    --------
    >>> format_ratio(2, 3, decimals=4), format_ratio(1, 0)
    ('0.6666', None)
    """
    if denominator == 0:
        return None
    return format_units(numerator * 10**decimals // denominator, decimals)


def format_units(count: int, decimals: int) -> str:
    """Write a count of 10^-decimals as a plain decimal string without trailing zeros.

    Examples
    --------
    >>> format_units(-1_500_000, 6), format_units(0, 6)
    ('-1.5', '0')
    """
    if decimals == 0:
        return str(count)
    digits = str(abs(count)).rjust(decimals + 1, "0")
    text = f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")
    return f"-{text}" if count < 0 else text


def decimals_of(value: Fraction) -> int:
    """Return how many decimals a terminating decimal fraction has.

    Raises
    ------
    PrecisionError : the fraction has no finite decimal form

    Examples
    --------
    >>> decimals_of(Fraction(1, 1000))
    3
    """
    denominator, twos, fives = value.denominator, 0, 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    if denominator != 1:
        raise PrecisionError(f"{value} has no finite decimal form")
    return max(twos, fives)
