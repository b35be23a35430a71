"""The jump limiter: near the last price, at a fee, and only within the window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InvariantViolation
from marginkeep.oracle.jump_limit import FEE_MAX, JumpLimiter
from marginkeep.rulebook.oracle_rules import FACTOR_ONE, JumpLimit
from marginkeep.units import RATE_ONE

SECOND = 10**9
WINDOW = 120 * SECOND
RULES = JumpLimit(ratio=1_250_000_000, window_ns=WINDOW)

PATHS = st.lists(st.tuples(st.integers(1, 10**15), st.integers(0, 2 * WINDOW)), min_size=1, max_size=30)
"""Price, and time since the price before."""


def started(price: int = 3_000_000, now_ns: int = 0) -> JumpLimiter:
    limiter = JumpLimiter(RULES)
    assert limiter.limit(price, now_ns) == price
    return limiter


def test_a_jump_is_cut_to_the_ratio_both_ways_and_the_next_instant_goes_on_from_there() -> None:
    up, down = started(), started()
    assert up.limit(30_000_000, SECOND) == 3_750_000
    assert up.limit(30_000_000, 2 * SECOND) == 4_687_500
    assert down.limit(300_000, SECOND) == 2_400_000
    assert down.limit(300_000, 2 * SECOND) == 1_920_000


def test_at_the_end_of_the_window_any_price_passes_without_fee() -> None:
    limiter = started()
    assert limiter.limit(30_000_000, WINDOW) == 30_000_000
    assert limiter.fee(WINDOW) == 0
    limiter = started()
    assert limiter.limit(30_000_000, WINDOW - 1) == 3_750_000


def test_a_price_that_keeps_coming_keeps_the_window_open() -> None:
    limiter = started()
    for second in range(1, 1_000):
        limiter.limit(3_000_000, second * SECOND)
    assert limiter.limit(30_000_000, 1_000 * SECOND) == 3_750_000


def test_the_fee_falls_in_a_straight_line_to_nothing() -> None:
    limiter = started()
    limiter.limit(2_400_000, 0)
    whole = limiter.fee(0)
    assert whole == 488 * FACTOR_ONE // 1_000
    assert limiter.fee(30 * SECOND) == whole * 3 // 4
    assert (limiter.fee(WINDOW - 1) > 0, limiter.fee(WINDOW), limiter.fee(5 * WINDOW)) == (True, 0, 0)


def test_jumps_in_one_direction_and_back_add_up_to_just_less_than_everything() -> None:
    limiter = started()
    for second in range(1, 10):
        limiter.limit(3_750_000 if second % 2 else 3_000_000, second * SECOND // 1_000)
    assert limiter.fee(9 * SECOND // 1_000) == FEE_MAX


def test_prices_of_one_instant_are_measured_against_the_instant_before_and_the_last_counts() -> None:
    limiter = started()
    assert limiter.limit(30_000_000, SECOND) == 3_750_000
    assert limiter.limit(30_000_000, SECOND) == 3_750_000
    assert limiter.limit(3_000_000, SECOND) == 3_000_000
    assert limiter.fee(SECOND) == 0


def test_a_clock_that_goes_back_neither_opens_the_window_nor_raises_the_fee() -> None:
    limiter, steady = started(now_ns=10 * WINDOW), started(now_ns=10 * WINDOW)
    assert limiter.limit(30_000_000, 0) == steady.limit(30_000_000, 10 * WINDOW) == 3_750_000
    assert limiter.save() == steady.save()
    assert limiter.fee(0) == limiter.fee(10 * WINDOW) <= FEE_MAX


def test_the_smallest_price_is_not_cut_to_zero() -> None:
    assert started(price=1).limit(1, SECOND) == 1
    limiter = started(price=2)
    assert limiter.limit(1, SECOND) == 2


@pytest.mark.parametrize("price", [0, -5])
def test_a_price_that_is_not_positive_is_refused(price: int) -> None:
    with pytest.raises(InvariantViolation, match="must be positive"):
        JumpLimiter(RULES).limit(price, 0)


def test_before_the_first_price_no_fee_is_asked() -> None:
    assert JumpLimiter(RULES).fee(0) == 0
    assert JumpLimiter(RULES).save() == []


@given(PATHS)
def test_a_limited_price_lies_between_the_last_and_the_offered_one_and_within_the_ratio(
    path: list[tuple[int, int]],
) -> None:
    limiter, now, last = JumpLimiter(RULES), 0, None
    for price, gap in path:
        passed = max(gap, 1)
        now += passed
        got = limiter.limit(price, now)
        if last is None or passed >= WINDOW:
            assert got == price
        else:
            assert min(last, price) <= got <= max(last, price)
            assert got * RATE_ONE <= last * RULES.ratio
            assert got * RULES.ratio >= last * RATE_ONE
        assert 0 <= limiter.fee(now) <= FEE_MAX
        last = got


@given(PATHS, st.integers(1, 2 * WINDOW))
def test_the_fee_at_a_time_is_what_publishing_the_same_price_then_would_ask(
    path: list[tuple[int, int]], later: int
) -> None:
    limiter, now = JumpLimiter(RULES), 0
    for price, passed in path:
        now += passed
        last = limiter.limit(price, now)
    asked = limiter.fee(now + later)
    assert limiter.fee(now + later + 1) <= asked <= limiter.fee(now)
    assert limiter.limit(last, now + later) == last
    assert limiter.fee(now + later) == asked


@given(st.integers(10**6, 10**12), st.integers(10**6, 10**12), st.integers(10**6, 10**12), st.integers(1, WINDOW))
def test_a_larger_jump_never_costs_less(old: int, first: int, second: int, age_ns: int) -> None:
    fees = {}
    for price in (first, second):
        limiter = started(old)
        limiter.limit(price, age_ns)
        fees[max(price, old) * 10**18 // min(price, old)] = limiter.fee(age_ns)
    assert [fees[jump] for jump in sorted(fees)] == sorted(fees.values())


@given(PATHS, st.integers(0, 30))
def test_a_restored_limiter_goes_on_as_if_never_stopped(path: list[tuple[int, int]], stop: int) -> None:
    going, now = JumpLimiter(RULES), 0
    for price, passed in path[:stop]:
        now += passed
        going.limit(price, now)
    resumed = JumpLimiter(RULES)
    resumed.restore(going.save())
    for price, passed in path[stop:]:
        now += passed
        assert going.limit(price, now) == resumed.limit(price, now)
        assert going.fee(now + 1) == resumed.fee(now + 1)
    assert going.save() == resumed.save()
