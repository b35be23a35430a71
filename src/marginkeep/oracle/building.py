"""Putting an oracle together from its rules: which feed prices what."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.oracle.feed_price import FeedPrice
from marginkeep.oracle.lines import AssetLine, Converter, MarketLine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marginkeep.rulebook import Tables
    from marginkeep.rulebook.oracle_rules import MarkRules, OracleRules

    Bounds = Sequence[tuple[int, int]]


class Dependents(NamedTuple):
    """What has to be looked at when a feed changes: the ratios to it, the assets it prices, the markets that use it."""

    ratios: list[int]
    assets: list[AssetLine]
    markets: list[MarketLine]


def feed_prices(rules: OracleRules) -> list[FeedPrice]:
    """Return a price a feed, in rulebook order; ratios know their bases."""
    by_name = {feed.name: FeedPrice(feed, None) for feed in rules.feeds if feed.base is None}
    for feed in rules.feeds:
        if feed.base is not None:
            by_name[feed.name] = FeedPrice(feed, by_name[feed.base])
    return [by_name[feed.name] for feed in rules.feeds]


def asset_lines(tables: Tables, feeds: Mapping[str, FeedPrice], bounds: Bounds) -> dict[int, AssetLine]:
    """Return a line for each asset that has a feed of its name, by index; the reporting asset has none.

    Parameters
    ----------
    bounds : by asset index, lowest and highest price in ticks
    """
    rules = _rules(tables)
    pegs = {peg.asset: peg for peg in rules.pegs}
    lines = {}
    for table in tables.assets:
        if table.name in feeds and table.index != tables.reporting:
            source = Converter(feeds[table.name], table.asset.tick)
            place = (table.name, table.index, source, rules, bounds[table.index])
            lines[table.index] = AssetLine(*place, pegs.get(table.name))
    return lines


def market_lines(tables: Tables, feeds: Mapping[str, FeedPrice], bounds: Bounds) -> dict[int, MarketLine]:
    """Return a line for each market whose mark the oracle makes, by index."""
    rules = _rules(tables)
    breakers = dict(rules.breakers)
    lines = {}
    for mark in rules.marks:
        table = tables.markets[tables.market_index[mark.market]]
        tick = table.market.tick
        parts = {part.feed: Converter(feeds[part.feed], tick) for part in mark.components if part.feed is not None}
        place = (table.index, Converter(feeds[mark.index], tick), rules, bounds[table.index])
        lines[table.index] = MarketLine(*place, mark, parts, breakers.get(mark.market))
    return dict(sorted(lines.items()))


def find_dependents(
    rules: OracleRules,
    feeds: Mapping[str, FeedPrice],
    assets: Mapping[int, AssetLine],
    markets: Mapping[int, MarketLine],
) -> list[Dependents]:
    """Return what depends on each feed, in rulebook order."""
    used = {mark.market: _feeds_of(mark) for mark in rules.marks}
    return [
        Dependents(
            [number for number, other in enumerate(rules.feeds) if other.base == feed.name],
            [line for line in assets.values() if line.source.feed is feeds[feed.name]],
            [line for line in markets.values() if feed.name in used[line.name]],
        )
        for feed in rules.feeds
    ]


def _feeds_of(mark: MarkRules) -> frozenset[str]:
    return frozenset({mark.index, *(part.feed for part in mark.components if part.feed is not None)})


def _rules(tables: Tables) -> OracleRules:
    rules = tables.rulebook.oracle
    assert rules is not None
    return rules
