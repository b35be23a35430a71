"""What a client asks over the stream: subscriptions, commands and dry runs, one after another, each with an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.journal.durable import Request
from marginkeep.service.access.access import require_account
from marginkeep.service.access.command_rules import are_protective, require_allowed, require_timely
from marginkeep.service.access.scopes import Scope
from marginkeep.service.routes.batch import CHECKS_PER_WEIGHT, YIELD_EVERY
from marginkeep.service.routes.commands import check_result
from marginkeep.service.stream.channels import Narrowing
from marginkeep.service.stream.messages import (
    ACCOUNTS_MAX,
    Check,
    Command,
    Commands,
    Identity,
    Ping,
    Pong,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    decode_operation,
    encode,
    error_message,
)
from marginkeep.service.stream.rows import visible_accounts
from marginkeep.service.stream.socket import Subscription
from marginkeep.service.wire.answers import command_result, problem_result
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from marginkeep.journal.durable import Outcome
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext
    from marginkeep.service.stream.socket import StreamSocket

IN_FLIGHT_MAX: Final = 256
"""Operations with commands that wait for the journal; beyond, no more are read from the socket."""


class Operations:
    """Answers one socket's operations."""

    def __init__(self, context: ServiceContext, caller: Caller, socket: StreamSocket) -> None:
        self.context, self.caller, self.socket = context, caller, socket
        self._in_flight: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()
        self._checked = 0

    async def answer(self, message: str | bytes) -> None:
        """Do what one message asks; refusals are answers."""
        identity = _identity_of(message)
        try:
            operation = _decode(message)
            identity = operation.id
            await self._dispatch(operation)
        except Problem as problem:
            await self.socket.reply(error_message(identity, problem))

    def close(self) -> None:
        """Let go of what is in flight: commands that were submitted are applied, and nobody is told."""
        for task in list(self._in_flight):
            task.cancel()

    async def _dispatch(self, operation: Any) -> None:
        if isinstance(operation, Check):
            await self._check(operation)
        elif isinstance(operation, Command):
            request = self._read_command(operation)
            await self._launch(self._apply(operation.id, (request,), one=True))
        elif isinstance(operation, Commands):
            requests = [self._read_command(item) for item in operation.commands]
            await self._launch(self._apply(operation.id, requests, one=False))
        elif isinstance(operation, Subscribe):
            await self._subscribe(operation)
        elif isinstance(operation, Unsubscribe):
            if not self.socket.unsubscribe(operation.id):
                raise Problem("not_found", f"nothing is subscribed under the id {operation.id!r}")
            await self.socket.reply(encode(Unsubscribed(id=operation.id)))
        elif isinstance(operation, Ping):
            pong = Pong(id=operation.id, now_ns=self.context.clock(), sequence=self.context.feed.last)
            await self.socket.reply(encode(pong))

    # Subscriptions ------------------------------------------------------------------------------------------------

    async def _subscribe(self, operation: Subscribe) -> None:
        if not self.caller.may(Scope.READ):
            raise Problem("forbidden", f"subscribing needs scope {Scope.READ}: use a key that has it")
        for name in operation.accounts:
            require_account(self.caller, name)
        narrowing = Narrowing(frozenset(operation.accounts))
        self._require_room(operation, narrowing)
        last = self.context.feed.last
        if operation.after is not None and operation.after > last:
            raise Problem("bad_request", f"after is {operation.after}, but the journal ends with {last}: give less")
        channels = tuple(dict.fromkeys(operation.channels))
        await self.socket.reply(encode(Subscribed(id=operation.id, channels=channels, sequence=last)))
        self.socket.subscribe([Subscription(operation.id, name, narrowing, operation.after) for name in channels])

    def _require_room(self, operation: Subscribe, narrowing: Narrowing) -> None:
        """Refuse what would be too much for one socket."""
        held, most = len(self.socket.subscriptions), self.context.settings.stream.subscriptions_max
        if any(one.identity == operation.id for one in self.socket.subscriptions):
            raise Problem("conflict", f"the id {operation.id!r} is subscribed already: use another, or unsubscribe it")
        if held + len(operation.channels) > most:
            raise Problem("too_large", f"{held} channels are subscribed, at most {most}: unsubscribe, or connect again")
        if "accounts" not in operation.channels:
            return
        if self.caller.acts_for_all and not narrowing.names:
            raise Problem("bad_request", f"name the accounts, at most {ACCOUNTS_MAX}: this key acts for every one")
        rows = len(visible_accounts(self.context.state, self.socket.viewer, narrowing)) + len(self.socket.row_accounts)
        if rows > ACCOUNTS_MAX:
            raise Problem("too_large", f"{rows} accounts' rows on one socket, at most {ACCOUNTS_MAX}: name fewer")

    # Commands -----------------------------------------------------------------------------------------------------

    def _read_command(self, item: Any) -> Request | Problem:
        """Return what is asked of the house, or why it cannot be: a refusal of this one alone."""
        try:
            rule = require_allowed(self.caller, item.command)
            self._charge(rule.bucket, 1)
            command = item.command.to_command(self.context.rulebook)
            require_timely(command, self.context.clock())
        except Problem as problem:
            return problem
        return Request(command=command, actor=self.caller.key, key=item.key, correlation=item.correlation)

    async def _launch(self, work: Coroutine[Any, Any, None]) -> None:
        """Work on in the background, in the order of launching; wait where too much is in flight."""
        while len(self._in_flight) >= IN_FLIGHT_MAX:
            self._landed.clear()
            await self._landed.wait()
        task = asyncio.create_task(work)
        self._in_flight.add(task)
        task.add_done_callback(self._land)

    def _land(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._landed.set()
        if not task.cancelled() and task.exception() is not None:
            self.socket.fail(task.exception())

    async def _apply(self, identity: str | int, items: Iterable[Request | Problem], *, one: bool) -> None:
        """Submit commands together and answer each at its place once all are durable."""
        items = tuple(items)
        requests = [item for item in items if isinstance(item, Request)]
        submit, protective = self.context.writer.submit, are_protective(requests)
        try:
            outcomes = iter(await submit(requests, protective=protective))
        except Problem as problem:
            await self.socket.reply(error_message(identity, problem))
            return
        results = [
            problem_result(item) if isinstance(item, Problem) else self._result(item, outcomes) for item in items
        ]
        answer = {"result": results[0]} if one else {"results": results}
        await self.socket.reply(encode({"type": "result" if one else "results", "id": identity, **answer}))

    def _result(self, request: Request, outcomes: Any) -> dict[str, Any]:
        outcome: Outcome = next(outcomes)
        assert request.command is not None
        return command_result(outcome, request.command, self.context.rulebook, self.caller)

    # Dry runs -----------------------------------------------------------------------------------------------------

    async def _check(self, operation: Check) -> None:
        if (operation.order is None) == (not operation.orders):
            raise Problem("bad_request", "a check has an order, or orders: give one of the two")
        orders = operation.orders if operation.order is None else (operation.order,)
        for order in orders:
            require_allowed(self.caller, order)
        self._charge_checks(len(orders))
        results = []
        for number, order in enumerate(orders, 1):
            results.append(self._verdict(order))
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        await self.context.writer.settled()
        answer = {"results": results} if operation.order is None else {"result": results[0]}
        kind = "results" if operation.order is None else "result"
        await self.socket.reply(encode({"type": kind, "id": operation.id, **answer}))

    def _verdict(self, order: Any) -> dict[str, Any]:
        try:
            return check_result(order, self.context)
        except Problem as problem:
            return problem_result(problem)

    def _charge_checks(self, count: int) -> None:
        """Charge dry runs by tens; what is left of ten is charged with the next."""
        weight, self._checked = divmod(self._checked + count, CHECKS_PER_WEIGHT)
        if weight:
            self._charge("read", weight)

    def _charge(self, bucket: str, weight: int) -> None:
        access = self.context.parts.get("access")
        if access is not None:
            access.charge(self.caller, bucket, weight)


class _Named(msgspec.Struct):
    id: Identity = ""


_named: Final = msgspec.json.Decoder(_Named)


def _identity_of(message: str | bytes) -> str | int:
    """Return the id of a message, which may be no operation otherwise; empty where it has none."""
    try:
        return _named.decode(message).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _decode(message: str | bytes) -> Any:
    try:
        return decode_operation(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad_request", f"the message cannot be read: {error}") from error
