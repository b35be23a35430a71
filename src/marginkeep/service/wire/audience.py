"""Who may see which event, and how much of it.

The venue sees everything. An owner sees what is public, and what concerns its own accounts with everybody else's names,
sizes and amounts taken out. A refusal is told to the key that asked, and to nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from marginkeep.clearing import events as e
from marginkeep.clearing.loss_events import BadDebtRepaid, Deleveraged, LossSocialised
from marginkeep.clearing.state import EXTERNAL, LIQUIDATOR, RESERVED_NAMES
from marginkeep.liquidation.position_limits import owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Owners = frozenset[str]

HIDDEN: Final = ""
"""Stands for an account that is not the viewer's."""

PUBLIC: Final = (
    e.PricesSet,
    e.QuotesTaken,
    e.BookObserved,
    e.MarketHeld,
    e.OracleChanged,
    e.PriceAnnounced,
    e.FundingPaid,
    e.TimeAdvanced,
    e.RulebookAdopted,
    BadDebtRepaid,
)
"""Events about the venue that name no account; `Halted` and `LossSocialised` are public without what names one."""

AUCTIONS: Final = (e.AuctionWaits, e.AuctionOpened, e.AuctionRestarted, e.AuctionBid)
"""Events that everybody who may liquidate sees in full: one cannot bid on what one cannot see."""

_NOT_USERS: Final = frozenset({*RESERVED_NAMES, EXTERNAL, LIQUIDATOR, HIDDEN})
_NO_SIDE: Final = e.TradeSide(HIDDEN, None, 0, 0, 0, 0, 0)
_OF_THE_BANKRUPT: Final = ("size", "value", "realised", "wanted", "needed", "taken", "over", "under")


def public_view(event: e.Event) -> e.Event | None:
    """Return what anybody may see of an event; None = nothing."""
    if isinstance(event, PUBLIC):
        return structs.replace(event, postings=()) if event.postings else event
    if isinstance(event, LossSocialised):
        return structs.replace(event, account=HIDDEN, postings=())
    if isinstance(event, e.Halted):
        return structs.replace(event, report="the audit of the watch found a contradiction", postings=())
    return None


def accounts_in(event: e.Event) -> frozenset[str]:
    """Return the users' accounts that an event names; system and ledger accounts are none."""
    if isinstance(event, PUBLIC):
        return frozenset()
    return frozenset(name for name in _names_in(event) if not _is_of_the_house(name))


def owners_in(event: e.Event) -> Owners:
    """Return the owners of the accounts that an event names."""
    return frozenset(owner_of(name) for name in accounts_in(event))


def seen_by_owners(event: e.Event, owners: Owners) -> e.Event | None:
    """Return what owners may see of any event but a refusal; None = nothing."""
    return owners_view(event, owners) if owners_in(event) & owners else public_view(event)


def owners_view(event: e.Event, owners: Owners) -> e.Event:
    """Return what owners may see of an event that names one of their accounts."""
    seen = structs.replace(event, postings=_own_postings(event, owners)) if event.postings else event
    if isinstance(seen, e.Traded):
        return structs.replace(seen, buyer=_own_side(seen.buyer, owners), seller=_own_side(seen.seller, owners))
    if isinstance(seen, e.BalanceMoved):
        return structs.replace(seen, source=_shown(seen.source, owners), target=_shown(seen.target, owners))
    if isinstance(seen, Deleveraged):
        return _own_deleveraging(seen, owners)
    if isinstance(seen, e.AuctionBid) and owner_of(seen.liquidator) not in owners:
        return structs.replace(seen, liquidator=HIDDEN)
    return seen


def _names_in(event: e.Event) -> Iterator[str]:
    """Yield every account that an event names; whoever it posts to is named by it too."""
    for name in ("account", "liquidator"):
        found = getattr(event, name, None)
        if found is not None:
            yield found
    if isinstance(event, e.Traded):
        yield from (event.buyer.account, event.seller.account)
    elif isinstance(event, e.BalanceMoved):
        yield from (event.source, event.target)
    elif isinstance(event, Deleveraged):
        yield from (fill.account for fill in event.fills)


def _is_of_the_house(name: str) -> bool:
    return name in _NOT_USERS or ":" in name


def _shown(name: str, owners: Owners) -> str:
    return name if _is_of_the_house(name) or owner_of(name) in owners else HIDDEN


def _own_side(side: e.TradeSide, owners: Owners) -> e.TradeSide:
    return side if owner_of(side.account) in owners else _NO_SIDE


def _own_postings(event: e.Event, owners: Owners) -> tuple[e.Posting, ...]:
    """Return the postings from or to the owners' accounts."""
    return tuple(
        structs.replace(one, source=_shown(one.source, owners), target=_shown(one.target, owners))
        for one in event.postings
        if owner_of(one.source) in owners or owner_of(one.target) in owners
    )


def _own_deleveraging(event: Deleveraged, owners: Owners) -> Deleveraged:
    """Show a winner its own fills alone, and the bankrupt account's owner no winner."""
    fills = tuple(fill for fill in event.fills if owner_of(fill.account) in owners)
    changes: dict[str, Any] = {"fills": fills}
    if owner_of(event.account) not in owners:
        changes |= {"account": HIDDEN, **dict.fromkeys(_OF_THE_BANKRUPT, 0)}
    return structs.replace(event, **changes)
