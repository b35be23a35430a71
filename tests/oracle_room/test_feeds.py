"""Feeds as columns: compiled equals plain, time alone, snapshots, and a new rulebook that takes over."""

from __future__ import annotations

import copy
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.oracle.aggregation import DUE_NS, FLAGS, INDEX
from marginkeep.oracle.feeds import Feeds
from marginkeep.oracle.source_rows import BAD_SHARE, QUARANTINED_UNTIL, USE
from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX, FeedRules
from marginkeep.units import INT64_SAFE, RATE_ONE
from tests.oracle_room.feed_worlds import SECOND, STALE_AFTER, START, World, feed_rules, quotes_from

HASTY = replace(
    feed_rules(1).score, memory=4, quarantine_ns=30 * SECOND, return_below=RATE_ONE * 3 // 10, late_after_ns=SECOND
)
RULES = (
    feed_rules(
        5, weights=[3, 1, 2, 1, 4], aggregate="weighted_median", frozen_after_ns=5 * SECOND, score=HASTY, name="F0"
    ),
    feed_rules(4, ranks=[0, 0, 1, 2], aggregate="trimmed_mean", max_confidence=10**6, score=HASTY, name="F1"),
    feed_rules(
        6, groups=["a", "a", "b", "b", "b", "c"], aggregate="median_of_medians", frozen_after_ns=9 * SECOND, name="F2"
    ),
    feed_rules(1, score=HASTY, frozen_after_ns=3 * SECOND, name="F3"),
)
"""One feed of each kind, with scores so hasty that sources come and go."""
COUNTS = tuple(len(rules.sources) for rules in RULES)

NEAR = st.integers(98_00, 102_00)
PRICES = st.one_of(
    NEAR,
    NEAR,
    NEAR,
    st.sampled_from([100_00, 110_00, 110_01, 1, 0, -1, 1_00, 10_000_00, FEED_PRICE_MAX, FEED_PRICE_MAX + 1]),
    st.integers(-INT64_SAFE, INT64_SAFE),
)
CONFIDENCES = st.one_of(st.just(0), st.integers(0, 10), st.sampled_from([-1, 100_00, FEED_PRICE_MAX, INT64_SAFE]))
DELAYS = st.one_of(
    st.just(0),
    st.integers(-SECOND, 3 * SECOND),
    st.sampled_from([-2 * SECOND, -2 * SECOND - 1, STALE_AFTER, STALE_AFTER + 1, INT64_SAFE, -INT64_SAFE]),
)
"""How much earlier than its arrival a quote was made; negative = its source's clock is ahead."""
STEPS = st.one_of(st.integers(0, SECOND), st.sampled_from([0, -SECOND, 5 * SECOND, 31 * SECOND, 70 * SECOND]))


@st.composite
def drawn_quotes(draw: Any) -> tuple[int, int, int, int, int, int]:
    """Return feed, source, price, confidence, delay and step of the clock."""
    feed = draw(st.integers(0, len(RULES) - 1))
    source = draw(st.integers(0, COUNTS[feed] - 1))
    return feed, source, draw(PRICES), draw(CONFIDENCES), draw(DELAYS), draw(STEPS)


BATCHES = st.lists(st.lists(drawn_quotes(), max_size=12), min_size=1, max_size=8)
"""Batches of quotes; an empty one stands for time that passes."""


def batch_of(drawn: list[tuple[int, int, int, int, int, int]], now_ns: int) -> np.ndarray:
    rows = []
    for feed, source, price, confidence, delay, step in drawn:
        arrival = now_ns + step
        now_ns = max(now_ns, arrival)
        made = max(min(arrival - delay, INT64_SAFE), -INT64_SAFE)
        rows.append((feed, source, price, confidence, made, arrival))
    return np.array(rows, np.int64).reshape(-1, 6)


def run(feeds: Feeds, batches: list[list[Any]], now_ns: int = START) -> list[Any]:
    """Run batches; return everything that a caller sees after each, and the whole state."""
    seen = []
    for drawn in batches:
        intake = feeds.take(batch_of(drawn, now_ns), now_ns) if drawn else feeds.advance(now_ns + 7 * SECOND)
        now_ns = intake.now_ns
        sources = [feeds.seen(number, now_ns) for number in range(len(RULES))]
        seen.append([now_ns, intake.codes.tolist(), *intake[2:], feeds.due_ns, sources, feeds.save()])
    return seen


# Compiled and plain ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(BATCHES)
def test_compiled_kernels_equal_the_plain_functions_to_the_unit(batches: list[list[Any]]) -> None:
    with quotes_from(1):
        compiled = run(Feeds(RULES), batches)
    with quotes_from(10**9):
        plain = run(Feeds(RULES), batches)
    assert compiled == plain


@settings(deadline=None, max_examples=25)
@given(BATCHES, st.integers(1, 40))
def test_where_the_kernels_begin_changes_nothing(batches: list[list[Any]], kernel_from: int) -> None:
    with quotes_from(kernel_from):
        mixed = run(Feeds(RULES), batches)
    with quotes_from(10**9):
        assert run(Feeds(RULES), batches) == mixed


# A snapshot at any point -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(BATCHES, st.integers(0, 8))
def test_restoring_at_any_point_and_going_on_equals_never_having_stopped(batches: list[list[Any]], stop: int) -> None:
    never_stopped = Feeds(RULES)
    seen = run(never_stopped, batches)
    stop = min(stop, len(batches))
    first, second = Feeds(RULES), Feeds(RULES)
    before = run(first, batches[:stop])
    second.restore(copy.deepcopy(first.save()))
    assert second.due_ns == first.due_ns
    after = run(second, batches[stop:], before[-1][0] if before else START)
    assert before + after == seen


def test_a_snapshot_holds_integers_in_lists_only() -> None:
    feeds = Feeds(RULES)
    feeds.take(batch_of([(0, 0, 100_00, 0, 0, 0)], START), START)

    def check(saved: Any) -> None:
        assert type(saved) in (list, int)
        if isinstance(saved, list):
            for part in saved:
                check(part)

    check(feeds.save())


# What time alone changes -----------------------------------------------------------------------------------------


def judged(feeds: Feeds, number: int) -> list[int]:
    return [*feeds.feeds[number, [INDEX, FLAGS]].tolist(), *feeds.rows[number, :, USE].tolist()]


@settings(deadline=None)
@given(BATCHES, st.lists(st.integers(0, 10**11), min_size=4, max_size=4))
def test_before_a_feed_is_due_computing_it_again_finds_the_same_index_flags_and_uses(
    batches: list[list[Any]], places: list[int]
) -> None:
    # Reserves aside: where halves of the first rank disagree, the index that a reserve helped to make is a new past.
    equal = tuple(replace(r, sources=tuple(replace(s, rank=0) for s in r.sources)) for r in RULES)
    feeds, now_ns = Feeds(equal), START
    feeds.carry_over(Feeds(equal))
    for drawn in [[], *batches]:
        now_ns = (feeds.take(batch_of(drawn, now_ns), now_ns) if drawn else feeds.advance(now_ns + 7 * SECOND)).now_ns
        for number in range(len(RULES)):
            due = int(feeds.feeds[number, DUE_NS])
            assert due == 0 or due > now_ns
            again = Feeds(equal)
            again.restore(feeds.save())
            for place in [0, *places, None]:
                later = now_ns + place if place is not None else due - 1
                if now_ns <= later < (due or 2**62):
                    again._compute_plainly(number, later)
                    assert judged(again, number) == judged(feeds, number)


@given(BATCHES)
def test_what_is_due_is_found_when_time_comes_and_not_before(batches: list[list[Any]]) -> None:
    feeds = Feeds(RULES)
    seen = run(feeds, batches)
    now_ns = seen[-1][0]
    for _ in range(10):
        due = {number: int(feeds.feeds[number, DUE_NS]) for number in range(len(RULES))}
        soonest = min((time for time in due.values() if time), default=0)
        assert feeds.due_ns == soonest
        if not soonest:
            return
        saved = feeds.save()
        assert soonest > now_ns
        assert feeds.advance(soonest - 1).feeds == []
        assert feeds.save() == saved
        assert feeds.advance(soonest).feeds == [number for number, time in due.items() if time == soonest]
        now_ns = soonest


def test_a_batch_for_one_feed_also_computes_another_that_is_overdue() -> None:
    world = World(feed_rules(2), feed_rules(2))
    world.say(0, 100_00, 100_00)
    world.take([(1, 0, 100_00, 0, START + STALE_AFTER * 2, START + STALE_AFTER * 2)])
    assert world.intake is not None
    assert world.intake.feeds == [0, 1]
    assert world.uses == ["stale", "stale"]


def test_feeds_without_quotes_are_never_due() -> None:
    world = World(feed_rules(3))
    assert (world.feeds.due_ns, world.wait(10**9 * SECOND).feeds) == (0, [])


# Another rulebook ------------------------------------------------------------------------------------------------


def known() -> World:
    world = World(*two_feeds())
    world.take([(feed, i, 100_00 + i, 0, START, START) for feed in (0, 1) for i in range(3)])
    for second in range(1, 50):
        world.quote(2, 300_00, at=second * SECOND)
        world.say(second * SECOND, 100_00, 100_01)
    assert world.uses[2] == "in quarantine"
    return world


def two_feeds(**changes: Any) -> tuple[FeedRules, FeedRules]:
    return feed_rules(3, **changes), feed_rules(3, **{**changes, "name": "ETH"})


def test_the_same_rules_carry_everything_over() -> None:
    world = known()
    feeds = Feeds(two_feeds())
    feeds.carry_over(world.feeds)
    assert (feeds.rows == world.feeds.rows).all()
    assert feeds.due_ns == 1
    assert feeds.advance(world.now_ns).feeds == [0, 1]
    assert feeds.save() != Feeds(two_feeds()).save()
    assert [feeds.feeds[0, INDEX], feeds.feeds[1, INDEX]] == [world.index, 100_01]


def test_feeds_and_sources_are_carried_over_by_name_in_whatever_order_they_stand() -> None:
    world = known()
    btc, ether = two_feeds()
    new = replace(btc.sources[0], name="new")
    swapped = replace(btc, sources=(btc.sources[2], new, btc.sources[0]))
    feeds = Feeds((ether, swapped))
    feeds.carry_over(world.feeds)
    assert (feeds.rows[0] == world.feeds.rows[1]).all()
    assert (feeds.rows[1, 0] == world.feeds.rows[0, 2]).all()
    assert not feeds.rows[1, 1].any()
    assert (feeds.rows[1, 2] == world.feeds.rows[0, 0]).all()
    feeds.advance(world.now_ns)
    assert feeds.seen(1, world.now_ns)[0].use == "in quarantine"


def test_new_rules_judge_what_was_carried_over_as_soon_as_time_is_asked_for() -> None:
    world = known()
    feeds = Feeds(two_feeds(min_sources=3))
    feeds.carry_over(world.feeds)
    feeds.advance(world.now_ns)
    assert feeds.feeds[0, FLAGS] == 1 << 5
    assert feeds.feeds[0, DUE_NS] > world.now_ns


@pytest.mark.parametrize("change", [{"tick": Fraction(1, 10)}, {"base": "ETH"}])
def test_prices_in_other_units_are_not_carried_over(change: dict[str, Any]) -> None:
    feeds = Feeds((feed_rules(3, **change),))
    feeds.carry_over(known().feeds)
    assert not feeds.rows.any()
    assert (feeds.feeds[0, INDEX], feeds.due_ns) == (0, 0)


def test_what_a_source_did_to_its_score_is_carried_over() -> None:
    world = known()
    feeds = Feeds(two_feeds())
    feeds.carry_over(world.feeds)
    assert feeds.rows[0, 2, BAD_SHARE] == world.feeds.rows[0, 2, BAD_SHARE] > RATE_ONE // 2
    assert feeds.rows[0, 2, QUARANTINED_UNTIL] > world.now_ns
