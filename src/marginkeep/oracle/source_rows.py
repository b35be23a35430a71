"""One source's latest quote as a row of integers, and what taking a quote in does to it.

These functions work on lists and, compiled (see `oracle.kernels`), on rows of an int64 array: one source for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

    Row = MutableSequence[int]
    Rules = Sequence[int]

PRICE, CONFIDENCE, SOURCE_NS, ARRIVAL_NS = range(4)
GOOD_PRICE, GOOD_CONFIDENCE, GOOD_NS, MOVED_NS, MOVED_INDEX = range(4, 9)
BAD_SHARE, QUARANTINED_UNTIL, PRINT, USE = range(9, 13)
ROW_WIDTH: Final = 13
"""A source's row: its latest quote; the latest one that was used; when its price last moved, and the index when that
price first agreed with it; its share of bad quotes; whether its latest quote waits to be judged; how it was used."""

NOT_YET: Final = 0
LEFT_BEHIND: Final = -1
"""In place of `MOVED_INDEX`: the price has not agreed with the index yet; the index has since moved out of the band."""

NO_PRINT, ON_TIME, LATE = range(3)

NEVER_QUOTED, LATEST, PREVIOUS, OUTLIER, OLD, FROZEN, QUARANTINED, RESERVE = range(8)
USES: Final = (
    "never quoted",
    "used",
    "previous price used, the latest is an outlier",
    "outlier",
    "stale",
    "frozen",
    "in quarantine",
    "in reserve",
)

TAKEN, DUPLICATE, OUT_OF_ORDER, BAD_PRICE, FROM_THE_FUTURE = range(5)
INTAKES: Final = ("taken", "duplicate", "out_of_order", "bad_price", "from_the_future")
"""What became of a quote; `out_of_order` is older than one of the same source that is already here."""

SOURCES, AGGREGATE, TRIM, MIN_SOURCES, MAX_AGE, MAX_AHEAD, OUTLIER_BAND, MAX_CONFIDENCE = range(8)
MAX_DISPERSION, FROZEN_AFTER, LATE_AFTER, MEMORY, QUARANTINE_ABOVE, RETURN_BELOW, QUARANTINE_NS = range(8, 15)
RULES_WIDTH: Final = 15
"""A feed's rules as a row, in the order of `FeedRules` and `ScoreRules`."""


def take_quote(row: Row, rules: Rules, price: int, confidence: int, source_ns: int, now_ns: int) -> int:
    """Take one quote into its source's row and return what became of it, one of `INTAKES`.

    A source time ahead of the house's clock is refused beyond `MAX_AHEAD` and counts as now within it; one before 1970
    counts as 1970. Of two quotes with the same source time the one that arrives later wins.
    """
    if price <= 0 or price > FEED_PRICE_MAX or confidence < 0 or confidence > FEED_PRICE_MAX:
        count_quote(row, rules, 1, now_ns)
        return BAD_PRICE
    if source_ns > now_ns + rules[MAX_AHEAD]:
        count_quote(row, rules, 1, now_ns)
        return FROM_THE_FUTURE
    seen_ns = max(min(source_ns, now_ns), 0)
    if row[PRICE] > 0 and seen_ns < row[SOURCE_NS]:
        return OUT_OF_ORDER
    if seen_ns == row[SOURCE_NS] and price == row[PRICE] and confidence == row[CONFIDENCE]:
        return DUPLICATE
    if price != row[PRICE]:
        row[MOVED_NS] = now_ns
        row[MOVED_INDEX] = NOT_YET
    row[PRICE] = price
    row[CONFIDENCE] = confidence
    row[SOURCE_NS] = seen_ns
    row[ARRIVAL_NS] = now_ns
    row[PRINT] = LATE if now_ns - seen_ns > rules[LATE_AFTER] else ON_TIME
    return TAKEN


def count_quote(row: Row, rules: Rules, is_bad: int, now_ns: int) -> None:
    """Move a source's share of bad quotes by one quote, and put it in quarantine or end that."""
    row[BAD_SHARE] += (is_bad * RATE_ONE - row[BAD_SHARE]) // rules[MEMORY]
    if row[BAD_SHARE] > rules[QUARANTINE_ABOVE]:
        row[QUARANTINED_UNTIL] = now_ns + rules[QUARANTINE_NS]


def is_quarantined(row: Row, rules: Rules, now_ns: int) -> bool:
    """Tell whether a source is left out for its bad quotes: until its time is over and most quotes are good again."""
    if row[QUARANTINED_UNTIL] == 0:
        return False
    if now_ns < row[QUARANTINED_UNTIL] or row[BAD_SHARE] >= rules[RETURN_BELOW]:
        return True
    row[QUARANTINED_UNTIL] = 0
    return False


def is_frozen(row: Row, rules: Rules, now_ns: int) -> bool:
    """Tell whether a source repeats one price although the index has moved on by more than the band."""
    if rules[FROZEN_AFTER] == 0 or row[MOVED_INDEX] != LEFT_BEHIND:
        return False
    return now_ns - row[MOVED_NS] > rules[FROZEN_AFTER]


def follow_index(row: Row, rules: Rules, index: int, now_ns: int) -> bool:
    """Note where the index stands as seen from a source's price; tell whether that has just made the source frozen.

    The measure is the index at which the price first agreed with it, so who is first to show a move is not left behind
    when the others follow. Once left behind, a source stays so until its price moves: else it would come and go.
    """
    if row[MOVED_INDEX] == NOT_YET:
        if not outside(row[PRICE], index, rules[OUTLIER_BAND]):
            row[MOVED_INDEX] = index
        return False
    if row[MOVED_INDEX] == LEFT_BEHIND or not outside(row[MOVED_INDEX], index, rules[OUTLIER_BAND]):
        return False
    row[MOVED_INDEX] = LEFT_BEHIND
    return is_frozen(row, rules, now_ns)


def use_of(row: Row, rules: Rules, stale_after_ns: int, now_ns: int) -> int:
    """Return why a source may not be used, or `LATEST`."""
    if row[PRICE] == 0:
        return NEVER_QUOTED
    if is_quarantined(row, rules, now_ns):
        return QUARANTINED
    if now_ns - row[SOURCE_NS] > stale_after_ns:
        return OLD
    return FROZEN if is_frozen(row, rules, now_ns) else LATEST


def remember_good(row: Row) -> None:
    """Keep the latest quote as the last good one."""
    row[GOOD_PRICE] = row[PRICE]
    row[GOOD_CONFIDENCE] = row[CONFIDENCE]
    row[GOOD_NS] = row[SOURCE_NS]


def source_due(row: Row, rules: Rules, stale_after_ns: int, due: int, now_ns: int) -> int:
    """Return the first time at which time alone changes how a source is used, or `due` where that is sooner."""
    if row[PRICE] == 0:
        return due
    due = sooner(due, row[SOURCE_NS] + stale_after_ns + 1, now_ns)
    due = sooner(due, row[GOOD_NS] + stale_after_ns + 1, now_ns)
    due = sooner(due, row[QUARANTINED_UNTIL], now_ns)
    if rules[FROZEN_AFTER] > 0 and row[MOVED_INDEX] == LEFT_BEHIND:
        due = sooner(due, row[MOVED_NS] + rules[FROZEN_AFTER] + 1, now_ns)
    return due


def sooner(due: int, time_ns: int, now_ns: int) -> int:
    """Return the sooner of two times after now; 0 = never."""
    if time_ns <= now_ns or (0 < due <= time_ns):
        return due
    return time_ns


def share_of(part: int, whole: int) -> int:
    """Return part / whole as a rate rounded up, at most 100 %, in three digits at a time: none leaves int64."""
    if part >= whole:
        return RATE_ONE
    rate, rest = 0, part
    for _ in range(3):
        rest *= 1_000
        rate = rate * 1_000 + rest // whole
        rest -= rest // whole * whole
    return rate + 1 if rest > 0 else rate


def outside(price: int, centre: int, band: int) -> bool:
    """Tell whether a price is further from the centre than `band` (a rate) of it."""
    high = centre // RATE_ONE
    allowed = high * band + (centre - high * RATE_ONE) * band // RATE_ONE
    return abs(price - centre) > allowed
