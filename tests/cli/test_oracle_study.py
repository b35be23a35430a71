import json
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from marginkeep.cli import command

FIRST_MS = 1_894_665_600_000
MINUTE_MS = 60_000
FALL = (50_000, 49_900, 48_500, 46_000, 43_000, 43_100, 40_000, 40_100, 38_000, 38_500)


def prices_file(folder):
    lines = ["open_time,open,high,low,close,volume"]
    for minute in range(40):
        price = FALL[minute // 4] + 10 * (minute % 4)
        lines.append(f"{FIRST_MS + MINUTE_MS * minute},{price},{price},{price},{price},1")
    path = folder / "BTCUSDT-1m-2030-01-15.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def invoke(*words):
    result = CliRunner().invoke(command, ["oracle", "study", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "marginkeep", "oracle", "study", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
    )


pytestmark = pytest.mark.without_shadows("the replays are those of test_replay")


def test_a_study_of_a_price_file_prints_a_row_a_policy_and_writes_page_record_and_rules(tmp_path):
    report = tmp_path / "out" / "page.html"
    text = invoke(prices_file(tmp_path), "--accounts", 60, "--report", report)
    assert "13 policies" in text
    assert "every tick" in text
    assert "2 % or 1d" in text
    assert f"report: {report}" in text
    assert "<!DOCTYPE html>" in report.read_text()
    assert "[markets.BTC-PERP]" in (report.parent / "rules.toml").read_text()
    record = json.loads((report.parent / "study.json").read_text())
    assert record["complete"]
    assert len(record["policies"]) == record["planned"] == 13
    assert record["policies"][0]["liquidated"] > 0


def test_json_prints_the_record_and_its_command_gives_it_again(tmp_path):
    words = ("--accounts", 60, "--deviations", "0,0.06", "--heartbeats", "0, 5m,5m", "--update-cost", "0.25")
    report = tmp_path / "page.html"
    printed = invoke(prices_file(tmp_path), *words, "--harm", "late", "--json", "--report", report)
    record = json.loads(printed)
    assert record == json.loads((tmp_path / "study.json").read_text())
    policies = record["policies"]
    assert [policy["policy"] for policy in policies] == [
        *("every tick", "0 % or 0", "0 % or 5m", "6 % or 0", "6 % or 5m"),
    ]
    differs = ("policy", "deviation", "heartbeat")
    first, same = ({name: value for name, value in policy.items() if name not in differs} for policy in policies[:2])
    assert first == same
    assert policies[4]["updates"] < policies[2]["updates"] == policies[0]["updates"] == 80
    assert policies[0]["cost"] == "20"
    assert policies[4]["late"]["accounts"] > 0
    assert record["harm"]["unit"] == "minutes"
    program, oracle, study, *again = shlex.split(record["reproduce"])
    assert (program, oracle, study) == ("marginkeep", "oracle", "study")
    assert json.loads(invoke(*again, "--json")) == record


def test_without_prices_a_made_up_crash_is_studied(tmp_path):
    words = ("--accounts", 40, "--deviations", "0.02", "--heartbeats", "1h", "--report", tmp_path / "page.html")
    record = json.loads(invoke(*words, "--start", "2030-01-15T04:00", "--end", "2030-01-15T04:30", "--json"))
    assert record["inputs"]["prices"] == {"archetype": "flash_cascade"}
    assert record["ticks"] == 30
    assert record["policies"][1]["updates"] < record["policies"][0]["updates"] == 30 * record["feeds"]


def test_four_ticks_a_bar_follow_from_the_path(tmp_path):
    words = ("--accounts", 40, "--deviations", "0.02", "--heartbeats", "1h", "--report", tmp_path / "page.html")
    record = json.loads(invoke(prices_file(tmp_path), *words, "--path", "ohlc", "--json"))
    assert record["ticks"] == 160
    assert "--path ohlc" in record["reproduce"]


def test_bad_rows_are_refused_or_dropped_as_asked(tmp_path):
    prices = prices_file(tmp_path)
    prices.write_text(prices.read_text().replace("46000,46000,46000,46000", "46000,46000,nan,46000"))
    words = (prices, "--accounts", 20, "--deviations", "0.02", "--heartbeats", "1h", "--report", tmp_path / "r.html")
    refused = run(*words)
    assert refused.returncode == 2
    assert "--drop-bad-rows" in refused.stderr
    record = json.loads(invoke(*words, "--drop-bad-rows", "--json"))
    assert record["ticks"] == 39
    assert record["reproduce"].endswith("--drop-bad-rows")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.csv",), "nowhere.csv"),
        (("--deviations", "1.5"), "--deviations has 1.5: give shares from 0 to 1"),
        (("--deviations", "-0.1"), "--deviations has -0.1"),
        (("--deviations", "0.01,,0.02"), "give a finite decimal number"),
        (("--deviations", "1%"), "give a finite decimal number"),
        (("--heartbeats", "1 hour"), "--heartbeats has '1 hour': write a number and a unit"),
        (("--heartbeats", ""), "--heartbeats has ''"),
        (("--update-cost", "0"), "give an amount above 0 of USD"),
        (("--update-cost", "-1"), "give an amount above 0 of USD"),
        (("--update-cost", "free"), "decimal"),
        (("--accounts", "0"), "give 1 to"),
        (("--harm", "feelings"), "feelings"),
        (("--symbols", "BTC/USDT"), "--symbols chooses from a price file"),
        (("--start", "2031-01-01"), "no bar from"),
        (("--deviations", ",".join(f"0.{n:04d}" for n in range(201))), "make 603 policies: give at most 400"),
        (("--report", "study.json"), "study.json is another file of the study"),
        (("--report", "run.json"), "another file of the run"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_wrong_use_is_one_line_that_teaches_and_writes_nothing(tmp_path, monkeypatch, capsys, words, message):
    from marginkeep.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["marginkeep", "oracle", "study", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == 2
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_before_the_replays(tmp_path):
    (tmp_path / "study.json").mkdir()
    done = run("--accounts", 20, "--report", tmp_path / "page.html")
    assert done.returncode == 2
    assert f"{tmp_path / 'study.json'} cannot be written" in done.stderr


@pytest.mark.parametrize(("after", "finished"), [(150, 1), (20, 0)])
def test_ctrl_c_keeps_the_policies_that_were_finished_and_says_so(tmp_path, after, finished):
    # 40 ticks a policy and two commands a tick: the interrupt falls into the second policy, or into the first.
    code = (
        "import signal\n"
        "from marginkeep.clearing import Clearinghouse, SetPrices\n"
        "from marginkeep.cli import command\n"
        "plain, seen = Clearinghouse.apply, []\n"
        "def interrupted(house, order):\n"
        "    seen.append(order)\n"
        f"    if len(seen) == {after}:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return plain(house, order)\n"
        "Clearinghouse.apply = interrupted\n"
        f"words = ['oracle', 'study', {str(prices_file(tmp_path))!r}, '--accounts', '50']\n"
        f"command.main([*words, '--report', {str(tmp_path / 'page.html')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert f"interrupted after {finished} of 13 policies" in done.stderr
    assert f"Interrupted: {finished} of 13 policies were finished" in done.stdout
    record = json.loads((tmp_path / "study.json").read_text())
    assert not record["complete"]
    assert len(record["policies"]) == finished
    assert f"Interrupted: {finished} of 13" in (tmp_path / "page.html").read_text()
