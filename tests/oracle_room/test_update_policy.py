from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InputError
from marginkeep.oracle.update_policy import Publisher, UpdatePolicy
from marginkeep.units import RATE_ONE

PERCENT = RATE_ONE // 100
prices = st.one_of(st.integers(90, 110), st.integers(1, 2**61))
offers = st.lists(st.tuples(prices, st.integers(-3, 20), st.integers(-4, 4)), max_size=40)
policies = st.builds(
    UpdatePolicy,
    deviation=st.one_of(st.just(0), st.integers(0, 20 * PERCENT), st.just(RATE_ONE)),
    heartbeat_ns=st.one_of(st.just(0), st.integers(1, 30), st.just(2**70)),
    confidence=st.one_of(st.just(0), st.integers(1, 4 * PERCENT)),
)
steady = st.builds(UpdatePolicy, deviation=st.integers(0, 20 * PERCENT), heartbeat_ns=st.integers(1, 60))


def timed(steps):
    """Turn (price, time step, confidence) into offers with times; a step below 0 is a clock that goes back."""
    now, made = 1_000, []
    for price, step, confidence in steps:
        now += step
        made.append((price, now, confidence))
    return made


def by_definition(policy, made):
    """Which offers are published, with exact fractions and the whole history, as the words of the policy say it."""
    chosen = []
    for number, (price, now, confidence) in enumerate(made):
        if not chosen:
            chosen.append(number)
            continue
        old_price, _, old_confidence = made[chosen[-1]]
        old_time = max(made[earlier][1] for earlier in chosen)
        moved = Fraction(abs(price - old_price), old_price) > Fraction(policy.deviation, RATE_ONE)
        silent = max(now - old_time, 0) >= policy.heartbeat_ns
        share = Fraction(policy.confidence, RATE_ONE)
        is_wide, was_wide = (
            share > 0 and Fraction(abs(width), of) > share
            for width, of in ((confidence, price), (old_confidence, old_price))
        )
        if moved or silent or is_wide != was_wide:
            chosen.append(number)
    return chosen


def published(policy, made):
    publisher = Publisher(policy)
    chosen = [number for number, offer in enumerate(made) if publisher.offer(*offer)]
    assert publisher.count == len(chosen)
    if chosen:
        assert publisher.published == made[chosen[-1]][0]
        assert publisher.published_ns == max(made[number][1] for number in chosen)
    return chosen


def minutes(path, step=1):
    return [(price, step * number, 0) for number, price in enumerate(path)]


@given(policies, offers)
def test_what_is_published_is_what_the_definition_says(policy, steps):
    made = timed(steps)
    assert published(policy, made) == by_definition(policy, made)


@given(policies, offers, st.integers(0, 40))
def test_restoring_and_going_on_equals_never_having_stopped(policy, steps, cut):
    made = timed(steps)
    first, second = Publisher(policy), Publisher(policy)
    chosen = [number for number, offer in enumerate(made[:cut]) if first.offer(*offer)]
    second.restore(first.save())
    assert second.save() == first.save()
    chosen += [number + cut for number, offer in enumerate(made[cut:]) if second.offer(*offer)]
    assert chosen == by_definition(policy, made)


def test_exactly_the_deviation_is_not_enough_and_one_tick_more_is():
    policy = UpdatePolicy(deviation=PERCENT, heartbeat_ns=10**18)
    assert published(policy, minutes([1_000, 1_010, 990, 1_011])) == [0, 3]
    assert published(policy, minutes([1_000, 989])) == [0, 1]


def test_the_heartbeat_counts_from_the_last_publication_and_includes_its_own_length():
    policy = UpdatePolicy(deviation=RATE_ONE, heartbeat_ns=3)
    assert published(policy, minutes([7] * 8)) == [0, 3, 6]
    moving = UpdatePolicy(deviation=PERCENT, heartbeat_ns=3)
    assert published(moving, minutes([100, 100, 150, 150, 150, 150])) == [0, 2, 5]


def test_a_clock_that_goes_back_neither_starts_the_heartbeat_nor_ends_it():
    publisher = Publisher(UpdatePolicy(deviation=PERCENT, heartbeat_ns=10))
    assert publisher.offer(100, 50)
    assert not publisher.offer(100, 20)
    assert publisher.offer(200, 20)
    assert publisher.published_ns == 50
    assert not publisher.offer(200, 59)
    assert publisher.offer(200, 60)


def test_a_confidence_that_crosses_its_share_is_published_in_both_directions():
    policy = UpdatePolicy(deviation=RATE_ONE, heartbeat_ns=10**18, confidence=PERCENT)
    widths = [0, 10, 11, -12, 10]
    assert published(policy, [(1_000, 0, width) for width in widths]) == [0, 2, 4]
    blind = UpdatePolicy(deviation=RATE_ONE, heartbeat_ns=10**18)
    assert published(blind, [(1_000, 0, width) for width in widths]) == [0]


@given(offers)
def test_no_deviation_and_no_heartbeat_publish_everything(steps):
    assert len(published(UpdatePolicy(0, 0), timed(steps))) == len(steps)


@given(steady, st.lists(prices, min_size=1, max_size=40))
def test_a_published_price_is_never_further_off_or_older_than_the_policy_allows(policy, path):
    publisher = Publisher(policy)
    for price, now, _ in minutes(path):
        publisher.offer(price, now)
        assert abs(price - publisher.published) * RATE_ONE <= policy.deviation * publisher.published
        assert now - publisher.published_ns < policy.heartbeat_ns


def test_a_larger_deviation_may_publish_more_often():
    # At 10 % the price 111 is published, and all that follow are within 10 % of it; at 12 % the next one published is
    # 121, and from there each swing is a move.
    path = minutes([100, 111, 121, 105, 118, 102])
    small, large = (published(UpdatePolicy(rate * PERCENT, 10**18), path) for rate in (10, 12))
    assert (small, large) == ([0, 1], [0, 2, 3, 4, 5])


@given(
    st.tuples(st.integers(0, 30 * PERCENT), st.integers(0, 30 * PERCENT)).map(sorted),
    st.integers(1, 60),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=40),
    st.booleans(),
)
def test_on_a_price_that_only_rises_or_only_falls_a_larger_deviation_never_publishes_more(
    rates, heartbeat, path, falls
):
    made = minutes(sorted(path, reverse=falls))
    small, large = (len(published(UpdatePolicy(rate, heartbeat), made)) for rate in rates)
    assert large <= small


@given(steady, st.lists(prices, min_size=1, max_size=40))
def test_no_policy_publishes_less_than_its_heartbeat_alone(policy, path):
    made = minutes(path)
    publisher = Publisher(policy)
    alone = 1 + (len(made) - 1) // policy.heartbeat_ns
    assert sum(publisher.offer(*offer) for offer in made) >= alone


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((-1, 0, 0), "deviation is -1 parts"),
        ((RATE_ONE + 1, 0, 0), "deviation is 1000000001 parts"),
        ((0, -1, 0), "heartbeat_ns is -1"),
        ((0, 0, -1), "confidence is -1"),
    ],
)
def test_a_policy_outside_its_bounds_is_refused(numbers, words):
    with pytest.raises(InputError, match=words):
        UpdatePolicy(*numbers)


@pytest.mark.parametrize("price", [0, -5])
def test_a_price_below_one_tick_is_refused_and_changes_nothing(price):
    publisher = Publisher(UpdatePolicy(0, 0))
    publisher.offer(100, 1)
    before = publisher.save()
    with pytest.raises(InputError, match="at least 1"):
        publisher.offer(price, 2)
    assert publisher.save() == before
