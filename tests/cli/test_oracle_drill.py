"""`marginkeep oracle drill` as a person calls it."""

import json
import os
import shlex
import signal
import subprocess
import sys

import pytest

from marginkeep.rulebook import load_rulebook

FIRST_MS = 1_894_665_600_000
MINUTE_MS = 60_000
SILENCE = "silence:bravo,charlie@+40m+10m"


def run(*words, cwd=None):
    command = [sys.executable, "-m", "marginkeep", "oracle", "drill", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)


def prices_file(folder, rows=90):
    """A fall of a fifth within an hour and a half."""
    lines = ["open_time,open,high,low,close,volume"]
    for minute in range(rows):
        price = 50_000 - 110 * minute
        lines.append(f"{FIRST_MS + MINUTE_MS * minute},{price},{price},{price},{price},1")
    path = folder / "BTCUSDT-1m-2030-01-15.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def prices(tmp_path):
    return prices_file(tmp_path)


def refused(*words):
    done = run(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_drill_writes_page_record_and_rules_and_prints_both_runs(prices, tmp_path):
    report = tmp_path / "out" / "report.html"
    done = run(prices, "--sources", 3, "--fault", SILENCE, "--accounts", 300, "--report", report)
    assert done.returncode == 0, done.stderr
    for words in ("fault: bravo, charlie silent", "Fault-free", "With faults", "Margin calls", f"report: {report}"):
        assert words in done.stdout
    record = json.loads((tmp_path / "out" / "drill.json").read_text())
    assert record["complete"] is True
    assert record["sources"] == ["alpha", "bravo", "charlie"]
    assert record["faults"][0]["fault"] == SILENCE
    assert record["differences"]["later"] > 0
    assert report.read_text().rstrip().endswith("</html>")
    assert load_rulebook(tmp_path / "out" / "rules.toml").oracle is not None
    assert "example oracle" in report.read_text()


def test_json_is_what_is_written(prices, tmp_path):
    report = tmp_path / "report.html"
    done = run(prices, "--fault", "freeze:alpha@+40m+10m", "--accounts", 100, "--report", report, "--json")
    assert json.loads(done.stdout) == json.loads((tmp_path / "drill.json").read_text())


def test_the_command_in_the_record_gives_the_same_again(prices, tmp_path):
    report = tmp_path / "report.html"
    first = run(prices, "--accounts", 200, "--noise", 5, "--report", report, "--json")
    words = shlex.split(json.loads(first.stdout)["reproduce"])
    assert words[:3] == ["marginkeep", "oracle", "drill"]
    assert words.count("--fault") == 3
    again = subprocess.run(
        [sys.executable, "-m", *words, "--json"], capture_output=True, text=True, timeout=300, check=True
    )
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_the_rules_written_are_rules_that_can_be_given(prices, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    fault = ("--fault", SILENCE, "--accounts", 200)
    first = run(prices, "--sources", 3, *fault, "--report", one / "report.html", "--json")
    second = run(prices, "--rules", one / "rules.toml", *fault, "--report", other / "report.html", "--json")
    assert second.returncode == 0, second.stderr
    figures = [json.loads(done.stdout)["faulted"] for done in (first, second)]
    assert figures[0] == figures[1]
    assert not (other / "rules.toml").exists()


def test_strict_fails_when_an_account_is_liquidated_only_with_the_faults(prices, tmp_path):
    lie = ("--fault", "scale:alpha,bravo,charlie,delta,echo*1.09@+5m+3m")
    words = (prices, "--accounts", 300, "--report", tmp_path / "report.html", *lie)
    assert run(*words).returncode == 0
    done = run(*words, "--strict")
    assert done.returncode == 1
    assert "liquidated only with the faults, at prices that no fault-free source had" in " ".join(done.stdout.split())
    calm = ("--fault", "freeze:alpha@+40m+10m", "--noise", 0, "--strict")
    assert run(prices, "--accounts", 300, "--report", tmp_path / "report.html", *calm).returncode == 0


def test_without_prices_a_made_up_crash_is_drilled(tmp_path):
    done = run("--accounts", 100, "--report", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fault: ") == 3
    assert "synthetic flash cascade" in done.stdout


def test_wrong_words_are_one_line_that_says_what_to_do(prices, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text("[assets.USD]\n")
    assert "no source 'zulu'" in refused(prices, "--fault", "freeze:zulu@+40m+10m")
    assert "begin with one of" in refused(prices, "--fault", "melt:alpha@+40m+10m")
    assert "there is no tick" in refused(prices, "--fault", "freeze:alpha@2021-05-19T12:50+10m")
    assert "exclude each other" in refused(prices, "--rules", rules, "--sources", 3)
    assert "has no [oracle] table" in refused(prices, "--rules", rules)
    assert "another file of the drill" in refused(prices, "--report", tmp_path / "drill.json")
    assert "1<=x<=16" in refused(prices, "--sources", 17)
    assert "give PRICES" in refused("--symbols", "BTC/USDT")


def test_ctrl_c_leaves_a_valid_partial_drill(tmp_path):
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "marginkeep", "oracle", "drill", "--accounts", "20000"]
    process = subprocess.Popen(
        [*command, "--report", str(folder / "report.html")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while process.poll() is None and not folder.exists():
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    record = json.loads((folder / "drill.json").read_text())
    assert (process.returncode, record["complete"]) == (130, False)
    assert b"interrupted after" in errors
    page = (folder / "report.html").read_text()
    assert "Interrupted" in page
    assert page.rstrip().endswith("</html>")
