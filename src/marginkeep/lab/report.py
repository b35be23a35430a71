"""The report of a replay: one HTML file that holds all it needs and opens without a network."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from marginkeep.lab import report_page as page
from marginkeep.lab.figures import build_charts

if TYPE_CHECKING:
    from pathlib import Path

    from marginkeep.lab.figures import Chart
    from marginkeep.lab.result import ReplayResult


def write_report(result: ReplayResult, path: Path) -> None:
    """Write the report page of a replay.

    The page asks for nothing from outside: style, scripts and figures are in the file, and its content security
    policy refuses every request and every script but its own two. It weighs about 5 MB, nearly all of it the
    plotting library; a result without pictures is a page of a few kB.

    Parameters
    ----------
    result : what the replay found; complete or not, with or without ticks
    path : the HTML file to write; its folder must exist, an old file is replaced

    Raises
    ------
    OSError : the file cannot be written
    """
    # A name with half a character (a lone surrogate, legal in JSON) must not cost the reader the whole page.
    path.write_text(render_report(result), encoding="utf-8", errors="xmlcharrefreplace")


def render_report(result: ReplayResult) -> str:
    """Return the report page as text; see `write_report`."""
    charts = build_charts(result)
    scripts = page_scripts(charts)
    return Template(template_text("report.html")).substitute(
        policy=content_policy(scripts),
        style=template_text("report.css"),
        title=page.text(result.title),
        scope=page.scope_line(result),
        verdict=page.verdict_section(result),
        bars=page.bars_section(result.bars),
        summary=page.summary_section(result),
        plots=page.plots_section(charts),
        worst=page.worst_section(result),
        assumptions=page.sentences_section(result.assumptions, "No assumption was recorded."),
        repairs=page.sentences_section(result.repairs, "Nothing had to be repaired."),
        reproduce=page.reproduce_section(result.reproduce),
        versions=page.versions_section(result.run),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def page_scripts(charts: tuple[Chart, ...]) -> list[str]:
    """Return the page's script, after the plotting library if there is anything to plot."""
    own = template_text("report.js")
    if all(chart.figure_json is None for chart in charts):
        return [own]
    from plotly.offline import get_plotlyjs

    return [get_plotlyjs(), own]


def content_policy(scripts: list[str]) -> str:
    """Allow the page's scripts by their hash, the styles the plots set, the pictures they save, nothing else."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def template_text(name: str) -> str:
    """Return a file of the folder of templates."""
    folder = resources.files("marginkeep.lab").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")
