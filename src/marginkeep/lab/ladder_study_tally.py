"""What the events of one replay on the ladder add up to: who was called, reduced, auctioned, and what it cost whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from marginkeep.book.limits import payoff_at
from marginkeep.clearing.events import (
    AuctionBid,
    AuctionOpened,
    CallCured,
    Liquidated,
    MarginCalled,
    RungChanged,
)
from marginkeep.clearing.loss_events import Deleveraged, LossCovered
from marginkeep.margin.tiered import signed_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.book.valuation import Valuation
    from marginkeep.clearing.events import Event, LiquidationStep
    from marginkeep.clearing.state import State

FORCED: Final = ("soft", "partial", "auction", "bankrupt")
"""Rungs on which the house acts: the time to resolution begins with the first of them."""

ENDED: Final = ("healthy", "closed")


@dataclass(slots=True)
class Tally:
    """Sums over one replay; amounts in reporting units, times in nanoseconds.

    Attributes
    ----------
    called, forced, auctioned, bankrupt : accounts that were called, reduced by force, put up for auction, bankrupt
    cured_calls : accounts of which a call was cured
    notional : of all forced trades at their prices, auctions and bankrupt accounts included
    auctioned_notional : of what bidders took, at the marks
    penalty, slippage : what forced trades cost owners beside the mark: penalties, and price less mark (slippage,
        discounts and rewards of auctions); of accounts that were not bankrupt
    fund_paid, socialised : what funds and the holders of markets paid for bankrupt accounts
    ruined : accounts for which others had to pay
    winners, deleveraged, deleveraged_notional : accounts deleveraged, the profit that they gave up, what they closed
    begun : since when an account has been on a forced rung
    resolved_ns : how long each stay on forced rungs took
    """

    called: set[str] = field(default_factory=set)
    cured_calls: set[str] = field(default_factory=set)
    forced: set[str] = field(default_factory=set)
    auctioned: set[str] = field(default_factory=set)
    bankrupt: set[str] = field(default_factory=set)
    winners: set[str] = field(default_factory=set)
    ruined: set[str] = field(default_factory=set)
    notional: int = 0
    auctioned_notional: int = 0
    penalty: int = 0
    slippage: int = 0
    fund_paid: int = 0
    socialised: int = 0
    deleveraged: int = 0
    deleveraged_notional: int = 0
    begun: dict[str, int] = field(default_factory=dict)
    resolved_ns: list[int] = field(default_factory=list)
    _closed: dict[tuple[bool, int], list[int]] = field(default_factory=dict)

    @property
    def cured(self) -> int:
        """How many called accounts were cured and never reduced by force."""
        return len(self.cured_calls - self.forced - self.bankrupt)

    def add(self, events: Iterable[Event], state: State) -> None:
        """Count what has just happened, at the time and prices of the state."""
        for event in events:
            if isinstance(event, Liquidated):
                self._add_reduction(event, state)
            elif isinstance(event, AuctionBid):
                self._add_bid(event, state)
            elif isinstance(event, Deleveraged):
                self.forced.add(event.account)
                self.notional += _closed_value(event, state)
            elif isinstance(event, RungChanged):
                self._move(event, state.now_ns)
            elif isinstance(event, MarginCalled):
                self.called.add(event.account)
            elif isinstance(event, CallCured):
                self.cured_calls.add(event.account)
            elif isinstance(event, AuctionOpened):
                self.auctioned.add(event.account)

    def add_losses(self, events: Iterable[Event], state: State) -> None:
        """Count what others bear for bankrupt accounts, whoever owns these."""
        for event in events:
            if isinstance(event, Deleveraged):
                self.deleveraged_notional += _closed_value(event, state)
                self.deleveraged += event.taken
                self.winners.update(fill.account for fill in event.fills)
            elif isinstance(event, LossCovered):
                self.ruined.add(event.account)
                self.fund_paid += event.fund_paid
                self.socialised += event.socialised

    def hindsight(self, valuation: Valuation) -> int:
        """Return what the closed positions would have gained since, at present prices; below 0 = lost."""
        total = 0
        for (is_market, index), (size, value) in self._closed.items():
            asset = valuation.tables.markets[index].settle if is_market else index
            now = _value(valuation, index, size) if is_market else size
            worth = now * valuation.asset_x[asset] // valuation.asset_y[asset]
            total += worth - value
        return total

    def _add_reduction(self, event: Liquidated, state: State) -> None:
        self.forced.add(event.account)
        self.notional += event.notional
        if event.rung == "bankrupt":
            return
        self.penalty += event.penalty
        for step in event.steps:
            self._add_step(step, state)

    def _add_bid(self, event: AuctionBid, state: State) -> None:
        self.forced.add(event.account)
        self.notional += event.notional
        self.auctioned_notional += event.notional
        for step in event.fills:
            self._add_step(step, state)
        self.slippage += _worth(state.valuation, event.reward_asset, event.reward)

    def _add_step(self, step: LiquidationStep, state: State) -> None:
        """Count what a step lost against the mark, and remember what its owner no longer has."""
        valuation = state.valuation
        if step.what == "sell":
            index = valuation.tables.asset_index[step.name]
            fair = _worth(valuation, step.name, step.size)
            self.slippage += fair - _worth(valuation, step.asset, step.value)
            self._remember((False, index), step.size, fair)
            return
        index = valuation.tables.market_index[step.name]
        market = valuation.tables.markets[index]
        x, y = payoff_at(market, step.price)
        fair = _value(valuation, index, -step.size)
        got = signed_value(-step.size, market.sign, x, y)
        self.slippage += _worth(valuation, step.asset, fair - got)
        self._remember((True, index), -step.size, _worth(valuation, step.asset, fair))

    def _remember(self, what: tuple[bool, int], size: int, value: int) -> None:
        sums = self._closed.setdefault(what, [0, 0])
        sums[0] += size
        sums[1] += value

    def _move(self, event: RungChanged, now_ns: int) -> None:
        if event.after == "bankrupt":
            self.bankrupt.add(event.account)
        if event.after in FORCED:
            self.begun.setdefault(event.account, now_ns)
        elif event.after in ENDED and event.account in self.begun:
            self.resolved_ns.append(now_ns - self.begun.pop(event.account))


def _value(valuation: Valuation, market: int, size: int) -> int:
    """Return the signed value of lots at the present mark, settle units."""
    sign = valuation.tables.markets[market].sign
    return signed_value(size, sign, valuation.market_x[market], valuation.market_y[market])


def _closed_value(event: Deleveraged, state: State) -> int:
    return _worth(state.valuation, state.rulebook.markets[event.market].settle, event.value)


def _worth(valuation: Valuation, asset: str, amount: int) -> int:
    index = valuation.tables.asset_index[asset]
    return amount * valuation.asset_x[index] // valuation.asset_y[index]
