"""Quotes made from prices: near them, in order of arrival, the same every time."""

import numpy as np
import pytest
from tests.drills import MINUTE, RATIO, made_up, quoted

from marginkeep.clearing import Rejected
from marginkeep.clearing.commands import PublishQuotes
from marginkeep.cli.session import generated_house
from marginkeep.errors import InputError
from marginkeep.lab.opening import PricePath, price_path
from marginkeep.lab.quote_paths import LATENCY_MAX_NS, make_quotes
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text


def test_every_source_quotes_every_feed_every_tick_within_the_noise():
    rulebook, path, quotes = quoted(made_up(), sources=5, noise=3)
    assert len(quotes.lines) == 5 * len(rulebook.oracle.feeds)
    assert quotes.quoted.all()
    for column, (feed, _) in enumerate(quotes.lines):
        market = f"{feed}-PERP"
        value = path.mark_ticks[:, path.markets.index(market)] * float(rulebook.markets[market].tick)
        off = np.abs(quotes.prices[:, column] * float(quotes.units[column]) - value)
        assert (off <= value * 0.0003 + 0.51 * float(quotes.units[column])).all()
    assert len(np.unique(quotes.prices[10])) > len(rulebook.oracle.feeds)


def test_without_noise_all_sources_say_what_the_path_says():
    rulebook, path, quotes = quoted(made_up(), noise=0)
    for column, (feed, _) in enumerate(quotes.lines):
        marks = path.mark_ticks[:, path.markets.index(f"{feed}-PERP")]
        ratio = rulebook.markets[f"{feed}-PERP"].tick / quotes.units[column]
        assert quotes.prices[:, column].tolist() == [mark * ratio for mark in marks.tolist()]


def test_source_times_rise_and_quotes_arrive_soon_after_in_order():
    _, path, quotes = quoted(made_up(), sources=5)
    assert (np.diff(quotes.source_ns, axis=0) > 0).all()
    late = quotes.arrival_ns - quotes.source_ns
    assert (late >= 0).all()
    assert (late <= LATENCY_MAX_NS).all()
    assert late.max() > LATENCY_MAX_NS // 2
    before = 0
    for tick in range(len(path.times_ns)):
        arrivals = [quote.arrival_ns for quote in quotes.batch(tick)]
        assert arrivals == sorted(arrivals)
        assert before <= arrivals[0]
        before = arrivals[-1]


def test_the_same_seed_gives_the_same_quotes_and_another_gives_others():
    _, _, one = quoted(made_up())
    _, _, same = quoted(made_up())
    _, _, other = quoted(made_up(), seed=8)
    assert np.array_equal(one.prices, same.prices)
    assert np.array_equal(one.arrival_ns, same.arrival_ns)
    assert not np.array_equal(one.prices, other.prices)


def test_the_noise_of_a_seed_is_pinned_for_every_platform():
    rulebook = read_rulebook(parse_text(RATIO.replace('base = "BTC"', ""), ".toml", "flat"))
    times, flat = MINUTE * np.arange(1, 4), np.full((3, 1), 10**6)
    path = PricePath(times, ("BTC-PERP",), ("ETH",), flat, flat, (), 0)
    quotes = make_quotes(path, rulebook, 7, noise=100)
    assert (quotes.prices[:, :2] - 10**6).tolist() == PINNED_PRICES
    assert (quotes.arrival_ns[0] - times[0]).tolist() == PINNED_LATENCIES


PINNED_PRICES = [[8899, 2502], [1566, 5514], [-8890, -3997]]
PINNED_LATENCIES = [730098555, 4212243, 399829429, 656982735]


def test_a_batch_moves_the_prices_of_the_house_to_those_of_the_tick():
    rulebook, path, quotes = quoted(made_up(), noise=0)
    house = generated_house(rulebook, path, 20, 1)
    for tick in (0, 1, 2):
        events = house.apply(PublishQuotes(quotes=quotes.batch(tick)))
        assert not isinstance(events[0], Rejected)
        assert house.state.valuation.marks == [
            int(path.mark_ticks[tick, path.markets.index(table.name)]) for table in house.state.tables.markets
        ]


def test_a_ratio_is_quoted_as_a_ratio():
    rulebook = read_rulebook(parse_text(RATIO, ".toml", "ratio"))
    path = price_path(made_up(), rulebook, "close")
    quotes = make_quotes(path, rulebook, 1, 0)
    ratio = quotes.prices[:, quotes.lines.index(("ETH", "one"))] * 1e-8
    true = path.asset_ticks[:, path.assets.index("ETH")] * 0.01 / (path.mark_ticks[:, 0] * 0.1)
    assert np.allclose(ratio, true, rtol=0, atol=0.51e-8)


def test_a_feed_without_prices_is_refused_by_name():
    text = RATIO.replace(
        '[oracle.feeds.BTC]\ntick = "0.1"', '[oracle.feeds.BTC]\ntick = "0.1"\n[oracle.feeds.GOLD]\ntick = "1"'
    )
    rulebook = read_rulebook(parse_text(text, ".toml", "gold"))
    path = price_path(made_up(), rulebook, "close")
    with pytest.raises(InputError, match="feed GOLD of the rulebook has no prices"):
        make_quotes(path, rulebook, 1)


def test_a_feed_whose_tick_is_too_coarse_is_refused():
    rulebook = read_rulebook(parse_text(RATIO.replace('tick = "0.00000001"', 'tick = "1"'), ".toml", "coarse"))
    path = price_path(made_up(), rulebook, "close")
    with pytest.raises(InputError, match=r"correct oracle\.feeds\.ETH\.tick"):
        make_quotes(path, rulebook, 1)
