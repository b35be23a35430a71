"""The web application: every room's routes behind one door, with one way to say no."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.middleware import DefineMiddleware
from litestar.response.base import ASGIResponse

from marginkeep.service import routes as rooms
from marginkeep.service.access.authentication import LOGIN_SECONDS, AuthenticationMiddleware
from marginkeep.service.operations.halting import word_for
from marginkeep.service.stream import endpoint
from marginkeep.service.wire.openapi import build_document
from marginkeep.service.wire.problem_answers import EXCEPTION_HANDLERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from litestar.types import Message, Middleware, Scope

    from marginkeep.service.context import ServiceContext

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_log = structlog.get_logger("marginkeep.service")

HALTED: Final = b"marginkeep-halted"
"""Header of every answer while nothing new is accepted, reads too: what has happened, as ``/v1/ready`` says it."""

HTTPS_ALONE: Final = (b"strict-transport-security", b"max-age=31536000")


def build_application(
    context: ServiceContext, *, authentication: Middleware | None = None, routes: Sequence[Any] = ()
) -> Litestar:
    """Return the application of a service; starting it starts the writer and every part, stopping it the reverse.

    Parameters
    ----------
    authentication : sets `request.user`; None = signatures, by `context.parts["access"]`
    routes : more than those of the rooms
    """
    server = context.settings.server
    if authentication is None:
        access = context.parts["access"]
        authentication = DefineMiddleware(
            AuthenticationMiddleware,
            access=access,
            body_max=server.body_max,
            body_seconds=server.patience_seconds,
            login_seconds=min(LOGIN_SECONDS, server.patience_seconds),
        )
    return Litestar(
        route_handlers=[*every_route(), openapi_document, *routes],
        middleware=[authentication],
        exception_handlers=EXCEPTION_HANDLERS,
        before_send=[_secured(https=bool(server.certificate) or server.behind_tls)],
        lifespan=[_running],
        state=State({"context": context}, deep_copy=False),
        openapi_config=None,
        request_max_body_size=server.body_max,
        logging_config=None,
        cors_config=None,
        debug=False,
    )


@cache
def every_route() -> tuple[Any, ...]:
    """Return every route: each module of the room ``routes`` has `ROUTES`, and so has the stream."""
    names = sorted(one.name for one in iter_modules(rooms.__path__))
    modules = [import_module(f"{rooms.__name__}.{name}") for name in names]
    return tuple(route for module in (*modules, endpoint) for route in module.ROUTES)


@cache
def _document(page_max: int) -> bytes:
    return build_document(every_route(), page_max)


@get("/v1/openapi.json", opt={"scope": None}, operation_id="OpenApi", summary="This interface, as OpenAPI 3.1")
async def openapi_document(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Return the document."""
    context: ServiceContext = request.app.state.context
    return ASGIResponse(body=_document(context.settings.server.page_max), media_type="application/json")


@asynccontextmanager
async def _running(application: Litestar) -> AsyncIterator[None]:
    """Start the writer, then the parts; stop the parts, last first, then the writer, so that they may still write."""
    context: ServiceContext = application.state.context
    context.writer.start()
    started: list[Any] = []
    try:
        for part in context.parts.values():
            if hasattr(part, "start") and part not in started:
                await part.start()
                started.append(part)
        yield
    finally:
        for part in reversed(started):
            await _stop(part)
        await context.writer.stop()


async def _stop(part: Any) -> None:
    """Stop one part; where it cannot, the others and the writer are stopped all the same."""
    try:
        await part.stop()
    except Exception as error:
        _log.error("a part could not be stopped", part=type(part).__name__, error=repr(error))


def _secured(*, https: bool) -> Any:
    """Return a hook that puts the security headers on every answer that does not state its own."""
    stated = (*SECURITY_HEADERS, HTTPS_ALONE) if https else SECURITY_HEADERS

    async def add(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if scope.get("method") == "OPTIONS":
                headers = [*(one for one in headers if one[0] != b"allow"), (b"allow", _methods_of(scope))]
            trouble = scope["litestar_app"].state.context.durable.trouble
            if trouble is not None:
                headers.append((HALTED, word_for(trouble).encode()))
            present = {name for name, _ in headers}
            headers += [one for one in stated if one[0] not in present]
            message["headers"] = headers

    return add


def _methods_of(scope: Mapping[str, Any]) -> bytes:
    """Return every method of a path; Litestar forgets those of handlers that share it and were added later."""
    methods: set[str] = set()
    for path in scope["litestar_app"].routes:
        if getattr(path, "path_format", None) == scope.get("path_template"):
            methods.update(path.methods)
    return ", ".join(sorted(methods)).encode()
