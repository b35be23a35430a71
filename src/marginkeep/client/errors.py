"""What a call may raise. Each says who acts, and whether the same call may be made again.

::

    ClientError
    ├── Unreachable           no answer came: retry with the same `key`, which tells what became of a command
    ├── UnreadableAnswer      an answer this client does not understand: the operator, or a newer client
    └── ServiceError          a problem document: `code`, `status`, `detail`, `document`
        ├── BadRequest        the request cannot be read: the caller, after changing it
        ├── Unauthenticated   signature, clock or key: the caller, after `detail` is put right
        ├── NotAllowed        the key may not do this: whoever gives keys out
        ├── NotFound          there is no such thing, or it is not the key's: the caller
        ├── Conflict          the present state does not allow it: the caller, later or otherwise
        ├── KeyReused         the idempotency key stands for another command: the caller, with a new key
        ├── Refused           the clearinghouse said no: `refusal`, `numbers`, `sequence`; a retry is told the same
        ├── TooMany           a rate limit: this client has waited and tried `retries` times; retry later
        ├── Unavailable       the queue is full or nothing is accepted: likewise
        └── Defect            a defect of the service: its operator; a retry is harmless

`InputError` and `PrecisionError` of the package are raised for arguments that could not be sent: floats, bad names.
"""

from __future__ import annotations

from typing import Any, Final

from marginkeep.errors import MarginkeepError


class ClientError(MarginkeepError):
    """Base of all that a call may raise.

    Attributes
    ----------
    key : idempotency key of the command that failed, empty where there was none; a retry takes the same
    """

    key: str = ""


class Unreachable(ClientError):
    """No answer came. Whether a command was applied is not known; the same key asks again without applying it twice."""


class UnreadableAnswer(ClientError):
    """The answer is not what this client was written for."""


class ServiceError(ClientError):
    """The service answered with a problem document.

    Parameters
    ----------
    document : its members

    Attributes
    ----------
    code : stable name of the problem
    retry_after : seconds to wait, as the service states them; None = it states none
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.code = str(document.get("code", ""))
        self.status = int(document.get("status", 0))
        self.detail = str(document.get("detail") or document.get("reason") or document.get("title") or self.code)
        self.retry_after: float | None = document.get("retry_after")
        super().__init__(self.detail)


class BadRequest(ServiceError):
    """The request cannot be read. Retry: after changing it."""


class Unauthenticated(ServiceError):
    """The signature does not hold, or its time is off. Retry: after putting key or clock right."""


class NotAllowed(ServiceError):
    """The key lacks a scope, or may not be used from here. Handled by: whoever gives keys out."""


class NotFound(ServiceError):
    """There is no such thing, or it is not yours. Retry: with another name."""


class Conflict(ServiceError):
    """The present state does not allow it. Retry: when it has changed."""


class KeyReused(ServiceError):
    """The idempotency key stands for another command. Retry: with a new key."""


class Refused(ServiceError):
    """The clearinghouse refused a command. Retry: when the numbers have changed, with a new key.

    Attributes
    ----------
    refusal : the clearinghouse's code, such as ``insufficient_margin``
    numbers : the amounts behind it, decimal strings in whole units
    sequence : its record; 0 where it was not recorded
    """

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.refusal = str(document.get("refusal", ""))
        self.numbers: dict[str, str | int] = dict(document.get("numbers", {}))
        self.sequence = int(document.get("sequence", 0))
        self.repeated = bool(document.get("repeated", False))


class TooMany(ServiceError):
    """A rate limit is used up. Retry: after `retry_after` seconds, with the same key."""


class Unavailable(ServiceError):
    """The queue is full, or nothing new is accepted. Retry: later, with the same key."""


class Defect(ServiceError):
    """A defect of the service. Handled by: its operator. Retry: harmless with the same key."""


_BY_CODE: Final[dict[str, type[ServiceError]]] = {
    "conflict": Conflict,
    "in_progress": Conflict,
    "key_reused": KeyReused,
    "rejected": Refused,
    "too_slow": Unavailable,
}
_BY_STATUS: Final[dict[int, type[ServiceError]]] = {
    401: Unauthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: TooMany,
    503: Unavailable,
}
SERVER_ERRORS: Final = 500


def error_of(document: dict[str, Any]) -> ServiceError:
    """Return the error that a problem document, or a value in its place, stands for."""
    status = int(document.get("status", 0))
    fallback = Defect if status >= SERVER_ERRORS else BadRequest
    kind = _BY_CODE.get(str(document.get("code", ""))) or _BY_STATUS.get(status) or fallback
    return kind(document)
