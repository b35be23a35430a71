"""Opening a journal: from a snapshot or from the start, every record checked, nothing damaged passed over."""

import msgspec
import pytest

from marginkeep.clearing import state_hash
from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.checkpoint import make_key
from marginkeep.journal.group_commit import GroupCommit
from marginkeep.journal.memory_log import MemoryLog, MemoryStore
from marginkeep.journal.record import hash_of
from marginkeep.journal.retention import compact, plan_retention
from tests.journal.houses import deposit, new_store, opened, script

pytestmark = pytest.mark.without_shadows("recovery is itself a replay of every command")


def filled(count=600, snapshot_at=300, signer=None):
    store = new_store()
    house = opened(store, signer=signer)
    requests = script(count)
    house.submit(requests[:snapshot_at])
    house.begin_snapshot().write(house.log)
    house.submit(requests[snapshot_at:])
    reached = state_hash(house.house)
    house.close()
    return store, reached


def test_a_restart_begins_at_the_snapshot():
    store, reached = filled()
    house = opened(store)
    assert (house.recovered.snapshot, house.recovered.replayed) == (300, 300)
    assert state_hash(house.house) == reached


def test_progress_is_told_to_the_end():
    store, _ = filled(2500, 100)
    seen = []
    opened(store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1000, 2400), (2000, 2400), (2400, 2400)]


def test_a_damaged_snapshot_is_named_and_an_earlier_start_is_used():
    store, reached = filled()
    store.snapshots[300] = store.snapshots[300][:-1] + bytes([store.snapshots[300][-1] ^ 1])
    house = opened(store)
    assert house.recovered.replayed == 600
    assert "snapshot at record 300 is damaged" in house.recovered.warnings[0]
    assert state_hash(house.house) == reached


@pytest.mark.parametrize("sequence", [301, 450, 600])
@pytest.mark.parametrize("field", ["body", "events", "key", "actor", "recorded_ns", "epoch", "previous", "hash"])
def test_a_changed_record_is_named(sequence, field):
    store, _ = filled()
    record = store.records[sequence]
    before = getattr(record, field)
    after = before + 1 if isinstance(before, int) else (before[:-1] + (b"~" if isinstance(before, bytes) else "~"))
    store.records[sequence] = msgspec.structs.replace(record, **{field: after})
    with pytest.raises(JournalCorrupt, match=rf"\b{sequence}\b"):
        opened(store)


def test_a_record_whose_answer_this_engine_would_not_give_is_named():
    store, _ = filled(400, 300)
    record = store.records[400]
    forged = msgspec.structs.replace(record, events=b"[]")
    forged = msgspec.structs.replace(forged, hash=hash_of(forged))
    store.records[400] = forged
    store.head = msgspec.structs.replace(store.head, hash=forged.hash)
    with pytest.raises(JournalCorrupt, match="record 400 is answered differently"):
        opened(store)


def test_a_cut_end_is_found_by_the_signed_checkpoint(tmp_path):
    store, _ = filled(signer=make_key(tmp_path / "signing.key", "test.example/journal"))
    house = opened(store, signer=make_key(tmp_path / "other.key", "test.example/journal"))
    house.close()
    last = store.records[598]
    del store.records[599], store.records[600]
    store.head = msgspec.structs.replace(store.head, sequence=598, hash=last.hash)
    with pytest.raises(JournalCorrupt, match="signed over 600 records, but only 598"):
        opened(store)


def test_no_journal_is_an_input_error():
    with pytest.raises(InputError, match="journal init"):
        opened(MemoryStore())


def test_compacted_records_are_gone_and_a_restart_needs_them_not():
    store, reached = filled(2600, 2300)
    log = MemoryLog(store)
    log.acquire()
    plan = plan_retention(log, now_ns=10**18, keep_ns=0)
    assert plan.until == 2300 - 2300 % 256
    assert list(compact(log, plan))[-1] == plan.until
    log.close()
    house = opened(store)
    assert state_hash(house.house) == reached
    assert house.tree.size == 2600
    house.submit([deposit("ann")])


def test_young_records_and_records_without_a_snapshot_stay():
    store, _ = filled()
    log = MemoryLog(store)
    log.acquire()
    assert plan_retention(log, now_ns=10**6, keep_ns=10**6).until == 0
    empty = new_store()
    assert plan_retention(MemoryLog(empty), now_ns=10**18, keep_ns=0).until == 0


def test_commits_overlap_and_arrive_in_order():
    store = new_store()
    house = opened(store)
    commits = GroupCommit(house)
    requests = script(500)
    futures = [commits.submit(requests[start : start + 10]) for start in range(0, 500, 10)]
    snapshot = commits.snapshot()
    outcomes = [one for future in futures for one in future.result(30)]
    assert [one.sequence for one in outcomes] == list(range(1, 501))
    assert snapshot.result(30) == 500
    commits.close()
    reached = state_hash(house.house)
    house.close()
    again = opened(store)
    assert (again.recovered.snapshot, state_hash(again.house)) == (500, reached)


def test_old_snapshots_are_dropped_when_new_ones_are_complete():
    store = new_store()
    house = opened(store)
    for _ in range(5):
        house.submit([deposit("ann")])
        house.begin_snapshot().write(house.log)
    assert [label.sequence for label in house.log.snapshots()] == [3, 4, 5]
