"""What has happened since a record, as one may see it: from the feed's ring, or from the journal where that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from marginkeep.clearing.commands import decode_command
from marginkeep.clearing.event_codec import decode_events
from marginkeep.clearing.events import Event, Rejected
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.service.access.scopes import Scope
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.audience import AUCTIONS, accounts_in, seen_by_owners
from marginkeep.service.wire.event_schemas import AnyEvent
from marginkeep.service.wire.events import wire_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from marginkeep.clearing.commands import Command
    from marginkeep.journal.record import Record
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext

SCANNED_MAX: Final = 10_000
"""Records that one page looks through at most."""

EVENTS_MAX: Final = 10_000
"""Events after which a page ends early: one tick may hold thousands."""


class RecordEvents(msgspec.Struct, frozen=True, kw_only=True):
    """One record's events, as far as the key may see them."""

    sequence: int
    recorded_ns: int
    events: list[AnyEvent]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Records with something to see in them, oldest first.

    Attributes
    ----------
    after : give this to go on; it may have moved although there are no records
    last : the newest durable record; `after` equal to it = nothing more for now
    first : the oldest record that is kept; asking from before it begins there
    """

    records: list[RecordEvents]
    after: int
    last: int
    first: int


class Told(NamedTuple):
    """One record, wherever it was read."""

    sequence: int
    recorded_ns: int
    actor: str
    events: tuple[Event, ...]
    command: Command | None = None


def told_of(record: Record) -> Told:
    """Return a record of the journal; a note has no events."""
    events = decode_events(record.events) if record.kind == "command" else ()
    return Told(record.sequence, record.recorded_ns, record.actor, events, refused_command(record))


def refused_command(record: Record) -> Command | None:
    """Return the command of a record where the house refused it; None of others, which need no units of it."""
    refused = record.kind == "command" and b'"Rejected"' in record.events
    return decode_command(record.body) if refused else None


def seen_events(told: Told, caller: Caller) -> list[Event]:
    """Return what a caller may see of a record: the public part, its own, and what its own key was refused."""
    if caller.acts_for_all:
        return list(told.events)
    found = (_seen(event, told.actor, caller) for event in told.events)
    return [event for event in found if event is not None]


def _seen(event: Event, actor: str, caller: Caller) -> Event | None:
    if isinstance(event, Rejected):
        return event if actor == caller.key else None
    if isinstance(event, AUCTIONS) and caller.may(Scope.LIQUIDATE):
        return event
    return seen_by_owners(event, caller.accounts)


def concerns(event: Event, account: str) -> bool:
    """Tell whether an event names an account, or one of an owner's."""
    return any(account in (name, owner_of(name)) for name in accounts_in(event))


def recent(context: ServiceContext, after: int) -> list[Told] | None:
    """Return what the feed still has after a record; None where some of that is gone."""
    entries = context.feed.since(after, SCANNED_MAX)
    if entries is None:
        return None
    return [Told(entry.sequence, entry.recorded_ns, entry.actor, entry.events, entry.command) for entry in entries]


def stored(context: ServiceContext, after: int, last: int) -> Iterator[Told]:
    """Yield what the journal has after a record, from the first that is kept; not for the loop."""
    start = max(after, context.log.first() - 1)
    return map(told_of, context.log.read(start, min(last, start + SCANNED_MAX)))


def page_of(
    records: Iterable[Told], after: int, limit: int, caller: Caller, account: str, rulebook: Rulebook
) -> tuple[list[dict[str, Any]], int]:
    """Return records on the wire, and the last one that was looked at."""
    units, page, count = units_of(rulebook), [], 0
    for told in records:
        after = told.sequence
        chosen = [event for event in seen_events(told, caller) if not account or concerns(event, account)]
        if not chosen:
            continue
        events = [wire_event(event, units, told.command) for event in chosen]
        page.append({"sequence": told.sequence, "recorded_ns": told.recorded_ns, "events": events})
        count += len(events)
        if len(page) >= limit or count >= EVENTS_MAX:
            break
    return page, after
