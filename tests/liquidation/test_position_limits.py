from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.liquidation.position_limits import (
    CODES,
    Growth,
    LimitRefusal,
    Reach,
    account_growth,
    group_growth,
    interest_growth,
    interest_share,
    longs_added,
    owner_of,
    refusal,
    scaled_requirement,
)
from marginkeep.rulebook.limit_rules import MarginScale, PositionRules, SizeBound, scaled_initial
from marginkeep.units import RATE_ONE, rate_ceil

RULES = PositionRules(
    "M",
    account=SizeBound(lots=100, value=5_000),
    group=SizeBound(lots=150),
    interest=SizeBound(lots=1_000, depths=20 * RATE_ONE),
    margin=None,
)
sizes = st.integers(-200, 200)
orders = st.integers(0, 100)
reaches = st.builds(Reach, sizes, orders, orders)


def grown(before, after):
    return Growth("ann", before, after)


def test_a_limit_is_reached_but_not_passed():
    assert refusal(RULES, grown(0, 100), None, None) is None
    assert refusal(RULES, grown(0, 101), None, None) == LimitRefusal("position_limit", "ann", 101, 100)


def test_the_narrowest_limit_is_named_first():
    too_much = grown(0, 5_000)
    assert refusal(RULES, too_much, too_much, too_much).code == "position_limit"
    assert refusal(RULES, None, too_much, too_much) == LimitRefusal("group_limit", "ann", 5_000, 150)
    assert refusal(RULES, None, None, too_much) == LimitRefusal("interest_limit", "ann", 5_000, 1_000)


def test_a_value_bounds_a_size_at_the_mark_and_a_depth_as_measured():
    assert refusal(RULES, grown(0, 100), None, None, lot_value=(50, 1)) is None
    assert refusal(RULES, grown(0, 100), None, None, lot_value=(101, 2)).bound == 99
    assert refusal(RULES, None, None, grown(0, 900), depth=40).bound == 800
    assert refusal(RULES, None, None, grown(0, 800), depth=40) is None


def test_what_does_not_grow_passes_whatever_the_limit():
    for before, after in ((500, 500), (500, 499), (500, 101)):
        assert refusal(RULES, grown(before, after), grown(before, after), grown(before, after)) is None
    assert refusal(RULES, grown(500, 501), None, None).reach == 501


def test_without_bounds_nothing_is_refused():
    free = PositionRules("M", SizeBound(), SizeBound(), SizeBound(), None)
    assert refusal(free, grown(0, 10**18), grown(0, 10**18), grown(0, 10**18), 1, (1, 1)) is None


@pytest.mark.parametrize("code", CODES)
def test_a_refusal_says_what_would_be_reached_and_the_bound(code):
    reason = LimitRefusal(code, "ann", 120, 100).reason
    assert "ann" in reason
    assert "120 lots" in reason
    assert reason.endswith("the limit is 100: make it smaller")


def test_open_orders_count_on_the_side_that_they_enlarge():
    assert (Reach(10, 5, 30).long, Reach(10, 5, 30).short) == (15, 20)
    assert (Reach(-10, 5, 3).long, Reach(-10, 5, 3).short) == (0, 13)
    assert account_growth("ann", Reach(10), Reach(10, bids=5)) == Growth("ann", 10, 15)
    assert account_growth("ann", Reach(10), Reach(10, asks=15)) == Growth("ann", 10, 10)
    assert account_growth("ann", Reach(10), Reach(10, asks=25)) == Growth("ann", 10, 15)


def test_accounts_of_one_owner_are_added_up_by_side():
    longs_and_shorts = [Reach(30), Reach(40), Reach(-60)]
    assert group_growth("ann", longs_and_shorts, [*longs_and_shorts[:2], Reach(-90)]) == Growth("ann", 70, 90)
    assert group_growth("ann", [], [Reach(0, bids=7)]) == Growth("ann", 0, 7)


@given(st.lists(reaches, max_size=6), st.randoms())
def test_the_order_of_an_owners_accounts_does_not_matter(held, chance):
    shuffled = list(held)
    chance.shuffle(shuffled)
    assert group_growth("ann", held, []) == group_growth("ann", shuffled, [])


@given(st.lists(reaches, min_size=1, max_size=6))
def test_an_owner_reaches_no_less_than_each_account_and_no_more_than_all(held):
    together = group_growth("ann", held, []).before
    alone = [account_growth("ann", reach, Reach(0)).before for reach in held]
    assert max(alone) <= together <= sum(alone)


def test_open_interest_grows_by_the_longs_that_a_trade_adds():
    assert interest_growth("M", 100, [(0, 5), (0, -5)]) == Growth("M", 100, 105)
    assert interest_growth("M", 100, [(-5, 0), (5, 0)]) == Growth("M", 100, 95)
    assert interest_growth("M", 100, [(-2, 3), (10, 5)]) == Growth("M", 100, 98)


@given(st.lists(sizes, min_size=2, max_size=8), st.integers(0, 7), st.integers(0, 7), st.integers(1, 300))
def test_open_interest_kept_by_changes_is_the_sum_of_long_sizes(held, buyer, seller, lots):
    held = [*held, -sum(held)]
    buyer, seller = buyer % len(held), seller % len(held)
    if buyer == seller:
        return
    before = sum(longs_added(0, size) for size in held)
    after = list(held)
    after[buyer], after[seller] = after[buyer] + lots, after[seller] - lots
    growth = interest_growth("M", before, [(held[buyer], after[buyer]), (held[seller], after[seller])])
    assert growth.after == sum(size for size in after if size > 0) == -sum(size for size in after if size < 0)


def test_names_say_whose_accounts_are_linked():
    for name in ("ann", "ann.bot", "ann/BTC-PERP", "ann.bot/BTC.X-PERP"):
        assert owner_of(name) == "ann"
    assert owner_of("anne") == "anne"
    assert owner_of("fund.one/M", {"fund.one": "group", "fund": "other"}) == "group"
    assert owner_of("fund.two", {"fund.one": "group"}) == "fund"


SCALE = MarginScale(100, 200)


def test_the_share_of_the_way_is_within_zero_and_one():
    shares = [interest_share(interest, SCALE) for interest in (0, 100, 125, 200, 10**9)]
    assert shares == [0, 0, Fraction(1, 4), 1, 1]


def test_a_requirement_is_scaled_up_to_the_whole_value_and_rounded_up():
    assert scaled_requirement(20, 100, Fraction(0)) == 20
    assert scaled_requirement(20, 100, Fraction(1, 3)) == 47
    assert scaled_requirement(20, 100, Fraction(1)) == 100
    assert scaled_requirement(300, 100, Fraction(1)) == 300


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, RATE_ONE)), min_size=1, max_size=5), st.integers(0, 10**6)
)
def test_scaling_a_tiered_requirement_is_scaling_each_rate(slices, above):
    """Each slice of a marginal table at its scaled rate, against the requirement scaled at once."""
    scale = MarginScale(0, 10**6)
    value = sum(part for part, _ in slices)
    at_once = scaled_requirement(
        sum(rate_ceil(part, rate) for part, rate in slices), value, interest_share(above, scale)
    )
    by_slice = sum(rate_ceil(part, scaled_initial(rate, above, 0, 10**6)) for part, rate in slices)
    assert abs(at_once - by_slice) <= 2 * len(slices) + 1
