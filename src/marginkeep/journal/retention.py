"""How long records are kept: what may go, and taking it away in small steps beside a running house.

Records go only where a sound snapshot makes them needless for a restart, and where they are older than the time for
which idempotency keys are honoured. Their hashes stay in the tree's tiles, so that proofs of later records go on to
hold.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from marginkeep.journal.command_log import TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.journal.command_log import CommandLog

KEYS_KEPT_NS: Final = 24 * 3600 * 10**9
"""The least time for which a retry finds the recorded answer."""

STEP_RECORDS: Final = 4 * TILE_WIDTH


class Retention(msgspec.Struct, frozen=True):
    """What may be deleted.

    Attributes
    ----------
    first : the first record kept now
    until : records up to here may go; `first - 1` = none may
    why : what bounds it
    """

    first: int
    until: int
    why: str


def plan_retention(log: CommandLog, now_ns: int, keep_ns: int = KEYS_KEPT_NS) -> Retention:
    """Say which records may go: those older than `keep_ns`, under every snapshot that is kept, in whole tiles.

    Every kept snapshot counts, not the newest alone: if that one proves damaged, an earlier one must still do.
    """
    first = log.first()
    sound = [label.sequence for label in log.snapshots() if _is_sound(log, label.sequence, label.state_hash)]
    if not sound:
        return Retention(first, first - 1, "no snapshot makes any record needless: take one first")
    snapshot = min(sound)
    old = _last_older(log, first, snapshot, now_ns - keep_ns)
    until = min(snapshot, old)
    until -= until % TILE_WIDTH
    if until < first:
        why = "records are kept in whole tiles of 256" if old >= first else f"records are kept {keep_ns // 10**9} s"
        return Retention(first, first - 1, why)
    why = f"the oldest snapshot is at record {snapshot}" if snapshot <= old else f"kept for {keep_ns // 10**9} s"
    return Retention(first, until, why)


def compact(log: CommandLog, plan: Retention) -> Iterator[int]:
    """Delete what a plan allows, oldest first, and yield after each step how many records have gone."""
    gone = 0
    for until in range(plan.first - 1 + STEP_RECORDS, plan.until + STEP_RECORDS, STEP_RECORDS):
        gone += log.delete_until(min(until, plan.until))
        yield gone


def _is_sound(log: CommandLog, sequence: int, state_hash: bytes) -> bool:
    return hashlib.sha256(log.snapshot(sequence)).digest() == state_hash


def _last_older(log: CommandLog, first: int, last: int, before_ns: int) -> int:
    """Return the last record recorded before a time, by bisection: times never fall."""
    low, high = first - 1, last
    while low < high:
        middle = (low + high + 1) // 2
        record = next(iter(log.read(middle - 1, middle)), None)
        if record is not None and record.recorded_ns < before_ns:
            low = middle
        else:
            high = middle - 1
    return low
