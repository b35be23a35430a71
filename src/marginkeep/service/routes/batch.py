"""Many commands, or many dry runs, in one request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse
from msgspec import Meta

from marginkeep.clearing import commands as core
from marginkeep.journal.durable import Request as Asked
from marginkeep.service.access.command_rules import CommandRule, are_protective, require_allowed, require_timely
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries.question import AnyRequest, context_of
from marginkeep.service.routes.commands import check_result
from marginkeep.service.wire.answers import command_result, json_answer, problem_result
from marginkeep.service.wire.bodies import read_body
from marginkeep.service.wire.commands import WIRE, DirectWireCommand
from marginkeep.service.wire.openapi import (
    PRINTABLE,
    PRINTABLE_OR_EMPTY,
    TEXT_MAX,
    BatchAnswer,
    CheckBatchAnswer,
    documented,
)
from marginkeep.service.wire.problems import Problem
from marginkeep.service.writer import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.service.context import ServiceContext

BATCH_BODY_MAX: Final = 2**20
"""Bytes of a batch, which is larger than other requests."""

CHECKS_PER_WEIGHT: Final = 10
"""Dry runs of a batch that weigh as much as one request."""

YIELD_EVERY: Final = 32
"""Dry runs between two looks at what else is to be done."""


WireOrder: Any = WIRE[core.ReserveOrder]


class BatchItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One command of a batch, with the idempotency key of its own."""

    key: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX, pattern=PRINTABLE, examples=["c0ffee-1"])]
    command: DirectWireCommand
    correlation: Annotated[str, Meta(max_length=TEXT_MAX, pattern=PRINTABLE_OR_EMPTY)] = ""


class CommandBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands to be applied in this order; one that is refused does not keep the others back."""

    commands: Annotated[list[BatchItem], Meta(min_length=1)]


class CheckBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Orders to be checked, each as if it were the only one."""

    orders: Annotated[list[WireOrder], Meta(min_length=1)]


_batches: Final = msgspec.json.Decoder(CommandBatch)
_checks: Final = msgspec.json.Decoder(CheckBatch)


@post(
    "/v1/batch",
    opt={
        "scope": Scope.READ,
        "weight": 1,
        "bucket": "read",
        "body_max": BATCH_BODY_MAX,
        **documented(body=CommandBatch, answer=BatchAnswer),
    },
    status_code=200,
    operation_id="Batch",
    summary="Apply commands in order",
    description=(
        "Apply commands in order, and answer each at its place. A refusal is a value among the results; a command that "
        "cannot be read, or that the key may not send, refuses the batch as a whole. Each command needs its own scope "
        "and spends weight 1 of its own bucket."
    ),
    tags=["commands"],
    request_max_body_size=BATCH_BODY_MAX,
)
async def apply_batch(request: AnyRequest) -> ASGIResponse:
    """Apply many commands."""
    context = context_of(request)
    items = (await read_body(_batches, request)).commands
    _require_size(len(items), context)
    _spend(request, (_placed(n, "commands", require_allowed, request.user, one.command) for n, one in enumerate(items)))
    read = [_read_command(number, item, context) for number, item in enumerate(items)]
    requests = [
        Asked(command=command, actor=request.user.key, key=item.key, correlation=item.correlation)
        for item, command in zip(items, read, strict=True)
        if isinstance(command, core.Command)
    ]
    deadline, protective = Deadline(request.user.until_ns), are_protective(requests)
    outcomes = iter(await context.writer.submit(requests, deadline=deadline, protective=protective))
    rulebook, caller = context.rulebook, request.user
    results = [
        problem_result(one) if isinstance(one, Problem) else command_result(next(outcomes), one, rulebook, caller)
        for one in read
    ]
    return json_answer({"results": results})


@post(
    "/v1/orders/check-batch",
    opt={
        "scope": Scope.TRADE,
        "weight": 1,
        "bucket": "read",
        "body_max": BATCH_BODY_MAX,
        **documented(body=CheckBatch, answer=CheckBatchAnswer),
    },
    status_code=200,
    operation_id="CheckOrders",
    summary="Check orders without placing them",
    description="Tell what each order alone would be answered now. Nothing is changed or recorded.",
    tags=["checks"],
    request_max_body_size=BATCH_BODY_MAX,
)
async def check_orders(request: AnyRequest) -> ASGIResponse:
    """Answer many pre-trade checks as dry runs."""
    context = context_of(request)
    orders = (await read_body(_checks, request)).orders
    _require_size(len(orders), context)
    for number, order in enumerate(orders):
        _placed(number, "orders", require_allowed, request.user, order)
    _charge(request, "read", len(orders) // CHECKS_PER_WEIGHT)
    results = []
    for number, order in enumerate(orders, 1):
        results.append(_check(number - 1, order, context))
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)
    await context.writer.settled()
    return json_answer({"results": results})


def _check(number: int, order: Any, context: ServiceContext) -> dict[str, Any]:
    try:
        return check_result(order, context)
    except Problem as problem:
        return problem_result(_value(number, "orders", problem))


def _read_command(number: int, item: BatchItem, context: ServiceContext) -> core.Command | Problem:
    """Return a command, or the refusal of a name that the rulebook does not have."""
    try:
        command: core.Command = item.command.to_command(context.rulebook)
        require_timely(command, context.clock())
    except Problem as problem:
        return _value(number, "commands", problem)
    return command


def _value(number: int, where: str, problem: Problem) -> Problem:
    """Return a refusal as a value; raise, with its place, what refuses the whole batch."""
    if problem.code != "rejected":
        raise _with_place(number, where, problem)
    return problem


def _placed(number: int, where: str, require: Any, *arguments: Any) -> Any:
    """Ask a question about one item; say which one where it is refused."""
    try:
        return require(*arguments)
    except Problem as problem:
        raise _with_place(number, where, problem) from problem


def _with_place(number: int, where: str, problem: Problem) -> Problem:
    return Problem(problem.code, f"{where}[{number}]: {problem.detail}", index=number, **problem.more)


def _require_size(count: int, context: ServiceContext) -> None:
    most = context.settings.server.batch_max
    if count > most:
        raise Problem("too_large", f"{count} items in one batch, at most {most}: send them in several")


def _spend(request: AnyRequest, rules: Iterable[CommandRule]) -> None:
    """Charge each command to its own bucket."""
    weights: dict[str, int] = {}
    for rule in rules:
        weights[rule.bucket] = weights.get(rule.bucket, 0) + 1
    for bucket, weight in weights.items():
        _charge(request, bucket, weight)


def _charge(request: AnyRequest, bucket: str, weight: int) -> None:
    """Take a weight out of the caller's bucket; the middleware has only charged the request as such."""
    context = context_of(request)
    access = context.parts.get("access")
    if access is not None and weight > 0:
        access.charge(request.user, bucket, weight)


ROUTES: Final = [apply_batch, check_orders]
