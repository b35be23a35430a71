"""A ladder study in words, and as a table: figures down, rulebooks across."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.lab.ladder_study import TAIL
from marginkeep.lab.oracle_study_summary import duration_text
from marginkeep.lab.summary import format_amount, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from marginkeep.lab.ladder_study import VariantRun
    from marginkeep.lab.ladder_study_result import StudyResult


class Row(NamedTuple):
    """One figure: its name, what writes it, and what it means where the name does not say."""

    name: str
    write: Callable[[StudyResult, VariantRun], str]
    meaning: str = ""


def money(result: StudyResult, amount: int) -> str:
    """Write an amount in whole units of the reporting asset, exactly to the cent below one unit."""
    unit = 10**result.reporting_decimals
    if abs(amount) < unit:
        return format_amount(amount, result.reporting_decimals)
    return f"{(amount + unit // 2) // unit:,}"


def _amount(name: str) -> Callable[[StudyResult, VariantRun], str]:
    return lambda result, run: money(result, getattr(run, name))


def _count(name: str) -> Callable[[StudyResult, VariantRun], str]:
    return lambda result, run: f"{getattr(run, name):,}"


def _time(percent: int) -> Callable[[StudyResult, VariantRun], str]:
    return lambda result, run: duration_text(run.resolution_percentile(percent))


ACCOUNTS: Final = (
    Row("Called", _count("called"), "accounts that were called at least once"),
    Row("Cured", _count("cured"), "called, cured, and never reduced by force"),
    Row("Liquidated", _count("liquidated"), "accounts reduced by any forced trade"),
    Row("Auctioned", _count("auctioned"), "accounts put up for auction"),
    Row("Bankrupt", _count("bankrupt"), "accounts that came to owe more than they had"),
    Row("Bidders withdrawn", _count("left"), "by the end, for good"),
    Row("Bidders ruined", _count("ruined"), "by what they took over: others bear their losses too"),
    Row("Unresolved", _count("unresolved"), "accounts still on a forced rung at the end"),
)
COSTS: Final = (
    Row("Liquidated notional", _amount("notional"), "value of all forced trades"),
    Row("  taken by bidders", _amount("auctioned_notional"), "in auctions, at the mark"),
    Row("Penalties", _amount("penalty"), "of accounts not bankrupt"),
    Row("Slippage", _amount("slippage"), "price of forced trades against the mark, discounts of auctions included"),
    Row("Price afterwards", _amount("hindsight"), "what closed positions would have gained by the end; below 0: lost"),
    Row("Trader losses", _amount("trader_losses"), "the three together; below 0: closing spared more than it cost"),
    Row("Added by owners", _amount("deposited"), "deposits that answered calls"),
    Row("Owners' result", _amount("owners_result"), "equity at the end, less that at the start and what was added"),
    Row("Liquidator's result", _amount("liquidator_result"), "it keeps what it takes over to the end"),
    Row("Bidders' result", _amount("bidders_result")),
)  # fmt: skip
LOSSES: Final = (
    Row("Fund paid", _amount("fund_paid")),
    Row("Deleveraged profit", _amount("deleveraged"), "what winners gave up against the mark"),
    Row("Socialised loss", _amount("socialised"), "borne by the holders of a market"),
    Row("Bad debt", _amount("bad_debt"), "at the end: what nobody has paid"),
    Row("Unpaid by accounts", _amount("unpaid"), "the four together"),
    Row("Winners deleveraged", _count("winners"), "accounts"),
    Row("Fund, lowest", lambda result, run: money(result, int(run.fund_path.min()))),
    Row("Fund at the end", lambda result, run: money(result, int(run.fund_path[-1]))),
)
TIMES: Final = (
    Row("Resolved, median", _time(50), "from an account's first forced rung to healthy or closed"),
    Row(f"Resolved, p{TAIL}", _time(TAIL)),
    Row("Resolved, worst", _time(100)),
)
SECTIONS: Final = (("Accounts", ACCOUNTS), ("Who lost what", COSTS), ("What accounts could not pay", LOSSES),
                   ("Time to resolution", TIMES))  # fmt: skip


def finding(result: StudyResult) -> str:
    """Say in a few sentences what the study found."""
    if len(result.runs) < 2:
        return "Fewer than two rulebooks were replayed to the end, so there is nothing to compare."
    unpaid = sorted(result.runs, key=lambda run: run.unpaid)
    if not unpaid[-1].liquidated:
        return "Nobody was liquidated under any rulebook."
    lost = sorted(result.runs, key=lambda run: run.trader_losses)
    words = (
        f"{_extremes(result, 'What accounts could not pay', unpaid, 'unpaid')} "
        f"{_extremes(result, 'What forced closing cost traders', lost, 'trader_losses')}"
    )
    return f"{words} Below 0: it spared them more than it cost." if lost[0].trader_losses < 0 else words


def _extremes(result: StudyResult, what: str, runs: list[VariantRun], name: str) -> str:
    least, most = runs[0], runs[-1]
    amounts = [f"{money(result, getattr(run, name))} {result.reporting_asset}" for run in (least, most)]
    if getattr(least, name) == getattr(most, name):
        return f"{what} is the same under each: {amounts[0]}."
    return f"{what} is least with {least.variant.label} ({amounts[0]}), most with {most.variant.label} ({amounts[1]})."


def notice(result: StudyResult) -> str:
    """Say that the study is not complete; empty when it is."""
    if result.complete:
        return ""
    return (
        f"Interrupted: {len(result.runs)} of {len(result.planned)} rulebooks were finished, and only these are shown."
    )


def write_study_table(result: StudyResult, console: Console) -> None:
    """Print what was found, one column a rulebook; made for 80 columns and more."""
    from rich.text import Text

    console.print(Text(printable(result.title), style="dim"))
    warning = notice(result)
    if warning:
        console.print(Text(warning, style="bold yellow"))
    console.print(Text(finding(result), style="bold"))
    if result.runs:
        console.print(_table(result))
        console.print(Text("The report says what each figure means, and what is assumed.", style="dim"))


def _table(result: StudyResult) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(printable(f"Four rulebooks, one crash; amounts in {result.reporting_asset}"), style="bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for run in result.runs:
        table.add_column(run.variant.label, justify="right", no_wrap=True)
    for _, rows in SECTIONS:
        for row in rows:
            cells = (Text(row.write(result, run)) for run in result.runs)
            table.add_row(Text(row.name), *cells, end_section=row is rows[-1])
    return table
