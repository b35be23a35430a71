"""One source's quotes: which are taken, what counts as now, when a price is old, and when it is frozen."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.source_rows import (
    LEFT_BEHIND,
    MOVED_INDEX,
    NOT_YET,
    PRICE,
    SOURCE_NS,
    outside,
    share_of,
    sooner,
)
from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX
from marginkeep.units import INT64_SAFE, RATE_ONE
from tests.oracle_room.feed_worlds import SECOND, STALE_AFTER, START, World, feed_rules, quotes_from

PRICES = st.integers(1, FEED_PRICE_MAX)


def row(world: World, source: int, column: int) -> int:
    return int(world.feeds.rows[0, source, column])


# Which quotes are taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "confidence"),
    [(0, 0), (-1, 0), (-(2**62), 0), (FEED_PRICE_MAX + 1, 0), (2**62, 0), (5, -1), (5, FEED_PRICE_MAX + 1)],
)
def test_a_price_or_confidence_that_cannot_be_is_refused_and_changes_nothing(price: int, confidence: int) -> None:
    world = World(feed_rules(3))
    world.say(0, 100_00, 100_01, 100_02)
    before = world.feeds.rows[0, 0, :SOURCE_NS].tolist()
    assert world.quote(0, price, at=SECOND, confidence=confidence) == "bad_price"
    assert world.feeds.rows[0, 0, :SOURCE_NS].tolist() == before
    assert world.index == 100_01


def test_the_largest_and_the_smallest_price_are_taken() -> None:
    assert World(feed_rules(1)).quote(0, FEED_PRICE_MAX, confidence=FEED_PRICE_MAX) == "taken"
    assert World(feed_rules(1)).quote(0, 1) == "taken"


def test_a_source_time_ahead_of_arrival_is_taken_as_now_up_to_the_limit_and_refused_beyond() -> None:
    world = World(feed_rules(1, max_ahead_ns=2 * SECOND))
    assert world.quote(0, 100, at=SECOND, source_ns=3 * SECOND) == "taken"
    assert row(world, 0, SOURCE_NS) == START + SECOND
    assert world.quote(0, 101, at=2 * SECOND, source_ns=4 * SECOND + 1) == "from_the_future"
    assert (row(world, 0, PRICE), world.index) == (100, 100)


def test_a_source_whose_clock_is_ahead_does_not_block_its_own_next_quotes() -> None:
    world = World(feed_rules(1, max_ahead_ns=2 * SECOND))
    world.quote(0, 100, at=0, source_ns=2 * SECOND)
    assert world.quote(0, 101, at=SECOND, source_ns=SECOND) == "taken"
    assert world.index == 101


def test_an_older_quote_does_not_overwrite_a_newer_one() -> None:
    world = World(feed_rules(1))
    world.quote(0, 100, at=10 * SECOND)
    assert world.quote(0, 99, at=11 * SECOND, source_ns=10 * SECOND - 1) == "out_of_order"
    assert (world.index, row(world, 0, SOURCE_NS)) == (100, START + 10 * SECOND)


def test_of_two_quotes_with_one_source_time_the_later_arrival_wins() -> None:
    world = World(feed_rules(1))
    world.quote(0, 1000, at=SECOND, source_ns=0)
    assert world.quote(0, 1001, at=2 * SECOND, source_ns=0) == "taken"
    assert world.index == 1001
    assert world.take([(0, 0, price, 0, START + 3 * SECOND, START + 3 * SECOND) for price in (1002, 1003)]) == [
        "taken",
        "taken",
    ]
    assert world.index == 1003


def test_the_same_quote_again_is_a_duplicate_and_computes_nothing() -> None:
    world = World(feed_rules(2))
    world.say(0, 100, 100)
    saved = world.feeds.save()
    assert world.quote(0, 100, at=5 * SECOND, source_ns=0) == "duplicate"
    assert world.intake is not None
    assert world.intake.feeds == []
    assert world.feeds.save() == saved


def test_the_same_price_with_another_time_or_confidence_is_news() -> None:
    world = World(feed_rules(1))
    world.quote(0, 100, at=0)
    assert world.quote(0, 100, at=SECOND, confidence=1, source_ns=0) == "taken"
    assert world.quote(0, 100, at=2 * SECOND, confidence=1, source_ns=1) == "taken"


def test_when_the_clock_goes_backwards_the_house_keeps_its_time() -> None:
    world = World(feed_rules(2))
    world.quote(0, 100, at=100 * SECOND)
    assert world.quote(1, 100, at=90 * SECOND, source_ns=90 * SECOND) == "taken"
    assert world.now_ns == START + 100 * SECOND
    assert row(world, 1, SOURCE_NS) == START + 90 * SECOND
    assert world.quote(1, 101, at=50 * SECOND, source_ns=101 * SECOND) == "taken"
    assert row(world, 1, SOURCE_NS) == START + 100 * SECOND


@pytest.mark.parametrize("kernel_from", [1, 10**9])
def test_times_at_the_ends_of_what_a_command_may_carry_are_exact(kernel_from: int) -> None:
    world = World(feed_rules(2))
    world.now_ns = INT64_SAFE
    with quotes_from(kernel_from):
        assert world.take([(0, 0, 100, 0, -INT64_SAFE, INT64_SAFE), (0, 1, 100, 0, INT64_SAFE, -INT64_SAFE)]) == [
            "taken",
            "taken",
        ]
    assert world.uses == ["stale", "used"]
    assert row(world, 0, SOURCE_NS) == 0


# Staleness, both ways --------------------------------------------------------------------------------------------


def test_a_fresh_quote_is_used_and_an_old_one_is_not() -> None:
    world = World(feed_rules(3))
    world.say(0, 100_00, 100_00, 101_00)
    world.say(STALE_AFTER + SECOND, None, None, 101_00)
    assert world.uses == ["stale", "stale", "used"]
    assert world.index == 101_00
    assert world.qualities == {"too_few_sources"}


def test_a_quote_exactly_as_old_as_the_limit_is_fresh_and_one_nanosecond_more_is_not() -> None:
    world = World(feed_rules(2, max_age_ns=10 * STALE_AFTER))
    world.say(0, 100_00, 100_00)
    world.wait(STALE_AFTER)
    assert (world.uses, world.qualities) == (["used", "used"], {"valid"})
    assert world.due == STALE_AFTER + 1
    world.wait(STALE_AFTER + 1)
    assert (world.uses, world.qualities) == (["stale", "stale"], {"too_few_sources"})
    assert world.index == 100_00


def test_a_feed_exactly_as_old_as_its_limit_is_valid_and_one_nanosecond_more_is_stale() -> None:
    world = World(feed_rules(2, max_age_ns=15 * SECOND))
    world.say(0, 100_00, None)
    world.say(SECOND, None, 100_00)
    world.wait(16 * SECOND)
    assert world.qualities == {"valid"}
    world.wait(16 * SECOND + 1)
    assert world.qualities == {"stale"}
    world.quote(0, 100_00, at=17 * SECOND)
    assert world.qualities == {"valid"}


def test_age_counts_from_the_source_time_and_not_from_arrival() -> None:
    world = World(feed_rules(2))
    world.say(100 * SECOND, None, 100_00)
    world.quote(0, 100_00, at=100 * SECOND, source_ns=100 * SECOND - STALE_AFTER)
    assert world.uses == ["used", "used"]
    world = World(feed_rules(2))
    world.say(100 * SECOND, None, 100_00)
    world.quote(0, 100_00, at=100 * SECOND, source_ns=100 * SECOND - STALE_AFTER - 1)
    assert world.uses == ["stale", "used"]


# Frozen sources --------------------------------------------------------------------------------------------------

FROZEN = {"frozen_after_ns": 30 * SECOND, "max_dispersion": RATE_ONE}


def test_a_source_that_repeats_one_price_while_the_index_moves_away_is_frozen() -> None:
    world = World(feed_rules(4, **FROZEN))
    for second in range(40):
        moved = 100_00 - min(second, 25) * 10
        world.say(second * SECOND, moved, moved, moved, 100_00)
        assert ("frozen" in world.uses) == (second > 30)
    assert world.uses == ["used", "used", "used", "frozen"]


def test_a_frozen_source_stays_out_when_the_index_comes_back_to_it_until_its_price_moves() -> None:
    world = World(feed_rules(4, **FROZEN))
    for second in range(60):
        moved = 100_00 - (300 if 5 < second < 20 else 0)
        world.say(second * SECOND, moved, moved + second % 2, moved, 100_00)
    assert world.uses == ["used", "used", "used", "frozen"]
    world.say(60 * SECOND, 100_00, 100_00, 100_00, 100_01)
    assert world.uses == ["used"] * 4


def test_frozen_begins_one_nanosecond_after_the_limit_and_is_found_when_due() -> None:
    world = World(feed_rules(4, **FROZEN))
    world.say(0, 100_00, 100_00, 100_00, 100_00)
    world.say(SECOND, 97_00, 97_00, 97_00, None)
    world.say(2 * SECOND, 99_50, 99_50, 99_50, None)
    world.say(29 * SECOND, 99_50, 99_50, 99_50, 100_00)
    assert world.uses == ["used"] * 4
    assert world.due == 30 * SECOND + 1
    world.wait(30 * SECOND)
    assert world.uses[3] == "used"
    assert world.wait(30 * SECOND + 1).feeds == [0]
    assert world.uses[3] == "frozen"


def test_an_index_that_moves_on_without_a_frozen_source_may_leave_another_behind() -> None:
    rules = {"aggregate": "trimmed_mean", "trim": 0, "frozen_after_ns": 5 * SECOND}
    world = World(feed_rules(4, weights=[2, 2, 1, 1], **rules))
    world.say(0, 100_000, 100_000, 100_000, 100_000)
    world.say(SECOND, 100_000, 100_000, 99_000, 100_000)
    world.say(2 * SECOND, 99_725, 99_725, 99_000, 98_500)
    assert [row(world, source, MOVED_INDEX) for source in (2, 3)] == [99_833, 99_400]
    # With both the index is 97,623, beyond the band of the first only; without that one it is 97,348.
    world.say(10 * SECOND, 97_060, 97_060, 99_000, 98_500)
    assert (world.index, world.uses) == (97_060, ["used", "used", "frozen", "frozen"])


def test_nobody_is_frozen_where_prices_stand_still_from_the_first_quote_on() -> None:
    world = World(feed_rules(3, **FROZEN))
    for second in range(120):
        world.say(second * SECOND, 100_00, 100_00, 100_00)
        assert (world.uses, world.qualities) == (["used"] * 3, {"valid"})


def test_nobody_is_frozen_when_prices_stand_still_after_a_jump_that_all_made() -> None:
    world = World(feed_rules(3, **FROZEN))
    world.say(0, 100_00, 100_00, 100_00)
    for second in range(1, 120):
        world.say(second * SECOND, 90_00, 90_00 if second > 1 else None, 90_00 if second > 2 else None)
    assert (world.uses, world.index) == (["used"] * 3, 90_00)


def test_a_source_in_a_band_of_the_index_is_not_left_behind_by_small_moves() -> None:
    world = World(feed_rules(3, **FROZEN))
    for second in range(100):
        moved = 100_00 + second % 3 * 90
        world.say(second * SECOND, moved, moved, 100_50)
    assert world.uses == ["used"] * 3
    assert row(world, 2, MOVED_INDEX) not in (LEFT_BEHIND, NOT_YET)


def test_without_a_limit_nobody_is_frozen() -> None:
    world = World(feed_rules(3, frozen_after_ns=0, max_dispersion=RATE_ONE))
    for second in range(200):
        moved = 100_00 - (300 if 5 < second < 20 else 0)
        world.say(second * SECOND, moved, moved, 100_00)
    assert world.uses == ["used"] * 3


# Arithmetic ------------------------------------------------------------------------------------------------------


@given(PRICES, PRICES, st.integers(0, RATE_ONE))
def test_outside_is_exact(price: int, centre: int, band: int) -> None:
    assert outside(price, centre, band) == (abs(price - centre) > Fraction(centre * band, RATE_ONE))


@given(PRICES, st.integers(0, RATE_ONE), st.integers(-2, 2))
def test_outside_is_exact_at_the_edge(centre: int, band: int, step: int) -> None:
    edge = centre + centre * band // RATE_ONE + step
    assert outside(edge, centre, band) == (abs(edge - centre) * RATE_ONE > centre * band)


@given(st.integers(0, FEED_PRICE_MAX), PRICES)
def test_a_share_is_rounded_up_and_at_most_all(part: int, whole: int) -> None:
    assert share_of(part, whole) == min(-(-part * RATE_ONE // whole), RATE_ONE)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_sooner_is_the_least_time_after_now(due: int, time: int, now: int) -> None:
    due = due if due > now else 0
    assert sooner(due, time, now) == min((t for t in (due, time) if t > now), default=0)
