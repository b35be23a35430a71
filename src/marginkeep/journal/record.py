"""What the journal keeps of one command, and how it is chained to what came before.

A record's hash is the RFC 9162 leaf hash of its header, `SHA256(0x00 || leaf)`; the header holds the previous record's
hash, so that the same 32 bytes serve the chain and the Merkle tree.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, Literal

import msgspec

SCHEMA: Final = 1
"""Version of the leaf below and of what `body` and `events` mean; older ones stay readable."""

HASH_BYTES: Final = 32
LEAF_PREFIX: Final = b"\x00"
TEXT_MAX: Final = 128
"""Characters of actor, key and correlation."""

BODY_MAX: Final = 2**23
"""Bytes of one command's body; the largest command is a rulebook of 4 MiB of text."""

_HEADER: Final = struct.Struct(">QQIQQ")
_LENGTH: Final = struct.Struct(">I")
_PREFIXES: Final = [_LENGTH.pack(length) for length in range(4 * TEXT_MAX + 1)]
"""The u32 before each text, ready-made: a restart hashes every record."""

_sha256: Final = hashlib.sha256

Kind = Literal["command", "note"]


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the journal.

    Attributes
    ----------
    sequence : place in the journal, from 1; its leaf in the Merkle tree is `sequence - 1`
    epoch : which writer wrote it; rises each time a writer takes the journal
    schema : version of the form, `SCHEMA`
    kind : ``command``, or ``note`` for what concerns the house but not its books (a key made, a proposal approved)
    recorded_ns : the writer's clock, nanoseconds UTC; never falls
    causation : sequence of the record that this one answers to, 0 = none
    actor : who asked, a key's id or ``local``
    key : idempotency key, unique per actor; empty = none
    correlation : what the caller calls the business it belongs to
    personal : salted hash of a payload kept apart, which can be erased; empty = none
    body, events : the command and what the house answered, as JSON; a note has no events
    previous, hash : SHA-256 of the record before (of the genesis for the first), and of this one
    """

    sequence: int
    epoch: int
    schema: int = SCHEMA
    kind: Kind = "command"
    recorded_ns: int
    causation: int = 0
    actor: str = "local"
    key: str = ""
    correlation: str = ""
    personal: bytes = b""
    body: bytes
    events: bytes = b""
    previous: bytes
    hash: bytes


def leaf_bytes(
    sequence: int,
    epoch: int,
    schema: int,
    recorded_ns: int,
    causation: int,
    previous: bytes,
    body: bytes,
    events: bytes,
    texts: tuple[str, str, str, str],
    personal: bytes,
) -> bytes:
    """Return a record's header in the one form that is hashed.

    Big-endian u64 sequence, u64 epoch, u32 schema, u64 recorded_ns, u64 causation; 32 bytes previous hash; SHA-256 of
    body; SHA-256 of events; then kind, actor, key, correlation (UTF-8) and personal, each after its u32 length.
    """
    kind, actor, key, correlation = texts
    raw_kind, raw_actor, raw_key, raw_correlation = kind.encode(), actor.encode(), key.encode(), correlation.encode()
    return b"".join(
        (
            _HEADER.pack(sequence, epoch, schema, recorded_ns, causation),
            previous,
            _sha256(body).digest(),
            _sha256(events).digest(),
            _PREFIXES[len(raw_kind)],
            raw_kind,
            _PREFIXES[len(raw_actor)],
            raw_actor,
            _PREFIXES[len(raw_key)],
            raw_key,
            _PREFIXES[len(raw_correlation)],
            raw_correlation,
            _PREFIXES[len(personal)],
            personal,
        )
    )


def leaf_hash(leaf: bytes) -> bytes:
    """Return the RFC 9162 hash of a leaf: `SHA256(0x00 || leaf)`."""
    return _sha256(LEAF_PREFIX + leaf).digest()


def leaf_of(record: Record) -> bytes:
    """Return the hashed form of a record's header."""
    return leaf_bytes(
        record.sequence,
        record.epoch,
        record.schema,
        record.recorded_ns,
        record.causation,
        record.previous,
        record.body,
        record.events,
        (record.kind, record.actor, record.key, record.correlation),
        record.personal,
    )


def hash_of(record: Record) -> bytes:
    """Return what the record's hash must be."""
    return leaf_hash(leaf_of(record))


def make_record(
    *,
    sequence: int,
    epoch: int,
    recorded_ns: int,
    previous: bytes,
    body: bytes,
    events: bytes = b"",
    kind: Kind = "command",
    actor: str = "local",
    key: str = "",
    correlation: str = "",
    causation: int = 0,
    personal: bytes = b"",
) -> Record:
    """Return a record with its hash."""
    leaf = leaf_bytes(
        sequence,
        epoch,
        SCHEMA,
        recorded_ns,
        causation,
        previous,
        body,
        events,
        (kind, actor, key, correlation),
        personal,
    )
    return Record(
        sequence=sequence,
        epoch=epoch,
        kind=kind,
        recorded_ns=recorded_ns,
        causation=causation,
        actor=actor,
        key=key,
        correlation=correlation,
        personal=personal,
        body=body,
        events=events,
        previous=previous,
        hash=leaf_hash(leaf),
    )


class Genesis(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal starts from.

    Attributes
    ----------
    name : what checkpoints call the journal: their origin line
    rules : the first rulebook, as TOML text
    created_ns : nanoseconds UTC
    opening : snapshot of a house that did not start empty; empty bytes = one that did
    """

    name: str
    rules: str
    created_ns: int
    opening: bytes = b""


def genesis_hash(genesis: Genesis) -> bytes:
    """Return what the first record has as the hash of its predecessor.

    SHA-256 over the text ``marginkeep-genesis-1`` and a line feed, then name, rules (UTF-8), the decimal digits of
    created_ns, and opening, each after its u32 length.
    """
    digest = hashlib.sha256(b"marginkeep-genesis-1\n")
    for part in (genesis.name.encode(), genesis.rules.encode(), str(genesis.created_ns).encode(), genesis.opening):
        digest.update(_LENGTH.pack(len(part)))
        digest.update(part)
    return digest.digest()


def personal_hash(salt: bytes, payload: bytes) -> bytes:
    """Return the hash that stands in the record for a payload that may be erased: `SHA256(salt || payload)`."""
    return hashlib.sha256(salt + payload).digest()
