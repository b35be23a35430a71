"""Every decision of a journal made again, and held against the recorded one byte for byte."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec

from marginkeep.clearing import decode_command, restore_snapshot, take_snapshot
from marginkeep.clearing.event_codec import encode_events
from marginkeep.errors import InputError, InvariantViolation, JournalCorrupt
from marginkeep.journal.recovery import open_genesis
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.clearing import Clearinghouse
    from marginkeep.journal.command_log import CommandLog, SnapshotLabel
    from marginkeep.journal.record import Record

SHOWN_MOST = 160
"""Characters of a value in a difference."""


class Difference(msgspec.Struct, frozen=True):
    """One answer that is not what was recorded: where in the answer, and both values, cut short."""

    sequence: int
    where: str
    recorded: str
    derived: str


class ReplayReport(msgspec.Struct, kw_only=True):
    """What replaying found.

    Attributes
    ----------
    after : record from whose state it began, 0 = the genesis
    last : record reached
    commands, snapshots : how many were compared
    differences : the first ones; `found` counts all
    interrupted : it was stopped before the end
    """

    after: int
    last: int = 0
    commands: int = 0
    snapshots: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)
    found: int = 0
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything was derived as recorded, to the end."""
        return not self.found and not self.interrupted


def replay_journal(
    log: CommandLog,
    *,
    most: int = 20,
    progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> ReplayReport:
    """Apply every command anew, from the genesis or, in a compacted journal, from the oldest snapshot.

    After a difference it goes on from its own state, which later answers may then differ from as well.

    Parameters
    ----------
    most : differences to keep
    progress : called with (records done, records in all)
    stopped : asked before each record

    Raises
    ------
    InputError : there is no journal
    JournalCorrupt : nothing is left to start from
    """
    end = log.head().sequence if log.genesis() is not None else 0
    house, after = start_house(log)
    replay = _Replay(log, house, ReplayReport(after=after, last=after), most)
    replay.compare_state(after)
    try:
        for record in log.read(after, end):
            if stopped():
                replay.report.interrupted = True
                break
            if not replay.take(record):
                break
            if progress is not None:
                progress(record.sequence - after, end - after)
    except JournalCorrupt as error:
        replay.differ(replay.report.last + 1, "records", str(error), "nothing can be read from here on")
    return replay.report


def start_house(log: CommandLog, before: int = 0) -> tuple[Clearinghouse, int]:
    """Return the house that a replay begins from, and the record whose state it is in; 0 = the genesis.

    Parameters
    ----------
    before : begin from the newest snapshot before this record, where there is one; 0 = as early as possible
    """
    genesis = log.genesis()
    if genesis is None:
        raise InputError(f"{log.place} holds no journal: name another place")
    newest = max((one for one in log.snapshots() if one.sequence < before), key=lambda one: one.sequence, default=None)
    if newest is not None:
        return _restore(log, newest), newest.sequence
    first = log.first()
    if first == 1:
        return open_genesis(genesis), 0
    for label in log.snapshots():
        if label.sequence >= first - 1:
            return _restore(log, label), label.sequence
    raise JournalCorrupt(f"{log.place}: records before {first} are gone and no snapshot covers them: restore a backup")


def _restore(log: CommandLog, label: SnapshotLabel) -> Clearinghouse:
    where = f"the snapshot at record {label.sequence}"
    try:
        rulebook = read_rulebook(parse_text(label.rules, ".toml", f"the rulebook of {where}"))
        return restore_snapshot(rulebook, log.snapshot(label.sequence))
    except InputError as error:
        raise JournalCorrupt(f"{log.place}: {where} cannot be used: {error}") from error


class _Replay:
    def __init__(self, log: CommandLog, house: Clearinghouse, report: ReplayReport, most: int) -> None:
        self.house, self.report, self._most = house, report, most
        self._labels = {label.sequence: label for label in log.snapshots()}

    def take(self, record: Record) -> bool:
        """Replay one record; return whether the house can go on."""
        if record.sequence != self.report.last + 1:
            self.differ(record.sequence, "records", f"follows {self.report.last}", "records are missing")
        goes_on = record.kind != "command" or self._apply(record)
        self.report.last = record.sequence
        self.compare_state(record.sequence)
        return goes_on

    def _apply(self, record: Record) -> bool:
        try:
            derived = encode_events(self.house.apply(decode_command(record.body)))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.differ(record.sequence, "body", _shown(record.body), f"not a command: {error}")
            return True
        except InvariantViolation as error:
            self.differ(record.sequence, "events", _shown(record.events), f"the engine halts: {error}")
            return False
        self.report.commands += 1
        if derived != record.events:
            self.differ(record.sequence, *_compare(record.events, derived))
        return True

    def compare_state(self, sequence: int) -> None:
        """Hold the state against the snapshot taken here, if one was."""
        label = self._labels.get(sequence)
        if label is None:
            return
        self.report.snapshots += 1
        found = hashlib.sha256(take_snapshot(self.house)).hexdigest()
        if found != label.state_hash.hex():
            self.differ(sequence, "state hash", label.state_hash.hex(), found)

    def differ(self, sequence: int, where: str, recorded: str, derived: str) -> None:
        """Count a difference, and keep it if it is among the first."""
        self.report.found += 1
        if len(self.report.differences) < self._most:
            self.report.differences.append(Difference(sequence, where, recorded, derived))


def _compare(recorded: bytes, derived: bytes) -> tuple[str, str, str]:
    """Return where two answers first differ, and both values there."""
    try:
        return first_difference("events", json.loads(recorded), json.loads(derived)) or ("events", "", "other spelling")
    except ValueError:
        return "events", _shown(recorded), _shown(derived)


def first_difference(where: str, one: Any, other: Any) -> tuple[str, str, str] | None:
    """Return the path to the first difference of two JSON values, and both values there, cut short."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        pairs = [(f"{where}.{key}", one.get(key), other.get(key)) for key in keys]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{where}[{at}]", *pair) for at, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else (where, _shown(one), _shown(other))
    return next((found for pair in pairs if (found := first_difference(*pair)) is not None), None)


def _shown(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else json.dumps(value)
    return text if len(text) <= SHOWN_MOST else f"{text[:SHOWN_MOST]}..."
