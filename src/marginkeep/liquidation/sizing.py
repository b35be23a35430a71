"""The smallest size that is enough, found by interpolation that can never miss it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def smallest_sufficient(largest: int, health_after: Callable[[int], int]) -> int:
    """Return the smallest size in [1, largest] with `health_after(size) >= 0`, or `largest` if none is found.

    Parameters
    ----------
    largest : the whole position, in lots (or a whole holding, in smallest units)
    health_after : health once `size` is closed; non-decreasing in size wherever closing helps

    Notes
    -----
    Each round tries where the secant through the bracket crosses zero, and every third round the middle, so the
    number of tries is a handful when health is nearly linear and never more than a few times log2(largest).
    """
    high, at_high = largest, health_after(largest)
    if at_high < 0:
        return largest
    low, at_low = 0, health_after(0)
    tries = 0
    while high - low > 1:
        tries += 1
        if tries % 3 == 0 or at_low >= 0:
            middle = (low + high) // 2
        else:
            middle = low - at_low * (high - low) // (at_high - at_low)
        middle = min(max(middle, low + 1), high - 1)
        at_middle = health_after(middle)
        if at_middle >= 0:
            high, at_high = middle, at_middle
        else:
            low, at_low = middle, at_middle
    return high
