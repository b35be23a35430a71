"""What a breaker holds a price against: the price of a horizon ago, from a history that stays short."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.breakers import Breaker
from marginkeep.rulebook.oracle_rules import OPEN

from .breaker_paths import (
    GAPS,
    MIDDLE,
    PATHS,
    PRICES,
    QUICK,
    RULES,
    SECOND,
    TRIGGERS,
    bucket,
    reference,
    timed,
    violated,
    walked,
)


@given(PATHS, GAPS, PRICES)
def test_asking_what_would_breach_sees_the_present_and_changes_nothing(path, gap, price):
    breaker = walked(path)
    seen = timed(path)
    now_ns = seen[-1][0] + gap
    before = breaker.save()
    breach = breaker.would_breach(price, now_ns)
    assert breaker.save() == before
    expected = violated(seen, price, now_ns)
    assert (breach is None) is (not expected)


@given(PATHS, GAPS, st.sampled_from(TRIGGERS))
def test_a_trigger_s_reference_is_that_of_the_whole_past(path, gap, one):
    breaker, seen = Breaker(replace(RULES, triggers=(one,))), []
    for now_ns, price in timed(path):
        breaker.observe(price, now_ns)
        seen.append((now_ns, price))
        assert breaker.would_breach(1, now_ns).reference == reference(one, seen, now_ns)
        assert breaker.would_breach(1, now_ns + gap).reference == reference(one, seen, now_ns + gap)


def test_a_reference_moves_when_a_price_is_exactly_a_horizon_old():
    breaker = Breaker(replace(RULES, triggers=(MIDDLE,)))
    width = bucket(MIDDLE)
    for now_ns, price in ((0, 10_000), (3 * width, 10_100), (4 * width, 10_200)):
        breaker.observe(price, now_ns)
    assert breaker.would_breach(1, 3 * width + MIDDLE.horizon_ns - 1).reference == 10_000
    assert breaker.would_breach(1, 3 * width + MIDDLE.horizon_ns).reference == 10_100
    assert breaker.would_breach(1, 4 * width + MIDDLE.horizon_ns).reference == 10_200


def test_a_reference_moves_in_the_middle_of_a_bucket_where_horizon_and_bucket_do_not_match():
    breaker = Breaker(replace(RULES, triggers=(QUICK,)))
    for now_ns, price in ((0, 10_000), (3 * SECOND, 10_100), (63 * SECOND, 10_100)):
        breaker.observe(price, now_ns)
    assert breaker.would_breach(1, 63 * SECOND + SECOND // 2 - 1).reference == 10_000
    assert breaker.would_breach(1, 63 * SECOND + SECOND // 2).reference == 10_100


@given(st.integers(1, 7 * SECOND), st.integers(1, 10**6))
def test_history_stays_short(gap, factor):
    breaker = Breaker(RULES)
    for number in range(2_000):
        breaker.observe(number * factor % 1_000_003, number * gap)
    for *_, starts, averages in breaker.save()[-1]:
        assert len(starts) == len(averages) <= 66


def test_prices_of_one_bucket_are_averaged():
    breaker = Breaker(RULES)
    for now_ns, price in ((0, 10_000), (1, 10_100), (2, 10_201), (SECOND, 10_000)):
        breaker.observe(price, now_ns)
    breach = breaker.would_breach(20_000, SECOND)
    assert breach.reference == 10_000  # the slow trigger's bucket is 57 s: the first price still stands in
    assert breaker.save()[-1][0][-1] == [
        10_100,
    ]
    assert breaker.would_breach(20_000, 58 * SECOND).reference == 10_075


def test_a_horizon_shorter_than_a_second_has_buckets_no_longer_than_itself():
    breaker = Breaker(replace(RULES, triggers=(replace(QUICK, horizon_ns=SECOND // 10),)))
    for now_ns, price in ((0, 10_000), (5 * SECOND, 10_400), (5 * SECOND + SECOND // 2, 10_800)):
        breaker.observe(price, now_ns)
        assert breaker.state == OPEN
    breaker.observe(11_400, 5 * SECOND + SECOND // 2 + 1)
    assert breaker.breach.reference == 10_400
