"""One question about what would be, for one's own accounts, for the whole book, or for a case of its own."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse

from marginkeep.liquidation.position_limits import owner_of
from marginkeep.service.access.access import ACCOUNT_NOT_FOUND, require_account
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries.captured import capture
from marginkeep.service.queries.excerpt import excerpt, stated_ticks
from marginkeep.service.queries.question import AnyRequest, context_of, require_venue, settled_answer
from marginkeep.service.queries.what_if import Answer, Question, named_in, try_book, try_case, try_changes
from marginkeep.service.wire.bodies import read_body
from marginkeep.service.wire.openapi import documented
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext

_questions: Final = msgspec.json.Decoder(Question)


@post(
    "/v1/what-if",
    opt={"scope": Scope.READ, "weight": 20, "bucket": "read", **documented(body=Question, answer=Answer)},
    status_code=200,
    operation_id="WhatIf",
    summary="Try prices and changes",
    tags=["checks"],
)
async def what_if(request: AnyRequest) -> ASGIResponse:
    """Tell how accounts would stand after other prices and some changes, on copies: nothing is changed or recorded."""
    asked = await read_body(_questions, request)
    context = context_of(request)
    if asked.case is not None:
        answer = await _case(context, asked)
    elif asked.account is None:
        require_venue(request, "a question without an account, for the whole book,")
        answer = await _book(context, asked)
    else:
        answer = await _account(context, request.user, asked.account, asked)
    return await settled_answer(context, answer, answer.sequence)


async def _case(context: ServiceContext, asked: Question) -> Answer:
    if asked.account is not None or asked.prices or asked.changes:
        raise Problem("bad_request", "a case has accounts and prices of its own: leave everything else out")
    assert asked.case is not None
    return await asyncio.to_thread(try_case, asked.case, context.durable.durable.sequence)


async def _book(context: ServiceContext, asked: Question) -> Answer:
    if asked.changes or not asked.prices:
        raise Problem("bad_request", "for the whole book give prices alone; for changes name an account")
    ticks = stated_ticks(context.state.valuation, context.state, asked.prices)
    return await asyncio.to_thread(partial(try_book, ticks), capture(context))


async def _account(context: ServiceContext, caller: Caller, account: str, asked: Question) -> Answer:
    """Cut the accounts in question out of the house, and try it on them in a thread."""
    state = context.state
    named = {account}.union(*map(named_in, asked.changes))
    for name in sorted(named):
        require_account(caller, name)
    if account not in state.index and not state.accounts_of(account):
        raise Problem("not_found", ACCOUNT_NOT_FOUND)
    owners = {owner_of(name) for name in named}
    names = [state.names[index] for owner in owners for index in state.accounts_of(owner)]
    sequence = context.durable.head.sequence
    return await asyncio.to_thread(try_changes, excerpt(state, names), account, asked, sequence)


ROUTES: Final = [what_if]
"""Read scope is enough: what is tried here could be worked out from what the key may read."""
