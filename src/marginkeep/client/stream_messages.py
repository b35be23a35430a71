"""What a stream tells, typed, and the part of it that needs no network: resuming, gaps, and messages in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.client.answers import read_message, understood
from marginkeep.client.errors import ClientError, error_of
from marginkeep.client.events import Event, read_event
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENT_CHANNELS: Final = ("events", "calls", "oracle", "auctions")
ROW_CHANNELS: Final = ("accounts", "marks", "funds")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state that a channel starts with, as rows; what was known before is to be forgotten."""

    channel: str
    sequence: int
    rows: tuple[dict[str, Any], ...]


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its id, which is the same in every channel and after every reconnection."""

    id: str
    event: Event


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """What one record of the journal has for a channel: events, or rows that have changed.

    Attributes
    ----------
    actor, correlation : of the record, where the key may see them
    """

    channel: str
    sequence: int
    recorded_ns: int = 0
    events: tuple[Happened, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
    actor: str = ""
    correlation: str = ""


class Resync(msgspec.Struct, frozen=True, kw_only=True):
    """What happened after a sequence is lost to this stream: a snapshot follows."""

    channel: str
    from_sequence: int


StreamMessage = Snapshot | Delta | Resync


class StreamGap(ClientError):
    """A message is missing. Handled by the stream itself: it connects again and resumes."""


class StreamView:
    """What a stream's client knows: the last sequence of each channel, and messages that have come in part.

    Parameters
    ----------
    channels : at least one
    after : begin event channels behind this sequence
    """

    def __init__(self, channels: Sequence[str], accounts: Sequence[str], after: int | None) -> None:
        unknown = [name for name in channels if name not in EVENT_CHANNELS + ROW_CHANNELS]
        if unknown or not channels:
            known = ", ".join(EVENT_CHANNELS + ROW_CHANNELS)
            raise InputError(f"channel {', '.join(unknown) or 'none'} is not known: choose among {known}")
        self._channels = tuple(dict.fromkeys(channels))
        self._accounts = list(accounts)
        self.last: dict[str, int] = {} if after is None else dict.fromkeys(EVENT_CHANNELS, after)
        self._seen: dict[str, int] = {}
        self._parts: dict[str, list[Any]] = {}

    def subscriptions(self) -> list[bytes]:
        """Return what a new connection is to be sent: event channels resume, row channels start anew."""
        self._parts.clear()
        self._seen = {name: self.last[name] for name in self._channels if name in EVENT_CHANNELS and name in self.last}
        return [msgspec.json.encode(self._subscription(name)) for name in self._channels]

    def _subscription(self, channel: str) -> dict[str, Any]:
        operation: dict[str, Any] = {"op": "subscribe", "id": channel, "channels": [channel]}
        if self._accounts:
            operation["accounts"] = self._accounts
        if channel in self._seen:
            operation["after"] = self._seen[channel]
        return operation

    def take(self, text: str | bytes) -> StreamMessage | None:
        """Take a message in and return what it tells; None where that is nothing yet.

        Raises
        ------
        StreamGap : a message before it is missing
        ServiceError : a subscription is refused
        UnreadableAnswer : it is no message
        """
        message = read_message(text)
        with understood("a message of the stream"):
            return self._take(message)

    def _take(self, message: dict[str, Any]) -> StreamMessage | None:
        kind = message.get("type")
        if kind == "error":
            raise error_of(message)
        if kind == "resync":
            return Resync(channel=message["channel"], from_sequence=message["from"])
        if kind in ("snapshot", "delta"):
            return self._told(kind, message)
        return None

    def _told(self, kind: str, message: dict[str, Any]) -> StreamMessage | None:
        channel, sequence = message["channel"], message["sequence"]
        if kind == "delta" and message["previous"] != self._seen.get(channel):
            raise StreamGap(
                f"channel {channel} goes on behind {message['previous']}, but {self._seen.get(channel)} was seen last"
            )
        items = self._parts.setdefault(channel, [])
        items += message.get("events", message.get("rows", ()))
        if not message["complete"]:
            return None
        del self._parts[channel]
        self._seen[channel] = self.last[channel] = sequence
        if kind == "snapshot":
            return Snapshot(channel=channel, sequence=sequence, rows=tuple(items))
        return _delta(message, items)


def _delta(message: dict[str, Any], items: list[Any]) -> Delta:
    stated = {name: message[name] for name in ("recorded_ns", "actor", "correlation") if name in message}
    channel, sequence = message["channel"], message["sequence"]
    if "events" not in message:
        return Delta(channel=channel, sequence=sequence, rows=tuple(items), **stated)
    events = tuple(Happened(id=one["id"], event=read_event(one["event"])) for one in items)
    return Delta(channel=channel, sequence=sequence, events=events, **stated)
