"""From a feed's sources to its index: who is fresh, who is an outlier, the aggregate, and the quality of it.

Like `oracle.source_rows`, these functions work on lists and, compiled, on int64 arrays. `rows` are the sources' rows,
`facts` their rules, `feed` the feed's own row, `order` and `prices` room to work in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.oracle.combining import RANK, STALE_AFTER, WEIGHT, combine, sort_by_price, total_weight, weighted_median
from marginkeep.oracle.source_rows import (
    ARRIVAL_NS,
    CONFIDENCE,
    GOOD_CONFIDENCE,
    GOOD_NS,
    GOOD_PRICE,
    LATE,
    LATE_AFTER,
    LATEST,
    MAX_AGE,
    MAX_CONFIDENCE,
    MAX_DISPERSION,
    MIN_SOURCES,
    NO_PRINT,
    OUTLIER,
    OUTLIER_BAND,
    PREVIOUS,
    PRICE,
    PRINT,
    QUARANTINED,
    RESERVE,
    SOURCE_NS,
    SOURCES,
    USE,
    count_quote,
    follow_index,
    is_quarantined,
    outside,
    remember_good,
    share_of,
    sooner,
    source_due,
    use_of,
)
from marginkeep.rulebook.oracle_rules import DIVERGENT, STALE, TOO_FEW_SOURCES, UNCERTAIN, VALID

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

    Row = MutableSequence[int]
    Rows = Sequence[MutableSequence[int]]
    Rules = Sequence[int]
    Facts = Sequence[Sequence[int]]

INDEX, FLAGS, NEWEST_NS, SPREAD, DISPERSION, USED, DUE_NS, LONE_PRICE, LONE_NS = range(9)
FEED_WIDTH: Final = 9
"""A feed's row: its index and the qualities that apply to it as bits; the newest quote in it; its confidence and
dispersion as rates; how many sources it used; when time alone changes it (0 = never); a jump that one source alone has
shown, and when."""


def aggregate(rows: Rows, facts: Facts, rules: Rules, feed: Row, order: Row, prices: Row, now_ns: int) -> None:
    """Compute a feed's index and quality from its sources' rows; anew without those that it leaves behind frozen."""
    compute_index(rows, facts, rules, feed, order, prices, now_ns)
    while leave_behind(rows, rules, feed[INDEX], now_ns):
        compute_index(rows, facts, rules, feed, order, prices, now_ns)
    feed[DUE_NS] = next_due(rows, facts, rules, feed, now_ns)


def compute_index(rows: Rows, facts: Facts, rules: Rules, feed: Row, order: Row, prices: Row, now_ns: int) -> None:
    """Choose the sources, judge their prints, and note index and quality."""
    centre, used, is_split = survey(rows, facts, rules, feed, order, prices, now_ns)
    if judge_prints(rows, rules, 0 if is_split else centre, now_ns):
        centre, used, is_split = survey(rows, facts, rules, feed, order, prices, now_ns)
    sort_by_price(order, used, prices)
    describe(rows, feed, order, used, prices)
    flags = judge_quality(rules, feed, used, is_split, now_ns)
    if used > 0:
        price = combine(facts, rules, order, used, prices)
        if is_lone_jump(rules, feed, used, price):
            flags |= 1 << DIVERGENT
        else:
            feed[INDEX] = price
            remember_used(rows, order, used)
    feed[FLAGS] = flags if flags else 1 << VALID


def survey(
    rows: Rows, facts: Facts, rules: Rules, feed: Row, order: Row, prices: Row, now_ns: int
) -> tuple[int, int, bool]:
    """Put the sources to use into `order`, and what each is used at into `prices`; reserves too while too few remain.

    Returns the centre of all that could be used, how many are, and whether half of the weight lies outside the band.
    """
    wanted = rules[MIN_SOURCES]
    while True:
        note_uses(rows, facts, rules, now_ns)
        count = choose_sources(rows, facts, rules, order, wanted)
        for i in range(rules[SOURCES]):
            prices[i] = rows[i][PRICE]
        sort_by_price(order, count, prices)
        centre = weighted_median(order, count, prices, facts, feed[INDEX], rules[OUTLIER_BAND])
        weight = total_weight(facts, order, count)
        outliers = replace_outliers(rows, facts, rules, order, count, prices, centre, now_ns)
        used = keep_used(rows, order, count)
        if used >= rules[MIN_SOURCES] or not has_reserve(rows, rules):
            return centre, used, 0 < weight <= 2 * outliers
        wanted = count + 1


def note_uses(rows: Rows, facts: Facts, rules: Rules, now_ns: int) -> None:
    """Note of each source why it may not be used, or that its latest quote may."""
    for i in range(rules[SOURCES]):
        rows[i][USE] = use_of(rows[i], rules, facts[i][STALE_AFTER], now_ns)


def choose_sources(rows: Rows, facts: Facts, rules: Rules, order: Row, wanted: int) -> int:
    """Put the sources that may be used into `order` and return how many there are.

    Sources of a later rank stay in reserve while as many of the earlier ranks as are wanted may be used.
    """
    rank, count = -1, 0
    while count < wanted:
        following = next_rank(facts, rules, rank)
        if following == rank:
            break
        rank = following
        count = 0
        for i in range(rules[SOURCES]):
            if rows[i][USE] == LATEST and facts[i][RANK] <= rank:
                order[count] = i
                count += 1
    for i in range(rules[SOURCES]):
        if rows[i][USE] == LATEST and facts[i][RANK] > rank:
            rows[i][USE] = RESERVE
    return count


def next_rank(facts: Facts, rules: Rules, rank: int) -> int:
    """Return the lowest rank above `rank`, or `rank` itself when there is none."""
    found = rank
    for i in range(rules[SOURCES]):
        other = facts[i][RANK]
        if other > rank and (found == rank or other < found):
            found = other
    return found


def judge_prints(rows: Rows, rules: Rules, centre: int, now_ns: int) -> bool:
    """Count each new quote as good or bad; tell whether that put a source in quarantine or ended one.

    Bad is late, or outside the band around the centre. The centre is 0 where there is none, or where half of the weight
    disagrees with it, so that nobody knows who is wrong: then only lateness counts. Where half of several sources are
    late it is the way to the house that is slow, and lateness does not count either. Were quotes not counted at all,
    sources that are all in quarantine could never return.
    """
    changed = False
    excused = is_slow_way(rows, rules)
    for i in range(rules[SOURCES]):
        row = rows[i]
        if row[PRINT] == NO_PRINT:
            continue
        is_outside = centre > 0 and outside(row[PRICE], centre, rules[OUTLIER_BAND])
        is_late = row[PRINT] == LATE and not excused
        count_quote(row, rules, 1 if is_outside or is_late else 0, now_ns)
        row[PRINT] = NO_PRINT
        if is_quarantined(row, rules, now_ns) != (row[USE] == QUARANTINED):
            changed = True
    return changed


def is_slow_way(rows: Rows, rules: Rules) -> bool:
    """Tell whether the latest quotes of half of several sources, or more, have arrived late."""
    late = count = 0
    for i in range(rules[SOURCES]):
        row = rows[i]
        if row[PRICE] > 0:
            count += 1
            if row[ARRIVAL_NS] - row[SOURCE_NS] > rules[LATE_AFTER]:
                late += 1
    return count > 1 and 2 * late >= count


def replace_outliers(
    rows: Rows, facts: Facts, rules: Rules, order: Row, count: int, prices: Row, centre: int, now_ns: int
) -> int:
    """Put a source's previous price in the place of an outlier, or leave the source out; return the outliers' weight.

    While its previous price is fresh, and the prices used are no further apart than the band, a single bad print does
    not move the index at all.
    """
    weight = 0
    for k in range(count):
        i = order[k]
        row = rows[i]
        if not outside(row[PRICE], centre, rules[OUTLIER_BAND]):
            continue
        weight += facts[i][WEIGHT]
        row[USE] = OUTLIER
        is_fresh = row[GOOD_PRICE] > 0 and now_ns - row[GOOD_NS] <= facts[i][STALE_AFTER]
        if is_fresh and not outside(row[GOOD_PRICE], centre, rules[OUTLIER_BAND]):
            row[USE] = PREVIOUS
            prices[i] = row[GOOD_PRICE]
    return weight


def keep_used(rows: Rows, order: Row, count: int) -> int:
    """Keep the sources that are used at the front of `order` and return how many they are."""
    used = 0
    for k in range(count):
        if rows[order[k]][USE] in (LATEST, PREVIOUS):
            order[used] = order[k]
            used += 1
    return used


def has_reserve(rows: Rows, rules: Rules) -> bool:
    """Tell whether a source of a later rank could still be called in."""
    reserves = 0
    for i in range(rules[SOURCES]):
        reserves += 1 if rows[i][USE] == RESERVE else 0
    return reserves > 0


def remember_used(rows: Rows, order: Row, used: int) -> None:
    """Keep each latest quote that made the index, for when the next one is an outlier."""
    for k in range(used):
        if rows[order[k]][USE] == LATEST:
            remember_good(rows[order[k]])


def leave_behind(rows: Rows, rules: Rules, index: int, now_ns: int) -> bool:
    """Note which sources the index has moved away from; tell whether that has made one of them frozen."""
    found = False
    for i in range(rules[SOURCES]):
        if index > 0 and rows[i][PRICE] > 0 and follow_index(rows[i], rules, index, now_ns):
            found = True
    return found


def describe(rows: Rows, feed: Row, order: Row, used: int, prices: Row) -> None:
    """Note the newest quote used, the largest confidence and the dispersion of the prices used, and their number."""
    feed[USED] = used
    feed[SPREAD] = feed[DISPERSION] = 0
    if used == 0:
        return
    newest = widest = 0
    for k in range(used):
        row = rows[order[k]]
        is_previous = row[USE] == PREVIOUS
        newest = max(newest, row[GOOD_NS] if is_previous else row[SOURCE_NS])
        widest = max(widest, share_of(row[GOOD_CONFIDENCE] if is_previous else row[CONFIDENCE], prices[order[k]]))
    feed[NEWEST_NS] = newest
    feed[SPREAD] = widest
    lowest = prices[order[0]]
    feed[DISPERSION] = share_of(prices[order[used - 1]] - lowest, lowest)


def judge_quality(rules: Rules, feed: Row, used: int, is_split: bool, now_ns: int) -> int:
    """Return the qualities that apply to what the sources say, as bits (1 << quality).

    Half of the weight outside the band, or prices used too far apart, is `DIVERGENT`.
    """
    flags = 0
    if now_ns - feed[NEWEST_NS] > rules[MAX_AGE]:
        flags |= 1 << STALE
    if feed[SPREAD] > rules[MAX_CONFIDENCE]:
        flags |= 1 << UNCERTAIN
    if is_split or feed[DISPERSION] > rules[MAX_DISPERSION]:
        flags |= 1 << DIVERGENT
    if used < rules[MIN_SOURCES]:
        flags |= 1 << TOO_FEW_SOURCES
    return flags


def is_lone_jump(rules: Rules, feed: Row, used: int, price: int) -> bool:
    """Tell whether one source alone shows a jump from the past index that its next quote has not confirmed."""
    if used > 1 or feed[INDEX] == 0 or not outside(price, feed[INDEX], rules[OUTLIER_BAND]):
        feed[LONE_PRICE] = 0
        return False
    if feed[LONE_PRICE] > 0 and not outside(price, feed[LONE_PRICE], rules[OUTLIER_BAND]):
        if feed[NEWEST_NS] > feed[LONE_NS]:
            feed[LONE_PRICE] = 0
            return False
        return True
    feed[LONE_PRICE] = price
    feed[LONE_NS] = feed[NEWEST_NS]
    return True


def next_due(rows: Rows, facts: Facts, rules: Rules, feed: Row, now_ns: int) -> int:
    """Return the first time at which time alone may change index or quality; 0 where it cannot."""
    due = sooner(0, feed[NEWEST_NS] + rules[MAX_AGE] + 1, now_ns)
    for i in range(rules[SOURCES]):
        due = source_due(rows[i], rules, facts[i][STALE_AFTER], due, now_ns)
    return due
