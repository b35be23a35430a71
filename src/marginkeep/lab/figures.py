"""The four pictures of a replay, each with a sentence that says what it shows.

Colours are not set here: each trace names a role (``meta.role``), and the page gives the role its colour in the
light and in the dark theme.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.lab.summary import format_money, format_time, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.lab.result import ReplayResult

POINTS_MAX: Final = 5_000
"""Most points of one line; beyond it, the lowest and the highest of each stretch are kept."""

MARKETS_SHOWN: Final = 8
"""Most price lines shown at first; the legend adds the others."""

HEALTH_CAP: Final = 5.0
HEALTH_FLOOR: Final = -1.0
HEALTH_BINS_PER_UNIT: Final = 10
BARS_ACROSS_MAX: Final = 600
"""A bar is never thinner than this part of the time axis: a single tick must stay visible."""

MARKERS_BELOW: Final = 40
NS_PER_MS: Final = 1_000_000

AXIS: Final[dict[str, Any]] = {"automargin": True, "exponentformat": "B", "separatethousands": True}
"""How every axis writes its numbers."""

WHOLE_PANEL: Final = (0.0, 0.94)
"""Where a lone panel lies, as shares of the height; its title is above it."""

_UPPER: Final = (0.42, 0.95)
_LOWER: Final = (0.0, 0.30)


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: `figure_json` is None where the sentence `finding` says it all."""

    key: str
    heading: str
    finding: str
    figure_json: str | None


def build_charts(result: ReplayResult, points_max: int = POINTS_MAX) -> tuple[Chart, ...]:
    """Draw price and liquidations, fund and bad debt, health factors, and work done, in this order.

    Parameters
    ----------
    result : what the replay found; empty timelines and no liquidations are fine
    points_max : most points of one line, at least 4
    """
    return (
        _price_chart(result, points_max),
        _fund_chart(result, points_max),
        _health_chart(result),
        _work_chart(result, points_max),
    )


def kept_rows(values: NDArray[np.float64], points_max: int = POINTS_MAX) -> NDArray[np.int64]:
    """Choose the rows to draw: all, or first, last, and the lowest and highest of each stretch.

    Parameters
    ----------
    values : float64, shape (rows,); NaN marks a gap
    points_max : at least 4

    Returns
    -------
    int64, strictly rising, at most `points_max` rows; the lowest and the highest value are always among them.
    """
    rows = len(values)
    if rows <= points_max:
        return np.arange(rows, dtype=np.int64)
    low = np.where(np.isnan(values), np.inf, values)
    high = np.where(np.isnan(values), -np.inf, values)
    bounds = np.linspace(0, rows, (points_max - 2) // 2 + 1).astype(np.int64)
    kept = {0, rows - 1}
    for start, stop in pairwise(bounds.tolist()):
        kept.add(start + int(np.argmin(low[start:stop])))
        kept.add(start + int(np.argmax(high[start:stop])))
    return np.array(sorted(kept), dtype=np.int64)


def index_prices(marks: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Scale prices to 100 at the first positive one; None if there is none. Shape (ticks,), NaN is a gap."""
    positive = np.flatnonzero(np.isfinite(marks) & (marks > 0))
    if not len(positive):
        return None
    scaled: NDArray[np.float64] = np.where(np.isfinite(marks), marks, np.nan) / marks[positive[0]] * 100.0
    return scaled


def count_health(factors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count accounts by health factor; what lies outside the picture counts in its first or last bin.

    Parameters
    ----------
    factors : float64, shape (accounts,); NaN (no health factor) is left out

    Returns
    -------
    int64, shape (bins,): tenths from `HEALTH_FLOOR` to `HEALTH_CAP`, then one bin for the cap and above.
    """
    known = factors[~np.isnan(factors)]
    bins = round((HEALTH_CAP - HEALTH_FLOOR) * HEALTH_BINS_PER_UNIT) + 1
    # The small shift keeps 1.0, which floats may hold as 0.99.. of a tenth, in the bin that starts at 1.0.
    tenths = np.floor((np.clip(known, HEALTH_FLOOR, HEALTH_CAP) - HEALTH_FLOOR) * HEALTH_BINS_PER_UNIT + 1e-9)
    return np.bincount(np.clip(tenths, 0, bins - 1).astype(np.int64), minlength=bins)


def _price_chart(result: ReplayResult, points_max: int) -> Chart:
    key, heading = "price", "Prices and liquidations"
    times = result.timeline.times_ns / NS_PER_MS
    lines = _price_lines(result)
    if not len(times) or not lines:
        return Chart(key, heading, "No tick was replayed, so there are no prices to show.", None)
    traces = [_price_trace(name, rank, times, line, points_max) for rank, (name, line) in enumerate(lines)]
    hit = result.timeline.liquidated_notional > 0
    if hit.any():
        traces.append(_liquidation_bars(result, times, points_max))
    layout = time_layout(
        times, "Price, first = 100", f"Liquidated a tick, {result.reporting_asset}" if hit.any() else ""
    )
    return Chart(key, heading, _price_words(result, lines), encode_figure(traces, layout))


def _price_lines(result: ReplayResult) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the indexed prices, the market that moved furthest from 100 first."""
    indexed = ((name, index_prices(marks)) for name, marks in result.timeline.marks.items())
    lines = [(name, line) for name, line in indexed if line is not None]
    return sorted(lines, key=lambda named: (-float(np.nanmax(np.abs(named[1] - 100.0))), named[0]))


def _price_trace(
    name: str, rank: int, times: NDArray[np.float64], line: NDArray[np.float64], points_max: int
) -> dict[str, Any]:
    rows = kept_rows(line, points_max)
    dash = "solid" if rank < MARKETS_SHOWN else "dot"
    role = f"series-{rank % MARKETS_SHOWN + 1}"
    trace = line_trace(plain(name), times[rows], line[rows], role, dash=dash, hover="%{y:.2f}")
    return trace if rank < MARKETS_SHOWN else {**trace, "visible": "legendonly"}


def _liquidation_bars(result: ReplayResult, times: NDArray[np.float64], points_max: int) -> dict[str, Any]:
    notional = _amounts(result.timeline.liquidated_notional, result)
    drawn = np.flatnonzero(notional > 0)
    drawn = drawn[kept_rows(notional[drawn], points_max)]
    asset = plain(result.reporting_asset)
    return {
        "type": "bar",
        "name": "liquidated",
        "x": times[drawn],
        "y": notional[drawn],
        "yaxis": "y2",
        "width": _bar_width(times),
        "customdata": result.timeline.liquidated_accounts[drawn].astype(np.float64),
        # A bar is wider than its tick, so a pointer beside it must still read the tick's own time.
        "hovertemplate": f"%{{y:,.2f}} {asset}, %{{customdata:,.0f}} accounts at %{{x|%H:%M:%S}}",
        "showlegend": False,
        "meta": {"role": "warning"},
    }


def _bar_width(times: NDArray[np.float64]) -> float:
    """Milliseconds: one tick, but never thinner than can be seen."""
    if len(times) < 2:
        return 60_000.0
    return max(float(np.median(np.diff(times))), float(times[-1] - times[0]) / BARS_ACROSS_MAX)


def _price_words(result: ReplayResult, lines: list[tuple[str, NDArray[np.float64]]]) -> str:
    name, line = lines[0]
    row = int(np.nanargmax(np.abs(line - 100.0)))
    words = f"{printable(name)} moved furthest, by {line[row] - 100.0:+.1f} % at {_time(result, row)}."
    if len(lines) > MARKETS_SHOWN:
        words += f" The {MARKETS_SHOWN} of {len(lines)} markets that moved most are shown; the legend adds others."
    notional = result.timeline.liquidated_notional
    if not (notional > 0).any():
        return f"{words} No position was liquidated."
    peak = int(np.argmax(notional))
    return f"{words} Most was liquidated at {_time(result, peak)}: {format_money(int(notional[peak]), result)}."


def _fund_chart(result: ReplayResult, points_max: int) -> Chart:
    key, heading = "fund", "Insurance fund and bad debt"
    fund, debt = result.timeline.fund_balance, result.timeline.bad_debt
    if not len(fund):
        return Chart(key, heading, "No tick was replayed, so the fund has no history.", None)
    first, last, low = (format_money(int(count), result) for count in (fund[0], fund[-1], fund.min()))
    if not debt.any() and fund.min() == fund.max():
        return Chart(key, heading, f"The fund stayed at {first} throughout, and there was no bad debt.", None)
    times = result.timeline.times_ns / NS_PER_MS
    traces = [level_trace("fund balance", times, _amounts(fund, result), "series-1", points_max)]
    words = f"The fund went from {first} to {last}; its lowest balance was {low}."
    if debt.any():
        lost = level_trace("bad debt, cumulative", times, _amounts(debt, result), "bad", points_max)
        traces.append({**lost, "yaxis": "y2"})
        start = _time(result, int(np.flatnonzero(debt)[0]))
        words += f" Bad debt began at {start} and ended at {format_money(int(debt[-1]), result)}."
    else:
        words += " There was no bad debt."
    asset = result.reporting_asset
    lower = f"Bad debt, cumulative, {asset}" if debt.any() else ""
    layout = {**time_layout(times, f"Fund balance, {asset}", lower), "showlegend": False}
    return Chart(key, heading, words, encode_figure(traces, layout))


def _health_chart(result: ReplayResult) -> Chart:
    key, heading = "health", "Health factors before and after"
    before, after = count_health(result.health_before), count_health(result.health_after)
    if not before.sum() and not after.sum():
        return Chart(key, heading, "No account needed margin, so there are no health factors to show.", None)
    traces = [_health_bars(before), _health_steps(after)]
    return Chart(key, heading, _health_words(result), encode_figure(traces, _health_layout(before + after)))


def _health_bins() -> tuple[NDArray[np.float64], list[str]]:
    """Return the centre of each bin of `count_health`, and the bin in words."""
    bins = round((HEALTH_CAP - HEALTH_FLOOR) * HEALTH_BINS_PER_UNIT) + 1
    edges = HEALTH_FLOOR + np.arange(bins + 1) / HEALTH_BINS_PER_UNIT
    middle = [f"{low:.1f} to {high:.1f}" for low, high in pairwise(edges[1:-1].tolist())]
    return (edges[:-1] + edges[1:]) / 2, [f"below {edges[1]:.1f}", *middle, f"{HEALTH_CAP:g} or more"]


def _health_bars(accounts: NDArray[np.int64]) -> dict[str, Any]:
    centres, labels = _health_bins()
    hover = {"customdata": labels, "hovertemplate": _health_hover("before")}
    trace = {"type": "bar", "name": "accounts before", "x": centres, "y": accounts.astype(np.float64)}
    return {**trace, **hover, "meta": {"role": "quiet"}}


def _health_steps(accounts: NDArray[np.int64]) -> dict[str, Any]:
    """Draw the outline of a histogram, which stays readable over the bars of the other."""
    centres, labels = _health_bins()
    # A step ends between two points, so one more point is needed to draw the last bin to its end.
    x = np.append(centres, centres[-1] + 0.5 / HEALTH_BINS_PER_UNIT)
    y = np.append(accounts, accounts[-1]).astype(np.float64)
    trace = line_trace("accounts after", x, y, "series-1", hover=_health_hover("after"))
    return {**trace, "customdata": [*labels, labels[-1]], "line": {"shape": "hvh", "width": 2}}


def _health_hover(when: str) -> str:
    return f"{when}: %{{y:,.0f}} accounts at %{{customdata}}<extra></extra>"


def _health_layout(accounts: NDArray[np.int64]) -> dict[str, Any]:
    lowest = HEALTH_FLOOR + int(np.flatnonzero(accounts)[0]) / HEALTH_BINS_PER_UNIT
    ticks = np.arange(np.floor(min(lowest, 0.0)), HEALTH_CAP + 1).tolist()
    axis = {**AXIS, "title": {"text": "health factor"}, "range": [ticks[0], HEALTH_CAP + 0.2]}
    line = {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": 1.0,
        "x1": 1.0,
        "y0": WHOLE_PANEL[0],
        "y1": WHOLE_PANEL[1],
    }
    mark = {"xref": "x", "yref": "paper", "x": 1.0, "y": WHOLE_PANEL[1], "xanchor": "left", "yanchor": "bottom"}
    return {
        "xaxis": {**axis, "tickvals": ticks, "ticktext": [*(f"{tick:g}" for tick in ticks[:-1]), f"{HEALTH_CAP:g}+"]},
        "yaxis": {**AXIS, "domain": list(WHOLE_PANEL), "rangemode": "tozero"},
        "shapes": [{**line, "line": {"width": 1.5, "dash": "dash"}}],
        "annotations": [{**mark, "text": "1.0: liquidation below", "showarrow": False}],
        "hovermode": "x",
        "bargap": 0,
    }


def _health_words(result: ReplayResult) -> str:
    before, after = result.health_before, result.health_after
    below = [int((factors < 1.0).sum()) for factors in (before, after)]
    return (
        f"Before the replay, {below[0]:,} of {len(before):,} accounts that needed margin were below 1.0; "
        f"after it, {below[1]:,} of {len(after):,}."
    )


def _work_chart(result: ReplayResult, points_max: int) -> Chart:
    key, heading = "work", "Work done"
    evaluations = result.timeline.evaluations
    total, ticks = int(evaluations.sum()), len(evaluations)
    if not ticks:
        return Chart(key, heading, "No tick was replayed, so no account was evaluated.", None)
    if not total:
        return Chart(key, heading, f"No account had to be evaluated in any of the {ticks:,} ticks.", None)
    full = result.accounts * ticks
    words = f"{total:,} evaluations in {ticks:,} ticks"
    if full:
        words += f": {total / full:.2%} of the {full:,} that checking every account at every tick would take"
    times = result.timeline.times_ns / NS_PER_MS
    counts = np.where(evaluations > 0, evaluations, np.nan).astype(np.float64)
    rows = kept_rows(counts, points_max)
    traces = [line_trace("evaluations", times[rows], counts[rows], "series-1", hover="%{y:,.0f}")]
    everyone = np.array([result.accounts, result.accounts], dtype=np.float64)
    traces.append(line_trace("all accounts", times[[0, -1]], everyone, "muted", dash="dash", hover="%{y:,.0f}"))
    traces[1]["mode"] = "lines"
    layout = time_layout(times, "Accounts evaluated a tick (log scale)", "")
    layout["yaxis"] = {**layout["yaxis"], "type": "log", "dtick": 1, "tickformat": ",d"}
    return Chart(key, heading, f"{words}.", encode_figure(traces, layout))


def level_trace(
    name: str, times: NDArray[np.float64], level: NDArray[np.float64], role: str, points_max: int
) -> dict[str, Any]:
    """Draw a level that holds until the next tick changes it."""
    rows = kept_rows(level, points_max)
    trace = line_trace(name, times[rows], level[rows], role, hover="%{y:,.2f}")
    return {**trace, "line": {**trace["line"], "shape": "hv", "width": 2}}


def line_trace(
    name: str, x: NDArray[np.float64], y: NDArray[np.float64], role: str, *, hover: str, dash: str = "solid"
) -> dict[str, Any]:
    """Return a line, with markers where they are few or where gaps would hide a lone point; gaps are NaN."""
    mode = "lines+markers" if len(x) < MARKERS_BELOW or np.isnan(y).any() else "lines"
    look = {"mode": mode, "line": {"width": 1.6, "dash": dash}, "marker": {"size": 3}, "meta": {"role": role}}
    return {"type": "scatter", "name": name, "x": x, "y": y, "hovertemplate": hover, **look}


def time_layout(times: NDArray[np.float64], upper: str, lower: str) -> dict[str, Any]:
    """Lay out one panel, or two on one time axis; each panel has its title above it, readable on a phone."""
    time_axis: dict[str, Any] = {"type": "date", "hoverformat": "%Y-%m-%d %H:%M:%S UTC", "title": {"text": "time, UTC"}}
    margin = max(float(times[-1] - times[0]) * 0.005, 1_000.0)
    time_axis["range"] = [float(times[0]) - margin, float(times[-1]) + margin]
    domain = _UPPER if lower else WHOLE_PANEL
    layout: dict[str, Any] = {
        "xaxis": {**time_axis, "anchor": "y2" if lower else "y", "automargin": True},
        "yaxis": {**AXIS, "domain": list(domain)},
        "annotations": [panel_title(plain(upper), domain[1])],
        "hovermode": "x unified",
        "hoversubplots": "axis",
    }
    if lower:
        layout["yaxis2"] = {**AXIS, "domain": list(_LOWER), "rangemode": "tozero"}
        layout["annotations"].append(panel_title(plain(lower), _LOWER[1]))
    return layout


def panel_title(text: str, top: float) -> dict[str, Any]:
    """Return a title above a panel whose top is at this share of the height."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": f"<b>{text}</b>", "showarrow": False, "yshift": 4}


def encode_figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> str:
    """Let Plotly check the figure and write it; no ``<`` is left, so that the page may hold it in a script tag."""
    import plotly.graph_objects as graph_objects

    figure = graph_objects.Figure(traces, {**layout, "template": "none"})
    return str(figure.to_json()).replace("<", "\\u003c")


def _amounts(counts: NDArray[np.int64], result: ReplayResult) -> NDArray[np.float64]:
    """Convert counts to amounts of the asset, for pictures only."""
    return counts / float(10**result.reporting_decimals)


def _time(result: ReplayResult, row: int) -> str:
    return format_time(int(result.timeline.times_ns[row]))


def plain(text: str) -> str:
    """Make a name safe in Plotly, which reads a few tags, links among them, in every text it draws."""
    return escape(printable(text), quote=False)
