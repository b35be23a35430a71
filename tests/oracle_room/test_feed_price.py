"""What becomes of an index before anybody acts on it: ratios, ceilings, limits, delays, and the volatility flag."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.feed_price import FeedPrice
from marginkeep.oracle.growth_cap import highest_ratio
from marginkeep.rulebook.oracle_reading import DEFAULT_ACTIONS
from marginkeep.rulebook.oracle_rules import (
    ACTIONS,
    DIVERGENT,
    FEED_PRICE_MAX,
    QUALITIES,
    STALE,
    TOO_FEW_SOURCES,
    UNCERTAIN,
    VALID,
    VOLATILE,
    FeedRules,
    GrowthCap,
    JumpLimit,
    OracleRules,
    VenueBreaker,
)
from marginkeep.units import RATE_ONE
from tests.oracle_room.feed_worlds import PERCENT, SECOND, START, feed_rules

HOUR = 3_600 * SECOND
OK = 1 << VALID
CALM: dict[str, Any] = {"volatile_band": 0}


def moved(price: FeedPrice, index: int, at: int = 0, flags: int = OK, newest: int | None = None) -> bool:
    """Give a feed price its index at `at` ns after the start; tell whether anything changed."""
    return price.update(index, flags, START + at if newest is None else newest, 0, START + at)


def swept(price: FeedPrice, index: int, at: int, flags: int = OK) -> None:
    """One sweep: the index, then the moving average."""
    moved(price, index, at, flags)
    price.sample(START + at)


def ratio_of(base: FeedPrice, **changes: Any) -> FeedPrice:
    return FeedPrice(feed_rules(1, name="WSTETH", tick=Fraction(1, 10**6), base="ETH", **{**CALM, **changes}), base)


# Plain feeds and ratios ------------------------------------------------------------------------------------------


def test_before_its_first_index_a_feed_has_no_price_and_too_few_sources() -> None:
    price = FeedPrice(feed_rules(3), None)
    assert (price.ticks, price.flags) == (0, 1 << TOO_FEW_SOURCES)


def test_a_feed_without_wrappers_is_its_index() -> None:
    price = FeedPrice(feed_rules(3), None)
    assert moved(price, 100_00) is True
    assert (price.ticks, price.flags, price.unit, price.newest_ns) == (100_00, OK, Fraction(1, 100), START)
    assert moved(price, 100_00, SECOND) is False
    assert moved(price, 100_00, 2 * SECOND, flags=1 << STALE) is True
    assert price.newest_ns == START + 2 * SECOND


@given(st.integers(1, FEED_PRICE_MAX), st.integers(1, FEED_PRICE_MAX))
def test_a_ratio_is_the_exact_product_with_its_base(base_ticks: int, ratio: int) -> None:
    base = FeedPrice(feed_rules(3, name="ETH"), None)
    moved(base, base_ticks)
    price = ratio_of(base)
    moved(price, ratio)
    assert price.ticks * price.unit == Fraction(base_ticks, 100) * Fraction(ratio, 10**6)


def test_a_ratio_follows_its_base_and_has_no_price_without_it() -> None:
    base = FeedPrice(feed_rules(3, name="ETH", **CALM), None)
    price = ratio_of(base)
    moved(price, 1_200_000)
    assert (price.ticks, price.flags) == (0, 1 << TOO_FEW_SOURCES)
    moved(base, 3_000_00)
    assert moved(price, 1_200_000, SECOND) is True
    assert price.ticks * price.unit == 3_600
    moved(base, 2_000_00)
    moved(price, 1_200_000, 2 * SECOND)
    assert (price.ticks * price.unit, price.flags) == (2_400, OK)


@pytest.mark.parametrize(
    ("own", "of_base", "both"),
    [
        (OK, OK, OK),
        (OK, 1 << STALE, 1 << STALE),
        (1 << UNCERTAIN, OK, 1 << UNCERTAIN),
        (1 << UNCERTAIN | 1 << STALE, 1 << DIVERGENT, 1 << UNCERTAIN | 1 << STALE | 1 << DIVERGENT),
    ],
)
def test_the_faults_of_base_and_ratio_add_up_and_only_two_valid_ones_are_valid(
    own: int, of_base: int, both: int
) -> None:
    base = FeedPrice(feed_rules(3, name="ETH", **CALM), None)
    moved(base, 3_000_00, flags=of_base)
    price = ratio_of(base)
    moved(price, 1_000_000, flags=own)
    assert price.flags == both


# Growth cap and jump limit ---------------------------------------------------------------------------------------

CAP = GrowthCap(ratio=1_150_000, since_ns=START, yearly=PERCENT * 8)


@given(st.integers(1, 3_000_000), st.integers(0, 400 * 24 * 3_600))
def test_a_capped_ratio_is_no_more_than_yield_explains_and_never_raised(ratio: int, seconds: int) -> None:
    base = FeedPrice(feed_rules(3, name="ETH", **CALM), None)
    moved(base, 1)
    price = ratio_of(base, growth_cap=CAP)
    moved(price, ratio, seconds * SECOND)
    assert price.ticks == min(ratio, highest_ratio(CAP, START + seconds * SECOND))
    allowed = Fraction(1_150_000) * (1 + Fraction(8, 100) * Fraction(seconds, 365 * 24 * 3_600))
    assert price.ticks <= allowed


def test_the_cap_applies_before_the_jump_limit_sees_the_price() -> None:
    limit = JumpLimit(ratio=RATE_ONE * 11 // 10, window_ns=60 * SECOND)
    base = FeedPrice(feed_rules(3, name="ETH", **CALM), None)
    moved(base, 1)
    price = ratio_of(base, growth_cap=CAP, jump_limit=limit)
    moved(price, 1_150_000)
    moved(price, 9_000_000, SECOND)
    assert price.ticks == 1_150_000
    moved(price, 500_000, 2 * SECOND)
    assert price.ticks == -(-1_150_000 * 10 // 11)


def test_a_limited_feed_follows_a_jump_step_by_step() -> None:
    limit = JumpLimit(ratio=RATE_ONE * 125 // 100, window_ns=60 * SECOND)
    price = FeedPrice(feed_rules(3, jump_limit=limit, **CALM), None)
    found = []
    for second, index in enumerate((0, 100_00, 200_00, 200_00, 200_00, 200_00, 200_00)):
        moved(price, index, second * SECOND)
        found.append(price.ticks)
    assert found == [0, 100_00, 125_00, 156_25, 195_31, 200_00, 200_00]


# Delay -----------------------------------------------------------------------------------------------------------


def delayed(**changes: Any) -> FeedPrice:
    return FeedPrice(feed_rules(3, delay_ns=HOUR, **{**CALM, **changes}), None)


NEXT = HOUR - START % HOUR
"""From the start to the first whole hour."""


def test_a_delayed_price_is_announced_an_hour_before_it_counts() -> None:
    price = delayed()
    moved(price, 100_00)
    assert (price.ticks, price.flags, price.announced) == (100_00, OK, None)
    moved(price, 90_00, SECOND)
    assert (price.ticks, price.announced) == (100_00, None)
    moved(price, 80_00, NEXT)
    assert (price.ticks, price.announced) == (100_00, (80_00, START + NEXT + HOUR))
    moved(price, 70_00, NEXT + HOUR - 1)
    assert price.ticks == 100_00
    assert moved(price, 70_00, NEXT + HOUR) is True
    assert (price.ticks, price.announced) == (80_00, (70_00, START + NEXT + 2 * HOUR))


def test_a_price_of_bad_quality_is_not_announced() -> None:
    for flag in (STALE, UNCERTAIN, DIVERGENT, TOO_FEW_SOURCES):
        price = delayed()
        moved(price, 100_00)
        moved(price, 50_00, NEXT, flags=1 << flag)
        assert (price.ticks, price.announced, price.flags) == (100_00, None, OK)
        fresh = delayed()
        moved(fresh, 50_00, flags=1 << flag)
        assert (fresh.ticks, fresh.flags) == (0, 1 << flag | 1 << TOO_FEW_SOURCES)


def test_a_delayed_price_is_stale_only_when_no_usable_one_came_for_three_delays() -> None:
    price = delayed()
    moved(price, 100_00)
    for hours in range(3):
        moved(price, 100_00, hours * HOUR + 1, flags=1 << TOO_FEW_SOURCES)
        assert price.flags == OK
    moved(price, 100_00, 3 * HOUR, flags=1 << TOO_FEW_SOURCES)
    assert price.flags == OK
    moved(price, 100_00, 3 * HOUR + 1, flags=1 << TOO_FEW_SOURCES)
    assert price.flags == 1 << STALE


def test_a_delayed_ratio_announces_its_product_and_nothing_while_its_base_has_no_price() -> None:
    base = FeedPrice(feed_rules(3, name="ETH", **CALM), None)
    price = ratio_of(base, delay_ns=HOUR)
    moved(price, 1_000_000)
    moved(price, 1_100_000, NEXT)
    assert price.announced is None
    moved(base, 3_000_00, NEXT)
    moved(price, 1_100_000, NEXT + 1)
    assert price.ticks * price.unit == 3_000
    assert price.announced == (1_100_000 * 3_000_00, START + NEXT + HOUR)


# Volatility ------------------------------------------------------------------------------------------------------


def volatile_feed() -> FeedPrice:
    price = FeedPrice(feed_rules(3, volatile_band=10 * PERCENT, average_half_life_ns=300 * SECOND), None)
    for second in range(60):
        swept(price, 100_00, second * SECOND)
    return price


@pytest.mark.parametrize("edge", [90_00, 110_00])
def test_a_price_further_from_its_average_than_the_band_is_volatile_and_at_the_band_it_is_not(edge: int) -> None:
    price = volatile_feed()
    moved(price, edge, 60 * SECOND)
    assert price.flags == OK
    moved(price, edge + (1 if edge > 100_00 else -1), 60 * SECOND)
    assert price.flags == 1 << VOLATILE


def test_volatility_passes_when_the_average_has_caught_up_or_the_price_comes_back() -> None:
    price = volatile_feed()
    volatile = 0
    for second in range(60, 2_000):
        swept(price, 80_00, second * SECOND)
        volatile += price.flags == 1 << VOLATILE
    assert price.flags == OK
    # 80 is 10 % from 88.9: from 100 the average gets there when 20 * 2^(-t/300) = 8.9, after 351 seconds.
    assert 345 <= volatile <= 357
    price = volatile_feed()
    swept(price, 80_00, 60 * SECOND)
    swept(price, 100_00, 61 * SECOND)
    assert price.flags == OK


def test_without_a_band_nothing_is_volatile() -> None:
    price = FeedPrice(feed_rules(3, volatile_band=0), None)
    swept(price, 100_00, 0)
    swept(price, 1, SECOND)
    assert price.flags == OK


def test_volatile_joins_the_other_qualities() -> None:
    price = volatile_feed()
    moved(price, 50_00, 61 * SECOND, flags=1 << DIVERGENT)
    assert price.flags == 1 << DIVERGENT | 1 << VOLATILE


# Which action accepts which ---------------------------------------------------------------------------------------


def accepting(*qualities: str) -> OracleRules:
    accepts = tuple(
        sum(1 << QUALITIES.index(one) for one in (qualities if action == "liquidate" else DEFAULT_ACTIONS[action]))
        for action in ACTIONS
    )
    return OracleRules((), (), (), VenueBreaker(0, 0), (), None, accepts)


def test_an_action_must_accept_every_quality_that_applies() -> None:
    rules = accepting("valid", "volatile")
    assert rules.accepted("liquidate", OK)
    assert rules.accepted("liquidate", 1 << VOLATILE)
    assert not rules.accepted("liquidate", 1 << DIVERGENT)
    assert not rules.accepted("liquidate", 1 << DIVERGENT | 1 << VOLATILE)
    both = accepting("valid", "volatile", "divergent")
    assert both.accepted("liquidate", 1 << DIVERGENT | 1 << VOLATILE)
    assert not both.accepted("open", 1 << DIVERGENT | 1 << VOLATILE)


@given(st.sets(st.sampled_from(QUALITIES)), st.integers(1, 2 ** len(QUALITIES) - 1))
def test_acceptance_is_that_of_the_least_acceptable_quality(accepted: set[str], flags: int) -> None:
    rules = accepting(*sorted(accepted))
    one_by_one = all(name in accepted for bit, name in enumerate(QUALITIES) if flags >> bit & 1)
    assert rules.accepted("liquidate", flags) == one_by_one


def test_a_feed_both_divergent_and_volatile_does_not_pass_where_only_volatile_does() -> None:
    price = volatile_feed()
    moved(price, 50_00, 61 * SECOND, flags=1 << DIVERGENT)
    assert not accepting("valid", "volatile").accepted("liquidate", price.flags)
    moved(price, 50_00, 62 * SECOND)
    assert accepting("valid", "volatile").accepted("liquidate", price.flags)


# Snapshots -------------------------------------------------------------------------------------------------------

WRAPPED = feed_rules(
    1,
    name="WSTETH",
    tick=Fraction(1, 10**6),
    base="ETH",
    growth_cap=CAP,
    jump_limit=JumpLimit(RATE_ONE * 12 // 10, 600 * SECOND),
    delay_ns=600 * SECOND,
    volatile_band=PERCENT,
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2_000_000),
        st.integers(0, 5_000_00),
        st.sampled_from([OK, OK, 1 << STALE, 1 << DIVERGENT | 1 << UNCERTAIN]),
        st.integers(0, 900 * SECOND),
    ),
    min_size=1,
    max_size=12,
)


def pair(base_rules: FeedRules) -> list[FeedPrice]:
    base = FeedPrice(base_rules, None)
    return [base, FeedPrice(WRAPPED, base)]


@given(STEPS, st.integers(0, 12))
def test_restoring_a_price_at_any_point_and_going_on_equals_never_having_stopped(
    steps: list[tuple[int, int, int, int]], stop: int
) -> None:
    rules = feed_rules(3, name="ETH")
    never, stopped = pair(rules), pair(rules)
    at = 0
    for number, (ratio, base, flags, gap) in enumerate(steps):
        if number == stop:
            saved = copy.deepcopy([price.save() for price in stopped])
            stopped = pair(rules)
            for price, state in zip(stopped, saved, strict=True):
                price.restore(state)
        at += gap
        for prices in (never, stopped):
            swept(prices[0], base, at, flags)
            swept(prices[1], ratio, at, flags)
        assert [price.save() for price in never] == [price.save() for price in stopped]
        assert [price.announced for price in never] == [price.announced for price in stopped]
        assert [(price.ticks, price.flags) for price in never] == [(price.ticks, price.flags) for price in stopped]
