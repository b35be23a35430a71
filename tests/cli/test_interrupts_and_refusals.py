"""What the command line does when it is stopped, or given a place, a time or an amount that cannot be used."""

import json
import os
import signal
import subprocess
import sys

import pytest

FIRST_MS = 1_894_665_600_000
MINUTE_MS = 60_000


def run(*words, cwd=None):
    command = [sys.executable, "-m", "marginkeep", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


def prices_file(folder, rows=30, bad_row=None, symbol="BTCUSDT"):
    lines = ["open_time,open,high,low,close,volume"]
    for minute in range(rows):
        price = 50_000 - 10 * minute
        low = "nan" if minute == bad_row else price
        lines.append(f"{FIRST_MS + MINUTE_MS * minute},{price},{price},{low},{price},1")
    path = folder / f"{symbol}-1m-2030-01-15.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def refused(*words):
    done = run(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_ctrl_c_before_anything_has_run_exits_with_130():
    code = (
        "import signal\n"
        "from marginkeep.cli import command, main\n"
        "@command.command()\n"
        "def pause():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "pause"], capture_output=True, text=True)
    assert done.returncode == 130
    assert "Aborted" not in done.stderr
    assert "Traceback" not in done.stderr


def test_help_exits_with_0_and_no_words_show_the_help():
    assert run("--help").returncode == 0
    assert run("--version").returncode == 0
    bare = run()
    assert "Usage: marginkeep" in bare.stdout + bare.stderr
    assert bare.returncode == 2


def test_ctrl_c_inside_a_tick_lets_the_tick_finish_and_the_old_handler_returns(tmp_path):
    code = (
        "import json, os, signal, sys\n"
        "from marginkeep.clearing import Clearinghouse, SetPrices\n"
        "from marginkeep.cli import command\n"
        "plain = Clearinghouse.apply\n"
        "def interrupted(house, order):\n"
        "    if isinstance(order, SetPrices) and house.state.sequence > 40:\n"
        "        signal.raise_signal(signal.SIGINT)\n"  # before the tick is applied: it must be applied all the same
        "    return plain(house, order)\n"
        "Clearinghouse.apply = interrupted\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "try:\n"
        f"    command.main(['demo', '--accounts', '50', '--out', {str(tmp_path)!r}])\n"
        "except SystemExit as stopped:\n"
        "    print(stopped.code, signal.getsignal(signal.SIGINT) is before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("130 True"), done.stderr
    found = json.loads((tmp_path / "run.json").read_text())
    assert not found["complete"]
    assert 0 < found["result"]["ticks"] < 100
    assert f"interrupted after {found['result']['ticks']} ticks" in done.stderr
    assert done.stdout.count("Interrupted") == 1


def test_a_fund_beyond_64_bits_is_refused_with_the_reason(tmp_path):
    report = tmp_path / "report.html"
    message = refused(
        *("replay", "--prices", prices_file(tmp_path), "--accounts", 20, "--report", report),
        *("--fund", "10000000000000"),
    )
    assert "the insurance fund cannot start with 10000000000000 USD" in message
    assert "beyond the bound" in message
    assert not report.exists()


def test_a_folder_as_the_report_is_refused_before_the_prices_are_read(tmp_path):
    message = refused("replay", "--prices", "nowhere.csv", "--report", tmp_path)
    assert "is a folder: name a file in it" in message


def test_a_report_that_would_overwrite_another_file_of_the_run_is_refused(tmp_path):
    message = refused("replay", "--prices", "nowhere.csv", "--report", tmp_path / "run.json")
    assert "another file of the run" in message


@pytest.mark.parametrize("blocked", ["file_in_the_way", "run_json_is_a_folder"])
def test_a_place_that_cannot_be_written_is_refused_before_the_run(tmp_path, blocked):
    folder = tmp_path / "out"
    if blocked == "file_in_the_way":
        folder.write_text("")
    else:
        (folder / "run.json").mkdir(parents=True)
    message = refused(
        *("replay", "--prices", prices_file(tmp_path), "--accounts", 20, "--report", folder / "report.html")
    )
    assert "cannot be written" in message or "cannot be made" in message
    assert str(folder) in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_the_run(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    prices = prices_file(tmp_path)
    message = refused("replay", "--prices", prices, "--accounts", 20, "--report", folder / "report.html")
    assert "cannot be written" in message


@pytest.mark.parametrize(
    ("start", "ticks"),
    [
        ("2030-01-15T00:20:00Z", 10),
        ("2030-01-15T00:20", 10),
        ("2030-01-15T02:20:00+02:00", 10),
        ("2030-01-15 00:20:00", 10),
        ("2030-01-15", 30),
    ],
)
def test_a_time_may_be_written_in_each_usual_way_and_is_recorded_in_utc(tmp_path, start, ticks):
    words = ("replay", "--prices", prices_file(tmp_path), "--accounts", 20, "--report", tmp_path / "r.html", "--json")
    done = run(*words, "--start", start)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["result"]["ticks"] == ticks
    assert f"--start 2030-01-15T00:{'20' if ticks == 10 else '00'}:00 " in found["command"]


def test_bad_rows_are_refused_with_the_option_that_drops_them(tmp_path):
    prices = prices_file(tmp_path, bad_row=3)
    words = ("replay", "--prices", prices, "--accounts", 20, "--report", tmp_path / "r.html", "--json")
    assert "--drop-bad-rows" in refused(*words)
    done = run(*words, "--drop-bad-rows")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["result"]["ticks"] == 29
    assert "--drop-bad-rows" in found["command"]


def test_symbols_may_have_blanks_after_the_comma(tmp_path):
    prices = tmp_path / "two.csv"
    rows = [
        f"{FIRST_MS + MINUTE_MS * minute},{symbol},{price},{price},{price},{price}"
        for symbol, price in (("BTC/USDT", 50_000), ("ETH/USDT", 3_000), ("XRP/USDT", 1))
        for minute in range(5)
    ]
    prices.write_text("ts,symbol,open,high,low,close\n" + "\n".join(rows) + "\n")
    report = tmp_path / "r.html"
    done = run("replay", "--prices", prices, "--accounts", 20, "--report", report, "--symbols", "BTC/USDT, ETH/USDT")
    assert done.returncode == 0, done.stderr
    rules = (tmp_path / "rules.toml").read_text()
    assert "[markets.ETH-PERP]" in rules
    assert "XRP" not in rules


def test_the_recorded_command_of_a_demo_can_be_pasted_even_with_blanks_in_the_folder(tmp_path):
    folder = tmp_path / "my reports"
    done = run("demo", "--accounts", 20, "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert f"--out '{folder}'" in json.loads(done.stdout)["command"]


def test_an_interrupt_is_the_flag_of_the_main_thread_only():
    import threading

    from marginkeep.cli.session import interrupts

    answers = []

    def elsewhere():
        with interrupts() as stopped:
            answers.append(stopped())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert answers == [False]
    with interrupts() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
