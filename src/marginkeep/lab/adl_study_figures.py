"""The pictures of the deleveraging study: how concentrated each policy is, and what production took beside the need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.lab.adl_study_result import LABELS
from marginkeep.lab.adl_study_waves import DECIMALS, FACTS
from marginkeep.lab.figures import AXIS, WHOLE_PANEL, Chart, encode_figure, line_trace, panel_title

if TYPE_CHECKING:
    from marginkeep.lab.adl_study import PolicyRun
    from marginkeep.lab.adl_study_result import StudyResult

_PERCENT: Final = 100.0
_MILLION: Final = float(10 ** (DECIMALS + 6))
_DASHES: Final = ("solid", "solid", "dash", "dot")
POINTS_MAX: Final = 600


def build_study_charts(result: StudyResult) -> tuple[Chart, ...]:
    """Draw who pays under each policy, and what production took beside the need."""
    return (_concentration_chart(result), _waves_chart(result))


def _concentration_chart(result: StudyResult) -> Chart:
    curves = [_curve(run, rank) for rank, run in enumerate(result.runs[1:])]
    published = line_trace(
        "published",
        np.array([rank for rank, _ in FACTS.top], np.float64),
        np.array([float(share) * _PERCENT for _, share in FACTS.top]),
        "muted",
        hover="published: the largest %{x} have %{y:.1f} %<extra></extra>",
    )
    points = {**published, "mode": "markers", "marker": {"size": 11, "symbol": "diamond-open", "line": {"width": 2}}}
    layout = {
        "xaxis": {**AXIS, "type": "log", "dtick": 1, "tickformat": ",d", "exponentformat": "none"}
        | {"title": {"text": "accounts, the largest first (log scale)"}},
        "yaxis": {**AXIS, "domain": list(WHOLE_PANEL), "range": [0, 102], "ticksuffix": " %"},
        "annotations": [panel_title("Share of the closed notional", WHOLE_PANEL[1])],
        "hovermode": "closest",
    }
    words = (
        "The share of all closed notional that the largest accounts have, by policy, in the generated population. "
        "Diamonds are what was published, which the queue meets by construction."
    )
    return Chart("who-pays", "Who pays", words, encode_figure([*curves, points], layout))


def _waves_chart(result: StudyResult) -> Chart:
    waves = [str(wave.number) for wave in result.waves]
    layout = {
        "xaxis": {**AXIS, "type": "category", "categoryorder": "array", "categoryarray": waves}
        | {"title": {"text": "wave"}},
        "yaxis": {**AXIS, "domain": list(WHOLE_PANEL)},
        "annotations": [panel_title("Taken less needed, million USD", WHOLE_PANEL[1])],
        "hovermode": "closest",
        "barmode": "relative",
    }
    words = (
        "What production took less what was needed, wave by wave: data. At the bankruptcy price the difference is "
        "zero in every wave under every policy."
    )
    if any(gap for run in result.runs[1:] for gap in run.waves):
        words = "What production took less what was needed, wave by wave: data."
    return Chart("waves", "What production took", words, encode_figure(_bars(result), layout))


def _curve(run: PolicyRun, rank: int) -> dict[str, Any]:
    notionals = np.sort(run.figures.notionals)[::-1].astype(np.float64)
    share = np.cumsum(notionals) / max(1.0, float(notionals.sum())) * _PERCENT
    place = np.arange(1, len(share) + 1, dtype=np.float64)
    kept = _spread(len(share))
    hover = f"{LABELS[run.name]}: the largest %{{x:,}} have %{{y:.1f}} %<extra></extra>"
    trace = line_trace(
        LABELS[run.name], place[kept], share[kept], f"series-{rank + 1}", hover=hover, dash=_DASHES[rank]
    )
    return {**trace, "mode": "lines", "line": {"width": 2.2, "dash": _DASHES[rank]}}


def _spread(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return rows evenly spread on a log scale, the first and the last among them."""
    if count <= POINTS_MAX:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, POINTS_MAX).round().astype(np.int64) - 1)


def _bars(result: StudyResult) -> list[dict[str, Any]]:
    waves = [str(wave.number) for wave in result.waves]
    gaps = np.array([wave.taken - wave.needed for wave in result.waves]) / _MILLION
    bars = []
    for name, role, shown in (("over", "series-6", gaps > 0), ("under", "series-7", gaps <= 0)):
        bars.append(
            {
                "type": "bar",
                "name": f"production, {name}",
                "x": [wave for wave, yes in zip(waves, shown, strict=True) if yes],
                "y": gaps[shown],
                "hovertemplate": "wave %{x}: %{y:,.3f} M USD<extra></extra>",
                "meta": {"role": role},
            }
        )
    return bars
