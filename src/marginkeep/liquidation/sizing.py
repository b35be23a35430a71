"""The smallest size that is enough, found by interpolation that can never miss it, and what decides where to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.units import RATE_ONE, multiply_divide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def released_per_cost(released: int, cost: int) -> int:
    """Return the requirement released per unit of what that costs, a rate rounded down."""
    return multiply_divide(released, RATE_ONE, cost) if cost else RATE_ONE * RATE_ONE


def lots_below(floor: int, by_size: bool, x: int, y: int) -> int:
    """Return the largest position that is still below a tier's floor."""
    return floor - 1 if by_size else multiply_divide(floor - 1, y, x)


def smallest_sufficient(largest: int, health_after: Callable[[int], int], stops: Sequence[int] = ()) -> int:
    """Return the smallest size in [1, largest] with `health_after(size) >= 0`, or `largest` if there is none.

    Parameters
    ----------
    largest : the whole position, in lots (or a whole holding, in smallest units)
    health_after : health once `size` is closed; between two stops it rises or falls throughout
    stops : sizes at which its course may change, rising: those that bring a position down to a tier's floor. Closing
        the first part of a large position releases more than closing the rest, which may even cost more than it
        releases; then a part is enough where the whole is not.
    """
    below, at_below = 0, health_after(0)
    for stop in (*(size for size in stops if 0 < size < largest), largest):
        at_stop = health_after(stop)
        if at_stop >= 0:
            return _crossing(below, at_below, stop, at_stop, health_after)
        below, at_below = stop, at_stop
    return largest


def next_try(tries: int, low: int, at_low: int, high: int, at_high: int) -> int:
    """Return the size to try in a bracket: where the secant crosses zero, and every third time the middle.

    So the number of tries is a handful when health is nearly linear and never more than a few times log2(high - low).
    """
    if tries % 3 == 0 or at_low >= 0:
        middle = (low + high) // 2
    else:
        middle = low - multiply_divide(at_low, high - low, at_high - at_low)
    return min(max(middle, low + 1), high - 1)


def _crossing(low: int, at_low: int, high: int, at_high: int, health_after: Callable[[int], int]) -> int:
    """Return the smallest size in (low, high] that is enough, given that `high` is."""
    tries = 0
    while high - low > 1:
        tries += 1
        middle = next_try(tries, low, at_low, high, at_high)
        at_middle = health_after(middle)
        if at_middle >= 0:
            high, at_high = middle, at_middle
        else:
            low, at_low = middle, at_middle
    return high
