"""What goes over the stream's socket: the client's operations, and the shapes of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from marginkeep.clearing.commands import ReserveOrder
from marginkeep.service.routes.batch import BatchItem
from marginkeep.service.stream.channels import Channel
from marginkeep.service.wire.commands import WIRE, DirectWireCommand
from marginkeep.service.wire.openapi import PRINTABLE, PRINTABLE_OR_EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from marginkeep.service.wire.problems import Problem

ID_LENGTH_MAX: Final = 64
ACCOUNTS_MAX: Final = 1_000
BATCH_MAX: Final = 1_000
PART_BYTES: Final = 256 * 1024
"""A message longer than this is sent in parts, so that clients need no large buffers."""

_Order: Any = WIRE[ReserveOrder]

Identity = Annotated[str, Meta(max_length=ID_LENGTH_MAX)] | int
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag=str.lower, forbid_unknown_fields=True):
    """Base of what a client asks; `id` comes back with the answer."""

    id: Identity = ""


class Subscribe(Operation, frozen=True, kw_only=True):
    """Listen to channels; `after` resumes event channels behind a sequence instead of starting with a snapshot."""

    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=8)]
    accounts: Annotated[tuple[Name, ...], Meta(max_length=ACCOUNTS_MAX)] = ()
    after: Annotated[int, Meta(ge=0)] | None = None


class Unsubscribe(Operation, frozen=True, kw_only=True):
    """End the subscription that was made with this id."""


class Ping(Operation, frozen=True, kw_only=True):
    """Ask whether anybody is there."""


class Command(Operation, frozen=True, kw_only=True):
    """Apply one command."""

    command: DirectWireCommand
    key: Annotated[str, Meta(min_length=1, max_length=128, pattern=PRINTABLE)]
    correlation: Annotated[str, Meta(max_length=128, pattern=PRINTABLE_OR_EMPTY)] = ""


class Commands(Operation, frozen=True, kw_only=True):
    """Apply commands in order; one that is refused does not keep the others back."""

    commands: Annotated[tuple[BatchItem, ...], Meta(min_length=1, max_length=BATCH_MAX)]


class Check(Operation, frozen=True, kw_only=True):
    """Ask what each order alone would be answered now; nothing is changed or recorded."""

    order: _Order | None = None
    orders: Annotated[tuple[_Order, ...], Meta(max_length=BATCH_MAX)] = ()


AnyOperation = Subscribe | Unsubscribe | Ping | Command | Commands | Check
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyOperation)
encode = msgspec.json.Encoder().encode


def decode_operation(message: bytes | str) -> Any:
    """Read a client's message.

    Raises
    ------
    msgspec.DecodeError : not JSON, or not one of the operations
    """
    return _decoder.decode(message)


class Answer(msgspec.Struct, kw_only=True, tag_field="type", omit_defaults=False):
    """Base of what is answered to one operation."""

    id: str | int


class Pong(Answer, tag="pong"):
    """The answer to a ping."""

    now_ns: int
    sequence: int


class Subscribed(Answer, tag="subscribed"):
    """A subscription begins."""

    channels: tuple[str, ...]
    sequence: int


class Unsubscribed(Answer, tag="unsubscribed"):
    """A subscription is over; nothing of it comes any more."""


def error_message(identity: str | int, problem: Problem) -> bytes:
    """Return a refusal by the service, with the members of the problem document."""
    return encode({**problem.document(), "type": "error", "id": identity})


def parted(head: bytes, name: bytes, fragments: Sequence[bytes]) -> Iterator[bytes]:
    """Yield one message, or several where the fragments are too many for one; the last says that it is complete.

    Parameters
    ----------
    head : the message's beginning, ``{...``, with what every part repeats
    name : of the member that lists the fragments
    """
    start = 0
    while True:
        end, size = start, 0
        while end < len(fragments) and (end == start or size + len(fragments[end]) <= PART_BYTES):
            size += len(fragments[end])
            end += 1
        complete = b"true" if end >= len(fragments) else b"false"
        yield b'%b,"complete":%b,"%b":[%b]}' % (head, complete, name, b",".join(fragments[start:end]))
        if end >= len(fragments):
            return
        start = end
