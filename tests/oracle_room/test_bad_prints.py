"""A single bad print does not move the index; a true move does: runs with a fault beside the same runs without it.

A run's twin is the same run in which the bad print never arrived. After every quote the two must have one index.
"""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.oracle.source_rows import GOOD_PRICE, PRICE
from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX
from marginkeep.units import RATE_ONE
from tests.oracle_room.feed_worlds import SECOND, STALE_AFTER, World, feed_rules

AGGREGATES = ("weighted_median", "trimmed_mean", "median_of_medians")
CALM, CRASH, STORM = 2, 40, 150
"""Most basis points that the market moves a second: a crash falls 0.4 %, a storm 1.5 % each second."""
BAND = feed_rules(3).outlier_band


class Print(NamedTuple):
    """One quote of one source; `at` and `made` are ns after the start."""

    source: int
    price: int
    at: int
    made: int
    confidence: int = 0


def market(count: int, seconds: int, speed: int, seed: int) -> list[Print]:
    """Return the prints of `count` honest sources, one a second each, in turn; a fast market only falls."""
    chance = random.Random(seed)
    price, prints = 50_000_00, []
    for second in range(seconds):
        step = chance.randint(-speed, 0) if speed > CALM else chance.randint(-speed, speed)
        price += price * step // 10_000
        for source in range(count):
            at = second * SECOND + source * SECOND // count
            prints.append(Print(source, price + price * chance.randint(-3, 3) // 10_000, at, at))
    return prints


def spoiled(prints: list[Print], place: int, fault: str) -> list[Print]:
    """Return what arrives instead of the print at `place`."""
    good = prints[place]
    before = [one for one in prints[:place] if one.source == good.source][-1]
    changed = {
        "x0.01": good._replace(price=good.price // 100),
        "x100": good._replace(price=good.price * 100),
        "x1.05": good._replace(price=good.price * 105 // 100),
        "swapped": good._replace(price=3_012_34),
        "one tick": good._replace(price=1),
        "the largest": good._replace(price=FEED_PRICE_MAX),
        "zero": good._replace(price=0),
        "negative": good._replace(price=-good.price),
        "too large": good._replace(price=FEED_PRICE_MAX + 1),
        "confidence too large": good._replace(confidence=FEED_PRICE_MAX + 1),
        "from the future": good._replace(made=good.at + 3 * SECOND, price=good.price * 2),
        "old": good._replace(made=before.made - 1, price=good.price * 2),
        "old and true": before._replace(made=before.made - 1, at=good.at),
        "duplicated": before._replace(at=good.at),
        "frozen": good._replace(price=before.price),
    }
    return [changed[fault]]


FAULTS = (
    *("x0.01", "x100", "x1.05", "swapped", "one tick", "the largest", "zero", "negative", "too large"),
    *("confidence too large", "from the future", "old", "old and true", "duplicated", "frozen"),
)
SHOWS = FAULTS[:6]
"""Those in which a price arrives that is taken and far off."""


def send(world: World, one: Print) -> None:
    world.quote(one.source, one.price, at=one.at, confidence=one.confidence, source_ns=one.made)


def pairs(
    count: int, prints: list[Print], place: int, fault: str, **changes: object
) -> list[tuple[int, set[str], int, set[str]]]:
    """Run with the bad print and without it; return index and qualities of both after each quote from it on."""
    rules = feed_rules(count, **changes)
    bad, twin = World(rules), World(rules)
    for one in prints[:place]:
        send(bad, one)
        send(twin, one)
    found = []
    for one in [*spoiled(prints, place, fault), *prints[place + 1 :]]:
        send(bad, one)
        if found:
            send(twin, one)
        found.append((bad.index, bad.qualities, twin.index, twin.qualities))
    return found


# One bad print ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("speed", [CALM, CRASH])
@pytest.mark.parametrize("count", [3, 5])
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), place=st.integers(20, 40), aggregate=st.sampled_from(AGGREGATES))
def test_one_bad_print_changes_neither_index_nor_quality_tick_for_tick(
    count: int, speed: int, fault: str, seed: int, place: int, aggregate: str
) -> None:
    prints = market(count, 15, speed, seed)
    for index, qualities, without, quality_without in pairs(count, prints, place, fault, aggregate=aggregate):
        assert index == without > 0
        assert qualities == quality_without


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("speed", [CALM, CRASH])
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), place=st.integers(4, 20), aggregate=st.sampled_from(AGGREGATES))
def test_with_two_sources_the_past_decides_and_only_the_quality_tells(
    speed: int, fault: str, seed: int, place: int, aggregate: str
) -> None:
    prints = market(2, 15, speed, seed)
    found = pairs(2, prints, place, fault, aggregate=aggregate)
    for step, (index, qualities, without, quality_without) in enumerate(found):
        assert index == without > 0
        expected = quality_without
        if fault in SHOWS and step < 2:
            expected = quality_without - {"valid"} | {"divergent"}
        assert qualities == expected


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), place=st.integers(4, 12))
def test_one_source_alone_is_not_believed_a_jump_at_once(fault: str, seed: int, place: int) -> None:
    for index, _, without, _ in pairs(1, market(1, 15, CRASH, seed), place, fault):
        assert index == without > 0


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    place=st.integers(20, 40),
    count=st.sampled_from([3, 4, 5]),
    aggregate=st.sampled_from(AGGREGATES),
)
def test_in_a_storm_one_bad_print_leaves_the_index_within_what_honest_sources_say(
    fault: str, seed: int, place: int, count: int, aggregate: str
) -> None:
    prints = market(count, 15, STORM, seed)
    honest = World(feed_rules(count, aggregate=aggregate))
    for one in prints[:place]:
        send(honest, one)
    held = {i: int(honest.feeds.rows[0, i, PRICE]) for i in range(count)}
    allowed = [held[i] for i in held] + [int(honest.feeds.rows[0, prints[place].source, GOOD_PRICE])]
    found = pairs(count, prints, place, fault, aggregate=aggregate)
    assert min(allowed) <= found[0][0] <= max(allowed)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), place=st.integers(20, 40), confidence=st.integers(1, FEED_PRICE_MAX))
def test_a_huge_confidence_changes_the_quality_alone(seed: int, place: int, confidence: int) -> None:
    prints = market(3, 15, CALM, seed)
    worlds = [World(feed_rules(3)), World(feed_rules(3))]
    for number, one in enumerate(prints):
        send(worlds[0], one._replace(confidence=confidence) if number == place else one)
        send(worlds[1], one)
        assert worlds[0].index == worlds[1].index
        is_wide = confidence * 100 > prints[place].price and place <= number < place + 3
        assert worlds[0].qualities == (worlds[1].qualities - {"valid"} | {"uncertain"} if is_wide else {"valid"}) or (
            worlds[1].qualities != {"valid"}
        )


# Persistent faults -----------------------------------------------------------------------------------------------


def faulty(price: int, fault: str, stuck: int, second: int) -> int:
    return {
        "x0.01": price // 100,
        "x100": price * 100,
        "swapped": 3_012_34 + second,
        "zero": 0,
        "negative": -price,
        "frozen": stuck,
        "wandering": price * (101 + second * 7 % 50) // 100,
    }[fault]


@pytest.mark.parametrize("fault", ["x0.01", "x100", "swapped", "zero", "negative", "frozen", "wandering"])
@pytest.mark.parametrize("speed", [CALM, CRASH])
@pytest.mark.parametrize("count", [3, 5])
def test_one_source_that_stays_faulty_leaves_the_index_with_the_healthy_ones(
    count: int, speed: int, fault: str
) -> None:
    world = World(feed_rules(count))
    latest: dict[int, int] = {}
    for one in market(count, 120, speed, seed=count):
        second = one.at // SECOND
        if one.source == 1 and second >= 10:
            send(world, one._replace(price=faulty(one.price, fault, latest[1], second)))
        else:
            latest[one.source] = one.price
            send(world, one)
        healthy = [price for source, price in latest.items() if source != 1]
        if second >= 11:
            assert min(healthy) <= world.index <= max(healthy)
            assert "too_few_sources" not in world.qualities


@pytest.mark.parametrize("fault", ["x0.01", "x100", "swapped", "zero", "negative"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_while_the_last_good_price_is_fresh_a_faulty_source_counts_as_silent(count: int, fault: str) -> None:
    bad, silent = World(feed_rules(count)), World(feed_rules(count))
    for one in market(count, 40, CALM, seed=7):
        second = one.at // SECOND
        if one.source == 1 and second >= 10:
            send(bad, one._replace(price=faulty(one.price, fault, 0, second)))
        else:
            send(bad, one)
            send(silent, one)
        assert bad.index == silent.index


@pytest.mark.parametrize("fault", ["x0.01", "x100", "swapped", "zero", "negative", "frozen"])
@pytest.mark.parametrize("speed", [CALM, CRASH])
def test_with_two_sources_a_fault_that_stays_leaves_the_index_within_half_a_band_of_the_healthy_one(
    speed: int, fault: str
) -> None:
    world = World(feed_rules(2, max_dispersion=RATE_ONE))
    latest: dict[int, int] = {}
    for one in market(2, 20, CALM, seed=3) + [one._replace(at=one.at + 20 * SECOND, made=one.made + 20 * SECOND)
                                             for one in market(2, 100, speed, seed=4)]:  # fmt: skip
        second = one.at // SECOND
        if one.source == 1 and second >= 10:
            send(world, one._replace(price=faulty(one.price, fault, latest[1], second)))
        else:
            latest[one.source] = one.price
            send(world, one)
        if second >= 10 and "divergent" not in world.qualities:
            assert abs(world.index - latest[0]) * RATE_ONE <= latest[0] * BAND


def test_with_two_sources_a_frozen_one_near_the_past_holds_the_index_and_the_feed_is_divergent_until_it_is_old() -> (
    None
):
    world = World(feed_rules(2))
    world.say(0, 100_00, 100_00)
    for second in range(1, STALE_AFTER // SECOND + 1):
        world.quote(0, 90_00, at=second * SECOND)
        world.quote(1, 100_00, at=second * SECOND)
        assert (world.index, "divergent" in world.qualities) == (100_00, True)


def test_after_a_fault_and_its_quarantine_the_source_counts_as_if_nothing_had_been() -> None:
    bad, healthy = World(feed_rules(3)), World(feed_rules(3))
    seconds = 900
    for one in market(3, seconds, CALM, seed=5):
        second = one.at // SECOND
        send(bad, one._replace(price=one.price * 100) if one.source == 1 and 10 <= second < 100 else one)
        send(healthy, one)
        assert bad.qualities == {"valid"} or one.at < SECOND
    assert bad.uses == healthy.uses == ["used"] * 3
    assert bad.index == healthy.index


# Sources that fall silent ----------------------------------------------------------------------------------------


def test_two_of_three_down_all_down_and_recovery() -> None:
    world = World(feed_rules(3))
    prints = market(3, 400, CALM, seed=11)
    for one in prints:
        second = one.at // SECOND
        silent = {0: range(100, 300), 1: range(100, 300), 2: range(200, 300)}[one.source]
        if second in silent:
            world.wait(one.at)
        else:
            send(world, one)
        if second in (99, 150, 302):
            assert world.qualities == {"valid"}
        if second == 165:
            assert (world.uses, world.qualities) == (["stale", "stale", "used"], {"too_few_sources"})
            assert abs(world.index - one.price) * 100 < one.price
        if second == 230:
            assert world.qualities == {"stale", "too_few_sources"}
        if second == 299:
            assert (world.uses, world.qualities) == (["stale"] * 3, {"stale", "too_few_sources"})
            held = world.index
        if one.at == 300 * SECOND:
            assert world.qualities == {"too_few_sources"}
            assert held > 0
        if second == 301:
            assert world.qualities == {"valid"}
            assert abs(world.index - one.price) * 1_000 < one.price


def test_after_an_outage_in_which_the_market_moved_one_source_needs_a_second_print_and_two_do_not() -> None:
    for returning, expected in (((90_00, None, None), 100_00), ((90_00, 90_02, None), 90_01)):
        world = World(feed_rules(3))
        world.say(0, 100_00, 100_00, 100_00)
        world.wait(600 * SECOND)
        world.say(601 * SECOND, *returning)
        assert world.index == expected
    world = World(feed_rules(3))
    world.say(0, 100_00, 100_00, 100_00)
    world.quote(0, 90_00, at=601 * SECOND)
    world.quote(0, 90_01, at=602 * SECOND)
    assert (world.index, world.qualities) == (90_01, {"too_few_sources"})


# True moves ------------------------------------------------------------------------------------------------------


@given(
    weights=st.lists(st.integers(1, 5), min_size=3, max_size=5),
    move=st.sampled_from([90, 110, 50, 200]),
    aggregate=st.sampled_from(AGGREGATES),
    chance=st.randoms(),
    noise=st.lists(st.integers(-20, 20), min_size=5, max_size=5),
)
def test_the_index_follows_a_true_move_as_soon_as_most_of_the_weight_shows_it(
    weights: list[int], move: int, aggregate: str, chance: random.Random, noise: list[int]
) -> None:
    count = len(weights)
    world = World(feed_rules(count, weights=weights, aggregate=aggregate))
    world.say(0, *[100_00 + noise[i] for i in range(count)])
    before = world.index
    order = list(range(count))
    chance.shuffle(order)
    moved: list[int] = []
    passed = 0
    for step, source in enumerate(order):
        price = move * 100 + noise[source]
        moved.append(price)
        passed += weights[source]
        world.quote(source, price, at=SECOND + step * SECOND // count)
        if 2 * passed > sum(weights) and len(moved) > 1:
            assert min(moved) <= world.index <= max(moved)
        else:
            assert world.index == before
    assert world.qualities == {"valid"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_three_sources_are_followed_at_the_second_print_in_any_order(order: tuple[int, ...], aggregate: str) -> None:
    world = World(feed_rules(3, aggregate=aggregate))
    world.say(0, 100_00, 100_01, 100_02)
    indices = []
    for step, source in enumerate(order):
        world.quote(source, 90_00 + source, at=SECOND + step)
        indices.append(world.index)
    assert indices[0] == 100_01
    assert 90_00 <= indices[1] <= 90_02
    assert indices[2] == 90_01


@pytest.mark.parametrize("one_batch", [True, False])
def test_a_move_in_one_batch_is_followed_like_one_in_several(one_batch: bool) -> None:
    world = World(feed_rules(5))
    world.say(0, 100_00, 100_00, 100_00, 100_00, 100_00)
    if one_batch:
        world.say(SECOND, 90_00, 90_01, 90_02, 90_03, 90_04)
    else:
        for source in (4, 2, 0, 1, 3):
            world.quote(source, 90_00 + source, at=SECOND)
    assert (world.index, world.qualities) == (90_02, {"valid"})


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(AGGREGATES))
def test_a_crash_is_never_more_than_one_round_of_quotes_behind(seed: int, aggregate: str) -> None:
    world = World(feed_rules(3, aggregate=aggregate))
    latest: dict[int, int] = {}
    for one in market(3, 40, STORM, seed):
        send(world, one)
        latest[one.source] = one.price
        if len(latest) == 3:
            assert min(latest.values()) <= world.index <= max(latest.values())
