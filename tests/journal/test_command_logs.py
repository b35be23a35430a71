"""What every home of a journal promises, held against each of them."""

from __future__ import annotations

import hashlib
import threading

import msgspec
import pytest

from marginkeep.errors import FencedOut, InputError, InvariantViolation
from marginkeep.journal.command_log import Batch, Head, Personal, SnapshotLabel, StoredCheckpoint, Tile
from marginkeep.journal.record import genesis_hash
from tests.journal.records import GENESIS, begin, chain, extend, head_after, key_of


@pytest.fixture
def log(command_log_factory):
    return command_log_factory()


def store_snapshot(log, sequence: int, pieces: list[bytes], **changes) -> SnapshotLabel:
    for number, part in enumerate(pieces):
        log.put_snapshot_part(sequence, number, part)
    encoded = b"".join(pieces)
    label = SnapshotLabel(
        sequence=sequence,
        record_hash=b"r" * 32,
        state_hash=hashlib.sha256(encoded).digest(),
        rules="rules",
        size=len(encoded),
        parts=len(pieces),
        taken_ns=5,
    )
    label = msgspec.structs.replace(label, **changes)
    log.finish_snapshot(label)
    return label


# Beginning ----------------------------------------------------------------------


def test_an_empty_store_holds_no_journal(log):
    assert log.genesis() is None
    with pytest.raises(InputError, match="holds no journal"):
        log.acquire()


def test_a_new_journal_starts_from_its_genesis(log, command_log_factory):
    log.create(GENESIS)
    assert log.genesis() == GENESIS
    assert log.head() == Head(0, 0, genesis_hash(GENESIS))
    assert log.first() == 1
    assert command_log_factory().genesis() == GENESIS


def test_a_journal_is_made_only_once(log, command_log_factory):
    log.create(GENESIS)
    for opening in (log, command_log_factory()):
        with pytest.raises(InputError, match="already"):
            opening.create(GENESIS)


# Writing and reading ----------------------------------------------------------------------


def test_what_is_appended_is_read_back_as_written(log, command_log_factory):
    head = begin(log)
    first = chain(head, 3, actor="desk", correlation="fill 7", causation=0, personal=b"p" * 32)
    log.append(Batch(before=head, records=first))
    second = chain(head_after(head, first), 2, keyed=False, kind="note", causation=2)
    log.append(Batch(before=head_after(head, first), records=second))
    for opening in (log, command_log_factory()):
        assert list(opening.read()) == first + second
        assert list(opening.read(2, 4)) == [first[2], second[0]]
        assert list(opening.read(5)) == []
        assert opening.head() == head_after(head, second)


def test_reading_goes_on_over_many_pages_and_other_reads(log):
    head = begin(log)
    for _ in range(3):
        head = extend(log, head, 2_000, size=1)
    one, other = log.read(), log.read(1_000)
    taken = [next(one).sequence for _ in range(1_500)]
    assert [next(other).sequence for _ in range(2_500)] == list(range(1_001, 3_501))
    extend(log, head, 5, size=1)
    taken += [record.sequence for record in one]
    assert taken == list(range(1, 6_001)), "a read ends where the journal ended when it began"


def test_an_empty_batch_may_carry_a_checkpoint(log):
    head = begin(log)
    head = extend(log, head, 1)
    log.append(Batch(before=head, records=[], checkpoint=StoredCheckpoint(1, "note")))
    assert log.head() == head
    assert log.last_checkpoint() == StoredCheckpoint(1, "note")


def test_a_batch_that_does_not_continue_its_head_is_a_defect_of_the_writer(log):
    head = begin(log)
    records = chain(head, 3)
    for wrong in (records[1:], records[:1] + records[2:], [msgspec.structs.replace(records[0], epoch=head.epoch + 1)]):
        with pytest.raises(InvariantViolation, match="does not continue the chain"):
            log.append(Batch(before=head, records=wrong))
    assert list(log.read()) == []
    log.append(Batch(before=head, records=records))


def test_a_refused_batch_leaves_nothing_behind(log):
    head = begin(log)
    head = extend(log, head, 2)
    records = chain(head, 2)
    repeated = [records[0], msgspec.structs.replace(records[1], key=key_of(1))]
    personal, tile = Personal(3, b"s", b"p"), Tile(0, 0, b"h" * 8192)
    batch = Batch(before=head, records=repeated, personal=[personal], tiles=[tile], checkpoint=StoredCheckpoint(4, "n"))
    with pytest.raises(InvariantViolation):
        log.append(batch)
    assert log.head() == head
    assert [record.sequence for record in log.read()] == [1, 2]
    assert log.find([(records[0].actor, records[0].key)]) == {}
    assert (log.personal(3), log.tile(0, 0), log.last_checkpoint()) == (None, None, None)
    extend(log, head, 2)


def test_records_are_found_by_actor_and_key(log):
    head = begin(log)
    records = chain(head, 600)
    log.append(Batch(before=head, records=records))
    keys = [(record.actor, record.key) for record in records]
    assert log.find(keys) == dict(zip(keys, records, strict=True))
    assert log.find([("other", key_of(1)), ("local", "unknown"), keys[4]]) == {keys[4]: records[4]}
    assert log.find([]) == {}


def test_actor_and_key_are_told_apart_where_their_joined_text_is_the_same(log):
    head = begin(log)
    first = chain(head, 1, keyed=False)[0]
    first = msgspec.structs.replace(first, actor="ab", key="c")
    log.append(Batch(before=head, records=[first]))
    assert log.find([("a", "bc"), ("ab", "c")]) == {("ab", "c"): first}
    second = msgspec.structs.replace(chain(head_after(head, [first]), 1, keyed=False)[0], actor="a", key="bc")
    log.append(Batch(before=head_after(head, [first]), records=[second]))


# One writer ----------------------------------------------------------------------


def test_an_opening_that_has_not_acquired_the_journal_only_reads(log, command_log_factory):
    head = extend(log, begin(log), 1)
    reader = command_log_factory()
    assert len(list(reader.read())) == 1
    writes = (
        lambda: extend(reader, head, 1),
        lambda: reader.put_document("kind", "name", b""),
        lambda: reader.put_snapshot_part(1, 0, b"part"),
        lambda: reader.delete_snapshot(1),
        lambda: reader.erase_personal([1]),
    )
    for write in writes:
        with pytest.raises(FencedOut, match="has not acquired"):
            write()


def test_a_second_writer_is_refused_while_the_first_one_lives(log, command_log_factory):
    head = begin(log)
    second = command_log_factory()
    with pytest.raises(FencedOut):
        second.acquire()
    extend(log, head, 1)
    log.close()
    assert second.acquire().epoch == 2


def test_a_stale_writer_is_fenced_out(log, command_log_factory):
    head = extend(log, begin(log), 2)
    second = command_log_factory()
    taken = second.acquire(take_over=True)
    assert (taken.epoch, taken.sequence, taken.hash) == (2, 2, head.hash)
    for attempt in (
        lambda: extend(log, head, 1),
        lambda: extend(log, taken, 1),
        lambda: log.put_document("kind", "name", b""),
        lambda: log.put_snapshot_part(1, 0, b"part"),
        lambda: log.erase_personal([1]),
    ):
        with pytest.raises(FencedOut):
            attempt()
    after = extend(second, taken, 1)
    assert log.head() == after
    with pytest.raises(FencedOut):
        command_log_factory().acquire()


def test_of_two_writers_in_turns_every_record_stands_once(log, command_log_factory):
    log.create(GENESIS)
    openings = [log, command_log_factory()]
    for turn in range(6):
        writer, stale = openings[turn % 2], openings[1 - turn % 2]
        head = writer.acquire(take_over=True)
        extend(writer, head, 3)
        with pytest.raises(FencedOut):
            extend(stale, head, 1)
    assert [(record.sequence, record.epoch) for record in log.read()] == [(n + 1, n // 3 + 1) for n in range(18)]


def test_a_batch_on_another_head_is_fenced_out(log):
    head = begin(log)
    after = extend(log, head, 1)
    for wrong in (head, Head(after.epoch, after.sequence, b"x" * 32), Head(after.epoch + 1, 1, after.hash)):
        with pytest.raises(FencedOut):
            extend(log, wrong, 1)
    extend(log, after, 1)


def test_reads_go_on_in_other_threads_while_batches_are_written(log):
    head = begin(log)
    head = extend(log, head, 50)
    failures, stop = [], threading.Event()

    def read_on():
        while not stop.is_set():
            sequences = [record.sequence for record in log.read()]
            if sequences != list(range(1, len(sequences) + 1)) or len(sequences) % 50:
                failures.append(sequences)
            if len(log.find([("local", key_of(7))])) != 1:
                failures.append("key 7 is not found")

    threads = [threading.Thread(target=read_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        head = extend(log, head, 50)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []


# Tree, personal payloads, documents ----------------------------------------------------------------------


def test_tiles_and_checkpoints_come_with_their_batch(log, command_log_factory):
    head = begin(log)
    for size in (1, 2, 3):
        records = chain(head, 1)
        tiles = [Tile(0, size, bytes([size]) * 8192), Tile(1, size, b"up")]
        log.append(Batch(before=head, records=records, tiles=tiles, checkpoint=StoredCheckpoint(size, f"note {size}")))
        head = head_after(head, records)
    reader = command_log_factory()
    assert (reader.tile(0, 2), reader.tile(1, 2), reader.tile(0, 4)) == (b"\x02" * 8192, b"up", None)
    assert [one.size for one in reader.checkpoints(1)] == [2, 3]
    assert reader.last_checkpoint() == StoredCheckpoint(3, "note 3")


def test_a_complete_tile_never_changes(log):
    head = begin(log)
    log.append(Batch(before=head, records=[], tiles=[Tile(0, 0, b"once")]))
    with pytest.raises(InvariantViolation):
        log.append(Batch(before=head, records=[], tiles=[Tile(0, 0, b"twice")]))
    assert log.tile(0, 0) == b"once"


def test_personal_payloads_are_erased_and_their_records_stay(log):
    head = begin(log)
    records = chain(head, 3, personal=b"h" * 32)
    log.append(
        Batch(before=head, records=records, personal=[Personal(n, b"salt", b"name of %d" % n) for n in (1, 2, 3)])
    )
    assert log.personal(2) == Personal(2, b"salt", b"name of 2")
    assert log.erase_personal([2, 3, 4]) == 2
    assert log.erase_personal([2]) == 0
    assert (log.personal(1) is None, log.personal(2), log.personal(3)) == (False, None, None)
    assert list(log.read()) == records


def test_documents_are_kept_by_kind_and_name(log, command_log_factory):
    begin(log)
    for name in ("b", "a", "é", "Z"):
        log.put_document("key", name, name.encode())
    log.put_document("key", "a", b"replaced")
    log.put_document("cursor", "a", b"7")
    log.delete_document("key", "b")
    log.delete_document("key", "never there")
    kept = command_log_factory().documents("key")
    assert list(kept.items()) == [("Z", b"Z"), ("a", b"replaced"), ("é", "é".encode())]
    assert log.documents("cursor") == {"a": b"7"}
    assert log.documents("none") == {}


# Snapshots ----------------------------------------------------------------------


def test_a_snapshot_is_seen_only_when_complete(log, command_log_factory):
    begin(log)
    log.put_snapshot_part(5, 0, b"part")
    assert log.snapshots() == []
    with pytest.raises(InputError, match="no snapshot"):
        log.snapshot(5)
    parts = [b"a" * 1000, b"b" * 1000, b"c"]
    labels = [store_snapshot(log, sequence, parts) for sequence in (5, 3)]
    reader = command_log_factory()
    assert reader.snapshots() == labels[::-1]
    assert reader.snapshot(5) == b"".join(parts)


def test_a_snapshot_with_parts_missing_is_never_declared_complete(log):
    begin(log)
    log.put_snapshot_part(5, 1, b"second")
    with pytest.raises(InvariantViolation, match="declared complete"):
        store_snapshot(log, 6, [b"a", b"b"], parts=3)
    with pytest.raises(InvariantViolation, match="declared complete"):
        store_snapshot(log, 7, [b"a", b"b"], size=9)
    assert log.snapshots() == []


def test_a_snapshot_stays_whole_while_its_successor_is_made(log, command_log_factory):
    begin(log)
    label = store_snapshot(log, 5, [b"old 0", b"old 1", b"old 2"])
    log.put_snapshot_part(5, 0, b"new 0")
    assert (log.snapshots(), log.snapshot(5)) == ([label], b"old 0old 1old 2")
    log.close()
    second = command_log_factory()
    second.acquire()
    assert second.snapshot(5) == b"old 0old 1old 2"
    second.put_snapshot_part(5, 1, b"left from a longer attempt")
    store_snapshot(second, 5, [b"new"])
    assert second.snapshot(5) == b"new"
    store_snapshot(second, 5, [b"newest"])
    assert second.snapshot(5) == b"newest"


def test_snapshots_are_deleted_complete_or_not(log):
    begin(log)
    store_snapshot(log, 1, [b"a"])
    store_snapshot(log, 2, [b"b"])
    log.put_snapshot_part(3, 0, b"c")
    for sequence in (1, 3, 4):
        log.delete_snapshot(sequence)
    assert [label.sequence for label in log.snapshots()] == [2]


def test_a_part_from_before_a_crash_is_in_no_later_snapshot(log, command_log_factory):
    begin(log)
    log.put_snapshot_part(5, 1, b"stale")
    log.close()
    second = command_log_factory()
    second.acquire()
    with pytest.raises(InvariantViolation, match="declared complete"):
        store_snapshot(second, 5, [b"fresh"], parts=2, size=10)


# Retention ----------------------------------------------------------------------


def test_records_are_deleted_only_under_a_snapshot(log):
    head = extend(log, begin(log), 10)
    with pytest.raises(InputError, match="no snapshot covers"):
        log.delete_until(5)
    store_snapshot(log, 4, [b"s"])
    with pytest.raises(InputError, match="no snapshot covers"):
        log.delete_until(5)
    assert log.delete_until(4) == 4
    assert log.delete_until(4) == 0
    assert log.first() == 5
    assert [record.sequence for record in log.read()] == list(range(5, 11))
    assert list(log.find([("local", key_of(4)), ("local", key_of(5))])) == [("local", key_of(5))]
    assert log.head() == head


def test_a_journal_without_any_record_left_goes_on(log, command_log_factory):
    head = begin(log)
    records = chain(head, 6_000 // 2, size=1)
    log.append(Batch(before=head, records=records, personal=[Personal(7, b"s", b"p")], tiles=[Tile(0, 0, b"t")]))
    head = head_after(head, records)
    head = extend(log, head, 3_000, size=1)
    store_snapshot(log, 6_000, [b"s"])
    assert log.delete_until(6_000) == 6_000
    assert (log.first(), list(log.read()), log.head(), log.personal(7)) == (6_001, [], head, None)
    assert log.tile(0, 0) == b"t"
    log.close()
    second = command_log_factory()
    taken = second.acquire()
    assert (taken.sequence, taken.hash) == (6_000, head.hash)
    extend(second, taken, 1)
    assert [record.sequence for record in second.read()] == [6_001]


def test_the_size_is_that_of_what_is_kept(log):
    head = begin(log)
    before = log.size_bytes()
    extend(log, head, 500)
    assert log.size_bytes() > before + 500 * 250
