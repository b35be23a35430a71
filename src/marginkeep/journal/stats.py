"""What a journal holds, in figures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.journal.command_log import CommandLog, SnapshotLabel


class JournalStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one journal.

    Attributes
    ----------
    first, last : sequences kept; `first` above 1 where older records were compacted away
    commands, refusals : by type, and by code of refusal
    actors : records by who asked
    body_bytes, events_bytes : of the records kept, before whatever the store adds
    """

    place: str
    name: str
    created_ns: int
    epoch: int
    first: int
    last: int
    records: int
    notes: int
    first_ns: int
    last_ns: int
    commands: dict[str, int]
    refusals: dict[str, int]
    actors: dict[str, int]
    body_bytes: int
    events_bytes: int
    stored_bytes: int
    checkpoints: int
    checkpoint_size: int
    snapshots: list[SnapshotLabel]


class _Tagged(msgspec.Struct):
    type: str = ""


class _Answer(msgspec.Struct):
    type: str
    code: str = ""


_tag = msgspec.json.Decoder(_Tagged)
_answers = msgspec.json.Decoder(list[_Answer])


def journal_stats(log: CommandLog, progress: Callable[[int, int], None] | None = None) -> JournalStats:
    """Read a journal from end to end and count; a damaged record is counted as what it still says it is.

    Raises
    ------
    InputError : there is no journal
    """
    genesis, head = log.genesis(), log.head()
    assert genesis is not None
    counts: dict[str, Counter[str]] = {"commands": Counter(), "refusals": Counter(), "actors": Counter()}
    sums = {"records": 0, "notes": 0, "body_bytes": 0, "events_bytes": 0, "first_ns": 0, "last_ns": 0}
    first = log.first()
    for record in log.read(first - 1):
        sums["records"] += 1
        sums["notes"] += record.kind == "note"
        sums["body_bytes"] += len(record.body)
        sums["events_bytes"] += len(record.events)
        sums["first_ns"] = sums["first_ns"] or record.recorded_ns
        sums["last_ns"] = record.recorded_ns
        counts["actors"][record.actor] += 1
        _count(record.body, record.events, counts)
        if progress is not None and sums["records"] % 5000 == 0:
            progress(record.sequence - first + 1, head.sequence - first + 1)
    newest = log.last_checkpoint()
    return JournalStats(
        place=log.place,
        name=genesis.name,
        created_ns=genesis.created_ns,
        epoch=head.epoch,
        first=first,
        last=head.sequence,
        stored_bytes=log.size_bytes(),
        checkpoints=sum(1 for _ in log.checkpoints()),
        checkpoint_size=newest.size if newest is not None else 0,
        snapshots=log.snapshots(),
        commands=dict(counts["commands"].most_common()),
        refusals=dict(counts["refusals"].most_common()),
        actors=dict(counts["actors"].most_common()),
        **sums,
    )


def _count(body: bytes, events: bytes, counts: dict[str, Counter[str]]) -> None:
    try:
        counts["commands"][_tag.decode(body).type] += 1
        for answer in _answers.decode(events) if events else ():
            if answer.type == "Rejected":
                counts["refusals"][answer.code] += 1
    except msgspec.DecodeError:
        counts["commands"]["unreadable"] += 1


def as_table(stats: JournalStats) -> dict[str, Any]:
    """Return the figures as plain values for JSON; hashes as hexadecimal, without the snapshots' rulebooks."""
    table: dict[str, Any] = msgspec.to_builtins(stats)
    table["snapshots"] = [
        {"sequence": one.sequence, "bytes": one.size, "taken_ns": one.taken_ns, "state_hash": one.state_hash.hex()}
        for one in stats.snapshots
    ]
    return table
