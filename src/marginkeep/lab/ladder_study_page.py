"""The page of a ladder study: one HTML file that holds all it needs and opens without a network."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

from marginkeep.lab import report_page as page
from marginkeep.lab.ladder_study_figures import build_study_charts
from marginkeep.lab.ladder_study_result import study_record
from marginkeep.lab.ladder_study_summary import SECTIONS, finding, notice
from marginkeep.lab.report import content_policy, page_scripts, template_text
from marginkeep.lab.summary import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from marginkeep.lab.ladder_study_result import StudyResult
    from marginkeep.lab.ladder_study_summary import Row


def write_study_page(result: StudyResult, path: Path) -> None:
    """Write the page; its folder must exist, an old file is replaced. See `report.write_report`."""
    path.write_text(render_study_page(result), encoding="utf-8", errors="xmlcharrefreplace")


def render_study_page(result: StudyResult) -> str:
    """Return the page as text."""
    charts = build_study_charts(result)
    scripts = page_scripts(charts)
    record = {name: value for name, value in study_record(result).items() if name != "rulebooks"}
    record["rulebooks"] = {run.variant.key: run.rulebook_hash for run in result.runs}
    return Template(template_text("ladder_study.html")).substitute(
        policy=content_policy(scripts),
        style=template_text("report.css"),
        title=page.text(result.title),
        scope=page.text(_scope(result)),
        verdict=_verdict(result),
        plots=page.plots_section(charts),
        figures=_figures_section(result),
        rulebooks=_rulebooks_section(result),
        assumptions=page.sentences_section(result.assumptions, "No assumption was recorded."),
        repairs=page.sentences_section(result.repairs, "Nothing had to be repaired."),
        reproduce=page.reproduce_section(result.reproduce),
        versions=page.versions_section(record),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _scope(result: StudyResult) -> str:
    span = f"{format_time(int(result.times_ns[0]))} to {format_time(int(result.times_ns[-1]))}"
    return f"{result.accounts:,} accounts, {result.markets} markets, {len(result.times_ns):,} ticks, {span}"


def _verdict(result: StudyResult) -> str:
    warning = notice(result)
    banner = f'<p class="partial" role="alert">{page.text(warning)}</p>\n' if warning else ""
    state = "warning" if warning else "good"
    return (
        f'{banner}<section id="verdict" class="verdict {state}" aria-label="Finding">\n'
        f'<p class="state">Finding</p>\n<p class="sentence">{page.text(finding(result))}</p>\n</section>'
    )


def _figures_section(result: StudyResult) -> str:
    """Return a table for each group of figures, rulebooks across, and what the figures mean below it."""
    if not result.runs:
        return '<p class="note">No rulebook was replayed to the end.</p>'
    note = f'<p class="note">Amounts in {page.text(result.reporting_asset)}.</p>\n'
    return note + "\n".join(_group(result, title, rows) for title, rows in SECTIONS)


def _group(result: StudyResult, title: str, rows: tuple[Row, ...]) -> str:
    columns = [run.variant.label for run in result.runs]
    header = page.table_header((title, False), *((name, True) for name in columns))
    meanings = "; ".join(f"{row.name.strip().lower()}: {row.meaning}" for row in rows if row.meaning)
    words = f'<p class="note">{page.text(meanings[:1].upper() + meanings[1:])}.</p>' if meanings else ""
    return page.table_card(header, _lines(result, title, rows)) + f'\n<div style="margin: 0 0 1.4rem">{words}</div>'


def _lines(result: StudyResult, title: str, rows: tuple[Row, ...]) -> Iterator[str]:
    for row in rows:
        cells = "".join(
            f'<td class="number" data-label="{page.text(run.variant.label)}">{page.text(row.write(result, run))}</td>'
            for run in result.runs
        )
        yield f'<tr><th scope="row" data-label="{page.text(title)}">{page.text(row.name.strip())}</th>{cells}</tr>'


def _rulebooks_section(result: StudyResult) -> str:
    """Say in what the rulebooks differ, and name their files."""
    sentences = tuple(f"{v.label} ({v.key}.toml): {v.words}" for v in result.planned)
    return page.sentences_section(sentences, "No rulebook was planned.")
