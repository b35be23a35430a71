"""One route a command, made from the table of `command_rules`, and the dry run of an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import delete, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from marginkeep.clearing import commands as core
from marginkeep.clearing.events import OrderReserved, Rejected
from marginkeep.service.access.access import require_account
from marginkeep.service.access.command_rules import RULES, CommandRule, are_protective, require_allowed, require_timely
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries.question import AnyRequest, context_of
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.answers import command_answer, json_answer, refusal_problem
from marginkeep.service.wire.bodies import asked, read_body
from marginkeep.service.wire.commands import WIRE
from marginkeep.service.wire.openapi import CheckAnswer, CommandAnswer, documented
from marginkeep.service.writer import Deadline

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from marginkeep.service.context import ServiceContext

_RELEASE: Final = RULES[core.ReleaseOrder]
_orders: Final = msgspec.json.Decoder(WIRE[core.ReserveOrder])


async def send_command(request: AnyRequest, command: core.Command) -> ASGIResponse:
    """Have a command applied, and answer when it is durable."""
    context = context_of(request)
    require_timely(command, context.clock())
    requests = (asked(request, command),)
    deadline = Deadline(request.user.until_ns)
    (outcome,) = await context.writer.submit(requests, deadline=deadline, protective=are_protective(requests))
    return command_answer(outcome, command, context.rulebook, request.user)


def command_route(rule: CommandRule) -> HTTPRouteHandler:
    """Make the route of one command."""
    decoder = msgspec.json.Decoder(WIRE[rule.command])

    async def handler(request: AnyRequest) -> ASGIResponse:
        wire = await read_body(decoder, request)
        require_allowed(request.user, wire)
        return await send_command(request, wire.to_command(context_of(request).rulebook))

    name = rule.command.__name__
    return post(
        rule.path,
        opt={
            "scope": rule.scope,
            "weight": 1,
            "bucket": rule.bucket,
            "mutates": True,
            "venue_only": rule.venue_only,
            **documented(body=WIRE[rule.command], answer=CommandAnswer),
        },
        operation_id=name,
        summary=rule.summary,
        description=rule.command.__doc__,
        tags=["commands"],
        status_code=200,
    )(handler)


_RELEASE_OPT: Final = {
    "scope": _RELEASE.scope,
    "weight": 1,
    "bucket": _RELEASE.bucket,
    "mutates": True,
    **documented(answer=CommandAnswer),
}


@delete(
    "/v1/accounts/{owner:str}/orders/{order:str}",
    opt=_RELEASE_OPT,
    status_code=200,
    operation_id="DeleteOrder",
    summary="Release an order",
    description="Give back what an order still reserves.",
    tags=["commands"],
)
async def delete_order(request: AnyRequest, owner: FromPath[str], order: FromPath[str]) -> ASGIResponse:
    """Release an order of a cross account."""
    require_account(request.user, owner)
    return await send_command(request, core.ReleaseOrder(account=owner, order=order))


@delete(
    "/v1/accounts/{owner:str}/isolated/{market:str}/orders/{order:str}",
    opt=_RELEASE_OPT,
    status_code=200,
    operation_id="DeleteIsolatedOrder",
    summary="Release an order of an isolated account",
    description="Give back what an order of an isolated account still reserves.",
    tags=["commands"],
)
async def delete_isolated_order(
    request: AnyRequest, owner: FromPath[str], market: FromPath[str], order: FromPath[str]
) -> ASGIResponse:
    """Release an order of an isolated account."""
    require_account(request.user, owner)
    return await send_command(request, core.ReleaseOrder(account=f"{owner}/{market}", order=order))


@post(
    "/v1/orders/check",
    opt={
        "scope": Scope.TRADE,
        "weight": 1,
        "bucket": "read",
        **documented(body=WIRE[core.ReserveOrder], answer=CheckAnswer),
    },
    status_code=200,
    operation_id="CheckOrder",
    summary="Check an order without placing it",
    description="Tell what ReserveOrder would answer now. Nothing is changed or recorded.",
    tags=["checks"],
)
async def check_order(request: AnyRequest) -> ASGIResponse:
    """Answer the pre-trade check as a dry run."""
    wire = await read_body(_orders, request)
    require_allowed(request.user, wire)
    context = context_of(request)
    verdict = check_result(wire, context)
    await context.writer.settled(verdict["sequence"])
    return json_answer(verdict)


def check_result(wire: Any, context: ServiceContext) -> dict[str, Any]:
    """Return what an order would be answered now.

    Raises
    ------
    Problem : ``bad_request`` for a number that is too fine, ``rejected`` for a market that the rulebook does not have
    """
    command = wire.to_command(context.rulebook)
    units = units_of(context.rulebook)
    (event,) = (one for one in context.house.check(command) if isinstance(one, (OrderReserved, Rejected)))
    sequence = context.durable.head.sequence
    if isinstance(event, OrderReserved):
        return {"status": "accepted", "sequence": sequence, "free": units.grid("reporting", "").format(event.free)}
    problem = refusal_problem(event, command, units)
    return {"status": "rejected", "sequence": sequence, "reason": problem.detail, **problem.more}


ROUTES: Final = [
    *(command_route(rule) for rule in RULES.values()),
    delete_order,
    delete_isolated_order,
    check_order,
]
