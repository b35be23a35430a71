"""An oracle section for the example rulebook: every market follows an index of all sources, with sane guards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.lab.example_rules import base_of, toml_key, toml_text
from marginkeep.units import format_exact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from marginkeep.rulebook import Rulebook

SOURCE_NAMES: Final = (
    *("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"),
    *("india", "juliett", "kilo", "lima", "mike", "november", "oscar", "papa"),
)
"""Names of made-up sources; none is a venue."""

_GUARDS: Final = (
    "",
    "[oracle.defaults] # sources further than this from the others, or frozen while the index moves, are left out",
    'outlier_band = "0.02"',
    'frozen_after = "60s"',
    "",
    "[oracle.score] # four bad quotes in a row and a source is left out for a while",
    "memory = 5",
    "",
    "[oracle.stable] # the slow price that opening risk is also measured at",
    'per_second = "0.0003"',
    'delayed_per_hour = "0.06"',
)
_TRIGGERS: Final = (
    '    { horizon = "60s", fall = "0.1", rise = "0.1", state = "guarded", duration = "60s" },',
    '    { horizon = "60s", fall = "0.25", rise = "0.25", state = "halted", duration = "60s" },',
)


def example_oracle_text(rulebook: Rulebook, sources: Sequence[str]) -> str:
    """Return an ``[oracle]`` table as TOML, to append to the text of an example rulebook.

    Parameters
    ----------
    rulebook : what `example_rules_text` gives, read
    sources : who quotes every feed
    """
    lines = ["", "[oracle] # prices one may act on: who quotes them, and what makes them good enough for what"]
    lines += [f"sources = [{', '.join(map(toml_text, sources))}]", *_GUARDS]
    for feed, tick in _feeds(rulebook).items():
        lines += ["", f"[oracle.feeds.{toml_key(feed)}]", f'tick = "{format_exact(tick)}"']
    for market in rulebook.markets:
        lines += ["", *_market_lines(market, _feed_of(rulebook, market))]
    return "\n".join(lines) + "\n"


def _feed_of(rulebook: Rulebook, market: str) -> str:
    symbol = rulebook.markets[market].symbol
    return base_of(symbol) if symbol else market.partition("-")[0]


def _feeds(rulebook: Rulebook) -> dict[str, Fraction]:
    """Return feed -> tick, the finest of those that it feeds."""
    ticks: dict[str, Fraction] = {}
    owners = [(_feed_of(rulebook, name), market.tick) for name, market in rulebook.markets.items()]
    owners += [(name, asset.tick) for name, asset in rulebook.assets.items() if name != rulebook.reporting]
    for feed, tick in owners:
        ticks[feed] = min(tick, ticks.get(feed, tick))
    return ticks


def _market_lines(market: str, feed: str) -> list[str]:
    return [
        f"[oracle.marks.{toml_key(market)}] # no book of its own here: the mark is the index",
        f"index = {toml_text(feed)}",
        'preset = "index"',
        "",
        f"[oracle.breakers.{toml_key(market)}]",
        'liquidation_share = "0.02"',
        'liquidation_interval = "10s"',
        "triggers = [",
        *_TRIGGERS,
        "]",
    ]
