"""Every error that leaves a handler becomes a problem document; what is inside stays inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException

from marginkeep.errors import InputError, JournalError
from marginkeep.service.wire.problems import PROBLEM_TYPE, Problem

if TYPE_CHECKING:
    from litestar import Request

    AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger("marginkeep.service")

CODES: Final = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    429: "too_many_requests",
    503: "overloaded",
}
_DETAILS: Final = {
    404: "there is nothing at this path: see /v1/openapi.json for what there is",
    405: "this path does not know the method: see /v1/openapi.json for what it knows",
    413: "the body is larger than is accepted: send it in parts",
}


def answer_problem(_: AnyRequest, problem: Problem) -> Response[bytes]:
    """Answer a problem."""
    return _response(problem)


def answer_http_error(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Answer what the framework refuses."""
    status = error.status_code
    detail = _DETAILS.get(status) or _detail_of(error)
    answer = _response(Problem(CODES.get(status, "bad_request" if status < 500 else "defect"), detail))
    for name in ("allow", "retry-after"):
        value = {key.lower(): text for key, text in (error.headers or {}).items()}.get(name)
        if value is not None:
            answer.headers[name] = value
    return answer


def _detail_of(error: HTTPException) -> str:
    """Return what the caller can do about it; of our own failures, nothing."""
    if error.status_code >= 500:
        return _DEFECT
    extra = error.extra if isinstance(error, ValidationException) and isinstance(error.extra, list) else []
    places = "; ".join(f"{one.get('key', '')}: {one.get('message', '')}" for one in extra if isinstance(one, dict))
    return places or "the request cannot be read: see /v1/openapi.json for what is expected"


def answer_input_error(_: AnyRequest, error: InputError) -> Response[bytes]:
    """Answer input that was wrong and changed nothing."""
    return _response(Problem("bad_request", str(error)))


def answer_journal_error(_: AnyRequest, error: JournalError) -> Response[bytes]:
    """Answer trouble with the journal, whose details are the operator's."""
    _log.error("the journal is in trouble", error=str(error))
    return _response(Problem("halted", "the journal is in trouble, nothing new is accepted: tell the operator"))


def answer_defect(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer a defect, and say in the log what it was."""
    _log.critical("a request met a defect", path=request.scope.get("path"), error=repr(error), exc_info=error)
    return _response(Problem("defect", _DEFECT))


def _response(problem: Problem) -> Response[bytes]:
    headers = {"retry-after": str(problem.more["retry_after"])} if "retry_after" in problem.more else None
    body = msgspec.json.encode(problem.document())
    return Response(body, status_code=problem.status, media_type=PROBLEM_TYPE, headers=headers)


_DEFECT: Final = "this is a defect of the service and was written to its log: tell the operator"

EXCEPTION_HANDLERS: Final[dict[int | type[Exception], Any]] = {
    Problem: answer_problem,
    HTTPException: answer_http_error,
    InputError: answer_input_error,
    JournalError: answer_journal_error,
    Exception: answer_defect,
}
