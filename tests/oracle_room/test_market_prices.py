from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.market_prices import (
    impact_price,
    impact_value,
    mid,
    premium,
    touch_price,
    trades_price,
    walk,
    without_tails,
)

ONE = 10**9
TRADES = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=10)
LEVELS = st.lists(st.tuples(st.integers(1, 1_000), st.integers(1, 50)), min_size=1, max_size=8)


def asks_of(levels):
    return sorted(levels)


def bids_of(levels):
    return sorted(levels, reverse=True)


def test_without_decay_trades_weigh_by_size_alone():
    trades = [(0, 100, 1), (90, 200, 3)]
    for decay, power in ((0, 1), (ONE, 0), (0, 0)):
        assert trades_price(trades, 100, 100, decay, power) == 175


def test_with_decay_an_old_trade_weighs_less_and_a_power_delays_that():
    trades = [(50, 100, 1), (100, 200, 1)]
    assert trades_price(trades, 100, 100, ONE, 1) == 166
    assert trades_price(trades, 100, 100, ONE, 2) == 157
    assert trades_price(trades, 100, 100, ONE // 2, 1) == 157


def test_a_trade_at_the_edge_of_the_window_counts_and_one_beyond_does_not():
    trades = [(0, 100, 1), (100, 200, 1)]
    assert trades_price(trades, 100, 100, 0, 1) == 150
    assert trades_price(trades, 101, 100, 0, 1) == 200
    assert trades_price(trades, 300, 100, 0, 1) is None
    assert trades_price([], 0, 100, 0, 1) is None


def test_a_trade_from_the_future_weighs_no_more_than_one_of_now():
    assert trades_price([(200, 100, 1), (100, 200, 1)], 100, 100, ONE, 1) == 150


@given(TRADES, st.integers(0, ONE), st.integers(0, 3))
def test_the_price_of_trades_is_between_the_lowest_and_the_highest(trades, decay, power):
    price = trades_price(trades, 200, 200, decay, power)
    if price is not None:
        assert min(row[1] for row in trades) <= price <= max(row[1] for row in trades)


@given(TRADES, st.integers(0, ONE), st.integers(1, 3))
def test_the_price_of_trades_is_the_stated_formula(trades, decay, power):
    weights = [(1 - Fraction(decay, ONE) * Fraction(200 - at, 200) ** power) * size for at, _, size in trades]
    exact = sum(weights) and sum(weight * row[1] for weight, row in zip(weights, trades, strict=True)) / sum(weights)
    assert trades_price(trades, 200, 200, decay, power) == (exact // 1 if sum(weights) else None)


def test_the_middle_is_rounded_down_and_needs_both_sides():
    assert mid(10, 13) == 11
    assert mid(-4, 1) == -2
    assert mid(None, 13) is None
    assert mid(10, None) is None


def test_the_touch_price_is_the_median_of_what_is_there():
    assert touch_price(10, 12, 30) == 12
    assert touch_price(10, 12, 3) == 10
    assert touch_price(10, 12, 11) == 11
    assert touch_price(None, 12, 9) == 10
    assert touch_price(None, None, 9) == 9
    assert touch_price(None, None, None) is None


def test_walking_a_book_costs_the_mean_of_what_it_fills():
    asks = [(100, 2), (103, 1), (200, 5)]
    assert [walk(asks, lots) for lots in (0, 1, 2, 3, 4, 8, 9)] == [100, 100, 100, 101, 125, 162, None]
    assert walk([], 0) is None
    assert walk([], 1) is None


@given(LEVELS, st.integers(1, 400))
def test_a_larger_fill_is_never_better(levels, lots):
    for side, sign in ((asks_of(levels), 1), (bids_of(levels), -1)):
        less, more = walk(side, lots), walk(side, lots + 1)
        assert more is None or (less is not None and sign * (more - less) >= 0)


@given(LEVELS, st.integers(1, 400))
def test_a_fill_costs_what_its_lots_cost_one_by_one(levels, lots):
    asks = asks_of(levels)
    each = [price for price, size in asks for _ in range(size)]
    assert walk(asks, lots) == (sum(each[:lots]) // lots if lots <= len(each) else None)


def test_the_impact_price_is_the_middle_of_both_sides_or_nothing():
    bids, asks = [(100, 1), (90, 1)], [(110, 1), (130, 1)]
    assert impact_price(bids, asks, 0, 0) == 105
    assert impact_price(bids, asks, 200, 110) == (95 + 110) // 2
    assert impact_price(bids, asks, 200, 220) == (95 + 120) // 2
    assert impact_price(bids, asks, 300, 110) is None
    assert impact_price(bids, asks, 0, 330) is None
    assert impact_price([], asks, 0, 0) is None
    assert impact_price(bids, [], 0, 0) is None


def test_the_impact_value_is_what_the_cash_carries_as_initial_margin():
    assert impact_value(1_000, ONE // 5, ONE // 10, 3 * ONE // 10) == 12_500
    assert impact_value(1_000, ONE, 0, ONE // 3) == 3_000


def test_a_book_around_the_index_has_no_premium():
    assert premium([(99, 10)], [(101, 10)], 100, 100, ONE) == 0
    assert premium([], [], 100, 100, ONE) == 0


def test_a_book_above_the_index_has_a_premium_and_one_below_a_discount():
    assert premium([(110, 10)], [(111, 10)], 100, 100, ONE) == ONE // 10
    assert premium([(89, 10)], [(90, 10)], 100, 100, ONE) == -ONE // 10
    assert premium([(110, 10)], [(111, 10)], 100, 100, ONE // 50) == ONE // 50
    assert premium([(89, 10)], [(90, 10)], 100, 100, ONE // 50) == -ONE // 50


def test_a_side_too_thin_for_the_value_says_nothing():
    assert premium([(110, 1)], [(111, 10)], 100, 111, ONE) == 0
    assert premium([(110, 1)], [(111, 10)], 100, 110, ONE) == ONE // 10


def test_an_impact_price_is_the_value_over_the_lots_it_fills():
    """200 fills one lot at 120 and 80/105 of one at 105."""
    exact = Fraction(200) / (1 + Fraction(80, 105))
    assert premium([(120, 1), (105, 5)], [(130, 1)], 100, 200, ONE) == int((exact / 100 - 1) * ONE)


@given(LEVELS, st.integers(1, 1_000), st.integers(0, 10_000))
def test_a_discount_mirrors_nothing_but_its_own_side(levels, index, value):
    rising = premium(bids_of(levels), [], index, value, 10**15)
    falling = premium([], asks_of(levels), index, value, 10**15)
    assert falling <= 0 <= rising


def test_tails_are_cut_with_the_odd_one_from_the_top():
    samples = [5, 1, 4, 2, 3]
    assert without_tails(samples, ONE // 5) == [2, 3, 4]
    assert without_tails(samples, 3 * ONE // 10) == [2, 3]
    assert without_tails(samples, ONE // 20) == [1, 2, 3, 4, 5]
    assert without_tails(samples, ONE // 2) == [1, 2, 3, 4, 5]
    assert without_tails([], ONE // 4) == []
