"""The same verifier over a journal in PostgreSQL."""

from __future__ import annotations

import pytest

from marginkeep.journal.opening import open_log
from marginkeep_verify import verify_journal
from tests.verify.journals import SIGNER, fill

pytestmark = pytest.mark.without_shadows("the house is only there to fill a journal")


@pytest.fixture
def place(postgres_server, postgres_home):
    fill(postgres_home(), 600, snapshots=(200, 400))
    return (
        f"postgresql://postgres@127.0.0.1:{postgres_server.port}/postgres"
        f"?sslmode=disable&gssencmode=disable&schema={postgres_home.schema}"
    )


def test_a_journal_in_postgresql_passes_the_same_checks_and_a_change_is_found(
    place, postgres_server, postgres_home, journal
):
    report, twin = verify_journal(place, SIGNER.vkey), verify_journal(journal, SIGNER.vkey)
    assert report.ok, report.as_text()
    assert report.hash == twin.hash
    assert report.checks == twin.checks
    assert "postgres@" not in report.place
    log = open_log(place, read_only=True)
    assert log.head().sequence == 601
    log.close()
    postgres_server.execute(f"UPDATE {postgres_home.schema}.records SET actor = 'mallory' WHERE sequence = 77")
    assert [(one.check, one.sequence) for one in verify_journal(place, SIGNER.vkey).findings] == [("records", 77)]


def test_a_lost_index_of_keys_is_found(place, postgres_server, postgres_home):
    postgres_server.execute(f"DROP INDEX {postgres_home.schema}.records_by_key")
    report = verify_journal(place, SIGNER.vkey, most=1)
    assert (report.checks["keys"].passed, report.checks["keys"].failed, report.found) == (0, 600, 600)


def test_a_key_that_two_records_have_is_found(place, postgres_server, postgres_home):
    schema = postgres_home.schema
    postgres_server.execute(f"DROP INDEX {schema}.records_by_key")
    postgres_server.execute(f"CREATE INDEX records_by_key ON {schema}.records (actor, key) WHERE key <> ''")
    postgres_server.execute(f"UPDATE {schema}.records SET key = 'key-70' WHERE sequence = 77")
    checks = [(one.check, one.sequence) for one in verify_journal(place, SIGNER.vkey).findings]
    assert ("records", 77) in checks
    assert sum(check == "keys" for check, _ in checks) == 1


def test_the_place_in_the_report_has_no_password(place):
    assert "secret" not in verify_journal(f"{place}&password=secret@1").place
