"""A drill in words, and as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from marginkeep.lab.drill_result import AMOUNTS, FATES
from marginkeep.lab.oracle_study_summary import duration_text
from marginkeep.lab.summary import format_amount, format_label, format_time, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from marginkeep.lab.drill_result import Difference, DrillResult
    from marginkeep.lab.faults import Fault

ACCOUNTS_ON_TERMINAL: Final = 10
NO_TIME: Final = "never"

_STYLES: Final = {"good": "bold green", "warning": "bold yellow", "bad": "bold red"}


def state_of(result: DrillResult) -> Literal["good", "warning", "bad"]:
    """Judge a drill: bad if an account was liquidated only with the faults, at prices beyond any healthy source's."""
    if any(not one.in_spread for one in result.of_fate("only with")):
        return "bad"
    return "good" if result.complete and not result.differences else "warning"


def finding(result: DrillResult) -> str:
    """Say in a few sentences what the faults did."""
    if not result.done:
        return "No tick was replayed, so there is nothing to compare."
    return f"{_extra_words(result)} {_other_words(result)}"


def _extra_words(result: DrillResult) -> str:
    extra = result.of_fate("only with")
    if not extra:
        return "No account was liquidated that would not have been."
    beyond = sum(not one.in_spread for one in extra)
    where = f"{beyond:,} of them at prices that no fault-free source had"
    if beyond == len(extra):
        where = "at prices that no fault-free source had"
    elif not beyond:
        where = "at prices within what the fault-free sources differ by"
    return f"{_accounts(len(extra))} liquidated only with the faults, {where}."


def _other_words(result: DrillResult) -> str:
    later, never, early = (result.of_fate(fate) for fate in ("later", "only without", "earlier"))
    if not later and not never and not early:
        return "Every other liquidation came at the same tick."
    words = []
    if later:
        late = max(one.late_ns or 0 for one in later)
        words.append(f"{_accounts(len(later))} liquidated later, by up to {duration_text(late)}")
    if never:
        words.append(f"{len(never):,} not at all" if later else f"{_accounts(len(never))} not liquidated")
    if early:
        words.append(f"{len(early):,} earlier" if words else f"{_accounts(len(early))} liquidated earlier")
    return ", ".join(words) + "."


def _accounts(count: int) -> str:
    return f"{count:,} account{' was' if count == 1 else 's were'}"


def notice(result: DrillResult) -> str | None:
    """Return the sentence that warns of an interrupted drill; None for a complete one."""
    if result.complete:
        return None
    return f"Interrupted after {result.done:,} of {result.ticks:,} ticks: only these are compared."


def fault_words(fault: Fault) -> str:
    """Say what a fault is, and when."""
    start, end = (format_time(time_ns) for time_ns in (fault.start_ns, fault.end_ns))
    same_day = start[:10] == end[:10]
    return f"{fault.words}, {start.removesuffix(' UTC')} to {end[11:] if same_day else end}"


def figure_rows(result: DrillResult) -> list[tuple[str, str, str, str]]:
    """Return name, fault-free figure, figure with faults, and change, for reading."""
    rows = []
    for name, healthy in result.healthy.items():
        faulted = result.faulted[name]
        label = format_label(name)
        if name in AMOUNTS:
            cells = [format_amount(count, result.reporting_decimals) for count in (healthy, faulted, faulted - healthy)]
        else:
            cells = [f"{count:,}" for count in (healthy, faulted, faulted - healthy)]
        change = f"+{cells[2]}" if faulted > healthy else cells[2]
        rows.append((label, cells[0], cells[1], change))
    return rows


def moments(result: DrillResult, one: Difference) -> tuple[str, str]:
    """Return when an account was first liquidated without and with the faults; the day only where there are several."""
    days = {format_time(int(time_ns))[:10] for time_ns in result.times_ns[[0, -1]]}
    cut = 11 if len(days) == 1 else 5
    healthy, faulted = (
        NO_TIME if time_ns is None else format_time(time_ns)[cut:16] for time_ns in (one.healthy_ns, one.faulted_ns)
    )
    return healthy, faulted


def write_drill_tables(result: DrillResult, console: Console) -> None:
    """Print what was found; made for 80 columns and more."""
    from rich.text import Text

    console.print(Text(printable(result.title), style="dim"))
    warning = notice(result)
    if warning:
        console.print(Text(warning, style="bold yellow"))
    console.print(Text(finding(result), style=_STYLES[state_of(result)]))
    for fault in result.faults:
        console.print(Text(f"fault: {printable(fault_words(fault))}", style="dim"))
    if not result.done:
        return
    console.print(_figures_table(result))
    if result.differences:
        console.print(_accounts_table(result))


def _figures_table(result: DrillResult) -> Table:
    table = _table(f"Both runs; amounts in {result.reporting_asset}")
    table.add_column("")
    for header in ("Fault-free", "With faults", "Change"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in figure_rows(result):
        table.add_row(*row)
    return table


def _accounts_table(result: DrillResult) -> Table:
    from rich.text import Text

    shown = result.differences[:ACCOUNTS_ON_TERMINAL]
    more = len(result.differences) - len(shown)
    left = f" ({more:,} more in the report and in drill.json)" if more else ""
    table = _table(f"Accounts that fared otherwise, UTC{left}")
    for header in ("Account", "Liquidated", "Fault-free", "With faults"):
        table.add_column(header, no_wrap=True)
    table.add_column("Why")
    for one in shown:
        style = "bold red" if one.fate == "only with" and not one.in_spread else None
        cells = (one.account, one.fate, *moments(result, one), one.short)
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    return table


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(printable(title), style="bold")
    return Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def fate_counts(result: DrillResult) -> dict[str, int]:
    """Return how many accounts had each fate, in words."""
    return {words: len(result.of_fate(fate)) for fate, words in FATES.items()}
