"""Errors on the wire: RFC 9457 problem documents with stable codes, and nothing of the inside."""

from __future__ import annotations

from typing import Any, Final

PROBLEM_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "https://marginkeep.dev/problems/"
"""Prefix of the `type` member: a name, not an address that must answer."""

PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    "bad_request": (400, "The request cannot be read"),
    "unauthenticated": (401, "The signature does not hold"),
    "expired": (401, "The request is too old, too new or was sent before"),
    "forbidden": (403, "The key may not do this"),
    "not_found": (404, "There is no such thing, or it is not yours"),
    "method_not_allowed": (405, "Not with this method"),
    "too_slow": (408, "The request did not arrive in time"),
    "in_progress": (409, "A request with this idempotency key is being worked on"),
    "conflict": (409, "The present state does not allow it"),
    "too_large": (413, "The request is too large"),
    "key_reused": (422, "The idempotency key stands for another command"),
    "rejected": (422, "The clearinghouse refused the command"),
    "key_missing": (400, "An idempotency key is needed"),
    "too_many_requests": (429, "Too many requests"),
    "overloaded": (503, "The queue is full"),
    "halted": (503, "No new commands are accepted"),
    "defect": (500, "Something that cannot happen happened"),
}
"""Code -> HTTP status and title. A refusal by the clearinghouse is ``rejected`` with its own code in `refusal`."""


class Problem(Exception):
    """Ends a request with a problem document.

    Parameters
    ----------
    code : one of `PROBLEMS`
    detail : what, which value, which bound, what to do
    more : further members of the document, such as ``refusal``, ``numbers``, ``retry_after``
    """

    def __init__(self, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.status = PROBLEMS[code][0]
        self.detail = detail
        self.more = more

    def document(self) -> dict[str, Any]:
        """Return the document's members."""
        status, title = PROBLEMS[self.code]
        base = {"type": TYPE_PREFIX + self.code, "title": title, "status": status, "code": self.code}
        return {**base, "detail": self.detail, **self.more}
