from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marginkeep.liquidation.auction_curve import discount, time_part
from marginkeep.liquidation.auction_presets import RAY, maker_exponential, maker_stairstep, ray_power
from marginkeep.rulebook.ladder_rules import AuctionRules
from marginkeep.units import RATE_ONE

SECOND = 10**9
PERCENT = RATE_ONE // 100
RULES = AuctionRules(
    below_factor=0,
    curve="linear",
    start=PERCENT,
    most=21 * PERCENT,
    illness=10 * PERCENT,
    duration_ns=1000 * SECOND,
    step_ns=100 * SECOND,
    cut=RATE_ONE // 2,
    restarts=2,
    tip=0,
    chip=0,
    most_debt=0,
    most_debt_of_market=0,
)
TIME = st.one_of(st.integers(0, 3), st.integers(0, 2**50))
CUT = st.one_of(st.integers(0, RATE_ONE), st.integers(RATE_ONE - 10**7, RATE_ONE))
FACTOR = st.integers(-2 * RATE_ONE, 2 * RATE_ONE)


@st.composite
def curves(draw: st.DrawFn) -> AuctionRules:
    start = draw(st.integers(0, RATE_ONE - 1))
    step = draw(st.one_of(st.integers(1, 10), st.integers(1, 2**45)))
    return replace(
        RULES,
        curve=draw(st.sampled_from(["linear", "stairstep", "exponential"])),
        start=start,
        most=draw(st.integers(start, RATE_ONE - 1)),
        illness=draw(st.integers(0, RATE_ONE)),
        duration_ns=draw(st.one_of(st.integers(1, 10), st.integers(1, 2**50))),
        step_ns=step,
        cut=draw(st.one_of(st.sampled_from([0, 1, RATE_ONE - 1, RATE_ONE]), st.integers(0, RATE_ONE))),
    )


@given(curves(), TIME, TIME, FACTOR, FACTOR)
def test_a_discount_never_falls_with_time_or_illness_and_never_passes_its_cap(rules, early, longer, factor, healthier):
    assert discount(rules, early, factor) <= discount(rules, early + longer, factor) <= rules.most
    assert discount(rules, early, max(factor, healthier)) <= discount(rules, early, factor)
    assert discount(rules, early, factor) >= rules.start


@given(CUT, st.integers(1, 2**40), st.integers(0, 2**20))
def test_one_more_step_never_lowers_an_exponential_discount(cut, step_ns, steps):
    rules = replace(RULES, curve="exponential", cut=cut, step_ns=step_ns, start=0, most=RATE_ONE - 1)
    assert time_part(rules, steps * step_ns) <= time_part(rules, (steps + 1) * step_ns)


@given(curves(), TIME, TIME, FACTOR)
def test_a_linear_discount_is_continuous_in_time(rules, early, longer, factor):
    rules = replace(rules, curve="linear")
    slope = Fraction(rules.most - rules.start, rules.duration_ns)
    assert discount(rules, early + longer, factor) - discount(rules, early, factor) <= slope * longer + 1


@given(curves(), TIME, FACTOR, st.integers(0, RATE_ONE))
def test_a_discount_is_continuous_in_health(rules, passed, factor, healthier):
    fall = discount(rules, passed, factor) - discount(rules, passed, factor + healthier)
    assert fall <= Fraction(rules.illness, RATE_ONE) * healthier + 1


@pytest.mark.parametrize(("seconds", "percent"), [(0, 1), (250, 6), (999, 20.98), (1000, 21), (5000, 21)])
def test_a_linear_discount_rises_from_start_to_most(seconds, percent):
    assert discount(RULES, seconds * SECOND, RATE_ONE) == round(percent * PERCENT)


@pytest.mark.parametrize(("seconds", "percent"), [(0, 1), (99, 1), (100, 3), (250, 5), (999, 19), (1000, 21)])
def test_a_stairstep_discount_rises_in_steps(seconds, percent):
    assert discount(replace(RULES, curve="stairstep"), seconds * SECOND, RATE_ONE) == percent * PERCENT


def test_a_stairstep_reaches_the_cap_though_the_last_step_is_cut_short():
    rules = replace(RULES, curve="stairstep", step_ns=300 * SECOND)
    assert discount(rules, 999 * SECOND, RATE_ONE) == 19 * PERCENT
    assert discount(rules, 1000 * SECOND, RATE_ONE) == 21 * PERCENT


@pytest.mark.parametrize(("seconds", "percent"), [(0, 1), (50, 6), (100, 11), (200, 16), (300, 18.5), (10**9, 21)])
def test_the_distance_to_the_cap_of_an_exponential_discount_shrinks_by_the_cut_every_step(seconds, percent):
    found = discount(replace(RULES, curve="exponential"), seconds * SECOND, RATE_ONE)
    assert found == round(percent * PERCENT) - (seconds == 10**9)


@given(CUT, st.integers(0, 300))
@example(cut=RATE_ONE - 3_333_333, steps=299)
def test_an_exponential_discount_is_the_exact_power_rounded_down(cut, steps):
    rules = replace(RULES, curve="exponential", cut=cut)
    exact = rules.most - (rules.most - rules.start) * Fraction(cut, RATE_ONE) ** steps
    found = time_part(rules, steps * rules.step_ns)
    assert exact - 1 - Fraction(1, 10**9) < found <= exact


def test_illness_adds_to_time_and_health_above_one_takes_nothing():
    assert discount(RULES, 0, RATE_ONE * 7 // 10) == 4 * PERCENT
    assert discount(RULES, 0, RATE_ONE * 3) == PERCENT
    assert discount(RULES, 0, -RATE_ONE) == 21 * PERCENT


def test_maker_curves_agree_where_a_step_is_a_second():
    cut = 99 * RAY // 100
    for seconds in (0, 1, 69, 600):
        assert maker_stairstep(5 * RAY, seconds, 1, cut) == maker_exponential(5 * RAY, seconds, cut)


@given(st.integers(0, RAY), st.integers(0, 10**4))
def test_a_ray_power_is_within_rounding_of_the_exact_one(base, exponent):
    assert abs(ray_power(base, exponent) - Fraction(base, RAY) ** exponent * RAY) <= exponent + 2
