"""Why an account fared otherwise with faults than without, in sentences made from what both houses saw."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Final

from marginkeep.lab.oracle_study_summary import duration_text
from marginkeep.lab.stories import Money, price_text
from marginkeep.lab.summary import format_time
from marginkeep.units import format_exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.lab.drill import Closed, Drill, Glimpse
    from marginkeep.lab.faults import Fault
    from marginkeep.oracle.lines import Line
    from marginkeep.oracle.price_seen import PriceSeen

BASIS_POINTS: Final = 10_000
NS_PER_SECOND: Final = 10**9
WHOLE_PERCENT: Final = 100
_USED: Final = "used"
_VALID: Final = "valid"


class Reasons:
    """Explains the differences of one drill."""

    def __init__(self, drill: Drill, faults: Sequence[Fault]) -> None:
        self._drill = drill
        self._faults = faults
        self._money = Money(drill.healthy.house.state)
        oracle = drill.healthy.oracle
        self._rules = oracle.rules
        self._lines: dict[str, Line] = {line.name: line for line in (*oracle.markets.values(), *oracle.assets.values())}

    def acted_on(self, closed: Closed | None) -> str:
        """Return the prices that an account's first liquidation was decided at, each with its quality."""
        if closed is None:
            return ""
        return ", ".join(f"{self._priced(seen)} {_standing(seen)}" for seen in closed.first.prices)

    def short(self, account: str, *, came_first: bool) -> str:
        """Return the reason in a few words: the price furthest from that of the other run, and how near it was there.

        Parameters
        ----------
        came_first : the run with faults was the first, or only, to liquidate it
        """
        glimpse = self._drill.glimpses[account]
        if glimpse.waits is not None:
            blocked = [f"{seen.name} {_standing(seen)}" for seen in glimpse.waits.prices if seen.blocked]
            return f"{'fault-free it waits' if came_first else 'waits'}: {', '.join(blocked)}"
        event = self._first(account).first
        moves = [(self._basis_points(seen.name, glimpse.tick), seen) for seen in event.prices]
        furthest, seen = max(moves, key=lambda move: abs(move[0]), default=(0.0, None))
        spare = f"{_share(glimpse)} to spare" if glimpse.health >= 0 else "nothing could be sold"
        if seen is None:
            return spare
        quality = (seen if came_first else glimpse.prices[seen.name]).quality
        shown = seen.name if quality == _VALID else f"{seen.name} {quality}"
        return f"{shown} {furthest:+,.1f} bp; {spare}"

    def sentences(self, account: str, *, came_first: bool) -> tuple[str, ...]:
        """Return the reason in sentences: what one run saw and did, what the other saw at that moment, the faults."""
        glimpse = self._drill.glimpses[account]
        event = self._first(account).first
        here, there = ("with the faults", "fault-free") if came_first else ("fault-free", "with the faults")
        at_ns = self._time_ns(glimpse.tick)
        decided = (
            f"{format_time(at_ns)}: {here}, its collateral {self._money(event.collateral)} was below the maintenance "
            f"requirement {self._money(event.requirement)}"
        )
        return (
            decided,
            *(self._compared(seen, account, came_first=came_first) for seen in event.prices),
            self._meanwhile(glimpse, there),
            self._faults_at(at_ns),
            *(self._spread_words(account) if came_first else ()),
            self._in_the_end(account, there, came_first=came_first),
        )

    def in_spread(self, account: str) -> bool:
        """Tell whether every price that decided lies within what the sources said that instant, had nothing failed.

        Then the faults have done no more than to shift the weight between sources that disagree anyway.
        """
        tick = self._drill.glimpses[account].tick
        return all(self._is_in_spread(seen, tick) for seen in self._first(account).first.prices)

    def _spread_words(self, account: str) -> tuple[str, ...]:
        if self.in_spread(account):
            return ("its prices are within what the sources of the fault-free run said at that moment",)
        return ("its prices are not within what the sources of the fault-free run said at that moment",)

    def _is_in_spread(self, seen: PriceSeen, tick: int) -> bool:
        healthy = self._drill.healthy
        if seen.price == int(healthy.prices[tick, healthy.names.index(seen.name)]):
            return True
        line = self._lines[seen.name]
        feed = next(feed for feed in self._rules.feeds if feed.name == self._feed_of(seen.name))
        low, high = self._said(feed.name, tick)
        if feed.base is not None:
            base_low, base_high = self._said(feed.base, tick)
            low, high = low * base_low, high * base_high
        rulebook = healthy.house.state.rulebook
        ticks = line.source.feed.unit / (rulebook.markets.get(seen.name) or rulebook.assets[seen.name]).tick
        return floor(low * ticks) <= seen.price <= ceil(high * ticks)

    def _said(self, feed: str, tick: int) -> tuple[int, int]:
        """Return the lowest and the highest fault-free quote of a feed, ticks."""
        quotes = self._drill.healthy.quotes
        columns = [column for column, (own, _) in enumerate(quotes.lines) if own == feed]
        said = quotes.prices[tick, columns].tolist()
        return min(said), max(said)

    def _feed_of(self, name: str) -> str:
        return next((mark.index for mark in self._rules.marks if mark.market == name), name)

    def _first(self, account: str) -> Closed:
        """Return the liquidation that the glimpse belongs to: that of the run which was first."""
        tick = self._drill.glimpses[account].tick
        runs = (self._drill.healthy, self._drill.faulted)
        return next(run.closed[account] for run in runs if account in run.closed and run.closed[account].tick == tick)

    def _time_ns(self, tick: int) -> int:
        return int(self._drill.healthy.path.times_ns[tick])

    def _priced(self, seen: PriceSeen) -> str:
        return f"{seen.name} {price_text(self._drill.healthy.house.state, seen.name, seen.price)}"

    def _compared(self, seen: PriceSeen, account: str, *, came_first: bool) -> str:
        """Say what a price was in one run, and what in the other, with the sources of the run with faults."""
        other = self._drill.glimpses[account].prices[seen.name]
        move = self._basis_points(seen.name, self._drill.glimpses[account].tick)
        words = "the same" if not move else f"{abs(move):,.1f} bp {'higher' if move > 0 else 'lower'} with the faults"
        price = price_text(self._drill.healthy.house.state, other.name, other.price)
        there = f"{'fault-free' if came_first else 'with the faults'} {price} ({_standing(other)})"
        sources = self._sources(seen if came_first else other)
        return f"{self._priced(seen)} ({_standing(seen)}), {there}, {words}: {sources}"

    def _sources(self, seen: PriceSeen) -> str:
        """Say how many sources were used, and of the others why not."""
        unit = self._lines[seen.name].source.feed.unit
        used = [source.source for source in seen.sources if source.use == _USED]
        words = [f"{len(used)} of {len(seen.sources)} sources used"]
        for source in seen.sources:
            if source.use != _USED:
                price = format_exact(source.price * unit, 9)
                age = f"{source.age_ns / NS_PER_SECOND:,.1f}s"
                words.append(f"{source.source} {source.use}, {price} of {age} ago")
        return ", ".join(words)

    def _basis_points(self, name: str, tick: int) -> float:
        """Return by how much a price is higher with the faults."""
        healthy, faulted = self._drill.healthy, self._drill.faulted
        column = healthy.names.index(name)
        fair = int(healthy.prices[tick, column])
        return (int(faulted.prices[tick, column]) - fair) / fair * BASIS_POINTS if fair else 0.0

    def _meanwhile(self, glimpse: Glimpse, there: str) -> str:
        if glimpse.waits is not None:
            return f"{there}, it was then short of {self._money(-glimpse.health)} too, but {glimpse.waits.because}"
        if glimpse.health < 0:
            return f"{there}, it was then short of {self._money(-glimpse.health)} too, but nothing could be sold"
        return f"{there}, it then had {self._money(glimpse.health)} more than required ({_share(glimpse)})"

    def _faults_at(self, at_ns: int) -> str:
        active = [fault for fault in self._faults if fault.start_ns <= at_ns < fault.end_ns]
        if active:
            words = (f"{fault.words}, {_begun(at_ns - fault.start_ns)}" for fault in active)
            return f"at work: {'; '.join(words)}"
        past = [fault for fault in self._faults if fault.end_ns <= at_ns]
        if not past:
            return "no fault had begun"
        last = max(past, key=lambda fault: fault.end_ns)
        return (
            f"no fault was at work; the last one, {last.words}, had ended {duration_text(at_ns - last.end_ns)} before"
        )

    def _in_the_end(self, account: str, there: str, *, came_first: bool) -> str:
        other = self._drill.healthy if came_first else self._drill.faulted
        closed = other.closed.get(account)
        if closed is None:
            return f"{there}, it was not liquidated at all"
        later = self._time_ns(closed.tick) - self._time_ns(self._drill.glimpses[account].tick)
        at = format_time(self._time_ns(closed.tick))
        return f"{there}, it was liquidated at {at}, {duration_text(later)} later, at {self.acted_on(closed)}"


def _standing(seen: PriceSeen) -> str:
    """Return a price's quality, and its market's or peg's state where that is not the usual one."""
    usual = seen.state in ("", "open", "pegged", seen.quality)
    return seen.quality if usual else f"{seen.quality}, {seen.state}"


def _begun(ago_ns: int) -> str:
    return f"for {duration_text(ago_ns)}" if ago_ns else "just begun"


def _share(glimpse: Glimpse) -> str:
    """Return how far from liquidation the account was, as a share of its requirement."""
    if not glimpse.requirement:
        return "without a requirement"
    percent = 100 * glimpse.health / glimpse.requirement
    return f"{percent:.2f} %" if abs(percent) < WHOLE_PERCENT else f"{percent:,.0f} %"
