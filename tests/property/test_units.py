"""Conversions and roundings against exact fractions, over the whole range that columns can hold."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from marginkeep.errors import PrecisionError
from marginkeep.margin.tiered import convert_floor, notional, signed_value
from marginkeep.units import (
    INT64_SAFE,
    RATE_ONE,
    ceil_div,
    decimals_of,
    floor_div,
    format_exact,
    format_ratio,
    format_units,
    parse_decimal,
    parse_rate,
    rate_ceil,
    rate_floor,
    to_units,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
SAFE = st.one_of(st.integers(-INT64_SAFE, INT64_SAFE), st.sampled_from([-INT64_SAFE, INT64_SAFE]))
POSITIVE = st.integers(1, INT64_SAFE)
DECIMALS = st.integers(0, 18)


def floor_of(value: Fraction) -> int:
    return value.numerator // value.denominator


def in_int64(function, *arguments):
    """Evaluate with NumPy scalars; an intermediate that passes int64, even one that wraps back, is an error."""
    with np.errstate(over="raise"):
        return int(function(*(np.int64(argument) for argument in arguments)))


@given(INT64, SAFE)
def test_a_rate_product_is_the_exact_product_rounded_in_the_direction_of_its_name(amount, rate):
    exact = Fraction(amount * rate, RATE_ONE)
    assert rate_floor(amount, rate) == floor_of(exact)
    assert rate_ceil(amount, rate) == -floor_of(-exact)


@given(SAFE, SAFE)
@example(INT64_SAFE, RATE_ONE)
@example(-INT64_SAFE, RATE_ONE)
@example(-RATE_ONE, INT64_SAFE)
@example(RATE_ONE - 1, -INT64_SAFE)
@example(-1, -INT64_SAFE)
def test_a_rate_product_within_the_bound_never_leaves_int64_on_the_way(amount, rate):
    if abs(amount * rate) > INT64_SAFE * RATE_ONE:
        amount = amount % (INT64_SAFE * RATE_ONE // abs(rate) + 1)
    assert in_int64(rate_floor, amount, rate) == rate_floor(amount, rate)
    assert in_int64(rate_ceil, amount, rate) == rate_ceil(amount, rate)


@given(SAFE, POSITIVE, POSITIVE)
def test_a_conversion_is_exact_and_never_leaves_int64_on_the_way(amount, x, y):
    y = y % (INT64_SAFE // x) + 1
    assert convert_floor(amount, x, y) == floor_of(Fraction(amount * x, y))
    assume(abs(amount * x) <= INT64_SAFE * y)
    assert in_int64(convert_floor, amount, x, y) == convert_floor(amount, x, y)


@given(SAFE, st.sampled_from([1, -1]), POSITIVE, POSITIVE)
def test_a_value_is_rounded_against_its_holder_and_a_notional_up(size, sign, x, y):
    x = x % (INT64_SAFE // max(1, abs(size))) + 1
    exact = Fraction(size * x, y)
    assert in_int64(signed_value, size, sign, x, y) == floor_of(sign * exact)
    assert in_int64(notional, size, x, y) == -floor_of(-abs(exact))


@given(INT64, st.one_of(st.integers(1, 2**63 - 1), st.integers(-(2**63), -1)))
def test_floor_and_ceiling_division_enclose_the_quotient_within_one(numerator, denominator):
    exact = Fraction(numerator, denominator)
    low, high = floor_div(numerator, denominator), ceil_div(numerator, denominator)
    assert low <= exact <= high
    assert high - low == (exact.denominator != 1)


@given(INT64, DECIMALS)
@example(2**63 - 1, 9)
@example(-(2**63), 9)
@example(-1, 18)
def test_an_amount_written_and_read_again_is_the_same_amount(count, decimals):
    text = format_units(count, decimals)
    assert to_units(text, Fraction(1, 10**decimals), "amount") == count
    assert parse_decimal(text) == Fraction(count, 10**decimals)
    assert "e" not in text
    assert text == "0" or not text.startswith("-0.") or count < 0


@given(INT64, DECIMALS)
def test_a_fraction_written_and_read_again_is_the_same_fraction(count, decimals):
    exact = Fraction(count, 10**decimals)
    assert parse_decimal(format_exact(exact)) == exact
    shortest = decimals_of(exact)
    assert (exact * 10**shortest).denominator == 1
    assert shortest == 0 or (exact * 10 ** (shortest - 1)).denominator != 1


@given(st.integers(-4 * RATE_ONE, 4 * RATE_ONE))
def test_a_rate_written_and_read_again_is_the_same_rate(rate):
    assert parse_rate(format_units(rate, 9), "rate") == rate


@given(INT64, INT64, DECIMALS)
def test_a_shown_ratio_is_never_above_the_ratio_and_less_than_one_digit_below(numerator, denominator, decimals):
    text = format_ratio(numerator, denominator, decimals)
    if denominator == 0:
        assert text is None
    else:
        missing = Fraction(numerator, denominator) - parse_decimal(text)
        assert 0 <= missing < Fraction(1, 10**decimals)


@given(INT64, st.integers(1, 9), st.sampled_from([1, 2, 5, 25]))
def test_a_number_between_two_units_is_refused_and_the_two_are_offered(count, decimals, mantissa):
    unit = Fraction(mantissa, 10**decimals)
    between = format_exact((count + Fraction(1, 2)) * unit)
    with pytest.raises(PrecisionError) as refusal:
        to_units(between, unit, "size", "lot")
    for offered in (format_exact(count * unit), format_exact((count + 1) * unit)):
        assert f" {offered}" in str(refusal.value)
        assert (parse_decimal(offered) / unit).denominator == 1
