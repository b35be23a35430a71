"""The delayed price: announced for a whole period, whoever asks how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InvariantViolation
from marginkeep.oracle.delayed import DelayedPrice

HOUR = 3_600 * 10**9
MINUTE = 60 * 10**9

OFFERS = st.lists(st.tuples(st.integers(1, 1_000), st.booleans(), st.integers(0, 3 * HOUR)), min_size=1, max_size=40)
"""Price, whether it is usable, and time since the offer before."""


def state_of(delayed: DelayedPrice) -> tuple[int | None, int | None, int]:
    return delayed.current, delayed.announced, delayed.next_ns


def test_the_first_usable_price_is_current_and_announced_at_once() -> None:
    delayed = DelayedPrice(HOUR)
    assert not delayed.offer(7, False, 10 * HOUR)
    assert state_of(delayed) == (None, None, 0)
    assert delayed.offer(100, True, 10 * HOUR + MINUTE)
    assert state_of(delayed) == (100, 100, 11 * HOUR)


def test_a_price_becomes_current_one_period_after_it_was_announced() -> None:
    delayed = DelayedPrice(HOUR)
    delayed.offer(100, True, 10 * HOUR)
    assert delayed.offer(90, True, 11 * HOUR)
    assert state_of(delayed) == (100, 90, 12 * HOUR)
    assert not delayed.offer(1, True, 12 * HOUR - 1)
    assert delayed.offer(80, True, 12 * HOUR)
    assert state_of(delayed) == (90, 80, 13 * HOUR)


def test_publications_stay_on_whole_hours_when_one_comes_late() -> None:
    delayed = DelayedPrice(HOUR)
    delayed.offer(100, True, 10 * HOUR + 59 * MINUTE)
    assert delayed.next_ns == 11 * HOUR
    delayed.offer(90, True, 13 * HOUR + 20 * MINUTE)
    assert state_of(delayed) == (100, 90, 14 * HOUR)


def test_an_unusable_source_keeps_the_announced_price_for_another_period() -> None:
    delayed = DelayedPrice(HOUR)
    delayed.offer(100, True, 10 * HOUR)
    delayed.offer(90, True, 11 * HOUR)
    assert delayed.offer(1, False, 12 * HOUR)
    assert state_of(delayed) == (90, 90, 13 * HOUR)
    assert not delayed.offer(80, True, 12 * HOUR + MINUTE)
    assert not delayed.offer(1, False, 13 * HOUR)
    assert state_of(delayed) == (90, 90, 14 * HOUR)
    assert delayed.current_from_ns == delayed.announced_from_ns == 11 * HOUR


def test_an_unchanged_price_is_published_but_is_no_change() -> None:
    delayed = DelayedPrice(HOUR)
    delayed.offer(100, True, 10 * HOUR)
    assert not delayed.offer(100, True, 11 * HOUR)
    assert (delayed.announced_from_ns, delayed.next_ns) == (11 * HOUR, 12 * HOUR)


def test_a_clock_that_goes_back_publishes_nothing() -> None:
    delayed = DelayedPrice(HOUR)
    delayed.offer(100, True, 10 * HOUR)
    assert not delayed.offer(90, True, 8 * HOUR)
    assert state_of(delayed) == (100, 100, 11 * HOUR)


@pytest.mark.parametrize("delay_ns", [0, -1])
def test_a_delay_that_is_none_is_refused(delay_ns: int) -> None:
    with pytest.raises(InvariantViolation, match="positive delay"):
        DelayedPrice(delay_ns)


@given(st.lists(st.tuples(st.integers(1, 1_000), st.booleans()), min_size=3, max_size=30))
def test_on_schedule_the_current_price_was_offered_a_whole_delay_ago_or_more(offers: list[tuple[int, bool]]) -> None:
    delayed = DelayedPrice(HOUR)
    offered = {}
    delayed.offer(500, True, HOUR)
    for hour, (price, is_usable) in enumerate(offers, start=2):
        assert delayed.next_ns == hour * HOUR
        delayed.offer(price, is_usable, hour * HOUR)
        offered[hour * HOUR] = price
        assert delayed.current_from_ns <= (hour - 1) * HOUR
        assert delayed.current == offered.get(delayed.current_from_ns, 500)
        assert delayed.announced == offered.get(delayed.announced_from_ns, 500)


@given(OFFERS)
def test_a_late_announcement_shortens_the_delay_by_no_more_than_it_was_late(
    offers: list[tuple[int, bool, int]],
) -> None:
    delayed, now, first = DelayedPrice(HOUR), 0, None
    for price, is_usable, passed in offers:
        now += passed
        delayed.offer(price, is_usable, now)
        first = now if first is None and is_usable else first
        if delayed.current_from_ns != (first or 0):
            assert now - delayed.current_from_ns >= HOUR - delayed.current_from_ns % HOUR
            assert delayed.current_from_ns < delayed.next_ns - HOUR


@given(OFFERS, st.lists(st.integers(1, 1_000), max_size=5))
def test_offers_between_publications_leave_no_trace(offers: list[tuple[int, bool, int]], noise: list[int]) -> None:
    quiet, busy, now = DelayedPrice(HOUR), DelayedPrice(HOUR), 0
    for price, is_usable, passed in offers:
        now += passed
        assert quiet.offer(price, is_usable, now) == busy.offer(price, is_usable, now)
        for other in noise:
            if busy.announced is not None:
                assert not busy.offer(other, True, min(now + other, busy.next_ns - 1))
        assert quiet.save() == busy.save()


@given(OFFERS, st.integers(0, 40))
def test_a_restored_delayed_price_goes_on_as_if_never_stopped(offers: list[tuple[int, bool, int]], stop: int) -> None:
    going, now = DelayedPrice(HOUR), 0
    for price, is_usable, passed in offers[:stop]:
        now += passed
        going.offer(price, is_usable, now)
    resumed = DelayedPrice(HOUR)
    resumed.restore(going.save())
    for price, is_usable, passed in offers[stop:]:
        now += passed
        assert going.offer(price, is_usable, now) == resumed.offer(price, is_usable, now)
    assert going.save() == resumed.save()
