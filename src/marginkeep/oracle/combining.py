"""Averages of a feed's prices: weighted median, trimmed mean, median of medians.

These functions work on lists and, compiled, on int64 arrays; see `oracle.aggregation`, which calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.oracle.source_rows import AGGREGATE, TRIM, outside
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

    Row = MutableSequence[int]
    Rules = Sequence[int]
    Facts = Sequence[Sequence[int]]

WEIGHT, RANK, GROUP, STALE_AFTER = range(4)
FACTS_WIDTH: Final = 4
"""A source's rules in one feed."""

WEIGHTED_MEDIAN, TRIMMED_MEAN, MEDIAN_OF_MEDIANS = range(3)


def sort_by_price(order: Row, count: int, prices: Row) -> None:
    """Sort the first `count` sources of `order` by price, equal prices by source number."""
    for k in range(1, count):
        source = order[k]
        place = k
        while place > 0 and (
            prices[order[place - 1]] > prices[source]
            or (prices[order[place - 1]] == prices[source] and order[place - 1] > source)
        ):
            order[place] = order[place - 1]
            place -= 1
        order[place] = source


def weighted_median(order: Row, count: int, prices: Row, facts: Facts, past: int, band: int) -> int:
    """Return the price at which half of the weight lies on either side; 0 without sources.

    Where the halves meet between two prices it is their mean, rounded down; but if these two are further apart than
    the band, the past decides whom to believe: it is the one nearer to the past index, or 0 if there is none.
    """
    total = total_weight(facts, order, count)
    passed = 0
    for k in range(count):
        passed += 2 * facts[order[k]][WEIGHT]
        if passed > total:
            return prices[order[k]]
        if passed == total:
            low, high = prices[order[k]], prices[order[k + 1]]
            if outside(low, high, band):
                if past == 0:
                    return 0
                return low if abs(low - past) <= abs(high - past) else high
            return (low + high) // 2
    return 0


def total_weight(facts: Facts, order: Row, count: int) -> int:
    """Return the weight of the first `count` sources of `order`."""
    total = 0
    for k in range(count):
        total += facts[order[k]][WEIGHT]
    return total


def combine(facts: Facts, rules: Rules, order: Row, used: int, prices: Row) -> int:
    """Return the aggregate of the prices used, sorted in `order`."""
    if rules[AGGREGATE] == TRIMMED_MEAN:
        return trimmed_mean(facts, rules, order, used, prices)
    if rules[AGGREGATE] == MEDIAN_OF_MEDIANS:
        return median_of_medians(facts, order, used, prices)
    return weighted_median(order, used, prices, facts, 0, RATE_ONE)


def trimmed_mean(facts: Facts, rules: Rules, order: Row, used: int, prices: Row) -> int:
    """Return the weighted mean without the `TRIM` share of sources at each end, rounded down."""
    cut = min(used * rules[TRIM] // RATE_ONE, (used - 1) // 2)
    total = weight = 0
    for k in range(cut, used - cut):
        total += prices[order[k]] * facts[order[k]][WEIGHT]
        weight += facts[order[k]][WEIGHT]
    return total // weight


def median_of_medians(facts: Facts, order: Row, used: int, prices: Row) -> int:
    """Return the plain median of the groups' plain medians; means of two are rounded down."""
    groups = 0
    for k in range(used):
        group = facts[order[k]][GROUP]
        is_first = True
        for j in range(k):
            is_first = is_first and facts[order[j]][GROUP] != group
        if is_first:
            groups += 1
    seen = 0
    lowest = 0
    middle_low, middle_high = (groups - 1) // 2, groups // 2
    low = high = 0
    # Medians are drawn in rising order: the next larger one, ties by group, until both middles have been passed.
    while seen < groups:
        best, best_group = -1, -1
        for k in range(used):
            group = facts[order[k]][GROUP]
            value = group_median(facts, order, used, prices, group) * 32 + group
            if value > lowest and (best < 0 or value < best):
                best, best_group = value, group
        lowest = best
        if seen == middle_low:
            low = (best - best_group) // 32
        if seen == middle_high:
            high = (best - best_group) // 32
        seen += 1
    return (low + high) // 2


def group_median(facts: Facts, order: Row, used: int, prices: Row, group: int) -> int:
    """Return the plain median of one group's prices, sorted in `order`."""
    size = 0
    for k in range(used):
        if facts[order[k]][GROUP] == group:
            size += 1
    seen = low = high = 0
    for k in range(used):
        if facts[order[k]][GROUP] == group:
            if seen == (size - 1) // 2:
                low = prices[order[k]]
            if seen == size // 2:
                high = prices[order[k]]
            seen += 1
    return (low + high) // 2
