"""Events as JSON, and back."""

from __future__ import annotations

from functools import cache
from typing import Any, Union

import msgspec

from marginkeep.clearing import loss_events  # noqa: F401 - its events are subclasses too
from marginkeep.clearing.events import Event

_encoder = msgspec.json.Encoder()


def encode_events(events: tuple[Event, ...]) -> bytes:
    """Write what the clearinghouse answered as one JSON array."""
    return _encoder.encode(events)


def decode_events(payload: bytes) -> tuple[Event, ...]:
    """Read events back.

    Raises
    ------
    msgspec.ValidationError : not events
    """
    return _decoder().decode(payload)


def event_types() -> tuple[type[Event], ...]:
    """Return every kind of event there is."""
    return tuple(Event.__subclasses__())


@cache
def _decoder() -> msgspec.json.Decoder[tuple[Event, ...]]:
    any_event: Any = Union[event_types()]  # noqa: UP007 - made from what is defined elsewhere
    return msgspec.json.Decoder(tuple[any_event, ...])
