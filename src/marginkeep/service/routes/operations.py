"""Whether the service lives, whether it is ready, what time it has, and how it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from litestar import get
from litestar.response.base import ASGIResponse

from marginkeep import __version__
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.halting import word_for
from marginkeep.service.queries.question import AnyRequest, context_of
from marginkeep.service.wire.answers import json_answer
from marginkeep.service.wire.openapi import documented
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.service.context import ServiceContext

_PUBLIC: Final = {"scope": None, "weight": 1}


class Life(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["live"]


class Readiness(msgspec.Struct, frozen=True):
    """Commands are accepted."""

    status: Literal["ready"]


class Time(msgspec.Struct, frozen=True):
    """The server's clock, to set one's own by, and the house's time, which commands move."""

    server_ns: int
    house_ns: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the service stands.

    Attributes
    ----------
    sequence, durable : last record applied, and last that is durable
    epoch : of the writer; rises with every start
    place : of the journal
    waiting, waiting_max : requests in the writer's queue
    rulebook, rulebook_hash : name, and SHA-256 of the canonical form
    halted : what the self-check found; empty = nothing
    trouble : why the journal accepts nothing more; empty = it does
    """

    version: str
    name: str
    sequence: int
    durable: int
    epoch: int
    place: str
    waiting: int
    waiting_max: int
    rulebook: str
    rulebook_hash: str
    accounts: int
    halted: str
    trouble: str
    house_ns: int


def why_not_ready(context: ServiceContext) -> str:
    """Return in one word why commands that add risk are not accepted now; empty = they are."""
    if context.durable.trouble is not None:
        return word_for(context.durable.trouble)
    if context.writer.state != "running":
        return context.writer.state
    return "halted" if context.state.halted else ""


@get(
    "/v1/live",
    opt={**_PUBLIC, **documented(answer=Life)},
    operation_id="Live",
    summary="Tell that the process answers",
    tags=["operations"],
)
async def live(request: AnyRequest) -> ASGIResponse:
    """Answer at all; a supervisor restarts what does not."""
    return json_answer(Life("live"))


@get(
    "/v1/ready",
    opt={**_PUBLIC, **documented(answer=Readiness)},
    operation_id="Ready",
    summary="Tell whether commands are accepted",
    tags=["operations"],
)
async def ready(request: AnyRequest) -> ASGIResponse:
    """Answer 200 when commands are accepted, and 503 while they are not."""
    why = why_not_ready(context_of(request))
    if why:
        raise Problem("halted", "commands that add risk are not accepted now", why=why)
    return json_answer(Readiness("ready"))


@get(
    "/v1/time",
    opt={**_PUBLIC, **documented(answer=Time)},
    operation_id="Time",
    summary="Tell the time",
    tags=["operations"],
)
async def tell_time(request: AnyRequest) -> ASGIResponse:
    """Answer the server's clock and the house's time."""
    context = context_of(request)
    house_ns = context.state.now_ns
    await context.writer.settled()
    return json_answer(Time(context.clock(), house_ns))


@get(
    "/v1/status",
    opt={"scope": Scope.READ, "weight": 1, "bucket": "read", **documented(answer=Status)},
    operation_id="Status",
    summary="Tell how the service stands",
    tags=["operations"],
)
async def status(request: AnyRequest) -> ASGIResponse:
    """Answer sequence, queue, rulebook and halts; where the journal is, only to the venue's own keys."""
    return json_answer(status_of(context_of(request), for_venue=request.user.acts_for_all))


def status_of(context: ServiceContext, *, for_venue: bool) -> Status:
    """Return how a service stands; to others than the venue without what is the operator's."""
    state, durable, writer = context.state, context.durable, context.writer
    trouble = "" if durable.trouble is None else str(durable.trouble)
    return Status(
        version=__version__,
        name=context.settings.name,
        sequence=durable.head.sequence,
        durable=durable.durable.sequence,
        epoch=durable.head.epoch,
        place=durable.log.place if for_venue else "",
        waiting=writer.waiting_requests,
        waiting_max=writer.queue_max,
        rulebook=state.rulebook.name,
        rulebook_hash=state.rulebook_hash,
        accounts=len(state.names) if for_venue else 0,
        halted=state.halted if for_venue or not state.halted else "halted",
        trouble=trouble if for_venue or not trouble else "journal",
        house_ns=state.now_ns,
    )


ROUTES: Final = [live, ready, tell_time, status]
