"""One price from several: staleness, weighted mean, median, and the band around an index. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.units import RATE_ONE, floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence


def age(last_ns: int, now_ns: int) -> int:
    """Return how old an input is; one whose time is after now is 0 old."""
    return now_ns - last_ns if now_ns > last_ns else 0


def fresh(last_ns: int, tolerance_ns: int, now_ns: int) -> bool:
    """Tell whether an input still counts: it does up to and at the tolerance, and after it no more.

    Parameters
    ----------
    last_ns : time of the newest input; after `now_ns` it counts as age 0
    tolerance_ns : greatest age, 0 or more
    """
    return now_ns - last_ns <= tolerance_ns


def weighted(prices: Sequence[int | None], weights: Sequence[int]) -> int | None:
    """Return the weighted mean of the prices that are there, None when they have no weight.

    Each source's share, `price * weight / total`, is rounded down by itself, as Vega does: the sum can be up to one
    tick a source below the true mean.

    Parameters
    ----------
    prices : ticks; None or 0 = missing, its weight goes to the others in proportion
    weights : 0 or more, as many as prices; only their proportions matter
    """
    total = 0
    for price, weight in zip(prices, weights, strict=True):
        if price:
            total += weight
    if total == 0:
        return None
    mean = 0
    for price, weight in zip(prices, weights, strict=True):
        if price:
            mean += price * weight // total
    return mean


def median(prices: Sequence[int | None]) -> int | None:
    """Return the median of the prices that are there, None when there is none.

    Of an even number it is the mean of the two middle ones, rounded down.

    Parameters
    ----------
    prices : ticks; None or 0 = missing
    """
    there = sorted([price for price in prices if price])
    if not there:
        return None
    middle, is_odd = divmod(len(there), 2)
    if is_odd:
        return there[middle]
    return (there[middle - 1] + there[middle]) // 2


def clamp(price: int, index: int, band: int) -> int:
    """Return the price, moved into the band `index * (1 +- band)` where it is outside.

    The lower bound is rounded up and the upper one down, so the result never leaves the exact band. The index itself
    is always inside.

    Parameters
    ----------
    price, index : ticks, the index positive
    band : rate, 0 or more
    """
    reach = floor_div(index * band, RATE_ONE)  # index - floor(x) is the lower bound rounded up
    if price < index - reach:
        return index - reach
    return min(price, index + reach)
