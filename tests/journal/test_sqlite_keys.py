"""Idempotency keys in an SQLite journal: found while they are in memory, on their way into the table, and in it."""

import sqlite3

import pytest
from msgspec import structs

from marginkeep.errors import InvariantViolation
from marginkeep.journal import sqlite_keys
from marginkeep.journal.command_log import Batch
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.record import hash_of
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.houses import GENESIS, deposit, ticking

GENERATION = 16


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A journal whose keys go into the table sixteen at a time."""
    monkeypatch.setattr(sqlite_keys, "GENERATION", GENERATION)
    path = tmp_path / "house.db"
    log = SqliteLog(path)
    log.create(GENESIS)
    log.close()
    return path


def opened(path):
    return DurableHouse.open(SqliteLog(path), clock=ticking(10**9))


def keys(first, last):
    return [("local", f"key-{number}") for number in range(first, last + 1)]


def submit(house, first, last, together=3):
    for start in range(first, last + 1, together):
        end = min(last, start + together - 1)
        house.submit([deposit("ann", number, f"key-{number}") for number in range(start, end + 1)])


def rows_in_table(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT count(*), (SELECT sequence FROM keys_end) FROM keys").fetchone()


def sequences(log, wanted):
    return {key: record.sequence for key, record in log.find(wanted).items()}


def test_every_key_is_found_wherever_it_is(path):
    house = opened(path)
    for number in range(1, 101):
        submit(house, number, number)
        expected = {key: place for place, key in enumerate(keys(1, number), 1)}
        assert sequences(house.log, keys(1, number + 5)) == expected
    assert rows_in_table(path)[1] >= 100 - 2 * GENERATION
    house.close()


def test_a_key_is_known_after_a_restart_in_the_middle_of_a_generation(path):
    for stop in range(1, 60):
        house = opened(path)
        assert sequences(house.log, keys(1, stop)) == {key: place for place, key in enumerate(keys(1, stop - 1), 1)}
        submit(house, stop, stop)
        (again,) = house.submit([deposit("ann", stop, f"key-{stop}")])
        assert (again.repeated, again.sequence) == (True, stop)
        house.close()


def test_who_only_reads_finds_the_same_keys(path):
    house = opened(path)
    reader = SqliteLog(path, read_only=True)
    for start in range(1, 90, 7):
        submit(house, start, start + 6)
        assert sequences(reader, keys(1, 99)) == sequences(house.log, keys(1, 99))
    reader.close()
    house.close()


def test_the_table_takes_in_a_generation_before_the_next_is_complete(path):
    house = opened(path)
    submit(house, 1, 200, together=5)
    count, end = rows_in_table(path)
    assert count >= end >= 200 - 2 * GENERATION
    house.close()


def test_a_key_that_is_written_twice_is_refused(path):
    house = opened(path)
    submit(house, 1, 3)
    (record,) = house.log.read(2, 3)
    again = structs.replace(record, sequence=4, previous=house.durable.hash)
    with pytest.raises(InvariantViolation, match="written twice"):
        house.log.append(Batch(before=house.durable, records=[structs.replace(again, hash=hash_of(again))]))
    house.close()


def test_a_batch_that_was_refused_leaves_no_key_behind(path):
    house = opened(path)
    submit(house, 1, 3)
    with house.log._file.transaction() as db:
        db.execute("INSERT INTO personal VALUES (4, x'', x'')")  # so that the next payload cannot be written
    with pytest.raises(InvariantViolation):
        house.submit([structs.replace(deposit("ann", 4, "key-4"), personal=b"secret")])
    assert house.log.find(keys(1, 9)).keys() == set(keys(1, 3))
    house.close()


def test_keys_of_deleted_records_are_free_again(path):
    house = opened(path)
    submit(house, 1, 90)
    house.begin_snapshot().write(house.log)
    house.log.delete_until(60)
    assert sequences(house.log, keys(1, 90)) == {key: place for place, key in enumerate(keys(61, 90), 61)}
    submit(house, 1, 60)
    assert sequences(house.log, keys(1, 60)) == {key: place for place, key in enumerate(keys(1, 60), 91)}
    house.close()
    log = SqliteLog(path)
    log.acquire()
    assert len(log.find(keys(1, 90))) == 90
    log.close()
