from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.soft import YEAR_NS, SoftCost, due_share, lots_due, next_step_ns, soft_cost
from marginkeep.rulebook.durations import HOUR, MINUTE, SECOND
from marginkeep.rulebook.ladder_rules import SoftRules
from marginkeep.units import RATE_ONE

PACE = SoftRules(10 * SECOND, MINUTE, RATE_ONE // 10, 1_000_000, RATE_ONE // 2)


def share_after(seconds, rules=PACE):
    return due_share(rules, 5 * SECOND, (5 + seconds) * SECOND)


def test_the_share_that_is_due_grows_at_whole_steps_until_all_is():
    shares = [share_after(seconds) for seconds in (0, 9, 10, 19, 20, 50, 53, 54, 60, 9_999)]
    sixth = RATE_ONE // 6
    assert shares[:4] == [RATE_ONE // 10, RATE_ONE // 10, RATE_ONE // 10 + sixth, RATE_ONE // 10 + sixth]
    assert shares[4] == RATE_ONE // 10 + RATE_ONE // 3
    assert shares[5] == RATE_ONE // 10 + 5 * RATE_ONE // 6
    assert shares[6:] == [shares[5], shares[5], RATE_ONE, RATE_ONE]


def test_the_end_comes_after_the_duration_though_no_step_falls_on_it():
    rules = replace(PACE, step_ns=25 * SECOND, initial_share=0)
    assert [share_after(seconds, rules) for seconds in (24, 25, 59, 60)] == [
        0,
        RATE_ONE * 25 // 60,
        RATE_ONE * 50 // 60,
        RATE_ONE,
    ]


def test_the_next_step_is_when_more_will_be_due():
    for seconds, after in ((0, 10), (9, 10), (10, 20), (59, 60)):
        assert next_step_ns(PACE, 5 * SECOND, (5 + seconds) * SECOND) == (5 + after) * SECOND
    assert next_step_ns(PACE, 0, MINUTE) is None
    assert next_step_ns(replace(PACE, step_ns=25 * SECOND), 0, 55 * SECOND) == MINUTE
    assert next_step_ns(replace(PACE, initial_share=RATE_ONE), 0, 0) is None


def test_a_time_before_the_beginning_is_impossible():
    with pytest.raises(InvariantViolation):
        due_share(PACE, 10, 9)


RULES = st.builds(
    SoftRules,
    st.integers(1, 100),
    st.integers(100, 10_000),
    st.integers(0, RATE_ONE),
    st.just(0),
    st.just(0),
)


@given(RULES, st.integers(0, 20_000), st.integers(0, 200))
def test_the_share_never_falls_and_changes_only_at_the_next_step(rules, now, more):
    share = due_share(rules, 0, now)
    assert rules.initial_share <= share <= due_share(rules, 0, now + more) <= RATE_ONE
    following = next_step_ns(rules, 0, now)
    if following is None:
        assert share == RATE_ONE
    else:
        assert now < following <= now + rules.step_ns
        assert due_share(rules, 0, following - 1) == share


@given(RULES, st.integers(1, 10**9))
def test_following_the_steps_closes_exactly_all(rules, total):
    now: int | None = 0
    already = steps = 0
    while now is not None:
        already += lots_due(total, already, due_share(rules, 0, now))
        now = next_step_ns(rules, 0, now)
        steps += 1
    assert already == total
    assert steps <= rules.duration_ns // rules.step_ns + 2


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, RATE_ONE))
def test_the_lots_due_are_at_most_one_more_than_the_share_and_never_more_than_all(total, already, share):
    due = lots_due(total, already, share)
    assert due >= 0
    assert already + due <= max(total, already)
    assert (already + due) * RATE_ONE < total * share + RATE_ONE or due == 0
    assert (already + due) * RATE_ONE >= total * share


def test_what_has_been_closed_beyond_need_is_not_asked_for():
    assert lots_due(100, 40, RATE_ONE // 2) == 10
    assert lots_due(100, 60, RATE_ONE // 2) == 0
    assert lots_due(3, 0, 1) == 1


def test_the_expected_cost_is_slippage_and_penalty():
    cost = soft_cost(PACE, 10**12, 2_000_000, RATE_ONE)
    assert cost.expected == 2 * 10**9 + 10**9
    assert (cost.low + cost.high) == 2 * cost.expected
    assert soft_cost(PACE, 10**12, 0, RATE_ONE).low < 10**9 - cost.deviation < 10**9
    reach = cost.high - cost.expected
    assert abs(reach - Fraction("1.959963985") * cost.deviation) < 1


def test_without_volatility_the_cost_is_certain():
    assert soft_cost(PACE, 10**12, 0, 0) == SoftCost(10**9, 0, 10**9, 10**9)


def test_at_once_there_is_no_risk():
    assert soft_cost(replace(PACE, initial_share=RATE_ONE), 10**12, 0, RATE_ONE).deviation == 0


def test_in_small_steps_the_deviation_is_that_of_a_third_of_the_time():
    rules = SoftRules(SECOND, HOUR, 0, 0, 0)
    value = 10**15
    third = Fraction(value) ** 2 * Fraction(HOUR, 3 * YEAR_NS)
    deviation = soft_cost(rules, value, 0, RATE_ONE).deviation
    assert 1 < deviation**2 / third < Fraction("1.001")
    halved = soft_cost(replace(rules, initial_share=RATE_ONE // 2), value, 0, RATE_ONE).deviation
    assert deviation**2 / Fraction(halved) ** 2 == pytest.approx(8, rel=0.002)


@given(RULES, st.integers(1, 10**15), st.integers(0, 10 * RATE_ONE))
def test_the_deviation_is_the_sum_over_the_steps_rounded_up(rules, value, volatility):
    pace = Fraction(rules.step_ns, rules.duration_ns)
    held = Fraction(RATE_ONE - rules.initial_share, RATE_ONE)
    squares = Fraction(0)
    while held > 0:
        squares += held * held
        held -= pace
    variance = (Fraction(value * volatility, RATE_ONE) ** 2) * Fraction(rules.step_ns, YEAR_NS) * squares
    deviation = soft_cost(rules, value, 0, volatility).deviation
    assert deviation**2 >= variance
    assert deviation == 0 or (deviation - 1) ** 2 < variance


def test_random_prices_cost_nothing_on_average_and_vary_as_stated():
    """20,000 paths without drift, sold at the pace: mean 0 within four standard errors, deviation within 2 %."""
    rules = SoftRules(MINUTE, 10 * MINUTE, RATE_ONE // 10, 0, 0)
    drawn, runs, total, squares = random.Random(5), 20_000, 0.0, 0.0
    a_step = (MINUTE / YEAR_NS) ** 0.5
    for _ in range(runs):
        price, now, sold, lost = 1.0, 0, 0.0, 0.0
        while sold < 1:
            due = due_share(rules, 0, now) / RATE_ONE
            lost += (due - sold) * (1 - price)
            sold, now = due, now + MINUTE
            price += a_step * drawn.choice((-1, 1))
        total, squares = total + lost, squares + lost * lost
    stated = soft_cost(rules, 10**12, 0, RATE_ONE).deviation / 10**12
    assert abs(total / runs) < 4 * stated / runs**0.5
    assert (squares / runs) ** 0.5 == pytest.approx(stated, rel=0.02)
