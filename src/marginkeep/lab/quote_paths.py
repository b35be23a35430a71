"""Quotes of several made-up sources along a price path: each a little off, each a little late, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.clearing.commands import Quote
from marginkeep.errors import InputError
from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

    from marginkeep.lab.opening import PricePath
    from marginkeep.rulebook import Rulebook
    from marginkeep.rulebook.oracle_rules import OracleRules

NOISE_ONE: Final = 10_000
"""Noise counts basis points."""

NOISE_DEFAULT: Final = 3
NOISE_STEPS: Final = 100
"""A source's error is a multiple of this part of a basis point."""

LATENCY_MAX_NS: Final = 800_000_000


@dataclass(frozen=True, slots=True, eq=False)
class QuotePath:
    """What every source says of every feed, tick by tick.

    Attributes
    ----------
    times_ns : int64[T], nanoseconds UTC, strictly rising
    lines : (feed, source) by column
    units : tick of each column's feed
    prices : int64[T, Q], ticks of the feed
    source_ns, arrival_ns : int64[T, Q], when it was made and when it arrives
    quoted : bool[T, Q], False where the source says nothing
    """

    times_ns: NDArray[np.int64]
    lines: tuple[tuple[str, str], ...]
    units: tuple[Fraction, ...]
    prices: NDArray[np.int64]
    source_ns: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    quoted: NDArray[np.bool_]

    def batch(self, tick: int) -> tuple[Quote, ...]:
        """Return the quotes of one tick in order of arrival, ties by column."""
        columns = np.flatnonzero(self.quoted[tick])
        columns = columns[np.argsort(self.arrival_ns[tick, columns], kind="stable")]
        numbers = (self.prices, self.source_ns, self.arrival_ns)
        rows = zip(columns.tolist(), *(values[tick, columns].tolist() for values in numbers), strict=True)
        lines = self.lines
        return tuple(
            Quote(source=lines[column][1], feed=lines[column][0], price=price, source_ns=made, arrival_ns=arrived)
            for column, price, made, arrived in rows
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, in order."""
        return tuple(dict.fromkeys(source for _, source in self.lines))

    @property
    def feeds(self) -> tuple[str, ...]:
        """Names of the feeds, in order."""
        return tuple(dict.fromkeys(feed for feed, _ in self.lines))


def make_quotes(path: PricePath, rulebook: Rulebook, seed: int, noise: int = NOISE_DEFAULT) -> QuotePath:
    """Let every source of every feed quote every tick.

    A source's price is the path's, off by an evenly distributed share; its source time is that of the tick; it arrives
    up to 0.8 s later, and never later than half a tick.

    Parameters
    ----------
    rulebook : has oracle rules
    seed : the same seed gives the same quotes on every platform
    noise : basis points that a source is off at most

    Raises
    ------
    InputError : a feed for which the path has no price, or one that its tick cannot express
    """
    rules = rulebook.oracle
    assert rules is not None, "the caller has made sure that there is an oracle"
    rng = np.random.Generator(np.random.PCG64(seed))
    lines = tuple((feed.name, source.name) for feed in rules.feeds for source in feed.sources)
    ticks = {feed.name: feed.tick for feed in rules.feeds}
    true = _true_prices(path, rulebook, rules)
    prices = np.stack([true[feed] for feed, _ in lines], axis=1)
    limit, one = noise * NOISE_STEPS, NOISE_ONE * NOISE_STEPS
    error = prices * rng.integers(-limit, limit, prices.shape, endpoint=True)
    prices = np.maximum(1, prices + (error + one // 2) // one)
    times = path.times_ns
    latency = rng.integers(0, _latency_max(times), prices.shape, endpoint=True)
    source_ns = np.repeat(times[:, None], len(lines), axis=1)
    quoted = np.ones(prices.shape, np.bool_)
    units = tuple(ticks[feed] for feed, _ in lines)
    return QuotePath(times, lines, units, prices, source_ns, source_ns + latency, quoted)


def _latency_max(times: NDArray[np.int64]) -> int:
    shortest = int(np.diff(times).min(initial=2 * LATENCY_MAX_NS))
    return min(LATENCY_MAX_NS, shortest // 2)


def _true_prices(path: PricePath, rulebook: Rulebook, rules: OracleRules) -> dict[str, NDArray[np.int64]]:
    """Return feed -> int64[T]: the path's prices in ticks of the feed, those of a ratio divided by its base."""
    values = {feed.name: _values(feed.name, path, rulebook, rules) for feed in rules.feeds}
    true = {}
    for feed in rules.feeds:
        exact = values[feed.name]
        if feed.base is not None:
            exact = [value / base for value, base in zip(exact, values[feed.base], strict=True)]
        ticks = [round(value / feed.tick) for value in exact]
        if not 1 <= min(ticks) <= max(ticks) <= FEED_PRICE_MAX // 100:
            raise InputError(
                f"feed {feed.name} has prices from {float(min(exact)):g} to {float(max(exact)):g}, which its tick "
                f"{float(feed.tick):g} cannot express: correct oracle.feeds.{feed.name}.tick"
            )
        true[feed.name] = np.array(ticks, np.int64)
    return true


def _values(feed: str, path: PricePath, rulebook: Rulebook, rules: OracleRules) -> list[Fraction]:
    """Return a feed's value along the path: that of a market that it prices, or of the asset it is named for."""
    for mark in rules.marks:
        if mark.market in path.markets and feed in (mark.index, *(part.feed for part in mark.components)):
            return _exact(path.mark_ticks[:, path.markets.index(mark.market)], rulebook.markets[mark.market].tick)
    if feed in path.assets:
        return _exact(path.asset_ticks[:, path.assets.index(feed)], rulebook.assets[feed].tick)
    raise InputError(
        f"feed {feed} of the rulebook has no prices in the file: name it after an asset or let it be the index of a "
        f"market that the file has, or leave it out"
    )


def _exact(ticks: NDArray[np.int64], tick: Fraction) -> list[Fraction]:
    return [count * tick for count in ticks.tolist()]
