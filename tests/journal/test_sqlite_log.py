"""What only the home in SQLite promises: one file, locks, refusal of other files, erasure down to the bytes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from marginkeep.errors import FencedOut, InputError, InvariantViolation, JournalCorrupt, JournalStalled
from marginkeep.journal import sqlite_file
from marginkeep.journal.command_log import Batch, Personal
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.records import GENESIS, begin, chain, extend, head_after

ROOT = Path(__file__).resolve().parent.parent.parent

HOLDER = """
import sys
from marginkeep.journal.sqlite_log import SqliteLog
log = SqliteLog(sys.argv[1])
print(log.acquire().epoch, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "house.journal"


@pytest.fixture
def log(path):
    log = SqliteLog(path)
    yield log
    log.close()


def hold(path):
    """Start another process that holds a journal."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert int(process.stdout.readline()) > 0
    return process


def stop(process):
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdin.close()
    process.stdout.close()


# The file ----------------------------------------------------------------------


def test_a_closed_journal_is_one_file(log, path):
    extend(log, begin(log), 10)
    assert log.size_bytes() > path.stat().st_size
    log.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["house.journal", "house.journal.lock"]


def test_a_journal_is_written_with_full_syncs_to_a_write_ahead_file(log, path):
    begin(log)
    writer = log._file._writing_connection()
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert writer.execute("PRAGMA page_size").fetchone() == (8192,)
    assert path.stat().st_mode & 0o077 == 0, "others may not read who trades what"


def test_other_files_are_refused_by_name_and_left_as_they_are(path):
    path.write_bytes(b"market,price\n" * 100)
    with pytest.raises(InputError, match=r"house\.journal is not an SQLite file"):
        SqliteLog(path)
    assert path.read_bytes() == b"market,price\n" * 100
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    with pytest.raises(InputError, match="another programme's SQLite file"):
        SqliteLog(path)


def test_a_journal_of_a_later_format_is_refused(log, path):
    begin(log)
    log.close()
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 2")
    later.close()
    with pytest.raises(InputError, match="format 2, this version writes 1"):
        SqliteLog(path)


def test_an_empty_file_becomes_a_journal(path):
    path.touch()
    log = SqliteLog(path)
    assert log.genesis() is None
    extend(log, begin(log), 1)
    log.close()


def test_a_journal_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be made"):
        SqliteLog(tmp_path / "none" / "house.journal").create(GENESIS)
    with pytest.raises(InputError, match="does not exist"):
        SqliteLog(tmp_path / "none.journal", read_only=True)


def test_a_journal_opened_for_reading_only_is_not_changed(log, path):
    extend(log, begin(log), 5)
    log.close()
    before = path.read_bytes()
    reader = SqliteLog(path, read_only=True)
    assert len(list(reader.read())) == 5
    with pytest.raises(InvariantViolation, match="reading only"):
        reader.acquire()
    with pytest.raises(InputError, match="already"):
        reader.create(GENESIS)
    reader.close()
    assert path.read_bytes() == before


def test_a_reader_sees_what_a_living_writer_adds(log, path):
    head = extend(log, begin(log), 5)
    reader = SqliteLog(path, read_only=True)
    assert len(list(reader.read())) == 5
    extend(log, head, 5)
    assert len(list(reader.read())) == 10
    reader.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user to lose the right to write")
def test_a_journal_in_a_folder_that_may_not_be_written_is_read(log, path):
    extend(log, begin(log), 5)
    log.close()
    words = "from marginkeep.journal.sqlite_file import SqliteFile; from pathlib import Path; import os\n"
    words += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    words += f"print(SqliteFile(Path({str(path)!r}), read_only=True).query('SELECT count(*) FROM records'))"
    path.chmod(0o444)
    for folder in [path.parent, *path.parent.parents][:-2]:
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest", "popen", "test_")):
            folder.chmod(0o755)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, env=env)
    assert done.stdout == "[(5,)]\n", done.stderr
    assert sorted(file.name for file in path.parent.iterdir()) == ["house.journal", "house.journal.lock"]


def test_a_journal_that_was_closed_is_not_used_again(log):
    head = begin(log)
    log.close()
    log.close()
    with pytest.raises(InvariantViolation, match="closed"):
        log.head()
    with pytest.raises(FencedOut):
        extend(log, head, 1)


# One writer ----------------------------------------------------------------------


def test_a_living_process_is_named_to_whoever_wants_its_journal(log, path):
    log.create(GENESIS)
    holder = hold(path)
    with pytest.raises(FencedOut, match=f"locked by process {holder.pid}"):
        log.acquire()
    stop(holder)
    assert log.acquire().epoch == 2


def test_who_takes_over_holds_the_lock_in_place_of_the_one_still_alive(log, path):
    log.create(GENESIS)
    holder = hold(path)
    head = log.acquire(take_over=True)
    third = SqliteLog(path)
    with pytest.raises(FencedOut, match=f"locked by process {os.getpid()}"):
        third.acquire()
    stop(holder)
    with pytest.raises(FencedOut):
        third.acquire()
    extend(log, head, 1)
    third.close()


def test_a_stale_writer_is_refused_without_any_lock(log, path, monkeypatch):
    head = begin(log)
    second = SqliteLog(path)
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    assert second.acquire().epoch == head.epoch + 1, "as on a file system whose locks do nothing"
    with pytest.raises(FencedOut):
        extend(log, head, 1)
    second.close()


def test_a_lock_file_in_a_folder_that_cannot_be_written_stops_the_writer(log, path):
    begin(log)
    log.close()
    path.with_name("house.journal.lock").unlink()
    path.with_name("house.journal.lock").mkdir()
    second = SqliteLog(path)
    with pytest.raises(JournalStalled, match="lock cannot be taken"):
        second.acquire()
    second.close()


# Trouble ----------------------------------------------------------------------


def test_a_file_held_by_another_program_stops_the_writer_and_says_so(log, path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0)
    head = begin(log)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalStalled, match="another process has held the file"):
        extend(log, head, 1)
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(JournalStalled):
        extend(log, head, 1)
    assert list(log.read()) == [], "a stalled journal stays so until it is opened anew"
    log.close()
    again = SqliteLog(path)
    extend(again, again.acquire(), 1)
    again.close()


def test_a_full_disk_stops_the_writer_and_says_so(log, path):
    head = extend(log, begin(log), 1)
    log._file._writing_connection().execute("PRAGMA max_page_count = 40")
    with pytest.raises(JournalStalled, match="make room"):
        extend(log, head, 4_000)
    log.close()
    again = SqliteLog(path)
    assert again.acquire().sequence == 1
    again.close()


def test_an_erased_payload_is_in_no_byte_of_any_file(log, path):
    head = begin(log)
    records = chain(head, 3)
    secret = b"Ann Example, 1 Example Street"
    log.append(Batch(before=head, records=records, personal=[Personal(2, b"salt", secret * 9)]))
    extend(log, head_after(head, records), 3)
    files = [path, path.with_name("house.journal-wal")]
    assert secret in b"".join(file.read_bytes() for file in files)
    log.erase_personal([2])
    assert secret not in b"".join(file.read_bytes() for file in files)


def test_a_reader_in_the_way_of_an_erasure_is_named(log, path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0)
    head = begin(log)
    records = chain(head, 1)
    log.append(Batch(before=head, records=records, personal=[Personal(1, b"salt", b"payload")]))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM records").fetchall()
    with pytest.raises(JournalStalled, match="end that reader"):
        log.erase_personal([1])
    reader.close()
    assert log.erase_personal([1]) == 0


def test_damage_to_a_page_is_said_to_be_damage(log, path):
    head = begin(log)
    extend(log, head, 2_000)
    log.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 8192 * 8192)
        file.write(b"\xff" * 8192)
    damaged, whole = SqliteLog(path), []
    with pytest.raises(JournalCorrupt, match=r"record \d+ cannot be read") as caught:
        whole.extend(iter(damaged.read()))
    assert f"record {whole[-1].sequence + 1} cannot be read" in str(caught.value)
    assert 0 < len(whole) < 2_000, "what is before the damage was read"
    damaged.close()


def test_a_damaged_head_page_is_refused_by_the_next_writer(log, path):
    extend(log, begin(log), 10)
    log.close()
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 8192):
            file.seek(page * 8192)
            file.write(b"\xff" * 8192)
    damaged = SqliteLog(path)
    with pytest.raises(JournalCorrupt, match="damaged"):
        damaged.acquire()
    damaged.close()
