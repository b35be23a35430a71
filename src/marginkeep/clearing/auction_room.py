"""Who may begin an auction within one command: the caps and the queue, counted once for all who ask.

Derived from the state at the first question of a command and forgotten with it. What ends within the command leaves its
room free from the next one on, so the caps hold at every moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.clearing.bidding import legs_of
from marginkeep.liquidation.auction_queue import Running, Waiting, may_start, next_to_start
from marginkeep.liquidation.auctions import is_over, next_run
from marginkeep.rulebook.ladder_rules import AUCTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.book.account import Account
    from marginkeep.clearing.ill import Ill
    from marginkeep.clearing.state import State
    from marginkeep.liquidation.auctions import Auction
    from marginkeep.rulebook.ladder_rules import AuctionRules


class AuctionRoom:
    """The room under the caps during one command.

    Attributes
    ----------
    sequence : number of the command
    running : value on offer, that of the waiting who may start now included
    starters : those, by index
    """

    __slots__ = ("_awaited", "_largest", "_rules", "running", "sequence", "starters")

    def __init__(self, state: State, rules: AuctionRules) -> None:
        self.sequence = state.sequence
        self._rules = rules
        self.running = _on_offer(state, rules)
        waiting = list(_waiting(state))
        self.starters = frozenset(next_to_start(waiting, self.running, rules))
        self._awaited: frozenset[int] = frozenset()
        self._largest = 0
        for row in waiting:
            if row.account in self.starters:
                self.running = self.running.plus(row.values)
            else:
                self._wait(row)

    def enter(self, row: Waiting) -> bool:
        """Tell whether an account may start its auction now; it counts as running, or waits, from then on.

        Nobody overtakes in a market that another waits for, nor anybody while another waits for room in all.
        """
        if row.account in self.starters:
            return True
        is_behind = not self._awaited.isdisjoint(market for market, _ in row.values)
        total = self.running.total
        if total and total + self._largest > self._rules.most_debt:
            is_behind = True
        if is_behind or not may_start(row.value, dict(row.values), total, self.running.by_market, self._rules):
            self._wait(row)
            return False
        self.running = self.running.plus(row.values)
        return True

    def _wait(self, row: Waiting) -> None:
        self._awaited |= {market for market, _ in row.values}
        self._largest = max(self._largest, row.value)


def room_of(state: State, rules: AuctionRules) -> AuctionRoom:
    """Return the room of the present command."""
    if state.auction_room is None or state.auction_room.sequence != state.sequence:
        state.auction_room = AuctionRoom(state, rules)
    return state.auction_room


def row_of(state: State, name: str, account: Account, ill: Ill) -> Waiting:
    """Return an account as the queue sees it."""
    values = tuple((leg.market, leg.value) for leg in legs_of(account, state.valuation))
    return Waiting(ill.since_ns, state.index[name], values)


def _on_offer(state: State, rules: AuctionRules) -> Running:
    running = Running(0, {})
    for name, ill in state.ill.items():
        if ill.auction is not None and _holds_room(ill.auction, rules, state.now_ns):
            running = running.plus(row_of(state, name, state.book.read(state.index[name]), ill).values)
    return running


def _holds_room(auction: Auction, rules: AuctionRules, now_ns: int) -> bool:
    """Tell whether an auction runs, or is about to begin anew."""
    return not is_over(auction, rules, now_ns) or next_run(auction, rules, now_ns) is not None


def _waiting(state: State) -> Iterator[Waiting]:
    """Yield those who have been told to wait; who waits for a price instead holds nobody up."""
    for name, ill in state.ill.items():
        if ill.rung == AUCTION and ill.auction is None and ill.due_ns and name not in state.called:
            yield row_of(state, name, state.book.read(state.index[name]), ill)
