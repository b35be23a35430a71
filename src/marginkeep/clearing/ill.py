"""What the house remembers of an account that stands on the ladder: its rung, its deadline, how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marginkeep.liquidation.auctions import restore_auction

if TYPE_CHECKING:
    from marginkeep.liquidation.auctions import Auction


@dataclass(slots=True)
class Ill:
    """One account's standing.

    Attributes
    ----------
    rung : index into `RUNGS`
    since_ns : when it came to this rung
    deadline_ns : until when a call may be cured; None without a call
    reminded : how many reminders it has had
    reduced : share of the soft reduction that has been done, a rate
    due_ns : when time alone next concerns it; 0 = never
    auction : the auction in progress
    """

    rung: int
    since_ns: int
    deadline_ns: int | None = None
    reminded: int = 0
    reduced: int = 0
    due_ns: int = 0
    auction: Auction | None = None

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        auction = None if self.auction is None else self.auction.save()
        own = [self.rung, self.since_ns, self.deadline_ns, self.reminded, self.reduced, self.due_ns]
        return [*own, auction]


def restore_ill(saved: list[Any]) -> Ill:
    """Return a saved standing."""
    rung, since_ns, deadline_ns, reminded, reduced, due_ns, auction = saved
    run = None if auction is None else restore_auction(auction)
    return Ill(rung, since_ns, deadline_ns, reminded, reduced, due_ns, run)
