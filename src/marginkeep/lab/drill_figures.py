"""The picture of a drill: one market's price with and without the faults, and when which fault and quality applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.lab.drill_summary import fate_counts
from marginkeep.lab.figures import NS_PER_MS, Chart, encode_figure, kept_rows, line_trace, plain, time_layout
from marginkeep.lab.summary import format_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.lab.drill_result import DrillResult, Fate
    from marginkeep.lab.faults import Fault

AROUND: Final = 6
"""A drill longer than the faults by this factor is shown around them only."""

SOURCES_NAMED: Final = 2
_BAND: Final = "rgba(149, 120, 60, 0.22)"
_MARKS: Final[tuple[tuple[Fate, str, str], ...]] = (
    ("only without", "series-7", "diamond"),
    ("later", "warning", "circle"),
    ("earlier", "series-4", "circle"),
    ("only with", "bad", "x"),
)


def build_drill_charts(result: DrillResult) -> tuple[Chart, ...]:
    """Draw the timeline."""
    key, heading = "price", "Price and quality, with and without the faults"
    if not result.done or not result.markets:
        return (Chart(key, heading, "No tick was replayed, so there is nothing to show.", None),)
    column = shown_market(result)
    rows = _rows_shown(result)
    times = result.times_ns[rows] / NS_PER_MS
    traces = [*_price_lines(result, column, rows, times), *_marks(result, column, rows)]
    labels, strips = _strips(result, column, rows)
    layout = time_layout(times, f"{plain(result.names[column])}, first tick = 100", "What applied when")
    count = len(labels)
    layout["yaxis2"] = {
        **layout["yaxis2"],
        "rangemode": "normal",
        "range": [-0.6, count - 0.4],
        "tickvals": list(range(count)),
        "ticktext": labels,
        "showgrid": False,
    }
    layout["shapes"] = [_band(*span) for span in _spans(_bad(result, column, faulted=True)[rows], times)]
    layout["hoversubplots"] = "single"
    return (Chart(key, heading, _words(result, column, rows), encode_figure([*traces, *strips], layout)),)


def shown_market(result: DrillResult) -> int:
    """Return the column of the market whose price the faults changed most, by quality where by none."""
    markets = slice(0, result.markets)
    healthy, faulted = result.healthy_prices[:, markets], result.faulted_prices[:, markets]
    apart = (np.abs(faulted - healthy) / np.maximum(healthy, 1)).max(axis=0)
    differs = (result.faulted_flags[:, markets] != result.healthy_flags[:, markets]).sum(axis=0)
    return int(np.lexsort((-differs, -apart))[0])


def _rows_shown(result: DrillResult) -> slice:
    """Return the ticks to draw: all, or those around the faults where these are a small part."""
    times = result.times_ns
    start, end = min(fault.start_ns for fault in result.faults), max(fault.end_ns for fault in result.faults)
    if times[-1] - times[0] <= AROUND * (end - start):
        return slice(0, result.done)
    first, last = np.searchsorted(times, [2 * start - end, 2 * end - start]).tolist()
    return slice(min(first, result.done - 1), max(last + 1, min(first, result.done - 1) + 1))


def _price_lines(result: DrillResult, column: int, rows: slice, times: NDArray[np.float64]) -> list[dict[str, Any]]:
    first = float(max(1, result.healthy_prices[0, column]))
    lines = []
    for name, prices, role, dash, width in (
        ("fault-free", result.healthy_prices, "series-1", "solid", 3.5),
        ("with faults", result.faulted_prices, "series-2", "solid", 1.6),
    ):
        level = prices[rows, column] / first * 100.0
        kept = kept_rows(level)
        trace = line_trace(name, times[kept], level[kept], role, dash=dash, hover="%{y:.3f}")
        lines.append({**trace, "mode": "lines", "line": {"width": width, "dash": dash, "shape": "hv"}})
    return lines


def _marks(result: DrillResult, column: int, rows: slice) -> list[dict[str, Any]]:
    """Mark the ticks of liquidations that came otherwise, on the line of the run with faults."""
    first = float(max(1, result.healthy_prices[0, column]))
    traces = []
    for fate, role, symbol in _MARKS:
        found = [one.healthy_ns if one.faulted_ns is None else one.faulted_ns for one in result.of_fate(fate)]
        moments, counts = np.unique(np.array(found, np.int64), return_counts=True)
        ticks = np.searchsorted(result.times_ns, moments)
        inside = (ticks >= rows.start) & (ticks < rows.stop)
        if not inside.any():
            continue
        level = result.faulted_prices[ticks[inside], column] / first * 100.0
        trace = line_trace(f"liquidated {fate}", moments[inside] / NS_PER_MS, level, role, hover="%{customdata:,.0f}")
        look = {"mode": "markers", "marker": {"size": 9, "symbol": symbol, "line": {"width": 0}}}
        traces.append({**trace, **look, "customdata": counts[inside].astype(np.float64)})
    return traces


def _strips(result: DrillResult, column: int, rows: slice) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the labels of the lower panel, bottom up, and a strip for each: qualities first, then the faults."""
    times = result.times_ns[rows] / NS_PER_MS
    entries: list[tuple[str, str, list[tuple[float, float]]]] = [
        ("not valid, with faults", "series-2", _spans(_bad(result, column, faulted=True)[rows], times)),
        ("not valid, fault-free", "series-1", _spans(_bad(result, column, faulted=False)[rows], times)),
    ]
    for fault in reversed(result.faults):
        span = (max(fault.start_ns / NS_PER_MS, times[0]), min(fault.end_ns / NS_PER_MS, times[-1]))
        entries.append((_label(fault, result), "bad", [span] if span[0] < span[1] else []))
    strips = [_strip(label, role, place, spans) for place, (label, role, spans) in enumerate(entries)]
    return [plain(label) for label, _, _ in entries], strips


def _strip(label: str, role: str, place: int, spans: list[tuple[float, float]]) -> dict[str, Any]:
    x = np.array([edge for start, end in spans for edge in (start, end, np.nan)], np.float64)
    y = np.where(np.isnan(x), np.nan, float(place))
    trace = line_trace(plain(label), x, y, role, hover="")
    look = {"mode": "lines", "line": {"width": 11}, "hoverinfo": "skip", "hovertemplate": None, "showlegend": False}
    return {**trace, **look, "yaxis": "y2"}


def _label(fault: Fault, result: DrillResult) -> str:
    """Return a fault in a few words; many sources are counted rather than named."""
    if len(fault.sources) <= SOURCES_NAMED:
        return fault.words
    return f"{len(fault.sources)} of {len(result.sources)} sources{fault.words.removeprefix(', '.join(fault.sources))}"


def _bad(result: DrillResult, column: int, *, faulted: bool) -> NDArray[np.bool_]:
    return result.not_valid(result.faulted_flags if faulted else result.healthy_flags, column)


def _spans(where: NDArray[np.bool_], times: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return start and end of each stretch; it ends where the next tick begins."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]])))
    ends = np.append(times[1:], times[-1])
    return [(float(times[start]), float(ends[stop - 1])) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _band(start: float, end: float) -> dict[str, Any]:
    place = {"type": "rect", "xref": "x", "yref": "y domain", "x0": start, "x1": end, "y0": 0, "y1": 1}
    return {**place, "fillcolor": _BAND, "line": {"width": 0}, "layer": "below"}


def _words(result: DrillResult, column: int, rows: slice) -> str:
    healthy, faulted = result.healthy_prices[:, column], result.faulted_prices[:, column]
    apart = np.abs(faulted - healthy) / np.maximum(healthy, 1)
    row = int(apart.argmax())
    name = result.names[column]
    if not apart[row]:
        words = f"The price of {name}, as of every market, was the same in both runs."
    else:
        at = format_time(int(result.times_ns[row]))
        words = f"{name} is the market whose price the faults moved most, by {10_000 * apart[row]:,.1f} bp at {at}."
    words += " Shaded: its quality was not valid with the faults."
    counts = [f"{count:,} {what}" for what, count in fate_counts(result).items() if count]
    words += f" Marked, in any market: {', '.join(counts)}." if counts else ""
    if rows != slice(0, result.done):
        words += " Only the time around the faults is shown."
    return words
