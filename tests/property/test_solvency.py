"""Comparisons of solvency: one order of risk for all accounts, and a rule that lets no account get worse."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from marginkeep.margin.solvency import Measure, compare_risk, does_not_worsen, is_breached

AMOUNTS = st.one_of(st.integers(-3, 6), st.integers(-(2**62), 2**62))
REQUIRED = st.one_of(st.integers(1, 6), st.integers(1, 2**62))
NEEDY = st.builds(Measure, AMOUNTS, REQUIRED)
ANY = st.builds(Measure, AMOUNTS, st.one_of(st.integers(0, 6), st.integers(0, 2**62)))


@st.composite
def scaled(draw: st.DrawFn) -> tuple[Measure, Measure, Measure]:
    """Draw measures of which some have the same ratio of collateral to requirement."""
    first = Measure(draw(st.integers(-20, 20)), draw(st.integers(1, 20)))
    factor = draw(st.integers(1, 9))
    third = draw(st.sampled_from([first, Measure(first.collateral + 1, first.requirement)]))
    return first, Measure(first.collateral * factor, first.requirement * factor), third


THREE = st.one_of(st.tuples(NEEDY, NEEDY, NEEDY), scaled())


@given(THREE)
def test_risk_is_compared_the_same_from_either_side(three):
    for first, second in permutations(three, 2):
        assert compare_risk(first, second) == -compare_risk(second, first)
    assert compare_risk(three[0], three[0]) == 0


@given(THREE)
def test_riskier_than_the_riskier_is_riskier(three):
    for first, second, third in permutations(three):
        if compare_risk(first, second) >= 0 and compare_risk(second, third) >= 0:
            assert compare_risk(first, third) >= 0
            assert compare_risk(first, third) == max(compare_risk(first, second), compare_risk(second, third))


@given(st.tuples(ANY, ANY, ANY))
def test_the_order_of_risk_holds_for_accounts_that_require_nothing_too(three):
    for first, second, third in permutations(three):
        assert compare_risk(first, second) == -compare_risk(second, first)
        if compare_risk(first, second) >= 0 and compare_risk(second, third) >= 0:
            assert compare_risk(first, third) >= 0


@given(THREE)
def test_the_lower_ratio_is_riskier_and_at_equal_ratios_the_larger_requirement(three):
    first, second, _ = three
    ratios = [Fraction(one.collateral, one.requirement) for one in (first, second)]
    if ratios[0] != ratios[1]:
        assert compare_risk(first, second) == (1 if ratios[0] < ratios[1] else -1)
    else:
        larger = (first.requirement > second.requirement) - (first.requirement < second.requirement)
        assert compare_risk(first, second) == larger


@given(ANY)
def test_exactly_enough_is_not_breached_and_one_unit_less_is(account):
    enough = Measure(account.requirement, account.requirement)
    assert not is_breached(enough)
    assert is_breached(Measure(account.requirement - 1, account.requirement))
    assert is_breached(account) == (account.collateral < account.requirement)


@given(THREE)
def test_a_change_that_does_not_worsen_leaves_no_riskier_account_and_no_larger_deficit(three):
    before, after, _ = three
    if does_not_worsen(before, after):
        assert after.requirement <= before.requirement
        assert compare_risk(after, before) <= 0
        assert min(after.health, 0) >= min(before.health, 0)
    if after.requirement <= before.requirement and compare_risk(after, before) < 0:
        assert does_not_worsen(before, after)


@given(THREE)
def test_two_changes_that_do_not_worsen_are_together_one_that_does_not(three):
    assert does_not_worsen(three[0], three[0])
    for first, second, third in permutations(three):
        if does_not_worsen(first, second) and does_not_worsen(second, third):
            assert does_not_worsen(first, third)


@given(ANY, ANY)
def test_with_nothing_required_on_either_side_only_more_collateral_does_not_worsen(before, after):
    bare = Measure(before.collateral, 0), Measure(after.collateral, 0)
    assert does_not_worsen(*bare) == (after.collateral > before.collateral)
