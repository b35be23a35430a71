"""The verifier finds what is wrong, names where, goes on after it, and says what it could not look at."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from marginkeep.journal.memory_log import MemoryLog
from marginkeep_verify import verify_journal
from marginkeep_verify.__main__ import main
from marginkeep_verify.export_form import encode_lines
from tests.journal.houses import GENESIS, new_store
from tests.verify.journals import ANOTHER, SIGNER, built, changed
from tests.verify.lines import lines_of

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "marginkeep_verify"


def found(report):
    return [(one.check, one.sequence) for one in report.findings]


def test_a_sound_journal_passes_every_check(journal):
    report = verify_journal(journal, SIGNER.vkey)
    assert report.ok, report.as_text()
    assert (report.first, report.last) == (1, 601)
    assert {name for name, check in report.checks.items() if not check.passed} == set()
    assert not report.remarks


def test_without_a_key_signatures_are_unchecked_and_never_passed(journal):
    report = verify_journal(journal)
    assert report.ok
    signatures = report.checks["signatures"]
    assert (signatures.passed, signatures.unchecked) == (0, 13)
    assert "no key was given: signatures are not checked" in report.as_text()


def test_checkpoints_of_another_key_are_found(journal):
    report = verify_journal(journal, ANOTHER.vkey)
    assert report.checks["signatures"].failed == 13
    assert report.checks["roots"].failed == 0


def test_a_missing_record_is_named_and_the_rest_is_still_checked(journal, tmp_path):
    report = verify_journal(changed(journal, tmp_path / "j", "DELETE FROM records WHERE sequence = 300"), SIGNER.vkey)
    assert ("sequence", 301) in found(report)
    assert report.checks["records"].passed == 600
    failed = [one.sequence for one in report.findings if one.check == "roots"]
    assert failed == [300], "the link of the next record says which leaf is missing"


def test_a_missing_first_record_is_no_compaction(journal, tmp_path):
    report = verify_journal(changed(journal, tmp_path / "j", "DELETE FROM records WHERE sequence = 1"))
    assert found(report) == [("sequence", 2)]


def test_missing_records_that_a_tile_remembers_do_not_stop_the_tree(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "DELETE FROM records WHERE sequence BETWEEN 301 AND 310")
    report = verify_journal(path, SIGNER.vkey)
    assert ("sequence", 311) in found(report)
    assert (report.checks["roots"].failed, report.checks["roots"].unchecked) == (0, 0)


def test_swapped_records_are_found(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "UPDATE records SET sequence = -1 WHERE sequence = 30")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE records SET sequence = 30 WHERE sequence = 31")
        db.execute("UPDATE records SET sequence = 31 WHERE sequence = -1")
        db.commit()
    assert {("records", 30), ("records", 31), ("links", 30)} <= set(found(verify_journal(path)))


def test_a_cut_end_is_found_by_head_and_checkpoint(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "DELETE FROM records WHERE sequence > 590")
    assert {("head", 590), ("roots", 601)} <= set(found(verify_journal(path, SIGNER.vkey)))


def test_a_rewritten_tail_does_not_fit_the_checkpoint(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "UPDATE checkpoints SET size = 599 WHERE size = 600")
    assert ("roots", 599) in found(verify_journal(path, SIGNER.vkey))


def test_a_missing_tile_is_found(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "DELETE FROM tiles WHERE number = 1")
    assert found(verify_journal(path)) == [("tiles", 512)]


def test_an_erased_payload_is_no_finding_and_a_foreign_one_is(journal, tmp_path):
    assert verify_journal(changed(journal, tmp_path / "a", "DELETE FROM personal WHERE sequence = 104")).ok
    path = changed(journal, tmp_path / "b", "INSERT INTO personal VALUES (50, ?, ?)", b"salt", b"payload")
    assert found(verify_journal(path)) == [("personal", 50)]


def test_a_compacted_journal_says_what_is_left_to_check(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "DELETE FROM records WHERE sequence <= 256")
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM personal WHERE sequence <= 256")
        db.execute("UPDATE head SET first = 257")
        db.commit()
    report = verify_journal(path, SIGNER.vkey)
    assert report.ok, report.as_text()
    assert (report.first, report.checks["roots"].failed, report.checks["roots"].unchecked) == (257, 0, 0)
    assert report.checks["signatures"].passed == 13
    assert report.checks["genesis"].unchecked == 1
    assert any("records before 257 are compacted away" in remark for remark in report.remarks)
    assert report.checks["trades"].unchecked > 1
    without = changed(path, tmp_path / "k", "DELETE FROM snapshots")
    assert ("sequence", 257) in found(verify_journal(without))
    other = changed(path, tmp_path / "l", "DELETE FROM records WHERE sequence = 257")
    assert not verify_journal(changed(other, tmp_path / "m", "DELETE FROM snapshots WHERE sequence > 256")).ok


def test_a_compacted_journal_without_its_tiles_checks_less_and_says_so(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "DELETE FROM records WHERE sequence <= 256")
    path = changed(path, tmp_path / "k", "DELETE FROM tiles")
    report = verify_journal(path, SIGNER.vkey)
    assert report.checks["roots"].unchecked > 0
    assert any("leaves before record 257 are missing" in remark for remark in report.remarks)


def test_findings_are_listed_up_to_a_bound_and_all_counted(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "UPDATE records SET actor = 'mallory'")
    report = verify_journal(path, most=3)
    assert (len(report.findings), report.found >= 601) == (3, True)
    assert "more findings" in report.as_text()


def test_a_file_that_is_no_journal_is_a_finding_and_no_traceback(tmp_path):
    path = tmp_path / "noise.journal"
    path.write_bytes(b"no database at all" * 1000)
    report = verify_journal(path)
    assert not report.ok
    assert "nothing can be read after record 0" in report.findings[0].text


def test_a_torn_file_is_read_as_far_as_it_goes(journal, tmp_path):
    raw = journal.read_bytes()
    path = tmp_path / "torn.journal"
    path.write_bytes(raw[: len(raw) * 2 // 3])
    assert not verify_journal(path).ok


def test_an_empty_journal_is_sound(tmp_path):
    report = verify_journal(built(tmp_path / "j", 0))
    assert not [one for one in report.findings if one.check != "genesis"]


def test_an_interruption_leaves_a_report_that_says_so(journal):
    def interrupt(sequence):
        raise KeyboardInterrupt

    report = verify_journal(journal, progress=interrupt)
    assert report.interrupted
    assert not report.ok
    assert "stopped before the end" in report.as_text()


@pytest.mark.parametrize("name", ["house.jsonl", "house.jsonl.gz"])
def test_an_export_is_verified_as_the_journal_is(journal, tmp_path, name):
    path = tmp_path / name
    text = b"".join(encode_lines([line for line in lines_of(journal) if line["line"] != "tile"]))
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    report, whole = verify_journal(path, SIGNER.vkey), verify_journal(journal, SIGNER.vkey)
    assert report.ok, report.as_text()
    assert report.hash == whole.hash
    assert report.checks["tiles"].unchecked == 2
    assert (report.checks["keys"].passed, whole.checks["keys"].passed) == (0, 600), "an export has no index"
    for name in ("tiles", "keys", "snapshots"):
        del report.checks[name], whole.checks[name]
    assert report.checks == whole.checks


def test_a_damaged_line_of_an_export_is_named(journal, tmp_path):
    lines = list(encode_lines([line for line in lines_of(journal) if line["line"] != "tile"]))
    lines[100] = lines[100][: len(lines[100]) // 2] + b"\n"
    path = tmp_path / "house.jsonl"
    path.write_bytes(b"".join(lines))
    assert "line 101 cannot be read" in verify_journal(path).findings[0].text
    compressed = gzip.compress(b"".join(lines))
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(compressed[: len(compressed) // 2])
    assert not verify_journal(path).ok


def test_the_genesis_is_that_of_the_records(journal, tmp_path):
    path = changed(journal, tmp_path / "j", "UPDATE genesis SET rules = rules || ' '")
    assert ("genesis", 1) in found(verify_journal(path))
    assert MemoryLog(new_store()).genesis() == GENESIS


def test_the_command_tells_its_result_by_its_exit_code(journal, tmp_path, capsys):
    key = tmp_path / "house.vkey"
    key.write_text(SIGNER.vkey + "\n")
    assert main([str(journal), "--key", str(key)]) == 0
    assert "sound; last hash" in capsys.readouterr().out
    bad = changed(journal, tmp_path / "j", "UPDATE records SET actor = 'mallory' WHERE sequence = 9")
    assert main([str(bad), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], result["findings"][0]["sequence"]) == (False, 9)
    assert main([str(tmp_path / "nothing")]) == 2
    assert main([str(journal), "--key", "no+sense"]) == 2


def test_it_runs_where_the_engine_cannot_be_imported(journal):
    code = (
        "import sys; sys.modules['marginkeep'] = None\n"
        f"from marginkeep_verify.__main__ import main; sys.exit(main([{str(journal)!r}]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_it_shares_no_code_with_the_engine():
    for path in SOURCE.glob("*.py"):
        assert not re.search(r"(import|from) marginkeep\b(?!_)", path.read_text()), path.name
