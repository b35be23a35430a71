"""The result of a replay in words and figures, and its short form on a terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

from marginkeep.units import format_units

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from marginkeep.lab.result import Bar, LiquidatedAccount, ReplayResult

LIQUIDATED_NAMES: Final = ("liquidated_accounts", "accounts_liquidated")
FUND_PAID_NAMES: Final = ("fund_used", "fund_paid", "insurance_fund_paid")
BAD_DEBT_NAMES: Final = ("bad_debt",)
"""Names in `ReplayResult.summary` the verdict reads; spaces and capitals do not matter."""

INTERRUPTED: Final = "Interrupted"
WORST_ON_TERMINAL: Final = 5
WORST_RANKING: Final = "worst first: by shortfall (bad debt and what the fund paid), then by penalty and realised loss"
WIDE_COLUMNS: Final = 100
"""A terminal at least this wide also shows when each account was first liquidated."""

_CENT_DECIMALS: Final = 2
_STYLES: Final = {"good": "bold green", "warning": "bold yellow", "bad": "bold red"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first thing a reader sees: a state, its name in words, and one sentence with the numbers."""

    state: Literal["good", "warning", "bad"]
    label: str
    sentence: str


def format_amount(count: int, decimals: int) -> str:
    """Write an amount for reading: thousands separators, rounded half to even to cents.

    An amount below one cent is written exactly, so that what is not zero never reads as zero.

    Parameters
    ----------
    count : amount in units of 10^-decimals
    decimals : decimals of the asset

    Examples
    --------
    >>> format_amount(1_234_567_890, 6), format_amount(12, 6)
    ('1,234.57', '0.000012')
    """
    cents = round(Fraction(int(count), 10**decimals) * 10**_CENT_DECIMALS)
    if count and not cents:
        return format_units(count, decimals)
    whole, part = divmod(abs(cents), 10**_CENT_DECIMALS)
    return f"{'-' if cents < 0 else ''}{whole:,}.{part:02d}"


def format_money(count: int, result: ReplayResult) -> str:
    """Write an amount for reading, with the name of the reporting asset."""
    return f"{format_amount(count, result.reporting_decimals)} {result.reporting_asset}"


def group_digits(value: str) -> str:
    """Put thousands separators into a plain decimal number; leave any other text as it is.

    Examples
    --------
    >>> group_digits("-1234567.5"), group_digits("1:2")
    ('-1,234,567.5', '1:2')
    """
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        return value
    whole, point, part = value.partition(".")
    grouped = f"{int(whole.removeprefix('-')):,}"
    return f"{'-' if whole.startswith('-') else ''}{grouped}{point}{part}"


def format_time(time_ns: int) -> str:
    """Write nanoseconds since 1970 as a UTC time to the second.

    Examples
    --------
    >>> format_time(0)
    '1970-01-01 00:00:00 UTC'
    """
    return datetime.fromtimestamp(time_ns // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_label(name: str) -> str:
    """Turn a name such as ``fund_paid`` into a label such as ``Fund paid``."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def format_figure(name: str, result: ReplayResult) -> str:
    """Write one figure of the summary for reading: an amount with its asset, a count, or text."""
    figure = result.summary[name]
    if isinstance(figure, str):
        return figure
    return format_money(figure, result) if name in result.amounts else f"{figure:,}"


def partial_notice(result: ReplayResult) -> str | None:
    """Return the sentence that warns of an interrupted run; None for a complete one."""
    if result.complete:
        return None
    times = result.timeline.times_ns
    if not len(times):
        return "Interrupted before the first tick: there is nothing to conclude from this run."
    return f"Interrupted: this is a partial result, up to {format_time(int(times[-1]))}."


def judge(result: ReplayResult) -> Verdict:
    """Say in one sentence how the run ended.

    Bad: bad debt was left, or a stated bar failed. Warning: the fund had to pay, or the run was interrupted.
    """
    bad_debt = _bad_debt(result)
    sentence = f"{_liquidated_words(result)}; {_fund_words(result)}; {_bad_debt_words(bad_debt, result)}."
    failed = sum(bar.failed for bar in result.bars)
    if bad_debt > 0:
        return Verdict("bad", "Bad debt", sentence)
    if failed:
        return Verdict("bad", f"{failed} bar{'s' if failed > 1 else ''} failed", sentence)
    if not result.complete:
        return Verdict("warning", INTERRUPTED, sentence)
    if _fund_cost(result) > 0:
        return Verdict("warning", "Solvent, at the fund's cost", sentence)
    return Verdict("good", "Solvent", sentence)


def write_summary_table(result: ReplayResult, console: Console) -> None:
    """Print the verdict, the bars, the figures and the worst accounts; made for 80 columns and more.

    Parameters
    ----------
    result : what the replay found
    console : where to print; its width decides how many columns the table of accounts has
    """
    _print_verdict(result, console)
    if result.bars:
        console.print(_bars_table(result.bars))
    if result.summary:
        console.print(_figures_table(result))
    if result.worst:
        console.print(_worst_table(result, wide=console.width >= WIDE_COLUMNS))


def _figure(result: ReplayResult, names: tuple[str, ...]) -> int | None:
    """Return the first count or amount of the summary under one of these names."""
    for name, figure in result.summary.items():
        if name.casefold().replace(" ", "_") in names and not isinstance(figure, str):
            return figure
    return None


def _bad_debt(result: ReplayResult) -> int:
    stated = _figure(result, BAD_DEBT_NAMES)
    if stated is not None:
        return stated
    levels = result.timeline.bad_debt
    return int(levels[-1]) if len(levels) else 0


def _liquidated_words(result: ReplayResult) -> str:
    """Count distinct accounts if the summary has the number; else only ticks can be counted."""
    liquidated = _figure(result, LIQUIDATED_NAMES)
    ticks_hit = int((result.timeline.liquidated_accounts > 0).sum())
    if not result.accounts:
        return "The run had no accounts"
    if liquidated == 0 or not (liquidated or ticks_hit):
        return f"None of the {result.accounts:,} accounts was liquidated"
    if liquidated is None:
        return f"Accounts were liquidated in {ticks_hit:,} of {len(result.timeline.times_ns):,} ticks"
    return f"{liquidated:,} of {result.accounts:,} accounts {'was' if liquidated == 1 else 'were'} liquidated"


def _fund_cost(result: ReplayResult) -> int:
    """Return what the fund paid; if the summary lacks it, the fall of its balance, which nets income off."""
    paid = _figure(result, FUND_PAID_NAMES)
    if paid is not None:
        return paid
    balance = result.timeline.fund_balance
    return int(balance[0]) - int(balance[-1]) if len(balance) else 0


def _fund_words(result: ReplayResult) -> str:
    cost = _fund_cost(result)
    if _figure(result, FUND_PAID_NAMES) is not None:
        return f"the insurance fund paid {format_money(cost, result) if cost else 'nothing'}"
    if not cost:
        return "the insurance fund did not move"
    return f"the insurance fund {'lost' if cost > 0 else 'gained'} {format_money(abs(cost), result)} on balance"


def _bad_debt_words(bad_debt: int, result: ReplayResult) -> str:
    return f"bad debt of {format_money(bad_debt, result)} is left" if bad_debt else "no bad debt"


def _print_verdict(result: ReplayResult, console: Console) -> None:
    from rich.text import Text

    verdict, notice = judge(result), partial_notice(result)
    console.print(Text(printable(result.title), style="dim"))
    if notice:
        console.print(Text(notice, style=_STYLES["warning"]))
    # The notice has already said that the run was interrupted; saying it again would hide what else there is.
    label = "" if notice and verdict.label == INTERRUPTED else f"{verdict.label}: "
    console.print(Text.assemble((label, _STYLES[verdict.state]), (verdict.sentence, "bold")))


def _bars_table(bars: tuple[Bar, ...]) -> Table:
    from rich.text import Text

    table = _table("Bars", ("Outcome", "left"), ("Fails if", "left"), ("Value", "right"))
    for bar in bars:
        outcome = Text("FAILED", style=_STYLES["bad"]) if bar.failed else Text("met", style="green")
        table.add_row(outcome, Text(printable(bar.expression)), Text(printable(group_digits(bar.value))))
    return table


def _figures_table(result: ReplayResult) -> Table:
    from rich.text import Text

    table = _table("Summary", ("Figure", "left"), ("", "right"))
    for name in result.summary:
        label, figure = format_label(name), format_figure(name, result)
        table.add_row(Text(printable(label)), Text(printable(figure)))
    return table


def _worst_table(result: ReplayResult, *, wide: bool) -> Table:
    from rich.text import Text

    shown = result.worst[:WORST_ON_TERMINAL]
    title = f"Worst {len(shown)} accounts by shortfall, then by loss, in {result.reporting_asset}"
    columns: list[tuple[str, Literal["left", "right"]]] = [("Account", "left"), ("Steps", "right")]
    columns += [("Notional", "right"), ("Penalty", "right"), ("Bad debt", "right")]
    if wide:
        columns.append(("First liquidated, UTC", "left"))
    table = _table(title, *columns)
    # Only the name may be folded: a number cut short would be a wrong number.
    table.columns[0].no_wrap, table.columns[0].overflow, table.columns[0].min_width = False, "fold", 8
    for account in shown:
        cells = _worst_cells(account, result.reporting_decimals, wide=wide)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _worst_cells(account: LiquidatedAccount, decimals: int, *, wide: bool) -> list[str]:
    amounts = (account.notional, account.penalty, account.bad_debt)
    cells = [printable(account.account), f"{account.steps:,}"]
    cells += [format_amount(count, decimals) for count in amounts]
    return [*cells, format_time(account.first_time_ns).removesuffix(" UTC")] if wide else cells


def _table(title: str, *columns: tuple[str, Literal["left", "right"]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(printable(title), style="bold")
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for header, justify in columns:
        table.add_column(header, justify=justify, no_wrap=justify == "right")
    return table


def printable(text: str) -> str:
    """Replace control and direction marks, so that a name cannot command the reader's terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
