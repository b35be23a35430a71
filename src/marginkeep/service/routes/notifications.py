"""Endpoints of notifications, their dead letters, and a test of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec import Meta

from marginkeep.errors import InputError
from marginkeep.service.access.access import require_account
from marginkeep.service.access.scopes import EVERY_ACCOUNT, Caller, Scope
from marginkeep.service.notifications.endpoints import Preferences
from marginkeep.service.queries.question import AnyRequest, context_of
from marginkeep.service.wire.answers import json_answer
from marginkeep.service.wire.bodies import read_body
from marginkeep.service.wire.openapi import documented
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.service.notifications.delivery import Delivery
    from marginkeep.service.notifications.endpoints import DeadLetter, Endpoint
    from marginkeep.service.notifications.room import Notifications

_BASE: Final = "/v1/notifications"
PAGE_MAX: Final = 1_000


class NewEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place to be told: whose notices, by what way, and which."""

    owner: Annotated[str, Meta(min_length=1, max_length=64, examples=["ann"])]
    kind: Literal["webhook", "apprise", "mail"]
    target: Annotated[str, Meta(min_length=1, max_length=2_048, examples=["https://example.org/hook"])]
    preferences: Preferences = Preferences()


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint; the secret is there once, when it is made, in hexadecimal."""

    id: str
    owner: str
    kind: str
    target: str
    preferences: Preferences
    created_ns: int
    cursor: int
    delivered: int
    failing: bool
    secret: str = ""


class EndpointList(msgspec.Struct, frozen=True):
    """Endpoints of the accounts that the key is bound to."""

    endpoints: list[EndpointView]


class TestAnswer(msgspec.Struct, frozen=True):
    """Whether a test notice was taken, and if not, why."""

    delivered: bool
    reason: str


class Deleted(msgspec.Struct, frozen=True):
    """What is gone."""

    deleted: str


class Queued(msgspec.Struct, frozen=True):
    """What is tried again."""

    queued: str


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A notice that could not be delivered."""

    id: str
    endpoint: str
    owner: str
    notice: str
    kind: str
    account: str
    attempts: int
    reason: str
    at_ns: int


class DeadLetterList(msgspec.Struct, frozen=True):
    """Dead letters, oldest first."""

    dead_letters: list[DeadLetterView]


_decoder: Final = msgspec.json.Decoder(NewEndpoint)
_READ: Final = {"scope": Scope.READ, "weight": 1, "bucket": "read"}


@post(
    f"{_BASE}/endpoints",
    opt={**_READ, "weight": 10, **documented(body=NewEndpoint, answer=EndpointView)},
    status_code=201,
    operation_id="MakeEndpoint",
    summary="Make a notification endpoint",
    description="Notices go there from now on. The answer holds the secret of a webhook, which is never shown again.",
    tags=["notifications"],
)
async def make_endpoint(request: AnyRequest) -> ASGIResponse:
    """Make an endpoint."""
    wanted = await read_body(_decoder, request)
    _require_owner(request.user, wanted.owner)
    for level in wanted.preferences.levels:
        require_account(request.user, level.account)
    room = _room(request)
    try:
        made = await room.add(wanted.owner, wanted.kind, wanted.target, wanted.preferences, request.user.key)
    except InputError as error:
        raise Problem("bad_request", str(error)) from error
    endpoint, secret = made
    return json_answer(_view(endpoint, room.deliveries[endpoint.id], secret), 201)


@get(
    f"{_BASE}/endpoints",
    opt={**_READ, **documented(answer=EndpointList)},
    operation_id="ListEndpoints",
    summary="List notification endpoints",
    tags=["notifications"],
)
async def list_endpoints(request: AnyRequest) -> ASGIResponse:
    """List endpoints, without their secrets."""
    views = [_view(one.endpoint, one) for one in _room(request).deliveries.values() if _sees(request, one.endpoint)]
    return json_answer(EndpointList(views))


@delete(
    f"{_BASE}/endpoints/{{endpoint:str}}",
    opt={**_READ, **documented(answer=Deleted)},
    status_code=200,
    operation_id="DeleteEndpoint",
    summary="Delete a notification endpoint",
    tags=["notifications"],
)
async def delete_endpoint(request: AnyRequest, endpoint: FromPath[str]) -> ASGIResponse:
    """Delete an endpoint, its cursor and its dead letters."""
    found = _find(request, endpoint)
    if found.key == "":
        raise Problem("conflict", "this endpoint is of the configuration: take it out there")
    await _room(request).remove(endpoint)
    return json_answer(Deleted(endpoint))


@post(
    f"{_BASE}/endpoints/{{endpoint:str}}/test",
    opt={**_READ, "weight": 50, **documented(answer=TestAnswer)},
    status_code=200,
    operation_id="TestEndpoint",
    summary="Send a test notice",
    tags=["notifications"],
)
async def test_endpoint(request: AnyRequest, endpoint: FromPath[str]) -> ASGIResponse:
    """Make one attempt with a test notice."""
    _find(request, endpoint)
    reason = await _room(request).test(endpoint)
    return json_answer(TestAnswer(not reason, reason))


@get(
    f"{_BASE}/dead-letters",
    opt={**_READ, **documented(answer=DeadLetterList)},
    operation_id="ListDeadLetters",
    summary="List notices that could not be delivered",
    tags=["notifications"],
)
async def list_dead_letters(request: AnyRequest) -> ASGIResponse:
    """List dead letters, oldest first."""
    letters = [_dead_view(one) for one in _room(request).dead.values() if _owns(request.user, one.owner)]
    return json_answer(DeadLetterList(letters[:PAGE_MAX]))


@post(
    f"{_BASE}/dead-letters/{{letter:str}}/redeliver",
    opt={**_READ, "weight": 10, **documented(answer=Queued)},
    status_code=202,
    operation_id="RedeliverDeadLetter",
    summary="Try a dead letter again",
    description="It stays a dead letter until it has been taken.",
    tags=["notifications"],
)
async def redeliver(request: AnyRequest, letter: FromPath[str]) -> ASGIResponse:
    """Try a dead letter again."""
    room = _room(request)
    found = room.dead.get(letter)
    if found is None or not _owns(request.user, found.owner):
        raise Problem("not_found", f"there is no dead letter {letter!r:.80}, or it is not yours")
    try:
        room.redeliver(found)
    except InputError as error:
        raise Problem("overloaded", str(error), retry_after=10) from error
    return json_answer(Queued(letter), 202)


def _room(request: AnyRequest) -> Notifications:
    room: Notifications = context_of(request).parts["notifications"]
    return room


def _require_owner(caller: Caller, owner: str) -> None:
    """Let a key make endpoints for its own accounts; the operators' are for keys that act for all."""
    if owner != EVERY_ACCOUNT:
        require_account(caller, owner)
    elif not caller.acts_for_all:
        raise Problem("forbidden", "notices about every account are for keys that act for every account")


def _owns(caller: Caller, owner: str) -> bool:
    return caller.acts_for_all or (owner != EVERY_ACCOUNT and caller.acts_for(owner))


def _sees(request: AnyRequest, endpoint: Endpoint) -> bool:
    return _owns(request.user, endpoint.owner)


def _find(request: AnyRequest, identity: str) -> Endpoint:
    delivery = _room(request).deliveries.get(identity)
    if delivery is None or not _sees(request, delivery.endpoint):
        raise Problem("not_found", f"there is no endpoint {identity!r:.80}, or it is not yours")
    return delivery.endpoint


def _view(endpoint: Endpoint, delivery: Delivery, secret: str = "") -> EndpointView:
    return EndpointView(
        id=endpoint.id,
        owner=endpoint.owner,
        kind=endpoint.kind,
        target=endpoint.target if endpoint.key else "",
        preferences=endpoint.preferences,
        created_ns=endpoint.created_ns,
        cursor=delivery.cursor,
        delivered=delivery.delivered,
        failing=delivery.failing,
        secret=secret,
    )


def _dead_view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.name,
        endpoint=letter.endpoint,
        owner=letter.owner,
        notice=letter.notice.id,
        kind=letter.notice.kind,
        account=letter.notice.account,
        attempts=letter.attempts,
        reason=letter.reason,
        at_ns=letter.at_ns,
    )


ROUTES: Final = [make_endpoint, list_endpoints, delete_endpoint, test_endpoint, list_dead_letters, redeliver]
