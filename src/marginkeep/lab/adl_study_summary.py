"""The deleveraging study in words, and as a table on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.lab.adl_study import POLICIES, PRODUCTION
from marginkeep.lab.adl_study_result import LABELS, TOPS, largest_haircut
from marginkeep.lab.adl_study_waves import DECIMALS, FACTS
from marginkeep.lab.summary import printable
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.table import Table

    from marginkeep.lab.adl_study import Identity, PolicyRun
    from marginkeep.lab.adl_study_result import Fit, StudyResult

_MILLION: Final = 10 ** (DECIMALS + 6)
_LEAST_FIRST: Final = ("Median\nleverage", "Largest\nhaircut", "Needed", "Health\nlost", "Hedges\nhurt", "Top 1")
"""Columns that a narrow terminal does without, the first to go first."""


def millions(amount: int) -> str:
    """Write an amount in million USD, to the cent of a million; what is not zero never reads as zero."""
    text = f"{amount / _MILLION:,.2f}"
    if amount and not text.strip("-0."):
        return "<0.01" if amount > 0 else ">-0.01"
    return text


def percent(rate: int) -> str:
    """Write a rate as a percentage."""
    return f"{100 * rate / RATE_ONE:.1f} %"


def finding(result: StudyResult) -> str:
    """Say what the study found about how much is taken."""
    production = result.run(PRODUCTION).figures
    worst = max(run.figures.over + run.figures.under for run in result.runs[1:])
    exact = "exactly what" if not worst else f"but for {millions(worst)} M what"
    return (
        f"Production took {millions(production.taken)} M USD where {millions(production.needed)} M were needed: "
        f"{millions(production.over)} M over in some waves, {millions(production.under)} M under in others. "
        f"At the bankruptcy price every policy takes {exact} is needed; the policy decides from whom."
    )


def identity_words(identity: Identity | None) -> str:
    """State the identity of queue and pro rata with the study's numbers."""
    if identity is None:
        return "The budget exceeds the largest profit: the identity of the top winner's gap does not apply."
    gap, formula = identity.queue - identity.pro_rata, identity.formula / _MILLION
    verdict = "equal to the unit" if identity.holds else "NOT equal: a defect"
    return (
        f"In profit space the top winner keeps {gap / _MILLION:.6f} M USD less under the queue than pro rata; the "
        f"identity H (1 - w1 / U) says {float(formula):.6f} M: {verdict}. H {millions(identity.budget)} M is the "
        f"budget, w1 {millions(identity.top)} M the largest profit, U {millions(identity.total)} M the sum of profits."
    )


def fit_words(fit: Fit) -> tuple[str, str]:
    """Write the published and the reached figure of a fit."""
    if fit.name.startswith("share"):
        return f"{float(100 * fit.published):.1f} %", f"{float(100 * fit.reached):.1f} %"
    if fit.name == "median leverage":
        return f"{float(fit.published):.3f}", f"{float(fit.reached):.3f}"
    return f"{int(fit.published):,}", f"{int(fit.reached):,}"


def columns_of() -> dict[str, Callable[[PolicyRun], str]]:
    """Return header -> what writes a cell; amounts in million USD."""
    tops = {f"Top {top}": _top(top) for top in TOPS}
    return {
        "Policy": lambda run: LABELS[run.name],
        "Needed": lambda run: millions(run.figures.needed),
        "Taken": lambda run: millions(run.figures.taken),
        "Over": lambda run: millions(run.figures.over),
        "Under": lambda run: millions(run.figures.under),
        "Accounts": lambda run: f"{run.figures.count:,}",
        **tops,
        "Largest\nhaircut": lambda run: millions(largest_haircut(run)),
        "Median\nleverage": lambda run: f"{run.leverage:.3f}",
        "Hedges\nhurt": lambda run: f"{run.hedges:,}",
        "Health\nlost": lambda run: millions(run.health_lost),
    }


def _top(top: int) -> Callable[[PolicyRun], str]:
    return lambda run: percent(run.figures.concentration(top))


def published_cells(result: StudyResult, headers: Sequence[str]) -> list[str]:
    """Return the row of what was published, a dash where nothing was."""
    gaps = [wave.taken - wave.needed for wave in result.waves]
    known = {
        "Policy": "published",
        "Needed": millions(sum(wave.needed for wave in result.waves)),
        "Taken": millions(sum(wave.taken for wave in result.waves)),
        "Over": millions(sum(max(0, gap) for gap in gaps)),
        "Under": millions(sum(max(0, -gap) for gap in gaps)),
        "Accounts": f"{FACTS.users:,}",
        "Median\nleverage": f"{float(FACTS.leverage):.3f}",
        **{f"Top {rank}": f"{float(100 * share):.1f} %" for rank, share in FACTS.top},
    }
    return [known.get(header, "-") for header in headers]


def write_study_table(result: StudyResult, console: Console) -> None:
    """Print what was found; a terminal too narrow for all columns shows fewer."""
    from rich.text import Text

    console.print(Text(printable(title_of(result)), style="dim"))
    console.print(Text(finding(result), style="bold"))
    console.print(_table(result, console.width))
    console.print(Text(f"Top: share of the closed notional. {identity_words(result.identity)}", style="dim"))
    console.print(Text("Waves are data, accounts are generated: the report says which figure is which.", style="dim"))


def title_of(result: StudyResult) -> str:
    """Name the study."""
    return f"Who pays for {len(result.waves)} waves of deleveraging under {len(POLICIES)} policies"


def _table(result: StudyResult, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    writers = columns_of()
    rows = [[write(run) for write in writers.values()] for run in result.runs]
    rows.insert(0, published_cells(result, list(writers)))
    columns = {header: [row[place] for row in rows] for place, header in enumerate(writers)}
    for header in _LEAST_FIRST:
        if sum(max(map(len, [*name.split("\n"), *cells])) + 2 for name, cells in columns.items()) + 3 <= width:
            break
        del columns[header]
    table = Table(title="Amounts in million USD", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in columns:
        table.add_column(header, justify="left" if header == "Policy" else "right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(Text(cell) for cell in row), style="dim" if row[0] == "published" else None)
    return table
