import json
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from marginkeep.cli import command, main
from marginkeep.lab.ladder_study_rules import VARIANTS
from marginkeep.rulebook import load_rulebook

FIRST_MS = 1_894_665_600_000
MINUTE_MS = 60_000
FALL = (50_000, 49_900, 48_500, 46_000, 43_000, 43_100, 40_000, 40_100, 38_000, 38_500)
KEYS = [variant.key for variant in VARIANTS]

pytestmark = pytest.mark.without_shadows("long replays; the ladder's own tests have shadows")


def prices_file(folder):
    lines = ["open_time,open,high,low,close,volume"]
    for minute in range(40):
        price = FALL[minute // 4] + 10 * (minute % 4)
        lines.append(f"{FIRST_MS + MINUTE_MS * minute},{price},{price},{price},{price},1")
    path = folder / "BTCUSDT-1m-2030-01-15.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def invoke(*words, code=0):
    result = CliRunner().invoke(command, ["lab", "ladder", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_a_study_of_a_price_file_prints_a_column_a_rulebook_and_writes_page_record_and_rulebooks(tmp_path):
    report = tmp_path / "out" / "page.html"
    text = invoke(prices_file(tmp_path), "--accounts", 80, "--report", report)
    for variant in VARIANTS:
        assert variant.label in text
        assert load_rulebook(report.parent / f"{variant.key}.toml").name == variant.key
    assert f"report:    {report}" in text
    assert "<!DOCTYPE html>" in report.read_text()
    record = json.loads((report.parent / "study.json").read_text())
    assert record["complete"]
    assert [row["rulebook"] for row in record["rulebooks"]] == record["planned"] == KEYS
    assert all(row["accounts"]["liquidated"] > 0 for row in record["rulebooks"])


def test_json_prints_the_record_and_its_command_gives_it_again(tmp_path):
    words = ("--accounts", 60, "--fund", "5000", "--seed", 4, "--report", tmp_path / "page.html")
    printed = invoke(prices_file(tmp_path), *words, "--json")
    record = json.loads(printed)
    assert record == json.loads((tmp_path / "study.json").read_text())
    assert all(row["fund"]["start"] == "5000" for row in record["rulebooks"])
    program, lab, ladder, *again = shlex.split(record["reproduce"])
    assert (program, lab, ladder) == ("marginkeep", "lab", "ladder")
    assert json.loads(invoke(*again, "--json")) == record


def test_without_prices_a_made_up_crash_is_studied(tmp_path):
    words = ("--accounts", 40, "--report", tmp_path / "page.html")
    record = json.loads(invoke(*words, "--start", "2030-01-15T13:10", "--end", "2030-01-15T13:30", "--json"))
    assert record["inputs"]["prices"] == {"archetype": "flash_cascade"}
    assert record["ticks"] == 20


@pytest.mark.parametrize(("after", "finished"), [(90, 2), (10, 0)])
def test_ctrl_c_keeps_the_rulebooks_that_were_finished_and_says_so(tmp_path, after, finished):
    # 40 prices a rulebook: the interrupt falls into the third, or into the first.
    code = (
        "import signal\n"
        "from marginkeep.clearing import Clearinghouse, SetPrices\n"
        "from marginkeep.cli import command\n"
        "plain, seen = Clearinghouse.apply, []\n"
        "def interrupted(house, order):\n"
        "    seen.append(isinstance(order, SetPrices))\n"
        f"    if seen[-1] and sum(seen) == {after}:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return plain(house, order)\n"
        "Clearinghouse.apply = interrupted\n"
        f"words = ['lab', 'ladder', {str(prices_file(tmp_path))!r}, '--accounts', '40']\n"
        f"command.main([*words, '--report', {str(tmp_path / 'page.html')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert f"interrupted after {finished} of 4 rulebooks" in done.stderr
    assert f"Interrupted: {finished} of 4 rulebooks were finished" in done.stdout
    record = json.loads((tmp_path / "study.json").read_text())
    assert not record["complete"]
    assert [row["rulebook"] for row in record["rulebooks"]] == KEYS[:finished]
    assert f"{finished} of 4 rulebooks" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.csv",), "nowhere.csv"),
        (("--fund", "-1"), "--fund is -1: give 0 or more"),
        (("--fund", "much"), "decimal"),
        (("--accounts", "0"), "give 1 to"),
        (("--symbols", "BTC/USDT"), "--symbols chooses from a price file"),
        (("--start", "2031-01-01"), "no bar from"),
        (("--report", "study.json"), "study.json is another file of the study"),
        (("--report", "full_ladder.toml"), "full_ladder.toml is another file of the study"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_wrong_use_is_one_line_that_teaches_and_writes_nothing(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["marginkeep", "lab", "ladder", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == 2
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_crash_of_may_2021_is_resolved_under_every_rulebook(shared, tmp_path):
    prices = shared / "data" / "open" / "ohlcv" / "2021-05_crash_1m.parquet"
    times = ("--start", "2021-05-19T12:00", "--end", "2021-05-19T14:00", "--symbols", "BTC/USDT,ETH/USDT,LTC/USDT")
    words = (prices, *times, "--accounts", 200, "--fund", "5000", "--report", tmp_path / "page.html", "--json")
    rows = json.loads(invoke(*words))["rulebooks"]
    assert [row["rulebook"] for row in rows] == KEYS
    for row in rows:
        assert row["accounts"]["liquidated"] > 20
        assert row["accounts"]["unresolved"] == 0
        assert row["resolution"]["worst_seconds"] <= 600
        unpaid = row["unpaid"]
        assert float(unpaid["sum"]) > 0
        assert float(unpaid["fund_paid"]) > 0
        assert float(unpaid["deleveraged_profit"]) > 0
    assert rows[3]["accounts"]["called"] > 0
