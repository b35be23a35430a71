"""A clearinghouse whose every answer is in the journal before anyone learns of it.

Commands are applied in memory, then written together with what the house answered; nothing leaves before the write
is durable. So `stage` may run ahead of `commit` by a batch or two: if a commit fails, what was staged is forgotten with
the process, was never acknowledged, and a restart goes on from what is durable (decision 0026).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.clearing import encode_command
from marginkeep.clearing.event_codec import decode_events, encode_events
from marginkeep.clearing.events import (
    AuctionBid,
    AuctionOpened,
    Event,
    Halted,
    Liquidated,
    MarginCalled,
    RulebookAdopted,
)
from marginkeep.errors import InputError, InvariantViolation, JournalError, JournalStalled, MarginkeepError
from marginkeep.journal.command_log import BATCH_MAX, Batch, CommandLog, Head, Personal, StoredCheckpoint
from marginkeep.journal.record import BODY_MAX, TEXT_MAX, Record, make_record, personal_hash
from marginkeep.journal.recovery import Recovered, Restored, recover
from marginkeep.journal.snapshotting import SnapshotJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marginkeep.clearing import Clearinghouse, Command
    from marginkeep.journal.checkpoint import Signer

CHECKPOINT_RECORDS: Final = 1024
CHECKPOINT_NS: Final = 10 * 10**9
"""A checkpoint is signed when this many records, or this much time, have passed since the last."""

SIGNED_AT_ONCE: Final = (MarginCalled, Liquidated, AuctionOpened, AuctionBid, Halted, RulebookAdopted)
"""Events after which a checkpoint is signed at once: somebody may have to prove them."""

SALT_BYTES: Final = 16
SEQUENCE_MAX: Final = 2**63 - 1


Known = dict[tuple[str, str], Record]
"""Records by (actor, idempotency key)."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks of the house.

    Attributes
    ----------
    command : what to apply; None for a note
    note : what to keep in the chain beside the commands, a JSON object with a ``type``
    actor, key, correlation, causation : see `Record`
    personal : a payload that may be erased later; the chain keeps its salted hash
    """

    command: Command | None = None
    note: dict[str, Any] | None = None
    actor: str = "local"
    key: str = ""
    correlation: str = ""
    causation: int = 0
    personal: bytes = b""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a request.

    Attributes
    ----------
    sequence : its record's; of the earlier one where the key was known
    payload : the house's events as recorded, JSON
    repeated : the key was known, and this is the recorded answer
    conflict : the key is known for another command, and nothing was done; empty = none
    """

    sequence: int
    recorded_ns: int
    payload: bytes
    answered: tuple[Event, ...] | None = None
    repeated: bool = False
    conflict: str = ""

    @property
    def events(self) -> tuple[Event, ...]:
        """The house's events."""
        if self.answered is not None:
            return self.answered
        return decode_events(self.payload) if self.payload else ()


class Staged(msgspec.Struct, frozen=True):
    """Requests applied in memory and not yet durable."""

    batch: Batch
    outcomes: list[Outcome]


class DurableHouse:
    """A clearinghouse with a journal: the one way in which a running house changes.

    One thread stages, one commits (they may be the same). Made by `open`.

    Attributes
    ----------
    house : to be read only; commands go through here
    head : of everything staged
    durable : of everything committed
    rules : the rulebook in force, as TOML text
    recovered : what it took to open
    trouble : why nothing more is accepted; None in normal times
    """

    def __init__(
        self,
        log: CommandLog,
        recovered: Recovered,
        clock: Callable[[], int],
        signer: Signer | None,
        salt: Callable[[], bytes],
    ) -> None:
        self.log = log
        self.recovered = recovered
        self.house: Clearinghouse = recovered.house
        self.head: Head = recovered.head
        self.durable: Head = recovered.head
        self.rules = recovered.rules
        self.tree = recovered.tree
        self.trouble: MarginkeepError | None = None
        self._clock, self._signer, self._salt = clock, signer, salt
        self._recorded_ns = recovered.recorded_ns
        self._signed_size, self._signed_ns = recovered.signed_size, recovered.recorded_ns
        self._in_flight: dict[tuple[str, str], Record] = {}

    @classmethod
    def open(
        cls,
        log: CommandLog,
        *,
        clock: Callable[[], int] = time.time_ns,
        signer: Signer | None = None,
        take_over: bool = False,
        salt: Callable[[], bytes] = lambda: os.urandom(SALT_BYTES),
        progress: Callable[[int, int], None] | None = None,
    ) -> DurableHouse:
        """Take the journal as its writer and bring the house to where the journal ends.

        Parameters
        ----------
        log : a journal that has been created
        clock : nanoseconds UTC, for `recorded_ns`; the house's own time comes in commands
        signer : signs checkpoints; None = none are made
        progress : called with (records replayed, records to replay)

        Raises
        ------
        FencedOut, JournalCorrupt : see `CommandLog.acquire` and `recover`
        InputError : there is no journal, or the signer's checkpoints would name another
        """
        genesis = log.genesis()
        if signer is not None and genesis is not None and signer.origin != genesis.name:
            raise InputError(
                f"{log.place} is the journal {genesis.name!r:.80}, the signer's checkpoints would name "
                f"{signer.origin!r:.80}, which no verifier accepts: make the signer with the journal's name as origin"
            )
        return cls(log, recover(log, take_over=take_over, progress=progress), clock, signer, salt)

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Apply requests in order and return their outcomes once all are durable.

        Raises
        ------
        JournalError : they may or may not be durable, and nothing more is accepted: open the journal anew
        """
        staged = self.stage(requests)
        self.commit(staged)
        return staged.outcomes

    def look_up(self, requests: Sequence[Request]) -> Known:
        """Return the earlier records of the requests' keys, durable or in flight.

        May be asked in another thread, as long as nothing is staged until it has answered.
        """
        self.require_usable()
        keys = [(request.actor, request.key) for request in requests if request.key]
        if not keys:
            return {}
        # The committing thread takes keys out meanwhile: each is looked up once.
        flying = {key: record for key in keys if (record := self._in_flight.get(key)) is not None}
        try:
            # The log is asked after the flight list: a batch that lands in between is then found in one of the two.
            return {**self.log.find([key for key in keys if key not in flying]), **flying}
        except JournalError as error:
            self.halt(error)
            raise

    def stage(self, requests: Sequence[Request], known: Known | None = None) -> Staged:
        """Apply requests in memory. Nothing in the result may leave the process before `commit` has returned.

        Parameters
        ----------
        known : what `look_up` has said of these requests, where it was asked
        """
        self.require_usable()
        if len(requests) > BATCH_MAX:
            raise InputError(f"{len(requests)} requests in one batch, at most {BATCH_MAX}: send them in several")
        for request in requests:
            check_request(request)
        known = self.look_up(requests) if known is None else known
        before = self.head
        records: list[Record] = []
        personal: list[Personal] = []
        outcomes: list[Outcome] = []
        self._recorded_ns = max(self._clock(), self._recorded_ns)
        try:
            for request in requests:
                outcome, record = self._apply(request, known, personal)
                outcomes.append(outcome)
                if record is not None:
                    records.append(record)
            # Without records nothing is written, and a checkpoint signed here would be lost.
            checkpoint = self._checkpoint(outcomes) if records else None
        except BaseException as error:
            # Part of the batch is applied and will never be written: this house is no longer the journal's.
            self.trouble = JournalStalled(f"{self.log.place}: a command could not be applied ({error}): open it anew")
            raise
        batch = Batch(
            before=before, records=records, personal=personal, tiles=self.tree.take_tiles(), checkpoint=checkpoint
        )
        return Staged(batch, outcomes)

    def commit(self, staged: Staged) -> None:
        """Make a staged batch durable; batches are committed in the order in which they were staged."""
        self.require_usable()
        batch = staged.batch
        if not batch.records:
            return
        try:
            self.log.append(batch)
        except JournalError as error:
            self.trouble = error
            raise
        except BaseException as error:
            self.trouble = JournalStalled(f"{self.log.place}: a batch could not be written ({error!r}): open it anew")
            raise
        last = batch.records[-1]
        self.durable = Head(batch.before.epoch, last.sequence, last.hash)
        for record in batch.records:
            if record.key:
                self._in_flight.pop((record.actor, record.key), None)

    @property
    def vkey(self) -> str:
        """The key that verifies this journal's checkpoints, as text; empty where none are signed."""
        return "" if self._signer is None else self._signer.vkey

    def begin_snapshot(self) -> SnapshotJob:
        """Capture the state as staged; the job writes it after the records that lead to it are durable."""
        self.require_usable()
        return SnapshotJob(self.house, self.head, self.rules, self._recorded_ns)

    def seal(self) -> None:
        """Sign a checkpoint on everything that there is, where it is not signed yet; nothing may be in flight."""
        self.require_usable()
        if self._signer is None or self.tree.size == self._signed_size:
            return
        checkpoint = self._sign(self._signer)
        self.log.append(Batch(before=self.head, records=(), tiles=self.tree.take_tiles(), checkpoint=checkpoint))

    def halt(self, trouble: MarginkeepError) -> None:
        """Accept nothing more, for a reason that somebody else has found; the first reason stays."""
        if self.trouble is None:
            self.trouble = trouble

    def rewind(self, restored: Restored) -> None:
        """After trouble, show what is durable instead of what was applied and may be lost; nothing is accepted still.

        Parameters
        ----------
        restored : by `marginkeep.journal.recovery.restore`, at `durable`; nothing may be in flight any more
        """
        if self.trouble is None:
            raise InvariantViolation("a house that accepts commands was to be wound back: only a halted one may be")
        self.house, self.rules, self.head = restored.house, restored.rules, self.durable

    def require_usable(self) -> None:
        """Raise what went wrong before, if something did."""
        if self.trouble is not None:
            raise self.trouble

    def close(self) -> None:
        """Give the journal back; the house itself needs no goodbye."""
        self.log.close()

    # Leaves ------------------------------------------------------------------------------------------------------

    def _apply(self, request: Request, known: Known, personal: list[Personal]) -> tuple[Outcome, Record | None]:
        body = encode_command(request.command) if request.command is not None else msgspec.json.encode(request.note)
        key = (request.actor, request.key)
        if request.key and key in known:
            return _repeat(known[key], body), None
        events = self.house.apply(request.command) if request.command is not None else ()
        payload = encode_events(events) if request.command is not None else b""
        record = self._record(request, body, payload, personal)
        if request.key:
            known[key] = self._in_flight[key] = record
        for event in events:
            if type(event) is RulebookAdopted:
                self.rules = request.command.rules  # type: ignore[union-attr]
        return Outcome(
            sequence=record.sequence, recorded_ns=record.recorded_ns, payload=payload, answered=events
        ), record

    def _record(self, request: Request, body: bytes, payload: bytes, personal: list[Personal]) -> Record:
        sequence = self.head.sequence + 1
        hidden = b""
        if request.personal:
            salt = self._salt()
            hidden = personal_hash(salt, request.personal)
            personal.append(Personal(sequence, salt, request.personal))
        record = make_record(
            sequence=sequence,
            epoch=self.head.epoch,
            recorded_ns=self._recorded_ns,
            previous=self.head.hash,
            body=body,
            events=payload,
            kind="command" if request.command is not None else "note",
            actor=request.actor,
            key=request.key,
            correlation=request.correlation,
            causation=request.causation,
            personal=hidden,
        )
        self.head = Head(self.head.epoch, sequence, record.hash)
        self.tree.append(record.hash)
        return record

    def _checkpoint(self, outcomes: Sequence[Outcome]) -> StoredCheckpoint | None:
        """Sign the tree where that is due."""
        size = self.tree.size
        if self._signer is None or size == self._signed_size:
            return None
        due = size - self._signed_size >= CHECKPOINT_RECORDS or self._recorded_ns - self._signed_ns >= CHECKPOINT_NS
        if not due and not any(type(e) in SIGNED_AT_ONCE for one in outcomes for e in one.answered or ()):
            return None
        return self._sign(self._signer)

    def _sign(self, signer: Signer) -> StoredCheckpoint:
        size = self.tree.size
        self._signed_size, self._signed_ns = size, self._recorded_ns
        return StoredCheckpoint(size, signer.sign_checkpoint(size, self.tree.root()))


def _repeat(earlier: Record, body: bytes) -> Outcome:
    """Answer a request whose key is known."""
    conflict = ""
    if earlier.body != body:
        conflict = (
            f"idempotency key {earlier.key!r} stands for another command, recorded as number {earlier.sequence}: "
            f"repeat that one unchanged, or use a new key"
        )
    return Outcome(
        sequence=earlier.sequence,
        recorded_ns=earlier.recorded_ns,
        payload=b"" if conflict else earlier.events,
        repeated=True,
        conflict=conflict,
    )


def check_request(request: Request) -> None:
    """Refuse a request that could not be recorded.

    Raises
    ------
    InputError : neither command nor note, a text that is too long or not printable, or a number of no record
    """
    if (request.command is None) == (request.note is None):
        raise InputError("a request holds a command or a note: give one of them")
    for name, text in (("actor", request.actor), ("key", request.key), ("correlation", request.correlation)):
        if len(text) > TEXT_MAX or (text and not text.isprintable()):
            raise InputError(f"{name} is {text!r:.80}: give at most {TEXT_MAX} printable characters")
    if not 0 <= request.causation <= SEQUENCE_MAX:
        raise InputError(f"causation is {request.causation}: give the number of an earlier record, or 0")
    if len(request.personal) > BODY_MAX:
        raise InputError(f"a personal payload of {len(request.personal)} bytes: at most {BODY_MAX} are kept")
