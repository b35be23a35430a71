"""The two pictures of a study of update policies: what cost buys in harm, and how long liquidations wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.lab.figures import AXIS, MARKETS_SHOWN, Chart, encode_figure, line_trace, plain
from marginkeep.lab.oracle_study_result import NS_PER_MINUTE, policy_label
from marginkeep.lab.oracle_study_summary import duration_text, harm_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.lab.oracle_study import PolicyRun
    from marginkeep.lab.oracle_study_result import StudyResult

_HARM_AXES: Final = {
    "bad_debt": "Unpaid, beyond every tick's",
    "late": "Mean lateness of liquidations",
    "error": "Mean staleness error",
    "taken_over": "Taken over below the market",
}
_LOG_FORMAT: Final = ",~r"
_PERCENT: Final = 100.0
NAME_SIZE: Final = (0.17, 0.07)
"""Width and height of a policy's name in the Pareto plot, as shares of it, on a phone."""


def build_study_charts(result: StudyResult) -> tuple[Chart, ...]:
    """Draw the Pareto plot and the waiting times of liquidations."""
    return (_pareto_chart(result), _waiting_chart(result))


def _pareto_chart(result: StudyResult) -> Chart:
    key, heading = "pareto", "Cost and harm"
    if not result.runs:
        return Chart(key, heading, "No policy was replayed to the end.", None)
    dominated = [run for run, best in zip(result.runs, result.front(), strict=True) if not best]
    traces = [_points(result, "on the Pareto front", result.on_front()[::-1], "series-1", front=True)]
    if dominated:
        traces.append(_points(result, "dominated", dominated, "quiet", front=False))
    costs = [np.log10(result.cost(run) / 10**result.reporting_decimals) for run in result.runs]
    layout = {
        "xaxis": {
            **AXIS,
            "range": _roomy(costs, 0.24),
            "type": "log",
            "dtick": "D2",
            "tickformat": _LOG_FORMAT,
            "exponentformat": "none",
        }
        | {"title": {"text": f"cost of all updates, {plain(result.reporting_asset)} (log scale)"}},
        "yaxis": {**AXIS, "range": _roomy(_harms(result, result.runs).tolist(), 0.14), "domain": [0.0, 0.94]},
        "annotations": [_title(f"{_HARM_AXES[result.harm]}, {plain(result.harm_unit)}", 0.94)],
        "hovermode": "closest",
    }
    words = (
        "Each point is a policy. Down is less harm, left is less cost; the line is the Pareto front, "
        "the policies for which no other is both cheaper and less harmful. "
        "A point without a name is close to one with."
    )
    return Chart(key, heading, words, encode_figure(traces, layout))


def _points(result: StudyResult, name: str, runs: Sequence[PolicyRun], role: str, *, front: bool) -> dict[str, Any]:
    unit = float(10**result.reporting_decimals)
    asset = plain(result.reporting_asset)
    labels = [policy_label(run.policy) for run in runs]
    named = [policy_label(run.policy) for run in named_runs(result)]
    hover = [
        f"{label}: {run.updates:,} updates, {result.cost(run) / unit:,.2f} {asset}; {plain(harm_text(result, run))}"
        for label, run in zip(labels, runs, strict=True)
    ]
    trace = {
        **line_trace(name, _array([result.cost(run) / unit for run in runs]), _harms(result, runs), role, hover=""),
        "mode": "lines+markers+text" if front else "markers",
        "marker": {"size": 10 if front else 8},
        "line": {"shape": "hv", "width": 1.6},
        "customdata": hover,
        "hovertemplate": "%{customdata}<extra></extra>",
        "cliponaxis": False,
    }
    # Below and left of the front there is neither point nor line.
    text = [label if label in named else "" for label in labels]
    return {**trace, "text": text, "textposition": "bottom left"} if front else trace


def named_runs(result: StudyResult) -> tuple[PolicyRun, ...]:
    """Return the runs on the front that have room for a name beside their point, the dearest first."""
    front = result.on_front()
    if not front:
        return ()
    points = np.array([[np.log10(result.cost(run)), result.harm_of(run)] for run in front])
    span = np.ptp(points, axis=0)
    places = points / np.where(span > 0, span, 1.0)
    named: list[int] = []
    for row, place in enumerate(places):
        if all((np.abs(place - places[other]) >= NAME_SIZE).any() for other in named):
            named.append(row)
    return tuple(front[row] for row in named)


def _roomy(values: Sequence[float], room: float) -> list[float]:
    """Return a range with room (a share) for names before the lowest, and for a marker beyond the highest."""
    low, high = min(values), max(values)
    span = (high - low) or max(1.0, abs(high))
    return [low - room * span, high + 0.06 * span]


def _harms(result: StudyResult, runs: Sequence[PolicyRun]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return _array([result.harm_of(run) for run in runs])


def _array(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, np.float64)


def _waiting_chart(result: StudyResult) -> Chart:
    key, heading = "waiting", "How long liquidations wait"
    late = [run for run in named_runs(result) if run.late or run.never]
    if not late:
        return Chart(key, heading, "No liquidation came later than with every tick published.", None)
    traces = [_waiting_line(result, run, rank) for rank, run in enumerate(late)]
    layout = {
        "xaxis": {**AXIS, "type": "log", "dtick": 1, "tickformat": _LOG_FORMAT, "exponentformat": "none"}
        | {"title": {"text": "minutes since every tick would have liquidated (log scale)"}},
        "yaxis": {**AXIS, "domain": [0.0, 0.94], "rangemode": "tozero"},
        "annotations": [_title("Accounts still not liquidated, % of those due", 0.94)],
        "hovermode": "x unified",
    }
    worst = max(late, key=lambda run: (run.mean_late_ns, run.updates))
    longest = duration_text(worst.late_percentile(100))
    words = (
        f"The share of accounts that every tick would have liquidated by then and the policy has not, for policies "
        f"named above. With {policy_label(worst.policy)}, {worst.late + worst.never:,} of "
        f"{result.runs[0].liquidated:,} wait: {worst.late:,} for up to {longest}, {worst.never:,} to the end."
    )
    return Chart(key, heading, words, encode_figure(traces, layout))


def _waiting_line(result: StudyResult, run: PolicyRun, rank: int) -> dict[str, Any]:
    """Draw the share of accounts that wait longer than x; what is never liquidated is left at the right end."""
    due = len(run.late_ns) + run.never
    ends = np.unique(run.late_ns[run.late_ns > 0])
    waits = run.never + len(run.late_ns) - np.searchsorted(run.late_ns, ends, side="right")
    x = np.concatenate([[result.step_ns / 2], ends, [result.last_ns - result.first_ns]]) / NS_PER_MINUTE
    y = np.concatenate([[run.late + run.never], waits, [run.never]]) * _PERCENT / due
    dash = "solid" if rank < MARKETS_SHOWN else "dot"
    trace = line_trace(
        policy_label(run.policy), x, y, f"series-{rank % MARKETS_SHOWN + 1}", hover="%{y:.1f} %", dash=dash
    )
    shown = {} if rank < MARKETS_SHOWN else {"visible": "legendonly"}
    return {**trace, **shown, "mode": "lines", "line": {"shape": "hv", "width": 2, "dash": dash}}


def _title(text: str, top: float) -> dict[str, Any]:
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": f"<b>{text}</b>", "showarrow": False, "yshift": 4}
