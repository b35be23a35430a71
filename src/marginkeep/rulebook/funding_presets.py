"""Documented funding rules of venues, and the house's own; a rulebook may override every part of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.rulebook.durations import DAY, HOUR, MINUTE, SECOND
from marginkeep.rulebook.funding_rules import FundingRules
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Callable

INTEREST: Final = RATE_ONE // 10_000
"""0.01 % in 8 hours."""

DAMPING: Final = (-RATE_ONE // 2_000, RATE_ONE // 2_000)
"""0.05 % on both sides: within it of the interest, a premium does not move the rate."""


def house(market: str) -> FundingRules:
    """Return what funding is unless the rulebook says otherwise.

    One sample a minute, hourly payments of the 8-hour rate ``P + clamp(I - P, +-0.05 %)``, and a rate that never takes
    more than three quarters of the distance between initial and maintenance in 8 hours.
    """
    return FundingRules(
        market=market,
        interval_ns=HOUR,
        period_ns=8 * HOUR,
        average="mean",
        sample_every_ns=MINUTE,
        interest=INTEREST,
        interest_period_ns=8 * HOUR,
        damping=DAMPING,
        cap_of_margin=RATE_ONE * 3 // 4,
    )


def binance(market: str) -> FundingRules:
    """Return Binance's: ``(P + clamp(I - P, +-0.05 %)) / (8 / N)`` every N hours, the form of 18 September 2025.

    P is the average of samples every 5 seconds with rising weights. A symbol's cap and floor differ: state ``most``.
    """
    return FundingRules(
        market=market,
        interval_ns=8 * HOUR,
        period_ns=8 * HOUR,
        average="rising",
        sample_every_ns=5 * SECOND,
        interest=INTEREST,
        interest_period_ns=8 * HOUR,
        damping=DAMPING,
    )


def hyperliquid(market: str) -> FundingRules:
    """Return Hyperliquid's: an eighth of ``P + clamp(I - P, +-0.05 %)`` an hour, at most 4 %, on the index."""
    return FundingRules(
        market=market,
        interval_ns=HOUR,
        period_ns=8 * HOUR,
        average="mean",
        sample_every_ns=5 * SECOND,
        interest=INTEREST,
        interest_period_ns=8 * HOUR,
        damping=DAMPING,
        lowest=-RATE_ONE // 25,
        highest=RATE_ONE // 25,
        paid_on="index",
    )


def dydx(market: str) -> FundingRules:
    """Return dYdX v4's: mean of 60 samples an hour, each the median of votes, padded with zeros, in parts of 10^6.

    Premiums within 60, the 8-hour rate within 6 times the distance between initial and maintenance rate.
    """
    return FundingRules(
        market=market,
        interval_ns=HOUR,
        period_ns=8 * HOUR,
        average="mean",
        sample_every_ns=MINUTE,
        interest=0,
        interest_period_ns=8 * HOUR,
        damping=None,
        zero_padded=True,
        votes="median",
        least_votes=15,
        premium_cap_of_margin=60 * RATE_ONE,
        step=RATE_ONE // 10**6,
        cap_of_margin=6 * RATE_ONE,
        paid_on="index",
    )


def drift(market: str) -> FundingRules:
    """Return Drift v2's: ``clamp(mark - index + index / 5000, +-index / 33) / 24`` an hour, of hourly averages.

    The divisor 33 is that of contract tiers A and B: C has 20, the others 10. Averages are plain here, not decaying.
    """
    return FundingRules(
        market=market,
        interval_ns=HOUR,
        period_ns=DAY,
        average="prices",
        sample_every_ns=MINUTE,
        interest=RATE_ONE // 5_000,
        interest_period_ns=DAY,
        damping=None,
        cap_divisor=33,
        paid_on="average",
    )


def vega(market: str) -> FundingRules:
    """Return Vega's: ``F - S + clamp((1 + r dt) S - F, lo S, hi S)`` by the share of time with prices (0053-PERP).

    F and S are the averages of mark and index. Interval, interest of a year, damping, scale and bounds are the
    market's own; without interest there is no damping either. A rulebook that changes the interval changes the
    period with it.
    """
    return FundingRules(
        market=market,
        interval_ns=8 * HOUR,
        period_ns=8 * HOUR,
        average="prices",
        sample_every_ns=MINUTE,
        interest=0,
        interest_period_ns=365 * DAY,
        damping=None,
        by_coverage=True,
        paid_on="average",
        whole_ticks=True,
    )


def derive(market: str) -> FundingRules:
    """Return Derive's: an eighth of the premium an hour plus 0.00125 %, within 0.4 %, on the index."""
    return FundingRules(
        market=market,
        interval_ns=HOUR,
        period_ns=8 * HOUR,
        average="time_weighted",
        sample_every_ns=MINUTE,
        interest=INTEREST,
        interest_period_ns=8 * HOUR,
        damping=None,
        lowest=-RATE_ONE // 250,
        highest=RATE_ONE // 250,
        paid_on="index",
    )


PRESETS: Final[dict[str, Callable[[str], FundingRules]]] = {
    "house": house,
    "binance": binance,
    "hyperliquid": hyperliquid,
    "dydx": dydx,
    "drift": drift,
    "vega": vega,
    "derive": derive,
}
