"""A tail read and checked by a second process: the same records, the same errors, and nobody left behind."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from marginkeep.errors import JournalCorrupt
from marginkeep.journal.command_log import Head
from marginkeep.journal.opening import open_log
from marginkeep.journal.reading_ahead import Tail, checked_tail, read_ahead
from marginkeep.journal.record import genesis_hash
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.records import GENESIS, begin, extend

pytestmark = pytest.mark.without_shadows("no command is applied")

START = Head(0, 0, genesis_hash(GENESIS))
BATCHES, BATCH = 9, 500
COUNT = BATCHES * BATCH


@pytest.fixture
def long_log(command_log_factory):
    """A journal whose records fill more than one frame, and which its writer still holds."""
    log = command_log_factory()
    head = begin(log)
    for _ in range(BATCHES):
        head = extend(log, head, BATCH)
    return log


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "house.journal"
    with closing(SqliteLog(path)) as log:
        head = begin(log)
        for _ in range(BATCHES):
            head = extend(log, head, BATCH)
    return path


def children():
    return {
        int(child) for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()
    }


def test_the_records_are_those_of_the_log_in_every_home(long_log):
    assert list(checked_tail(long_log, START, COUNT, ahead_from=1)) == list(long_log.read())


def test_what_has_an_address_is_read_by_the_second_process_to_the_end(long_log):
    there = list(long_log.read()) if long_log.address else []
    assert list(read_ahead(Tail(long_log.address, START, COUNT))) == there


def test_it_begins_after_any_record_and_ends_at_any(path):
    with closing(SqliteLog(path, read_only=True)) as log:
        records = list(log.read())
        before = Head(1, 1234, records[1233].hash)
        assert list(read_ahead(Tail(log.address, before, 4000))) == records[1234:4000]


@pytest.mark.parametrize("sequence", [1, 2000, COUNT])
def test_a_changed_record_is_named_after_all_before_it_were_read(path, sequence):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE records SET body = ? WHERE sequence = ?", (b"{}", sequence))
    db.close()
    passed = []
    with closing(SqliteLog(path, read_only=True)) as log:
        records = checked_tail(log, START, COUNT, ahead_from=1)
        with pytest.raises(JournalCorrupt, match=f"record {sequence} does not have the hash"):
            passed.extend(record.sequence for record in records)
    assert passed == list(range(1, sequence))


def test_a_second_process_that_cannot_open_the_journal_costs_time_only(path):
    with closing(SqliteLog(path, read_only=True)) as log:
        log.address = str(path.with_name("not there"))
        assert list(read_ahead(Tail(log.address, START, COUNT))) == []
        assert len(list(checked_tail(log, START, COUNT, ahead_from=1))) == COUNT


def test_a_second_process_that_is_killed_costs_time_only(path):
    before = children()
    with closing(SqliteLog(path, read_only=True)) as log:
        numbers = []
        for record in checked_tail(log, START, COUNT, ahead_from=1):
            numbers.append(record.sequence)
            for child in children() - before if len(numbers) == 1 else ():
                os.kill(child, 9)
    assert numbers == list(range(1, COUNT + 1))


def test_who_stops_early_leaves_no_process_behind(path):
    before = children()
    with closing(SqliteLog(path, read_only=True)) as log:
        with closing(checked_tail(log, START, COUNT, ahead_from=1)) as records:
            assert next(records).sequence == 1
            assert children() - before
        assert children() == before


def test_short_tails_are_read_without_a_second_process(path):
    before = children()
    with (
        closing(SqliteLog(path, read_only=True)) as log,
        closing(checked_tail(log, START, COUNT, ahead_from=COUNT + 1)) as records,
    ):
        assert next(records).sequence == 1
        assert children() == before


def test_what_lies_in_the_working_folder_is_not_imported(path, tmp_path, monkeypatch):
    (tmp_path / "msgspec.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert len(list(read_ahead(Tail(str(path), START, COUNT)))) == COUNT


def test_a_path_that_is_no_text_is_read_without_a_second_process(path):
    odd = path.with_name(os.fsdecode(b"house-\xff.journal"))
    path.rename(odd)
    with closing(SqliteLog(odd, read_only=True)) as log:
        assert len(list(checked_tail(log, START, COUNT, ahead_from=1))) == COUNT


def test_frames_that_are_none_end_the_second_process_s_part(path, monkeypatch):
    monkeypatch.setattr("marginkeep.journal.reading_ahead._frames", msgspec.msgpack.Decoder(list[int]))
    with closing(SqliteLog(path, read_only=True)) as log:
        assert len(list(checked_tail(log, START, COUNT, ahead_from=1))) == COUNT


def test_a_server_s_address_holds_everything_that_was_said():
    url = "postgresql://ann:p%20w%26+d@db.example:6543/book?schema=red&application_name=a%20b+c&sslmode=require"
    pytest.importorskip("psycopg")
    from psycopg.conninfo import conninfo_to_dict

    log = open_log(url)
    again = open_log(log.address)
    assert again.place == log.place
    assert log.address.endswith("schema=red")
    assert conninfo_to_dict(log.address.rsplit("&", 1)[0]) == {
        "user": "ann",
        "password": "p w&+d",
        "host": "db.example",
        "port": "6543",
        "dbname": "book",
        "application_name": "a b+c",
        "sslmode": "require",
    }
    assert "p w" not in log.place
