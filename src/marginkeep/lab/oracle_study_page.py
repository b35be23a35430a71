"""The report of a study of update policies: one HTML file that holds all it needs and opens without a network."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Final

from marginkeep.lab import report_page as page
from marginkeep.lab.oracle_study import TAIL
from marginkeep.lab.oracle_study_figures import build_study_charts
from marginkeep.lab.oracle_study_result import HARMS, policy_label, study_record
from marginkeep.lab.oracle_study_summary import duration_text, finding, harm_number, notice
from marginkeep.lab.report import content_policy, page_scripts, template_text
from marginkeep.lab.summary import format_amount, format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from marginkeep.lab.oracle_study import PolicyRun
    from marginkeep.lab.oracle_study_result import StudyResult


NO_BREAK_SPACE: Final = "\N{NO-BREAK SPACE}"


def write_study_page(result: StudyResult, path: Path) -> None:
    """Write the page; its folder must exist, an old file is replaced. See `report.write_report`."""
    path.write_text(render_study_page(result), encoding="utf-8", errors="xmlcharrefreplace")


def render_study_page(result: StudyResult) -> str:
    """Return the page as text."""
    charts = build_study_charts(result)
    scripts = page_scripts(charts)
    record = {name: value for name, value in study_record(result).items() if name != "policies"}
    return Template(template_text("oracle_study.html")).substitute(
        policy=content_policy(scripts),
        style=template_text("report.css"),
        title=page.text(result.title),
        scope=page.text(_scope(result)),
        verdict=_verdict(result),
        plots=page.plots_section(charts),
        policies=_policies_section(result),
        liquidations=_liquidations_section(result),
        assumptions=page.sentences_section(result.assumptions, "No assumption was recorded."),
        repairs=page.sentences_section(result.repairs, "Nothing had to be repaired."),
        reproduce=page.reproduce_section(result.reproduce),
        versions=page.versions_section(record),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _scope(result: StudyResult) -> str:
    span = f"{format_time(result.first_ns)} to {format_time(result.last_ns)}"
    return f"{result.accounts:,} accounts, {result.feeds} feeds, {result.ticks:,} ticks, {span}"


def _verdict(result: StudyResult) -> str:
    warning = notice(result)
    banner = f'<p class="partial" role="alert">{page.text(warning)}</p>\n' if warning else ""
    state = "warning" if warning else "good"
    return (
        f'{banner}<section id="verdict" class="verdict {state}" aria-label="Finding">\n'
        f'<p class="state">Harm: {page.text(result.harm)}</p>\n'
        f'<p class="sentence">{page.text(_unbroken(finding(result)))}</p>\n</section>'
    )


def _unbroken(words: str) -> str:
    return words.replace(" %", f"{NO_BREAK_SPACE}%")


def _policies_section(result: StudyResult) -> str:
    if not result.runs:
        return '<p class="note">No policy was replayed to the end.</p>'
    columns = ("Updates", "Cost", "Harm", "Mean error, bp", "Worst error, bp", "Unpaid", "Taken over")
    unit = "" if result.harm_unit == result.reporting_asset else f", in {result.harm_unit}"
    words = f"Amounts in {result.reporting_asset}. Harm: {HARMS[result.harm]}{unit}."
    return f'<p class="note">{page.text(words)}</p>\n' + _table(result, columns, _policy_cells)


def _policy_cells(result: StudyResult, run: PolicyRun) -> list[str]:
    costs = [f"{run.updates:,}", _money(result, result.cost(run)), harm_number(result, run)]
    errors = [f"{run.mean_error_bp:,.2f}", f"{run.worst_error_bp:,.1f}"]
    return [*costs, *errors, _money(result, run.shortfall), _money(result, run.taken_over)]


def _money(result: StudyResult, amount: int) -> str:
    return format_amount(amount, result.reporting_decimals)


def _liquidations_section(result: StudyResult) -> str:
    if not result.runs:
        return '<p class="note">No policy was replayed to the end.</p>'
    columns = ("Accounts", "Late", "Median", f"p{TAIL}", "Worst", "Never", "Early", "Extra", "Bad debt", "Fund paid")
    note = (
        "Times are of an account's first liquidation, over accounts liquidated in both runs; never: only with every "
        f"tick; extra: only with this policy. Amounts in {result.reporting_asset}."
    )
    return f'<p class="note">{page.text(note)}</p>\n' + _table(result, columns, _liquidation_cells)


def _liquidation_cells(result: StudyResult, run: PolicyRun) -> list[str]:
    waits = [duration_text(run.late_percentile(percent)) for percent in (50, TAIL, 100)]
    counts = [f"{count:,}" for count in (run.never, run.early, run.extra)]
    amounts = [_money(result, run.bad_debt), _money(result, run.fund_paid)]
    return [f"{run.liquidated:,}", f"{run.late:,}", *waits, *counts, *amounts]


def _table(result: StudyResult, columns: Sequence[str], cells: Callable[[StudyResult, PolicyRun], list[str]]) -> str:
    """Return a table with one row a policy."""
    header = page.table_header(("Policy", False), ("Front", False), *((name, True) for name in columns))
    rows = []
    for run, best in zip(result.runs, result.front(), strict=True):
        numbers = "".join(
            f'<td class="number" data-label="{page.text(name)}">{page.text(cell)}</td>'
            for name, cell in zip(columns, cells(result, run), strict=True)
        )
        mark = '<span class="outcome good">yes</span>' if best else "no"
        label = f'<span style="white-space: nowrap">{page.text(policy_label(run.policy))}</span>'
        name = f'<th scope="row" data-label="Policy">{label}</th><td data-label="Front">{mark}</td>'
        rows.append(f"<tr>{name}{numbers}</tr>")
    return page.table_card(header, rows)
