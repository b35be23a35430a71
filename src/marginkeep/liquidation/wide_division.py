"""Products of two int64 divided by a third, exact though the product needs 128 bits: for kernels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from marginkeep.compiled import compile_together
from marginkeep.units import INT64_SAFE

SMALL: Final = 2**31
"""Factors below this have a product that int64 holds."""


def multiply_unsigned(first: Any, second: Any) -> tuple[Any, Any]:
    """Return the upper and the lower 64 bits of the product of two uint64."""
    half, mask = np.uint64(32), np.uint64(2**32 - 1)
    low = (first & mask) * (second & mask)
    one, other = (first & mask) * (second >> half), (first >> half) * (second & mask)
    middle = (low >> half) + (one & mask) + (other & mask)
    high = (first >> half) * (second >> half) + (one >> half) + (other >> half) + (middle >> half)
    return high, (low & mask) | (middle << half)


def divide_unsigned(high: Any, low: Any, divisor: Any) -> tuple[Any, Any]:
    """Return quotient and rest of a number of 128 bits by `high` < divisor < 2^63, bit by bit."""
    one, quotient, rest = np.uint64(1), np.uint64(0), high
    for step in range(64):
        rest = (rest << one) | ((low >> np.uint64(63 - step)) & one)
        quotient = quotient << one
        if rest >= divisor:
            rest -= divisor
            quotient |= one
    return quotient, rest


def multiply_divide(first: int, second: int, divisor: int) -> int:
    """Return `first * second / divisor` rounded down, with divisor > 0; beyond +-2^62, that bound itself."""
    if -SMALL < first < SMALL and -SMALL < second < SMALL:
        return first * second // divisor
    negative = (first < 0) != (second < 0)
    high, low = multiply_unsigned(np.uint64(abs(first)), np.uint64(abs(second)))
    below = np.uint64(divisor)
    if high >= below:
        return -INT64_SAFE if negative else INT64_SAFE
    if high == np.uint64(0):
        quotient = low // below
        rest = low - quotient * below
    else:
        quotient, rest = divide_unsigned(high, low, below)
    if quotient >= np.uint64(INT64_SAFE):
        return -INT64_SAFE if negative else INT64_SAFE
    whole = int(np.int64(quotient))
    if negative:
        return -whole - 1 if rest else -whole
    return whole


wide_multiply_divide = compile_together((multiply_unsigned, divide_unsigned, multiply_divide))["multiply_divide"]
