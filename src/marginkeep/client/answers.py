"""What commands and checks are answered. Members that this client does not know are passed over."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from marginkeep.client.errors import ServiceError, UnreadableAnswer, error_of
from marginkeep.client.events import Event, holding_events

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS: Final = {
    "bad_request": 400,
    "forbidden": 403,
    "halted": 503,
    "key_reused": 422,
    "not_found": 404,
    "overloaded": 503,
    "rejected": 422,
    "too_many_requests": 429,
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A command was done and is durable.

    Attributes
    ----------
    sequence : its record in the journal
    repeated : the idempotency key was known, and this is the recorded answer
    events : what it caused, as far as the key may see it
    """

    sequence: int
    recorded_ns: int
    repeated: bool
    events: tuple[Event, ...]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one command of several was answered: a refusal is a value here.

    Attributes
    ----------
    status : ``accepted``, or the code of what refused it
    reason, refusal, numbers : of a refusal; see `Refused`
    """

    status: str
    sequence: int = 0
    recorded_ns: int = 0
    repeated: bool = False
    events: tuple[Event, ...] = ()
    reason: str = ""
    refusal: str = ""
    numbers: dict[str, str | int] = {}
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        """Tell whether it was done."""
        return self.status == "accepted"

    def error(self) -> ServiceError:
        """Return the refusal as the exception that a single call would have raised."""
        document = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("events", "status")}
        return error_of({**document, "code": self.status, "status": _STATUS.get(self.status, 422)})

    def answer(self) -> Answer:
        """Return the answer of what was done.

        Raises
        ------
        ServiceError : it was not
        """
        if not self.accepted:
            raise self.error()
        return Answer(sequence=self.sequence, recorded_ns=self.recorded_ns, repeated=self.repeated, events=self.events)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would be answered now.

    Attributes
    ----------
    free : initial health that would remain, in units of the reporting asset; of an order that would pass
    reason, refusal, numbers : of one that would not
    """

    status: Literal["accepted", "rejected"]
    sequence: int = 0
    free: str = ""
    reason: str = ""
    refusal: str = ""
    numbers: dict[str, str | int] = {}

    @property
    def accepted(self) -> bool:
        """Tell whether the order would pass."""
        return self.status == "accepted"


class _Several(msgspec.Struct):
    results: list[dict[str, Any]]


class _Verdicts(msgspec.Struct):
    results: tuple[Verdict, ...]


_rows = msgspec.json.Decoder(dict[str, Any])
_several = msgspec.json.Decoder(_Several)
_verdicts = msgspec.json.Decoder(_Verdicts)


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Read within the context what the service has sent.

    Raises
    ------
    UnreadableAnswer : it is not what this client was written for
    """
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        raise UnreadableAnswer(f"{what} cannot be read: {error}") from error


def read_answer(body: bytes) -> Answer:
    """Read what one command was answered."""
    return holding_events(_rows.decode(body), Answer)


def read_result(members: dict[str, Any]) -> Result:
    """Read what one command of several was answered."""
    return holding_events(members, Result)


def read_results(body: bytes) -> tuple[Result, ...]:
    """Read what the commands of a batch were answered."""
    return tuple(read_result(members) for members in _several.decode(body).results)


def read_verdicts(body: bytes) -> tuple[Verdict, ...]:
    """Read what the checks of a batch were answered."""
    return _verdicts.decode(body).results


def read_message(text: str | bytes) -> dict[str, Any]:
    """Read a message of a socket.

    Raises
    ------
    UnreadableAnswer : it is no JSON object
    """
    with understood("a message of the service"):
        return _rows.decode(text)
