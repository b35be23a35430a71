"""What a database finds by an idempotency key is the record that has it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from marginkeep.journal import sqlite_keys
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep_verify import verify_journal
from tests.verify.journals import SIGNER, built, changed

pytestmark = pytest.mark.without_shadows("the house is only there to fill a journal")

FORGERIES = {
    "an_entry_is_missing": ("DELETE FROM keys WHERE sequence = 40", [40]),
    "an_entry_leads_elsewhere": ("UPDATE keys SET sequence = 41 WHERE sequence = 40", [40, 0]),
    "an_entry_leads_nowhere": ("UPDATE keys SET sequence = 4000 WHERE sequence = 40", [40, 0]),
    "an_entry_is_of_no_record": ("INSERT INTO keys VALUES (x'00', 40)", [0]),
    "a_digest_is_missing": ("UPDATE records SET key_digest = NULL WHERE sequence = 120", [120, 120]),
    "a_digest_is_another": ("UPDATE records SET key_digest = x'00' WHERE sequence = 120", [120]),
    "the_end_is_too_late": ("UPDATE keys_end SET sequence = 52", [52]),
}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A journal of 121 records, the keys of which are in the table up to record 50, with some of later ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_keys, "GENERATION", 32)
        path = built(tmp_path_factory.mktemp("keys") / "house.journal", 120, snapshots=(50,))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT sequence FROM keys_end").fetchone() == (50,)
    return path


def test_every_key_of_a_sound_journal_leads_to_its_record(indexed):
    report = verify_journal(indexed, SIGNER.vkey)
    assert report.ok, report.as_text()
    assert (report.checks["keys"].passed, report.last) == (120, 121), "the note has no key"


def test_deleted_records_leave_no_entry_behind(indexed, tmp_path):
    path = tmp_path / "house.journal"
    shutil.copy(indexed, path)
    log = SqliteLog(path)
    log.acquire()
    assert log.delete_until(60) == 60
    log.close()
    check = verify_journal(path, SIGNER.vkey).checks["keys"]
    assert (check.passed, check.failed) == (61, 0)


@pytest.mark.parametrize("name", FORGERIES)
def test_an_index_that_leads_astray_is_found(indexed, tmp_path, name):
    statement, places = FORGERIES[name]
    report = verify_journal(changed(indexed, tmp_path / "j", statement), SIGNER.vkey)
    assert [(one.check, one.sequence) for one in report.findings] == [("keys", place) for place in places]
