"""Who would be deleveraged first: each holder's place among the winners of its market, before anything happens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from marginkeep.clearing.winners import winners_of
from marginkeep.liquidation.deleveraging import lights
from marginkeep.liquidation.deleveraging_policies import POLICIES
from marginkeep.service.queries.captured import beside_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.service.context import ServiceContext
    from marginkeep.service.queries.captured import Captured


class QueuePlace(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the queue of those whose positions are closed when a loss is borne by winners.

    Attributes
    ----------
    rank, of : 1 = the first to be closed, of so many
    lights : 1 to 5, all of them lit: among the first
    sequence : of the last record that the place takes in
    """

    rank: int
    of: int
    lights: int
    sequence: int


class Places(NamedTuple):
    """The queue of one side of one market; columns by holder, accounts rising."""

    sequence: int
    accounts: NDArray[np.int64]
    ranks: NDArray[np.int64]
    lights: NDArray[np.int64]

    def of(self, account: int) -> QueuePlace | None:
        """Return an account's place; None where it did not hold the market then."""
        row = int(np.searchsorted(self.accounts, account))
        if row == len(self.accounts) or self.accounts[row] != account:
            return None
        return QueuePlace(
            rank=int(self.ranks[row]), of=len(self.accounts), lights=int(self.lights[row]), sequence=self.sequence
        )


async def queue_places(context: ServiceContext, sides: set[tuple[int, bool]]) -> dict[tuple[int, bool], Places]:
    """Return the queues of some sides, (market index, long); none where the rulebook does not deleverage."""
    ladder = context.rulebook.ladder
    if ladder is None or ladder.policy is None:
        return {}
    beside = beside_of(context)
    return {side: await beside.find(context, ("queue", side), partial(_places, side)) for side in sorted(sides)}


def _places(side: tuple[int, bool], copy: Captured) -> Places:
    market, is_long = side
    ladder = copy.rulebook.ladder
    if ladder is None or ladder.policy is None or market >= len(copy.valuation.tables.markets):
        nothing = np.zeros(0, np.int64)
        return Places(copy.sequence, nothing, nothing, nothing)
    winners = winners_of(copy.book, copy.valuation, copy.valuation.tables.markets[market], is_long, {})
    ranks = np.zeros(len(winners), np.int64)
    ranks[POLICIES[ladder.policy].order(winners)] = np.arange(1, len(winners) + 1)
    return Places(copy.sequence, winners.accounts, ranks, lights(ladder.policy, winners))
