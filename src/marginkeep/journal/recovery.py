"""From a journal to a running house: the newest sound snapshot, then every record after it, each one checked."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from marginkeep.clearing import AdoptRulebook, Clearinghouse, decode_command
from marginkeep.clearing.event_codec import encode_events
from marginkeep.clearing.events import RulebookAdopted
from marginkeep.clearing.snapshot import restore_snapshot
from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.command_log import TILE_WIDTH, CommandLog, Head
from marginkeep.journal.merkle import MerkleTree
from marginkeep.journal.reading_ahead import checked_tail
from marginkeep.journal.record import genesis_hash
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.journal.record import Genesis, Record

PROGRESS_RECORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Recovered:
    """A house as the journal says it is.

    Attributes
    ----------
    head : where the journal ends, in this writer's epoch
    rules : rulebook in force, TOML text
    recorded_ns : time of the last record
    signed_size : records under the newest checkpoint
    snapshot : sequence of the snapshot it started from, 0 = from the genesis
    replayed : records applied after it
    warnings : what was found damaged and could be done without
    """

    house: Clearinghouse
    head: Head
    rules: str
    tree: MerkleTree
    recorded_ns: int
    signed_size: int
    snapshot: int
    replayed: int
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Restored:
    """A house on its way through the records, or where they end."""

    house: Clearinghouse
    head: Head
    rules: str
    recorded_ns: int


def recover(
    log: CommandLog, *, take_over: bool = False, progress: Callable[[int, int], None] | None = None
) -> Recovered:
    """Acquire a journal and rebuild its house.

    Raises
    ------
    InputError : there is no journal
    FencedOut : somebody else writes it
    JournalCorrupt : a record is damaged, missing or swapped, or this engine answers it differently
    """
    genesis = log.genesis()
    if genesis is None:
        raise InputError(f"{log.place} holds no journal: make one with `marginkeep journal init`")
    head = log.acquire(take_over=take_over)
    warnings: list[str] = []
    start = _newest_snapshot(log, head, warnings) or _from_genesis(log, genesis)
    snapshot = start.head.sequence
    _replay(log, start, head, progress)
    tree = restore_tree(log, head.sequence)
    signed = _check_checkpoint(log, tree)
    return Recovered(
        start.house,
        Head(head.epoch, start.head.sequence, start.head.hash),
        start.rules,
        tree,
        start.recorded_ns,
        signed,
        snapshot,
        head.sequence - snapshot,
        tuple(warnings),
    )


def restore(log: CommandLog, head: Head) -> Restored:
    """Return the house as it was at a record, without becoming the writer.

    Raises
    ------
    JournalError : the journal cannot be read, or is damaged
    """
    genesis = log.genesis()
    if genesis is None:
        raise JournalCorrupt(f"{log.place}: the journal is gone: restore it from a backup")
    start = _newest_snapshot(log, head, []) or _from_genesis(log, genesis)
    _replay(log, start, head, None)
    return start


def open_genesis(genesis: Genesis) -> Clearinghouse:
    """Return the house that a journal starts from."""
    rulebook = read_rulebook(parse_text(genesis.rules, ".toml", "the journal's first rulebook"))
    return restore_snapshot(rulebook, genesis.opening) if genesis.opening else Clearinghouse(rulebook)


def restore_tree(log: CommandLog, size: int) -> MerkleTree:
    """Return the Merkle tree of the first `size` records from the tiles and the records after the last full one."""
    complete = size - size % TILE_WIDTH
    edge = [record.hash for record in log.read(complete, size)]
    if len(edge) != size - complete:
        raise JournalCorrupt(
            f"{log.place}: records {complete + 1} to {size} are needed for the tree, {len(edge)} are there"
        )
    return MerkleTree.restored(log.tile, size, edge)


def _newest_snapshot(log: CommandLog, head: Head, warnings: list[str]) -> Restored | None:
    """Return a start from the newest snapshot that is whole; a damaged one is named and passed over."""
    for label in reversed(log.snapshots()):
        try:
            encoded = log.snapshot(label.sequence)
            if label.sequence > head.sequence or hashlib.sha256(encoded).digest() != label.state_hash:
                raise InputError("its hash is not the stated one")
            rulebook = read_rulebook(parse_text(label.rules, ".toml", f"the rulebook of snapshot {label.sequence}"))
            house = restore_snapshot(rulebook, encoded)
        except (InputError, JournalCorrupt) as error:
            warnings.append(
                f"{log.place}: the snapshot at record {label.sequence} is damaged: an earlier one is used ({error})"
            )
            continue
        return Restored(house, Head(0, label.sequence, label.record_hash), label.rules, label.taken_ns)
    return None


def _from_genesis(log: CommandLog, genesis: Genesis) -> Restored:
    if log.first() > 1:
        raise JournalCorrupt(
            f"{log.place}: records before {log.first()} were compacted away and no snapshot is usable: "
            f"restore the file from a backup"
        )
    return Restored(open_genesis(genesis), Head(0, 0, genesis_hash(genesis)), genesis.rules, genesis.created_ns)


def _replay(log: CommandLog, start: Restored, head: Head, progress: Callable[[int, int], None] | None) -> None:
    """Apply what comes after the start and hold every answer against the recorded one."""
    total = head.sequence - start.head.sequence
    last = None
    with closing(checked_tail(log, start.head, head.sequence)) as records:
        for done, last in enumerate(records, 1):
            if last.kind == "command":
                _replay_one(log, start, last)
            if progress is not None and (done % PROGRESS_RECORDS == 0 or done == total):
                progress(done, total)
    if last is not None:
        start.head, start.recorded_ns = Head(last.epoch, last.sequence, last.hash), last.recorded_ns
    if (start.head.sequence, start.head.hash) != (head.sequence, head.hash):
        raise JournalCorrupt(
            f"{log.place}: the journal should end with record {head.sequence}, but the last one found is "
            f"{start.head.sequence}: records are missing; restore the file from a backup"
        )


def _replay_one(log: CommandLog, start: Restored, record: Record) -> None:
    command = decode_command(record.body)
    events = start.house.apply(command)
    if encode_events(events) != record.events:
        raise JournalCorrupt(
            f"{log.place}: record {record.sequence} is answered differently by this engine than is recorded: open the "
            f"journal with the version that wrote it, or run `marginkeep verify --replay` to see the difference"
        )
    if type(command) is AdoptRulebook and any(type(event) is RulebookAdopted for event in events):
        start.rules = command.rules


def _check_checkpoint(log: CommandLog, tree: MerkleTree) -> int:
    """Hold the newest checkpoint against the tree; return how many records it covers."""
    from marginkeep.journal.checkpoint import parse_note

    stored = log.last_checkpoint()
    if stored is None:
        return 0
    if stored.size > tree.size:
        raise JournalCorrupt(
            f"{log.place}: a checkpoint was signed over {stored.size} records, but only {tree.size} are there: "
            f"the end of the journal is missing; restore the file from a backup"
        )
    if parse_note(stored.note).root != tree.root(stored.size):
        raise JournalCorrupt(
            f"{log.place}: the records are not those that the checkpoint of {stored.size} was signed over"
        )
    return stored.size
