"""The aggregates against slow definitions of them; who is used, who waits in reserve; what a feed's flags say."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.oracle.aggregation import DISPERSION, SPREAD, USED
from marginkeep.oracle.combining import median_of_medians, sort_by_price, trimmed_mean, weighted_median
from marginkeep.oracle.source_rows import RULES_WIDTH, TRIM
from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX, SOURCES_MAX, WEIGHT_MAX
from marginkeep.units import RATE_ONE
from tests.oracle_room.feed_worlds import PERCENT, SECOND, STALE_AFTER, World, feed_rules, quotes_from

PRICES = st.one_of(st.integers(1, 12), st.integers(1, FEED_PRICE_MAX), st.just(FEED_PRICE_MAX))
"""Small ones so that many are equal, any, and the largest."""
WEIGHTS = st.one_of(st.integers(1, 3), st.integers(1, WEIGHT_MAX), st.just(WEIGHT_MAX))
SOURCE = st.tuples(PRICES, WEIGHTS, st.integers(0, SOURCES_MAX - 1))
"""Price, weight and group."""
SOURCES = st.lists(SOURCE, min_size=1, max_size=SOURCES_MAX)
Listed = list[tuple[int, int, int]]


def sorted_order(sources: Listed, prices: list[int]) -> list[int]:
    order = list(reversed(range(len(sources))))
    sort_by_price(order, len(sources), prices)
    return order


def facts_of(sources: Listed) -> list[list[int]]:
    return [[weight, 0, group, 0] for _, weight, group in sources]


def middle(values: list[int]) -> int:
    """Return the plain median, the mean of the two middle ones rounded down."""
    values = sorted(values)
    return math.floor(Fraction(values[(len(values) - 1) // 2] + values[len(values) // 2], 2))


# Each aggregate is what it says ----------------------------------------------------------------------------------


@given(st.lists(PRICES, min_size=1, max_size=SOURCES_MAX), st.randoms())
def test_sources_are_sorted_by_price_then_by_number_wherever_they_started(prices: list[int], chance: object) -> None:
    order = list(range(len(prices)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    sort_by_price(order, len(prices), prices)
    assert order == sorted(range(len(prices)), key=lambda i: (prices[i], i))


@given(SOURCES)
def test_the_weighted_median_is_the_middle_of_each_price_repeated_by_its_weight(sources: Listed) -> None:
    prices = [price for price, _, _ in sources]
    order = sorted_order(sources, prices)
    repeated = list(itertools.chain.from_iterable([price] * weight for price, weight, _ in sources))
    assert weighted_median(order, len(order), prices, facts_of(sources), 0, RATE_ONE) == middle(repeated)


@given(SOURCES, PRICES, st.integers(1, RATE_ONE))
def test_two_halves_further_apart_than_the_band_are_decided_by_the_past(sources: Listed, past: int, band: int) -> None:
    prices = [price for price, _, _ in sources]
    order = sorted_order(sources, prices)
    repeated = sorted(itertools.chain.from_iterable([price] * weight for price, weight, _ in sources))
    low, high = repeated[(len(repeated) - 1) // 2], repeated[len(repeated) // 2]
    expected = (low + high) // 2
    if (high - low) * RATE_ONE > high * band:
        expected = min((low, high), key=lambda price: abs(price - past))
    assert weighted_median(order, len(order), prices, facts_of(sources), past, band) == expected


@given(SOURCES, st.integers(0, RATE_ONE // 2 - 1))
def test_the_trimmed_mean_is_the_weighted_mean_of_what_is_left(sources: Listed, trim: int) -> None:
    prices = [price for price, _, _ in sources]
    order = sorted_order(sources, prices)
    rules = [0] * RULES_WIDTH
    rules[TRIM] = trim
    cut = math.floor(Fraction(trim, RATE_ONE) * len(sources))
    by_price = sorted(range(len(sources)), key=lambda i: (prices[i], i))
    left = [sources[i] for i in (by_price[cut:-cut] if cut else by_price)]
    mean = Fraction(sum(price * weight for price, weight, _ in left), sum(weight for _, weight, _ in left))
    assert trimmed_mean(facts_of(sources), rules, order, len(order), prices) == math.floor(mean)


@given(SOURCES)
def test_the_median_of_medians_is_the_middle_of_the_groups_middles(sources: Listed) -> None:
    prices = [price for price, _, _ in sources]
    order = sorted_order(sources, prices)
    by_group = sorted(sources, key=lambda source: source[2])
    groups = itertools.groupby(by_group, key=lambda source: source[2])
    middles = [middle([price for price, _, _ in members]) for _, members in groups]
    assert median_of_medians(facts_of(sources), order, len(order), prices) == middle(middles)


@pytest.mark.parametrize("aggregate", ["weighted_median", "trimmed_mean", "median_of_medians"])
@settings(deadline=None)
@given(
    sources=st.lists(
        st.tuples(st.integers(FEED_PRICE_MAX - 3, FEED_PRICE_MAX), st.integers(WEIGHT_MAX - 1, WEIGHT_MAX)),
        min_size=SOURCES_MAX,
        max_size=SOURCES_MAX,
    ),
    confidence=st.sampled_from([0, 1, FEED_PRICE_MAX]),
)
def test_the_largest_prices_and_weights_are_exact_when_compiled(
    aggregate: str, sources: list[tuple[int, int]], confidence: int
) -> None:
    prices = [price for price, _ in sources]
    states = []
    for kernel_from in (1, 10**9):
        world = World(feed_rules(16, [weight for _, weight in sources], aggregate=aggregate, outlier_band=RATE_ONE))
        with quotes_from(kernel_from):
            assert world.say(0, *prices, confidence=confidence) == ["taken"] * 16
        states.append((world.index, world.feeds.save()))
    assert states[0] == states[1]
    assert min(prices) <= states[0][0] <= max(prices)


def test_groups_count_once_however_many_sources_they_have() -> None:
    world = World(feed_rules(5, groups=["a", "a", "a", "b", "c"], aggregate="median_of_medians"))
    world.say(0, 100_00, 100_00, 100_00, 101_00, 101_20)
    assert world.index == 101_00
    world = World(feed_rules(5, aggregate="median_of_medians"))
    world.say(0, 100_00, 100_00, 100_00, 101_00, 101_20)
    assert world.index == 100_00


# Who is used -----------------------------------------------------------------------------------------------------


def test_a_reserve_is_used_only_while_too_few_of_the_first_rank_are_fresh() -> None:
    world = World(feed_rules(3, ranks=[0, 0, 1]))
    world.say(0, 100_00, 100_00, 101_00)
    assert (world.index, world.uses) == (100_00, ["used", "used", "in reserve"])
    world.say(50 * SECOND, 100_00, None, 101_00)
    world.wait(STALE_AFTER + 1)
    assert (world.index, world.uses) == (100_50, ["used", "stale", "used"])
    world.say(70 * SECOND, 100_00, 100_00, 101_00)
    assert (world.index, world.uses) == (100_00, ["used", "used", "in reserve"])


def test_ranks_are_called_in_one_after_the_other() -> None:
    world = World(feed_rules(4, ranks=[0, 3, 7, 7]))
    world.say(0, 100_00, 100_10, 100_20, 100_30)
    assert world.uses == ["used", "used", "in reserve", "in reserve"]
    world = World(feed_rules(4, ranks=[0, 3, 7, 7]))
    world.say(0, 100_00, None, 100_20, 100_30)
    assert world.uses == ["used", "never quoted", "used", "used"]


def test_a_reserve_is_called_in_when_the_first_rank_disagrees_and_no_past_decides() -> None:
    world = World(feed_rules(3, ranks=[0, 0, 1]))
    world.say(0, 100_00, 200_00, None)
    assert (world.index, world.uses) == (0, ["outlier", "outlier", "never quoted"])
    world.quote(2, 100_10, at=SECOND)
    assert world.uses == ["used", "outlier", "used"]
    assert world.index == 100_05


def test_a_reserve_stays_in_reserve_while_the_previous_price_stands_in_for_an_outlier() -> None:
    world = World(feed_rules(3, ranks=[0, 0, 1]))
    world.say(0, 100_00, 100_00, 101_00)
    world.say(SECOND, 900_00, 100_00, 101_00)
    assert world.uses == ["previous price used, the latest is an outlier", "used", "in reserve"]
    for second in range(2, 62):
        world.say(second * SECOND, 900_00, 100_00, 101_00)
    assert world.uses == ["outlier", "used", "used"]


# Two sources and one ---------------------------------------------------------------------------------------------


def test_of_two_sources_that_disagree_the_one_near_the_past_is_believed_and_the_feed_is_divergent() -> None:
    world = World(feed_rules(2))
    world.say(0, 100_00, 100_02)
    world.quote(0, 90_00, at=SECOND)
    assert (world.index, world.qualities) == (100_01, {"divergent"})
    world.quote(0, 90_00, at=STALE_AFTER)
    world.quote(1, 100_02, at=STALE_AFTER + SECOND)
    assert (world.index, world.qualities) == (100_02, {"divergent", "too_few_sources"})
    world.quote(1, 90_04, at=STALE_AFTER + 2 * SECOND)
    assert (world.index, world.qualities) == (90_02, {"valid"})


def test_two_sources_that_disagree_from_the_start_make_no_index() -> None:
    world = World(feed_rules(2))
    world.say(0, 100_00, 200_00)
    assert world.index == 0
    assert {"divergent", "too_few_sources"} <= world.qualities
    world.quote(1, 100_10, at=SECOND)
    assert (world.index, world.qualities) == (100_05, {"valid"})


def test_a_lone_jump_needs_a_second_print_that_is_newer() -> None:
    world = World(feed_rules(1))
    world.quote(0, 100_00, at=0)
    world.quote(0, 110_00, at=SECOND)
    assert (world.index, world.qualities) == (100_00, {"divergent"})
    assert world.quote(0, 110_00, at=SECOND) == "duplicate"
    assert world.quote(0, 110_01, at=2 * SECOND, source_ns=SECOND) == "taken"
    assert (world.index, world.qualities) == (100_00, {"divergent"})
    world.quote(0, 110_01, at=2 * SECOND)
    assert (world.index, world.qualities) == (110_01, {"valid"})


def test_a_second_print_elsewhere_does_not_confirm_a_lone_jump() -> None:
    world = World(feed_rules(1))
    world.quote(0, 100_00, at=0)
    for second, price in enumerate((110_00, 130_00, 150_00, 200_00), 1):
        world.quote(0, price, at=second * SECOND)
        assert (world.index, world.qualities) == (100_00, {"divergent"})
    world.quote(0, 100_50, at=5 * SECOND)
    assert (world.index, world.qualities) == (100_50, {"valid"})
    world.quote(0, 200_00, at=6 * SECOND)
    assert world.index == 100_50


def test_the_last_source_left_of_three_is_a_lone_one() -> None:
    world = World(feed_rules(3))
    world.say(0, 100_00, 100_00, 100_00)
    world.quote(0, 101_00, at=STALE_AFTER + SECOND)
    assert (world.index, world.qualities) == (101_00, {"too_few_sources"})
    world.quote(0, 201_00, at=STALE_AFTER + 2 * SECOND)
    assert (world.index, world.qualities) == (101_00, {"divergent", "too_few_sources"})


def test_an_unconfirmed_lone_jump_is_not_what_stands_in_later() -> None:
    world = World(feed_rules(2))
    world.say(0, 100_00, 100_00)
    world.quote(0, 100_00, at=STALE_AFTER)
    world.quote(0, 300_00, at=STALE_AFTER + SECOND)
    world.quote(1, 100_10, at=STALE_AFTER + 2 * SECOND)
    assert world.index == 100_05


# What the flags say ----------------------------------------------------------------------------------------------


def test_confidence_above_its_share_makes_the_feed_uncertain_and_does_not_move_it() -> None:
    world = World(feed_rules(3, max_confidence=PERCENT))
    world.say(0, 100_00, 100_00, 100_00, confidence=1_00)
    assert (world.qualities, int(world.feeds.feeds[0, SPREAD])) == ({"valid"}, PERCENT)
    world.quote(0, 100_00, at=SECOND, confidence=1_01)
    assert (world.index, world.qualities) == (100_00, {"uncertain"})


def test_the_confidence_of_a_price_that_is_not_used_does_not_count() -> None:
    world = World(feed_rules(3, max_confidence=PERCENT))
    world.say(0, 100_00, 100_00, 100_00, confidence=50)
    world.quote(0, 1_00, at=SECOND, confidence=50)
    assert (world.index, world.qualities) == (100_00, {"valid"})
    world.quote(0, 1_00, at=2 * SECOND, confidence=100_00)
    assert (world.index, world.qualities) == (100_00, {"valid"})


def test_the_confidence_of_the_previous_price_counts_while_it_is_used() -> None:
    world = World(feed_rules(3, max_confidence=PERCENT))
    world.say(0, 100_00, 100_00, 100_00)
    world.quote(0, 100_00, at=SECOND, confidence=2_00)
    world.quote(0, 9_900_00, at=2 * SECOND)
    assert (world.index, world.qualities) == (100_00, {"uncertain"})


def test_a_bad_print_does_not_make_a_feed_look_fresh() -> None:
    world = World(feed_rules(3, max_age_ns=15 * SECOND))
    world.say(0, 100_00, 100_00, 100_00)
    world.quote(0, 900_00, at=10 * SECOND)
    world.wait(15 * SECOND)
    assert world.qualities == {"valid"}
    world.wait(15 * SECOND + 1)
    assert (world.index, world.qualities) == (100_00, {"stale"})


def test_a_previous_price_stands_in_exactly_as_long_as_it_is_fresh() -> None:
    world = World(feed_rules(3))
    world.say(0, 100_00, 101_00, None)
    world.say(30 * SECOND, 900_00, 101_00, 101_50)
    assert world.index == 101_00
    world.wait(STALE_AFTER)
    assert (world.index, world.uses[0]) == (101_00, "previous price used, the latest is an outlier")
    assert world.due == STALE_AFTER + 1
    world.wait(STALE_AFTER + 1)
    assert (world.index, world.uses[0]) == (101_25, "outlier")


def test_prices_used_further_apart_than_allowed_are_divergent() -> None:
    world = World(feed_rules(3, max_dispersion=PERCENT))
    world.say(0, 100_00, 100_50, 101_00)
    assert (world.qualities, int(world.feeds.feeds[0, DISPERSION])) == ({"valid"}, PERCENT)
    world.say(SECOND, 100_00, 100_50, 101_01)
    assert world.qualities == {"divergent"}


def test_half_of_the_weight_outside_the_band_is_divergent_and_less_is_not() -> None:
    world = World(feed_rules(4, weights=[1, 1, 1, 2]))
    world.say(0, 100_00, 100_00, 100_00, 100_00)
    world.quote(3, 200_00, at=SECOND)
    assert (world.index, world.qualities) == (100_00, {"valid"})
    world = World(feed_rules(4, weights=[1, 1, 1, 3]))
    world.say(0, 100_00, 100_00, 100_00, 100_00)
    world.quote(3, 200_00, at=SECOND)
    assert (world.index, world.qualities) == (100_00, {"divergent"})


def test_too_few_sources_is_said_below_the_minimum_and_not_at_it() -> None:
    world = World(feed_rules(3, min_sources=3))
    world.say(0, 100_00, 100_00, None)
    assert (world.index, world.qualities) == (100_00, {"too_few_sources"})
    world.quote(2, 100_00)
    assert (world.qualities, int(world.feeds.feeds[0, USED])) == ({"valid"}, 3)


def test_several_qualities_apply_at_once() -> None:
    world = World(feed_rules(2, max_confidence=0))
    world.say(0, 100_00, 100_00, confidence=1)
    world.quote(0, 300_00, at=SECOND, confidence=1)
    world.wait(20 * SECOND)
    assert world.qualities == {"stale", "uncertain", "divergent"}
