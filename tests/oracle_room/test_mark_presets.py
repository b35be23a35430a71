"""Documented constructions of mark prices, each against figures worked out by hand beside it."""

import pytest

from marginkeep.oracle.marks import Mark
from marginkeep.rulebook import mark_presets
from marginkeep.rulebook.oracle_rules import MarkRules
from marginkeep.units import RATE_ONE

SECOND = 10**9
HOUR = 3_600 * SECOND


def mark_of(components, method="median"):
    return Mark(MarkRules("BTC-PERP", "BTC", method, components, 0))


def no_feeds(name):
    return None


def said(mark):
    return [one.price for one in mark.last_components]


def hyperliquid():
    """Index 100,000; the mid is 100 above it for a second, then 300; the last trade is 100,200."""
    mark = mark_of(mark_presets.hyperliquid("PERPS"))
    mark.observe_book(100_090, 100_110, 0, 0, 0)
    mark.observe_trade(100_200, 1, 0)
    return mark


def hyperliquid_151_s_later(feeds):
    mark = hyperliquid()
    mark.price(100_000, feeds, 0)
    mark.observe_book(100_290, 100_310, 0, 0, SECOND)
    mark.price(100_000, feeds, SECOND)
    mark.observe_book(100_290, 100_310, 0, 0, 151 * SECOND)
    return mark, mark.price(100_000, feeds, 151 * SECOND)


def test_hyperliquid_is_the_median_of_basis_touch_and_outside_perpetuals():
    mark = hyperliquid()
    assert mark.price(100_000, {"PERPS": (100_050, 0)}.get, 0) == 100_100
    assert said(mark) == [100_100, 100_110, 100_050, None]


def test_hyperliquid_weights_its_average_by_the_exponential_of_age_over_150_seconds():
    """After 150 s: 300 - 200 / e = 226.4. The touch is the median of 100,290, 100,310 and 100,200."""
    mark, price = hyperliquid_151_s_later({"PERPS": (100_050, 151 * SECOND)}.get)
    assert said(mark) == [100_226, 100_290, 100_050, None]
    assert price == 100_226


def test_hyperliquid_takes_a_30_second_average_of_the_touch_in_when_only_two_are_there():
    """The touch was 100,110 for a second, then 100,290: after 150 s its average is 100,290 - 180 / e^5 = 100,288.8."""
    mark, price = hyperliquid_151_s_later(no_feeds)
    assert said(mark) == [100_226, 100_290, None, 100_288]
    assert price == 100_288


@pytest.mark.parametrize(("last", "expected"), [(100_020, 100_020), (99_000, 100_005), (101_000, 100_030)])
def test_binance_is_the_median_of_funding_mean_basis_and_last_trade(last, expected):
    """Half of 0.01 % is still to come: 100,005. The mid was 10 above for 10 s and 40 for 20 s: 30 in the mean."""
    mark, now_ns = mark_of(mark_presets.binance()), 4 * HOUR
    mark.observe_funding(RATE_ONE // 10_000, 0)
    mark.observe_book(100_005, 100_015, 0, 0, now_ns - 30 * SECOND)
    mark.price(100_000, no_feeds, now_ns - 30 * SECOND)
    mark.observe_book(100_035, 100_045, 0, 0, now_ns - 20 * SECOND)
    mark.price(100_000, no_feeds, now_ns - 20 * SECOND)
    mark.observe_trade(last, 1, now_ns)
    assert mark.price(100_000, no_feeds, now_ns) == expected
    assert said(mark) == [100_005, 100_030, last]


def test_binance_with_funding_that_shorts_pay_lies_below_the_index():
    """-0.03 % with 2 of 8 hours to come: 100,000 * (1 - 0.000075) = 99,992.5, rounded down."""
    mark = mark_of(mark_presets.binance())
    mark.observe_funding(-3 * RATE_ONE // 10_000, 0)
    assert mark.price(100_000, no_feeds, 6 * HOUR) == 99_992


def vega(method, weights=None, **terms):
    mark = mark_of(mark_presets.vega(["ORACLE"], weights, **terms), method)
    mark.observe_trade(15_930, 5, 0)
    mark.observe_book(15_910, 15_920, 15_890, 15_910, 0)
    return mark


def test_vega_by_weights():
    """1,593 + 6,360 + 8,000; without the book 2,655 + 13,333, each share rounded down."""
    feeds = {"ORACLE": (16_000, 30 * SECOND)}.get
    minute = 60 * SECOND
    mark = vega("weighted", [1, 4, 5], stale_after_ns=[HOUR, 30 * SECOND, minute], window_ns=HOUR)
    assert mark.price(15_000, feeds, 30 * SECOND) == 15_953
    assert mark.price(15_000, feeds, minute) == 15_988


def test_vega_by_median():
    """Of trades 15,930, impact 15,900 and oracle 16,000; when trades and book are stale the oracle alone."""
    feeds = {"ORACLE": (16_000, 61 * SECOND)}.get
    mark = vega("median", window_ns=HOUR)
    assert mark.price(15_000, feeds, 60 * SECOND) == 15_930
    assert mark.price(15_000, feeds, 60 * SECOND + 1) == 16_000


def test_vega_by_weights_with_the_median_of_the_others():
    """Of 12 parts 1 of 15,930, 4 of 15,900, 5 of 16,000, 2 of their median 15,930: 1,327 + 5,300 + 6,666 + 2,655."""
    mark = vega("weighted", [1, 4, 5, 2], window_ns=HOUR, others=True)
    assert mark.price(15_000, {"ORACLE": (16_000, 0)}.get, 0) == 15_948
    assert said(mark) == [15_930, 15_900, 16_000, 15_930]


def test_vega_takes_the_median_of_sources_that_have_no_weight_of_their_own():
    """Half of 16,000 and half of the median of 15,930, 15,900 and 16,000; the latter alone if only it has weight."""
    feeds = {"ORACLE": (16_000, 0)}.get
    assert vega("weighted", [0, 0, 1, 1], window_ns=HOUR, others=True).price(15_000, feeds, 0) == 15_965
    assert vega("weighted", [0, 0, 0, 1], window_ns=HOUR, others=True).price(15_000, feeds, 0) == 15_930


def test_vega_by_median_with_the_median_of_the_others():
    """Of 15,930, 15,900, 16,000 and 15,930; without oracle of 15,930, 15,900 and 15,915; at the end of 16,001."""
    minute = 60 * SECOND
    mark = vega("median", stale_after_ns=[minute] * 4, window_ns=HOUR, others=True)
    assert mark.price(15_000, {"ORACLE": (16_000, 0)}.get, 0) == 15_930
    assert mark.price(15_000, no_feeds, minute) == 15_915
    assert said(mark) == [15_930, 15_900, None, 15_915]
    assert mark.price(15_000, {"ORACLE": (16_001, minute)}.get, minute + 1) == 16_001
    assert said(mark) == [None, None, 16_001, 16_001]


def test_vega_trades_lose_weight_as_they_age():
    """Sizes 2, 1, 3, 5 of ages 4, 3, 2, 1 of 4 s weigh 0, 0.25, 1.5, 3.75: 87,887.5 / 5.5 = 15,979.5."""
    mark = mark_of(mark_presets.vega([], window_ns=4 * SECOND))
    for second, (price, size) in enumerate([(15_920, 2), (15_940, 1), (15_960, 3), (15_990, 5)]):
        mark.observe_trade(price, size, second * SECOND)
    assert mark.price(15_000, no_feeds, 4 * SECOND) == 15_979


def test_the_house_takes_the_median_of_index_basis_and_mid():
    mark = mark_of(mark_presets.house())
    mark.observe_book(1_090, 1_110, 0, 0, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_100
    mark.observe_book(490, 510, 0, 0, SECOND)
    assert mark.price(1_000, no_feeds, SECOND) == 1_000
    assert said(mark) == [1_000, 1_100, 500]


def test_a_market_without_a_book_is_marked_at_its_index():
    mark = mark_of(mark_presets.index_alone())
    assert mark.price(1_000, no_feeds, 0) == 1_000
    assert mark.due_ns(0) == 0
