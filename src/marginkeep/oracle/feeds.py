"""All feeds of a rulebook: quotes in, index prices and their quality out.

The columns are int64 arrays. A batch of many quotes goes through compiled kernels, a small one through the same
functions in plain Python, on lists of one feed's rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from marginkeep.oracle.aggregation import DUE_NS, FEED_WIDTH, FLAGS, aggregate
from marginkeep.oracle.combining import FACTS_WIDTH, MEDIAN_OF_MEDIANS, TRIMMED_MEAN, WEIGHTED_MEDIAN
from marginkeep.oracle.price_seen import SourceSeen
from marginkeep.oracle.source_rows import (
    DUPLICATE,
    GOOD_NS,
    GOOD_PRICE,
    OUT_OF_ORDER,
    PREVIOUS,
    PRICE,
    QUARANTINED_UNTIL,
    ROW_WIDTH,
    RULES_WIDTH,
    SOURCE_NS,
    USE,
    USES,
    take_quote,
)
from marginkeep.rulebook.oracle_rules import SOURCES_MAX, TOO_FEW_SOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    from marginkeep.rulebook.oracle_rules import FeedRules

    Integers = NDArray[np.int64]

KERNEL_FROM: Final = 128
"""Quotes in a batch from which the kernels are used: fewer are done before Numba would be imported."""

_AGGREGATES: Final = {
    "weighted_median": WEIGHTED_MEDIAN,
    "trimmed_mean": TRIMMED_MEAN,
    "median_of_medians": MEDIAN_OF_MEDIANS,
}

FEED, SOURCE, QUOTE_PRICE, QUOTE_CONFIDENCE, QUOTE_NS, QUOTE_ARRIVAL = range(6)
"""Columns of a batch of quotes."""


class Intake(NamedTuple):
    """What a batch did: the house's time after it, what became of each quote, which feeds were computed anew."""

    now_ns: int
    codes: Integers
    feeds: list[int]
    quarantined: list[tuple[int, int]]
    returned: list[tuple[int, int]]


class Feeds:
    """The columns of all feeds.

    Parameters
    ----------
    rules : in the rulebook's order

    Attributes
    ----------
    rows : int64[feeds, sources, ROW_WIDTH]
    feeds : int64[feeds, FEED_WIDTH]
    due_ns : first time at which time alone changes any feed; 0 = never
    """

    __slots__ = ("_facts", "_order", "_plain", "_prices", "_rules", "due_ns", "feeds", "numbers", "rows", "rules")

    def __init__(self, rules: Sequence[FeedRules]) -> None:
        self.rules = tuple(rules)
        self.numbers = {
            feed.name: (number, {source.name: place for place, source in enumerate(feed.sources)})
            for number, feed in enumerate(rules)
        }
        width = max((len(feed.sources) for feed in rules), default=1)
        self._plain = [(_rules_row(feed), _facts_rows(feed)) for feed in rules]
        self._rules = np.array([row for row, _ in self._plain], np.int64).reshape(-1, RULES_WIDTH)
        self._facts = np.zeros((len(self.rules), width, FACTS_WIDTH), np.int64)
        for number, (_, facts) in enumerate(self._plain):
            self._facts[number, : len(facts)] = facts
        self.rows = np.zeros((len(self.rules), width, ROW_WIDTH), np.int64)
        self.feeds = np.zeros((len(self.rules), FEED_WIDTH), np.int64)
        self.feeds[:, FLAGS] = 1 << TOO_FEW_SOURCES
        self._order = np.zeros(SOURCES_MAX, np.int64)
        self._prices = np.zeros(SOURCES_MAX, np.int64)
        self.due_ns = 0

    # Taking quotes in ------------------------------------------------------------------------------------------

    def take(self, quotes: Integers, now_ns: int) -> Intake:
        """Take a batch in and compute the feeds it touches.

        Parameters
        ----------
        quotes : int64[quotes, 6], columns `FEED` to `QUOTE_ARRIVAL`, in order of arrival
        """
        codes = np.zeros(len(quotes), np.int64)
        touched = np.zeros(len(self.rules), np.int64)
        before = self.rows[:, :, QUARANTINED_UNTIL] > 0
        if len(quotes) >= KERNEL_FROM:
            from marginkeep.oracle.kernels import take_quotes

            now_ns = int(take_quotes(quotes, self.rows, self._rules, now_ns, codes, touched))
        else:
            now_ns = self._take_plainly(quotes.tolist(), now_ns, codes, touched)
        if self._is_due(now_ns):
            touched |= self._overdue(now_ns)
        chosen: list[int] = touched.nonzero()[0].tolist()
        return Intake(now_ns, codes, chosen, *self._compute(chosen, before, now_ns))

    def _take_plainly(self, quotes: list[list[int]], now_ns: int, codes: Integers, touched: Integers) -> int:
        for place, (feed, source, price, confidence, source_ns, arrival_ns) in enumerate(quotes):
            now_ns = max(now_ns, arrival_ns)
            row = self.rows[feed, source].tolist()
            codes[place] = take_quote(row, self._plain[feed][0], price, confidence, source_ns, now_ns)
            self.rows[feed, source] = row
            if codes[place] not in (DUPLICATE, OUT_OF_ORDER):
                touched[feed] = 1
        return now_ns

    def advance(self, now_ns: int) -> Intake:
        """Compute the feeds that time alone has changed: a quote has become stale, a quarantine is over."""
        nothing = np.zeros(0, np.int64)
        if not self._is_due(now_ns):
            return Intake(now_ns, nothing, [], [], [])
        before = self.rows[:, :, QUARANTINED_UNTIL] > 0
        chosen: list[int] = self._overdue(now_ns).nonzero()[0].tolist()
        return Intake(now_ns, nothing, chosen, *self._compute(chosen, before, now_ns))

    def _is_due(self, now_ns: int) -> bool:
        return 0 < self.due_ns <= now_ns

    def _overdue(self, now_ns: int) -> Integers:
        due = self.feeds[:, DUE_NS]
        overdue: Integers = ((due > 0) & (due <= now_ns)).astype(np.int64)
        return overdue

    def _compute(
        self, chosen: list[int], before: NDArray[np.bool_], now_ns: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Compute the chosen feeds; return the sources that went into quarantine, and those that came back."""
        if len(chosen) * self.rows.shape[1] >= KERNEL_FROM:
            from marginkeep.oracle.kernels import aggregate_feeds

            work = (self._order, self._prices)
            aggregate_feeds(np.array(chosen), self.rows, self._facts, self._rules, self.feeds, *work, now_ns)
        else:
            for number in chosen:
                self._compute_plainly(number, now_ns)
        due = self.feeds[:, DUE_NS]
        self.due_ns = int(due[due > 0].min(initial=np.iinfo(np.int64).max)) if due.any() else 0
        after = self.rows[:, :, QUARANTINED_UNTIL] > 0
        if np.array_equal(before, after):
            return [], []
        return _pairs(after & ~before), _pairs(before & ~after)

    def _compute_plainly(self, number: int, now_ns: int) -> None:
        rules, facts = self._plain[number]
        rows, feed = self.rows[number].tolist(), self.feeds[number].tolist()
        order, prices = [0] * SOURCES_MAX, [0] * SOURCES_MAX
        aggregate(rows, facts, rules, feed, order, prices, now_ns)
        self.rows[number] = rows
        self.feeds[number] = feed

    # Asking ----------------------------------------------------------------------------------------------------

    def seen(self, number: int, now_ns: int) -> tuple[SourceSeen, ...]:
        """Return how each source of a feed stands now, in the rulebook's order."""
        rows = self.rows[number].tolist()
        return tuple(
            _seen(source.name, row, now_ns) for source, row in zip(self.rules[number].sources, rows, strict=False)
        )

    # Snapshots -------------------------------------------------------------------------------------------------

    def save(self) -> list[Any]:
        """Return the columns as lists."""
        return [self.rows.tolist(), self.feeds.tolist()]

    def restore(self, saved: list[Any]) -> None:
        """Take saved columns back."""
        rows, feeds = saved
        self.rows[:] = np.array(rows, np.int64).reshape(self.rows.shape)
        self.feeds[:] = np.array(feeds, np.int64).reshape(self.feeds.shape)
        due = self.feeds[:, DUE_NS]
        self.due_ns = int(due[due > 0].min()) if due.any() else 0

    def carry_over(self, old: Feeds) -> None:
        """Take over what another rulebook's feeds know of the same sources of the same feeds, in the same ticks."""
        for name, (number, places) in self.numbers.items():
            if name not in old.numbers or _unit(old.rules[old.numbers[name][0]]) != _unit(self.rules[number]):
                continue
            old_number, old_places = old.numbers[name]
            self.feeds[number] = old.feeds[old_number]
            self.feeds[number, DUE_NS] = 1  # judged by the new rules as soon as time is asked for
            for source, place in places.items():
                if source in old_places:
                    self.rows[number, place] = old.rows[old_number, old_places[source]]
            self.due_ns = 1


def _unit(feed: FeedRules) -> tuple[Fraction, str | None]:
    return feed.tick, feed.base


def _pairs(found: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [(int(feed), int(source)) for feed, source in zip(*found.nonzero(), strict=True)]


def _seen(name: str, row: list[int], now_ns: int) -> SourceSeen:
    previous = row[USE] == PREVIOUS
    price, seen_ns = (row[GOOD_PRICE], row[GOOD_NS]) if previous else (row[PRICE], row[SOURCE_NS])
    return SourceSeen(name, price, now_ns - seen_ns if price else 0, USES[row[USE]])


def _rules_row(feed: FeedRules) -> list[int]:
    score = feed.score
    return [
        *(len(feed.sources), _AGGREGATES[feed.aggregate], feed.trim, feed.min_sources, feed.max_age_ns),
        *(feed.max_ahead_ns, feed.outlier_band, feed.max_confidence, feed.max_dispersion, feed.frozen_after_ns),
        *(score.late_after_ns, score.memory, score.quarantine_above, score.return_below, score.quarantine_ns),
    ]


def _facts_rows(feed: FeedRules) -> list[list[int]]:
    groups: dict[str, int] = {}
    return [
        [source.weight, source.rank, groups.setdefault(source.group, len(groups)), source.stale_after_ns]
        for source in feed.sources
    ]
