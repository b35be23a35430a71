import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console

from marginkeep.clearing import check_conservation
from marginkeep.cli.demo import made_up_candles
from marginkeep.cli.session import generated_house
from marginkeep.lab.candles import window
from marginkeep.lab.ladder_study import LadderReplay, run_variants
from marginkeep.lab.ladder_study_figures import build_study_charts, fund_moves
from marginkeep.lab.ladder_study_page import render_study_page
from marginkeep.lab.ladder_study_result import StudyResult, study_record
from marginkeep.lab.ladder_study_rules import (
    FEWEST_LOTS,
    VARIANTS,
    base_rules_text,
    depths_of,
    variant_text,
    widened_tiers,
)
from marginkeep.lab.ladder_study_summary import finding, money, notice, write_study_table
from marginkeep.lab.opening import price_path
from marginkeep.lab.replay import open_interest, top_up_fund
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

SECOND = 10**9
MINUTE = 60 * SECOND
USD = 10**6
NO_PARTIAL, PARTIAL, SOFT, FULL = VARIANTS

pytestmark = pytest.mark.without_shadows("long replays; the ladder's own tests have shadows")


@pytest.fixture(scope="module")
def crash():
    """An hour and a half around the fall, with a small book."""
    return houses(made_up_candles(7, "flash_cascade"), "2030-01-15T12:45", "2030-01-15T14:15", accounts=150)


def houses(candles, start, end, accounts, fund_part=100):
    """Return the path and the four variants, each with what opens its house."""
    first, last = (int(np.datetime64(text, "ns").astype(np.int64)) for text in (start, end))
    candles = window(candles, first, last)
    text = base_rules_text(candles)
    base = rulebook_of(text)
    path = price_path(candles, base, "close", tuple(base.markets))
    house = generated_house(base, path, accounts, 3)
    fund = open_interest(house) // fund_part
    depths = depths_of(base, house.state.open_interest)

    def opener(variant):
        rulebook = rulebook_of(variant_text(text, variant, depths))

        def open_house():
            opened = generated_house(rulebook, path, accounts, 3)
            top_up_fund(opened, fund)
            return opened

        return open_house

    return path, tuple((variant, opener(variant)) for variant in VARIANTS)


def rulebook_of(text):
    return read_rulebook(parse_text(text, ".toml", "a test"))


@pytest.fixture(scope="module")
def runs(crash):
    path, variants = crash
    return run_variants(path, variants, 3)


def result_of(path, runs, planned=VARIANTS):
    return StudyResult(
        title="The <ladder>",
        runs=runs,
        planned=planned,
        reporting_asset="USD",
        reporting_decimals=6,
        accounts=150,
        markets=len(path.markets),
        times_ns=path.times_ns,
        open_interest=5_000_000 * USD,
        assumptions=("one thing",),
        repairs=(),
        reproduce="marginkeep lab ladder",
        inputs={"seed": 3},
    )


# The rulebooks -------------------------------------------------------------------------------------------------


def test_the_four_rulebooks_differ_in_the_ladder_and_in_what_closing_whole_takes():
    candles = made_up_candles(7, "flash_cascade")
    text = base_rules_text(candles)
    base = rulebook_of(text)
    depths = depths_of(base, [1_000] * len(base.markets))
    books = [rulebook_of(variant_text(text, variant, depths)) for variant in VARIANTS]
    for book in books[1:]:
        assert replace(book, name=base.name, ladder=None) == replace(base, ladder=None)
    whole, partial, soft, full = (book.ladder for book in books)
    assert books[0].assets == base.assets
    assert (whole.soft, whole.calls, whole.auctions) == (None, None, None)
    assert replace(partial, dust=whole.dust) == whole
    assert replace(soft, soft=None) == partial
    assert replace(full, calls=None, auctions=None) == soft
    assert full.calls is not None
    assert full.auctions is not None


def test_tiers_stay_ordered_and_no_milder_than_the_example():
    for rows in widened_tiers().values():
        rates = [[Fraction(rate) for rate in row[1:]] for row in rows]
        for initial, maintenance, call, target in rates:
            assert maintenance < call < target <= initial
        assert all(a <= b for lower, upper in pairwise(rates) for a, b in zip(lower, upper, strict=True))


def test_a_market_that_nobody_holds_has_a_depth_too():
    base = rulebook_of(base_rules_text(made_up_candles(7, "flash_cascade")))
    depths = depths_of(base, [0] * len(base.markets))
    assert all(depths[name] == FEWEST_LOTS * market.lot for name, market in base.markets.items())


# The study -----------------------------------------------------------------------------------------------------


def test_books_balance_under_every_rulebook(crash):
    path, variants = crash
    for _, open_house in variants:
        replay = LadderReplay(open_house(), path, 3)
        replay.run()
        check_conservation(replay.house)


def test_every_rulebook_sees_the_same_crash_and_the_ladder_alone_calls_and_auctions(runs):
    assert [run.variant for run in runs] == list(VARIANTS)
    assert len({run.fund_start for run in runs}) == 1
    assert [bool(run.called) for run in runs] == [False, False, False, True]
    assert [bool(run.auctioned) for run in runs] == [False, False, False, True]
    assert all(run.liquidated > 20 and run.notional > 0 for run in runs)
    assert runs[2].penalty < runs[1].penalty
    assert runs[0].notional > runs[1].notional
    assert len({run.rulebook_hash for run in runs}) == 4


def test_a_fund_moves_by_what_it_is_paid_and_pays(runs):
    for run in runs:
        assert run.fund_path[-1] < run.fund_start
        assert run.fund_start - run.fund_paid <= run.fund_path[-1]
        assert run.unpaid == run.fund_paid + run.deleveraged + run.socialised + run.bad_debt


def test_an_interrupted_study_keeps_what_was_finished(crash):
    path, variants = crash
    seen = []
    ticks = len(path.times_ns)
    left = run_variants(path, variants, 3, seen.append, lambda: len(seen) >= ticks + 5)
    assert [run.variant for run in left] == [NO_PARTIAL]
    result = result_of(path, left)
    assert not result.complete
    assert "1 of 4 rulebooks" in notice(result)
    assert "nothing to compare" in finding(result)
    assert 'role="alert"' in render_study_page(result)
    assert study_record(result)["planned"] == [variant.key for variant in VARIANTS]


def test_the_same_seed_gives_the_same_figures(crash, runs):
    path, variants = crash
    again = run_variants(path, variants[3:], 3)
    first = study_record(result_of(path, runs[3:]))
    assert study_record(result_of(path, again)) == first


def test_page_table_and_record_say_the_same(crash, runs):
    result = result_of(crash[0], runs)
    page, record = render_study_page(result), study_record(result)
    assert "The &lt;ladder&gt;" in page
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - rich closes nothing
    write_study_table(result, console)
    table = console.export_text()
    for run, row in zip(runs, record["rulebooks"], strict=True):
        for amount in (run.notional, run.penalty, run.owners_result):
            assert money(result, amount) in page
            assert money(result, amount) in table
        assert row["accounts"]["liquidated"] == run.liquidated
        assert Fraction(row["unpaid"]["sum"]) * USD == run.unpaid
        assert row["fund"]["path"][-1][0] == int(result.times_ns[-1])
    assert max(map(len, table.splitlines())) <= 80
    json.dumps(record)


def test_the_finding_names_the_extremes(crash, runs):
    words = finding(result_of(crash[0], runs))
    least, most = min(runs, key=lambda run: run.unpaid), max(runs, key=lambda run: run.unpaid)
    assert f"least with {least.variant.label} (" in words
    assert f"most with {most.variant.label} (" in words
    same = tuple(replace(runs[0], variant=variant) for variant in VARIANTS[:2])
    assert "the same under each" in finding(result_of(crash[0], same))
    idle = tuple(replace(run, liquidated=0) for run in same)
    assert finding(result_of(crash[0], idle)) == "Nobody was liquidated under any rulebook."


def test_the_fund_is_drawn_where_it_moves(crash, runs):
    path = np.full(200, 1_000_000)
    path[100:] = 400_000
    times = MINUTE * np.arange(1, 201)
    result = replace(result_of(crash[0], (replace(runs[0], fund_start=1_000_000, fund_path=path),)), times_ns=times)
    shown = fund_moves(result)
    assert shown.start < 99
    assert 101 < shown.stop < 200
    still = replace(result, runs=(replace(runs[0], fund_start=1_000_000, fund_path=np.full(200, 1_000_000)),))
    assert fund_moves(still) == slice(0, 200)


def test_charts_without_losses_or_runs_are_sentences(crash, runs):
    nobody = replace(runs[0], fund_paid=0, deleveraged=0, socialised=0, bad_debt=0, unresolved=0)
    calm = replace(nobody, resolved_ns=np.zeros(0, np.int64))
    fund, bearers, times = build_study_charts(result_of(crash[0], (calm,)))
    assert fund.figure_json is not None
    assert bearers.figure_json is None
    assert "none had to be resolved" in times.finding
    assert all(chart.figure_json is None for chart in build_study_charts(result_of(crash[0], ())))
