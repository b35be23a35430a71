"""Records that were flipped, cut off, swapped, deleted or taken back are found and named."""

from __future__ import annotations

import shutil
import sqlite3

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import JournalCorrupt, MarginkeepError
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import Head
from marginkeep.journal.record import SCHEMA, genesis_hash, hash_of
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.records import GENESIS, begin, chain, extend

START = Head(0, 0, genesis_hash(GENESIS))
COUNT = 60


@pytest.fixture
def path(tmp_path):
    """A closed journal of 60 records in six batches."""
    path = tmp_path / "house.journal"
    log = SqliteLog(path)
    head = begin(log)
    for _ in range(6):
        head = extend(log, head, 10)
    log.close()
    return path


def change(path, *statements):
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(*statement) if isinstance(statement, tuple) else db.execute(statement)
    db.close()


def read_checked(path):
    """Read a journal as every reader should; return how many records passed."""
    log = SqliteLog(path, read_only=True)
    try:
        return sum(1 for _ in checked(log.read(), START, log.head()))
    finally:
        log.close()


def read_all(records, before=START, after=None):
    return list(checked(iter(records), before, after))


def resealed(record, **changes):
    """Return a changed record with the hash that it should then have."""
    record = msgspec.structs.replace(record, **changes)
    return msgspec.structs.replace(record, hash=hash_of(record))


def test_a_sound_journal_is_read_to_its_end(path):
    assert read_checked(path) == COUNT
    log = SqliteLog(path, read_only=True)
    half = next(log.read(29, 30))
    assert len(read_all(log.read(30), Head(1, 30, half.hash), log.head())) == 30
    log.close()


@pytest.mark.parametrize(
    "column", ["epoch", "schema", "recorded_ns", "causation", "actor", "key", "correlation", "kind", "body", "events"]
)
def test_a_change_to_any_field_is_found_and_the_record_is_named(path, column):
    value = "note" if column == "kind" else "changed" if column in ("actor", "key", "correlation") else 7
    change(path, (f"UPDATE records SET {column} = ? WHERE sequence = 17", (value,)))
    with pytest.raises(JournalCorrupt, match="record 17 "):
        read_checked(path)


@pytest.mark.parametrize("column", ["previous", "hash", "personal"])
def test_a_change_to_any_hash_is_found_and_the_record_is_named(path, column):
    change(path, (f"UPDATE records SET {column} = ? WHERE sequence = 17", (b"x" * 32,)))
    with pytest.raises(JournalCorrupt, match="record 17 "):
        read_checked(path)


def test_two_records_that_were_swapped_are_found(path):
    change(
        path,
        "UPDATE records SET sequence = -1 WHERE sequence = 20",
        "UPDATE records SET sequence = 20 WHERE sequence = 21",
        "UPDATE records SET sequence = 21 WHERE sequence = -1",
    )
    with pytest.raises(JournalCorrupt, match="record 20 follows hash"):
        read_checked(path)


def test_a_deleted_record_is_found(path):
    change(path, "DELETE FROM records WHERE sequence = 33")
    with pytest.raises(JournalCorrupt, match="after record 32 comes 34, expected 33"):
        read_checked(path)


def test_a_missing_end_is_found(path):
    change(path, "DELETE FROM records WHERE sequence > 55")
    with pytest.raises(JournalCorrupt, match=r"the records end with 55 .* but the head says 60"):
        read_checked(path)
    with pytest.raises(JournalCorrupt, match=r"keeps records 1 to 60 .* but records 1 to 55"):
        SqliteLog(path).acquire()


def test_a_missing_beginning_is_found(path):
    change(path, "DELETE FROM records WHERE sequence < 5")
    with pytest.raises(JournalCorrupt, match="after record 0 comes 5, expected 1"):
        read_checked(path)
    with pytest.raises(JournalCorrupt, match=r"keeps records 1 to 60 .* but records 5 to 60"):
        SqliteLog(path).acquire()


def test_an_older_head_is_found_by_the_next_writer(path):
    earlier = SqliteLog(path)
    forty = next(earlier.read(39, 40))
    earlier.close()
    change(path, ("UPDATE head SET sequence = 40, hash = ?", (forty.hash,)))
    with pytest.raises(JournalCorrupt, match=r"keeps records 1 to 40 .* but records 1 to 60"):
        SqliteLog(path).acquire()


def test_a_head_whose_epoch_went_back_is_found_by_the_next_writer(path):
    log = SqliteLog(path)
    extend(log, log.acquire(), 1)
    log.close()
    change(path, "UPDATE head SET epoch = 1")
    with pytest.raises(JournalCorrupt, match=r"record 61 is of epoch 2, .* only reached 1"):
        SqliteLog(path).acquire()


def test_a_damaged_last_record_is_found_by_the_next_writer(path):
    change(path, "UPDATE records SET body = x'00' WHERE sequence = 60")
    with pytest.raises(JournalCorrupt, match="record 60 does not have the hash"):
        SqliteLog(path).acquire()


def test_a_history_rewritten_with_sound_hashes_does_not_fit_what_was_kept_of_it():
    records = chain(Head(1, 0, START.hash), 3)
    other = [records[0], resealed(records[1], body=b"{}")]
    with pytest.raises(JournalCorrupt, match="record 3 follows hash"):
        read_all([*other, records[2]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": 3}, "record 2 is of epoch 3, after epoch 4: a fenced writer"),
        ({"recorded_ns": 1}, "record 2 was recorded at 1, before"),
        ({"schema": SCHEMA + 1}, f"record 2 has schema {SCHEMA + 1}, this version reads 1 to {SCHEMA}"),
        ({"schema": 0}, "record 2 has schema 0"),
    ],
    ids=["epoch", "time", "later schema", "no schema"],
)
def test_a_record_out_of_its_time_is_named_though_its_hash_is_right(changes, words):
    first, second = chain(Head(4, 0, START.hash), 2)
    with pytest.raises(JournalCorrupt, match=words):
        read_all([first, resealed(second, **changes)])


def test_a_reader_gets_all_records_before_the_damaged_one():
    records = chain(Head(1, 0, START.hash), 9)
    reader = checked(iter([*records[:6], *records[7:]]), START)
    assert [next(reader).sequence for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(JournalCorrupt, match="after record 6 comes 8"):
        next(reader)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A closed journal and its bytes."""
    path = tmp_path_factory.mktemp("sound") / "house.journal"
    log = SqliteLog(path)
    extend(log, begin(log), COUNT)
    log.close()
    return path


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_the_file_is_found_or_changes_no_record(sound, place, bit):
    damaged = sound.with_name("damaged.journal")
    shutil.copyfile(sound, damaged)
    content = bytearray(damaged.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    damaged.write_bytes(content)
    require_found_or_whole(sound, damaged)


@given(place=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_found(sound, place):
    damaged = sound.with_name("damaged.journal")
    content = sound.read_bytes()
    damaged.write_bytes(content[: int(place * len(content))])
    require_found_or_whole(sound, damaged)


def require_found_or_whole(sound, damaged):
    """Check that a reader either stops with one of our errors or gets every record as it was written."""
    for end in ("-wal", "-shm"):
        damaged.with_name(damaged.name + end).unlink(missing_ok=True)
    whole = SqliteLog(sound, read_only=True)
    expected = list(whole.read())
    whole.close()
    log = None
    try:
        log = SqliteLog(damaged, read_only=True)
        if log.genesis() is not None:
            assert list(checked(log.read(), START, log.head())) == expected
        else:
            assert damaged.stat().st_size <= 1, "SQLite takes a file of one byte for an empty one"
    except MarginkeepError:
        pass
    finally:
        if log is not None:
            log.close()
