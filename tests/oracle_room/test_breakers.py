"""Circuit breakers: what closes a market, how it re-opens, and that nothing but prices and times decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InputError
from marginkeep.oracle.breakers import Breaker, venue_state
from marginkeep.rulebook.oracle_rules import GUARDED, MARKET_HALTED, OPEN, REDUCE_ONLY, VenueBreaker

from .breaker_paths import (
    GAPS,
    MIDDLE,
    MINUTE,
    OPEN_AGAIN,
    PATHS,
    PRICES,
    QUICK,
    RULES,
    SECOND,
    SLOW,
    bucket,
    opened,
    reference,
    steady,
    timed,
    violated,
    walked,
)


@given(PATHS)
def test_every_breach_that_the_whole_past_shows_is_noticed_and_no_other(path):
    breaker, seen = Breaker(RULES), []
    for now_ns, price in timed(path):
        breaker.advance(now_ns)
        before, expected = breaker.state, violated(seen, price, now_ns) if seen else []
        breach = breaker.would_breach(price, now_ns)
        assert (breach is None) is (not expected)
        breaker.observe(price, now_ns)
        assert breaker.state == max([before, *(one.state for one in expected)])
        if expected:
            worst = max(expected, key=lambda one: one.state)
            assert (breach.horizon_ns, breach.state) == (worst.horizon_ns, worst.state)
            assert breach.reference == reference(worst, seen, now_ns)
            assert breaker.until_ns > now_ns
        seen.append((now_ns, price))


@given(st.lists(st.tuples(GAPS, st.integers(9_760, 10_240)), min_size=1, max_size=60))
def test_a_calm_path_never_leaves_open(path):
    breaker = Breaker(RULES)
    for now_ns, price in timed(path):
        assert breaker.observe(price, now_ns) is False
        assert (breaker.state, breaker.until_ns, breaker.why, breaker.breach) == (OPEN, 0, "", None)


def test_a_drift_slower_than_every_bound_does_not_trip():
    breaker = Breaker(RULES)
    price = 1_000_000
    for second in range(0, 20_000, 10):
        breaker.observe(price, second * SECOND)
        assert breaker.state == OPEN
        price += price // 2_200  # 16 to 18 % an hour
    assert price > 2_000_000


def test_a_drift_faster_than_one_bound_trips_that_one_alone():
    breaker, price = Breaker(RULES), 1_000_000
    for second in range(0, 3_000, 10):
        breaker.observe(price, second * SECOND)
        if breaker.state:
            break
        price += price // 500  # 1.2 % a minute, 12.7 % in ten
    assert breaker.state == GUARDED
    assert breaker.breach.horizon_ns == MIDDLE.horizon_ns
    assert 400 < second < 600


@given(PATHS)
def test_a_state_never_falls_before_its_duration(path):
    breaker, least = Breaker(RULES), [0, 0, 0, 0]
    seen: list[tuple[int, int]] = []
    for now_ns, price in timed(path):
        for one in violated(seen, price, now_ns) if seen else []:
            least[one.state] = max(least[one.state], now_ns + one.duration_ns)
        breaker.observe(price, now_ns)
        seen.append((now_ns, price))
        for state in (REDUCE_ONLY, GUARDED, MARKET_HALTED):
            assert breaker.state >= state or least[state] <= now_ns
    for ends_ns, state in sorted((least[state], state) for state in (REDUCE_ONLY, GUARDED, MARKET_HALTED)):
        if ends_ns > seen[-1][0]:
            breaker.advance(ends_ns - 1)
            assert breaker.state >= state


@given(PATHS)
def test_time_alone_steps_down_one_state_at_a_time_and_ends_at_open(path):
    breaker = walked(path)
    for _ in range(400):
        if breaker.state == OPEN:
            break
        before, due_ns = breaker.state, breaker.until_ns
        assert breaker.advance(due_ns - 1) is False
        changed = breaker.advance(due_ns)
        assert changed is (breaker.state != before)
        assert breaker.state >= before - 1
        assert breaker.state == OPEN or breaker.until_ns > due_ns
    assert breaker.state == OPEN


@given(PATHS, PRICES, st.booleans())
def test_from_any_state_a_constant_price_re_opens_in_bounded_time(path, price, quotes_go_on):
    breaker = walked(path)
    start_ns = timed(path)[-1][0]
    breaker.observe(price, start_ns)
    if quotes_go_on:
        steady(breaker, price, start_ns, start_ns + OPEN_AGAIN, 10 * SECOND)
    breaker.advance(start_ns + OPEN_AGAIN)
    assert breaker.state == OPEN


@given(PATHS, st.integers(1, 100), GAPS)
def test_how_often_time_is_passed_changes_nothing(path, often, rest):
    seldom, frequent = Breaker(RULES), Breaker(RULES)
    last_ns = timed(path)[0][0]
    for now_ns, price in timed(path):
        for part in range(often):
            frequent.advance(last_ns + (now_ns - last_ns) * part // often)
        seldom.observe(price, now_ns)
        frequent.observe(price, now_ns)
        last_ns = now_ns
    for part in range(often):
        frequent.advance(last_ns + rest * part // often)
    seldom.advance(last_ns + rest)
    frequent.advance(last_ns + rest)
    assert seldom.save() == frequent.save()
    assert (seldom.state, seldom.until_ns, seldom.why) == (frequent.state, frequent.until_ns, frequent.why)


@given(PATHS, st.integers(0, 60), st.integers(OPEN, MARKET_HALTED))
def test_a_restored_breaker_goes_on_as_if_never_stopped(path, cut, held):
    breaker, other = Breaker(RULES), Breaker(RULES)
    for number, (now_ns, price) in enumerate(timed(path)):
        if number == cut and held:
            breaker.hold(held, now_ns)
        if number >= cut:
            other = Breaker(RULES)
            other.restore(breaker.save())
            assert other.observe(price, now_ns) == breaker.observe(price, now_ns)
            assert other.save() == breaker.save()
            assert (other.state, other.why) == (breaker.state, breaker.why)
        else:
            breaker.observe(price, now_ns)


def test_an_unused_breaker_can_be_saved_and_restored():
    breaker, other = Breaker(RULES), Breaker(RULES)
    other.restore(breaker.save())
    assert other.observe(10_000, SECOND) is False
    assert other.would_breach(10_501, SECOND).horizon_ns == QUICK.horizon_ns
    assert Breaker(RULES).would_breach(10_501, SECOND) is None


def test_a_jump_beyond_every_bound_halts_and_re_opens_by_degrees_when_undone():
    breaker, now_ns = opened(), 7_200 * SECOND
    assert breaker.observe(7_999, now_ns)
    assert (breaker.state, breaker.until_ns) == (MARKET_HALTED, now_ns + SLOW.duration_ns)
    breaker.observe(10_000, now_ns + SECOND)
    seen = {}
    for second in range(2, 700):
        if breaker.observe(10_000, now_ns + second * SECOND):
            seen[second] = breaker.state
    assert seen == {300: GUARDED, 420: REDUCE_ONLY, 480: OPEN}


def test_the_bounds_themselves_are_allowed():
    for price, state in ((9_500, OPEN), (10_500, OPEN), (9_499, REDUCE_ONLY), (10_501, REDUCE_ONLY)):
        breaker = opened()
        breaker.observe(price, 7_200 * SECOND)
        assert breaker.state == state


def test_a_further_breach_starts_the_duration_anew_and_a_worse_one_escalates():
    breaker = opened()
    breaker.observe(9_400, 7_200 * SECOND)
    breaker.observe(9_400, 7_230 * SECOND)
    assert (breaker.state, breaker.until_ns) == (REDUCE_ONLY, 7_290 * SECOND)
    breaker.observe(8_900, 7_240 * SECOND)
    assert (breaker.state, breaker.until_ns) == (GUARDED, 7_360 * SECOND)
    assert breaker.breach.horizon_ns == MIDDLE.horizon_ns


def test_a_milder_breach_keeps_the_worse_state_and_its_reason():
    breaker = opened()
    breaker.observe(8_900, 7_200 * SECOND)
    reason = breaker.breach
    breaker.observe(9_400, 7_210 * SECOND)
    assert (breaker.state, breaker.until_ns, breaker.breach) == (GUARDED, 7_320 * SECOND, reason)


def test_a_price_that_still_violates_when_the_duration_is_over_prolongs_it_without_a_new_quote():
    breaker = opened()
    breaker.observe(8_900, 7_200 * SECOND)
    assert breaker.advance(7_320 * SECOND) is False
    assert (breaker.state, breaker.until_ns) == (GUARDED, 7_440 * SECOND)
    assert breaker.breach.at_ns == 7_320 * SECOND


def test_a_prolongation_lasts_no_less_than_a_bucket():
    brief = replace(MIDDLE, duration_ns=1)
    breaker = Breaker(replace(RULES, triggers=(brief,)))
    steady(breaker, 10_000, 0, 1_000 * SECOND)
    breaker.observe(8_900, 1_000 * SECOND)
    assert breaker.until_ns == 1_000 * SECOND + 1
    breaker.advance(1_000 * SECOND + 1)
    assert breaker.until_ns == 1_000 * SECOND + 1 + bucket(brief)


def test_a_shorter_duration_never_shortens_a_longer_one():
    alike = replace(SLOW, state=REDUCE_ONLY)
    breaker = Breaker(replace(RULES, triggers=(QUICK, alike)))
    steady(breaker, 10_000, 0, 100 * SECOND)
    breaker.observe(7_900, 100 * SECOND)
    assert breaker.until_ns == 400 * SECOND
    breaker.observe(9_400, 101 * SECOND)
    assert breaker.until_ns == 400 * SECOND


def test_a_new_level_that_lasts_becomes_the_reference_and_the_market_re_opens_there():
    breaker = opened()
    breaker.observe(7_000, 7_200 * SECOND)
    steady(breaker, 7_000, 7_201 * SECOND, 10_900 * SECOND)
    assert breaker.state == MARKET_HALTED
    steady(breaker, 7_000, 10_900 * SECOND, 11_600 * SECOND)
    assert breaker.state == OPEN
    breaker.observe(8_500, 11_600 * SECOND)
    assert breaker.breach.reference == 7_000


def test_the_operator_s_hold_is_a_floor_under_the_automatic_state():
    breaker = opened()
    assert breaker.hold(GUARDED, 7_200 * SECOND)
    assert (breaker.state, breaker.automatic, breaker.until_ns) == (GUARDED, OPEN, 0)
    assert "held at guarded by the operator" in breaker.why
    assert breaker.observe(9_400, 7_201 * SECOND) is False
    assert breaker.observe(7_000, 7_202 * SECOND)
    assert breaker.state == MARKET_HALTED
    assert breaker.release() is False
    assert (breaker.state, breaker.manual) == (MARKET_HALTED, OPEN)


def test_a_hold_ends_when_it_is_released_and_not_before():
    breaker = opened()
    breaker.hold(MARKET_HALTED, 7_200 * SECOND)
    steady(breaker, 10_000, 7_200 * SECOND, 9_000 * SECOND, 10 * SECOND)
    assert breaker.state == MARKET_HALTED
    assert breaker.release()
    assert breaker.state == OPEN


@pytest.mark.parametrize("state", [OPEN, -1, 4])
def test_a_hold_at_no_such_state_is_refused(state):
    with pytest.raises(InputError, match="hold"):
        Breaker(RULES).hold(state, 0)


def test_a_breach_explains_itself():
    breaker = opened()
    breaker.observe(9_400, 7_200 * SECOND)
    assert breaker.why == (
        "price 9400 at 7200000000000 ns is outside 9500 to 10500, the bounds around 10000, the price of 60500000000 ns "
        "before: reduce_only; now reduce_only, at least until 7260000000000 ns"
    )


def test_time_that_goes_back_is_a_fault_of_the_caller():
    breaker = opened()
    with pytest.raises(AssertionError, match="time went back"):
        breaker.observe(10_000, 7_198 * SECOND)
    with pytest.raises(AssertionError, match="time went back"):
        breaker.advance(7_198 * SECOND)


def test_a_market_without_triggers_is_always_open():
    breaker = Breaker(replace(RULES, triggers=()))
    for now_ns, price in ((0, 1), (1, 10**9), (MINUTE, 0)):
        assert breaker.observe(price, now_ns) is False
        assert breaker.would_breach(price, now_ns) is None
        assert breaker.advance(now_ns) is False
    assert breaker.state == OPEN


@pytest.mark.parametrize(
    ("states", "markets", "expected"),
    [
        ([OPEN, GUARDED, MARKET_HALTED], 2, GUARDED),
        ([OPEN, REDUCE_ONLY, MARKET_HALTED], 2, OPEN),
        ([GUARDED] * 5, 0, OPEN),
        ([], 1, OPEN),
    ],
)
def test_the_venue_follows_when_enough_markets_are_closed(states, markets, expected):
    assert venue_state(states, VenueBreaker(markets, GUARDED)) == expected
