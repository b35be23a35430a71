"""Drills: the same house quoted well and with faults, and who fares otherwise, when and why."""

import json
import re
from io import StringIO

import numpy as np
import pytest
from tests.drills import MINUTE, at, concluded, drill, drilled, made_up

from marginkeep.clearing import state_hash
from marginkeep.cli.session import generated_house
from marginkeep.errors import InputError
from marginkeep.lab.candles import filled, read_candles, window
from marginkeep.lab.drill import DrilledRun
from marginkeep.lab.drill_figures import shown_market
from marginkeep.lab.drill_page import render_drill_page
from marginkeep.lab.drill_result import drill_record, write_drill
from marginkeep.lab.drill_summary import figure_rows, finding, notice, state_of, write_drill_tables
from marginkeep.lab.opening import price_path
from marginkeep.lab.quote_paths import make_quotes
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

REAL = "data/open/ohlcv/2021-05_crash_1m.parquet"
SYMBOLS = ["BTC/USDT", "ETH/USDT", "DOGE/USDT", "LINK/USDT"]
ONE_SOURCE = ("freeze:alpha", "scale:bravo*10", "zero:alpha", "swap:alpha:BTC<->ETH", "ahead:alpha+30s")
HEAVY = "two replays of the same engine are compared here; the shadows run on a shorter drill"


def real_crash(shared):
    candles = read_candles(shared / REAL, symbols=SYMBOLS)
    return filled(window(candles, at("2021-05-19T12:00"), at("2021-05-19T14:00")))


def explained(running, result):
    """Check that the differences are those of the two runs, no more and no fewer, and that each is explained."""
    healthy, faulted = (
        {name: one.tick for name, one in run.closed.items()} for run in (running.healthy, running.faulted)
    )
    apart = {name for name in healthy.keys() | faulted.keys() if healthy.get(name) != faulted.get(name)}
    assert {one.account for one in result.differences} == apart
    assert len(result.differences) == len(apart)
    assert {one.account for one in result.of_fate("only with")} == faulted.keys() - healthy.keys()
    times = running.healthy.path.times_ns
    for one in result.differences:
        when = one.faulted_ns if one.fate in ("only with", "earlier") else one.healthy_ns
        assert when in times
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: (with the faults|fault-free), its collateral", one.why[0])
        assert any(re.search(r"of \d sources used", sentence) for sentence in one.why)
        assert any(re.search(r"at work|no fault", sentence) for sentence in one.why)
        assert re.search(r"-PERP [\d.]+ \w", one.acted_on)
        assert one.short


def test_without_an_effective_fault_both_houses_end_the_same():
    running, result = drilled(made_up(), "scale:alpha*1@+30m+10m")
    assert state_hash(running.healthy.house) == state_hash(running.faulted.house)
    assert result.differences == ()
    assert result.healthy == result.faulted
    assert result.healthy["liquidated_accounts"] > 20
    assert (state_of(result), notice(result)) == ("good", None)
    assert "No account was liquidated that would not have been" in finding(result)


@pytest.mark.without_shadows(HEAVY)
@pytest.mark.parametrize("who", ONE_SOURCE)
def test_one_bad_source_of_three_that_agree_changes_nobodys_fate(who):
    _, result = drilled(made_up(), f"{who}@+50m+20m", noise=0)
    assert result.differences == ()
    assert result.healthy["notional"] == result.faulted["notional"]


@pytest.mark.without_shadows(HEAVY)
def test_with_two_of_three_silent_liquidation_waits_and_the_report_says_so():
    running, result = drilled(made_up(), "silence:bravo,charlie@+50m+10m")
    explained(running, result)
    assert len(result.of_fate("later")) > 5
    for one in result.of_fate("later"):
        if one.healthy_ns < result.faults[0].end_ns <= one.faulted_ns and one.short.startswith("waits"):
            assert "too_few_sources" in one.short
    assert max(one.late_ns for one in result.of_fate("later")) >= 5 * MINUTE
    assert state_of(result) != "good"
    assert result.change_counts["quality", "too_few_sources"][1] > 0
    assert "liquidated later" in finding(result)


@pytest.mark.without_shadows(HEAVY)
def test_a_source_that_prints_ten_times_the_price_is_quarantined():
    running, result = drilled(made_up(), "scale:bravo*10@+30m+10m")
    assert result.change_counts["source", "quarantined"] == (0, len(running.healthy.oracle.rules.feeds))
    assert result.faulted["quarantines"] > result.healthy["quarantines"] == 0


@pytest.mark.without_shadows(HEAVY)
def test_bad_quotes_are_counted_by_reason():
    running, result = drilled(made_up(), "zero:bravo@+30m+10m", "ahead:alpha+30s@+30m+5m")
    feeds = len(running.healthy.oracle.rules.feeds)
    assert result.ignored == {"bad_price": (0, 10 * feeds), "from_the_future": (0, 5 * feeds)}
    assert result.faulted["quotes_ignored"] == 15 * feeds


@pytest.mark.without_shadows(HEAVY)
def test_when_all_sources_are_silent_time_goes_on_and_nothing_is_liquidated():
    running, result = drilled(made_up(), "silence:alpha,bravo,charlie@+50m+10m")
    times = running.healthy.path.times_ns
    down = (times >= result.faults[0].start_ns) & (times < result.faults[0].end_ns)
    assert {one.tick for one in running.faulted.closed.values()}.isdisjoint(np.flatnonzero(down).tolist())
    assert (running.faulted.prices[down] == running.faulted.prices[down][0]).all()
    assert running.faulted.house.state.now_ns >= int(times[-1])
    explained(running, result)


@pytest.mark.without_shadows(HEAVY)
def test_accounts_liquidated_only_because_all_sources_lie_are_named_with_the_price_and_the_reason():
    running, result = drilled(made_up(), "scale:alpha,bravo,charlie*1.08@+10m+3m")
    explained(running, result)
    extra = result.of_fate("only with")
    assert extra
    assert state_of(result) == "bad"
    for one in extra:
        assert one.in_spread is False
        assert one.healthy_ns is None
        assert "to spare" in one.short
        assert any("bp higher with the faults" in sentence for sentence in one.why)
        assert any("alpha, bravo, charlie x1.08" in sentence for sentence in one.why)
        assert any("fault-free, it then had" in sentence for sentence in one.why)
    assert f"{len(extra)} accounts were liquidated only with the faults, at prices" in finding(result)


@pytest.mark.without_shadows(HEAVY)
def test_sums_are_those_of_the_events():
    running, result = drilled(made_up(), "silence:bravo,charlie@+50m+10m")
    for run, figures in ((running.healthy, result.healthy), (running.faulted, result.faulted)):
        assert figures["liquidations"] == sum(one.times for one in run.closed.values())
        assert figures["liquidated_accounts"] == len(run.closed)
        assert figures["quotes_taken"] == run.taken
    missing = result.healthy["quotes_taken"] - result.faulted["quotes_taken"]
    assert missing == 10 * 2 * len(running.healthy.oracle.rules.feeds)
    rows = {name: cells for name, *cells in figure_rows(result)}
    assert rows["Quotes taken"][2] == f"{-missing:,}"


@pytest.mark.without_shadows(HEAVY)
def test_an_interrupted_drill_compares_what_was_done():
    running, faults = drill(made_up(), "silence:bravo,charlie@+50m+10m")
    asked = []
    running.run(stopped=lambda: asked.append(1) or len(asked) > 40)
    result = concluded(running, faults)
    assert (result.done, result.complete) == (40, False)
    assert len(result.times_ns) == len(result.healthy_prices) == 40
    assert notice(result) == "Interrupted after 40 of 90 ticks: only these are compared."
    assert "Interrupted" in render_drill_page(result)
    assert drill_record(result)["complete"] is False


def test_a_drill_interrupted_before_the_first_tick_is_still_a_report():
    running, faults = drill(made_up(), "silence:bravo,charlie@+50m+10m")
    running.run(stopped=lambda: True)
    result = concluded(running, faults)
    assert finding(result) == "No tick was replayed, so there is nothing to compare."
    assert "nothing to show" in render_drill_page(result)
    assert drill_record(result)["ticks"]["done"] == 0


@pytest.mark.without_shadows(HEAVY)
def test_the_record_and_the_page_hold_every_account_with_its_reasons(tmp_path):
    _, result = drilled(made_up(), "silence:bravo,charlie@+50m+10m")
    write_drill(result, tmp_path / "drill.json")
    record = json.loads((tmp_path / "drill.json").read_text())
    assert sum(record["differences"].values()) == len(record["accounts_with_a_difference"]) > 0
    page = render_drill_page(result)
    assert page.rstrip().endswith("</html>")
    for entry in record["accounts_with_a_difference"]:
        assert entry["account"] in page
        assert len(entry["why"]) >= 4
    assert record["not_valid_ticks"]["BTC-PERP"]["faulted"]["too_few_sources"] == 10
    assert "fault_free" not in record["not_valid_ticks"]["BTC-PERP"] or (
        "too_few_sources" not in record["not_valid_ticks"]["BTC-PERP"]["fault_free"]
    )


@pytest.mark.without_shadows(HEAVY)
def test_the_table_fits_a_terminal_of_80_columns():
    from rich.console import Console

    _, result = drilled(made_up(), "silence:bravo,charlie@+50m+10m")
    console = Console(width=80, record=True, file=StringIO())
    write_drill_tables(result, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "Fault-free" in text
    assert result.differences[0].account in text


@pytest.mark.without_shadows(HEAVY)
def test_the_picture_is_of_the_market_that_the_faults_moved_most():
    _, result = drilled(made_up(), "scale:alpha,bravo,charlie/ETH*0.9@+20m+3m")
    assert result.names[shown_market(result)] == "ETH-PERP"


def test_markets_that_the_oracle_does_not_price_follow_the_path():
    from tests.lab.test_quote_paths import RATIO

    second = (
        '[markets.ETH-PERP]\nsymbol = "ETH/USDT"\nsettle = "USD"\nlot = "0.01"\ntick = "0.01"\nmax_price = "100000"\n'
    )
    tiers = 'tiers = [{ floor = "0", initial = "0.02", maintenance = "0.01" }]\n[oracle]\n'
    rulebook = read_rulebook(parse_text(RATIO.replace("[oracle]\n", second + tiers), ".toml", "two"))

    path = price_path(made_up(30), rulebook, "close")
    run = DrilledRun(generated_house(rulebook, path, 30, 1), make_quotes(path, rulebook, 1), path)
    for tick in range(5):
        run.step(tick)
    index = run.house.state.tables.market_index["ETH-PERP"]
    assert run.house.state.valuation.marks[index] == int(path.mark_ticks[4, path.markets.index("ETH-PERP")])


@pytest.mark.without_shadows("the house is broken by hand; replicas are not")
def test_a_refused_batch_names_the_tick():
    running, _ = drill(made_up(), "zero:bravo@+30m+10m")
    running.faulted.house.state.oracle = None
    with pytest.raises(InputError, match="tick 1: the rulebook has no oracle"):
        running.run()


# The crash of May 2021 --------------------------------------------------------------------------------------------


@pytest.mark.without_shadows(HEAVY)
@pytest.mark.parametrize("sources", [3, 5])
@pytest.mark.parametrize("start", ["12:30", "12:45", "12:50", "13:00"])
@pytest.mark.parametrize("who", ["freeze:alpha", "scale:bravo*10"])
def test_one_bad_source_in_the_real_fall_liquidates_nobody_else(shared, who, start, sources):
    fault = f"{who}@2021-05-19T{start}+10m"
    _, result = drilled(real_crash(shared), fault, sources=sources, noise=0, accounts=2_000)
    assert result.healthy["liquidated_accounts"] > 500
    assert result.differences == ()
    assert result.healthy["notional"] == result.faulted["notional"]
    # Sources that disagree a little give one another weight: what then changes is between prices that some of them had.
    running, result = drilled(real_crash(shared), fault, sources=sources, noise=3, accounts=2_000)
    explained(running, result)
    assert len(result.differences) <= 5
    assert all(one.in_spread for one in result.of_fate("only with"))
    assert state_of(result) in ("good", "warning")


@pytest.mark.without_shadows(HEAVY)
@pytest.mark.parametrize("start", ["12:30", "12:45", "12:50", "13:00"])
def test_two_of_three_down_in_the_real_fall_delays_but_liquidates_nobody_else(shared, start):
    fault = f"silence:bravo,charlie@2021-05-19T{start}+10m"
    running, result = drilled(real_crash(shared), fault, accounts=2_000)
    explained(running, result)
    assert result.of_fate("only with") == ()
    assert len(result.of_fate("later")) > 20
    late = [one for one in result.of_fate("later") if one.short.startswith("waits")]
    assert all("too_few_sources" in one.short for one in late)
