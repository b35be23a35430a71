"""Where records are kept: one protocol, three homes (memory, SQLite, PostgreSQL).

A log is opened by anyone who reads, and acquired by the one who writes: every write but `create` needs that, and is
refused (`FencedOut`) once somebody else has the journal. After a write that failed (`JournalStalled`,
`JournalCorrupt`) the object refuses all others: open the journal anew. Methods may be called from several threads;
reads do not wait for a write in progress. Whatever `append` has returned from is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from marginkeep.journal.record import Genesis, Record

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes in a tile of the Merkle tree, as in C2SP tlog-tiles; a level-L tile holds roots of 256^L leaves each."""

SNAPSHOT_PART_BYTES: Final = 1 << 20
"""A snapshot is written in parts, so that no batch of commands waits long for one."""

BATCH_MAX: Final = 4096
"""Records in one batch."""


class Head(msgspec.Struct, frozen=True):
    """The end of the log: the writer's epoch, the last record's sequence (0 = none) and hash (or the genesis hash)."""

    epoch: int
    sequence: int
    hash: bytes


class Personal(msgspec.Struct, frozen=True):
    """A payload kept apart from its record."""

    sequence: int
    salt: bytes
    payload: bytes


class Tile(msgspec.Struct, frozen=True):
    """A complete tile of the Merkle tree: 256 hashes of 32 bytes."""

    level: int
    index: int
    hashes: bytes


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """A signed note on the tree of the first `size` records."""

    size: int
    note: str


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes durable together.

    Attributes
    ----------
    before : the head that it extends; a log whose head is another refuses the batch with `FencedOut`
    """

    before: Head
    records: Sequence[Record]
    personal: Sequence[Personal] = ()
    tiles: Sequence[Tile] = ()
    checkpoint: StoredCheckpoint | None = None


class SnapshotLabel(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a snapshot without reading it.

    Attributes
    ----------
    sequence : records it takes in
    record_hash : of the last of them
    state_hash : SHA-256 of the snapshot's bytes
    rules : the rulebook then in force, as TOML text
    size, parts : bytes, and how many parts hold them
    taken_ns : the writer's clock
    """

    sequence: int
    record_hash: bytes
    state_hash: bytes
    rules: str
    size: int
    parts: int
    taken_ns: int


class CommandLog(Protocol):
    """A durable, append-only log with one writer."""

    @property
    def place(self) -> str:
        """Where it is, for messages; without secrets."""

    @property
    def address(self) -> str:
        """What `open_log` needs to open it again, in another process too, secrets included; empty where none can."""

    @property
    def is_remote(self) -> bool:
        """Whether asking it waits for a network, which may fall silent."""

    # Beginning and end --------------------------------------------------------------------------------------

    def create(self, genesis: Genesis) -> None:
        """Make an empty journal.

        Raises
        ------
        InputError : there is one already
        """

    def genesis(self) -> Genesis | None:
        """Return what the journal starts from; None where there is no journal yet."""

    def acquire(self, *, take_over: bool = False) -> Head:
        """Become the writer: the epoch rises, and whoever wrote before can write no more.

        Parameters
        ----------
        take_over : also where the present writer still seems to be alive

        Raises
        ------
        FencedOut : another writer holds the journal and `take_over` is not set
        JournalCorrupt : the stated head is not that of the last record
        """

    def head(self) -> Head:
        """Return the head as stored."""

    def close(self) -> None:
        """Give up the writer's lock, if held, and every connection."""

    # Records --------------------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> None:
        """Make a batch durable, all of it or nothing.

        Raises
        ------
        FencedOut : the head is not `batch.before`, or the epoch has risen
        JournalStalled : it could not be made durable; it may or may not be there after a restart
        """

    def read(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """Yield records with `after < sequence <= until`, in order, as stored: checking them is the reader's task."""

    def first(self) -> int:
        """Return the sequence of the first record that is still kept; head + 1 where none is."""

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return the records of (actor, idempotency key) pairs; those that are not there are left out."""

    def delete_until(self, sequence: int) -> int:
        """Delete the records up to a sequence, which a snapshot must cover, and return how many; the tiles stay."""

    # The tree -------------------------------------------------------------------------------------------------

    def tile(self, level: int, index: int) -> bytes | None:
        """Return a complete tile, or None."""

    def checkpoints(self, after: int = 0) -> Iterator[StoredCheckpoint]:
        """Yield checkpoints of more than `after` records, in order."""

    def last_checkpoint(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint."""

    # Snapshots ------------------------------------------------------------------------------------------------

    def put_snapshot_part(self, sequence: int, number: int, part: bytes) -> None:
        """Store one part, from 0, of a snapshot in the making; writing one again replaces it."""

    def finish_snapshot(self, label: SnapshotLabel) -> None:
        """Declare a snapshot complete: only then can it be seen."""

    def snapshots(self) -> list[SnapshotLabel]:
        """Return complete snapshots, oldest first."""

    def snapshot(self, sequence: int) -> bytes:
        """Return a complete snapshot's bytes, as stored."""

    def delete_snapshot(self, sequence: int) -> None:
        """Delete a snapshot, complete or not; one that is not there is no error."""

    # Beside the records ---------------------------------------------------------------------------------------

    def personal(self, sequence: int) -> Personal | None:
        """Return a record's personal payload; None where it has none or it is erased."""

    def erase_personal(self, sequences: Sequence[int]) -> int:
        """Erase personal payloads for good, and return how many there were; the records keep their hashes."""

    def put_document(self, kind: str, name: str, body: bytes) -> None:
        """Store what the service must remember beside the books (a key, a proposal, a cursor); replaces."""

    def documents(self, kind: str) -> dict[str, bytes]:
        """Return all documents of a kind by name, in order of names."""

    def delete_document(self, kind: str, name: str) -> None:
        """Delete a document; one that is not there is no error."""

    def size_bytes(self) -> int:
        """Return roughly how many bytes it takes where it lives."""
