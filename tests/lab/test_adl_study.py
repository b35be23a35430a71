import json
from fractions import Fraction
from io import StringIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from marginkeep.errors import InputError
from marginkeep.lab.adl_study import POLICIES, after_close, prove_identity, run_policies, run_policy
from marginkeep.lab.adl_study_page import render_study_page
from marginkeep.lab.adl_study_population import generate_winners, size_shares
from marginkeep.lab.adl_study_result import LABELS, StudyResult, study_record
from marginkeep.lab.adl_study_summary import finding, identity_words, millions, write_study_table
from marginkeep.lab.adl_study_waves import FACTS, PUBLISHED_WAVES, Wave, lots_of, read_waves
from marginkeep.liquidation.deleveraging import Deleveraged, allocate, audit
from marginkeep.units import RATE_ONE

MILLION = 10**12
LOTS = lots_of(PUBLISHED_WAVES)


@pytest.fixture(scope="module")
def population():
    return generate_winners(4_000, 11, LOTS)


@pytest.fixture(scope="module")
def runs(population):
    return {run.name: run for run in run_policies(PUBLISHED_WAVES, population)}


def result_of(population, runs, waves=PUBLISHED_WAVES, **changes):
    identity = prove_identity(population.winners, sum(wave.needed for wave in waves))
    fields = {
        "waves": waves,
        "runs": tuple(runs.values()),
        "identity": identity,
        "accounts": len(population.winners),
        "seed": 11,
        "source": "waves <of> a test",
        "reproduce": "marginkeep lab adl-study",
        "inputs": {},
    }
    return StudyResult(**{**fields, **changes})


def test_the_built_in_waves_are_the_published_ones():
    assert len(PUBLISHED_WAVES) == 16
    gaps = {wave.number: wave.taken - wave.needed for wave in PUBLISHED_WAVES}
    assert round(sum(wave.needed for wave in PUBLISHED_WAVES) / MILLION, 2) == 15.08
    assert round(sum(wave.taken for wave in PUBLISHED_WAVES) / MILLION, 2) == 60.11
    assert round(sum(gap for gap in gaps.values() if gap > 0) / MILLION, 2) == 49.41
    assert round(-sum(gap for gap in gaps.values() if gap < 0) / MILLION, 2) == 4.38
    assert [number for number, gap in gaps.items() if gap < 0] == [1, 2, 4, 5, 9, 10]


def test_the_built_in_waves_are_those_of_the_file(shared):
    path = shared / "data" / "open" / "liquidations" / "adl_waves_hyperliquid_2025-10-10.parquet"
    if not path.is_file():
        pytest.skip(f"no waves at {path}")
    assert read_waves(path) == PUBLISHED_WAVES


def test_the_closed_notional_is_divided_by_fills_without_a_rest():
    assert sum(LOTS) == FACTS.notional
    fills = sum(wave.fills for wave in PUBLISHED_WAVES)
    for wave, lots in zip(PUBLISHED_WAVES, LOTS, strict=True):
        assert abs(lots - Fraction(FACTS.notional * wave.fills, fills)) < 1


@pytest.mark.parametrize("count", [1_200, 19_200])
def test_size_shares_fall_and_have_the_published_sums(count):
    shares = size_shares(count)
    assert (np.diff(shares) <= 1e-15).all()
    assert shares.sum() == pytest.approx(1)
    for rank, share in FACTS.top:
        assert shares[:rank].sum() == pytest.approx(float(share))


@pytest.mark.parametrize(("accounts", "seed"), [(4_000, 11), (4_000, 12), (32_000, 7)])
def test_the_queue_meets_what_was_published_in_the_population(accounts, seed):
    population = generate_winners(accounts, seed, LOTS)
    run = run_policy(PUBLISHED_WAVES, population, "queue", production=True)
    for rank, share in FACTS.top:
        assert run.figures.concentration(rank) / RATE_ONE == pytest.approx(float(share), abs=0.005)
    assert run.leverage == pytest.approx(float(FACTS.leverage), rel=0.02)
    assert run.profit / 10**6 == pytest.approx(FACTS.profit, rel=0.02)
    assert run.figures.count == pytest.approx(accounts * FACTS.users / 32_000, rel=0.02)
    assert run.figures.closed == FACTS.notional


def test_a_seed_gives_the_same_population_and_another_another():
    first, same, other = (generate_winners(2_000, seed, LOTS) for seed in (1, 1, 2))
    for name in ("sizes", "profits", "equities", "notionals", "relief"):
        assert getattr(first.winners, name).tolist() == getattr(same.winners, name).tolist()
        assert getattr(first.winners, name).tolist() != getattr(other.winners, name).tolist()
    assert sorted(first.winners.sizes.tolist()) == sorted(other.winners.sizes.tolist())


@pytest.mark.parametrize(("accounts", "seed"), [(1_999, 1), (1_000_001, 1), (2_000, -1)])
def test_an_impossible_population_is_refused(accounts, seed):
    with pytest.raises(InputError, match="give"):
        generate_winners(accounts, seed)


@pytest.mark.parametrize("policy", POLICIES)
def test_at_the_bankruptcy_price_every_policy_takes_exactly_what_is_needed(runs, policy):
    figures = runs[policy].figures
    assert figures.needed == figures.taken == sum(wave.needed for wave in PUBLISHED_WAVES)
    assert (figures.over, figures.under) == (0, 0)
    assert runs[policy].waves == (0,) * 16
    assert figures.closed == figures.wanted == FACTS.notional
    assert figures.haircuts.sum() == figures.taken


def test_at_productions_prices_over_and_under_are_those_of_the_data(runs):
    gaps = [wave.taken - wave.needed for wave in PUBLISHED_WAVES]
    run = runs["production"]
    assert run.waves == tuple(gaps)
    assert run.figures.over == sum(gap for gap in gaps if gap > 0)
    assert run.figures.under == -sum(gap for gap in gaps if gap < 0)


@pytest.mark.parametrize("name", LABELS)
def test_nobody_is_closed_beyond_its_position(population, runs, name):
    figures, winners = runs[name].figures, population.winners
    assert (figures.notionals <= winners.sizes[figures.accounts] * 10**6).all()


def test_pro_rata_touches_everyone_and_the_queue_only_the_first(population, runs):
    assert runs["pro_rata"].figures.count == len(population.winners)
    assert runs["queue"].figures.count < 0.7 * len(population.winners)
    assert runs["pro_rata"].figures.concentration(10) < runs["queue"].figures.concentration(10)


def test_portfolio_aware_hurts_no_hedge_while_others_are_enough(population, runs):
    assert runs["portfolio_aware"].hedges == runs["portfolio_aware"].health_lost == 0
    for name in ("queue", "pro_rata", "risk_aware"):
        assert 0 < runs[name].hedges <= population.hedged.sum()
        assert runs[name].health_lost > 0


def test_what_is_left_after_a_close_belongs_to_what_is_kept(population):
    winners = population.winners
    lots = int(winners.sizes.sum()) // 2
    closed = allocate("pro_rata", winners, lots)
    figures = audit([Deleveraged(lots, winners.accounts, closed, Fraction(3), Fraction(3), Fraction(10**6))])
    left = after_close(winners, closed, figures)
    kept = (winners.sizes - closed) / winners.sizes
    assert left.profits == pytest.approx(winners.profits * kept, abs=1)
    assert left.relief == pytest.approx(winners.relief * kept, abs=1)
    assert winners.equities.sum() - left.equities.sum() == figures.taken
    assert (winners.notionals - left.notionals).sum() <= lots * 10**6


def test_the_identity_of_queue_and_pro_rata_holds(population):
    budget = sum(wave.needed for wave in PUBLISHED_WAVES)
    identity = prove_identity(population.winners, budget)
    profits = population.winners.profits
    assert identity.holds
    assert (identity.top, identity.total, identity.queue) == (profits.max(), profits.sum(), budget)
    gap = identity.queue - identity.pro_rata
    assert abs(gap - budget * (1 - Fraction(int(profits.max()), int(profits.sum())))) < 1
    assert "equal to the unit" in identity_words(identity)


def test_the_identity_does_not_apply_beyond_the_largest_profit(population):
    assert prove_identity(population.winners, int(population.winners.profits.max()) + 1) is None
    assert "does not apply" in identity_words(None)


def test_the_record_the_table_and_the_page_tell_the_same(population, runs):
    result = result_of(population, runs)
    record = study_record(result)
    assert json.loads(json.dumps(record)) == record
    assert [row["policy"] for row in record["policies"]] == ["production", *POLICIES]
    assert record["policies"][0]["over"].startswith("49405578.12")
    assert record["policies"][0]["under"].startswith("4376912.40")
    assert record["identity"]["holds"]
    gap, formula = (Fraction(record["identity"][name]) for name in ("gap", "formula"))
    assert abs(gap - formula) <= Fraction(1, 10**6)
    assert {row["figure"] for row in record["fit"]} >= {"share of the largest 1", "median leverage"}
    page = render_study_page(result)
    assert "waves &lt;of&gt; a test" in page
    assert "$" not in page.split("<main>")[1].split("<script")[0]
    for width in (80, 100, 160):
        text = StringIO()
        write_study_table(result, Console(file=text, width=width))
        assert "…" not in text.getvalue()
        assert max(map(len, text.getvalue().splitlines())) <= width
        for run in result.runs:
            row = next(
                line for line in text.getvalue().splitlines() if line.strip().startswith(LABELS[run.name] + "  ")
            )
            assert f"{run.figures.count:,}" in row
            assert LABELS[run.name].replace("'", "&#x27;") in page
    assert finding(result) in " ".join(text.getvalue().split())
    assert "49.41 M over" in finding(result)
    for sentence in (*record["data"], *record["generated"]):
        assert sentence.replace("'", "&#x27;") in page


def test_other_waves_give_another_study():
    waves = (Wave(1, 5 * MILLION, 4 * MILLION, 3), Wave(2, 0, 0, 1))
    population = generate_winners(2_000, 3, lots_of(waves))
    runs = {run.name: run for run in run_policies(waves, population)}
    assert runs["production"].waves == (-MILLION, 0)
    assert runs["queue"].figures.taken == 5 * MILLION
    assert "1.00 M under" in finding(result_of(population, runs, waves))
    assert "2 waves" in render_study_page(result_of(population, runs, waves))


def waves_file(folder, **changes):
    columns = {"wave": [1, 2], "budget_needed": [10.5, 0.0], "budget_prod": [1.25, 3.0], "n_rows": [7, 1], **changes}
    path = folder / "waves.parquet"
    parquet.write_table(pa.table({name: column for name, column in columns.items() if column is not None}), path)
    return path


def test_a_file_of_waves_is_read_to_the_millionth(tmp_path):
    waves = read_waves(waves_file(tmp_path))
    assert waves == (Wave(1, 10_500_000, 1_250_000, 7), Wave(2, 0, 3_000_000, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_rows": None}, "has no column n_rows"),
        ({"budget_needed": [1.0, None]}, "wave 2: a cell is empty"),
        ({"budget_prod": [float("nan"), 1.0]}, "wave 1: a cell is empty or no number"),
        ({"budget_prod": [float("inf"), 1.0]}, "wave 1: a cell is empty or no number"),
        ({"budget_needed": [-1.0, 1.0]}, "wave 1: amounts must lie between 0"),
        ({"budget_needed": [1e15, 1.0]}, "wave 1: amounts must lie between 0"),
        ({"n_rows": [1, 0]}, "n_rows must be at least 1"),
        ({"wave": [], "budget_needed": [], "budget_prod": [], "n_rows": []}, "has 0 rows"),
    ],
)
def test_a_file_that_is_none_of_waves_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_waves(waves_file(tmp_path, **changes))


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "waves.parquet"
    path.write_text("wave,budget_needed")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_waves(path)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_waves(tmp_path / "nowhere.parquet")


def test_amounts_that_are_not_zero_never_read_as_zero():
    assert [millions(amount) for amount in (0, 1, -1, 4 * 10**9, 10**10, -(10**12))] == [
        *("0.00", "<0.01", ">-0.01", "<0.01", "0.01", "-1.00"),
    ]
