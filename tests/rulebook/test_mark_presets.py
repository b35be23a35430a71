"""Presets of mark prices: the components of the documented constructions, and the options they take."""

import math

import pytest

from marginkeep.rulebook import mark_presets
from marginkeep.rulebook.durations import HOUR, MINUTE, SECOND
from marginkeep.rulebook.oracle_marks import PRESETS
from tests.rulebook.oracle_house import FULL, oracle_of, refusal


def mark(preset=None, **options):
    fields = {"index": "BTC", **options} | ({} if preset is None else {"preset": preset})
    return oracle_of("marks/BTC-PERP", fields, FULL).marks[0]


def kinds(rules):
    return [component.kind for component in rules.components]


def test_without_a_preset_a_mark_is_the_median_of_index_basis_and_mid_near_the_index():
    rules = mark()
    assert (rules.method, rules.band) == ("median", 50_000_000)
    assert [(one.kind, one.window_ns) for one in rules.components] == [
        ("index", 0),
        ("basis", 150 * SECOND),
        ("mid", 0),
    ]
    assert {one.stale_after_ns for one in rules.components} == {MINUTE}


def test_hyperliquid_has_three_components_and_one_in_reserve():
    rules = mark("hyperliquid", perpetuals="BTC-CEX")
    assert (rules.method, rules.band, rules.index) == ("median", 0, "BTC")
    assert kinds(rules) == ["basis", "touch", "feed", "touch"]
    assert [one.reserve for one in rules.components] == [False, False, False, True]
    assert rules.components[2].feed == "BTC-CEX"


def test_hyperliquid_without_outside_perpetuals_leaves_them_out():
    assert kinds(mark("hyperliquid")) == ["basis", "touch", "touch"]


def test_the_half_lives_of_hyperliquid_are_those_of_its_time_constants():
    slow, plain, fast = mark("hyperliquid").components
    assert plain.window_ns == 0
    assert slow.window_ns == round(150 * SECOND * math.log(2))
    assert fast.window_ns == round(30 * SECOND * math.log(2))


def test_binance_is_the_median_of_funding_mean_basis_and_last_trade():
    rules = mark("binance")
    assert rules.method == "median"
    assert [(one.kind, one.window_ns) for one in rules.components] == [
        ("funding", 8 * HOUR),
        ("mean_basis", 30 * SECOND),
        ("last", 0),
    ]
    assert mark("binance", funding_interval="4h").components[0].window_ns == 4 * HOUR


def test_vega_weighs_trades_impact_and_feeds_in_this_order():
    rules = mark("vega-weighted", feeds=["BTC", "BTC-CEX"], weights=[1, 4, 5, 6], stale_after="2m")
    assert rules.method == "weighted"
    assert [(one.kind, one.feed, one.weight) for one in rules.components] == [
        ("trades", None, 1),
        ("impact", None, 4),
        ("feed", "BTC", 5),
        ("feed", "BTC-CEX", 6),
    ]
    assert {one.stale_after_ns for one in rules.components} == {2 * MINUTE}


def test_a_vega_component_of_weight_zero_is_left_out():
    rules = mark("vega-weighted", feeds=["BTC", "BTC-CEX"], weights=[0, 0, 1, 3])
    assert [(one.feed, one.weight) for one in rules.components] == [("BTC", 1), ("BTC-CEX", 3)]


def test_the_vega_median_has_the_index_as_its_feed_and_decaying_trades():
    rules = mark("vega-median", window="30s", decay="0.8", power=2)
    assert (rules.method, kinds(rules), rules.components[2].feed) == ("median", ["trades", "impact", "feed"], "BTC")
    trades = rules.components[0]
    assert (trades.window_ns, trades.decay, trades.power) == (30 * SECOND, 800_000_000, 2)


def test_vega_takes_the_median_of_the_others_when_asked_and_its_weight_last():
    asked = mark("vega-weighted", others=True, weights=[1, 4, 5, 2])
    assert [(one.kind, one.weight) for one in asked.components] == [
        ("trades", 1),
        ("impact", 4),
        ("feed", 5),
        ("others", 2),
    ]
    assert [one.weight for one in mark("vega-weighted", others=True).components] == [1, 1, 1, 1]
    assert kinds(mark("vega-median", others=True)) == ["trades", "impact", "feed", "others"]
    assert kinds(mark("vega-median", others=False)) == ["trades", "impact", "feed"]


def test_what_the_median_of_the_others_is_made_of_stays_while_that_has_a_weight():
    asked = mark("vega-weighted", others=True, weights=[0, 0, 1, 2])
    assert [(one.kind, one.weight) for one in asked.components] == [
        ("trades", 0),
        ("impact", 0),
        ("feed", 1),
        ("others", 2),
    ]
    assert kinds(mark("vega-weighted", others=True, weights=[0, 3, 1, 0])) == ["impact", "feed"]


def test_a_touch_has_a_window_only_when_one_is_stated():
    rows = [{"kind": "touch"}, {"kind": "touch", "window": "0s"}, {"kind": "touch", "window": "30s"}]
    assert [one.window_ns for one in mark(components=rows).components] == [0, 0, 30 * SECOND]


def test_the_median_of_the_others_may_be_one_component_among_others():
    rows = [{"kind": "mid"}, {"kind": "others", "weight": 3, "stale_after": "9s"}]
    others = mark(components=rows, method="weighted").components[1]
    assert (others.kind, others.weight, others.stale_after_ns, others.reserve) == ("others", 3, 9 * SECOND, False)


def test_components_of_vega_may_differ_in_staleness():
    components = mark_presets.vega(["A"], [1, 2, 3], [10, 20, 30])
    assert [one.stale_after_ns for one in components] == [10, 20, 30]


def test_the_index_alone_is_one_component():
    assert kinds(mark("index")) == ["index"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_keeps_no_band_unless_one_is_given(preset):
    assert mark(preset).band == 0
    assert mark(preset, band="0.02").band == 20_000_000


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_the_staleness_of_a_mark_is_that_of_all_its_components(preset):
    assert {one.stale_after_ns for one in mark(preset, stale_after="9s").components} == {9 * SECOND}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "kraken"}, "oracle.marks.BTC-PERP.preset is 'kraken': use one of hyperliquid, binance"),
        ({"preset": "index", "components": []}, "components stands beside preset 'index', which names its own"),
        ({"preset": "index", "method": "median"}, "oracle.marks.BTC-PERP.method is not a known field"),
        ({"preset": "index", "perpetuals": "BTC"}, "oracle.marks.BTC-PERP.perpetuals is not a known field"),
        ({"preset": "hyperliquid", "perpetuals": "SOL"}, "perpetuals is 'SOL', which is not a feed: use one of BTC"),
        ({"preset": "binance", "funding_interval": "0h"}, "funding_interval is '0h': it must be above 0"),
        ({"preset": "vega-median", "weights": [1, 1, 1]}, "oracle.marks.BTC-PERP.weights is not a known field"),
        ({"preset": "vega-weighted", "weights": [1, 1]}, "weights is [1, 1]: give 3 whole numbers from 0 to 1000"),
        ({"preset": "vega-weighted", "weights": [0, 0, 0]}, "weights is [0, 0, 0]: give 3 whole numbers"),
        ({"preset": "vega-weighted", "weights": [1, True, 1]}, "weights is [1, True, 1]: give 3 whole numbers"),
        (
            {"preset": "vega-weighted", "others": True, "weights": [1, 1, 1]},
            "give 4 whole numbers from 0 to 1000, not all 0, for trades, impact, each feed and the others",
        ),
        ({"preset": "vega-median", "others": 1}, "oracle.marks.BTC-PERP.others is 1: give true or false"),
        ({"preset": "hyperliquid", "others": True}, "oracle.marks.BTC-PERP.others is not a known field"),
        ({"preset": "vega-weighted", "feeds": ["SOL"]}, "oracle.marks.BTC-PERP.feeds is 'SOL', which is not a feed"),
        ({"components": []}, "oracle.marks.BTC-PERP.components has 0 entries: give from 1 to 32"),
        ({"components": [{"kind": "mid", "reserve": True}]}, "components has nothing but reserves"),
        (
            {"components": [{"kind": "mid"}, {"kind": "others"}, {"kind": "others"}]},
            "components has 2 of kind 'others': give at most one",
        ),
        (
            {"components": [{"kind": "others"}]},
            "components has nothing but reserves and the median of the others: let at least one count always",
        ),
        (
            {"components": [{"kind": "mid", "reserve": True}, {"kind": "others"}]},
            "components has nothing but reserves and the median of the others",
        ),
        ({"components": [{"kind": "others", "reserve": True}]}, "components[0].reserve is not a known field"),
        ({"components": [{"kind": "others", "window": "1s"}]}, "components[0].window is not a known field"),
        ({"components": [{"kind": "vwap"}]}, "oracle.marks.BTC-PERP.components[0].kind is 'vwap': use one of index"),
        ({"components": [{"kind": "feed"}]}, "oracle.marks.BTC-PERP.components[0].feed is missing: add it"),
        ({"components": [{"kind": "mid", "window": "1s"}]}, "components[0].window is not a known field"),
        ({"components": [{"kind": "mid", "feed": "BTC"}]}, "components[0].feed is not a known field"),
        ({"components": [{"kind": "trades", "power": 4}]}, "components[0].power is 4: give a whole number from 1 to 3"),
        (
            {"components": [{"kind": "mid", "weight": 0}]},
            "components[0].weight is 0: give a whole number from 1 to 1000",
        ),
        ({"components": [{"kind": "basis", "window": "0s"}]}, "components[0].window is '0s': it must be above 0"),
    ],
    ids=lambda part: str(part)[:60],
)
def test_an_option_that_a_mark_does_not_have_is_refused(options, message):
    assert message in refusal("marks/BTC-PERP", {"index": "BTC", **options})
