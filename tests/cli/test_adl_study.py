import json
import shlex
import sys

import pytest
from click.testing import CliRunner

from marginkeep.cli import command


def invoke(*words):
    result = CliRunner().invoke(command, ["lab", "adl-study", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_study_needs_no_file_and_writes_page_and_record(tmp_path):
    report = tmp_path / "out" / "page.html"
    text = invoke("--accounts", 2_000, "--report", report)
    assert "49.41 M over" in text
    assert "portfolio-aware" in text
    assert "equal to the unit" in " ".join(text.split())
    assert f"report: {report}" in text
    assert "<!DOCTYPE html>" in report.read_text()
    record = json.loads((report.parent / "study.json").read_text())
    assert len(record["policies"]) == 5
    assert record["identity"]["holds"]
    assert record["inputs"]["waves"] == "built-in"


def test_json_prints_the_record_and_its_command_gives_it_again(tmp_path):
    report = tmp_path / "page.html"
    record = json.loads(invoke("--accounts", 2_500, "--seed", 3, "--json", "--report", report))
    assert record == json.loads((tmp_path / "study.json").read_text())
    program, lab, study, *again = shlex.split(record["reproduce"])
    assert (program, lab, study) == ("marginkeep", "lab", "adl-study")
    assert json.loads(invoke(*again, "--json")) == record


def test_the_file_of_the_waves_gives_the_built_in_figures(tmp_path, shared):
    path = shared / "data" / "open" / "liquidations" / "adl_waves_hyperliquid_2025-10-10.parquet"
    if not path.is_file():
        pytest.skip(f"no waves at {path}")
    words = ("--accounts", 2_000, "--json", "--report", tmp_path / "page.html")
    given, built_in = (json.loads(invoke(*extra, *words)) for extra in (("--waves", path), ()))
    assert given["policies"] == built_in["policies"]
    assert given["inputs"]["waves"]["file"] == path.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--waves", "nowhere.parquet"), "nowhere.parquet cannot be read"),
        (("--accounts", "10"), "--accounts is 10: give 2000 to"),
        (("--seed", "-1"), "--seed is -1"),
        (("--report", "study.json"), "study.json is another file of the study"),
        (("--report", "run.json"), "another file of the run"),
        (("--report", "."), "is a folder"),
    ],
)
def test_wrong_use_is_one_line_that_teaches_and_writes_nothing(tmp_path, monkeypatch, capsys, words, message):
    from marginkeep.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["marginkeep", "lab", "adl-study", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == 2
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    from marginkeep.cli import main

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        sys, "argv", ["marginkeep", "lab", "adl-study", "--report", str(tmp_path / "file" / "page.html")]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "cannot be written" in capsys.readouterr().err
