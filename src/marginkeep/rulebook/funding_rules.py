"""What the rulebook says about funding: how premiums become a rate, what bounds it, when and on what it is paid.

Times are nanoseconds, rates parts per 10^9. The rate is that of a period, such as 8 hours; each payment is the share
`interval / period` of it. A positive rate: longs pay shorts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from marginkeep.units import RATE_ONE, floor_div

FUNDING_RATE_MAX: Final = RATE_ONE // 4
"""Highest funding of one payment: a quarter of the position's value."""

Average = Literal["mean", "rising", "time_weighted", "prices"]
Votes = Literal["last", "median"]
PaidOn = Literal["mark", "index", "average"]
Accrual = Literal["period", "continuous"]


@dataclass(frozen=True, slots=True)
class FundingRules:
    """How one market's funding is made.

    Attributes
    ----------
    interval_ns : payments fall on the multiples of it since 1970
    period_ns : what rates, interest and caps of a period refer to
    average : of the premiums since the last payment: ``mean`` of one sample every `sample_every_ns`; ``rising``, the
        same with weights 1, 2, 3, ...; ``time_weighted``, a premium holds until the next; ``prices``, the distance of
        the time-weighted mark from the time-weighted index
    zero_padded : a sample that is missing counts as 0; otherwise it does not count
    votes, least_votes : what one sample is when several arrive in its time: the ``last``, or the ``median``, of at
        least so many, the missing ones 0
    tail : share of the samples left out at each end (``mean``)
    premium_cap, premium_cap_of_margin : most a premium counts: a rate, a multiple of `margin_gap`; 0 = none
    step : premiums and their average are rounded toward zero to multiples of it
    interest, interest_period_ns : the interest part, and the time it is for
    damping : the interest part is ``clamp(interest - premium, *damping)``; None adds the interest as it is. With
        ``prices`` and no interest there is no interest part at all, as in Vega's code
    scale : factor on the rate
    by_coverage : multiply by the share of the time in which there was a premium
    cap, cap_of_margin, cap_divisor : most rate of a period: a rate, a multiple of `margin_gap`, 1 / this; 0 = none
    lowest, highest : of one payment
    imbalance_slope, imbalance_most : added rate of a period where all users are on one side, and its bound
    paid_on : the price whose value the rate is of: ``mark`` or ``index`` at payment, or the ``average`` index
    whole_ticks : a payment on the average is rounded toward zero to whole ticks (a unit of the contract)
    accrual : ``period`` books a payment when it is due, to whoever holds a position then. ``continuous`` books the part
        that has accrued every `sample_every_ns`, and the rest when it is due: it counts in every margin at once, and
        whoever held a position for a part of the time pays for that part
    stale_after_ns : an order book older than this says nothing of the premium
    margin_gap : initial less maintenance rate of the market's first tier; computed by the loader
    """

    market: str
    interval_ns: int
    period_ns: int
    average: Average
    sample_every_ns: int
    interest: int
    interest_period_ns: int
    damping: tuple[int, int] | None
    zero_padded: bool = False
    votes: Votes = "last"
    least_votes: int = 0
    tail: int = 0
    premium_cap: int = 0
    premium_cap_of_margin: int = 0
    step: int = 1
    scale: int = RATE_ONE
    by_coverage: bool = False
    cap: int = 0
    cap_of_margin: int = 0
    cap_divisor: int = 0
    lowest: int = -FUNDING_RATE_MAX
    highest: int = FUNDING_RATE_MAX
    imbalance_slope: int = 0
    imbalance_most: int = 0
    paid_on: PaidOn = "mark"
    whole_ticks: bool = False
    accrual: Accrual = "period"
    stale_after_ns: int = 60 * 10**9
    margin_gap: int = 0

    @property
    def samples(self) -> int:
        """How many samples a payment is made from."""
        return floor_div(self.interval_ns, self.sample_every_ns)

    @property
    def most_premium(self) -> int | None:
        """The bound of a premium on both sides; None = unbounded."""
        return _smallest(self.premium_cap, self.premium_cap_of_margin, self)

    @property
    def most_rate(self) -> int | None:
        """The bound of a period's rate on both sides, that by `cap_divisor` left out; None = unbounded."""
        return _smallest(self.cap, self.cap_of_margin, self)


def margin_gap(initial: int, maintenance: int, step: int) -> int:
    """Return initial less maintenance rate, the latter first rounded down to a multiple of `step` (dYdX v4)."""
    return initial - maintenance // step * step


def margin_cap(factor: int, gap: int, step: int) -> int:
    """Return ``factor * gap`` rounded down to a multiple of `step`: dYdX's 6 * (IMF - MMF), BitMEX's 0.75 times it."""
    return floor_div(factor * gap, RATE_ONE * step) * step


def _smallest(cap: int, factor: int, rules: FundingRules) -> int | None:
    caps = [cap] if cap else []
    if factor:
        caps.append(margin_cap(factor, rules.margin_gap, rules.step))
    return min(caps, default=None)
