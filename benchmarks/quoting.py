"""Quotes through the oracle: batches of many sources for many symbols, to index and mark prices."""

from __future__ import annotations

import numpy as np

from benchmarks.figures import Figure, seconds
from marginkeep.clearing import Clearinghouse
from marginkeep.clearing.commands import ObserveBook, PublishQuotes, Quote
from marginkeep.oracle.feeds import Feeds
from marginkeep.rulebook import read_rulebook

SYMBOLS = 200
SOURCES = ("alpha", "bravo", "charlie", "delta", "echo")
BATCHES = 50
STEP_NS = 5_000_000
"""Time between two batches: 1,000 quotes every 5 ms are 200,000 a second."""

SECOND = 1_000_000_000


def measure_quoting() -> list[Figure]:
    """Measure quotes through aggregation to marks, through the clearinghouse, and quotes that change nothing."""
    house = _house()
    batches = [_batch(number, moves=True) for number in range(1, BATCHES + 1)]
    quotes = SYMBOLS * len(SOURCES)
    clock = [len(batches) + 1]

    def publish(moves: bool) -> float:
        later = [_batch(number, moves) for number in range(clock[0], clock[0] + BATCHES)]
        clock[0] += BATCHES
        return seconds_once(house, later)

    moving = [publish(moves=True) for _ in range(6)][1:]
    same = [publish(moves=False) for _ in range(6)][1:]
    single = _single_quote(house, clock[0])
    return [
        Figure("quotes to marks, all moving, through apply", BATCHES * quotes / min(moving), "/s", 200_000),
        Figure("quotes that repeat their price, through apply", BATCHES * quotes / min(same), "/s"),
        Figure("aggregation alone", BATCHES * quotes / _aggregation(batches), "/s"),
        Figure("one quote that changes nothing, in a batch", min(same) / (BATCHES * quotes) * 1e9, "ns"),
        Figure("one quote that changes nothing, alone", single * 1e6, "us"),
    ]


def seconds_once(house: Clearinghouse, batches: list[PublishQuotes]) -> float:
    """Return how long a clearinghouse takes for these batches; each is applied once, so there is no second run."""
    from benchmarks.figures import once

    def apply() -> None:
        for batch in batches:
            house.apply(batch)

    return once(apply)


def _single_quote(house: Clearinghouse, number: int) -> float:
    """Return the time of a command with one quote that repeats the price of its source."""
    runs = 2_000
    at_ns = SECOND + number * STEP_NS
    commands = [PublishQuotes(quotes=(_quote(0, 0, 0, at_ns + step * 1_000, moves=False),)) for step in range(runs)]
    return seconds_once(house, commands) / runs


def _aggregation(batches: list[PublishQuotes]) -> float:
    """Return the time that feeds alone take for these batches, as columns."""
    rulebook = _house().state.rulebook
    assert rulebook.oracle is not None
    feeds = Feeds(rulebook.oracle.feeds)
    columns = []
    for batch in batches:
        rows = [
            (*_place(feeds, quote), quote.price, quote.confidence, quote.source_ns, quote.arrival_ns)
            for quote in batch.quotes
        ]
        columns.append(np.array(rows, np.int64))

    def take() -> None:
        now_ns = 0
        for quotes in columns:
            now_ns = feeds.take(quotes, now_ns).now_ns

    return seconds(take)


def _place(feeds: Feeds, quote: Quote) -> tuple[int, int]:
    number, sources = feeds.numbers[quote.feed]
    return number, sources[quote.source]


def _batch(number: int, moves: bool) -> PublishQuotes:
    at_ns = SECOND + number * STEP_NS
    return PublishQuotes(
        quotes=tuple(
            _quote(symbol, source, number, at_ns, moves) for symbol in range(SYMBOLS) for source in range(len(SOURCES))
        )
    )


def _quote(symbol: int, source: int, number: int, at_ns: int, moves: bool) -> Quote:
    price = 500_000 + symbol * 1_000 + source * 7 + (number * 37 % 101 if moves else 0)
    return Quote(feed=f"C{symbol}", source=SOURCES[source], price=price, source_ns=at_ns, arrival_ns=at_ns)


def _house() -> Clearinghouse:
    """Return a house of `SYMBOLS` perpetuals, marks the median of three components, a book for each."""
    tiers = [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]
    market = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000", "tiers": tiers}
    names = [f"C{number}" for number in range(SYMBOLS)]
    triggers = [
        {"horizon": "60s", "fall": "0.1", "rise": "0.1", "state": "guarded"},
        {"horizon": "1h", "fall": "0.2", "rise": "0.2", "state": "halted"},
    ]
    house = Clearinghouse(
        read_rulebook(
            {
                "assets": {"USD": {}},
                "markets": {f"{name}-PERP": market for name in names},
                "oracle": {
                    "sources": list(SOURCES),
                    "stable": {},
                    "feeds": {name: {"tick": "0.1"} for name in names},
                    "marks": {f"{name}-PERP": {"index": name} for name in names},
                    "breakers": {f"{name}-PERP": {"triggers": triggers} for name in names},
                },
            }
        )
    )
    house.apply(_batch(0, moves=False))
    for symbol, name in enumerate(names):
        mid = 500_000 + symbol * 1_000
        house.apply(ObserveBook(market=f"{name}-PERP", bid=mid - 5, ask=mid + 5, at_ns=SECOND))
    return house
