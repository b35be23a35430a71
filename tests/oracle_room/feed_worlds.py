"""Feeds to try things on: rules with the defaults of a rulebook, and a world that quotes and looks at the index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from marginkeep.oracle import feeds as feeds_module
from marginkeep.oracle.aggregation import DUE_NS, FLAGS, INDEX
from marginkeep.oracle.feeds import Feeds, Intake
from marginkeep.oracle.source_rows import INTAKES, USE, USES
from marginkeep.rulebook.oracle_feeds import DEFAULT_FEED
from marginkeep.rulebook.oracle_rules import QUALITIES, FeedRules, SourceRules
from marginkeep.units import RATE_ONE

SECOND = 10**9
START = 1_700_000_000 * SECOND
STALE_AFTER = 60 * SECOND
PERCENT = RATE_ONE // 100

Quote = tuple[int, int, int, int, int, int]
"""Feed, source, price, confidence, source time, arrival time."""


def feed_rules(
    count: int = 3,
    weights: Sequence[int] = (),
    ranks: Sequence[int] = (),
    groups: Sequence[str] = (),
    **changes: Any,
) -> FeedRules:
    """Return a feed with the defaults of the rulebook and `count` sources of equal weight, unless told otherwise."""
    sources = tuple(
        SourceRules(
            name=f"s{i}",
            weight=weights[i] if weights else 1,
            rank=ranks[i] if ranks else 0,
            group=groups[i] if groups else f"s{i}",
            stale_after_ns=STALE_AFTER,
        )
        for i in range(count)
    )
    stated = {"name": "BTC", "tick": Fraction(1, 100), "min_sources": min(2, count), **changes}
    return replace(DEFAULT_FEED, sources=sources, **stated)


class World:
    """Feeds and the house's time; by default quotes concern the first feed, and arrive when they are made."""

    def __init__(self, *rules: FeedRules) -> None:
        self.feeds = Feeds(rules)
        self.now_ns = START
        self.intake: Intake | None = None

    def take(self, quotes: Sequence[Quote]) -> list[str]:
        """Send one batch; return what became of each quote."""
        self.intake = self.feeds.take(np.array(quotes, np.int64).reshape(-1, 6), self.now_ns)
        self.now_ns = self.intake.now_ns
        return [INTAKES[code] for code in self.intake.codes]

    def quote(
        self, source: int, price: int, at: int = 0, confidence: int = 0, source_ns: int | None = None, feed: int = 0
    ) -> str:
        """Send one quote that arrives `at` ns after the start; return what became of it."""
        made = START + at if source_ns is None else START + source_ns
        return self.take([(feed, source, price, confidence, made, START + at)])[0]

    def say(self, at: int, *prices: int | None, confidence: int = 0) -> list[str]:
        """Let all sources quote in one batch, None = silent."""
        quotes = [(0, i, p, confidence, START + at, START + at) for i, p in enumerate(prices) if p is not None]
        return self.take(quotes)

    def wait(self, at: int) -> Intake:
        """Let time pass until `at` ns after the start."""
        self.now_ns = max(self.now_ns, START + at)
        self.intake = self.feeds.advance(self.now_ns)
        return self.intake

    @property
    def index(self) -> int:
        """Index of the first feed."""
        return int(self.feeds.feeds[0, INDEX])

    @property
    def qualities(self) -> set[str]:
        """Qualities that apply to the first feed."""
        return {name for bit, name in enumerate(QUALITIES) if int(self.feeds.feeds[0, FLAGS]) >> bit & 1}

    @property
    def due(self) -> int:
        """When time alone changes the first feed, in ns after the start."""
        return int(self.feeds.feeds[0, DUE_NS]) - START

    @property
    def uses(self) -> list[str]:
        """How each source of the first feed is used."""
        return [USES[use] for use in self.feeds.rows[0, : len(self.feeds.rules[0].sources), USE]]


@contextmanager
def quotes_from(number: int) -> Iterator[None]:
    """Use the kernels for batches from this many quotes on: 1 = always, a huge number = never."""
    before = feeds_module.KERNEL_FROM
    feeds_module.KERNEL_FROM = number  # type: ignore[misc]
    try:
        yield
    finally:
        feeds_module.KERNEL_FROM = before  # type: ignore[misc]
