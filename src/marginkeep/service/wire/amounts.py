"""Decimal strings on the wire, integers inside: which unit a number has, and the grid that converts it."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from marginkeep.errors import PrecisionError
from marginkeep.rulebook.grid import count_units
from marginkeep.service.wire.problems import Problem
from marginkeep.units import INT64_SAFE, RATE_ONE, decimals_of, format_units

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from marginkeep.rulebook import Rulebook

Kind = Literal["amount", "settle", "lots", "ticks", "size", "feed", "source", "rate", "reporting", "index", "plain"]

EACH_KEY: Final = "*"
"""In `Unit.of`: each key of the table names its own asset or market."""

DECIMAL_PATTERN: Final = r"^-?[0-9]{1,30}(\.[0-9]{1,30})?$"
DECIMAL_LENGTH_MAX: Final = 60
NAMES_MOST: Final = 8
"""Names of assets, markets or feeds that a refusal lists."""

_DECIMAL: Final = re.compile(DECIMAL_PATTERN[:-1] + r"\Z", re.ASCII)


class Unit(NamedTuple):
    """What an integer counts.

    Attributes
    ----------
    kind : ``amount`` smallest units of an asset; ``settle`` those of a market's settle asset; ``lots`` of a market;
        ``ticks`` of a market or asset; ``size`` lots of a market or smallest units of an asset, whichever it is;
        ``feed`` ticks of a feed; ``source`` ticks of the feed behind a market or asset; ``rate`` parts per 10^9;
        ``reporting`` smallest units of the reporting asset; ``index`` 10^-9 settle units a lot of a market; ``plain``
        a count or a time, which stays an integer
    of : the field beside it that names the asset, market or feed
    """

    kind: Kind
    of: str = ""


RATE: Final = Unit("rate")
REPORTING: Final = Unit("reporting")
PLAIN: Final = Unit("plain")


class Grid:
    """Multiples of one unit, as decimal strings."""

    __slots__ = ("_decimals", "_step", "_unit", "_unit_name")

    def __init__(self, unit: Fraction, unit_name: str) -> None:
        self._unit = unit
        self._unit_name = unit_name
        self._decimals = decimals_of(unit)
        self._step = int(unit * 10**self._decimals)

    def parse(self, text: str, what: str) -> int:
        """Read a decimal string as a count of units.

        Raises
        ------
        PrecisionError : not a plain decimal number, between two units, or beyond what the engine can hold
        """
        if len(text) > DECIMAL_LENGTH_MAX or not _DECIMAL.match(text):
            raise PrecisionError(f'{what} is {text[:DECIMAL_LENGTH_MAX]!r}: give a plain decimal such as "0.001"')
        whole, _, part = text.partition(".")
        if len(part) > self._decimals:
            return self._bounded(count_units(Fraction(text), self._unit, what, self._unit_name), what)
        count, rest = divmod(int(whole + part.ljust(self._decimals, "0")), self._step)
        if rest:
            count_units(Fraction(text), self._unit, what, self._unit_name)
        return self._bounded(count, what)

    def format(self, count: int) -> str:
        """Write a count of units as a decimal string."""
        return format_units(count * self._step, self._decimals)

    def _bounded(self, count: int, what: str) -> int:
        if abs(count) > INT64_SAFE:
            highest = self.format(INT64_SAFE)
            raise PrecisionError(f"{what} is beyond what the engine can hold, {highest}: make it smaller")
        return count


class Units:
    """The grids of one rulebook."""

    def __init__(self, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self._grids: dict[tuple[Kind, str], Grid] = {}
        self._makers: dict[Kind, Callable[[str], Grid]] = {
            "amount": self._amount,
            "settle": lambda name: self._amount(self._settle_asset(name)),
            "lots": lambda name: Grid(self._market(name), "lot"),
            "ticks": self._ticks,
            "size": lambda name: self._amount(name) if name in rulebook.assets else Grid(self._market(name), "lot"),
            "feed": self._feed,
            "source": lambda name: self._feed(self._feed_behind(name)),
            "rate": lambda _: Grid(Fraction(1, RATE_ONE), "rate step"),
            "reporting": lambda _: self._amount(rulebook.reporting),
            "index": lambda name: Grid(rulebook.asset(self._settle_asset(name)).unit / RATE_ONE, "index step"),
        }
        oracle = rulebook.oracle
        self._feed_ticks = {feed.name: feed.tick for feed in oracle.feeds} if oracle else {}
        self._mark_feeds = {mark.market: mark.index for mark in oracle.marks} if oracle else {}

    def grid(self, kind: Kind, name: str) -> Grid:
        """Return the grid of a kind of unit and the asset, market or feed that it belongs to.

        Raises
        ------
        Problem : ``rejected`` with the refusal the clearinghouse would give: it has no such asset, market or feed
        """
        grid = self._grids.get((kind, name))
        if grid is None:
            grid = self._grids[kind, name] = self._makers[kind](name)
        return grid

    def _amount(self, name: str) -> Grid:
        asset = self.rulebook.assets.get(name)
        if asset is None:
            raise unknown("asset", name, self.rulebook.assets)
        return Grid(asset.unit, "smallest unit")

    def _settle_asset(self, name: str) -> str:
        self._market(name)
        return self.rulebook.markets[name].settle

    def _market(self, name: str) -> Fraction:
        """Return a market's lot."""
        market = self.rulebook.markets.get(name)
        if market is None:
            raise unknown("market", name, self.rulebook.markets)
        return market.lot

    def _ticks(self, name: str) -> Grid:
        owner = self.rulebook.markets.get(name) or self.rulebook.assets.get(name)
        if owner is None:
            raise unknown("market", name, (*self.rulebook.markets, *self.rulebook.assets))
        return Grid(owner.tick, "tick")

    def _feed(self, name: str) -> Grid:
        tick = self._feed_ticks.get(name)
        if tick is None:
            raise unknown("feed", name, self._feed_ticks)
        return Grid(tick, "tick")

    def _feed_behind(self, name: str) -> str:
        """Return the feed that prices a market or an asset: an asset's has its name."""
        return self._mark_feeds.get(name, name)


def unknown(what: str, name: str, known: Collection[str]) -> Problem:
    """Return the refusal of a name that the rulebook does not have: as the clearinghouse's, but not recorded."""
    listed = ", ".join(list(known)[:NAMES_MOST]) + (", ..." if len(known) > NAMES_MOST else "")
    reason = f"{what} {name!r:.80} is not in the rulebook: use one of {listed or 'none'}"
    return Problem("rejected", reason, refusal=f"unknown_{what}", numbers={})


class _Latest:
    units: Units | None = None


def units_of(rulebook: Rulebook) -> Units:
    """Return the grids of a rulebook, kept while the same one is asked for."""
    units = _Latest.units
    if units is None or units.rulebook is not rulebook:
        units = _Latest.units = Units(rulebook)
    return units
