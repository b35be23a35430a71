"""The pictures of a ladder study: the fund's path, who bore what, and how long accounts stayed ill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.lab.figures import (
    AXIS,
    NS_PER_MS,
    POINTS_MAX,
    WHOLE_PANEL,
    Chart,
    encode_figure,
    level_trace,
    line_trace,
    panel_title,
    plain,
    time_layout,
)
from marginkeep.lab.ladder_study_summary import money
from marginkeep.lab.oracle_study_summary import duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from marginkeep.lab.ladder_study import VariantRun
    from marginkeep.lab.ladder_study_result import StudyResult

BEARERS: Final = (
    ("fund", "fund_paid", "series-1"),
    ("deleveraged winners", "deleveraged", "series-2"),
    ("holders, socialised", "socialised", "series-3"),
    ("nobody, bad debt", "bad_debt", "bad"),
)
"""Who bears what an account cannot pay: name, figure, and colour."""

LITTLE: Final = 100
"""A fund that is off by less than one part in this many of its start does not move."""

FEWEST_AROUND: Final = 5
"""At least so many ticks are drawn before and after a fund moves."""

_PERCENT: Final = 100.0
_NOTHING: Final = "No rulebook was replayed to the end."


def build_study_charts(result: StudyResult) -> tuple[Chart, ...]:
    """Draw the fund's path, who bore what accounts could not pay, and the times to resolution."""
    return (_fund_chart(result), _bearers_chart(result), _resolution_chart(result))


def _fund_chart(result: StudyResult) -> Chart:
    key, heading = "fund", "The insurance fund"
    if not result.runs:
        return Chart(key, heading, _NOTHING, None)
    shown = fund_moves(result)
    times = result.times_ns[shown] / NS_PER_MS
    traces = []
    for rank, run in enumerate(result.runs):
        path = run.fund_path[shown] / float(10**result.reporting_decimals)
        trace = level_trace(plain(run.variant.label), times, path, f"series-{rank + 1}", POINTS_MAX)
        traces.append({**trace, "line": {**trace["line"], "dash": _dash(rank)}})
    lows = [f"{money(result, int(run.fund_path.min()))} with {run.variant.label}" for run in result.runs]
    words = f"Each starts with {money(result, result.runs[0].fund_start)}. Lowest balance: {', '.join(lows)}."
    if len(times) < len(result.times_ns):
        words += " Shown is the time in which it moves most."
    layout = time_layout(times, f"Fund balance, {result.reporting_asset}", "")
    return Chart(key, heading, words, encode_figure(traces, layout))


def fund_moves(result: StudyResult) -> slice:
    """Return the ticks to draw: from where a fund first falls to where none is far from its end, and some more."""
    paths = np.array([run.fund_path for run in result.runs])
    little = max(1, result.runs[0].fund_start // LITTLE)
    falls = (np.maximum.accumulate(paths, axis=1) - paths > little).any(axis=0)
    moves = (np.abs(paths - paths[:, -1:]) > little).any(axis=0)
    if not falls.any() or not moves.any():
        return slice(0, paths.shape[1])
    first, last = int(np.flatnonzero(falls)[0]), int(np.flatnonzero(moves)[-1])
    room = max(FEWEST_AROUND, abs(last - first) // 4)
    return slice(max(0, min(first, last) - room), max(first, last) + room + 1)


def _dash(rank: int) -> str:
    """Lines that lie on each other stay visible when the later ones have gaps."""
    return ("solid", "dash", "dashdot", "dot")[rank % 4]


def _bearers_chart(result: StudyResult) -> Chart:
    key, heading = "bearers", "Who bore what accounts could not pay"
    if not result.runs:
        return Chart(key, heading, _NOTHING, None)
    if not any(run.unpaid for run in result.runs):
        return Chart(key, heading, "Every account paid what it owed, under each rulebook.", None)
    unit = float(10**result.reporting_decimals)
    labels = [plain(run.variant.label) for run in result.runs]
    asset = plain(result.reporting_asset)
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": labels,
            "y": [getattr(run, figure) / unit for run in result.runs],
            "hovertemplate": f"%{{y:,.0f}} {asset}",
            "meta": {"role": role},
        }
        for name, figure, role in BEARERS
    ]
    layout = {
        "barmode": "stack",
        "bargap": 0.45,
        "xaxis": {"automargin": True},
        "yaxis": {**AXIS, "domain": list(WHOLE_PANEL), "rangemode": "tozero"},
        "annotations": [panel_title(f"Borne by others, {asset}", WHOLE_PANEL[1])],
        "hovermode": "x unified",
    }
    sums = ", ".join(f"{run.variant.label} {money(result, run.unpaid)}" for run in result.runs)
    words = f"In all: {sums} {result.reporting_asset}. The fund pays first, then winners give up profit, then holders."
    return Chart(key, heading, words, encode_figure(traces, layout))


def _resolution_chart(result: StudyResult) -> Chart:
    key, heading = "resolution", "How long accounts stay ill"
    waited = [(rank, run) for rank, run in enumerate(result.runs) if len(run.resolved_ns) or run.unresolved]
    if not waited:
        return Chart(key, heading, "No account came to a forced rung, so none had to be resolved.", None)
    longest = max(run.resolution_percentile(100) for _, run in waited) / 10**9 or 1.0
    traces = [_waiting_line(run, rank, longest) for rank, run in waited]
    layout = {
        "xaxis": {**AXIS, "title": {"text": "seconds since the first forced rung"}, "rangemode": "tozero"},
        "yaxis": {**AXIS, "domain": list(WHOLE_PANEL), "rangemode": "tozero"},
        "annotations": [panel_title("Stays on forced rungs not yet over, %", WHOLE_PANEL[1])],
        "hovermode": "x unified",
    }
    slowest = max(waited, key=lambda pair: pair[1].resolution_percentile(100))[1]
    words = (
        "The share of stays on forced rungs that last longer. Those that end at once are "
        f"not seen. The longest is {duration_text(slowest.resolution_percentile(100))}, "
        f"with {slowest.variant.label}."
    )
    return Chart(key, heading, words, encode_figure(traces, layout))


def _waiting_line(run: VariantRun, rank: int, longest: float) -> dict[str, Any]:
    """Draw the share of stays that last longer than x, from those that do not end at once on."""
    seconds = run.resolved_ns / 10**9
    count = len(seconds) + run.unresolved
    ends = np.unique(np.concatenate([[0.0], seconds, [longest]]))
    left = count - np.searchsorted(seconds, ends, side="right")
    trace = line_trace(
        plain(run.variant.label), ends, _floats(left * _PERCENT / count), f"series-{rank + 1}", hover="%{y:.1f} %"
    )
    return {**trace, "mode": "lines", "line": {"shape": "hv", "width": 2, "dash": _dash(rank)}}


def _floats(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array(values, np.float64)
