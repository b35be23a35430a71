"""What all questions have in common: how a route states itself, which parameters it knows, and when it may answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get
from litestar.response.base import ASGIResponse

from marginkeep.service.access.scopes import Scope
from marginkeep.service.wire.answers import json_answer
from marginkeep.service.wire.openapi import documented
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from marginkeep.service.context import ServiceContext

AnyRequest = Request[Any, Any, Any]

PAGE_DEFAULT: Final = 100
"""Rows of a page, where the request does not say."""

SEQUENCE_MAX: Final = 2**62
"""Above what any journal counts to, and within what its columns hold."""


def question(
    path: str,
    answer: Any,
    summary: str,
    *,
    name: str,
    tags: Sequence[str],
    scope: Scope | None = Scope.READ,
    weight: int = 1,
    knows: Sequence[str] = (),
    venue_only: bool = False,
) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
    """Return what makes a handler the route of a question.

    Parameters
    ----------
    name : the operation's id
    knows : its query parameters; others are refused rather than ignored
    """
    opt = {
        "scope": scope,
        "weight": weight,
        "bucket": "read",
        "venue_only": venue_only,
        "knows": frozenset(knows),
        **documented(answer=answer),
    }
    return get(path, opt=opt, operation_id=name, summary=summary, tags=list(tags), before_request=_refuse_unknown)


async def _refuse_unknown(request: AnyRequest) -> None:
    """Refuse query parameters that the route does not know, and those given twice."""
    known = request.route_handler.opt["knows"]
    stated = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted(set(stated) - known)
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise Problem("bad_request", f"query parameter {unknown[0]!r:.80} is not known here: use {listed}")
    if len(stated) != len(set(stated)):
        raise Problem("bad_request", "a query parameter is there twice: give it once")


def context_of(request: AnyRequest) -> ServiceContext:
    """Return the running service."""
    context: ServiceContext = request.app.state.context
    return context


async def settled_answer(context: ServiceContext, document: Any, sequence: int | None = None) -> ASGIResponse:
    """Answer a document once what it tells is durable.

    Parameters
    ----------
    sequence : of the last record it takes in; None = everything applied by now
    """
    await context.writer.settled(sequence)
    return json_answer(document)


def page_size(context: ServiceContext, limit: int) -> int:
    """Return how many rows a page has; ask for 1 to the service's bound.

    Raises
    ------
    Problem : ``bad_request``
    """
    most = context.settings.server.page_max
    if not 1 <= limit <= most:
        raise Problem("bad_request", f"limit is {limit}: ask for 1 to {most}")
    return limit


def require_sequence(name: str, number: int, what: str) -> None:
    """Refuse a query parameter that cannot be a record's number, or 0.

    Raises
    ------
    Problem : ``bad_request``
    """
    if not 0 <= number <= SEQUENCE_MAX:
        raise Problem("bad_request", f"{name} is {number}: give {what}, or 0")


def require_venue(request: AnyRequest, what: str) -> None:
    """Refuse what is the venue's alone to ask.

    Raises
    ------
    Problem : ``forbidden``
    """
    if not request.user.acts_for_all:
        raise Problem("forbidden", f"{what} is the venue's to ask: use a key that acts for every account")
