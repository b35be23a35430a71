import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.book.case import read_case
from marginkeep.cli.demo import made_up_candles
from marginkeep.cli.session import generated_house
from marginkeep.lab.example_rules import example_rulebook
from marginkeep.lab.opening import PricePath, open_case, price_path
from marginkeep.lab.oracle_study import TrueToMarket, publications, published_path, run_study
from marginkeep.lab.oracle_study_page import render_study_page
from marginkeep.lab.oracle_study_result import StudyResult, pareto_front, policy_label, study_record
from marginkeep.lab.oracle_study_summary import duration_text, finding, write_study_table
from marginkeep.oracle.update_policy import Publisher, UpdatePolicy
from marginkeep.units import RATE_ONE

MINUTE = 60 * 10**9
PERCENT = RATE_ONE // 100
NEVER = 10**18
EVERY_TICK = UpdatePolicy(0, 0)
FIVE_PERCENT = UpdatePolicy(5 * PERCENT, NEVER)
FIGURES = (
    "worst_error_bp",
    "mean_error_bp",
    "liquidated",
    "late",
    "never",
    "early",
    "extra",
    "shortfall",
    "taken_over",
)


def path_of(**columns) -> PricePath:
    """Marks in whole dollars a minute, in ticks of 0.1."""
    marks = np.array(list(columns.values()), np.int64).T * 10
    times = MINUTE * np.arange(1, len(marks) + 1, dtype=np.int64)
    names = tuple(f"{base}-PERP" for base in columns)
    return PricePath(times, names, (), marks, np.zeros((len(marks), 0), np.int64), (), 0)


def house_of(path, cash="3000", **positions):
    """One account, `ann`, with these sizes entered at the path's first prices."""
    terms = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000"}
    tiers = [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]
    first = {name: str(int(ticks) // 10) for name, ticks in zip(path.markets, path.mark_ticks[0], strict=True)}
    case = read_case(
        {
            "assets": {"USD": {}},
            "liquidation": {"slippage": "0.002", "penalty": "0.003", "liquidator_share": "0.4"},
            "markets": {name: {**terms, "tiers": tiers} for name in path.markets},
            "prices": first,
            "accounts": [
                {
                    "id": "ann",
                    "balances": {"USD": cash},
                    "positions": [
                        {"market": f"{base}-PERP", "size": size, "entry": first[f"{base}-PERP"]}
                        for base, size in positions.items()
                    ],
                }
            ],
        }
    )
    return lambda: open_case(case, case.rulebook)


def crash(minutes=90, accounts=80):
    candles = made_up_candles(7, "flash_cascade")
    rulebook = example_rulebook(dict(zip(candles.symbols, candles.high.max(axis=0).tolist(), strict=True)))
    whole = price_path(candles, rulebook, "close")
    first = max(0, int(candles.close[:, 0].argmin()) - minutes // 2)
    rows = slice(first, first + minutes)
    path = PricePath(
        *(whole.times_ns[rows], whole.markets, whole.assets, whole.mark_ticks[rows], whole.asset_ticks[rows]), (), 0
    )
    return path, lambda: generated_house(rulebook, path, accounts, 3)


def result_of(path, runs, planned=None, harm="bad_debt"):
    return StudyResult(
        title="When <to> publish",
        runs=runs,
        planned=len(runs) if planned is None else planned,
        harm=harm,
        update_cost=2_000_000,
        reporting_asset="USD",
        reporting_decimals=6,
        accounts=80,
        feeds=path.mark_ticks.shape[1] + path.asset_ticks.shape[1],
        ticks=len(path.times_ns),
        first_ns=int(path.times_ns[0]),
        last_ns=int(path.times_ns[-1]),
        step_ns=MINUTE,
        assumptions=("one",),
        repairs=(),
        reproduce="marginkeep oracle study",
        inputs={"seed": 3},
        rulebook={"name": "example", "sha256": "00"},
    )


@given(
    st.integers(1, 3).flatmap(
        lambda feeds: st.lists(
            st.lists(st.one_of(st.integers(90, 110), st.integers(1, 2**61)), min_size=feeds, max_size=feeds),
            max_size=25,
        ).map(lambda rows: np.array(rows, np.int64).reshape(-1, feeds))
    ),
    st.lists(st.integers(0, 20), min_size=25, max_size=25),
    st.builds(
        UpdatePolicy,
        st.one_of(st.just(0), st.integers(0, 20 * PERCENT), st.just(RATE_ONE)),
        st.one_of(st.just(0), st.integers(1, 60), st.just(2**70)),
    ),
)
def test_many_feeds_at_once_publish_what_a_publisher_each_would(prices, steps, policy):
    times = np.cumsum(np.array(steps, np.int64))[: len(prices)]
    chosen = publications(prices, times, policy)
    for column in range(prices.shape[1]):
        publisher = Publisher(policy)
        offers = zip(prices[:, column].tolist(), times.tolist(), strict=True)
        assert [publisher.offer(price, now) for price, now in offers] == chosen[:, column].tolist()


def test_a_published_path_holds_each_feed_at_its_own_last_publication():
    path = path_of(BTC=[100_000, 96_000, 94_000, 95_000, 99_000], ETH=[3_000, 3_200, 3_200, 3_000, 3_000])
    published, updates = published_path(path, FIVE_PERCENT)
    assert (published.mark_ticks[:, 0] // 10).tolist() == [100_000, 100_000, 94_000, 94_000, 99_000]
    assert (published.mark_ticks[:, 1] // 10).tolist() == [3_000, 3_200, 3_200, 3_000, 3_000]
    assert updates == 3 + 3
    assert published.times_ns is path.times_ns


@pytest.mark.without_shadows("the replays are those of test_replay")
def test_no_deviation_and_no_heartbeat_equal_the_run_with_every_tick_and_harm_nobody():
    path, open_house = crash()
    baseline, same = run_study(path, open_house, [EVERY_TICK])
    assert baseline.liquidated > 20
    assert baseline.shortfall > 0
    assert same.updates == baseline.updates == path.mark_ticks.size + path.asset_ticks.size
    for name in (*FIGURES, "bad_debt", "fund_paid"):
        assert getattr(same, name) == getattr(baseline, name), name
    assert same.late_ns.tolist() == [0] * baseline.liquidated
    for harm in ("bad_debt", "late", "error", "taken_over"):
        result = result_of(path, (baseline, same), harm=harm)
        assert [result.harm_of(run) for run in result.runs] == [0, 0]
        assert result.front() == (True, True)


def test_a_liquidation_waits_for_the_publication_that_shows_it():
    # 2,750 USD and half a coin from 100,000: less than 1 % of its value is left below 95,454.54.
    path = path_of(BTC=[100_000, 97_000, 95_400, 95_200, 95_000, 94_900, 94_000])
    baseline, stale = run_study(path, house_of(path, cash="2750", BTC="0.5"), [FIVE_PERCENT])
    assert (baseline.liquidated, stale.liquidated) == (1, 1)
    assert stale.late_ns.tolist() == [3 * MINUTE]
    assert [stale.late_percentile(percent) for percent in (50, 99, 100)] == [3 * MINUTE] * 3
    assert (stale.late, stale.never, stale.early, stale.extra, stale.updates) == (1, 0, 0, 0, 2)
    assert stale.mean_late_ns == 3 * MINUTE
    assert stale.worst_error_bp == pytest.approx(10_000 * 5_000 / 95_000)
    errors = [0, 3_000 / 97_000, 4_600 / 95_400, 4_800 / 95_200, 5_000 / 95_000, 0, 900 / 94_000]
    assert stale.mean_error_bp == pytest.approx(10_000 * sum(errors) / 7)


def test_an_account_that_a_stale_price_saves_counts_as_never_and_as_late_until_the_last_tick():
    path = path_of(BTC=[100_000, 95_100, 99_000, 99_000])
    baseline, stale = run_study(path, house_of(path, cash="2750", BTC="0.5"), [FIVE_PERCENT])
    assert (baseline.liquidated, stale.liquidated, stale.never, stale.late) == (1, 0, 1, 0)
    assert stale.censored_ns.tolist() == [2 * MINUTE]
    assert stale.mean_late_ns == 2 * MINUTE
    assert stale.late_percentile(99) == 0


def test_a_hedge_of_which_one_side_is_stale_is_liquidated_only_by_the_policy():
    path = path_of(BTC=[100_000, 94_900, 94_900], ETH=[100_000, 95_100, 95_100])
    baseline, stale = run_study(path, house_of(path, BTC="0.5", ETH="-0.5"), [FIVE_PERCENT])
    assert (baseline.liquidated, stale.liquidated, stale.extra, stale.never) == (0, 1, 1, 0)


def test_an_account_liquidated_earlier_counts_as_early_and_as_not_late():
    path = path_of(BTC=[100_000, 94_900, 90_000], ETH=[100_000, 95_100, 95_100])
    baseline, stale = run_study(path, house_of(path, BTC="0.5", ETH="-0.5"), [FIVE_PERCENT])
    assert (baseline.liquidated, stale.liquidated, stale.early, stale.late) == (1, 1, 1, 0)
    assert stale.late_ns.tolist() == [0]


def test_taken_over_is_what_the_true_price_was_worse_than_the_forced_one():
    path = path_of(BTC=[100_000, 90_000], ETH=[100_000, 95_500])
    published, _ = published_path(path, FIVE_PERCENT)
    replay = TrueToMarket(house_of(path, cash="3500", BTC="0.3", ETH="0.4")(), published, path)
    replay.run()
    steps = replay.stories["ann"].first.steps
    assert {step.name: step.mark // 10 for step in steps} == {"ETH-PERP": 100_000, "BTC-PERP": 90_000}
    true = {"ETH-PERP": 95_500, "BTC-PERP": 90_000}
    lost = [-step.size * (Fraction(step.price, 10) - true[step.name]) / 1_000 for step in steps]
    assert min(lost) < 0 < max(lost), "who takes BTC over at its true price has the slippage, and loses nothing"
    assert replay.taken_over == max(lost) * 10**6 == Fraction(4, 10) * (99_800 - 95_500) * 10**6


def test_what_a_short_is_bought_back_for_below_the_true_price_is_taken_over_too():
    path = path_of(BTC=[100_000, 110_000], ETH=[100_000, 104_000])
    baseline, stale = run_study(path, house_of(path, cash="3500", BTC="-0.3", ETH="-0.4"), [FIVE_PERCENT])
    assert baseline.taken_over == 0
    assert stale.taken_over == Fraction(4, 10) * (104_000 - 100_200) * 10**6


@pytest.mark.without_shadows("the replays are those of test_replay")
def test_a_stopped_study_returns_the_policies_that_were_finished():
    path, open_house = crash(minutes=20, accounts=20)
    told = []
    whole = run_study(path, open_house, [EVERY_TICK, FIVE_PERCENT], told.append)
    assert told == list(range(1, 61))
    part = run_study(path, open_house, [EVERY_TICK, FIVE_PERCENT], stopped=iter([False] * 50 + [True]).__next__)
    assert len(whole) == 3
    assert [run.policy for run in part] == [None, EVERY_TICK]
    assert run_study(path, open_house, [EVERY_TICK], stopped=lambda: True) == ()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-3, 3)), max_size=12))
def test_the_front_is_the_points_that_none_dominates(points):
    front = pareto_front([cost for cost, _ in points], [harm for _, harm in points])
    for (cost, harm), best in zip(points, front, strict=True):
        better = [(c, h) for c, h in points if (c < cost and h <= harm) or (c <= cost and h < harm)]
        assert best == (not better)


@pytest.mark.without_shadows("the replays are those of test_replay")
@pytest.mark.parametrize("harm", ["bad_debt", "late", "error", "taken_over"])
def test_the_record_the_table_and_the_page_tell_the_same(harm):
    from io import StringIO

    from rich.console import Console

    path, open_house = crash()
    runs = run_study(path, open_house, [UpdatePolicy(PERCENT, 60 * MINUTE), UpdatePolicy(2 * PERCENT, 10 * MINUTE)])
    result = result_of(path, runs, harm=harm)
    record = study_record(result)
    assert [policy["policy"] for policy in record["policies"]] == ["every tick", "1 % or 1h", "2 % or 10m"]
    assert [policy["updates"] * 2 for policy in record["policies"]] == [int(p["cost"]) for p in record["policies"]]
    points = ([float(policy["cost"]) for policy in record["policies"]], [p["harm"] for p in record["policies"]])
    assert tuple(policy["pareto"] for policy in record["policies"]) == pareto_front(*points)
    assert json.loads(json.dumps(record)) == record
    page = render_study_page(result)
    assert "When &lt;to&gt; publish" in page
    for width in (80, 100, 200):
        text = StringIO()
        write_study_table(result, Console(file=text, width=width))
        assert "…" not in text.getvalue()
        assert max(map(len, text.getvalue().splitlines())) <= width
        for run, policy in zip(runs, record["policies"], strict=True):
            row = next(line for line in text.getvalue().splitlines() if line[4:].startswith(policy["policy"] + " "))
            assert ("*" in row[:4]) == policy["pareto"]
            assert f"{run.updates * 2:,}.00" in row
            assert policy["policy"] in page
    assert finding(result) in " ".join(text.getvalue().split())


@pytest.mark.without_shadows("the replays are those of test_replay")
@pytest.mark.parametrize("finished", [0, 1])
def test_a_study_stopped_early_has_a_page_that_says_so(finished):
    path, open_house = crash(minutes=10, accounts=20)
    runs = run_study(path, open_house, [])[:finished]
    result = result_of(path, runs, planned=5)
    assert not study_record(result)["complete"]
    page = render_study_page(result)
    assert f"Interrupted: {finished} of 5 policies" in page


def test_a_path_of_one_tick_can_be_studied():
    path = path_of(BTC=[100_000])
    runs = run_study(path, house_of(path, BTC="0.5"), [FIVE_PERCENT])
    assert [run.updates for run in runs] == [1, 1]
    assert "every tick" in render_study_page(result_of(path, runs))


def test_policies_and_durations_are_written_the_short_way():
    assert policy_label(EVERY_TICK) == "0 % or 0"
    assert policy_label(UpdatePolicy(1_500_000, 90 * 10**9)) == "0.15 % or 90s"
    assert duration_text(15 * 10**9) == "15s"
    assert duration_text(120 * 10**9) == "2m"
    assert duration_text(26 * 60 * MINUTE) == "26h00m"
