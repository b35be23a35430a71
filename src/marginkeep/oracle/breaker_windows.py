"""What a price was a horizon ago: the history that one trigger of a circuit breaker holds prices against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.rulebook.lognormal import apply_bounds
from marginkeep.units import ceil_div, floor_div

if TYPE_CHECKING:
    from marginkeep.rulebook.oracle_rules import BreakerTrigger

BUCKETS: Final = 64
"""Averages that a horizon is divided into."""

SHORTEST_BUCKET_NS: Final = 10**9


class Window:
    """Averages of prices over buckets of time, and the bounds around the one that is a horizon old.

    A bucket's average is that of the prices observed in it, rounded down; in a bucket without any the last price
    stands. The reference is the average of the last bucket that began a horizon ago or earlier, else of the oldest,
    and until the first bucket is over the first price. An average equal to the one before it is not stored: it is
    what the history says anyway. So at most `BUCKETS` + 2 are kept, and calls that only pass time leave no trace.

    Attributes
    ----------
    reference, lowest, highest : ticks
    changes_ns : when time alone next changes the history
    sum, count : prices of the open bucket
    """

    __slots__ = (
        "_averages",
        "_open",
        "_starts",
        "bucket_ns",
        "changes_ns",
        "count",
        "highest",
        "lowest",
        "reference",
        "sum",
        "trigger",
    )

    def __init__(self, trigger: BreakerTrigger) -> None:
        self.trigger = trigger
        # No bucket is longer than the horizon, so the open one is never old enough to be its own reference.
        shortest = max(SHORTEST_BUCKET_NS, ceil_div(trigger.horizon_ns, BUCKETS))
        self.bucket_ns = min(trigger.horizon_ns, shortest)
        self.sum = self.count = self._open = 0
        self.reference = self.lowest = self.highest = self.changes_ns = 0
        self._starts: list[int] = []
        self._averages: list[int] = []

    def start(self, price: int, now_ns: int) -> None:
        """Begin with the first price."""
        self._open = floor_div(now_ns, self.bucket_ns)
        self._starts, self._averages = [self._open * self.bucket_ns], [price]
        self._refer()

    def allows(self, price: int) -> bool:
        """Tell whether a price is within the bounds."""
        return self.lowest <= price <= self.highest

    def advance(self, now_ns: int, latest: int) -> None:
        """Close the buckets that are over and move the reference; `latest` is the last price observed."""
        index = floor_div(now_ns, self.bucket_ns)
        if index > self._open:
            self._close(floor_div(self.sum, self.count) if self.count else latest)
            if index > self._open + 1:
                self._append((self._open + 1) * self.bucket_ns, latest)
            self._open, self.sum, self.count = index, 0, 0
        old_enough = now_ns - self.trigger.horizon_ns
        while len(self._starts) > 1 and self._starts[1] <= old_enough:
            del self._starts[0], self._averages[0]
        self._refer()

    def copy(self) -> Window:
        """Return an independent copy."""
        other = Window(self.trigger)
        other.restore(self.save())
        return other

    def save(self) -> list[Any]:
        """Return the open bucket and the averages."""
        return [self._open, self.sum, self.count, list(self._starts), list(self._averages)]

    def restore(self, saved: list[Any]) -> None:
        """Take over what `save` returned."""
        self._open, self.sum, self.count, starts, averages = saved
        self._starts, self._averages = list(starts), list(averages)
        if self._starts:
            self._refer()

    def _close(self, average: int) -> None:
        start = self._open * self.bucket_ns
        if self._starts[-1] == start:  # the first bucket, for which the first price has stood in
            self._averages[-1] = average
        else:
            self._append(start, average)

    def _append(self, start: int, average: int) -> None:
        if average != self._averages[-1]:
            self._starts.append(start)
            self._averages.append(average)

    def _refer(self) -> None:
        self.reference = self._averages[0]
        self.lowest, self.highest = apply_bounds(self.reference, self.trigger.lower, self.trigger.upper)
        self.changes_ns = (self._open + 1) * self.bucket_ns
        if len(self._starts) > 1:
            self.changes_ns = min(self.changes_ns, self._starts[1] + self.trigger.horizon_ns)
