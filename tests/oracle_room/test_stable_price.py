from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.stable_price import HOUR_NS, StablePrice
from marginkeep.rulebook.oracle_rules import StableRules

SECOND = 10**9
RULES = StableRules(per_second=300_000, delayed_per_hour=60_000_000)
TICKS = 10**6
WAITS = st.one_of(st.integers(0, 20 * SECOND), st.integers(0, 2 * HOUR_NS), st.integers(0, 60 * HOUR_NS))
STEPS = st.lists(st.tuples(WAITS, st.integers(1, 2**48)), min_size=1, max_size=40)


def started(price=TICKS, at=0, rules=RULES):
    stable = StablePrice(rules)
    stable.update(price, at)
    return stable


def follow(stable, price, at, step, count):
    for _ in range(count):
        at += step
        stable.update(price, at)
    return at


def test_it_is_nothing_before_the_first_price_and_then_that_price():
    stable = StablePrice(RULES)
    assert stable.value == 0
    stable.update(0, 5)
    assert stable.value == 0
    stable.update(77, 6)
    assert stable.value == 77


def test_a_jump_of_ten_times_takes_an_hour_to_add_four_fifths_and_a_day_to_near_it():
    stable = started()
    at = follow(stable, 10 * TICKS, 0, 60 * SECOND, 60)
    assert abs(stable.value - 1_800_000) < 100_000
    at = follow(stable, 10 * TICKS, at, 10 * SECOND, 360)
    assert abs(stable.value - 2_300_000) < 100_000
    follow(stable, 10 * TICKS, at, 300 * SECOND, 276)
    assert abs(stable.value - 7_445_231) <= 1


def test_while_it_agrees_with_its_delayed_self_it_moves_at_full_speed():
    stable = started()
    stable.update(10 * TICKS, 10 * SECOND)
    assert stable.value == TICKS + 3_000
    stable = started()
    stable.update(1, 10 * SECOND)
    assert stable.value == TICKS - 3_000


def test_updates_within_ten_seconds_change_nothing():
    stable = started()
    saved = stable.save()
    for at in (-SECOND, 0, 1, 10 * SECOND - 1):
        stable.update(10 * TICKS, at)
    assert stable.save() == saved


def test_a_long_silence_counts_as_ten_minutes():
    silent, updated = started(), started()
    silent.update(10 * TICKS, 1_800 * SECOND)
    updated.update(10 * TICKS, 600 * SECOND)
    assert silent.value == updated.value == TICKS + TICKS * 18 // 100


def test_a_silence_does_not_pull_the_delayed_price_down():
    stable = started()
    stable.update(TICKS, 3_599 * SECOND)
    stable.update(TICKS, 3_610 * SECOND)
    assert stable.save()[4] == [stable.save()[0]] * 24


def test_a_price_of_nothing_is_not_followed():
    stable = started()
    stable.update(0, 100 * SECOND)
    stable.update(-5, 200 * SECOND)
    assert stable.value == TICKS


def test_the_delayed_price_is_the_bounded_mean_of_an_hour_a_day_ago():
    stable = started()
    at = follow(stable, TICKS, 0, 60 * SECOND, 30)
    follow(stable, TICKS + 20_000, at, 60 * SECOND, 30)
    delayed = stable.save()[4]
    assert delayed[0] == (TICKS + 10_000) * 2**32
    assert delayed[1:] == [TICKS * 2**32] * 23
    follow(stable, 10 * TICKS, HOUR_NS, 60 * SECOND, 60)
    assert stable.save()[4][1] == delayed[0] * 106 // 100


def test_hours_slept_through_are_given_the_mean_of_the_hour_that_ended():
    for hours, given_to in ((3, [0, 1, 2]), (24, range(24)), (60, range(24))):
        stable = started()
        stable.update(2 * TICKS, hours * HOUR_NS)
        delayed = stable.save()[4]
        assert [hour for hour in range(24) if delayed[hour] == TICKS * 2**32 * 106 // 100] == list(given_to)
        assert delayed.count(TICKS * 2**32) == 24 - len(given_to)


def test_it_arrives_at_a_price_that_stays():
    for price in (TICKS // 3, 2 * TICKS):
        stable = started()
        follow(stable, price, 0, 300 * SECOND, 12 * 24 * 3)
        assert stable.value == price


def test_a_reset_forgets_the_past_at_once():
    stable = started()
    follow(stable, 10 * TICKS, 0, 60 * SECOND, 90)
    stable.reset(5 * TICKS, 90 * 60 * SECOND)
    fresh = started(5 * TICKS, 90 * 60 * SECOND)
    assert stable.save() == fresh.save()


@given(st.integers(1, 2**48), STEPS)
def test_it_never_overshoots_and_never_exceeds_its_speed(start, steps):
    stable, at = started(start), 0
    for wait, price in steps:
        at += wait
        before, last = Fraction(stable.save()[0], 2**32), stable.save()[1]
        stable.update(price, at)
        after = Fraction(stable.save()[0], 2**32)
        assert min(before, price) <= after <= max(before, price)
        assert abs(after - before) <= before * min(at - last, 600 * SECOND) * 3 / (10_000 * SECOND)


@given(st.integers(1, 2**48), STEPS)
def test_it_stays_between_the_smallest_and_the_largest_price_as_its_delayed_self_does(start, steps):
    stable, at = started(start), 0
    seen = [start, *(price for _, price in steps)]
    for wait, price in steps:
        at += wait
        stable.update(price, at)
    kept = [stable.save()[0], *stable.save()[4]]
    assert min(seen) * 2**32 <= min(kept)
    assert max(kept) <= max(seen) * 2**32


@given(STEPS, STEPS)
def test_restoring_and_going_on_equals_never_having_stopped(before, after):
    whole, at = StablePrice(RULES), 0
    for wait, price in before:
        at += wait
        whole.update(price, at)
    resumed = StablePrice(RULES)
    resumed.restore(whole.save())
    for wait, price in after:
        at += wait
        whole.update(price, at)
        resumed.update(price, at)
    assert whole.save() == resumed.save()
