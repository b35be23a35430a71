"""One feed's price after its wrappers: growth cap, jump limit, delay, the product with its base; and its volatility."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.averages import MovingAverage
from marginkeep.oracle.delayed import DelayedPrice
from marginkeep.oracle.growth_cap import capped
from marginkeep.oracle.jump_limit import JumpLimiter
from marginkeep.oracle.source_rows import outside
from marginkeep.rulebook.oracle_rules import STALE, TOO_FEW_SOURCES, VALID, VOLATILE

if TYPE_CHECKING:
    from fractions import Fraction

    from marginkeep.rulebook.oracle_rules import FeedRules

VALID_BIT: Final = 1 << VALID
_LOST: Final = 1 << TOO_FEW_SOURCES


class FeedPrice:
    """What a feed's index becomes before anybody acts on it.

    Attributes
    ----------
    unit : value of one of `ticks` in the reporting asset: the tick, times the base's unit for a ratio
    ticks : the price, 0 before the first; for a ratio the exact product with its base
    flags : the qualities that apply, as bits (1 << quality)
    newest_ns : source time of the newest quote in it
    dispersion : how far apart the sources are, a rate
    """

    __slots__ = ("_average", "_delayed", "_limiter", "_mean", "_rules", "base", "dispersion", "flags", "newest_ns",
                 "ticks", "unit")  # fmt: skip

    def __init__(self, rules: FeedRules, base: FeedPrice | None) -> None:
        self._rules = rules
        self.base = base
        self.unit: Fraction = rules.tick if base is None else rules.tick * base.unit
        self._average = MovingAverage(rules.average_half_life_ns) if rules.volatile_band else None
        self._limiter = JumpLimiter(rules.jump_limit) if rules.jump_limit else None
        self._delayed = DelayedPrice(rules.delay_ns) if rules.delay_ns else None
        self._mean = 0
        self.ticks = 0
        self.flags = _LOST
        self.newest_ns = 0
        self.dispersion = 0

    @property
    def announced(self) -> tuple[int, int] | None:
        """The price to come and when it comes, for a delayed feed whose next price differs."""
        delayed = self._delayed
        if delayed is None or delayed.announced is None or delayed.announced == delayed.current:
            return None
        ticks = delayed.announced * (self.base.ticks if self.base else 1)
        return (ticks, delayed.next_ns) if ticks else None

    def update(self, index: int, flags: int, newest_ns: int, dispersion: int, now_ns: int) -> bool:
        """Take the aggregate of the sources over; tell whether price or quality changed."""
        before = (self.ticks, self.flags)
        self.newest_ns, self.dispersion = newest_ns, dispersion
        rules = self._rules
        price = index
        if rules.growth_cap is not None and price:
            price, _ = capped(price, rules.growth_cap, now_ns)
        if self._limiter is not None and price:
            price = self._limiter.limit(price, now_ns)
        if self._delayed is not None:
            price, flags = self._delay(price, flags, now_ns)
        if self.base is not None:
            price *= self.base.ticks
            flags |= self.base.flags
        if self._mean and price and outside(price, self._mean, rules.volatile_band):
            flags |= 1 << VOLATILE
        self.ticks = price
        self.flags = flags & ~VALID_BIT or VALID_BIT
        return before != (self.ticks, self.flags)

    def _delay(self, price: int, flags: int, now_ns: int) -> tuple[int, int]:
        """Publish what is due; a delayed price is judged by its own age, what its sources do now concerns the next."""
        delayed = self._delayed
        assert delayed is not None
        delayed.offer(price, price > 0 and not flags & ~(VALID_BIT | 1 << VOLATILE), now_ns)
        if delayed.current is None:
            return 0, flags | _LOST
        is_old = now_ns - delayed.current_from_ns > 3 * self._rules.delay_ns
        return delayed.current, 1 << STALE if is_old else VALID_BIT

    def sample(self, now_ns: int) -> None:
        """Let the moving average see the price; called once a sweep."""
        if self._average is None or not self.ticks:
            return
        self._mean = self._average.value(now_ns) or 0
        self._average.observe(self.ticks, now_ns)
        self._mean = self._mean or self.ticks

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        parts = (self._average, self._limiter, self._delayed)
        own = [self._mean, self.ticks, self.flags, self.newest_ns, self.dispersion]
        return [own, *(None if part is None else part.save() for part in parts)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state of a feed with the same rules."""
        own, *states = saved
        self._mean, self.ticks, self.flags, self.newest_ns, self.dispersion = own
        for part, state in zip((self._average, self._limiter, self._delayed), states, strict=True):
            if part is not None and state is not None:
                part.restore(state)
