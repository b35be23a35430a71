import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from marginkeep.cli import command

ROOT = Path(__file__).resolve().parents[2]
ALICE = str(ROOT / "examples" / "alice.toml")
ACCOUNT_FIELDS = {
    *("id", "equity", "collateral", "initial_margin", "maintenance_margin", "health", "health_initial"),
    *("health_factor", "margin_ratio", "leverage", "status", "positions", "why"),
}
POSITION_FIELDS = {
    *("market", "size", "notional", "mark", "unrealized_pnl", "initial_margin", "maintenance_margin"),
    *("liquidation_price", "bankruptcy_price"),
}


def run(*words: str) -> subprocess.CompletedProcess:
    """Run the real command as a user would."""
    return subprocess.run([sys.executable, "-m", "marginkeep", *words], capture_output=True, text=True, timeout=300)


def invoke(*words: str) -> str:
    """Run a command in process, which is faster; it must succeed."""
    result = CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_health_prints_json_with_the_stated_fields():
    account = json.loads(invoke("health", ALICE, "--json"))["accounts"][0]
    assert account.keys() >= ACCOUNT_FIELDS
    assert account["positions"][0].keys() >= POSITION_FIELDS
    assert (account["id"], account["equity"], account["status"]) == ("alice", "12000", "healthy")
    assert account["positions"][0]["size"] == "-1.5"


def test_health_prints_a_table_and_says_why():
    text = invoke("health", ALICE)
    for words in ("alice", "healthy", "BTC-PERP", "12,000.00", "57260.73", "Why alice is healthy", "open orders"):
        assert words in text


def test_a_what_if_price_moves_the_numbers():
    account = json.loads(invoke("health", ALICE, "--json", "--price", "BTC-PERP=57500"))["accounts"][0]
    assert account["status"] == "liquidatable"
    both = json.loads(invoke("health", ALICE, "--json", "-p", "BTC-PERP=57500", "-p", "BTC=57500"))["accounts"][0]
    assert float(both["equity"]) == float(account["equity"]) + 750


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("health", "nowhere.toml"), "cannot be read"),
        (("health", ALICE, "--price", "BTC-PERK=1"), "did you mean 'BTC-PERP'"),
        (("health", ALICE, "--price", "BTC-PERP=-1"), "must be above 0"),
        (("health", ALICE, "--price", "BTC-PERP=nan"), "finite decimal"),
        (("health", ALICE, "--price", "BTC-PERP"), "write NAME=PRICE"),
        (("health", ALICE, "--account", "bob"), "not in the case"),
        (("health", ALICE, "--nonsense"), "No such option"),
        (("replay",), "Missing option"),
        (("replay", "--prices", "nowhere.csv"), "nowhere.csv"),
        (("replay", "--prices", "x.csv", "--fail-if", "luck>1"), "is not a figure"),
        (("demo", "--archetype", "meteor"), "meteor"),
        (("demo", "--accounts", "0"), "give 1 to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_is_one_line_that_teaches_and_exit_code_2(words, message):
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_health_of_a_small_case_imports_no_compiler():
    code = (
        f"import sys; sys.argv = ['marginkeep', 'health', {ALICE!r}]\n"
        "from marginkeep.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = [name for name in ('numba', 'pyarrow', 'plotly') if name in sys.modules]\n"
        "print('heavy:', heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("heavy: []")


def test_a_large_case_shows_the_accounts_nearest_to_liquidation(tmp_path):
    accounts = [
        {
            "id": f"user{number}",
            "balances": {"USD": str(1_500 + number)},
            "positions": [{"market": "BTC-PERP", "size": "1", "entry": "50000"}],
        }
        for number in range(1_500)
    ]
    case = {
        "assets": {"USD": {}},
        "markets": {
            "BTC-PERP": {
                "settle": "USD",
                "tiers": [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}],
            }
        },
        "prices": {"BTC-PERP": "49500"},
        "accounts": accounts[::-1],
    }
    path = tmp_path / "case.json"
    path.write_text(json.dumps(case))
    text = invoke("health", str(path))
    assert "The 20 accounts nearest to liquidation of 1,500" in text
    assert text.index("user0 ") < text.index("user1 ") < text.index("user19 ")
    assert "user20 " not in text


def test_rules_diff_names_what_changed(tmp_path):
    before, after = tmp_path / "a.toml", tmp_path / "b.toml"
    text = (
        '[assets.USD]\n[markets.BTC-PERP]\nsettle = "USD"\nlot = "0.001"\ntick = "0.1"\nmax_price = "1000000"\n'
        'tiers = [ { floor = "0", initial = "0.02", maintenance = "0.01" } ]\n'
    )
    before.write_text(text)
    after.write_text(text.replace('"0.01"', '"0.012"').replace("0.02", "0.03"))
    changes = json.loads(invoke("rules", "diff", str(before), str(after), "--json"))["changes"]
    found = {change["path"]: (change["before"], change["after"]) for change in changes}
    assert found["markets.BTC-PERP.tiers[0].maintenance"] == ("0.01", "0.012")
    assert found["markets.BTC-PERP.tiers[0].initial"] == ("0.02", "0.03")
    assert "no parameter differs" in invoke("rules", "diff", str(before), str(before))
    assert "good" in invoke("rules", "check", str(before))


def test_rules_check_cautions_where_a_liquidation_costs_more_than_it_releases(tmp_path):
    costly = tmp_path / "costly.toml"
    costly.write_text(
        '[liquidation]\nslippage = "0.01"\npenalty = "0.01"\n[assets.USD]\n[markets.M]\nsettle = "USD"\nlot = "1"\n'
        'tick = "0.1"\ntiers = [ { floor = "0", initial = "0.02", maintenance = "0.01" } ]\n'
    )
    assert "caution: markets.M: a liquidation costs 0.02" in invoke("rules", "check", str(costly))
    assert len(json.loads(invoke("rules", "check", str(costly), "--json"))["cautions"]) == 1


def test_the_demo_runs_and_leaves_a_report_and_a_run_file(tmp_path):
    text = invoke("demo", "--accounts", "1500", "--out", str(tmp_path))
    assert "accounts were liquidated" in text
    run_file = json.loads((tmp_path / "run.json").read_text())
    assert run_file["complete"]
    assert run_file["inputs"]["seed"] == 7
    assert len(run_file["state_sha256"]) == 64
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_a_replay_of_a_csv_file_with_a_failed_bar_exits_with_1(tmp_path):
    prices = tmp_path / "BTCUSDT-1m-2030-01-15.csv"
    rows = ["open_time,open,high,low,close,volume"]
    for minute in range(60):
        price = 50_000 - 150 * minute
        rows.append(f"{1894665600000 + 60000 * minute},{price},{price + 5},{price - 5},{price},1")
    prices.write_text("\n".join(rows) + "\n")
    report = tmp_path / "out" / "report.html"
    words = ("replay", "--prices", str(prices), "--accounts", "200", "--report", str(report), "--json")
    good = run(*words)
    assert good.returncode == 0, good.stderr
    result = json.loads(good.stdout)
    assert result["result"]["liquidated_accounts"] > 0
    assert json.loads((report.parent / "run.json").read_text()) == result
    failed = run(*words, "--fail-if", "liquidated_accounts>0")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["state_sha256"] == result["state_sha256"]
    again = run(
        "replay",
        "--prices",
        str(prices),
        "--accounts",
        "200",
        "--report",
        str(report),
        "--json",
        "--rules",
        str(report.parent / "rules.toml"),
    )
    assert json.loads(again.stdout)["state_sha256"] == result["state_sha256"]


def test_a_replay_of_ones_own_accounts(tmp_path):
    prices = tmp_path / "BTCUSDT-1m-2030-01-15.csv"
    rows = [
        f"{1894665600000 + 60000 * m},{50000 + 300 * m},{50000 + 300 * m},{50000 + 300 * m},{50000 + 300 * m},1"
        for m in range(40)
    ]
    prices.write_text("open_time,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    report = tmp_path / "report.html"
    book = tmp_path / "mine.toml"
    book.write_text(Path(ALICE).read_text().replace("[assets.BTC]", '[assets.BTC]\ntick = "0.01"'))
    done = run("replay", "--prices", str(prices), "--book", str(book), "--report", str(report), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["result"]["liquidated_accounts"] == 1
    assert "alice" in report.read_text()
