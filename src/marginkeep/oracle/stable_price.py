"""A slow price that follows the market at a bounded speed, for measuring the risk of opening (Mango v4's rule).

A jump of ten times moves it by 80 % in an hour and to 7.4 times in 25 hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.averages import FINE
from marginkeep.units import RATE_ONE, floor_div, rate_floor

if TYPE_CHECKING:
    from marginkeep.rulebook.oracle_rules import StableRules

SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3_600 * SECOND_NS
UPDATE_MIN_NS: Final = 10 * SECOND_NS
"""An update sooner after the last one changes nothing."""

UPDATE_MAX_NS: Final = 600 * SECOND_NS
"""An update counts for no more time than this, however long there was none."""

DELAY_HOURS: Final = 24


class StablePrice:
    """The slow follower of one price.

    It moves toward the price by at most ``per_second * (smaller / larger)^2 * dt`` of itself, where smaller and larger
    are it and its *delayed price*: while the two disagree it is slower. The delayed price is what the hour 24 hours ago
    left behind: the mean price of that hour, moved by at most `delayed_per_hour` from the hour before. The price given
    to an update is taken to have held since the last one.

    Prices are kept in parts of 1 / `FINE` tick, and steps are rounded down: it is never faster than the rule says.
    """

    __slots__ = ("_delayed", "_last_ns", "_per_hour", "_per_second", "_stable", "_sum", "_time_ns")

    def __init__(self, rules: StableRules) -> None:
        self._per_second = rules.per_second
        self._per_hour = rules.delayed_per_hour
        self._stable = 0
        self._last_ns = 0
        self._sum = 0
        self._time_ns = 0
        self._delayed = [0] * DELAY_HOURS

    @property
    def value(self) -> int:
        """The stable price in ticks, rounded down; 0 before the first update."""
        return self._stable // FINE

    def reset(self, price: int, now_ns: int) -> None:
        """Forget the past: the price counts as having been `price` for a day."""
        self._stable = price * FINE
        self._delayed = [self._stable] * DELAY_HOURS
        self._last_ns = now_ns
        self._sum = self._time_ns = 0

    def update(self, price: int, now_ns: int) -> None:
        """Follow the price, in ticks; the first one is taken over as it is.

        A price of 0 or below changes nothing, nor does a time less than `UPDATE_MIN_NS` after the last update.
        """
        elapsed_ns = now_ns - self._last_ns
        if self._stable == 0:
            if price > 0:
                self.reset(price, now_ns)
            return
        if elapsed_ns < UPDATE_MIN_NS or price <= 0:
            return
        counted_ns = min(elapsed_ns, UPDATE_MAX_NS)
        self._sum += price * counted_ns
        self._time_ns += counted_ns
        self._turn_hours(floor_div(self._last_ns, HOUR_NS), floor_div(now_ns, HOUR_NS))
        self._last_ns = now_ns
        self._stable = _toward(price * FINE, self._stable, self._most(counted_ns, now_ns))

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self._stable, self._last_ns, self._sum, self._time_ns, list(self._delayed)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        self._stable, self._last_ns, self._sum, self._time_ns, delayed = saved
        self._delayed = list(delayed)

    def _turn_hours(self, before: int, now: int) -> None:
        """Leave the mean of the hours that have ended for the same hours of the next day."""
        if now == before:
            return
        last = self._delayed[(before - 1) % DELAY_HOURS]
        mean = floor_div(self._sum * FINE, self._time_ns)
        ended = _toward(mean, last, rate_floor(last, self._per_hour))
        for hour in range(before, min(now, before + DELAY_HOURS)):
            self._delayed[hour % DELAY_HOURS] = ended
        self._sum = self._time_ns = 0

    def _most(self, counted_ns: int, now_ns: int) -> int:
        """Return how far an update that counts for this time may move the stable price."""
        delayed = self._delayed[floor_div(now_ns, HOUR_NS) % DELAY_HOURS]
        smaller, larger = sorted((self._stable, delayed))
        moved = self._stable * self._per_second * counted_ns * smaller**2
        return floor_div(moved, RATE_ONE * SECOND_NS * larger**2)


def _toward(target: int, value: int, most: int) -> int:
    """Move a value to its target, by at most `most`."""
    return max(min(target, value + most), value - most)
