"""Exponential decay in integers, and the moving average of a price that holds until the next one."""

from __future__ import annotations

import math
from typing import Any, Final

from marginkeep.errors import InputError

DECAY_ONE: Final = 2**62
"""No decay at all."""

FINE: Final = 2**32
"""Parts of a tick in which an average is kept."""

HALF_LIFE_MAX: Final = 2**62
"""Longest half-life, in nanoseconds: 146 years."""

_SCALE_BITS: Final = 96
_SCALE: Final = 1 << _SCALE_BITS
_CHUNK: Final = 256
_LOW_BITS: Final = 80
_LOW_MASK: Final = (1 << _LOW_BITS) - 1
_DECAY_SHIFT: Final = 2 * _SCALE_BITS - 62
_LN_TWO: Final = 54916777467707473351141471129
"""The natural logarithm of 2 in parts of 2^96, rounded up."""


def _square_roots_of_half() -> list[int]:
    """Return 2^(-1/2), 2^(-1/4), ... 2^(-1/65536) in parts of 2^96, each rounded down."""
    roots, root = [], _SCALE >> 1
    for _ in range(16):
        root = math.isqrt(root << _SCALE_BITS)
        roots.append(root)
    return roots


def _powers(roots: list[int]) -> tuple[int, ...]:
    """Return the product of the roots that an 8-bit number selects, highest bit first, for each such number."""
    powers = [_SCALE]
    for root in roots:
        powers = [power for entry in powers for power in (entry, entry * root >> _SCALE_BITS)]
    return tuple(powers)


_ROOTS: Final = _square_roots_of_half()
_HIGH: Final = _powers(_ROOTS[:8])
_MIDDLE: Final = _powers(_ROOTS[8:])


def decay(elapsed_ns: int, half_life_ns: int) -> int:
    """Return 2^(-elapsed / half-life) in parts of `DECAY_ONE`, rounded down.

    Whole half-lives are shifts. Of the fraction, the first 16 bits select square roots of 1/2, and what remains, less
    than 2^-16, is 1 - x + x^2/2 - x^3/6. Every step rounds down, so the result is never above the exact value and
    less than 1 + 2^-8 parts below it: it is the exact value rounded down, or (rarely) one less.

    Parameters
    ----------
    elapsed_ns : 0 or more; a negative one counts as 0
    half_life_ns : from 1 to `HALF_LIFE_MAX`
    """
    if elapsed_ns <= 0:
        return DECAY_ONE
    halvings, rest = divmod(elapsed_ns, half_life_ns)
    if rest == 0:
        return DECAY_ONE >> halvings
    fraction = -(-(rest << _SCALE_BITS) // half_life_ns)
    x = ((fraction & _LOW_MASK) * _LN_TWO >> _SCALE_BITS) + 1
    square = x * x
    low = _SCALE - x + (square >> _SCALE_BITS + 1) - (square * x // 6 >> 2 * _SCALE_BITS) - 1
    high = _HIGH[fraction >> 88] * _MIDDLE[fraction >> _LOW_BITS & _CHUNK - 1] >> _SCALE_BITS
    return high * low >> _DECAY_SHIFT + halvings


class MovingAverage:
    """Exponential moving average over time of a price that holds until the next observation.

    It averages the path, not the samples: seeing the same price again changes nothing, however often. Each change of
    price rounds once, by less than one part of `FINE` (plus 2^-61 of the distance for `decay`), toward the price that
    held, so the average always lies between the smallest and the largest price and arrives at a price that stays.
    An observation without a change of price has no rounding at all; `n` changes are off by at most `n` such errors.

    Parameters
    ----------
    half_life_ns : time in which an old price loses half of its weight
    """

    __slots__ = ("_average", "_half_life_ns", "_last_ns", "_price", "_since_ns", "_started_ns")

    def __init__(self, half_life_ns: int) -> None:
        if not 1 <= half_life_ns <= HALF_LIFE_MAX:
            raise InputError(f"half-life is {half_life_ns} ns: give 1 to {HALF_LIFE_MAX}")
        self._half_life_ns = half_life_ns
        self._price: int | None = None
        self._average = 0
        self._since_ns = 0
        self._last_ns = 0
        self._started_ns = 0

    def observe(self, price: int, at_ns: int) -> bool:
        """Let the price be `price` (ticks, of any sign) from `at_ns` on; the one before held until then.

        Returns
        -------
        False for an observation older than the last one, which is ignored. At the same instant the later one replaces
        the price.
        """
        if self._price is None:
            self._start(price, at_ns)
            return True
        if at_ns < self._last_ns:
            return False
        self._last_ns = at_ns
        if price != self._price:
            if at_ns == self._started_ns:
                self._start(price, at_ns)
                return True
            self._average = self._average_at(at_ns, self._price)
            self._price = price
            self._since_ns = at_ns
        return True

    def value(self, now_ns: int) -> int | None:
        """Return the average as of now, in ticks rounded down; None before any observation.

        A `now_ns` before the last change of price counts as that instant.
        """
        if self._price is None:
            return None
        return self._average_at(now_ns, self._price) // FINE

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self._price, self._average, self._since_ns, self._last_ns, self._started_ns]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        self._price, self._average, self._since_ns, self._last_ns, self._started_ns = saved

    def _start(self, price: int, at_ns: int) -> None:
        self._price = price
        self._average = price * FINE
        self._since_ns = self._last_ns = self._started_ns = at_ns

    def _average_at(self, now_ns: int, price: int) -> int:
        target = price * FINE
        distance = self._average - target
        if distance == 0:
            return self._average
        kept = decay(now_ns - self._since_ns, self._half_life_ns)
        if distance < 0:
            return target - (-distance * kept >> 62)
        return target + (distance * kept >> 62)
