"""Whatever is done to a journal in SQLite and to one in memory, in whatever order, they answer alike."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from marginkeep.errors import MarginkeepError
from marginkeep.journal.command_log import Batch, Head, Personal, SnapshotLabel, StoredCheckpoint, Tile
from marginkeep.journal.memory_log import MemoryLog, MemoryStore
from marginkeep.journal.record import make_record
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.records import GENESIS

OPENINGS = st.integers(0, 1)
SMALL = st.integers(0, 12)
NAMES = st.text("aZé \x00", max_size=3)


class TwoHomes(RuleBasedStateMachine):
    """Two openings of a journal in each home; every step is taken in both, and outcomes and contents are compared."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix="homes-"))
        self.store = MemoryStore()
        self.pairs = [self.open_pair(), self.open_pair()]
        self.both(0, lambda log: log.create(GENESIS))
        self.both(0, lambda log: log.acquire())

    def open_pair(self):
        return [MemoryLog(self.store), SqliteLog(self.folder / "house.journal")]

    def both(self, opening, step):
        """Take a step in both homes and return what came of it."""
        outcomes = []
        for log in self.pairs[opening]:
            try:
                outcomes.append(step(log))
            except MarginkeepError as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    @rule(opening=OPENINGS, take_over=st.booleans())
    def acquire(self, opening, take_over):
        self.both(opening, lambda log: log.acquire(take_over=take_over))

    @rule(opening=OPENINGS)
    def reopen(self, opening):
        for log in self.pairs[opening]:
            log.close()
        self.pairs[opening] = self.open_pair()

    @rule(opening=OPENINGS, keys=st.lists(NAMES, max_size=4), stale=st.sampled_from([0, 0, 0, 1]), extras=st.booleans())
    def append(self, opening, keys, stale, extras):
        head = self.pairs[0][0].head()
        before = Head(head.epoch - stale, head.sequence, head.hash)
        records, previous = [], head.hash
        for number, key in enumerate(keys, head.sequence + 1):
            record = make_record(
                sequence=number, epoch=before.epoch, recorded_ns=number, previous=previous, body=key.encode(), key=key
            )
            records.append(record)
            previous = record.hash
        batch = Batch(before=before, records=records)
        if extras:
            batch = Batch(
                before=before,
                records=records,
                personal=[Personal(record.sequence, b"salt", record.body) for record in records],
                tiles=[Tile(0, len(keys), b"hashes")],
                checkpoint=StoredCheckpoint(head.sequence + len(keys), f"note {stale}"),
            )
        self.both(opening, lambda log: log.append(batch))

    @rule(opening=OPENINGS, sequences=st.lists(SMALL, max_size=3))
    def erase(self, opening, sequences):
        self.both(opening, lambda log: log.erase_personal(sequences))

    @rule(opening=OPENINGS, sequence=SMALL, number=st.integers(0, 2), part=st.binary(max_size=3))
    def put_part(self, opening, sequence, number, part):
        self.both(opening, lambda log: log.put_snapshot_part(sequence, number, part))

    @rule(opening=OPENINGS, parts=st.lists(st.binary(max_size=2), max_size=3), wrong=st.sampled_from([0, 0, 1]))
    def make_snapshot(self, opening, parts, wrong):
        sequence = self.pairs[0][0].head().sequence
        encoded = b"".join(parts)
        label = SnapshotLabel(
            sequence=sequence,
            record_hash=b"r",
            state_hash=hashlib.sha256(encoded).digest(),
            rules="rules",
            size=len(encoded) + wrong,
            parts=len(parts),
            taken_ns=len(parts),
        )
        for number, part in enumerate(parts):
            self.both(opening, lambda log, number=number, part=part: log.put_snapshot_part(sequence, number, part))
        self.both(opening, lambda log: log.finish_snapshot(label))

    @rule(opening=OPENINGS, sequence=SMALL)
    def delete_snapshot(self, opening, sequence):
        self.both(opening, lambda log: log.delete_snapshot(sequence))

    @rule(opening=OPENINGS, sequence=SMALL)
    def delete_until(self, opening, sequence):
        self.both(opening, lambda log: log.delete_until(sequence))

    @rule(opening=OPENINGS, kind=st.sampled_from("ab"), name=NAMES, body=st.none() | st.binary(max_size=3))
    def change_document(self, opening, kind, name, body):
        if body is None:
            self.both(opening, lambda log: log.delete_document(kind, name))
        else:
            self.both(opening, lambda log: log.put_document(kind, name, body))

    @rule(opening=OPENINGS, after=SMALL, until=st.none() | SMALL)
    def read_some(self, opening, after, until):
        self.both(opening, lambda log: list(log.read(after, until)))

    @rule(opening=OPENINGS, keys=st.lists(st.tuples(st.sampled_from(["local", "other"]), NAMES)))
    def find_some(self, opening, keys):
        self.both(opening, lambda log: log.find(keys))

    @rule(opening=OPENINGS, sequence=SMALL)
    def read_snapshot(self, opening, sequence):
        self.both(opening, lambda log: log.snapshot(sequence))

    @invariant()
    def homes_hold_the_same(self):
        for opening in (0, 1):
            self.both(opening, contents)

    def teardown(self):
        for pair in getattr(self, "pairs", []):
            for log in pair:
                log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def contents(log):
    """Return all that a journal shows, documents in their order."""
    return (
        (log.head(), log.first(), log.genesis(), list(log.read())),
        ([log.personal(sequence) for sequence in range(13)], [log.tile(0, index) for index in range(5)]),
        (list(log.checkpoints()), list(log.checkpoints(3)), log.last_checkpoint()),
        ([list(log.documents(kind).items()) for kind in "abc"], log.snapshots()),
        [log.snapshot(label.sequence) for label in log.snapshots()],
    )


TestTwoHomes = TwoHomes.TestCase
TestTwoHomes.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
