"""The USDC depeg of March 2023, at the closes of two venues: which stages are entered when, and when it returns.

The expected times are reckoned from the closes themselves, by runs of prices beyond a deviation, without the watch.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest

from marginkeep.oracle.peg import PEGGED, PegWatch
from marginkeep.rulebook.oracle_rules import PegRules, PegStage
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from pathlib import Path

FILE = "data/restricted/ohlcv/2023-03_usdc_depeg_5m.parquet"
SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
TARGET = 1_000_000


def stage(name: str, deviation: str, after_ns: int, weight: int) -> PegStage:
    rate = int(deviation.removesuffix(" %").replace(".", "")) * RATE_ONE // 1_000
    return PegStage(name, rate, after_ns, (weight, weight, weight, weight), name == "strained")


STAGES = (
    stage("strained", "0.5 %", HOUR, 900_000_000),
    stage("depegged", "2.0 %", 15 * MINUTE, 700_000_000),
    stage("broken", "8.0 %", HOUR, 500_000_000),
    stage("failed", "10.0 %", HOUR, 0),
)
RULES = PegRules("USDC", TARGET, 0, 6 * HOUR, STAGES)


class Close(NamedTuple):
    at_ns: int
    price: int


class Change(NamedTuple):
    at_ns: int
    stage: int


def closes_of(shared: Path, symbol: str, candle_ns: int) -> list[Close]:
    """Return closes in millionths, each at the end of its candle."""
    path = shared / FILE
    if not path.is_file():
        pytest.skip(f"no prices at {path}")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path, columns=["ts", "symbol", "close"]).to_pylist()
    return [
        Close(int(row["ts"].timestamp()) * SECOND + candle_ns, round(row["close"] * TARGET))
        for row in table
        if row["symbol"] == symbol
    ]


def replay(closes: list[Close]) -> list[Change]:
    """Return the changes of stage, woken up when time alone may change it, as an engine does."""
    watch, changes = PegWatch(RULES), []
    for close in closes:
        while 0 < watch.until_ns < close.at_ns:
            due = watch.until_ns
            assert watch.advance(due)
            changes.append(Change(due, watch.stage))
        if watch.observe(close.price, 0, close.at_ns):
            changes.append(Change(close.at_ns, watch.stage))
    return changes


def first_entries(closes: list[Close]) -> dict[int, int]:
    """Reckon when each stage's deviation had first lasted: the end of the first long enough run of such closes."""
    entries = {}
    for index, rules in enumerate(STAGES):
        for start, end, is_beyond in runs_of(closes, rules.deviation):
            if is_beyond and end - start >= rules.after_ns and index not in entries:
                entries[index] = start + rules.after_ns
    return entries


def runs_of(closes: list[Close], deviation: int) -> list[tuple[int, int, bool]]:
    """Return start, end and side of each run of closes on one side of a deviation; a run ends where the next begins."""
    grouped = groupby(closes, key=lambda close: abs(close.price - TARGET) * RATE_ONE >= deviation * TARGET)
    starts = [(next(iter(run)).at_ns, is_beyond) for is_beyond, run in grouped]
    ends = [start for start, _ in starts[1:]] + [closes[-1].at_ns]
    return [(start, end, is_beyond) for (start, is_beyond), end in zip(starts, ends, strict=True)]


def last_return(closes: list[Close]) -> int:
    """Reckon when the asset was pegged for good: the return time after the last run that entered the first stage."""
    runs = runs_of(closes, STAGES[0].deviation)
    last = max(end for start, end, is_beyond in runs if is_beyond and end - start >= STAGES[0].after_ns)
    return next(
        start + RULES.return_after_ns
        for start, end, is_beyond in runs
        if not is_beyond and start >= last and end - start >= RULES.return_after_ns
    )


def utc(day: int, hour: int) -> int:
    return int(datetime(2023, 3, day, hour, tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(("symbol", "candle_ns"), [("USDC/USD", 15 * MINUTE), ("USDC/USDT", HOUR)])
def test_each_stage_is_entered_when_its_deviation_has_lasted_and_the_peg_returns(
    shared: Path, symbol: str, candle_ns: int
) -> None:
    closes = closes_of(shared, symbol, candle_ns)
    changes = replay(closes)
    expected = first_entries(closes)
    for index in expected:
        at_least_that = min(change.at_ns for change in changes if change.stage >= index)
        assert at_least_that == min(expected[deeper] for deeper in expected if deeper >= index)
    assert max(change.stage for change in changes) == max(expected)
    assert changes[-1] == Change(last_return(closes), PEGGED)


def test_the_dex_price_goes_down_stage_by_stage_on_the_eleventh_and_is_back_within_days(shared: Path) -> None:
    closes = closes_of(shared, "USDC/USD", 15 * MINUTE)
    changes = replay(closes)
    assert [change.stage for change in changes[:3]] == [0, 1, 2]
    assert {change.stage: change.at_ns for change in reversed(changes) if change.stage >= 0} == first_entries(closes)
    lowest = min(closes, key=lambda close: close.price)
    assert lowest.price > 900_000, "no close is 10 % off: the last stage is not entered"
    assert changes[0].at_ns < changes[1].at_ns < lowest.at_ns <= changes[2].at_ns + HOUR
    assert utc(11, 0) < changes[0].at_ns
    assert changes[2].at_ns < utc(11, 14)
    assert utc(13, 0) < changes[-1].at_ns < closes[-1].at_ns


def test_no_return_comes_sooner_than_the_return_time_after_the_change_before(shared: Path) -> None:
    for symbol, candle_ns in (("USDC/USD", 15 * MINUTE), ("USDC/USDT", HOUR)):
        changes = replay(closes_of(shared, symbol, candle_ns))
        for before, after in pairwise(changes):
            assert after.stage > before.stage or after.at_ns - before.at_ns >= RULES.return_after_ns
