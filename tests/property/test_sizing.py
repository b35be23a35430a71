"""The smallest sufficient size: minimal wherever health does not fall as more is closed, and found in few tries."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.liquidation.sizing import smallest_sufficient

LARGEST = st.one_of(st.integers(1, 300), st.integers(1, 2**62), st.sampled_from([1, 2, 3, 2**62]))


@st.composite
def rising_curves(draw: st.DrawFn):
    """Draw a largest size and a function that never falls: flats, ramps and jumps between drawn points."""
    largest = draw(LARGEST)
    points = sorted({0, largest, *draw(st.lists(st.integers(0, largest), max_size=6))})
    start = draw(st.integers(-(2**62), 1000))
    steps = draw(st.lists(st.one_of(st.just(0), st.integers(0, 2**62)), min_size=len(points), max_size=len(points)))
    slopes = draw(st.lists(st.one_of(st.just(0), st.integers(0, 2**20)), min_size=len(points), max_size=len(points)))
    levels = [start]
    for index in range(1, len(points)):
        levels.append(levels[-1] + slopes[index - 1] * (points[index] - points[index - 1]) + steps[index])

    def health_after(size: int) -> int:
        index = bisect_left(points, size + 1) - 1
        return levels[index] + slopes[index] * (size - points[index])

    return largest, health_after


@settings(max_examples=300, deadline=None)
@given(rising_curves())
def test_the_size_found_is_enough_and_one_less_is_not(curve):
    largest, health_after = curve
    found = smallest_sufficient(largest, health_after)
    assert 1 <= found <= largest
    if health_after(largest) < 0:
        assert found == largest
    else:
        assert health_after(found) >= 0
        assert found == 1 or health_after(found - 1) < 0


@settings(max_examples=300, deadline=None)
@given(rising_curves())
def test_the_size_is_found_in_few_tries_however_the_curve_bends(curve):
    largest, health_after = curve
    tried: list[int] = []

    def counted(size: int) -> int:
        tried.append(size)
        return health_after(size)

    smallest_sufficient(largest, counted)
    assert all(0 <= size <= largest for size in tried)
    assert len(tried) <= 2 + 3 * (largest.bit_length() + 1)


@given(LARGEST, st.data())
def test_a_step_anywhere_is_found_exactly(largest, data):
    step = data.draw(st.integers(0, largest))
    below, above = data.draw(st.integers(-(2**62), -1)), data.draw(st.integers(0, 2**62))
    assert smallest_sufficient(largest, lambda size: above if size >= step else below) == max(1, step)
