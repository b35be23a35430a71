import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from marginkeep.book.case import read_case
from marginkeep.book.health import measure
from marginkeep.book.valuation import Valuation
from marginkeep.clearing import check_conservation, state_hash
from marginkeep.clearing.state import INSURANCE_FUND
from marginkeep.cli.session import generated_house
from marginkeep.errors import InputError
from marginkeep.lab.bars import check_expressions, judge_bars
from marginkeep.lab.candles import filled, read_candles
from marginkeep.lab.example_rules import example_rulebook
from marginkeep.lab.opening import open_case, price_path, set_opening_prices
from marginkeep.lab.outcome import FIGURES, conclude
from marginkeep.lab.population import generate_population
from marginkeep.lab.replay import Replay, fund_value, open_interest, top_up_fund
from marginkeep.lab.result import ReplayResult
from marginkeep.rulebook import INITIAL, MAINTENANCE, build_tables

MINUTES = 240
REAL_FILES = [
    "open/ohlcv/2021-05_crash_1m.parquet",
    "open/ohlcv/2020-03_crash_5m.parquet",
    "open/ohlcv/2024-08_crash_5m.parquet",
]


def crash_path(kind="close", minutes=MINUTES):
    from marginkeep.cli.demo import made_up_candles

    candles = made_up_candles(7, "flash_cascade")
    rulebook = example_rulebook(dict(zip(candles.symbols, candles.high.max(axis=0).tolist(), strict=True)))
    worst = int(candles.close[:, 0].argmin())
    first = max(0, worst - minutes // 2)
    path = price_path(candles, rulebook, kind)
    rows = slice(first, first + minutes) if kind == "close" else slice(4 * first, 4 * (first + minutes))
    cut = type(path)(
        *(path.times_ns[rows], path.markets, path.assets, path.mark_ticks[rows], path.asset_ticks[rows]),
        *(path.unused, path.rounded),
    )
    return rulebook, cut


def replayed(accounts=300, seed=3, kind="close", fund=10**10) -> Replay:
    rulebook, path = crash_path(kind)
    house = generated_house(rulebook, path, accounts, seed)
    top_up_fund(house, fund)
    replay = Replay(house, path)
    replay.run()
    return replay


def concluded(replay: Replay, *expressions: str) -> ReplayResult:
    return conclude(
        replay,
        title="test",
        fund_start=10**10,
        expressions=expressions,
        assumptions=(),
        repairs=(),
        reproduce="marginkeep demo",
        inputs={},
    )


def test_a_generated_book_starts_solvent_balanced_and_with_the_stated_accounts():
    rulebook, path = crash_path()
    valuation = Valuation(build_tables(rulebook))
    set_opening_prices(valuation, path)
    population = generate_population(valuation, 2_000, seed=5)
    assert len(population.names) == population.book.count == 2_002
    healths = [measure(population.book.read(i), valuation, INITIAL).health for i in range(2, 2_002)]
    assert min(healths) >= 0
    house = generated_house(rulebook, path, 2_000, 5)
    check_conservation(house)


def test_a_generated_book_looks_like_a_book():
    rulebook, path = crash_path()
    valuation = Valuation(build_tables(rulebook))
    set_opening_prices(valuation, path)
    book = generate_population(valuation, 5_000, seed=5).book
    sizes = book.position_rows()[len(valuation.marks) :, 1]
    assert 0.55 < np.mean(sizes > 0) < 0.65
    counts = book.accounts[2:, 3]
    assert (counts.min(), counts.max()) == (1, 6)
    assert 0.12 < np.mean(book.accounts[2:, 6] == 2) < 0.21


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first, again, other = replayed(), replayed(), replayed(seed=4)
    assert state_hash(first.house) == state_hash(again.house) != state_hash(other.house)
    assert first.liquidations == again.liquidations


def test_after_a_replay_nobody_is_below_maintenance_and_the_books_balance():
    replay = replayed()
    state = replay.house.state
    assert replay.liquidations > 0
    for index in range(state.book.count):
        assert measure(state.book.read(index), state.valuation, MAINTENANCE).health >= 0
    check_conservation(replay.house)


def test_the_summary_adds_up():
    replay = replayed()
    summary = concluded(replay).summary
    assert summary["liquidated_accounts"] == len(replay.stories) <= summary["liquidations"]
    assert summary["fund_end"] == fund_value(replay.house, INSURANCE_FUND)
    income = summary["fund_end"] - summary["fund_start"] + summary["fund_used"]
    assert 0 < income <= summary["penalty"]
    assert summary["penalty"] == sum(story.penalty for story in replay.stories.values())
    assert summary["ticks"] == MINUTES


def test_every_worst_account_is_explained_with_prices_steps_and_rulebook():
    result = concluded(replayed())
    assert 0 < len(result.worst) <= 20
    for account in result.worst:
        text = " ".join(account.explanation)
        assert "below the maintenance requirement" in text
        assert "slippage" in text
        assert result.run["rulebook"]["sha256"][:16] in text


def test_intrabar_extremes_liquidate_more_than_closes():
    assert len(replayed(kind="ohlc").stories) >= len(replayed().stories)


def test_an_interrupted_replay_is_a_valid_partial_result():
    rulebook, path = crash_path()
    house = generated_house(rulebook, path, 100, 3)
    replay = Replay(house, path)

    def interrupt(done):
        if done == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay.run(interrupt)
    result = concluded(replay)
    assert not result.complete
    assert len(result.timeline.times_ns) == result.summary["ticks"] == 50
    check_conservation(house)


def test_bars_compare_in_whole_units_of_the_reporting_asset():
    summary = {"bad_debt": 1_500_000, "liquidated_accounts": 7}
    amounts = frozenset({"bad_debt"})
    bars = judge_bars(("bad_debt>1.4", "bad_debt>1.5", "liquidated_accounts>=7"), summary, amounts, 6)
    assert [(bar.failed, bar.value) for bar in bars] == [(True, "1.5"), (False, "1.5"), (True, "7")]


@pytest.mark.parametrize(
    ("expression", "words"),
    [("bad debt > 0", "write a name"), ("bad_dept>0", "use one of"), ("bad_debt>lots", "decimal")],
)
def test_a_malformed_bar_is_refused_before_the_run(expression, words):
    with pytest.raises(InputError, match=words):
        check_expressions((expression,), FIGURES)


def test_a_case_is_replayed_against_an_external_counterparty():
    case = read_case(
        {
            "assets": {"USD": {}},
            "markets": {
                "BTC-PERP": {
                    "settle": "USD",
                    "lot": "0.001",
                    "tick": "0.1",
                    "tiers": [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}],
                }
            },
            "prices": {"BTC-PERP": "100000"},
            "accounts": [
                {
                    "id": "ann",
                    "balances": {"USD": "3000"},
                    "positions": [{"market": "BTC-PERP", "size": "0.5", "entry": "100000"}],
                }
            ],
        }
    )
    house = open_case(case, case.rulebook)
    check_conservation(house)
    assert open_interest(house) == 0
    _, path = crash_path()
    with pytest.raises(InputError, match="no prices for BTC-PERP"):
        price_path(_only(path), case.rulebook, "close", ["BTC-PERP"])


def _only(path):
    from marginkeep.cli.demo import made_up_candles
    from marginkeep.lab.candles import Candles

    candles = made_up_candles(7, "flash_cascade")
    return Candles(
        symbols=candles.symbols[1:2],
        times_ns=candles.times_ns,
        **{name: getattr(candles, name)[:, 1:2] for name in ("open", "high", "low", "close", "volume")},
        step_ns=candles.step_ns,
        symbol_steps_ns=candles.symbol_steps_ns[1:2],
        repairs=(),
        counts={},
    )


@pytest.mark.without_shadows("the same engine on thousands of ticks; the shadows run on shorter replays")
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_crashes_replay_end_to_end(shared, name):
    candles = filled(read_candles(shared / "data" / name))
    rulebook = example_rulebook(dict(zip(candles.symbols, candles.high.max(axis=0).tolist(), strict=True)))
    path = price_path(candles, rulebook, "close", tuple(rulebook.markets))
    assert len(path.markets) == len(rulebook.markets) >= 3
    house = generated_house(rulebook, path, 200, 1)
    replay = Replay(house, path)
    replay.run()
    check_conservation(house)
    assert replay.done == len(path.times_ns)
    assert replay.liquidations > 0


def test_ctrl_c_leaves_a_valid_partial_report(tmp_path):
    folder = tmp_path / "report"
    command = [sys.executable, "-m", "marginkeep", "demo", "--accounts", "60000", "--out", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while process.poll() is None and not folder.exists():
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    run = json.loads((folder / "run.json").read_text())
    assert (process.returncode, run["complete"]) == (130, False)
    assert b"interrupted after" in errors
    page = (folder / "report.html").read_text()
    assert "Interrupted" in page
    assert page.rstrip().endswith("</html>")
