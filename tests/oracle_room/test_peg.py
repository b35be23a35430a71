"""The peg watch: stages by depth and duration, returns by calm, both sides of the peg."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.peg import PEGGED, PegWatch
from marginkeep.rulebook.oracle_rules import PegRules, PegStage
from marginkeep.units import RATE_ONE

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
TARGET = 1_000_000
START = 1_678_000_000 * SECOND

STRAINED = PegStage("strained", 5_000_000, HOUR, (900_000_000, 950_000_000, RATE_ONE, 950_000_000), True)
DEPEGGED = PegStage("depegged", 20_000_000, 15 * MINUTE, (500_000_000, 700_000_000, 800_000_000, 700_000_000), False)
BROKEN = PegStage("broken", 100_000_000, 0, (0, 0, 500_000_000, 0), False)
RULES = PegRules("USDC", TARGET, 10_000_000, 6 * HOUR, (STRAINED, DEPEGGED, BROKEN))


class Sight(NamedTuple):
    """One observation, and the time since the one before."""

    offset: int
    dispersion: int
    passed: int


OFFSETS = st.sampled_from([0, 4_999, 5_000, 12_000, 19_999, 20_000, 50_000, 100_000, 150_000])
SIGHTS = st.lists(
    st.builds(
        Sight,
        OFFSETS,
        st.sampled_from([0, 9_999_999, 10_000_000]),
        st.sampled_from([0, 1, MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR]),
    ),
    min_size=1,
    max_size=40,
)
SIDES = st.sampled_from([1, -1])


def seen(*sights: tuple[int, int], rules: PegRules = RULES) -> PegWatch:
    """Return a watch that saw prices, each with its minute."""
    watch = PegWatch(rules)
    for price, minute in sights:
        watch.observe(price, 0, START + minute * MINUTE)
    return watch


def at(minute: int) -> int:
    return START + minute * MINUTE


def test_an_asset_without_a_price_is_pegged_and_says_so() -> None:
    watch = PegWatch(RULES)
    assert not watch.advance(START)
    assert (watch.stage, watch.until_ns, watch.opens, watch.stage_name) == (PEGGED, 0, True, "pegged")
    assert watch.why == "USDC is pegged: no price seen yet"


@pytest.mark.parametrize("price", [TARGET - 5_000, TARGET + 5_000])
def test_a_deviation_must_last_before_the_stage_is_entered(price: int) -> None:
    watch = seen((price, 0))
    assert watch.until_ns == at(60)
    assert not watch.advance(at(60) - 1)
    assert watch.advance(at(60))
    assert (watch.stage_name, watch.until_ns) == ("strained", 0)


@pytest.mark.parametrize("price", [TARGET - 4_999, TARGET + 4_999])
def test_a_deviation_just_short_of_the_first_stage_never_enters_it(price: int) -> None:
    watch = seen((price, 0))
    assert watch.until_ns == 0
    assert not watch.advance(at(100_000))


@pytest.mark.parametrize("price", [TARGET - 100_000, TARGET + 100_000])
def test_a_stage_without_duration_is_entered_at_once(price: int) -> None:
    watch = PegWatch(RULES)
    assert watch.observe(price, 0, START)
    assert watch.stage_name == "broken"


def test_an_interruption_starts_the_duration_anew() -> None:
    watch = seen((TARGET - 6_000, 0), (TARGET - 1_000, 59), (TARGET - 6_000, 60))
    assert watch.until_ns == at(120)
    assert not watch.advance(at(119))
    assert watch.advance(at(120))


def test_a_duration_that_ended_before_the_next_price_came_has_counted() -> None:
    watch = seen((TARGET - 6_000, 0))
    assert watch.observe(TARGET, 0, at(60))
    assert (watch.stage_name, watch.until_ns) == ("strained", at(60 + 360))


def test_a_deeper_deviation_counts_for_the_milder_stage() -> None:
    watch = seen((TARGET - 6_000, 0), (TARGET - 30_000, 50), (TARGET - 6_000, 58))
    assert watch.stage == PEGGED
    assert watch.advance(at(60))
    assert watch.stage_name == "strained"


def test_a_fall_through_several_stages_starts_the_duration_of_each() -> None:
    watch = seen((TARGET, 0), (TARGET - 30_000, 100), (TARGET - 6_000, 105))
    assert (watch.stage, watch.until_ns) == (PEGGED, at(160))


def test_a_deeper_stage_may_be_entered_before_a_milder_one() -> None:
    watch = seen((TARGET - 30_000, 0))
    assert watch.advance(at(15))
    assert watch.stage_name == "depegged"
    assert not watch.advance(at(60))


def test_the_asset_returns_to_the_stage_whose_condition_still_holds() -> None:
    watch = seen((TARGET - 150_000, 0), (TARGET - 6_000, 10))
    assert watch.until_ns == at(10 + 360)
    assert not watch.advance(at(369))
    assert watch.advance(at(370))
    assert watch.stage_name == "strained"
    watch.observe(TARGET, 0, at(400))
    assert not watch.advance(at(759))
    assert watch.advance(at(760))
    assert watch.stage == PEGGED


def test_an_asset_that_is_whole_again_returns_in_one_step() -> None:
    watch = seen((TARGET - 150_000, 0), (TARGET, 10))
    assert watch.advance(at(370))
    assert watch.stage == PEGGED


def test_a_relapse_starts_the_return_anew() -> None:
    watch = seen((TARGET - 150_000, 0), (TARGET, 10), (TARGET - 100_000, 300), (TARGET, 301))
    assert not watch.advance(at(660))
    assert watch.advance(at(661))


def test_sources_far_apart_count_as_the_first_stage_and_no_deeper() -> None:
    watch = PegWatch(RULES)
    watch.observe(TARGET, 9_999_999, START)
    assert watch.until_ns == 0
    watch.observe(TARGET, RATE_ONE, START)
    assert watch.advance(at(60))
    assert (
        watch.why
        == f"USDC is strained: price 1000000 is 0 below its target 1000000, its sources 1 apart since {START} ns"
    )
    assert not watch.advance(at(10_000))
    never = PegWatch(PegRules("USDC", TARGET, 0, HOUR, RULES.stages))
    never.observe(TARGET, RATE_ONE, START)
    assert never.until_ns == 0


def test_weight_and_opening_are_those_of_the_stage() -> None:
    watch = PegWatch(RULES)
    assert [watch.weight(level) for level in range(4)] == [RATE_ONE] * 4
    watch.observe(TARGET - 5_000, 0, START)
    watch.advance(at(60))
    assert ([watch.weight(level) for level in range(4)], watch.opens) == (list(STRAINED.weight), True)
    watch.observe(TARGET - 150_000, 0, at(60))
    assert ([watch.weight(level) for level in range(4)], watch.opens) == (list(BROKEN.weight), False)


def test_the_sentence_names_price_deviation_and_since_when() -> None:
    watch = seen((TARGET - 30_000, 0))
    assert watch.why == (
        "USDC is pegged: price 970000 is 0.03 below its target 1000000, "
        f"0.02 or more since {START} ns; it is depegged from {at(15)} ns on"
    )
    watch.advance(at(15))
    assert watch.why.endswith(f"0.02 or more since {START} ns")
    watch.observe(TARGET + 1_000, 0, at(20))
    assert watch.why == (
        "USDC is depegged: price 1001000 is 0.001 above its target 1000000, "
        f"less than 0.02 since {at(20)} ns; it returns at {at(380)} ns"
    )


def test_a_clock_that_goes_back_makes_nothing_last_longer() -> None:
    watch = seen((TARGET - 6_000, 60))
    assert not watch.advance(at(-100))
    watch.observe(TARGET - 30_000, 0, at(-100))
    assert watch.until_ns == at(60 + 15)
    watch.observe(TARGET, 0, at(0))
    assert watch.stage == PEGGED
    assert not watch.advance(at(10_000))


def replay(sights: list[Sight], side: int = 1, shift: int = 0) -> list[tuple[int, int]]:
    """Return time and stage after each observation and each wake-up before it."""
    watch, now, path = PegWatch(RULES), START, []
    for sight in sights:
        now += sight.passed
        while 0 < watch.until_ns <= now:
            due = watch.until_ns
            assert watch.advance(due)
            path.append((due, watch.stage))
        watch.observe(TARGET + side * (sight.offset + shift), sight.dispersion, now)
        path.append((now, watch.stage))
    return path


@given(SIGHTS)
def test_both_sides_of_the_peg_are_alike(sights: list[Sight]) -> None:
    assert replay(sights, side=1) == replay(sights, side=-1)


@given(SIGHTS, SIDES, st.sampled_from([1, 500, 8_000, 80_000]))
def test_further_from_the_peg_is_never_a_milder_stage(sights: list[Sight], side: int, shift: int) -> None:
    nearer, further = PegWatch(RULES), PegWatch(RULES)
    now = START
    for sight in sights:
        now += sight.passed
        nearer.observe(TARGET + side * sight.offset, sight.dispersion, now)
        further.observe(TARGET + side * (sight.offset + shift), sight.dispersion, now)
        assert further.stage >= nearer.stage


@given(SIGHTS, SIDES)
def test_no_return_comes_sooner_than_the_return_time_after_an_entry(sights: list[Sight], side: int) -> None:
    entered, last = None, PEGGED
    for now, stage in replay(sights, side):
        if stage > last:
            entered = now
        if stage < last:
            assert entered is not None
            assert now - entered >= RULES.return_after_ns
        last = stage


@given(SIGHTS, SIDES)
def test_waking_up_in_time_and_looking_late_agree(sights: list[Sight], side: int) -> None:
    late, now = PegWatch(RULES), START
    for sight in sights:
        now += sight.passed
        late.observe(TARGET + side * sight.offset, sight.dispersion, now)
    assert late.stage == replay(sights, side)[-1][1]


def lasted(sights: list[tuple[int, Sight]], now: int, index: int, is_beyond: bool) -> int:
    """Reckon, from the whole history, for how long a stage's deviation has been reached (or missed) until now; else -1.

    `sights` are with their times; only those until now count.
    """
    since = None
    for time, sight in sights:
        beyond = sight.offset * RATE_ONE >= RULES.stages[index].deviation * TARGET
        beyond = beyond or (index == 0 and sight.dispersion >= RULES.dispersion)
        if beyond != is_beyond:
            since = None
        elif since is None:
            since = time
    return -1 if since is None else now - since


@given(SIGHTS)
def test_the_stages_are_those_that_the_whole_history_gives(sights: list[Sight]) -> None:
    now, history, stage = START, [], PEGGED
    path = dict(replay(sights))
    for sight in sights:
        now += sight.passed
        times = [time for time in path if (history[-1][0] if history else START) < time < now]
        for time, added in [*((time, []) for time in (*times, now)), (now, [(now, sight)])]:
            history += added
            if not history:
                continue
            deepest = [i for i, rules in enumerate(RULES.stages) if lasted(history, time, i, True) >= rules.after_ns]
            stage = max([stage, *deepest])
            while stage > PEGGED and lasted(history, time, stage, False) >= RULES.return_after_ns:
                stage -= 1
            if time in times:
                assert path[time] == stage
    assert path[now] == stage


@given(SIGHTS, SIDES)
def test_time_alone_changes_the_stage_at_until_and_not_before(sights: list[Sight], side: int) -> None:
    watch, now = PegWatch(RULES), START
    for sight in sights:
        now += sight.passed
        watch.observe(TARGET + side * sight.offset, sight.dispersion, now)
    until = watch.until_ns
    if until == 0:
        assert not watch.advance(now + 10**6 * HOUR)
    else:
        assert until > now
        assert not watch.advance(until - 1)
        assert watch.advance(until)


@given(SIGHTS, SIDES, st.integers(0, 40))
def test_a_restored_watch_goes_on_as_if_never_stopped(sights: list[Sight], side: int, stop: int) -> None:
    going, now = PegWatch(RULES), START
    for sight in sights[:stop]:
        now += sight.passed
        going.observe(TARGET + side * sight.offset, sight.dispersion, now)
    resumed = PegWatch(RULES)
    resumed.restore(going.save())
    for sight in sights[stop:]:
        now += sight.passed
        seen_now = (TARGET + side * sight.offset, sight.dispersion, now)
        assert going.observe(*seen_now) == resumed.observe(*seen_now)
        assert (going.until_ns, going.why) == (resumed.until_ns, resumed.why)
    assert going.save() == resumed.save()
