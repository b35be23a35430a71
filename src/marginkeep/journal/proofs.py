"""Proofs that a record is in the journal, and that one signed state of it continues another. Anyone can check them."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

import msgspec

from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.checkpoint import parse_note, verify_note
from marginkeep.journal.command_log import TILE_WIDTH, StoredCheckpoint
from marginkeep.journal.merkle import (
    consistency_path,
    inclusion_path,
    perfect_root,
    split_tile,
    verify_consistency,
    verify_inclusion,
)
from marginkeep.journal.record import HASH_BYTES, leaf_hash, leaf_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.journal.checkpoint import Checkpoint
    from marginkeep.journal.command_log import CommandLog
    from marginkeep.journal.record import Record

FORM: Final = 1
_NUMBERS: Final = struct.Struct(">QQIQQ")
_TEXTS: Final = ("kind", "actor", "key", "correlation")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to see that a record is in the tree that a checkpoint signs; JSON has bytes as base64.

    Attributes
    ----------
    form : version of this form
    sequence, recorded_ns, kind, actor, key, correlation : of the record, as in its leaf
    leaf : the header in the form that is hashed
    index : of the leaf in the tree, `sequence - 1`
    path : the inclusion proof, nearest sibling first
    checkpoint : the signed note
    body, events : the record's own; may be left out: the leaf holds their SHA-256
    """

    form: int = FORM
    sequence: int
    recorded_ns: int
    kind: str
    actor: str
    key: str
    correlation: str
    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    body: bytes | None = None
    events: bytes | None = None

    def to_json(self) -> bytes:
        """Return the bundle as JSON."""
        return msgspec.json.encode(self)


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to see that one signed tree begins with another."""

    form: int = FORM
    old: str
    new: str
    path: tuple[bytes, ...]

    def to_json(self) -> bytes:
        """Return the bundle as JSON."""
        return msgspec.json.encode(self)


class StoredTree:
    """Hashes of the tree as a log holds them: complete tiles, and what is above or after them rebuilt."""

    def __init__(self, log: CommandLog) -> None:
        self._log = log
        self._tiles: dict[tuple[int, int], list[bytes] | None] = {}

    def hashes(self, level: int, first: int, count: int) -> Sequence[bytes]:
        """Return hashes of one level, all within one tile.

        Raises
        ------
        JournalCorrupt : a record or tile that is needed is missing
        """
        tile = self._tile(level, first // TILE_WIDTH)
        if tile is not None:
            return tile[first % TILE_WIDTH : first % TILE_WIDTH + count]
        if level == 0:
            found = [record.hash for record in self._log.read(first, first + count)]
        else:
            below = [self._tile(level - 1, index) for index in range(first, first + count)]
            found = [perfect_root(tile) for tile in below if tile is not None]
        if len(found) != count:
            place = f"{count} hashes of level {level} from {first}"
            raise JournalCorrupt(f"{self._log.place}: {place} are missing: run `marginkeep verify`")
        return found

    def _tile(self, level: int, index: int) -> list[bytes] | None:
        if (level, index) not in self._tiles:
            stored = self._log.tile(level, index)
            self._tiles[level, index] = None if stored is None else split_tile(stored)
        return self._tiles[level, index]


def prove(
    log: CommandLog, sequence: int, checkpoint: StoredCheckpoint | None = None, *, with_content: bool = False
) -> Proof:
    """Return the proof of a record against the newest checkpoint, or a given one.

    Parameters
    ----------
    with_content : put the record's body and events in as well

    Raises
    ------
    InputError : no such record is kept, or no checkpoint covers it yet
    JournalCorrupt : what the proof needs is missing or damaged
    """
    stored = checkpoint or log.last_checkpoint()
    record = next(iter(log.read(sequence - 1, sequence)), None) if sequence > 0 else None
    if record is None:
        raise InputError(f"{log.place} has no record {sequence}: it keeps {log.first()} to {log.head().sequence}")
    if stored is None or stored.size < sequence:
        raise InputError(f"no checkpoint covers record {sequence} yet: ask again when the next one is signed")
    path = inclusion_path(StoredTree(log).hashes, sequence - 1, stored.size)
    proof = _bundle(record, path, stored, with_content)
    if not verify_inclusion(leaf_hash(proof.leaf), proof.index, stored.size, path, parse_note(stored.note).root):
        raise JournalCorrupt(f"{log.place}: record {sequence} is not the one that the checkpoint was signed over")
    return proof


def _bundle(record: Record, path: Sequence[bytes], stored: StoredCheckpoint, with_content: bool) -> Proof:
    return Proof(
        sequence=record.sequence,
        recorded_ns=record.recorded_ns,
        kind=record.kind,
        actor=record.actor,
        key=record.key,
        correlation=record.correlation,
        leaf=leaf_of(record),
        index=record.sequence - 1,
        path=tuple(path),
        checkpoint=stored.note,
        body=record.body if with_content else None,
        events=record.events if with_content else None,
    )


def check_proof(proof: Proof | bytes, vkey: str) -> Checkpoint:
    """Return the checkpoint that a proof leads to, if all of it holds.

    Raises
    ------
    JournalCorrupt : it does not; the message says what
    InputError : the bundle or the key cannot be read
    """
    bundle = read_proof(proof) if isinstance(proof, bytes) else proof
    checkpoint = verify_note(bundle.checkpoint, vkey)
    _check_header(bundle)
    path = list(bundle.path)
    if not verify_inclusion(leaf_hash(bundle.leaf), bundle.index, checkpoint.size, path, checkpoint.root):
        raise JournalCorrupt(f"the path does not lead from record {bundle.sequence} to the checkpoint's root")
    return checkpoint


def _check_header(proof: Proof) -> None:
    """Compare what the bundle says of the record with the leaf that is proved."""
    header = read_leaf(proof.leaf)
    for name in ("sequence", "recorded_ns", *_TEXTS):
        if header[name] != getattr(proof, name):
            raise JournalCorrupt(f"the proof says {name} {getattr(proof, name)!r:.80}, its leaf {header[name]!r:.80}")
    for name in ("body", "events"):
        content = getattr(proof, name)
        if content is not None and hashlib.sha256(content).digest() != header[name]:
            raise JournalCorrupt(f"the {name} in the proof of record {proof.sequence} are not those of its leaf")
    if proof.index != proof.sequence - 1:
        raise JournalCorrupt(
            f"the proof is of leaf {proof.index}, record {proof.sequence} is leaf {proof.sequence - 1}"
        )


def read_leaf(leaf: bytes) -> dict[str, int | str | bytes]:
    """Return a leaf's fields by name (see `leaf_bytes`); `body` and `events` are their SHA-256.

    Raises
    ------
    JournalCorrupt : not a leaf
    """
    try:
        sequence, epoch, schema, recorded_ns, causation = _NUMBERS.unpack_from(leaf)
        at = _NUMBERS.size
        hashes = [leaf[at + part * HASH_BYTES : at + (part + 1) * HASH_BYTES] for part in range(3)]
        at += 3 * HASH_BYTES
        tail = []
        for _ in (*_TEXTS, "personal"):
            (length,) = struct.unpack_from(">I", leaf, at)
            tail.append(leaf[at + 4 : at + 4 + length])
            at += 4 + length
        texts = [raw.decode() for raw in tail[:-1]]
    except (struct.error, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"a leaf of {len(leaf)} bytes cannot be read: {error}") from error
    if at != len(leaf):
        raise JournalCorrupt(f"a leaf has {len(leaf)} bytes where its fields take {at}")
    numbers = {"sequence": sequence, "epoch": epoch, "schema": schema, "recorded_ns": recorded_ns}
    contents = dict(zip(("previous", "body", "events"), hashes, strict=True))
    return {
        **numbers,
        "causation": causation,
        **contents,
        **dict(zip(_TEXTS, texts, strict=True)),
        "personal": tail[-1],
    }


def read_proof(text: bytes) -> Proof:
    """Return a bundle from its JSON.

    Raises
    ------
    InputError : it is not one
    """
    try:
        proof = msgspec.json.decode(text, type=Proof)
    except msgspec.DecodeError as error:
        raise InputError(f"the proof cannot be read ({error}): give what `marginkeep journal prove` prints") from error
    if proof.form != FORM:
        raise InputError(f"the proof has form {proof.form}, this version reads {FORM}: use the version that made it")
    return proof


def prove_continuation(log: CommandLog, old: StoredCheckpoint, new: StoredCheckpoint | None = None) -> Continuation:
    """Return the proof that the newest checkpoint, or a given one, continues an older one.

    Raises
    ------
    InputError : there is no checkpoint as new as the old one
    JournalCorrupt : the log does not continue it, or what the proof needs is missing
    """
    last = new or log.last_checkpoint()
    if last is None or last.size < old.size:
        raise InputError(f"{log.place} has no checkpoint of {old.size} records or more: ask for an older one")
    path = consistency_path(StoredTree(log).hashes, old.size, last.size)
    roots = parse_note(old.note).root, parse_note(last.note).root
    if not verify_consistency(old.size, last.size, path, *roots):
        raise JournalCorrupt(f"{log.place}: the journal does not continue the checkpoint of {old.size} records")
    return Continuation(old=old.note, new=last.note, path=tuple(path))


def check_continuation(proof: Continuation, vkey: str) -> tuple[Checkpoint, Checkpoint]:
    """Return both checkpoints, if the key signed them and the newer one continues the older.

    Raises
    ------
    JournalCorrupt : it does not; the message says what
    """
    old, new = verify_note(proof.old, vkey), verify_note(proof.new, vkey)
    if old.origin != new.origin:
        raise JournalCorrupt(f"the checkpoints are of two journals, {old.origin!r} and {new.origin!r}")
    if not verify_consistency(old.size, new.size, list(proof.path), old.root, new.root):
        raise JournalCorrupt(f"the checkpoint of {new.size} records does not continue that of {old.size}")
    return old, new
