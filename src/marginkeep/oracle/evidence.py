"""Evidence for decisions: each price with its quality, its sources and their ages, and what it blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from marginkeep.oracle.aggregation import DISPERSION, SPREAD, USED
from marginkeep.oracle.price_seen import PriceSeen
from marginkeep.rulebook.durations import format_duration
from marginkeep.rulebook.oracle_rules import QUALITIES
from marginkeep.units import format_exact, format_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.oracle.feed_price import FeedPrice
    from marginkeep.oracle.feeds import Feeds
    from marginkeep.oracle.lines import Line


class Evidence:
    """Makes evidence when it is asked for, once for all decisions of one moment. Derived, so not part of the state."""

    __slots__ = ("_feeds", "_known", "_prices")

    def __init__(self, feeds: Feeds, prices: Sequence[FeedPrice]) -> None:
        self._feeds = feeds
        self._prices = prices
        self._known: dict[str, tuple[int, PriceSeen]] = {}

    def forget(self, line: Line) -> None:
        """Make a line's evidence anew at the next question: it has changed."""
        self._known.pop(line.name, None)

    def seen(self, line: Line, now_ns: int, blocked: str = "") -> PriceSeen:
        """Return the evidence behind a line's price now, and what it blocked."""
        known = self._known.get(line.name)
        if known is None or known[0] != now_ns:
            sources = self._feeds.seen(self._number(line), now_ns)
            seen = PriceSeen(line.name, line.trusted, line.latest, line.quality, line.state_name, sources)
            known = self._known[line.name] = (now_ns, seen)
        return msgspec.structs.replace(known[1], blocked=blocked) if blocked else known[1]

    def why_quality(self, line: Line) -> str:
        """Say what applies to a line's latest price, with the numbers behind it."""
        number = self._number(line)
        row = self._feeds.feeds[number].tolist()
        rules = self._feeds.rules[number]
        qualities = " and ".join(name for bit, name in enumerate(QUALITIES) if line.flags >> bit & 1)
        spread = ", ".join(
            f"{what} {format_units(row[column], 9)} of the price"
            for what, column in (("confidence", SPREAD), ("dispersion", DISPERSION))
        )
        return f"{qualities}: {row[USED]} of {len(rules.sources)} sources of {rules.name} used, {spread}"

    def describe_sources(self, line: Line, now_ns: int) -> str:
        """Say how each source of a line stands: price, age and use."""
        tick = self._feeds.rules[self._number(line)].tick
        return ", ".join(
            f"{source.source} {format_exact(source.price * tick)} ({format_duration(source.age_ns)} old, {source.use})"
            if source.price
            else f"{source.source} ({source.use})"
            for source in self.seen(line, now_ns).sources
        )

    def _number(self, line: Line) -> int:
        return self._prices.index(line.source.feed)
