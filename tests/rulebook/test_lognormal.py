"""Bounds of breakers: the model's numbers, their rounding, and what is refused."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal, localcontext
from fractions import Fraction
from math import exp, sqrt
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import RulebookError
from marginkeep.rulebook.lognormal import (
    NANOSECONDS_A_YEAR,
    PROBABILITY_MAX,
    apply_bounds,
    fixed_bounds,
    lognormal_bounds,
)
from marginkeep.rulebook.oracle_rules import FACTOR_ONE
from marginkeep.units import RATE_ONE

DAY = 86_400 * 10**9
PROBABILITIES = st.fractions(Fraction(1, 10**12), PROBABILITY_MAX, max_denominator=10**12)
VOLATILITIES = st.fractions(Fraction(1, 1_000), 3, max_denominator=1_000)
HORIZONS = st.integers(10**9, 30 * DAY)


def symmetric(probability: Fraction, volatility: Fraction, horizon_ns: int) -> tuple[int, int]:
    """Return bounds whose drift cancels the variance, so that every probability leaves the reference inside."""
    return lognormal_bounds(probability, volatility, volatility**2 / 2, horizon_ns)


@given(PROBABILITIES, VOLATILITIES, HORIZONS)
def test_bounds_agree_with_binary_arithmetic_to_its_precision(probability, volatility, horizon_ns):
    z = -NormalDist().inv_cdf(float((1 - probability) / 2))
    reach = float(volatility) * sqrt(horizon_ns / NANOSECONDS_A_YEAR) * z
    lower, upper = symmetric(probability, volatility, horizon_ns)
    # Near probability 0 the binary quantile has lost all but the last digits of one half.
    assert lower / FACTOR_ONE == pytest.approx(exp(-reach), rel=1e-12, abs=1e-12)
    assert upper / FACTOR_ONE == pytest.approx(exp(reach), rel=1e-12, abs=1e-12)


def test_a_known_quantile_to_all_eighteen_digits():
    year = NANOSECONDS_A_YEAR
    with localcontext(prec=40):
        z = Decimal("1.95996398454005423552459443052055152795")
        expected = int(z.exp() * FACTOR_ONE)
    assert symmetric(Fraction(95, 100), Fraction(1), year)[1] == expected


@given(PROBABILITIES, VOLATILITIES, HORIZONS)
def test_the_two_factors_are_inverse_to_each_other_and_rounded_inward(probability, volatility, horizon_ns):
    lower, upper = symmetric(probability, volatility, horizon_ns)
    assert (lower - 1) * upper < FACTOR_ONE**2 <= lower * (upper + 1)


@given(PROBABILITIES, PROBABILITIES, VOLATILITIES, HORIZONS)
def test_a_higher_probability_is_a_wider_bound(first, second, volatility, horizon_ns):
    narrow = symmetric(min(first, second), volatility, horizon_ns)
    wide = symmetric(max(first, second), volatility, horizon_ns)
    assert wide[0] <= narrow[0] <= FACTOR_ONE <= narrow[1] <= wide[1]


def test_the_caller_s_decimal_settings_change_nothing():
    expected = lognormal_bounds.__wrapped__(Fraction(99, 100), Fraction(1), Fraction(0), DAY)
    with localcontext(prec=3, rounding=ROUND_UP):
        assert lognormal_bounds.__wrapped__(Fraction(99, 100), Fraction(1), Fraction(0), DAY) == expected


@given(st.integers(0, 2**60), st.integers(0, FACTOR_ONE), st.integers(FACTOR_ONE, 10 * FACTOR_ONE))
def test_bounds_round_inward_and_never_exclude_the_reference(reference, lower, upper):
    lowest, highest = apply_bounds(reference, lower, upper)
    assert lowest <= reference <= highest
    assert (lowest - 1) * FACTOR_ONE < reference * lower <= lowest * FACTOR_ONE
    assert highest * FACTOR_ONE <= reference * upper < (highest + 1) * FACTOR_ONE


def test_fixed_bounds_are_exact_shares():
    factors = fixed_bounds(RATE_ONE // 10, RATE_ONE // 4)
    assert apply_bounds(1_000, *factors) == (900, 1_250)
    assert apply_bounds(1_001, *factors) == (901, 1_251)
    assert fixed_bounds(RATE_ONE, 0) == (0, FACTOR_ONE)


@pytest.mark.parametrize(("fall", "rise"), [(-1, 0), (RATE_ONE + 1, 0), (0, -1)])
def test_a_fixed_bound_out_of_range_is_refused(fall, rise):
    with pytest.raises(RulebookError, match="fall"):
        fixed_bounds(fall, rise)


@pytest.mark.parametrize(
    ("probability", "volatility", "drift", "horizon", "what"),
    [
        (Fraction(0), 1, 0, DAY, "probability"),
        (Fraction(1), 1, 0, DAY, "probability"),
        (Fraction(1, 2), 0, 0, DAY, "volatility"),
        (Fraction(1, 2), 1, 0, 0, "horizon"),
        (Fraction(1, 2), 1, 1_000, DAY, "unmoved price"),
        (Fraction(1, 2), 1, -1_000, DAY, "unmoved price"),
        (Fraction(1, 1_000), 1, 0, DAY, "unmoved price"),
        (Fraction(99, 100), 100, 5_000, 30 * DAY, "limit"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(probability, volatility, drift, horizon, what):
    with pytest.raises(RulebookError, match=what):
        lognormal_bounds(probability, Fraction(volatility), Fraction(drift), horizon)
