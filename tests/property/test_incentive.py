"""The toxic frontier against brute force: at the largest healing cost a step heals, one unit more and it does not."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, example, given
from hypothesis import strategies as st

from marginkeep.liquidation.incentive import (
    affordable_cost,
    healing_bonus,
    healing_cost,
    healing_discount,
    heals,
    penalty_split,
)
from marginkeep.margin.solvency import Measure
from marginkeep.units import RATE_ONE

AMOUNT = st.one_of(st.integers(1, 50), st.integers(1, 2**62))
SMALL = st.integers(1, 60)
RATE = st.one_of(st.sampled_from([0, 1, RATE_ONE - 1, RATE_ONE]), st.integers(0, RATE_ONE))


@st.composite
def partial_steps(draw: st.DrawFn) -> tuple[Measure, int]:
    """Draw an account with collateral, and how much of its requirement a step releases: a part."""
    requirement = draw(st.one_of(st.integers(2, 50), st.integers(2, 2**62)))
    return Measure(draw(AMOUNT), requirement), draw(st.integers(1, requirement - 1))


def after(before: Measure, released: int, cost: int) -> Measure:
    return Measure(before.collateral - cost, before.requirement - released)


@given(SMALL, SMALL, SMALL)
def test_the_healing_cost_is_the_largest_that_brute_force_finds(collateral, requirement, released):
    assume(released < requirement)
    before = Measure(collateral, requirement)
    ratio = Fraction(collateral, requirement)
    found = [
        cost
        for cost in range(collateral + 1)
        if Fraction(collateral - cost, requirement - released) > ratio and heals(before, after(before, released, cost))
    ]
    assert healing_cost(collateral, requirement, released) == max(found)


@given(partial_steps())
def test_a_step_at_the_healing_cost_heals_and_one_unit_more_does_not(step):
    before, released = step
    most = healing_cost(*before, released)
    assert heals(before, after(before, released, most))
    assert not heals(before, after(before, released, most + 1))


@given(partial_steps(), AMOUNT)
def test_a_step_at_the_healing_discount_heals_and_one_rate_step_more_does_not(step, value):
    before, released = step
    rate = healing_discount(*before, value, released)
    ratio = Fraction(*before)

    def ratio_at(discount: int) -> Fraction:
        return (before.collateral - Fraction(discount * value, RATE_ONE)) / (before.requirement - released)

    assert ratio_at(rate) > ratio
    assert ratio_at(rate + 1) <= ratio


@given(AMOUNT, AMOUNT, st.integers(1, RATE_ONE))
def test_a_linear_book_heals_below_health_times_margin_rate(collateral, value, margin):
    requirement = value * margin
    assume(requirement > 1)
    rate = healing_discount(collateral * RATE_ONE, requirement, value, requirement // 2)
    frontier = Fraction(collateral * RATE_ONE, requirement) * (requirement // 2) / value * RATE_ONE
    assert rate < frontier <= rate + 1 or frontier == rate == 0


@given(AMOUNT, AMOUNT, st.integers(1, RATE_ONE), st.integers(1, 1000))
@example(collateral=903, debt=1000, threshold=860_000_000, part=10)
def test_repaying_at_the_healing_bonus_heals_and_one_rate_step_more_does_not(collateral, debt, threshold, part):
    bonus = healing_bonus(collateral, debt, threshold)
    repaid = Fraction(debt, part + 1)

    def ratio_at(rate: int) -> Fraction:
        lost = Fraction(threshold, RATE_ONE) * Fraction(RATE_ONE + rate, RATE_ONE) * repaid
        return (collateral - lost) / (debt - repaid)

    ratio = Fraction(collateral, debt)
    assert ratio_at(bonus + 1) <= ratio
    assert ratio_at(bonus) > ratio or bonus == 0


@given(partial_steps(), st.integers(0, 2**62), st.integers(-(2**62), 2**62))
def test_what_a_step_costs_is_never_more_than_wanted_left_or_healing(step, wanted, equity):
    before, released = step
    cost = affordable_cost(wanted, before, released, equity)
    assert 0 <= cost <= wanted
    assert cost <= max(0, equity)
    assert heals(before, after(before, released, cost))


@given(st.data(), partial_steps())
def test_healing_steps_bring_an_ill_account_to_its_target_or_to_nothing(data, step):
    """Each lowers the shortfall as well, so there is no spiral however often the largest cost is taken."""
    before, _ = step
    assume(before.collateral < before.requirement)
    state = before
    for _ in range(5):
        if state.requirement < 2 or state.health >= 0:
            break
        released = data.draw(st.integers(1, state.requirement - 1))
        stepped = after(state, released, healing_cost(*state, released))
        assert heals(state, stepped)
        assert stepped.health > state.health
        assert stepped.collateral > 0
        state = stepped


@given(AMOUNT, RATE, RATE)
def test_the_parts_of_a_penalty_sum_to_it(penalty, liquidator_share, house_share):
    parts = penalty_split(penalty, liquidator_share, house_share)
    assert sum(parts) == penalty
    assert min(parts) >= 0
