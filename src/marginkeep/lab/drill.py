"""Two houses in step: the same book and prices, quoted well and quoted with faults, through the very engine.

Both advance tick by tick together, so that whenever one liquidates an account that the other does not, the other can
be asked at that very moment what it thought of the account.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.book.health import measure
from marginkeep.clearing import AdvanceTime, Liquidated, SetPrices
from marginkeep.clearing.commands import PublishQuotes
from marginkeep.clearing.events import Halted, MarginCalled, OracleChanged, QuotesTaken, Rejected
from marginkeep.clearing.state import BAD_DEBT, INSURANCE_FUND
from marginkeep.errors import InputError, InvariantViolation
from marginkeep.lab.replay import fund_value
from marginkeep.rulebook.model import MAINTENANCE
from marginkeep.rulebook.oracle_rules import QUALITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from marginkeep.clearing import Clearinghouse, Event
    from marginkeep.clearing.commands import Command
    from marginkeep.lab.opening import PricePath
    from marginkeep.lab.quote_paths import QuotePath
    from marginkeep.oracle.lines import Line
    from marginkeep.oracle.oracle import Oracle
    from marginkeep.oracle.price_seen import PriceSeen

CHANGES_KEPT: Final = 20_000
"""Most changes of quality, state, peg and source of one run that are kept one by one; all are counted."""


@dataclass(slots=True)
class Closed:
    """What became of one liquidated account: its first liquidation, and sums in reporting units over all."""

    tick: int
    first: Liquidated
    times: int = 0
    notional: int = 0
    penalty: int = 0
    fund_paid: int = 0
    bad_debt: int = 0

    def add(self, event: Liquidated) -> None:
        """Add one liquidation."""
        self.times += 1
        self.notional += event.notional
        self.penalty += event.penalty
        self.fund_paid += event.fund_paid
        self.bad_debt += event.bad_debt


@dataclass(slots=True)
class DrilledRun:
    """One house under one path of quotes: step it, and read what it answered.

    Attributes
    ----------
    names : what the oracle prices: markets, then assets
    prices : int64[T, names], ticks that accounts are valued at after each tick
    flags : int64[T, names], qualities of the latest price, as bits
    closed : account -> its liquidations; calls : account -> the latest margin call
    changes : (tick, change), without those of the first tick, at which every quality begins
    counts : of all changes, by (what, after)
    ignored : quotes that the oracle did not use, by reason
    """

    house: Clearinghouse
    quotes: QuotePath
    path: PricePath
    names: tuple[str, ...] = field(init=False)
    prices: NDArray[np.int64] = field(init=False)
    flags: NDArray[np.int64] = field(init=False)
    closed: dict[str, Closed] = field(default_factory=dict)
    calls: dict[str, MarginCalled] = field(default_factory=dict)
    called: int = 0
    taken: int = 0
    changes: list[tuple[int, OracleChanged]] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    _lines: tuple[Line, ...] = field(init=False)
    _by_hand: tuple[tuple[int, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        oracle = self.oracle
        self._lines = (*oracle.markets.values(), *oracle.assets.values())
        self.names = tuple(line.name for line in self._lines)
        shape = (len(self.path.times_ns), len(self.names))
        self.prices, self.flags = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        fed = {line.name for line in oracle.markets.values()}
        self._by_hand = tuple((column, name) for column, name in enumerate(self.path.markets) if name not in fed)

    @property
    def oracle(self) -> Oracle:
        """The house's oracle."""
        oracle = self.house.state.oracle
        assert oracle is not None, "the caller has made sure that the rulebook has an oracle"
        return oracle

    def step(self, tick: int) -> list[str]:
        """Give the house one tick's quotes; return the accounts liquidated for the first time."""
        new: list[str] = []
        for event in self._feed(tick):
            if isinstance(event, Liquidated):
                if event.account not in self.closed:
                    self.closed[event.account] = Closed(tick, event)
                    new.append(event.account)
                self.closed[event.account].add(event)
            else:
                self._note(tick, event)
        for column, line in enumerate(self._lines):
            self.prices[tick, column] = line.trusted
            self.flags[tick, column] = line.flags
        return new

    def _feed(self, tick: int) -> tuple[Event, ...]:
        """Publish the quotes, or let time pass where there are none, and set what the oracle does not price."""
        batch = self.quotes.batch(tick)
        now_ns = max(self.house.state.now_ns, int(self.path.times_ns[tick]))
        events = self._apply(tick, PublishQuotes(quotes=batch) if batch else AdvanceTime(now_ns=now_ns))
        if not self._by_hand:
            return events
        marks = {name: int(self.path.mark_ticks[tick, column]) for column, name in self._by_hand}
        return events + self._apply(tick, SetPrices(marks=marks))

    def _apply(self, tick: int, command: Command) -> tuple[Event, ...]:
        events = self.house.apply(command)
        if isinstance(events[0], Rejected):
            raise InputError(f"tick {tick + 1}: {events[0].reason}")
        return events

    def _note(self, tick: int, event: Event) -> None:
        if isinstance(event, QuotesTaken):
            self.taken += event.taken
            self.ignored.update(event.ignored)
        elif isinstance(event, MarginCalled):
            self.called += 1
            self.calls[event.account] = event
        elif isinstance(event, OracleChanged) and tick:
            self.counts[event.what, event.after] += 1
            if len(self.changes) < CHANGES_KEPT:
                self.changes.append((tick, event))
        elif isinstance(event, Halted):
            raise InvariantViolation(f"the self-check halted the house at tick {tick + 1}: {event.report}")

    def seen(self, names: list[str]) -> dict[str, PriceSeen]:
        """Return how the house sees some of its prices now."""
        evidence, now_ns = self.oracle.evidence, self.house.state.now_ns
        return {line.name: evidence.seen(line, now_ns) for line in self._lines if line.name in names}

    def figures(self) -> dict[str, int]:
        """Return the sums of the run so far; amounts in reporting units."""
        closed = self.closed.values()
        return {
            "liquidated_accounts": len(closed),
            "liquidations": sum(one.times for one in closed),
            "notional": sum(one.notional for one in closed),
            "penalty": sum(one.penalty for one in closed),
            "fund_paid": sum(one.fund_paid for one in closed),
            "fund_end": fund_value(self.house, INSURANCE_FUND),
            "bad_debt": -fund_value(self.house, BAD_DEBT),
            "margin_calls": self.called,
            "quotes_taken": self.taken,
            "quotes_ignored": sum(self.ignored.values()),
            "quarantines": self.counts["source", "quarantined"],
            "oracle_changes": sum(self.counts.values()),
        }


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What one house thought of an account when the other liquidated it.

    Attributes
    ----------
    health : collateral less requirement at maintenance, reporting units
    requirement : at maintenance
    waits : the margin call that stands in for a liquidation which may not be done; None when there is none
    prices : how that house saw the prices that the other one acted on, by name
    """

    tick: int
    health: int
    requirement: int
    waits: MarginCalled | None
    prices: dict[str, PriceSeen]


@dataclass(slots=True)
class Drill:
    """A drill in progress: `run` it, and read what it has found so far, even after an interruption.

    Attributes
    ----------
    glimpses : account -> what the other house thought of it, where the two did not liquidate it at the same tick
    """

    healthy: DrilledRun
    faulted: DrilledRun
    done: int = 0
    glimpses: dict[str, Glimpse] = field(default_factory=dict)

    def run(
        self, progress: Callable[[int], None] = lambda done: None, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Replay every tick in both houses.

        Parameters
        ----------
        progress : is told how many ticks are done
        stopped : is asked before each tick, so that both houses are always at the end of the same one
        """
        for tick in range(len(self.healthy.path.times_ns)):
            if stopped():
                return
            news = (self.healthy.step(tick), self.faulted.step(tick))
            for names, own, other in zip(news, (self.healthy, self.faulted), (self.faulted, self.healthy), strict=True):
                for name in names:
                    if name not in other.closed:
                        self.glimpses[name] = _look(other, name, tick, own.closed[name].first)
            self.done = tick + 1
            progress(self.done)


def _look(run: DrilledRun, name: str, tick: int, acted: Liquidated) -> Glimpse:
    state = run.house.state
    found = measure(state.book.read(state.index[name]), state.valuation, MAINTENANCE)
    waits = run.calls[name] if found.health < 0 and name in state.called else None
    return Glimpse(tick, found.health, found.requirement, waits, run.seen([price.name for price in acted.prices]))


def worst_quality(flags: int) -> str:
    """Return the worst of the qualities in these bits, by name."""
    return QUALITIES[flags.bit_length() - 1]
