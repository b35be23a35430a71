"""A price that is announced one period before it counts, so that whoever it will liquidate can act first.

The rule of Maker's oracle security module: publications fall on whole multiples of the delay; each makes the price
announced at the one before the current one, and announces a new one.
"""

from __future__ import annotations

from typing import Any

from marginkeep.errors import InvariantViolation


class DelayedPrice:
    """A current price, and the one that becomes current at the next publication.

    The announced price is the one offered at the moment of publication, as at Maker; what is offered in between is
    forgotten, so the state does not depend on how often anybody offers. A publication that comes late (nobody offered
    in time) does not shift the later ones, so its announced price waits for less than the delay by how late it was;
    an owner that offers at `next_ns` gives every price the whole delay.

    Attributes
    ----------
    delay_ns : time between publications
    current : the price that counts; None before the first usable one
    current_from_ns : when it was offered
    announced : the price that counts from `next_ns` on; None before the first usable one
    announced_from_ns : when it was offered
    next_ns : when the next publication is due; 0 before the first usable price, which is published at once
    """

    __slots__ = ("announced", "announced_from_ns", "current", "current_from_ns", "delay_ns", "next_ns")

    def __init__(self, delay_ns: int) -> None:
        if delay_ns <= 0:
            raise InvariantViolation(
                f"a price is delayed by {delay_ns} ns: only a positive delay makes a delayed price"
            )
        self.delay_ns = delay_ns
        self.current: int | None = None
        self.current_from_ns = 0
        self.announced: int | None = None
        self.announced_from_ns = 0
        self.next_ns = 0

    def offer(self, price: int, is_usable: bool, now_ns: int) -> bool:
        """Offer the source's price as of now; publish if a publication is due.

        The first usable price becomes both current and announced. A publication whose source is unusable still makes
        the announced price current, which all were told to expect, and announces it for another period: a price
        announced late would be current with less notice than the delay promises.

        Parameters
        ----------
        price : ticks; ignored when unusable
        now_ns : a time before `next_ns` changes nothing, also when clocks went back

        Returns
        -------
        True when the current or the announced price changed. `next_ns` may change without either.
        """
        if self.announced is None:
            return is_usable and self._start(price, now_ns)
        if now_ns < self.next_ns:
            return False
        before = (self.current, self.announced)
        self.current, self.current_from_ns = self.announced, self.announced_from_ns
        if is_usable:
            self.announced, self.announced_from_ns = price, now_ns
        self.next_ns = self._after(now_ns)
        return before != (self.current, self.announced)

    def _start(self, price: int, now_ns: int) -> bool:
        self.current = self.announced = price
        self.current_from_ns = self.announced_from_ns = now_ns
        self.next_ns = self._after(now_ns)
        return True

    def _after(self, now_ns: int) -> int:
        """Return the publication time that follows the one in whose period `now_ns` lies."""
        return now_ns - now_ns % self.delay_ns + self.delay_ns

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self.current, self.current_from_ns, self.announced, self.announced_from_ns, self.next_ns]

    def restore(self, saved: list[Any]) -> None:
        """Take over a state that `save` returned."""
        self.current, self.current_from_ns, self.announced, self.announced_from_ns, self.next_ns = saved
