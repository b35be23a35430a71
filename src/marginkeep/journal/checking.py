"""The checks that every reader and every writer of a journal owes it.

A log returns records as stored. `checked` lets through only those that continue the chain, and names the first that
does not; `check_batch` is the same question asked before writing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.errors import InvariantViolation, JournalCorrupt
from marginkeep.journal.command_log import BATCH_MAX
from marginkeep.journal.record import SCHEMA, hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.journal.command_log import Batch, Head
    from marginkeep.journal.record import Record

_CURE = "restore the journal from a backup, and keep the damaged one to find out what happened"


def checked(
    records: Iterator[Record], head_before: Head, head_after: Head | None = None, recorded_ns: int = 0
) -> Iterator[Record]:
    """Yield records as long as each continues the chain.

    Parameters
    ----------
    head_before : the record before the first: from a snapshot, or sequence 0 and the genesis hash. Its epoch is the
        least that is accepted, 0 = any.
    head_after : where the records must end; None = wherever they do
    recorded_ns : time of the record before the first, 0 = not known

    Raises
    ------
    JournalCorrupt : naming the sequence and what differs
    """
    sequence, previous, epoch = head_before.sequence, head_before.hash, head_before.epoch
    for record in records:
        if (
            record.sequence != sequence + 1
            or record.previous != previous
            or not 1 <= record.schema <= SCHEMA
            or record.epoch < epoch
            or record.recorded_ns < recorded_ns
            or _own_hash(record) != record.hash
        ):
            raise JournalCorrupt(_difference(record, sequence, previous, epoch, recorded_ns))
        sequence, previous, epoch, recorded_ns = record.sequence, record.hash, record.epoch, record.recorded_ns
        yield record
    if head_after is not None and (sequence, previous) != (head_after.sequence, head_after.hash):
        raise JournalCorrupt(
            f"the records end with {sequence} (hash {previous.hex()[:16]}), but the head says "
            f"{head_after.sequence} (hash {head_after.hash.hex()[:16]}): {_CURE}"
        )


def check_batch(batch: Batch) -> None:
    """Stop a writer that would break its own chain.

    Raises
    ------
    InvariantViolation : the records do not continue `batch.before`, or there are too many
    """
    if len(batch.records) > BATCH_MAX:
        raise InvariantViolation(f"a batch of {len(batch.records)} records: at most {BATCH_MAX} are written together")
    sequence, previous, highest = batch.before.sequence, batch.before.hash, batch.before.epoch
    for record in batch.records:
        sequence += 1
        if record.sequence != sequence or record.previous != previous or record.epoch > highest:
            raise InvariantViolation(
                f"record {record.sequence} of epoch {record.epoch} was to be written as number {sequence} of epoch "
                f"{highest}: it does not continue the chain"
            )
        previous = record.hash


def _own_hash(record: Record) -> bytes:
    """Return what the record's hash must be; empty bytes where it is too damaged to have one."""
    try:
        return hash_of(record)
    except Exception:  # damage can put any type and any size into any field
        return b""


def _difference(record: Record, sequence: int, previous: bytes, epoch: int, recorded_ns: int) -> str:
    """Say what is wrong with a record."""
    if record.sequence != sequence + 1:
        found = (
            f"after record {sequence} comes {record.sequence}, expected {sequence + 1}: records are missing or moved"
        )
    elif not 1 <= record.schema <= SCHEMA:
        found = f"record {record.sequence} has schema {record.schema}, this version reads 1 to {SCHEMA}"
    elif record.previous != previous:
        found = (
            f"record {record.sequence} follows hash {record.previous.hex()[:16]}, but the record before has "
            f"{previous.hex()[:16]}: one of the two was changed or replaced"
        )
    elif _own_hash(record) != record.hash:
        found = f"record {record.sequence} does not have the hash that is stored with it: its content was changed"
    elif record.epoch < epoch:
        found = f"record {record.sequence} is of epoch {record.epoch}, after epoch {epoch}: a fenced writer wrote it"
    else:
        found = (
            f"record {record.sequence} was recorded at {record.recorded_ns}, before the one it follows ({recorded_ns})"
        )
    return f"{found}; {_CURE}"
