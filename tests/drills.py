"""Small drills for tests: a cut of the made-up crash, or of a real one, quoted by a few sources."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import numpy as np

from marginkeep.cli.session import generated_house
from marginkeep.lab.candles import window
from marginkeep.lab.drill import Drill, DrilledRun
from marginkeep.lab.drill_result import conclude
from marginkeep.lab.example_oracle import SOURCE_NAMES, example_oracle_text
from marginkeep.lab.example_rules import example_rules_text, price_ranges
from marginkeep.lab.faults import apply_faults, parse_fault
from marginkeep.lab.opening import price_path
from marginkeep.lab.quote_paths import make_quotes
from marginkeep.lab.replay import open_interest, top_up_fund
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

MINUTE = 60 * 10**9

RATIO = """
[assets.USD]
[assets.ETH]
tick = "0.01"
weight = { initial = "0.9", maintenance = "0.95" }
max_price = "1000000"
[markets.BTC-PERP]
symbol = "BTC/USDT"
settle = "USD"
lot = "0.001"
tick = "0.1"
max_price = "1000000"
tiers = [{ floor = "0", initial = "0.02", maintenance = "0.01" }]
[oracle]
sources = ["one", "two"]
[oracle.feeds.BTC]
tick = "0.1"
[oracle.feeds.ETH]
base = "BTC"
tick = "0.00000001"
[oracle.marks.BTC-PERP]
index = "BTC"
"""


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@cache
def made_up(minutes=90):
    """The minutes around the worst of the made-up crash, as candles."""
    from marginkeep.cli.demo import made_up_candles

    candles = made_up_candles(7, "flash_cascade")
    worst = int(candles.close[:, 0].argmin())
    first = int(candles.times_ns[worst]) - minutes * MINUTE * 2 // 3
    return window(candles, first, first + minutes * MINUTE)


def rules_for(candles, sources=3):
    text = example_rules_text(*price_ranges(candles))
    rulebook = read_rulebook(parse_text(text, ".toml", "the example"))
    text += example_oracle_text(rulebook, SOURCE_NAMES[:sources])
    return read_rulebook(parse_text(text, ".toml", "the example"))


def quoted(candles, sources=3, seed=7, noise=3):
    """The rulebook, the path, and what the sources say of it."""
    rulebook = rules_for(candles, sources)
    path = price_path(candles, rulebook, "close", tuple(rulebook.markets))
    return rulebook, path, make_quotes(path, rulebook, seed, noise)


def drill(candles, *texts, sources=3, noise=3, accounts=300, seed=7):
    """A drill that has not been run, and its faults."""
    rulebook, path, quotes = quoted(candles, sources, seed, noise)
    faults = tuple(parse_fault(text, quotes) for text in texts)

    def opened():
        house = generated_house(rulebook, path, accounts, seed)
        top_up_fund(house, open_interest(house) // 50)
        return house

    return Drill(DrilledRun(opened(), quotes, path), DrilledRun(opened(), apply_faults(quotes, faults), path)), faults


def concluded(running, faults):
    return conclude(
        running,
        faults,
        title="Drill: a test",
        assumptions=("It is a test.",),
        repairs=(),
        reproduce="marginkeep oracle drill",
        inputs={"seed": 7},
    )


def drilled(candles, *texts, **settings):
    """The drill after its run, and its result."""
    running, faults = drill(candles, *texts, **settings)
    running.run()
    return running, concluded(running, faults)


def columns_of(quotes, source, feed=None):
    return [n for n, (own, name) in enumerate(quotes.lines) if name == source and feed in (None, own)]


def rows_between(quotes, fault):
    return np.flatnonzero((quotes.times_ns >= fault.start_ns) & (quotes.times_ns < fault.end_ns))
