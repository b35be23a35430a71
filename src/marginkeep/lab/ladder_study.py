"""One crash under several rulebooks: the same book, prices and people, and what each ladder makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from marginkeep.book.health import equity
from marginkeep.clearing import AdvanceTime
from marginkeep.clearing.state import FUND, INSURANCE_FUND, LIQUIDATOR
from marginkeep.lab.ladder_study_people import BIDDER_PREFIX, Bidders, Owners
from marginkeep.lab.ladder_study_tally import Tally
from marginkeep.lab.population import SYSTEM_ACCOUNTS
from marginkeep.lab.replay import Replay, fund_value, open_interest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from marginkeep.clearing import Clearinghouse, Command, Event
    from marginkeep.lab.ladder_study_rules import Variant
    from marginkeep.lab.opening import PricePath

CLOCK_NS: Final = 10 * 10**9
"""Between two prices time advances in such steps while somebody is ill: soft steps and auctions go on."""

TAIL: Final = 99
"""The percentile that is shown of the time to resolution."""


@dataclass(frozen=True, slots=True, eq=False)
class VariantRun:
    """What one rulebook made of the crash; amounts in the reporting asset's smallest unit, times in nanoseconds.

    Attributes
    ----------
    called, liquidated, auctioned, bankrupt : accounts; liquidated: reduced by any forced trade
    cured : called accounts that were cured and never reduced by force
    deposited : what owners brought to answer calls
    bids : bids taken in auctions; left: bidders that had withdrawn by the end
    ruined : bidders whose own losses others had to bear
    hindsight : what the closed positions would have gained from their close to the last tick; below 0 = lost
    fund_path : int64[T], the insurance funds after each tick; fund_start: before the first
    resolved_ns : int64, rising: from an account's first forced rung to healthy or closed
    unresolved : accounts still on a forced rung at the end
    owners_result : equity of all accounts at the end, less that at the start and what was deposited
    liquidator_result, bidders_result : the same of who took positions over; the liquidator keeps them to the end
    rulebook_hash : SHA-256 of the rulebook
    """

    variant: Variant
    called: int
    cured: int
    liquidated: int
    auctioned: int
    bankrupt: int
    deposited: int
    bids: int
    left: int
    ruined: int
    notional: int
    auctioned_notional: int
    penalty: int
    slippage: int
    hindsight: int
    fund_start: int
    fund_path: NDArray[np.int64]
    fund_paid: int
    bad_debt: int
    socialised: int
    winners: int
    deleveraged: int
    deleveraged_notional: int
    resolved_ns: NDArray[np.int64]
    unresolved: int
    owners_result: int
    liquidator_result: int
    bidders_result: int
    rulebook_hash: str

    @property
    def unpaid(self) -> int:
        """What accounts could not pay, whoever bore it: funds, deleveraged winners, holders, or nobody."""
        return self.fund_paid + self.deleveraged + self.socialised + self.bad_debt

    @property
    def trader_losses(self) -> int:
        """What forced closing cost owners: penalty, slippage, and what the price did afterwards."""
        return self.penalty + self.slippage + self.hindsight

    def resolution_percentile(self, percent: int) -> int:
        """Return the smallest time to resolution that at least this share of accounts does not exceed; 0 for none."""
        if not len(self.resolved_ns):
            return 0
        return int(self.resolved_ns[max(0, -(-percent * len(self.resolved_ns) // 100) - 1)])


class LadderReplay(Replay):
    """A replay in which time goes on between prices, owners answer calls, and bidders bid in auctions."""

    def __init__(self, house: Clearinghouse, path: PricePath, seed: int) -> None:
        super().__init__(house, path)
        self.tally = Tally()
        self.owners = Owners(seed)
        self.fund_start = funds_value(house)
        self.worth_start = worths(house)
        self.bidders: Bidders | None = None
        self._tick = 0
        ladder = house.state.rulebook.ladder
        if ladder is not None and ladder.auctions is not None:
            self.bidders = Bidders(house, seed, open_interest(house), self._answer)

    def take_in(self, tick: int, events: tuple[Event, ...]) -> None:
        """Count what a command has done, and let owners read their calls.

        Bidders are nobody's customers: of their own troubles only what others bear for them is counted.
        """
        of_bidders = [getattr(event, "account", "").startswith(BIDDER_PREFIX) for event in events]
        seen = tuple(event for event, is_bidder in zip(events, of_bidders, strict=True) if not is_bidder)
        super().take_in(tick, seen)
        self.tally.add(seen, self.house.state)
        self.tally.add_losses(events, self.house.state)
        self.owners.read(seen, self.house)

    def _step(self, tick: int) -> None:
        self._tick = tick
        for now_ns in self._moments(tick):
            self.take_in(tick, self._apply(AdvanceTime(now_ns=now_ns)))
            self._act()
        super()._step(tick)
        self._act()
        self.fund_balance[tick] = funds_value(self.house)

    def _moments(self, tick: int) -> Iterator[int]:
        """Yield the times between the last price and this one, as long as they concern somebody."""
        if not tick:
            return
        for now_ns in range(int(self.path.times_ns[tick - 1]) + CLOCK_NS, int(self.path.times_ns[tick]), CLOCK_NS):
            if not self.house.state.ill and not self.owners.is_waiting:
                return
            yield now_ns

    def _act(self) -> None:
        self.owners.act(self.house, self._answer)
        if self.bidders is not None:
            self.bidders.pass_on(self.house, self._answer)
            self.bidders.act(self.house, self._answer)

    def _answer(self, command: Command) -> tuple[Event, ...]:
        """Apply a command of owners or bidders, which the house may refuse."""
        events = self.house.apply(command)
        self.take_in(self._tick, events)
        return events


def funds_value(house: Clearinghouse) -> int:
    """Return the balances of all insurance funds, in reporting units."""
    names = {name for name, _ in house.state.ledger if name == INSURANCE_FUND or name.startswith(FUND)}
    return sum(fund_value(house, name) for name in sorted(names))


class Worths(NamedTuple):
    """Equity by whom it belongs to, in reporting units."""

    owners: int
    bidders: int
    liquidator: int


def worths(house: Clearinghouse) -> Worths:
    """Return what the accounts of owners, of bidders and of the liquidator are worth."""
    state = house.state
    sums = [0, 0]
    for index in range(len(SYSTEM_ACCOUNTS), state.book.count):
        is_bidder = state.names[index].startswith(BIDDER_PREFIX)
        sums[is_bidder] += equity(state.book.read(index), state.valuation)
    return Worths(sums[0], sums[1], equity(state.book.read(state.index[LIQUIDATOR]), state.valuation))


def run_variants(
    path: PricePath,
    variants: Sequence[tuple[Variant, Callable[[], Clearinghouse]]],
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[VariantRun, ...]:
    """Replay the path under each rulebook, in order.

    Parameters
    ----------
    variants : each with what opens its house at the path's first prices
    seed : of the owners and bidders
    progress : is told how many ticks are done, of the number of variants times the path's
    stopped : is asked before each tick; what is returned then is every variant that was finished
    """
    runs: list[VariantRun] = []
    for number, (variant, open_house) in enumerate(variants):
        replay = LadderReplay(open_house(), path, seed)
        replay.run(partial(_advance, progress, number * len(path.times_ns)), stopped)
        if replay.done < len(path.times_ns):
            break
        runs.append(_measured(variant, replay))
    return tuple(runs)


def _advance(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def _measured(variant: Variant, replay: LadderReplay) -> VariantRun:
    """Return the figures of a finished replay."""
    tally, state, bidders = replay.tally, replay.house.state, replay.bidders
    now = worths(replay.house)
    return VariantRun(
        variant=variant,
        called=len(tally.called),
        cured=tally.cured,
        liquidated=len(tally.forced),
        auctioned=len(tally.auctioned),
        bankrupt=len(tally.bankrupt),
        deposited=replay.owners.deposited,
        bids=bidders.bids if bidders else 0,
        ruined=sum(name.startswith(BIDDER_PREFIX) for name in tally.ruined),
        left=len(bidders.left) if bidders else 0,
        notional=tally.notional,
        auctioned_notional=tally.auctioned_notional,
        penalty=tally.penalty,
        slippage=tally.slippage,
        hindsight=tally.hindsight(state.valuation),
        fund_start=replay.fund_start,
        fund_path=replay.fund_balance.copy(),
        fund_paid=tally.fund_paid,
        bad_debt=int(replay.bad_debt[-1]),
        socialised=tally.socialised,
        winners=len(tally.winners),
        deleveraged=tally.deleveraged,
        deleveraged_notional=tally.deleveraged_notional,
        resolved_ns=np.sort(np.array(tally.resolved_ns, np.int64)),
        unresolved=len(tally.begun),
        owners_result=now.owners - replay.worth_start.owners - replay.owners.deposited,
        liquidator_result=now.liquidator - replay.worth_start.liquidator,
        bidders_result=now.bidders - (bidders.capital if bidders else 0),
        rulebook_hash=state.rulebook_hash,
    )
