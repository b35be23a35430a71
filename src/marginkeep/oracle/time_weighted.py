"""Time-weighted averages, exact, of prices that may arrive late, twice or out of order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.errors import InputError
from marginkeep.units import floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence

POINTS_MAX: Final = 4_096
"""Points kept unless told otherwise."""


class TimeWeighted:
    """Observed prices by time; each holds until the next one.

    Sums of price times time are kept beside the points, so an average costs two searches for each span it covers, and
    a point that arrives late costs as much as there are points after it.

    Parameters
    ----------
    points_max : when there are more, the oldest is forgotten, and `gaps` then states the time before the next one
    """

    __slots__ = ("_points_max", "_prices", "_sums", "_times")

    def __init__(self, points_max: int = POINTS_MAX) -> None:
        if points_max < 1:
            raise InputError(f"points_max is {points_max}: keep at least 1 point")
        self._points_max = points_max
        self._times: list[int] = []
        self._prices: list[int] = []
        self._sums: list[int] = []

    def __len__(self) -> int:
        """Return how many points are kept."""
        return len(self._times)

    @property
    def last_ns(self) -> int | None:
        """The time of the newest point."""
        return self._times[-1] if self._times else None

    def observe(self, price: int, at_ns: int, replaces: bool = False) -> bool:
        """Insert a point wherever it belongs.

        Parameters
        ----------
        price : ticks, of any sign
        replaces : at the instant of another point, take its place instead of being refused

        Returns
        -------
        False where the point was refused: a second one at its instant, or older than all of a full list.
        """
        place = bisect_left(self._times, at_ns)
        if place < len(self._times) and self._times[place] == at_ns:
            if replaces:
                self._prices[place] = price
                self._sum_from(place)
            return replaces
        if place == 0 and len(self._times) == self._points_max:
            return False
        self._times.insert(place, at_ns)
        self._prices.insert(place, price)
        self._sums.insert(place, 0)
        self._sum_from(place)
        self._forget(len(self._times) - self._points_max)
        return True

    def average(
        self, start_ns: int, end_ns: int, excluded: Sequence[tuple[int, int]] = (), carry_in: bool = True
    ) -> Fraction | None:
        """Return the average price from `start_ns` to `end_ns`, exactly.

        Parameters
        ----------
        excluded : spans (start, end) that do not count, in any order; they may overlap
        carry_in : let the last point at or before the start hold from the start on. Without it, or where there is no
            such point, the average begins at the first point at or after the start

        Returns
        -------
        None where no time is left to average over.
        """
        total, time = self._totals(start_ns, end_ns, excluded, carry_in)
        return Fraction(total, time) if time else None

    def average_floor(
        self, start_ns: int, end_ns: int, excluded: Sequence[tuple[int, int]] = (), carry_in: bool = True
    ) -> int | None:
        """Return `average` rounded down to ticks."""
        total, time = self._totals(start_ns, end_ns, excluded, carry_in)
        return floor_div(total, time) if time else None

    def gaps(self, start_ns: int, end_ns: int, longest_ns: int) -> list[tuple[int, int]]:
        """Return the spans between `start_ns` and `end_ns` in which the newest point is older than `longest_ns`.

        Time before the first point is a gap as well.
        """
        starts = [start_ns, *(at_ns + longest_ns for at_ns in self._times)]
        ends = [*self._times, end_ns]
        spans = ((max(start, start_ns), min(end, end_ns)) for start, end in zip(starts, ends, strict=True))
        return [(start, end) for start, end in spans if start < end]

    def forget_before(self, at_ns: int) -> None:
        """Drop the points that no average from `at_ns` on needs: all before the last one at or before `at_ns`."""
        self._forget(bisect_right(self._times, at_ns) - 1)

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [list(self._times), list(self._prices)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        times, prices = saved
        self._times, self._prices, self._sums = list(times), list(prices), [0] * len(times)
        self._sum_from(0)

    def _sum_from(self, place: int) -> None:
        """Sum anew from a changed point on; only differences of sums are used, so the first may be anything."""
        times, prices, sums = self._times, self._prices, self._sums
        for index in range(max(place, 1), len(times)):
            sums[index] = sums[index - 1] + prices[index - 1] * (times[index] - times[index - 1])

    def _forget(self, count: int) -> None:
        if count > 0:
            del self._times[:count], self._prices[:count], self._sums[:count]

    def _totals(
        self, start_ns: int, end_ns: int, excluded: Sequence[tuple[int, int]], carry_in: bool
    ) -> tuple[int, int]:
        """Return the sum of price times time, and the time, that an average is made of."""
        total = time = 0
        first = self._first_ns(start_ns, carry_in)
        if first is not None:
            for start, end in _remaining(first, end_ns, excluded):
                total += self._integral(end) - self._integral(start)
                time += end - start
        return total, time

    def _first_ns(self, start_ns: int, carry_in: bool) -> int | None:
        """Return when the average begins; None where it has no point to begin with."""
        place = bisect_left(self._times, start_ns)
        if carry_in and place > 0:
            return start_ns
        return self._times[place] if place < len(self._times) else None

    def _integral(self, at_ns: int) -> int:
        place = bisect_right(self._times, at_ns) - 1
        return self._sums[place] + self._prices[place] * (at_ns - self._times[place])


def _remaining(start_ns: int, end_ns: int, excluded: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what the excluded spans leave of the time from start to end."""
    reached = start_ns
    left = []
    for start, end in sorted(excluded):
        if end <= start:
            continue
        if reached < min(start, end_ns):
            left.append((reached, min(start, end_ns)))
        reached = max(reached, end)
    if reached < end_ns:
        left.append((reached, end_ns))
    return left
