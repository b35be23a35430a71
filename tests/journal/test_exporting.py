"""An export holds what the journal holds, also where its first records are gone, and ends where it began to be read."""

from __future__ import annotations

import pytest

from marginkeep.journal.checkpoint import Signer
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.exporting import export_journal, journal_lines
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep_verify import verify_journal
from tests.journal.houses import GENESIS, deposit, script, ticking

pytestmark = pytest.mark.without_shadows("the house is only there to fill a journal")

SIGNER = Signer(GENESIS.name, bytes(range(32)))


@pytest.fixture
def house(tmp_path):
    """A house of 700 records with a checkpoint after each hundred and snapshots at 200 and 600."""
    log = SqliteLog(tmp_path / "house.journal")
    log.create(GENESIS)
    house = DurableHouse.open(log, clock=ticking(), signer=SIGNER)
    requests = script(700)
    for start in range(0, len(requests), 100):
        house.submit(requests[start : start + 100])
        house.seal()
        if start in (100, 500):
            house.begin_snapshot().write(log)
    yield house
    house.close()


@pytest.mark.parametrize(("gone", "tiles"), [(0, 0), (256, 1), (300, 2), (512, 2)])
def test_an_export_of_a_trimmed_journal_is_sound_with_every_checkpoint(house, tmp_path, gone, tiles):
    if gone:
        house.log.delete_until(gone)
    target = tmp_path / "house.jsonl"
    assert export_journal(house.log, target) == 700 - gone
    report = verify_journal(target, SIGNER.vkey)
    assert report.ok, report.as_text()
    assert (report.first, report.last) == (gone + 1, 700)
    assert report.checks["signatures"].passed == 7
    assert (report.checks["roots"].passed, report.checks["roots"].unchecked) == (14, 0)
    assert report.checks["snapshots"].passed == 2
    assert sum(line["line"] == "tile" for line in journal_lines(house.log)) == tiles


def test_a_writer_that_goes_on_meanwhile_does_not_make_the_export_unsound(house):
    def read():
        for line in journal_lines(house.log):
            if line.get("sequence") == 350:
                house.submit([deposit("ann", key="late")])
                house.seal()
                house.begin_snapshot().write(house.log)
            yield line

    report = verify_journal(read(), SIGNER.vkey)
    assert report.ok, report.as_text()
    assert (report.last, house.durable.sequence) == (700, 701)
