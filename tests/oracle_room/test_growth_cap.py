"""The growth cap: a ratio follows yield and losses, never a jump upwards."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.growth_cap import YEAR_SECONDS, capped, highest_ratio, snapshot_is_usable
from marginkeep.rulebook.oracle_rules import GrowthCap
from marginkeep.units import RATE_ONE

SECOND = 10**9
DAY = 86_400 * SECOND
SINCE = 1_700_000_000 * SECOND
CAP = GrowthCap(ratio=1_150_000_000, since_ns=SINCE, yearly=96_800_000)

CAPS = st.builds(GrowthCap, ratio=st.integers(1, 10**19), since_ns=st.just(SINCE), yearly=st.integers(0, 2 * RATE_ONE))
AGES = st.integers(-400 * DAY, 400 * DAY)


def test_after_a_year_the_yearly_growth_is_allowed_less_what_rounding_each_second_loses() -> None:
    per_second = 3_529_934  # 1,150,000,000 * 0.0968 * 10^6 / 31,536,000 = 3,529,934.04
    assert highest_ratio(CAP, SINCE + 365 * DAY) == 1_150_000_000 + per_second * 31_536_000 // 10**6


def test_before_the_snapshot_nothing_has_grown() -> None:
    assert highest_ratio(CAP, SINCE - 90 * DAY) == CAP.ratio
    assert highest_ratio(CAP, SINCE) == CAP.ratio
    assert highest_ratio(CAP, SINCE + 90 * DAY) > CAP.ratio


def test_only_a_ratio_above_the_cap_is_lowered() -> None:
    highest = highest_ratio(CAP, SINCE + DAY)
    assert capped(highest, CAP, SINCE + DAY) == (highest, False)
    assert capped(highest + 1, CAP, SINCE + DAY) == (highest, True)
    assert capped(highest // 2, CAP, SINCE + DAY) == (highest // 2, False)


def test_a_part_of_a_second_does_not_count() -> None:
    assert highest_ratio(CAP, SINCE + SECOND - 1) == CAP.ratio
    assert highest_ratio(CAP, SINCE + SECOND) == CAP.ratio + 3


def test_a_snapshot_is_usable_from_a_week_to_half_a_year_after_it_and_never_before_it() -> None:
    usable = [age for age in (-30 * DAY, 0, 7 * DAY - 1, 7 * DAY, 180 * DAY, 180 * DAY + 1) if _usable(age)]
    assert usable == [7 * DAY, 180 * DAY]


def _usable(age_ns: int) -> bool:
    return snapshot_is_usable(CAP, SINCE + age_ns)


@given(CAPS, AGES)
def test_the_cap_is_the_straight_line_of_growth_less_a_tick_and_what_a_millionth_a_second_loses(
    cap: GrowthCap, age_ns: int
) -> None:
    seconds = max(age_ns, 0) // SECOND
    line = cap.ratio * (1 + Fraction(cap.yearly, RATE_ONE) * Fraction(seconds, YEAR_SECONDS))
    highest = highest_ratio(cap, SINCE + age_ns)
    assert line - Fraction(seconds, 10**6) - 1 < highest <= line


@given(CAPS, AGES, st.integers(0, 3 * 10**19))
def test_a_ratio_is_lowered_to_the_cap_line_and_never_below_it(cap: GrowthCap, age_ns: int, ratio: int) -> None:
    now = SINCE + age_ns
    used, is_capped = capped(ratio, cap, now)
    assert used == (highest_ratio(cap, now) if is_capped else ratio)
    assert is_capped == (ratio > highest_ratio(cap, now))
    assert capped(used, cap, now) == (used, False)


@given(CAPS, AGES, st.integers(0, 100 * DAY))
def test_the_cap_never_falls_as_time_passes(cap: GrowthCap, age_ns: int, passed: int) -> None:
    assert highest_ratio(cap, SINCE + age_ns) <= highest_ratio(cap, SINCE + age_ns + passed)
