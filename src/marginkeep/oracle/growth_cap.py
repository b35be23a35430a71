"""A ceiling for a ratio that only yield can raise: what a share of a staking pool is worth in its base asset.

The rule of Aave's ratio cap. Only the upper side is capped: yield is slow, a loss (slashing) may be sudden and true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.units import RATE_ONE, floor_div

if TYPE_CHECKING:
    from marginkeep.rulebook.oracle_rules import GrowthCap

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS
YEAR_SECONDS: Final = 365 * 86_400

GROWTH_SCALE: Final = 1_000_000
"""Growth per second is kept in whole millionths of a tick, as at Aave, so that both cap at the same tick."""

SNAPSHOT_AGE_MIN_NS: Final = 7 * DAY_NS
SNAPSHOT_AGE_MAX_NS: Final = 180 * DAY_NS


def highest_ratio(cap: GrowthCap, now_ns: int) -> int:
    """Return the largest ratio that yield can explain by now, in ticks of the ratio, rounded down.

    ``ratio + floor(floor(ratio * yearly * 10^6 / year) * seconds / 10^6)``: linear, whole seconds, each division
    rounded down. Both roundings favour the lower ceiling; the inner one loses at most a tick in 10^6 seconds. Before
    `since_ns` nothing has grown.
    """
    seconds = floor_div(max(now_ns - cap.since_ns, 0), SECOND_NS)
    per_second = floor_div(cap.ratio * cap.yearly * GROWTH_SCALE, RATE_ONE * YEAR_SECONDS)
    return cap.ratio + floor_div(per_second * seconds, GROWTH_SCALE)


def capped(ratio: int, cap: GrowthCap, now_ns: int) -> tuple[int, bool]:
    """Return the ratio that may be used, and whether the cap lowered it."""
    highest = highest_ratio(cap, now_ns)
    return min(ratio, highest), ratio > highest


def snapshot_is_usable(cap: GrowthCap, now_ns: int) -> bool:
    """Tell whether the cap's starting point is at least 7 and at most 180 days old; for information only.

    A younger one could have been chosen while the ratio was already pushed up; above an older one so much growth is
    allowed that the cap no longer binds.
    """
    return SNAPSHOT_AGE_MIN_NS <= now_ns - cap.since_ns <= SNAPSHOT_AGE_MAX_NS
