"""How a source loses trust and regains it: after how many bad quotes, for how long, and by whose fault."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.oracle.source_rows import BAD_SHARE, QUARANTINED_UNTIL
from marginkeep.rulebook.oracle_feeds import DEFAULT_SCORE
from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX, ScoreRules
from marginkeep.units import RATE_ONE
from tests.oracle_room.feed_worlds import SECOND, STALE_AFTER, START, World, feed_rules, quotes_from

MINUTE = 60 * SECOND


def share(world: World, source: int) -> int:
    return int(world.feeds.rows[0, source, BAD_SHARE])


def until(world: World, source: int) -> int:
    return int(world.feeds.rows[0, source, QUARANTINED_UNTIL])


def bad_quotes_until_quarantine(memory: int, above: int) -> int:
    """Return after how many bad quotes in a row 1 - (1 - 1 / memory)^n is above the threshold."""
    kept, count = Fraction(1), 0
    while 1 - kept <= Fraction(above, RATE_ONE):
        kept *= 1 - Fraction(1, memory)
        count += 1
    return count


# Into quarantine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["outlier", "late", "bad_price", "from_the_future"])
@given(memory=st.integers(1, 80), percent=st.integers(5, 95))
@settings(max_examples=20, deadline=None)
def test_a_source_goes_into_quarantine_after_as_many_bad_quotes_as_its_memory_implies(
    kind: str, memory: int, percent: int
) -> None:
    above = percent * RATE_ONE // 100
    score = replace(DEFAULT_SCORE, memory=memory, quarantine_above=above, return_below=above // 2)
    world = World(feed_rules(3, score=score))
    world.say(0, 100_00, 100_00, 100_00)
    expected = bad_quotes_until_quarantine(memory, above)
    for number in range(1, expected + 1):
        assert until(world, 2) == 0
        at = 10 * SECOND + number * SECOND // 10
        world.say(at, 100_00, 100_00 + number % 2)
        if kind == "outlier":
            world.quote(2, 300_00, at=at)
        elif kind == "late":
            world.quote(2, 100_00, at=at, source_ns=at - score.late_after_ns - 1)
        elif kind == "bad_price":
            assert world.quote(2, 0, at=at) == "bad_price"
        else:
            assert world.quote(2, 100_00, at=at, source_ns=at + 3 * SECOND) == "from_the_future"
    assert world.uses == ["used", "used", "in quarantine"]
    assert world.intake is not None
    assert (world.intake.quarantined, world.intake.returned) == ([(0, 2)], [])
    assert until(world, 2) == world.now_ns + score.quarantine_ns


def test_with_the_defaults_it_takes_thirty_five_bad_quotes_in_a_row() -> None:
    assert bad_quotes_until_quarantine(DEFAULT_SCORE.memory, DEFAULT_SCORE.quarantine_above) == 35


def test_a_quote_exactly_as_late_as_allowed_is_good_and_one_nanosecond_more_is_bad() -> None:
    world = World(feed_rules(3))
    world.say(10 * SECOND, 100_00, 100_00, None)
    world.quote(2, 100_00, at=10 * SECOND, source_ns=5 * SECOND)
    assert share(world, 2) == 0
    world.quote(2, 100_00, at=20 * SECOND, source_ns=15 * SECOND - 1)
    assert share(world, 2) == RATE_ONE // DEFAULT_SCORE.memory


def test_a_quote_at_the_edge_of_the_band_is_good_and_one_tick_more_is_bad() -> None:
    world = World(feed_rules(3))
    world.say(0, 100_00, 100_00, 102_00)
    assert share(world, 2) == 0
    world.say(SECOND, 100_00, 100_00, 102_01)
    assert share(world, 2) > 0


def test_duplicates_and_quotes_out_of_order_count_neither_way() -> None:
    world = World(feed_rules(3))
    world.say(10 * SECOND, 100_00, 100_00, 300_00)
    before = share(world, 2)
    assert world.quote(2, 300_00, at=11 * SECOND, source_ns=10 * SECOND) == "duplicate"
    assert world.quote(2, 300_00, at=12 * SECOND, source_ns=SECOND) == "out_of_order"
    assert share(world, 2) == before > 0


def test_a_good_quote_brings_the_share_down_to_nothing_in_the_end() -> None:
    world = World(feed_rules(3))
    world.say(0, 100_00, 100_00, 300_00)
    last = share(world, 2)
    for second in range(1, 2_000):
        world.quote(2, 100_00, at=second * SECOND // 100)
        assert share(world, 2) < last or last == 0
        last = share(world, 2)
    assert last == 0


# Meanwhile, and back ---------------------------------------------------------------------------------------------


def quarantined(score: ScoreRules = DEFAULT_SCORE) -> tuple[World, int]:
    """Return a world whose third source has just gone into quarantine, and the second of that."""
    world = World(feed_rules(3, score=score))
    world.say(0, 100_00, 100_00, 100_00)
    for second in range(1, 36):
        world.say(second * SECOND, 100_00, 100_00, 300_00)
    assert world.uses[2] == "in quarantine"
    return world, 35


def test_a_source_in_quarantine_counts_for_nothing() -> None:
    world, second = quarantined()
    world.say((second + 1) * SECOND, 100_00, None, 101_00)
    assert world.index == 100_00
    for later in range(second + 2, second + STALE_AFTER // SECOND + 5):
        world.say(later * SECOND, 100_00, None, 101_00)
    assert (world.index, world.uses) == (100_00, ["used", "stale", "in quarantine"])
    assert world.qualities == {"too_few_sources"}


def test_it_stays_at_least_as_long_as_stated_however_well_it_quotes_and_returns_at_that_very_time() -> None:
    world, second = quarantined()
    world.say((second + 1) * SECOND, 100_00, 100_00, 100_00)
    left = until(world, 2)
    assert left == world.now_ns - SECOND + DEFAULT_SCORE.quarantine_ns
    for later in range(second + 2, second + DEFAULT_SCORE.quarantine_ns // SECOND):
        world.say(later * SECOND, 100_00, 100_00, 100_00)
        assert world.uses[2] == "in quarantine"
    assert share(world, 2) < DEFAULT_SCORE.return_below
    assert until(world, 2) == left
    start = world.now_ns - later * SECOND
    assert world.wait(left - start - 1).returned == []
    assert world.uses[2] == "in quarantine"
    intake = world.wait(left - start)
    assert (intake.quarantined, intake.returned) == ([], [(0, 2)])
    assert world.uses[2] == "used"


def test_it_does_not_return_while_it_says_nothing() -> None:
    world, second = quarantined()
    for later in range(second + 1, second + 1_000):
        world.say(later * SECOND, 100_00, 100_00)
    assert world.uses[2] == "in quarantine"


def test_it_returns_with_the_quote_that_brings_its_share_below_the_bound() -> None:
    world, second = quarantined()
    now = second * SECOND + DEFAULT_SCORE.quarantine_ns + MINUTE
    for _ in range(200):
        now += SECOND
        world.say(now, 100_00, 100_00, 100_00)
        assert world.intake is not None
        if share(world, 2) < DEFAULT_SCORE.return_below:
            break
        assert (world.uses[2], world.intake.returned) == ("in quarantine", [])
    assert (world.uses[2], world.intake.returned) == ("used", [(0, 2)])
    world.say(now + SECOND, 100_00, 100_00, 100_00)
    assert world.intake.returned == []


def test_bad_quotes_during_quarantine_make_it_longer() -> None:
    world, second = quarantined()
    world.say((second + 60) * SECOND, 100_00, 100_00, 300_00)
    assert until(world, 2) == world.now_ns + DEFAULT_SCORE.quarantine_ns


def test_when_half_of_several_sources_are_late_it_is_the_way_that_is_slow_and_nobody_is_blamed() -> None:
    for count, late in ((3, 2), (4, 2), (3, 3)):
        world = World(feed_rules(count))
        for second in range(10, 60):
            lags = [6 if i < late else 0 for i in range(count)]
            world.take(
                [(0, i, 100_00, 0, START + (second - lags[i]) * SECOND, START + second * SECOND) for i in range(count)]
            )
        assert world.uses == ["used"] * count
        assert world.qualities == {"valid"}


def test_one_late_source_among_three_is_blamed() -> None:
    world = World(feed_rules(3))
    for second in range(10, 60):
        lags = [6, 0, 0]
        world.take([(0, i, 100_00, 0, START + (second - lags[i]) * SECOND, START + second * SECOND) for i in range(3)])
    assert world.uses == ["in quarantine", "used", "used"]


@pytest.mark.parametrize("count", [1])
def test_a_feed_whose_sources_are_all_in_quarantine_comes_back_when_they_quote_well(count: int) -> None:
    world = World(feed_rules(count))
    for second in range(10, 50):
        late = [(0, i, 100_00, 0, START + (second - 6) * SECOND, START + second * SECOND) for i in range(count)]
        world.take(late)
    assert world.uses == ["in quarantine"] * count
    assert "too_few_sources" in world.qualities
    for second in range(50, 700):
        world.say(second * SECOND, *[100_00 + second % 3] * count)
    assert (world.uses, world.qualities) == (["used"] * count, {"valid"})


# By whose fault --------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    liar=st.integers(0, 3),
    lie=st.sampled_from(["far", "edge", "late", "nonsense", "swings"]),
)
def test_good_sources_are_never_quarantined_by_the_faults_of_another(seed: int, liar: int, lie: str) -> None:
    chance = random.Random(seed)
    world = World(feed_rules(4))
    price = 50_000_00
    for second in range(10, 130):
        price += price * chance.randint(-30, 30) // 10_000
        for source in range(4):
            at = second * SECOND + source * SECOND // 4
            honest = price + price * chance.randint(-20, 20) // 10_000
            if source != liar:
                world.quote(source, honest, at=at)
            elif lie == "late":
                world.quote(source, honest, at=at, source_ns=at - 9 * SECOND)
            else:
                lies = {
                    "far": honest * 3,
                    "edge": honest * 102 // 100,
                    "nonsense": chance.choice([0, -1, FEED_PRICE_MAX + 1]),
                    "swings": honest * chance.choice([90, 110]) // 100,
                }
                world.quote(source, lies[lie], at=at)
    for source in range(4):
        if source != liar:
            assert (until(world, source), share(world, source)) == (0, 0)
    if lie != "edge":
        assert until(world, liar) > 0


def test_of_two_that_disagree_neither_is_blamed() -> None:
    world = World(feed_rules(2))
    world.say(0, 100_00, 100_00)
    for second in range(1, 200):
        world.say(second * SECOND, 90_00, 100_00 + second % 2)
        assert "divergent" in world.qualities
    assert [share(world, 0), share(world, 1)] == [0, 0]


def test_who_first_shows_a_true_jump_is_blamed_for_one_quote_at_most() -> None:
    world = World(feed_rules(3))
    price = 100_00
    for second in range(300):
        price = 100_00 if second // 10 % 2 else 110_00
        for source in range(3):
            world.quote(source, price, at=second * SECOND + source)
    assert until(world, 0) == until(world, 1) == until(world, 2) == 0
    assert 0 < share(world, 0) < RATE_ONE // 5
    assert share(world, 1) == share(world, 2) == 0


def test_a_quarantine_is_the_same_whether_kernels_or_plain_functions_find_it() -> None:
    notes = []
    for kernel_from in (1, 10**9):
        world = World(feed_rules(3))
        with quotes_from(kernel_from):
            for second in range(40):
                world.say(second * SECOND, 100_00, 100_00, 300_00)
                assert world.intake is not None
                notes.append((kernel_from == 1, second, world.intake.quarantined))
    half = len(notes) // 2
    assert [note[1:] for note in notes[:half]] == [note[1:] for note in notes[half:]]
    assert [second for _, second, found in notes[:half] if found] == [34]
