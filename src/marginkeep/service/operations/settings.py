"""Configuration of the service: a TOML file, then the environment, then the command line; see `settings_reading`.

Each setting states its meaning and its bounds where it stands, which is what ``marginkeep serve --explain`` prints.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


def _text(meaning: str) -> Meta:
    return Meta(description=meaning)


def _at_least(least: float, meaning: str, most: float | None = None) -> Meta:
    return Meta(ge=least, le=most, description=meaning)


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where records go."""

    place: Annotated[str, _text("path of an SQLite file, a postgresql:// address, or memory")] = "marginkeep.db"
    signing_key: Annotated[
        str, _text("file of the Ed25519 key that signs checkpoints; made when absent; empty = the place with .key")
    ] = ""
    snapshot_records: Annotated[int, _at_least(0, "a snapshot is begun after this many records; 0 = never")] = 100_000
    keep_hours: Annotated[
        float,
        _at_least(0, "records older than this that no restart and no notice needs are deleted; 0 = never, else >= 24"),
    ] = 0


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listening side."""

    host: Annotated[str, _text("address to listen at; beyond loopback only with behind_tls or a certificate")] = (
        "127.0.0.1"
    )
    port: Annotated[int, _at_least(0, "port to listen at; 0 = any that is free", 65_535)] = 8470
    behind_tls: Annotated[
        bool, _text("a proxy on this machine ends TLS; callers' addresses are read from its forwarded headers")
    ] = False
    certificate: Annotated[str, _text("file of the TLS certificate chain")] = ""
    certificate_key: Annotated[str, _text("file of the certificate's private key")] = ""
    metrics_token: Annotated[
        str,
        _text("file with a token of 32 characters or more that reads /v1/metrics; empty = loopback or a signed key"),
    ] = ""
    body_max: Annotated[int, _at_least(1_024, "bytes of a request's body")] = 65_536
    batch_max: Annotated[int, _at_least(1, "commands or checks in one batch request", 4_096)] = 1_000
    page_max: Annotated[int, _at_least(1, "rows on one page of a listing")] = 1_000
    queue_max: Annotated[int, _at_least(1, "requests that may wait for the writer; beyond, 503")] = 10_000
    connections_max: Annotated[
        int, _at_least(1, "connections in all, streams included; beyond, the one idle longest gives way, or 503")
    ] = 4_096
    connections_per_address: Annotated[
        int,
        _at_least(1, "connections of one address, or IPv6 /64; beyond, its idlest gives way, or 429; not behind_tls"),
    ] = 2_048
    patience_seconds: Annotated[
        float, _at_least(0.1, "how long a client may take to send a request's head, or its body, or to take an answer")
    ] = 10.0
    tick_seconds: Annotated[
        float, _at_least(0, "how often the house is told the time; 0 = only by the commands of others")
    ] = 1.0
    self_check_seconds: Annotated[
        float, _at_least(0, "how often the books and the watch are checked in full, on a copy; 0 = never")
    ] = 60.0


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signatures and limits."""

    window_ms: Annotated[int, _at_least(1, "how old a signed request may be unless it says so itself")] = 5_000
    window_ms_max: Annotated[int, _at_least(1, "how old a signed request may be at most")] = 60_000
    requests_per_second: Annotated[int, _at_least(1, "weight a second that flows into each bucket of a key")] = 2_000
    burst: Annotated[int, _at_least(1, "weight that a full bucket holds")] = 4_000
    sealing_key: Annotated[
        str,
        _text("file of the secret under which HMAC keys and webhook secrets are stored; empty = beside the journal"),
    ] = ""
    time_lock_seconds: Annotated[
        int, _at_least(0, "how long an approved rulebook waits before it may be put into force")
    ] = 3_600


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """WebSocket streams."""

    connections_max: Annotated[int, _at_least(1, "sockets in all")] = 1_000
    subscriptions_max: Annotated[int, _at_least(1, "channels that one socket may listen to")] = 64
    behind_max: Annotated[
        int, _at_least(1, "records that a slow listener may be behind before it must resynchronise")
    ] = 10_000
    message_max: Annotated[int, _at_least(1_024, "bytes of a client's message")] = 1_048_576
    messages_per_second: Annotated[int, _at_least(1, "messages that a socket may send")] = 20_000
    stalled_seconds: Annotated[float, _at_least(1, "a socket whose client takes nothing for so long is closed")] = 20.0
    row_interval_ms: Annotated[int, _at_least(1, "rows of a coalesced channel change at most this often")] = 100


class NotificationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told what, and how."""

    attempts_max: Annotated[int, _at_least(1, "attempts before a notice becomes a dead letter")] = 12
    timeout_seconds: Annotated[float, _at_least(0.1, "for one attempt")] = 5.0
    retry_seconds: Annotated[float, _at_least(0, "the first wait between two attempts; each is twice as long")] = 1.0
    retry_seconds_max: Annotated[float, _at_least(0, "the longest wait between two attempts")] = 300.0
    allow_private_addresses: Annotated[bool, _text("webhooks may go to private networks, and without TLS")] = False
    targets: Annotated[
        tuple[str, ...], _text("Apprise addresses that are told of everything an operator should know")
    ] = ()
    mail: Annotated[str, _text("Apprise address of the venue's mail server, through which owners' mails go")] = ""
    endpoints_max: Annotated[int, _at_least(0, "endpoints in all")] = 1_000
    endpoints_per_owner: Annotated[int, _at_least(0, "endpoints of one owner")] = 10


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the service writes to standard error."""

    format: Annotated[
        Literal["auto", "json", "pretty"], _text("auto = pretty on a terminal, one JSON object a line elsewhere")
    ] = "auto"
    level: Annotated[Literal["debug", "info", "warning", "error"], _text("what is less than this is left out")] = "info"
    requests: Annotated[bool, _text("one line for every request: who, what, how it was answered, how long it took")] = (
        True
    )


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    rules: Annotated[str, _text("the rulebook file that a new journal starts with")] = ""
    name: Annotated[str, _text("what checkpoints call the journal")] = "marginkeep"
    journal: JournalSettings = JournalSettings()
    server: ServerSettings = ServerSettings()
    access: AccessSettings = AccessSettings()
    stream: StreamSettings = StreamSettings()
    notifications: NotificationSettings = NotificationSettings()
    logs: LogSettings = LogSettings()
