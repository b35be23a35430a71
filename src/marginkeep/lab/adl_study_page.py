"""The page of the deleveraging study: one HTML file that holds all it needs and opens without a network."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Final

from marginkeep.lab import report_page as page
from marginkeep.lab.adl_study_figures import build_study_charts
from marginkeep.lab.adl_study_result import DATA, MADE_UP, study_record
from marginkeep.lab.adl_study_summary import (
    columns_of,
    finding,
    fit_words,
    identity_words,
    millions,
    published_cells,
    title_of,
)
from marginkeep.lab.report import content_policy, page_scripts, template_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from marginkeep.lab.adl_study_result import StudyResult

_AMOUNTS: Final = ("Policy", "Needed", "Taken", "Over", "Under", "Largest\nhaircut")
_OF_RECORD: Final = ("marginkeep", "versions", "inputs")


def write_study_page(result: StudyResult, path: Path) -> None:
    """Write the page; its folder must exist, an old file is replaced. See `report.write_report`."""
    path.write_text(render_study_page(result), encoding="utf-8", errors="xmlcharrefreplace")


def render_study_page(result: StudyResult) -> str:
    """Return the page as text."""
    charts = build_study_charts(result)
    scripts = page_scripts(charts)
    record = study_record(result)
    return Template(template_text("adl_study.html")).substitute(
        policy=content_policy(scripts),
        style=template_text("report.css"),
        title=page.text(title_of(result)),
        scope=page.text(f"{result.source}; {result.accounts:,} generated accounts, seed {result.seed}"),
        finding=page.text(finding(result).replace(" M", "\N{NO-BREAK SPACE}M")),
        plots=page.plots_section(charts),
        policies=_policies_section(result),
        waves=_waves_section(result),
        fit=_fit_section(result),
        identity=page.text(identity_words(result.identity)),
        origin=page.sentences_section((*DATA, *MADE_UP), "Nothing was recorded."),
        reproduce=page.reproduce_section(result.reproduce),
        versions=page.versions_section({name: record[name] for name in _OF_RECORD}),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _policies_section(result: StudyResult) -> str:
    """Return two tables: how much was taken, and from whom."""
    first = (
        "Amounts in million USD. The first row is what was published; all others are the generated population. "
        "Over and under: taken beyond and below what was needed, wave by wave."
    )
    second = (
        "Top: share of the closed notional of the 1, 10 and 100 largest. Hedges hurt: accounts left with less health "
        "at maintenance than before; health lost: by how much, million USD."
    )
    writers = list(columns_of())
    amounts = [name for name in writers if name in _AMOUNTS]
    others = ["Policy", *(name for name in writers if name not in _AMOUNTS)]
    return (
        f'<p class="note">{page.text(first)}</p>\n{_policy_table(result, amounts)}\n'
        f'<p class="note" style="margin-top: 1.2rem">{page.text(second)}</p>\n{_policy_table(result, others)}'
    )


def _policy_table(result: StudyResult, headers: list[str]) -> str:
    writers = columns_of()
    rows = [published_cells(result, headers), *([writers[name](run) for name in headers] for run in result.runs)]
    return _table([name.replace("\n", " ") for name in headers], rows)


def _waves_section(result: StudyResult) -> str:
    rows = [
        (
            str(wave.number),
            f"{wave.fills:,}",
            millions(wave.needed),
            millions(wave.taken),
            *_apart(wave.taken - wave.needed),
        )
        for wave in result.waves
    ]
    note = '<p class="note">Data, in million USD.</p>\n'
    return note + _table(["Wave", "Positions closed", "Needed", "Taken", "Over", "Under"], rows)


def _apart(gap: int) -> tuple[str, str]:
    return millions(max(0, gap)), millions(max(0, -gap))


def _fit_section(result: StudyResult) -> str:
    rows = [(fit.name, *fit_words(fit)) for fit in result.fit]
    note = '<p class="note">The queue at production\'s prices, in the generated population, beside the event.</p>\n'
    return note + _table(["Figure", "Published", "Reached"], rows)


def _table(headers: list[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table whose first column names the row."""
    lines = []
    for name, *cells in rows:
        numbers = "".join(
            f'<td class="number" data-label="{page.text(header)}">{page.text(cell)}</td>'
            for header, cell in zip(headers[1:], cells, strict=True)
        )
        title = f'<span style="white-space: nowrap">{page.text(name)}</span>'
        lines.append(f'<tr><th scope="row" data-label="{page.text(headers[0])}">{title}</th>{numbers}</tr>')
    return page.table_card(page.table_header((headers[0], False), *((header, True) for header in headers[1:])), lines)
