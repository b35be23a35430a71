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
    assert {name: one.passed for name, one in report.checks.items() if name != "records"} == {
        name: one.passed for name, one in twin.checks.items() if name != "records"
    }
    assert "postgres@" not in report.place
    log = open_log(place, read_only=True)
    assert log.head().sequence == 601
    log.close()
    postgres_server.execute(f"UPDATE {postgres_home.schema}.records SET actor = 'mallory' WHERE sequence = 77")
    assert [(one.check, one.sequence) for one in verify_journal(place, SIGNER.vkey).findings] == [("records", 77)]
