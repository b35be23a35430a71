"""Replay prices over a book through the very engine that clears live, and keep what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.clearing import AdvanceTime, Liquidated, SetPrices, TopUpFund
from marginkeep.clearing.events import Rejected
from marginkeep.clearing.state import BAD_DEBT, INSURANCE_FUND
from marginkeep.errors import InputError
from marginkeep.lab.result import LiquidatedAccount, Timeline
from marginkeep.lab.stories import Story, tell
from marginkeep.rulebook.model import MAINTENANCE
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from marginkeep.clearing import Clearinghouse, Event
    from marginkeep.lab.opening import PricePath

WORST_SHOWN: Final = 20


@dataclass(slots=True)
class Replay:
    """A replay in progress: `run` it, and read what it has found so far at any moment, even after an interruption."""

    house: Clearinghouse
    path: PricePath
    done: int = 0
    health_before: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    stories: dict[str, Story] = field(default_factory=dict)
    liquidations: int = 0
    fund_paid: int = 0
    liquidated_accounts: NDArray[np.int64] = field(init=False)
    liquidated_notional: NDArray[np.int64] = field(init=False)
    penalties: NDArray[np.int64] = field(init=False)
    fund_balance: NDArray[np.int64] = field(init=False)
    bad_debt: NDArray[np.int64] = field(init=False)
    evaluations: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        ticks = len(self.path.times_ns)
        names = ("liquidated_accounts", "liquidated_notional", "penalties", "fund_balance", "bad_debt", "evaluations")
        for name in names:
            setattr(self, name, np.zeros(ticks, np.int64))

    def run(
        self, progress: Callable[[int], None] = lambda done: None, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Feed every tick to the clearinghouse.

        Parameters
        ----------
        progress : is told how many ticks are done
        stopped : is asked before each tick, so that the state is always that of a finished one
        """
        self.health_before = health_factors(self.house)
        for tick in range(len(self.path.times_ns)):
            if stopped():
                return
            self._step(tick)
            self.done = tick + 1
            progress(self.done)

    def _step(self, tick: int) -> None:
        path = self.path
        self.take_in(tick, self._apply(AdvanceTime(now_ns=int(path.times_ns[tick]))))
        marks = dict(zip(path.markets, path.mark_ticks[tick].tolist(), strict=True))
        prices = dict(zip(path.assets, path.asset_ticks[tick].tolist(), strict=True))
        before = self._evaluated()
        events = self._apply(SetPrices(marks=marks, prices=prices))
        made = self._evaluated() - before if self.house.state.watch else self._users()
        # A new watch looks at the two accounts of the system too, which nobody has to keep solvent.
        self.evaluations[tick] = made if before else min(made, self._users())
        self.take_in(tick, events)
        self.fund_balance[tick] = fund_value(self.house, INSURANCE_FUND)
        self.bad_debt[tick] = -fund_value(self.house, BAD_DEBT)

    def take_in(self, tick: int, events: tuple[Event, ...]) -> None:
        """Count what a command has done; on a ladder, time alone liquidates too."""
        for event in events:
            if isinstance(event, Liquidated):
                self.note(tick, event)

    def _apply(self, command: AdvanceTime | SetPrices) -> tuple[Event, ...]:
        events = self.house.apply(command)
        if isinstance(events[0], Rejected):
            raise InputError(f"tick {self.done + 1}: {events[0].reason}")
        return events

    def _evaluated(self) -> int:
        """Return how many evaluations the watch has made; 0 while there is none: then every tick scans all accounts."""
        watch = self.house.state.watch
        return 0 if watch is None else watch.evaluated

    def _users(self) -> int:
        """Return how many accounts a scan evaluates for their owners: all but the two of the system."""
        return self.house.state.book.count - 2

    def note(self, tick: int, event: Liquidated) -> None:
        """Count a liquidation; called for each as it happens, and extended by replays that keep more."""
        self.liquidations += 1
        self.liquidated_accounts[tick] += 1
        self.liquidated_notional[tick] += event.notional
        self.penalties[tick] += event.penalty
        self.fund_paid += event.fund_paid
        story = self.stories.get(event.account)
        if story is None:
            story = self.stories[event.account] = Story(event.account, int(self.path.times_ns[tick]), event)
        story.add(event, self._realised(event))

    def _realised(self, event: Liquidated) -> int:
        """Return the profit that the steps realised, below 0 for a loss, in reporting units."""
        valuation = self.house.state.valuation
        index = valuation.tables.asset_index
        return sum(
            step.realised * valuation.asset_x[index[step.asset]] // valuation.asset_y[index[step.asset]]
            for step in event.steps
        )

    def timeline(self) -> Timeline:
        """Return the columns of the ticks done so far."""
        done = slice(0, self.done)
        ticks = {name: float(self.house.state.rulebook.markets[name].tick) for name in self.path.markets}
        return Timeline(
            times_ns=self.path.times_ns[done],
            marks={
                name: (self.path.mark_ticks[done, column] * ticks[name]).astype(np.float64)
                for column, name in enumerate(self.path.markets)
            },
            liquidated_accounts=self.liquidated_accounts[done],
            liquidated_notional=self.liquidated_notional[done],
            penalties=self.penalties[done],
            fund_balance=self.fund_balance[done],
            bad_debt=self.bad_debt[done],
            evaluations=self.evaluations[done],
        )

    def worst(self) -> tuple[LiquidatedAccount, ...]:
        """Return the worst accounts by what others had to pay for them, then by their own loss, each explained."""
        ranked = sorted(self.stories.values(), key=lambda story: (-story.unpaid, -story.lost, story.account))
        return tuple(tell(story, self.house.state) for story in ranked[:WORST_SHOWN])


def top_up_fund(house: Clearinghouse, amount: int) -> None:
    """Give the insurance fund its opening balance in the reporting asset.

    Raises
    ------
    InputError : the clearinghouse refuses it, for example because it is beyond 64 bits
    """
    reporting = house.state.rulebook.assets[house.state.rulebook.reporting]
    if not amount:
        return
    event = house.apply(TopUpFund(asset=reporting.name, amount=amount))[0]
    if isinstance(event, Rejected):
        shown = format_units(amount, reporting.decimals)
        raise InputError(f"the insurance fund cannot start with {shown} {reporting.name}: {event.reason}")


def fund_value(house: Clearinghouse, name: str) -> int:
    """Return a ledger account's balances of all assets, in reporting units."""
    valuation = house.state.valuation
    return sum(
        amount * valuation.asset_x[asset] // valuation.asset_y[asset]
        for (account, asset), amount in house.state.ledger.items()
        if account == name
    )


def open_interest(house: Clearinghouse) -> int:
    """Return the value of all long positions, in reporting units."""
    from marginkeep.book.columns import MARKET, SIZE, totals_by

    rows = house.state.book.position_rows()
    valuation = house.state.valuation
    lots = totals_by(rows[:, MARKET], np.maximum(rows[:, SIZE], 0), len(valuation.marks))
    total = 0
    for table in valuation.tables.markets:
        value = lots[table.index] * valuation.market_x[table.index] // valuation.market_y[table.index]
        total += value * valuation.asset_x[table.settle] // valuation.asset_y[table.settle]
    return total


def health_factors(house: Clearinghouse) -> NDArray[np.float64]:
    """Return the health factors of accounts that need margin, as floats: for pictures only."""
    from marginkeep.book.kernels import measure_all

    collateral, requirement = measure_all(house.state.book, house.state.valuation, MAINTENANCE)
    needs = requirement > 0
    return collateral[needs] / requirement[needs]
