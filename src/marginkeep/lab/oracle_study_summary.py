"""A study of update policies in words, and as a table on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.lab.oracle_study import TAIL
from marginkeep.lab.oracle_study_result import HARMS, policy_label
from marginkeep.lab.summary import format_amount, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from marginkeep.lab.oracle_study import PolicyRun
    from marginkeep.lab.oracle_study_result import StudyResult

_LEAST_FIRST: Final = (
    *("Extra", "Late\nmedian", "Updates", "Error\nworst", "Late", "Unpaid", "Late\nworst", "Taken over"),
    *("Error\nmean bp", "Never", f"Late\np{TAIL}"),
)
"""Columns that a narrow terminal does without, the first to go first."""


def finding(result: StudyResult) -> str:
    """Say in two sentences what the study found."""
    if not result.runs:
        return "No policy was replayed to the end, so there is nothing to compare."
    front = result.on_front()
    if len(result.runs) == 1:
        return "Only the run that publishes every tick was replayed to the end: there is nothing to compare it with."
    count = f"{len(front)} of {len(result.runs)} policies {'is' if len(front) == 1 else 'are'} on the Pareto front"
    cheapest, dearest = front[-1], result.runs[0]
    words = f"{count}: no other is both cheaper and less harmful."
    if cheapest is dearest:
        return words
    share = result.cost(cheapest) / result.cost(dearest)
    return (
        f"{words} The cheapest ({policy_label(cheapest.policy)}) makes {100 * share:.1f} % of the updates of every "
        f"tick: {_harm_words(result, cheapest)}."
    )


def _harm_words(result: StudyResult, run: PolicyRun) -> str:
    harm = harm_text(result, run)
    if result.harm == "bad_debt":
        less = result.harm_of(run) < 0
        return f"liquidated accounts leave {harm.removeprefix('-')} {'less' if less else 'more'} unpaid"
    if result.harm == "late":
        return f"liquidations are late by {harm} on average"
    if result.harm == "error":
        return f"published prices are off by {harm} on average"
    return f"who takes positions over loses {harm} to stale prices"


def harm_number(result: StudyResult, run: PolicyRun) -> str:
    """Write a run's harm without its unit."""
    if result.harm == "taken_over":
        return format_amount(run.taken_over, result.reporting_decimals)
    if result.harm == "bad_debt":
        return format_amount(run.shortfall - result.runs[0].shortfall, result.reporting_decimals)
    return f"{result.harm_of(run):,.2f}"


def harm_text(result: StudyResult, run: PolicyRun) -> str:
    """Write a run's harm with its unit."""
    return f"{harm_number(result, run)} {result.harm_unit}"


def harm_header(result: StudyResult) -> str:
    """Return the header of the column of harm, two lines."""
    names = {"bad_debt": "more unpaid", "late": "minutes late", "error": "mean bp", "taken_over": "taken over"}
    return f"Harm:\n{names[result.harm]}"


def notice(result: StudyResult) -> str | None:
    """Return the sentence that warns of an interrupted study; None for a complete one."""
    if result.complete:
        return None
    return f"Interrupted: {len(result.runs)} of {result.planned} policies were finished, and only these are shown."


def duration_text(time_ns: int) -> str:
    """Write a duration the short way.

    Examples
    --------
    >>> duration_text(0), duration_text(90 * 10**9), duration_text(45 * 60 * 10**9), duration_text(31_020 * 10**9)
    ('0', '90s', '45m', '8h37m')
    """
    if not time_ns:
        return "0"
    whole = time_ns // 10**9
    if whole < 120:
        return f"{time_ns / 10**9:g}s"
    minutes = whole // 60
    return f"{minutes}m" if minutes < 120 else f"{minutes // 60}h{minutes % 60:02d}m"


def write_study_table(result: StudyResult, console: Console) -> None:
    """Print what was found, one row a policy; made for 80 columns and more, with fewer columns on narrow terminals."""
    from rich.text import Text

    console.print(Text(printable(result.title), style="dim"))
    warning = notice(result)
    if warning:
        console.print(Text(warning, style="bold yellow"))
    console.print(Text(finding(result), style="bold"))
    if result.runs:
        console.print(_policy_table(result, console.width))
        console.print(Text(f"* Pareto front of cost and {result.harm}: {HARMS[result.harm]}", style="dim"))


def _policy_table(result: StudyResult, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(printable(f"Update policies; amounts in {result.reporting_asset}"), style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    columns = _fitting_columns(result, width)
    table.add_column("", no_wrap=True)
    for header in columns:
        table.add_column(header, justify="left" if header == "Policy" else "right", no_wrap=True)
    for row, best in enumerate(result.front()):
        cells = (Text(printable(column[row])) for column in columns.values())
        table.add_row("*" if best else "", *cells, style="bold" if best else None)
    return table


def _fitting_columns(result: StudyResult, width: int) -> dict[str, list[str]]:
    """Return header -> cells of the columns for which there is room: a number cut short would be a wrong number."""
    columns = {header: [cell(run) for run in result.runs] for header, cell in _columns(result).items()}
    for header in _LEAST_FIRST:
        if _table_width(columns) <= width:
            break
        columns.pop(header, None)
    return columns


def _table_width(columns: dict[str, list[str]]) -> int:
    """Return the width of the table: the widest of each column and the two that part it from the next."""
    lines = ([*header.split("\n"), *cells] for header, cells in columns.items())
    return 5 + sum(max(map(len, column)) + 2 for column in lines)


def _columns(result: StudyResult) -> dict[str, Callable[[PolicyRun], str]]:
    """Return header -> what writes a cell, without what the column of the harm already says."""

    def money(amount: int) -> str:
        return format_amount(amount, result.reporting_decimals)

    columns: dict[str, Callable[[PolicyRun], str]] = {
        "Policy": lambda run: policy_label(run.policy),
        "Updates": lambda run: f"{run.updates:,}",
        "Cost": lambda run: money(result.cost(run)),
        harm_header(result): lambda run: harm_number(result, run),
        "Error\nmean bp": lambda run: f"{run.mean_error_bp:.2f}",
        "Error\nworst": lambda run: f"{run.worst_error_bp:.0f}",
        "Late": lambda run: f"{run.late:,}",
        "Late\nmedian": lambda run: duration_text(run.late_percentile(50)),
        f"Late\np{TAIL}": lambda run: duration_text(run.late_percentile(TAIL)),
        "Late\nworst": lambda run: duration_text(run.late_percentile(100)),
        "Never": lambda run: f"{run.never:,}",
        "Extra": lambda run: f"{run.extra:,}",
        "Unpaid": lambda run: money(run.shortfall),
        "Taken over": lambda run: money(run.taken_over),
    }
    said = {"error": "Error\nmean bp", "taken_over": "Taken over"}.get(result.harm)
    return {header: cell for header, cell in columns.items() if header != said}
