from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InputError
from marginkeep.oracle.time_weighted import TimeWeighted

POINTS = st.dictionaries(st.integers(0, 60), st.integers(-100, 100), max_size=15)
SPANS = st.lists(st.tuples(st.integers(-10, 70), st.integers(-10, 70)), max_size=4)
WINDOWS = st.tuples(st.integers(-5, 65), st.integers(-5, 65))


def filled(points, points_max=100):
    path = TimeWeighted(points_max)
    for at, price in points:
        assert path.observe(price, at)
    return path


def slow_average(points, start, end, excluded, carry_in):
    """Average unit by unit of time."""
    prices = []
    for instant in range(start, end):
        if any(left <= instant < right for left, right in excluded):
            continue
        held = [at for at in points if at <= instant and (carry_in or at >= start)]
        prices += [points[max(held)]] if held else []
    return Fraction(sum(prices), len(prices)) if prices else None


@given(POINTS, WINDOWS, SPANS, st.booleans())
def test_the_average_is_that_of_every_instant(points, window, excluded, carry_in):
    path = filled(sorted(points.items()))
    assert path.average(*window, excluded, carry_in) == slow_average(points, *window, excluded, carry_in)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(points, random):
    rows = sorted(points.items())
    shuffled = rows.copy()
    random.shuffle(shuffled)
    ordered, other = filled(rows), filled(shuffled)
    assert ordered.save() == other.save()
    assert ordered.average(0, 61) == other.average(0, 61)


@given(POINTS, WINDOWS, SPANS)
def test_what_is_excluded_and_what_is_left_make_the_whole(points, window, spans):
    path = filled([(-20, 5), *sorted(points.items())])
    start, end = window
    instants = range(start, end)
    inside = [at for at in instants if any(left <= at < right for left, right in spans)]
    outside = [(at, at + 1) for at in instants if at not in inside]
    parts = [
        (path.average(start, end, spans), len(instants) - len(inside)),
        (path.average(start, end, outside), len(inside)),
    ]
    total = sum((mean * time for mean, time in parts if mean is not None), Fraction(0))
    whole = path.average(start, end)
    assert total == (whole * len(instants) if whole is not None else 0)


def test_a_price_holds_until_the_next_one():
    path = filled([(0, 10), (30, 40)])
    assert path.average(0, 40) == Fraction(10 * 30 + 40 * 10, 40)
    assert path.average(10, 20) == 10


def test_a_late_point_counts_as_if_it_had_been_on_time():
    path = filled([(0, 10), (20, 30), (10, 20)])
    assert path.average(0, 30) == 20


def test_a_second_point_at_one_instant_is_refused_unless_it_may_replace():
    path = filled([(0, 10), (10, 20)])
    assert not path.observe(99, 0)
    assert path.average(0, 20) == 15
    assert path.observe(30, 0, replaces=True)
    assert path.average(0, 20) == 25


def test_the_point_before_the_start_is_carried_in_unless_told_otherwise():
    path = filled([(0, 10), (30, 40)])
    assert path.average(20, 40) == 25
    assert path.average(20, 40, carry_in=False) == 40


def test_nothing_to_average_is_none():
    assert TimeWeighted().average(0, 10) is None
    path = filled([(5, 10)])
    assert path.average(7, 7) is None
    assert path.average(8, 7) is None
    assert path.average(0, 5) is None
    assert path.average(0, 10, [(0, 10)]) is None
    assert path.average(6, 10, carry_in=False) is None


def test_the_floor_goes_down_below_zero_too():
    path = filled([(0, -1), (1, -2)])
    assert path.average(0, 2) == Fraction(-3, 2)
    assert path.average_floor(0, 2) == -2
    assert path.average_floor(5, 5) is None


def test_gaps_state_where_the_newest_point_is_too_old():
    path = filled([(10, 1), (14, 1), (30, 1)])
    assert path.gaps(0, 50, 5) == [(0, 10), (19, 30), (35, 50)]
    assert path.gaps(20, 25, 5) == [(20, 25)]
    assert path.gaps(14, 19, 5) == []
    assert TimeWeighted().gaps(3, 9, 5) == [(3, 9)]


@given(POINTS, WINDOWS, st.integers(0, 20))
def test_gaps_hold_exactly_the_instants_without_a_young_point(points, window, longest):
    path = filled(sorted(points.items()))
    bare = [at for at in range(*window) if not any(at - longest < seen <= at for seen in points)]
    assert [at for start, end in path.gaps(*window, longest) for at in range(start, end)] == bare


@given(POINTS, st.integers(0, 60), st.integers(0, 30))
def test_forgetting_changes_no_average_of_what_is_left(points, horizon, length):
    path = filled(sorted(points.items()))
    before = path.average(horizon, horizon + length)
    path.forget_before(horizon)
    assert path.average(horizon, horizon + length) == before
    assert sum(at <= horizon for at in path.save()[0]) <= 1


def test_a_full_list_forgets_the_oldest_and_states_the_gap():
    path = filled([(at, at) for at in range(10)], points_max=3)
    assert (len(path), path.last_ns) == (3, 9)
    assert path.gaps(0, 10, 1) == [(0, 7)]
    assert not path.observe(5, 2)
    assert path.observe(70, 7, replaces=True)
    assert path.average(0, 10) == Fraction(70 + 8 + 9, 3)


def test_a_list_of_no_points_is_refused():
    with pytest.raises(InputError, match="points_max"):
        TimeWeighted(0)


@given(POINTS, POINTS, st.integers(0, 60))
def test_restoring_and_going_on_equals_never_having_stopped(before, after, horizon):
    whole = filled(sorted(before.items()))
    whole.forget_before(horizon)
    resumed = TimeWeighted(100)
    resumed.restore(whole.save())
    for at, price in after.items():
        assert whole.observe(price, at, replaces=True) == resumed.observe(price, at, replaces=True)
    assert whole.save() == resumed.save()
    assert whole.average(0, 61) == resumed.average(0, 61)
