"""One changed byte anywhere in what a journal keeps of its records is found, wherever it is."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from marginkeep_verify import verify_journal
from tests.verify.journals import SIGNER

SAMPLES = 120
TABLES = {
    "records": "sequence epoch schema kind recorded_ns causation actor key correlation personal key_digest previous "
    "hash body events",
    "tiles": "level number hashes",
    "checkpoints": "size note",
    "personal": "sequence salt payload",
    "genesis": "name rules created_ns opening",
    "head": "sequence hash",  # a writer that took the journal and wrote nothing has raised the epoch
    "snapshots": "sequence record_hash state_hash rules size",
    "snapshot_parts": "part",
}
NUMBERED = {"records": "sequence", "checkpoints": "size", "personal": "sequence", "snapshots": "sequence"}
"""Where a column is the row's number."""

INTEGER_BYTES = 8


class Copy:
    """A copy of a journal whose cells are changed one byte at a time and changed back."""

    def __init__(self, journal, folder):
        self.path = folder / "copy.journal"
        shutil.copy(journal, self.path)
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.text_factory = bytes

    def rows(self, table):
        return [row for (row,) in self.db.execute(f"SELECT rowid FROM {table}")]

    def cell(self, table, column, row):
        """Return a cell as bytes, and what it is cast to."""
        statement = f"SELECT {column}, typeof({column}) FROM {table} WHERE rowid = ?"
        value, kind = self.db.execute(statement, (row,)).fetchone()
        kind = kind.decode()
        raw = value.to_bytes(INTEGER_BYTES, "big", signed=True) if kind == "integer" else value or b""
        return raw, kind

    def write(self, table, column, row, raw, kind):
        value = int.from_bytes(raw, "big", signed=True) if kind == "integer" else raw
        cast = "CAST(? AS TEXT)" if kind == "text" else "?"
        # As somebody with an editor for the file would: no constraint stops it.
        self.db.execute("PRAGMA ignore_check_constraints = ON")
        self.db.execute(f"UPDATE {table} SET {column} = {cast} WHERE rowid = {row}", (value,))

    def finds(self, table, column, row, at, bit):
        """Flip a bit, verify, flip it back; return whether something was found."""
        raw, kind = self.cell(table, column, row)
        changed = bytearray(raw)
        changed[at] ^= 1 << bit
        try:
            self.write(table, column, row, bytes(changed), kind)
        except sqlite3.IntegrityError:
            return True  # another row has that number: no such file can be
        place = int.from_bytes(changed, "big", signed=True) if NUMBERED.get(table) == column else row
        report = verify_journal(self.path, SIGNER.vkey)
        self.write(table, column, place, raw, kind)
        return not report.ok and report.findings


@pytest.fixture
def copy_of(tmp_path):
    copies = []

    def make(journal):
        copies.append(Copy(journal, tmp_path))
        return copies[-1]

    yield make
    for one in copies:
        with closing(one.db):
            assert verify_journal(one.path, SIGNER.vkey).ok, "a change was not taken back"


@pytest.mark.parametrize("column", TABLES["records"].split())
def test_every_byte_of_one_record_counts(short_journal, copy_of, column):
    copy, row = copy_of(short_journal), 6
    raw, _ = copy.cell("records", column, row)
    assert raw or column in ("correlation", "key")
    missed = [at for at in range(len(raw)) if not copy.finds("records", column, row, at, at % 8)]
    assert not missed, f"changes of {column} at bytes {missed} were not found"


def test_every_byte_of_a_checkpoint_counts(short_journal, copy_of):
    copy = copy_of(short_journal)
    (row,) = copy.rows("checkpoints")
    raw, _ = copy.cell("checkpoints", "note", row)
    missed = [at for at in range(len(raw)) if not copy.finds("checkpoints", "note", row, at, at % 7)]
    assert not missed, f"changes at bytes {missed} of {raw} were not found"


@pytest.mark.parametrize("table", TABLES)
def test_a_changed_byte_anywhere_is_found(journal, copy_of, table):
    copy, chance = copy_of(journal), random.Random(f"mutations of {table}")
    samples = SAMPLES if table == "records" else SAMPLES // 6
    for _ in range(samples):
        column = chance.choice(TABLES[table].split())
        row = chance.choice(copy.rows(table))
        raw, _ = copy.cell(table, column, row)
        if raw:
            at, bit = chance.randrange(len(raw)), chance.randrange(8)
            assert copy.finds(table, column, row, at, bit), f"{table} {row} {column}: bit {bit} of byte {at}"
