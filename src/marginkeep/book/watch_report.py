"""What the watch tells: whose status changed in a tick, and how much work it has done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from marginkeep.rulebook.model import CALL, MAINTENANCE

if TYPE_CHECKING:
    from marginkeep.book.columns import Book
    from marginkeep.book.valuation import Valuation


@dataclass(slots=True)
class WatchCounters:
    """What the watch has done; `useful` counts changes of status."""

    ticks: int = 0
    quiet_ticks: int = 0
    useful: int = 0
    full_scans: int = 0
    audited: int = 0
    audit_position: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Accounts whose status changed in a tick, by index, rising."""

    breached: list[int]
    called: list[int]
    cured: list[int]


def contradiction(book: Book, valuation: Valuation, account: int, status: int) -> str:
    """Say what the watch believes of an account, and what is so."""
    from marginkeep.book.health import measure

    read = book.read(account)
    call, maintenance = (measure(read, valuation, level) for level in (CALL, MAINTENANCE))
    return (
        f"the watch has account {account} as {status} (0 healthy, 1 called, 2 breached), "
        f"but its health is {call.health} at call and {maintenance.health} at maintenance: {read}"
    )
