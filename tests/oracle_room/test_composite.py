"""Staleness, weighted mean, median and band, as pure functions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.composite import age, clamp, fresh, median, weighted
from marginkeep.units import RATE_ONE

PRICES = st.lists(st.none() | st.integers(0, 10**12), min_size=1, max_size=9)
TIMES = st.integers(0, 10**19)


def test_an_input_as_old_as_the_tolerance_still_counts_and_one_older_does_not():
    assert fresh(100, 10, now_ns=110)
    assert not fresh(100, 10, now_ns=111)


def test_staleness_has_the_right_sign():
    """An old input is stale, one from the future is not: the reverse was shipped once."""
    assert not fresh(0, 10, now_ns=1_000)
    assert fresh(1_000, 10, now_ns=0)
    assert age(1_000, now_ns=0) == 0
    assert age(0, now_ns=1_000) == 1_000


@given(TIMES, TIMES, st.integers(0, 10**19))
def test_fresh_is_age_within_the_tolerance(last_ns, now_ns, tolerance_ns):
    assert fresh(last_ns, tolerance_ns, now_ns) == (age(last_ns, now_ns) <= tolerance_ns)


def test_each_source_of_a_weighted_mean_is_rounded_down_by_itself():
    """The true mean is 15,946.67; 5,333 + 5,300 + 5,313 lost two thirds of a tick."""
    assert weighted([16_000, 15_900, 15_940], [1, 1, 1]) == 15_946


def test_the_weight_of_a_missing_source_goes_to_the_others_in_proportion():
    assert weighted([None, 100, 200, 0], [90, 3, 1, 90]) == 125


@pytest.mark.parametrize(("prices", "weights"), [([], []), ([None, 0], [1, 1]), ([100, None], [0, 1])])
def test_without_weight_there_is_no_mean(prices, weights):
    assert weighted(prices, weights) is None


def test_a_mean_with_too_few_weights_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        weighted([1, 2], [1])


@given(PRICES, st.data())
def test_a_weighted_mean_is_at_most_a_tick_a_source_below_the_exact_one(prices, data):
    weights = data.draw(st.lists(st.integers(0, 1_000), min_size=len(prices), max_size=len(prices)))
    pairs = [(price, weight) for price, weight in zip(prices, weights, strict=True) if price]
    total = sum(weight for _, weight in pairs)
    mean = weighted(prices, weights)
    if total == 0:
        assert mean is None
        return
    exact = Fraction(sum(price * weight for price, weight in pairs), total)
    assert exact - len(pairs) < mean <= exact


@pytest.mark.parametrize(
    ("prices", "expected"),
    [([], None), ([None, 0], None), ([7], 7), ([3, 4], 3), ([9, 1, 5], 5), ([1, None, 100, 4, 0, 6], 5)],
)
def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two_rounded_down(prices, expected):
    assert median(prices) == expected


@given(PRICES, st.randoms(use_true_random=False))
def test_the_median_has_as_many_prices_below_as_above_in_any_order(prices, random):
    there = [price for price in prices if price]
    middle = median(prices)
    random.shuffle(prices)
    assert median(prices) == middle
    if there:
        assert 2 * sum(price < middle for price in there) <= len(there)
        assert 2 * sum(price > middle + 1 for price in there) <= len(there)
        assert min(there) <= middle <= max(there)


def test_the_band_is_rounded_inwards():
    """1 % of 1,050 is 10.5: the mark may be 1,040 to 1,060."""
    assert clamp(1_000, 1_050, RATE_ONE // 100) == 1_040
    assert clamp(1_100, 1_050, RATE_ONE // 100) == 1_060
    assert clamp(1_045, 1_050, RATE_ONE // 100) == 1_045


@given(st.integers(1, 10**15), st.integers(1, 10**15), st.integers(0, 2 * RATE_ONE))
def test_the_band_holds_exactly_for_any_input(price, index, band):
    kept = clamp(price, index, band)
    reach = Fraction(index * band, RATE_ONE)
    assert index - reach <= kept <= index + reach
    if index - reach <= price <= index + reach:
        assert kept == price
