"""Questions about what has happened: events since a record, one record with its proof, and why it was decided."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.params import FromPath, FromQuery
from litestar.response.base import ASGIResponse

from marginkeep.errors import InputError
from marginkeep.journal.proofs import prove
from marginkeep.service.access.access import require_account
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries.event_pages import EventPage, page_of, recent, seen_events, stored, told_of
from marginkeep.service.queries.question import (
    PAGE_DEFAULT,
    AnyRequest,
    context_of,
    page_size,
    question,
    require_sequence,
)
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.answers import json_answer
from marginkeep.service.wire.audience import owners_in
from marginkeep.service.wire.event_schemas import AnyEvent
from marginkeep.service.wire.events import wire_event
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.journal.record import Record
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext

RECORD_NOT_FOUND: Final = "there is no such record among yours"

_encoder: Final = msgspec.json.Encoder()


class RecordView(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the journal.

    Attributes
    ----------
    hash : SHA-256, hexadecimal, that the next record continues
    actor, key, correlation, body : who sent what; empty and None to others than the sender and auditors
    events : what the house answered, as far as the key may see it
    proof : that it is under a signed checkpoint, as `marginkeep verify` reads it; None where it is not yet
    unproved : why there is none
    """

    sequence: int
    recorded_ns: int
    kind: str
    hash: str
    actor: str
    key: str
    correlation: str
    body: dict[str, Any] | None
    events: list[AnyEvent]
    proof: dict[str, Any] | None
    unproved: str


@question(
    "/v1/events",
    EventPage,
    "List events since a record",
    name="ListEvents",
    tags=("events",),
    weight=5,
    knows=("after", "limit", "account"),
)
async def list_events(
    request: AnyRequest,
    after: FromQuery[int] = 0,
    limit: FromQuery[int] = PAGE_DEFAULT,
    account: FromQuery[str] = "",
) -> ASGIResponse:
    """Answer durable records after one, with what the key may see in them; `account` narrows to an owner's."""
    context, caller = context_of(request), request.user
    rows = page_size(context, limit)
    require_sequence("after", after, "the sequence of a record")
    if account:
        require_account(caller, account)
    last, found, rulebook = context.feed.last, recent(context, after), context.rulebook

    def work() -> bytes:
        records = stored(context, after, last) if found is None else found
        page, reached = page_of(records, after, rows, caller, account, rulebook)
        document = {"records": page, "after": max(after, reached), "last": last, "first": context.log.first()}
        return _encoder.encode(document)

    return ASGIResponse(body=await asyncio.to_thread(work), media_type="application/json")


@question(
    "/v1/records/{sequence:int}",
    RecordView,
    "Show a record and its proof",
    name="ShowRecord",
    tags=("audit",),
    weight=5,
)
async def show_record(request: AnyRequest, sequence: FromPath[int]) -> ASGIResponse:
    """Answer a record: to auditors in full, to others where their key sent it or it concerns their accounts.

    The proof shows that the record is where it is. It holds the record's header, so whoever a record concerns learns
    by whose key it was sent.
    """
    context, caller = context_of(request), request.user
    if not 0 < sequence <= context.feed.last:
        raise Problem("not_found", RECORD_NOT_FOUND)
    return json_answer(await asyncio.to_thread(_record_view, context, caller, sequence))


def _record_view(context: ServiceContext, caller: Caller, sequence: int) -> RecordView:
    record = next(iter(context.log.read(sequence - 1, sequence)), None)
    audits = caller.may(Scope.AUDIT_READ) and caller.acts_for_all
    if record is None or not (audits or _is_own(record, caller)):
        raise Problem("not_found", RECORD_NOT_FOUND)
    proof, unproved = _proof(context, sequence)
    units, told = units_of(context.rulebook), told_of(record)
    shown = audits or record.actor == caller.key
    return RecordView(
        sequence=sequence,
        recorded_ns=record.recorded_ns,
        kind=record.kind,
        hash=record.hash.hex(),
        actor=record.actor if shown else "",
        key=record.key if shown else "",
        correlation=record.correlation if shown else "",
        body=msgspec.json.decode(record.body) if shown else None,
        events=[
            wire_event(event, units, told.command) for event in (told.events if audits else seen_events(told, caller))
        ],
        proof=proof,
        unproved=unproved,
    )


def _is_own(record: Record, caller: Caller) -> bool:
    """Tell whether a caller's key sent a record, or it concerns one of the caller's accounts."""
    if record.actor == caller.key:
        return True
    return any(owners_in(event) & caller.accounts for event in told_of(record).events)


def _proof(context: ServiceContext, sequence: int) -> tuple[dict[str, Any] | None, str]:
    try:
        proof: dict[str, Any] = msgspec.json.decode(prove(context.log, sequence).to_json())
    except InputError as error:
        return None, str(error)
    return proof, ""


ROUTES: Final = [list_events, show_record]
