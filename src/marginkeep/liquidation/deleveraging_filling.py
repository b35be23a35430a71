"""Water-filling: one level for all, capped, in whole lots, exact to the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.liquidation.deleveraging_order import falling
from marginkeep.units import INT64_SAFE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LIMB: Final = 31


def water_fill(weights: NDArray[np.int64], caps: NDArray[np.int64], amount: int) -> NDArray[np.int64]:
    """Share an amount in proportion to weights, nobody above its cap, in whole numbers.

    `x_i = min(cap_i, level * w_i)` with the one level at which the sum is the amount; then rounded down, and what is
    left given one by one to the largest remainders, ties to the earlier row. So each x_i is within one of its exact
    share, and the sum is exact.

    Parameters
    ----------
    weights : int64[n], at least 1
    caps : int64[n], at least 0, their sum below 2^62
    amount : what is to be shared, at least 0

    Returns
    -------
    int64[n] with sum min(amount, sum of caps); O(n log n)
    """
    if amount >= int(caps.sum()):
        return caps.copy()
    rows = np.flatnonzero(caps)
    order = rows[falling((weights[rows],), (caps[rows],))]
    full, rest, weight = _saturated(weights[order], caps[order], amount)
    shares = np.zeros(len(caps), np.int64)
    shares[order[:full]] = caps[order[:full]]
    open_rows = np.sort(order[full:])
    shares[open_rows] = _in_proportion(weights[open_rows], weight, rest)
    return shares


def _saturated(weights: NDArray[np.int64], caps: NDArray[np.int64], amount: int) -> tuple[int, int, int]:
    """Return how many rows, by falling weight / cap, are filled to their cap, and what and whose weight is left.

    A row is filled when its cap is at most the level that holds after those before it: once one is not, none is.
    """
    used = np.concatenate(([0], np.cumsum(caps)))
    high = np.concatenate(([0], np.cumsum(weights >> _LIMB)))
    low = np.concatenate(([0], np.cumsum(weights & ((1 << _LIMB) - 1))))

    def left(row: int) -> tuple[int, int]:
        weight = (int(high[-1] - high[row]) << _LIMB) + int(low[-1] - low[row])
        return amount - int(used[row]), weight

    def is_full(row: int) -> bool:
        rest, weight = left(row)
        return int(caps[row]) * weight <= rest * int(weights[row])

    first, last = 0, len(caps)
    while first < last:
        middle = (first + last) // 2
        if is_full(middle):
            first = middle + 1
        else:
            last = middle
    return (first, *left(first))


def _in_proportion(weights: NDArray[np.int64], total: int, amount: int) -> NDArray[np.int64]:
    """Return whole shares of an amount in proportion to weights of a known total, by largest remainder."""
    if amount == 0:
        return np.zeros(len(weights), np.int64)
    shares = np.array([amount * weight // total for weight in weights.tolist()], np.int64)
    left = amount - int(shares.sum())
    if left:
        shares[_largest(_remainders(weights, total, amount, shares), left)] += 1
    return shares


def _remainders(
    weights: NDArray[np.int64], total: int, amount: int, shares: NDArray[np.int64]
) -> NDArray[np.int64] | NDArray[np.object_]:
    """Return `amount * weight - share * total`, each at least 0 and below the total."""
    if total < INT64_SAFE:
        # Each product may wrap around, their difference cannot.
        wrapped = weights.astype(np.uint64) * np.uint64(amount) - shares.astype(np.uint64) * np.uint64(total)
        return wrapped.astype(np.int64)
    return np.array([amount * weight % total for weight in weights.tolist()], object)


def _largest(values: NDArray[np.int64] | NDArray[np.object_], count: int) -> NDArray[np.int64]:
    """Return the rows of the `count` largest values, ties to the earlier rows."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.concatenate([above, equal[: count - len(above)]])
