"""The parts of the report page as HTML. Every text that comes from a result passes `text`, which escapes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final

from marginkeep.lab.summary import (
    WORST_RANKING,
    format_amount,
    format_figure,
    format_label,
    format_time,
    group_digits,
    judge,
    partial_notice,
)
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.lab.figures import Chart
    from marginkeep.lab.result import Bar, LiquidatedAccount, ReplayResult

WORST_ON_PAGE: Final = 20

_MARKS: Final = {"good": "✓", "warning": "!", "bad": "✕"}
_TALL_CHARTS: Final = frozenset({"price", "fund"})


def text(value: object) -> str:
    """Escape any value for HTML, inside an element or a quoted attribute."""
    return escape(str(value), quote=True)


def scope_line(result: ReplayResult) -> str:
    """Say what was replayed: accounts, ticks, and from when to when."""
    times = result.timeline.times_ns
    words = f"{result.accounts:,} accounts, {len(times):,} ticks"
    if len(times):
        words += f", {format_time(int(times[0]))} to {format_time(int(times[-1]))}"
    return text(words)


def verdict_section(result: ReplayResult) -> str:
    """Return the banner of an interrupted run, if it is one, and the verdict."""
    verdict, notice = judge(result), partial_notice(result)
    banner = f'<p class="partial" role="alert">{text(notice)}</p>\n' if notice else ""
    return (
        f'{banner}<section id="verdict" class="verdict {verdict.state}" aria-label="Verdict">\n'
        f'<p class="state"><span aria-hidden="true">{_MARKS[verdict.state]}</span> {text(verdict.label)}</p>\n'
        f'<p class="sentence">{text(verdict.sentence)}</p>\n</section>'
    )


def bars_section(bars: tuple[Bar, ...]) -> str:
    """Return the table of stated bars, each met or failed."""
    if not bars:
        return '<p class="note">No bar was stated for this run.</p>'
    header = table_header(("Outcome", False), ("Fails if", False), ("Value", True))
    return table_card(header, (_bar_row(bar) for bar in bars))


def summary_section(result: ReplayResult) -> str:
    """Return one tile for each figure of the summary; the exact amount is the tile's title."""
    if not result.summary:
        return '<p class="note">The run recorded no figures.</p>'
    return '<dl class="tiles">\n' + "\n".join(_tile(name, result) for name in result.summary) + "\n</dl>"


def plots_section(charts: tuple[Chart, ...]) -> str:
    """Return one figure a chart; a chart without a picture is its sentence alone."""
    figures = "\n".join(_figure(chart) for chart in charts)
    if all(chart.figure_json is None for chart in charts):
        return figures
    missing = '<noscript><p class="note">The plots need JavaScript; the tables do not.</p></noscript>\n'
    hint = '<p class="note mouse">Point at a plot for its numbers, drag to zoom, double-click to zoom out.</p>\n'
    return missing + hint + figures


def worst_section(result: ReplayResult) -> str:
    """Return the worst accounts, each with its explanation to unfold."""
    if not result.worst:
        return '<p class="note">No account was liquidated.</p>'
    asset, shown = result.reporting_asset, result.worst[:WORST_ON_PAGE]
    header = table_header(
        ("Account", False),
        ("First liquidated, UTC", False),
        ("Steps", True),
        (f"Notional closed, {asset}", True),
        (f"Penalty, {asset}", True),
        (f"Bad debt, {asset}", True),
    )
    note = f'<p class="note">{len(shown)} accounts, {WORST_RANKING}.</p>\n'
    if len(shown) == 1:
        note = ""
    return note + table_card(header, (_worst_rows(account, result) for account in shown))


def sentences_section(sentences: tuple[str, ...], empty: str) -> str:
    """Return sentences as a list, or the words for none."""
    if not sentences:
        return f'<p class="note">{text(empty)}</p>'
    items = "\n".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f'<ul class="card sentences">\n{items}\n</ul>'


def reproduce_section(command: str) -> str:
    """Return the command that gives the result again, with a button that copies it."""
    if not command:
        return '<p class="note">No command was recorded for this run.</p>'
    return (
        '<p>This command gives the same result again, to the unit.</p>\n<div class="command">'
        f'<pre id="command" class="card" tabindex="0">{text(command)}</pre>'
        '<button type="button" data-copies="command" data-label="Copy command" aria-live="polite" hidden>'
        "Copy command</button></div>"
    )


def versions_section(run: Mapping[str, Any]) -> str:
    """Return the content of run.json, nested names joined by dots."""
    if not run:
        return '<p class="note">No versions were recorded for this run.</p>'
    header = table_header(("Name", False), ("Value", False))
    rows = (
        f'<tr><th scope="row">{text(name)}</th><td><code>{text(value)}</code></td></tr>'
        for name, value in _flat(run, "")
    )
    return table_card(header, rows, kind="versions")


def table_header(*columns: tuple[str, bool]) -> str:
    """Return the head of a table from (name, is a number) pairs."""
    kinds = ((name, ' class="number"' if is_number else "") for name, is_number in columns)
    cells = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in kinds)
    return f"<thead><tr>{cells}</tr></thead>"


def table_card(header: str, rows: Iterable[str], kind: str = "stacked") -> str:
    """Return a table from its head and its rows, all HTML; a `stacked` one shows a row as a list on a phone."""
    return f'<div class="card"><table class="{kind}">{header}\n<tbody>\n' + "\n".join(rows) + "\n</tbody></table></div>"


def _bar_row(bar: Bar) -> str:
    state, word = ("bad", "Failed") if bar.failed else ("good", "Met")
    mark = f'<span aria-hidden="true">{_MARKS[state]}</span>'
    return (
        f'<tr><td data-label="Outcome"><span class="outcome {state}">{mark} {word}</span></td>'
        f'<th scope="row" data-label="Fails if"><code>{text(bar.expression)}</code></th>'
        f'<td class="number" data-label="Value">{text(group_digits(bar.value))}</td></tr>'
    )


def _tile(name: str, result: ReplayResult) -> str:
    figure, label = result.summary[name], text(format_label(name))
    if isinstance(figure, str):
        return f'<div class="card"><dt>{label}</dt><dd class="words">{text(figure)}</dd></div>'
    if name not in result.amounts:
        return f'<div class="card"><dt>{label}</dt><dd>{text(format_figure(name, result))}</dd></div>'
    asset = f"<small>{text(result.reporting_asset)}</small>"
    shown = text(format_amount(figure, result.reporting_decimals))
    return f'<div class="card"><dt>{label}</dt><dd title="{_exact(figure, result)}">{shown} {asset}</dd></div>'


def _exact(count: int, result: ReplayResult) -> str:
    return text(f"{format_units(count, result.reporting_decimals)} {result.reporting_asset}")


def _figure(chart: Chart) -> str:
    words = f'<p id="{chart.key}-words">{text(chart.finding)}</p>'
    caption = f"<figcaption><h3>{text(chart.heading)}</h3>{words}</figcaption>"
    if chart.figure_json is None:
        return f'<figure class="card" id="chart-{chart.key}">{caption}</figure>'
    size = "plot tall" if chart.key in _TALL_CHARTS else "plot"
    return (
        f'<figure class="card" id="chart-{chart.key}">{caption}\n'
        f'<div class="{size}" id="{chart.key}" role="img" aria-labelledby="{chart.key}-words"></div>\n'
        f'<script type="application/json" id="{chart.key}-figure">{chart.figure_json}</script></figure>'
    )


def _worst_rows(account: LiquidatedAccount, result: ReplayResult) -> str:
    amounts = (
        ("Notional closed", account.notional),
        ("Penalty", account.penalty),
        ("Bad debt", account.bad_debt),
    )
    cells = "".join(_amount_cell(label, count, result) for label, count in amounts)
    first = format_time(account.first_time_ns).removesuffix(" UTC")
    row = (
        f'<tr><th scope="row" data-label="Account">{text(account.account)}</th>'
        f'<td data-label="First time, UTC">{first}</td>'
        f'<td class="number" data-label="Steps">{account.steps:,}</td>{cells}</tr>'
    )
    if not account.explanation:
        return row
    reasons = "".join(f"<li>{text(sentence)}</li>" for sentence in account.explanation)
    why = f"<summary>Why {text(account.account)} was liquidated</summary>"
    return f'{row}\n<tr class="why"><td colspan="6"><details>{why}<ol>{reasons}</ol></details></td></tr>'


def _amount_cell(label: str, count: int, result: ReplayResult) -> str:
    shown = text(format_amount(count, result.reporting_decimals))
    return f'<td class="number" data-label="{label}" title="{_exact(count, result)}">{shown}</td>'


def _flat(content: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    """Yield each leaf with its dotted name; a list is written as JSON."""
    for name, value in content.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        elif isinstance(value, (list, tuple, bool)):
            yield path, json.dumps(value, ensure_ascii=False, default=str)
        else:
            yield path, "not recorded" if value is None else str(value)
