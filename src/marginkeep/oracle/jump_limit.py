"""A limit on how far one publication may move a price, and a fee that makes a sudden move not worth trading on.

The rule of Curve's lending market maker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from marginkeep.errors import InvariantViolation
from marginkeep.rulebook.oracle_rules import FACTOR_ONE
from marginkeep.units import RATE_ONE, ceil_div, floor_div

if TYPE_CHECKING:
    from marginkeep.rulebook.oracle_rules import JumpLimit

FEE_MAX = FACTOR_ONE - 1
"""Just below everything: a fee of all would divide by zero where a price is grossed up by it."""


class _Published(NamedTuple):
    """A limited price, the fee asked with it (parts of 10^18) and its time."""

    price: int
    fee: int
    at_ns: int


class JumpLimiter:
    """Keeps each price near the one before it, and remembers what the move must cost.

    Measured against the last publication, not the last change: while prices keep coming, the window never closes and
    no jump passes unlimited. The limit is a limit per instant, not per window: a source that stays high is followed
    step by step, each step adding to the fee. Several prices at one instant are each measured against the instant
    before, and the last of them counts; only at the very first instant the first price is the measure.

    Attributes
    ----------
    rules : ratio and window
    """

    __slots__ = ("_before", "_last", "rules")

    def __init__(self, rules: JumpLimit) -> None:
        self.rules = rules
        self._before: _Published | None = None
        self._last: _Published | None = None

    def limit(self, price: int, now_ns: int) -> int:
        """Publish a price: return it, or the nearest one that the last publication allows.

        Within the window the price is kept from ``last / ratio`` to ``last * ratio``, rounded toward the last one, so
        no positive price becomes zero. A window or more after the last publication any price passes.

        Parameters
        ----------
        price : ticks, positive
        now_ns : a time before the last publication counts as that publication's

        Raises
        ------
        InvariantViolation : a price that is not positive; such quotes are refused before they get here
        """
        if price <= 0:
            raise InvariantViolation(f"a jump limiter was given the price {price}: it must be positive")
        if self._before is None or self._last is None:
            self._before = self._last = _Published(price, 0, now_ns)
            return price
        now_ns = max(now_ns, self._last.at_ns)
        if now_ns > self._last.at_ns:
            self._before = self._last
        self._last = self._limited(price, self._before, now_ns)
        return self._last.price

    def fee(self, now_ns: int) -> int:
        """Return the share of a trade to be asked now, in parts of 10^18.

        It is what a trade or a liquidation at the suddenly moved price may be charged, so that a jump that somebody
        made, or saw first, earns nothing. It falls linearly to nothing over the window after the last publication.
        """
        if self._last is None:
            return 0
        return self._decayed(self._last.fee, now_ns - self._last.at_ns)

    def _limited(self, price: int, last: _Published, now_ns: int) -> _Published:
        """Clamp the price and reckon the fee: ``(old fee + 1 - share^3) * (window - age) / window``.

        The share is the smaller of the two prices over the larger, at least ``1 / ratio``. Its cube, because the
        market maker's own price moves three times as far as the oracle's.
        """
        age_ns = now_ns - last.at_ns
        if age_ns >= self.rules.window_ns:
            return _Published(price, 0, now_ns)
        ratio = self.rules.ratio
        lowest = ceil_div(last.price * RATE_ONE, ratio)
        highest = floor_div(last.price * ratio, RATE_ONE)
        least_share = floor_div(FACTOR_ONE * RATE_ONE, ratio)
        share = max(floor_div(min(price, last.price) * FACTOR_ONE, max(price, last.price)), least_share)
        jump = FACTOR_ONE - floor_div(share**3, FACTOR_ONE**2)
        fee = min(self._decayed(last.fee + jump, age_ns), FEE_MAX)
        return _Published(min(max(price, lowest), highest), fee, now_ns)

    def _decayed(self, fee: int, age_ns: int) -> int:
        left_ns = self.rules.window_ns - max(age_ns, 0)
        return floor_div(fee * left_ns, self.rules.window_ns) if left_ns > 0 else 0

    def save(self) -> list[Any]:
        """Return the state for a snapshot: nothing yet, or price, fee and time of the last two instants."""
        if self._before is None or self._last is None:
            return []
        return [list(self._before), list(self._last)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a state that `save` returned."""
        self._before, self._last = (_Published(*one) for one in saved) if saved else (None, None)
