from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marginkeep.errors import InputError
from marginkeep.oracle import averages
from marginkeep.oracle.averages import DECAY_ONE, FINE, HALF_LIFE_MAX, MovingAverage, decay

SECOND = 10**9
MINUTE = 60 * SECOND
DAY = 1440 * MINUTE
HALF_LIVES = st.one_of(st.integers(1, 1_000), st.integers(1, 30 * DAY), st.integers(1, HALF_LIFE_MAX))
PRICES = st.integers(-(2**48), 2**48)
STEPS = st.lists(st.tuples(st.integers(0, 5 * MINUTE), PRICES), min_size=1, max_size=12)


def exact_decay(elapsed: int, half_life: int) -> Decimal:
    with localcontext() as context:
        context.prec = 80
        return Decimal(2) ** (62 - Decimal(elapsed) / Decimal(half_life))


def exact_average(steps: list[tuple[int, int]], half_life: int, now: int) -> Fraction:
    """Average a path of (duration before it, price) the slow way, in 80 digits."""
    at, average, held = 0, None, 0
    for wait, price in [*steps, (now - sum(wait for wait, _ in steps), 0)]:
        if average is None:
            average = Fraction(price)
        else:
            kept = Fraction(exact_decay(wait, half_life)) / DECAY_ONE
            average = held + (average - held) * kept
        at, held = at + wait, price
    return average


def averaged(steps: list[tuple[int, int]], half_life: int = MINUTE) -> tuple[MovingAverage, int]:
    average, at = MovingAverage(half_life), 0
    for wait, price in steps:
        at += wait
        assert average.observe(price, at)
    return average, at


@given(HALF_LIVES, st.integers(0, 80 * 2**62))
@example(1, 2**62)
@example(HALF_LIFE_MAX, 1)
@example(3, 2)
def test_decay_is_never_above_the_exact_value_and_at_most_a_part_below(half_life, elapsed):
    elapsed %= 80 * half_life
    below = exact_decay(elapsed, half_life) - decay(elapsed, half_life)
    assert 0 <= below < 1 + Decimal(1) / 256


@pytest.mark.parametrize("half_life", [1, 7, MINUTE, HALF_LIFE_MAX])
def test_whole_half_lives_are_exact(half_life):
    assert [decay(count * half_life, half_life) for count in range(64)] == [2**62 >> count for count in range(64)]


def test_nothing_has_decayed_at_once_and_everything_after_long():
    assert decay(0, MINUTE) == decay(-5, MINUTE) == DECAY_ONE
    assert decay(10**30, MINUTE) == 0


@given(st.integers(1, 2**60), st.integers(0, 2**64), st.integers(1, 2**60))
def test_longer_is_never_more(half_life, elapsed, more):
    assert decay(elapsed + more, half_life) <= decay(elapsed, half_life)


def test_the_constant_is_the_logarithm_of_two_rounded_up():
    with localcontext() as context:
        context.prec = 60
        assert 0 < averages._LN_TWO - Decimal(2).ln() * 2**96 < 1


def test_before_any_observation_there_is_no_average():
    assert MovingAverage(MINUTE).value(5) is None


def test_the_first_price_starts_the_average_and_a_half_life_goes_half_way():
    average = MovingAverage(MINUTE)
    average.observe(100, 0)
    assert average.value(MINUTE) == 100
    average.observe(200, MINUTE)
    assert [average.value(count * MINUTE) for count in (1, 2, 3, 4)] == [100, 150, 175, 187]


def test_a_price_counts_for_as_long_as_it_held_not_for_as_often_as_it_was_seen():
    often, once = MovingAverage(MINUTE), MovingAverage(MINUTE)
    for average in (often, once):
        average.observe(100, 0)
    for count in range(1_000):
        often.observe(300, MINUTE + count)
    once.observe(300, MINUTE)
    assert often.value(2 * MINUTE) == once.value(2 * MINUTE) == 200


def test_a_price_that_stays_is_reached_from_either_side():
    for start in (-(10**12), 10**12):
        average = MovingAverage(MINUTE)
        average.observe(start, 0)
        average.observe(7, 1)
        assert average.value(DAY) == 7


def test_from_below_it_arrives_too_as_soon_as_less_than_a_part_is_left():
    average = MovingAverage(MINUTE)
    average.observe(-10, 0)
    average.observe(7, 1)
    assert average.value(30 * MINUTE) == 6
    assert average.value(40 * MINUTE) == 7


def test_an_observation_older_than_the_last_is_ignored():
    average = MovingAverage(MINUTE)
    average.observe(100, 10)
    average.observe(100, 20)
    before = average.save()
    assert not average.observe(900, 19)
    assert average.save() == before


def test_at_one_instant_the_later_price_counts():
    average = MovingAverage(MINUTE)
    average.observe(900, 0)
    assert average.observe(100, 0)
    assert average.value(MINUTE) == 100
    average.observe(900, MINUTE)
    average.observe(200, MINUTE)
    assert average.value(2 * MINUTE) == 150


def test_a_clock_that_goes_backwards_changes_nothing():
    average = MovingAverage(MINUTE)
    average.observe(100, 0)
    average.observe(200, MINUTE)
    assert average.value(0) == average.value(MINUTE) == 100


@pytest.mark.parametrize("half_life", [0, -1, HALF_LIFE_MAX + 1])
def test_a_half_life_must_be_positive_and_fit(half_life):
    with pytest.raises(InputError, match="half-life"):
        MovingAverage(half_life)


@given(STEPS, st.integers(0, DAY))
def test_the_average_lies_between_the_smallest_and_the_largest_price(steps, wait):
    average, at = averaged(steps)
    assert min(price for _, price in steps) <= average.value(at + wait) <= max(price for _, price in steps)


@given(STEPS, st.integers(0, 10 * MINUTE))
def test_the_average_is_the_exact_one_within_its_stated_error(steps, wait):
    steps = [(steps[0][0], steps[0][1]), *((wait + 1, price) for wait, price in steps[1:])]
    average, at = averaged(steps)
    error = len(steps) * (Fraction(1, FINE) + Fraction(2**49, 2**61))
    exact = exact_average(steps, MINUTE, at + wait)
    assert exact - error - 1 < average.value(at + wait) <= exact + error


@given(STEPS, st.lists(st.integers(0, 10 * MINUTE), max_size=20), st.integers(0, MINUTE))
def test_seeing_the_same_price_again_changes_nothing(steps, instants, wait):
    plain, end = averaged(steps)
    split, at = MovingAverage(MINUTE), 0
    for index, (delay, price) in enumerate(steps):
        at += delay
        split.observe(price, at)
        stop = at + steps[index + 1][0] if index + 1 < len(steps) else end
        for instant in sorted(at + instant for instant in instants if at + instant < stop):
            split.observe(price, instant)
    assert split.value(end + wait) == plain.value(end + wait)


@given(STEPS, st.integers(0, MINUTE), st.integers(0, MINUTE))
def test_the_average_only_moves_toward_the_price_that_holds(steps, first, second):
    average, at = averaged(steps)
    price = steps[-1][1]
    values = [average.value(at + wait) for wait in (0, first, first + second)]
    assert values == sorted(values, reverse=values[0] > price)


@given(STEPS, STEPS)
def test_restoring_and_going_on_equals_never_having_stopped(before, after):
    whole, at = averaged(before)
    resumed = MovingAverage(MINUTE)
    resumed.restore(whole.save())
    for wait, price in after:
        at += wait
        assert whole.observe(price, at) == resumed.observe(price, at)
    assert whole.save() == resumed.save()
    assert whole.value(at + 1) == resumed.value(at + 1)
