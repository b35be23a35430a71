"""What `replay` and `demo` share: run with a progress bar, survive Ctrl-C, write the files, print the summary."""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from marginkeep.cli.progress import told_progress
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from marginkeep.clearing import Clearinghouse
    from marginkeep.lab.candles import Candles
    from marginkeep.lab.opening import PathKind, PricePath
    from marginkeep.lab.replay import Replay
    from marginkeep.lab.result import ReplayResult
    from marginkeep.rulebook import Rulebook

EXIT_BAR_FAILED = 1
EXIT_INTERRUPTED = 130
RUN_FILE = "run.json"
RULES_FILE = "rules.toml"
TICKS_AN_UPDATE = 20

FUND_OF_OPEN_INTEREST = 50
"""Without --fund, the insurance fund starts with one part in this many of open interest."""


@dataclass(frozen=True, slots=True)
class Session:
    """What to run and how to show it; texts are for the report."""

    house: Clearinghouse
    path: PricePath
    title: str
    fund: str | None
    expressions: tuple[str, ...]
    assumptions: tuple[str, ...]
    repairs: tuple[str, ...]
    reproduce: str
    inputs: dict[str, Any]
    report: Path
    as_json: bool
    rules_text: str | None = None


def load_rules(rules: Path | None, candles: Candles) -> tuple[Rulebook, str | None]:
    """Return the stated rulebook, or the example for these markets together with its text."""
    from marginkeep.lab.example_rules import example_rules_text, price_ranges
    from marginkeep.rulebook import load_rulebook, read_rulebook
    from marginkeep.rulebook.reading import parse_text

    if rules is not None:
        return load_rulebook(rules), None
    text = example_rules_text(*price_ranges(candles))
    return read_rulebook(parse_text(text, ".toml", "the example rulebook")), text


def generated_house(rulebook: Rulebook, path: PricePath, accounts: int, seed: int) -> Clearinghouse:
    """Return a clearinghouse with a generated book at the path's first prices."""
    from marginkeep.book.valuation import Valuation
    from marginkeep.clearing import Clearinghouse
    from marginkeep.lab.opening import set_opening_prices
    from marginkeep.lab.population import generate_population
    from marginkeep.rulebook import build_tables

    valuation = Valuation(build_tables(rulebook))
    set_opening_prices(valuation, path)
    population = generate_population(valuation, accounts, seed)
    house = Clearinghouse.opened_with(rulebook, population.book, population.names)
    set_opening_prices(house.state.valuation, path)
    return house


def house_opener(rulebook: Rulebook, path: PricePath, options: dict[str, Any]) -> Callable[[], Clearinghouse]:
    """Return what opens the same house anew: the generated book, and a fund in proportion to its open interest."""
    from marginkeep.lab.replay import open_interest, top_up_fund

    def open_house() -> Clearinghouse:
        house = generated_house(rulebook, path, options["accounts"], options["seed"])
        top_up_fund(house, open_interest(house) // FUND_OF_OPEN_INTEREST)
        return house

    return open_house


def path_assumption(kind: PathKind) -> str:
    """Say how candles became marks."""
    if kind == "close":
        return "Marks are the bars' closing prices, one tick a bar: moves inside a bar are not seen (--path ohlc)."
    return "Marks follow each bar's open, first extreme, second extreme, close; in a rising bar the low comes first."


def run_session(session: Session) -> None:
    """Run to the end or to Ctrl-C; write run.json and the report; print the summary; exit with the stated code."""
    from marginkeep.lab.outcome import conclude, write_run
    from marginkeep.lab.replay import Replay, open_interest, top_up_fund
    from marginkeep.lab.report import write_report

    rulebook = session.house.state.rulebook
    amount = open_interest(session.house) // FUND_OF_OPEN_INTEREST
    if session.fund is not None:
        amount = rulebook.units(rulebook.reporting, session.fund)
        if amount < 0:
            raise InputError(f"--fund is {session.fund}: give 0 or more")
    check_report_path(session.report)
    top_up_fund(session.house, amount)
    replay = Replay(session.house, session.path)
    with interrupts() as stopped:
        prove_writable(
            session.report, [session.report.name, RUN_FILE, *([] if session.rules_text is None else [RULES_FILE])]
        )
        _run_with_progress(replay, session, stopped)
    if replay.done < len(session.path.times_ns):
        click.echo(f"interrupted after {replay.done:,} ticks: writing what there is", err=True)
    result = conclude(
        replay,
        title=session.title,
        fund_start=amount,
        expressions=session.expressions,
        assumptions=session.assumptions,
        repairs=session.repairs,
        reproduce=session.reproduce,
        inputs=session.inputs,
    )
    try:
        write_run(result, session.report.parent / RUN_FILE)
        if session.rules_text is not None:
            (session.report.parent / RULES_FILE).write_text(session.rules_text, encoding="utf-8")
        write_report(result, session.report)
    except OSError as error:
        raise unwritable(session.report, error) from error
    _print(result, session)
    if not result.complete:
        sys.exit(EXIT_INTERRUPTED)
    if any(bar.failed for bar in result.bars):
        sys.exit(EXIT_BAR_FAILED)


def check_report_path(report: Path) -> None:
    """Refuse a report that could not be written, before anything is computed.

    Raises
    ------
    InputError : a folder, or a name that another file of the run has
    """
    if report.is_dir():
        raise InputError(f"--report {report} is a folder: name a file in it, such as {report / 'report.html'}")
    if report.name in (RUN_FILE, RULES_FILE):
        raise InputError(f"--report {report}: {report.name} is another file of the run; choose another name")


def prove_writable(report: Path, names: Iterable[str]) -> None:
    """Make the report's folder and prove that files of these names can be written, leaving nothing else behind.

    Raises
    ------
    InputError : one cannot
    """
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        for path in (report.parent / name for name in names):
            is_new = not path.exists()
            path.open("ab").close()
            if is_new:
                path.unlink()
    except OSError as error:
        raise unwritable(report, error) from error


def unwritable(report: Path, error: OSError) -> InputError:
    """Return the refusal of a report that cannot be written."""
    where = error.filename or report
    return InputError(f"{where} cannot be written ({error.strerror}): choose another place for the report")


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into an answer to "stopped?" instead of an exception, which could tear a tick in two."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _run_with_progress(replay: Replay, session: Session, stopped: Callable[[], bool]) -> None:
    total = len(session.path.times_ns)
    with told_progress("replaying", "ticks", TICKS_AN_UPDATE) as told:

        def advance(done: int) -> None:
            told(done, total, seen=f", {len(replay.stories):,} accounts liquidated")

        replay.run(advance, stopped)


def _print(result: ReplayResult, session: Session) -> None:
    from rich.console import Console

    from marginkeep.lab.summary import write_summary_table

    if session.as_json:
        click.echo(json.dumps(result.run, indent=2))
        return
    write_summary_table(result, Console(highlight=False))
    click.echo(f"report: {session.report}")
    click.echo(f"run:    {session.report.parent / RUN_FILE}")
