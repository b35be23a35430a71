"""The methods that both clients have: each sends what a function of `commands`, `queries` or `rule_changes` builds."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from marginkeep.client import commands, queries, rule_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from marginkeep.client.awaiting import AsyncClient
    from marginkeep.client.blocking import Client
    from marginkeep.client.calls import Call

P = ParamSpec("P")
T = TypeVar("T")
Answered_co = TypeVar("Answered_co", covariant=True)


class Sent(Protocol[P, Answered_co]):
    """A method of both clients, as a type checker sees it: of one it returns the answer, of the other a coroutine."""

    @overload
    def __get__(self, client: Client, kind: type[Client]) -> Callable[P, Answered_co]: ...

    @overload
    def __get__(
        self, client: AsyncClient, kind: type[AsyncClient]
    ) -> Callable[P, Coroutine[Any, Any, Answered_co]]: ...


def _sent(build: Callable[P, Call[T]]) -> Sent[P, T]:
    """Make the method that sends what a function builds."""

    def method(self: Client | AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.send_built(build, *args, **kwargs)

    method.__name__, method.__doc__ = build.__name__, build.__doc__
    method.__qualname__ = f"Methods.{build.__name__}"
    method.__signature__ = _signature(build)  # type: ignore[attr-defined]
    return cast("Sent[P, T]", method)


def _signature(build: Callable[P, Call[T]]) -> inspect.Signature:
    """Return what `help` shows: the function's parameters behind the client, and the answer instead of the call."""
    stated = inspect.signature(build)
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    answer = stated.return_annotation.removeprefix("Call[").removesuffix("]")
    return stated.replace(parameters=[client, *stated.parameters.values()], return_annotation=answer)


class Methods:
    """Base of both clients."""

    deposit = _sent(commands.deposit)
    withdraw = _sent(commands.withdraw)
    transfer = _sent(commands.transfer)
    add_margin = _sent(commands.add_margin)
    remove_margin = _sent(commands.remove_margin)
    change_mode = _sent(commands.change_mode)
    order = _sent(commands.order)
    release = _sent(commands.release)
    trade = _sent(commands.trade)
    set_prices = _sent(commands.set_prices)
    publish_quotes = _sent(commands.publish_quotes)
    observe_book = _sent(commands.observe_book)
    pay_funding = _sent(commands.pay_funding)
    advance_time = _sent(commands.advance_time)
    halt = _sent(commands.halt)
    resume = _sent(commands.resume)
    top_up_fund = _sent(commands.top_up_fund)
    register_liquidator = _sent(commands.register_liquidator)
    bid = _sent(commands.bid)
    check_order = _sent(commands.check_order)
    check_orders = _sent(commands.check_orders)

    account = _sent(queries.account)
    accounts = _sent(queries.accounts)
    positions = _sent(queries.positions)
    orders = _sent(queries.orders)
    health = _sent(queries.health)
    markets = _sent(queries.markets)
    market = _sent(queries.market)
    assets = _sent(queries.assets)
    oracle = _sent(queries.oracle)
    funds = _sent(queries.funds)
    auctions = _sent(queries.auctions)
    rulebook = _sent(queries.rulebook)
    events = _sent(queries.events)
    proof = _sent(queries.proof)
    what_if = _sent(queries.what_if)
    own_key = _sent(queries.own_key)
    status = _sent(queries.status)
    time = _sent(queries.time)

    proposals = _sent(rule_changes.proposals)
    proposal = _sent(rule_changes.proposal)
    propose = _sent(rule_changes.propose)
    approve = _sent(rule_changes.approve)
    activate = _sent(rule_changes.activate)
    withdraw_proposal = _sent(rule_changes.withdraw_proposal)
