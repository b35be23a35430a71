"""Who answers in a ladder study: owners who add collateral when called, and bidders in auctions.

Both are made up and seeded. A draw depends on the seed and on who draws, never on the order of events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.clearing import Deposit, Trade
from marginkeep.clearing.auctioning import open_auctions
from marginkeep.clearing.commands import Bid, RegisterLiquidator
from marginkeep.clearing.events import MarginCalled, Rejected
from marginkeep.clearing.state import EXTERNAL
from marginkeep.errors import InputError
from marginkeep.margin.tiered import notional
from marginkeep.rulebook.ladder_rules import CALLED
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from marginkeep.clearing import Clearinghouse, Command, Event
    from marginkeep.clearing.auctioning import OpenAuction

    Apply = Callable[[Command], tuple[Event, ...]]

ANSWERING: Final = 0.4
"""Share of calls that their owner answers."""

SLOWEST: Final = 1.25
"""An answer comes after a part of the deadline between nothing and this: some are too late."""

SPARE_PERCENT: Final = 10
"""How much more than asked for is deposited."""

BIDDERS: Final = 8
BIDDER_PREFIX: Final = "bidder-"
CAPITAL_OF_INTEREST: Final = 0.005
"""What all bidders bring, as a share of the value of open interest."""

CHEAPEST, DEAREST = 0.0005, 0.01
"""Discount at which the cheapest and the dearest bidder bid in a calm market."""

DOUBLING_FALL: Final = 0.2
"""The discount asked for is twice that once prices have fallen by this share, and grows in proportion."""

LEAST_PATIENCE, MOST_PATIENCE = 0.15, 0.5
"""A bidder withdraws for good when prices have fallen by more than its patience, drawn between these."""

MOST_LEVERAGE: Final = 5
"""A bidder takes over no more than makes its positions worth this multiple of its capital."""

PASSED_ON: Final = 2
"""Each time the clock ticks, a bidder passes on one part in this many of what it holds, elsewhere, at the mark."""


class Owners:
    """Owners of called accounts; each call is answered or not, once, with what it asked for and a little more."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._calls: dict[str, int] = {}
        self._due: list[tuple[int, str, str, int]] = []
        self.deposited = 0

    def read(self, events: Iterable[Event], house: Clearinghouse) -> None:
        """Read calls as they come, and decide on each."""
        for event in events:
            if isinstance(event, MarginCalled) and event.deadline_ns and event.deposits:
                self._decide(event, house)

    def _decide(self, call: MarginCalled, house: Clearinghouse) -> None:
        number = self._calls[call.account] = self._calls.get(call.account, 0) + 1
        draw = np.random.default_rng([self._seed, house.state.index[call.account], number])
        answers, delay = draw.random() < ANSWERING, draw.random() * SLOWEST
        if answers:
            asked, now_ns = call.deposits[0], house.state.now_ns
            at_ns = now_ns + int(delay * (call.deadline_ns - now_ns))
            self._due.append((at_ns, call.account, asked.asset, asked.amount * (100 + SPARE_PERCENT) // 100))

    @property
    def is_waiting(self) -> bool:
        """Tell whether an answer is on its way."""
        return bool(self._due)

    def act(self, house: Clearinghouse, apply: Apply) -> None:
        """Deposit for every call whose answer is due and that still runs."""
        now_ns = house.state.now_ns
        due = sorted(row for row in self._due if row[0] <= now_ns)
        self._due = [row for row in self._due if row[0] > now_ns]
        for _, name, asset, amount in due:
            ill = house.state.ill.get(name)
            if ill is not None and ill.rung == CALLED:
                events = apply(Deposit(account=name, asset=asset, amount=amount))
                if not isinstance(events[0], Rejected):
                    self.deposited += _worth(house, asset, amount)


class Bidders:
    """Registered liquidators with capital, a cost below which they do not bid, and a fall at which they leave."""

    def __init__(self, house: Clearinghouse, seed: int, open_interest: int, apply: Apply) -> None:
        draw = np.random.default_rng([seed, BIDDERS])
        costs = np.sort(draw.uniform(CHEAPEST, DEAREST, BIDDERS))
        self._costs = {f"{BIDDER_PREFIX}{number + 1}": float(cost) for number, cost in enumerate(costs)}
        patience = draw.uniform(LEAST_PATIENCE, MOST_PATIENCE, BIDDERS)
        self._patience = dict(zip(self._costs, patience.tolist(), strict=True))
        self._first_marks = list(house.state.valuation.marks)
        self.fall = 0.0
        self.bids = 0
        self.left: list[str] = []
        capital = int(open_interest * CAPITAL_OF_INTEREST) // BIDDERS
        self.capital = capital * BIDDERS
        self._most_held = capital * MOST_LEVERAGE
        for name in self._costs:
            for command in (
                Deposit(account=name, asset=house.state.rulebook.reporting, amount=capital),
                RegisterLiquidator(account=name),
            ):
                answer = apply(command)[0]
                if isinstance(answer, Rejected):
                    raise InputError(f"the bidders cannot be set up: {answer.reason}")

    def act(self, house: Clearinghouse, apply: Apply) -> None:
        """Bid in every open auction, the cheapest bidder first, each for as much as it can carry."""
        if not any(ill.auction is not None for ill in house.state.ill.values()):
            return
        self._look(house)
        for auction in open_auctions(house.state):
            if auction.fraction:
                self._compete(auction, house, apply)

    def _compete(self, auction: OpenAuction, house: Clearinghouse, apply: Apply) -> None:
        """Let the cheapest bidder that is left and has room take what it can carry, in one auction."""
        for name, cost in self._costs.items():
            asked = int(cost * (1 + self.fall / DOUBLING_FALL) * RATE_ONE)
            if name in self.left or auction.discount < asked:
                continue
            room = self._most_held - _held(house, name)
            fraction = min(auction.fraction, auction.fraction * max(0, room) // max(1, auction.value))
            bid = Bid(account=auction.account, liquidator=name, fraction=fraction, least_discount=asked)
            if fraction and not isinstance(apply(bid)[0], Rejected):
                self.bids += 1
                return

    def pass_on(self, house: Clearinghouse, apply: Apply) -> None:
        """Let each bidder trade away a part of what it holds, at the mark; who has seen enough leaves."""
        self._look(house)
        state = house.state
        for name in self._costs:
            if self.fall > self._patience[name] and name not in self.left:
                self.left.append(name)
            for index, position in sorted(state.book.read(state.index[name]).positions.items()):
                if not position.size:
                    continue
                lots = max(1, abs(position.size) // PASSED_ON)
                buyer, seller = (EXTERNAL, name) if position.size > 0 else (name, EXTERNAL)
                market, mark = state.tables.markets[index].name, state.valuation.marks[index]
                apply(Trade(market=market, buyer=buyer, seller=seller, size=lots, price=mark))

    def _look(self, house: Clearinghouse) -> None:
        """Note how far prices have fallen since the start, on average over markets."""
        marks = zip(house.state.valuation.marks, self._first_marks, strict=True)
        kept = [now / first for now, first in marks if first]
        self.fall = max(0.0, 1.0 - float(np.mean(kept))) if kept else 0.0


def _held(house: Clearinghouse, name: str) -> int:
    """Return what an account's positions are worth, longs and shorts added up, in reporting units."""
    state = house.state
    total = 0
    for index, position in state.book.read(state.index[name]).positions.items():
        x, y = state.valuation.market_x[index], state.valuation.market_y[index]
        settle = state.tables.markets[index].settle
        total += notional(position.size, x, y) * state.valuation.asset_x[settle] // state.valuation.asset_y[settle]
    return total


def _worth(house: Clearinghouse, asset: str, amount: int) -> int:
    valuation = house.state.valuation
    index = valuation.tables.asset_index[asset]
    return amount * valuation.asset_x[index] // valuation.asset_y[index]
