"""The report of a drill: one HTML file that holds all it needs and opens without a network."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Final

from marginkeep.lab import report_page as page
from marginkeep.lab.drill_figures import build_drill_charts
from marginkeep.lab.drill_result import FATES, drill_record
from marginkeep.lab.drill_summary import NO_TIME, fate_counts, fault_words, figure_rows, finding, notice, state_of
from marginkeep.lab.oracle_study_summary import duration_text
from marginkeep.lab.report import content_policy, page_scripts, template_text
from marginkeep.lab.summary import format_amount, format_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from marginkeep.lab.drill_result import Difference, DrillResult

ACCOUNTS_ON_PAGE: Final = 200
CHANGES_ON_PAGE: Final = 60
_STATES: Final = {
    "good": "The faults changed nothing",
    "warning": "The faults changed little or only the time",
    "bad": "The faults cost somebody a position",
}
_RECORDED: Final = (
    *("marginkeep", "versions", "inputs", "rulebook", "reporting_asset", "ticks", "accounts", "sources", "complete"),
)


def write_drill_page(result: DrillResult, path: Path) -> None:
    """Write the page; its folder must exist, an old file is replaced. See `report.write_report`."""
    path.write_text(render_drill_page(result), encoding="utf-8", errors="xmlcharrefreplace")


def render_drill_page(result: DrillResult) -> str:
    """Return the page as text."""
    charts = build_drill_charts(result)
    scripts = page_scripts(charts)
    record = drill_record(result)
    return Template(template_text("oracle_drill.html")).substitute(
        policy=content_policy(scripts),
        style=template_text("report.css"),
        title=page.text(result.title),
        scope=page.text(_scope(result)),
        verdict=_verdict(result),
        faults=page.sentences_section(tuple(map(fault_words, result.faults)), "No fault was injected."),
        plots=page.plots_section(charts),
        figures=_figures_section(result),
        accounts=_accounts_section(result),
        oracle=_oracle_section(result),
        assumptions=page.sentences_section(result.assumptions, "No assumption was recorded."),
        repairs=page.sentences_section(result.repairs, "Nothing had to be repaired."),
        reproduce=page.reproduce_section(result.reproduce),
        versions=page.versions_section({name: record[name] for name in _RECORDED}),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _scope(result: DrillResult) -> str:
    words = f"{result.accounts:,} accounts, {len(result.sources)} sources, {result.done:,} ticks"
    if not result.done:
        return words
    first, last = (format_time(int(time_ns)) for time_ns in result.times_ns[[0, -1]])
    return f"{words}, {first} to {last}"


def _verdict(result: DrillResult) -> str:
    warning, state = notice(result), state_of(result)
    banner = f'<p class="partial" role="alert">{page.text(warning)}</p>\n' if warning else ""
    label = _STATES[state] if result.complete else "Interrupted"
    return (
        f'{banner}<section id="verdict" class="verdict {state}" aria-label="Finding">\n'
        f'<p class="state">{page.text(label)}</p>\n'
        f'<p class="sentence">{page.text(finding(result))}</p>\n</section>'
    )


def _figures_section(result: DrillResult) -> str:
    columns = ("Fault-free", "With faults", "Change")
    rows = (_row(name, columns, cells) for name, *cells in figure_rows(result))
    note = f'<p class="note">{page.text(f"Amounts in {result.reporting_asset}.")}</p>\n'
    return note + page.table_card(_header("", columns), rows)


def _header(first: str, columns: Sequence[str]) -> str:
    return page.table_header((first, False), *((name, True) for name in columns))


def _row(name: str, columns: Sequence[str], cells: Sequence[str]) -> str:
    numbers = "".join(
        f'<td class="number" data-label="{page.text(column)}">{page.text(cell)}</td>'
        for column, cell in zip(columns, cells, strict=True)
    )
    return f'<tr><th scope="row">{page.text(name)}</th>{numbers}</tr>'


def _accounts_section(result: DrillResult) -> str:
    if not result.differences:
        return '<p class="note">Every account was first liquidated at the same tick in both runs, or in neither.</p>'
    shown = result.differences[:ACCOUNTS_ON_PAGE]
    counts = ", ".join(f"{count:,} {what}" for what, count in fate_counts(result).items() if count)
    left = f" The first {len(shown)} are shown, drill.json has all." if len(shown) < len(result.differences) else ""
    note = f'<p class="note">{page.text(f"{counts}.{left}")}</p>\n'
    asset = result.reporting_asset
    names = (("Account", False), ("Liquidated", False), ("Fault-free, UTC", False), ("With faults, UTC", False))
    header = page.table_header(*names, ("Later by", True), (f"Notional, change, {asset}", True))
    return note + page.table_card(header, (_account_rows(one, result) for one in shown))


def _account_rows(one: Difference, result: DrillResult) -> str:
    tone = "bad" if one.fate == "only with" and not one.in_spread else "warning"
    late = "" if one.late_ns is None else f"{'-' if one.late_ns < 0 else ''}{duration_text(abs(one.late_ns))}"
    times = (_time(one.healthy_ns), _time(one.faulted_ns))
    reasons = "".join(f"<li>{page.text(sentence)}</li>" for sentence in one.why)
    return (
        f'<tr><th scope="row" data-label="Account">{page.text(one.account)}</th>'
        f'<td data-label="Liquidated"><span class="outcome {tone}" title="{FATES[one.fate]}">{one.fate}</span></td>'
        f'<td data-label="Fault-free">{times[0]}</td><td data-label="With faults">{times[1]}</td>'
        f'<td class="number" data-label="Later by">{late}</td>'
        f'<td class="number" data-label="Notional, change">'
        f"{page.text(format_amount(one.notional, result.reporting_decimals))}</td></tr>\n"
        f'<tr class="why"><td colspan="6"><details><summary>{page.text(one.short)}</summary>'
        f"<ol>{reasons}</ol></details></td></tr>"
    )


def _time(time_ns: int | None) -> str:
    return NO_TIME if time_ns is None else format_time(time_ns).removesuffix(" UTC")


def _oracle_section(result: DrillResult) -> str:
    """Return what changed in the oracle, counted in both runs, and the first changes with the faults one by one."""
    columns = ("Fault-free", "With faults")
    rows = [_row(f"{what} to {after}", columns, [f"{count:,}" for count in counts])
            for (what, after), counts in result.change_counts.items()]  # fmt: skip
    rows += [
        _row(f"quotes ignored: {reason.replace('_', ' ')}", columns, [f"{count:,}" for count in counts])
        for reason, counts in result.ignored.items()
    ]
    if not rows:
        return '<p class="note">No quality, market, peg or source changed, and no quote was ignored.</p>'
    return page.table_card(_header("Change", columns), rows) + _changes_list(result)


def _changes_list(result: DrillResult) -> str:
    shown = result.changes[:CHANGES_ON_PAGE]
    if not shown:
        return ""
    items = "".join(
        f"<li>{page.text(f'{format_time(at)}: {what} of {name} from {before} to {after}: {why}')}</li>"
        for at, what, name, before, after, why in shown
    )
    left = f", the first {len(shown)} of {len(result.changes):,}" if len(shown) < len(result.changes) else ""
    summary = f"<summary>Changes with the faults{left}</summary>"
    return f'\n<p class="note"></p><details>{summary}<ol>{items}</ol></details>'
