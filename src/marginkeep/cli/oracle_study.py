"""`marginkeep oracle study`: how often to publish prices, what that costs, and whom publishing less harms."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from marginkeep.cli.price_options import ARCHETYPE, path_repairs, price_options, read_or_make_up
from marginkeep.cli.progress import told_progress
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.clearing import Clearinghouse
    from marginkeep.lab.opening import PricePath
    from marginkeep.lab.oracle_study import PolicyRun
    from marginkeep.lab.oracle_study_result import StudyResult
    from marginkeep.oracle.update_policy import UpdatePolicy
    from marginkeep.rulebook import Rulebook

STUDY_FILE: Final = "study.json"
POLICIES_MAX: Final = 400
TICKS_A_SHOW: Final = 50
"""The bar moves this seldom: to draw it costs as much as a tick."""


@click.command()
@click.argument("prices", required=False, type=click.Path(path_type=Path))
@click.option("--accounts", type=int, default=2_000, show_default=True, help="How many accounts to generate.")
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the book and of the made-up crash.")
@click.option("--rules", type=click.Path(path_type=Path), help="Rulebook (default: an example for the markets).")
@price_options
@click.option(
    "--deviations",
    default="0.001,0.005,0.01,0.02",
    show_default=True,
    help="Publish when a price has moved by more than this share; comma separated.",
)
@click.option(
    "--heartbeats",
    default="10m,1h,1d",
    show_default=True,
    help="Publish when the last update is this old; comma separated.",
)
@click.option("--update-cost", default="1", show_default=True, help="Cost of one update of one price.")
@click.option(
    "--harm",
    type=click.Choice(["bad_debt", "late", "error", "taken_over"]),
    default="bad_debt",
    show_default=True,
    help="The figure that the Pareto front sets against cost.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("oracle-study/report.html"),
    show_default=True,
    help="Where to write the page; study.json goes beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print study.json instead of the table.")
def study(prices: Path | None, **options: Any) -> None:
    """Compare policies of publishing prices: cost against harm, in replays of PRICES over a generated book.

    A policy publishes each price when it has moved by more than a deviation, or when its last update is as old as a
    heartbeat. Each combination is replayed and compared with publishing every tick. Without PRICES, a made-up crash is
    replayed. Ctrl-C stops early and leaves a valid report of the policies that were finished.

    \b
    harm        what the Pareto front sets against cost
    bad_debt    what accounts leave unpaid (bad debt and fund payments), beyond that with every tick
    late        mean lateness of liquidations; never counts as late until the last tick
    error       mean distance of the published from the true price
    taken_over  what is lost by who takes positions over, where the true price was worse

    \b
    marginkeep oracle study
    marginkeep oracle study candles.parquet --start 2021-05-19 --end 2021-05-20 --harm late
    """  # noqa: D301 - click reads a real backspace as "do not wrap"
    from marginkeep.cli.session import check_report_path

    check_report_path(options["report"])
    if options["report"].name == STUDY_FILE:
        raise InputError(
            f"--report {options['report']}: {STUDY_FILE} is another file of the study; choose another name"
        )
    policies = _policies(options["deviations"], options["heartbeats"])
    setting = _set_up(prices, options)
    _run_and_show(setting, policies, prices, options)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What every policy of a study meets."""

    rulebook: Rulebook
    rules_text: str | None
    path: PricePath
    open_house: Callable[[], Clearinghouse]
    update_cost: int
    repairs: tuple[str, ...]


def _policies(deviations: str, heartbeats: str) -> tuple[UpdatePolicy, ...]:
    """Return the grid, each combination once, in the order stated."""
    from marginkeep.oracle.update_policy import UpdatePolicy

    rates = list(dict.fromkeys(_deviation(text.strip()) for text in deviations.split(",")))
    lengths = list(dict.fromkeys(_heartbeat(text.strip()) for text in heartbeats.split(",")))
    if len(rates) * len(lengths) > POLICIES_MAX:
        raise InputError(
            f"--deviations and --heartbeats make {len(rates) * len(lengths):,} policies: give at most {POLICIES_MAX}"
        )
    return tuple(UpdatePolicy(rate, length) for rate in rates for length in lengths)


def _deviation(text: str) -> int:
    from marginkeep.units import RATE_ONE, parse_rate

    rate = parse_rate(text, "--deviations")
    if not 0 <= rate <= RATE_ONE:
        raise InputError(f"--deviations has {text}: give shares from 0 to 1, as in 0.001,0.01 for 0.1 % and 1 %")
    return rate


def _heartbeat(text: str) -> int:
    from marginkeep.lab.price_files import timeframe_ns

    length = 0 if text == "0" else timeframe_ns(text)
    if length is None:
        raise InputError(
            f"--heartbeats has {text!r}: write a number and a unit, such as 30s, 10m, 1h or 1d; 0 = always"
        )
    return length


def _set_up(prices: Path | None, options: dict[str, Any]) -> _Setting:
    from marginkeep.cli.session import house_opener, load_rules
    from marginkeep.lab.opening import price_path

    candles = read_or_make_up(prices, options)
    rulebook, text = load_rules(options["rules"], candles)
    cost = rulebook.units(rulebook.reporting, options["update_cost"])
    if cost <= 0:
        raise InputError(f"--update-cost is {options['update_cost']}: give an amount above 0 of {rulebook.reporting}")
    path = price_path(candles, rulebook, options["kind"], tuple(rulebook.markets))
    repairs = path_repairs(candles, path)
    return _Setting(rulebook, text, path, house_opener(rulebook, path, options), cost, repairs)


def _run_and_show(
    setting: _Setting, policies: tuple[UpdatePolicy, ...], prices: Path | None, options: dict[str, Any]
) -> None:
    """Run to the end or to Ctrl-C; write the page and study.json; print; exit with 130 when interrupted."""
    from marginkeep.cli.session import EXIT_INTERRUPTED, RULES_FILE, interrupts, prove_writable, unwritable
    from marginkeep.lab.oracle_study_page import write_study_page
    from marginkeep.lab.oracle_study_result import write_study

    report: Path = options["report"]
    accounts = setting.open_house().state.book.count - 2  # before anything is written: it may refuse the options
    texts = {} if setting.rules_text is None else {RULES_FILE: setting.rules_text}
    with interrupts() as stopped:
        prove_writable(report, [report.name, STUDY_FILE, *texts])
        runs = _run_with_progress(setting, policies, stopped)
    result = _conclude(setting, runs, len(policies) + 1, accounts, prices, options)
    if not result.complete:
        click.echo(f"interrupted after {len(runs)} of {result.planned} policies: writing what there is", err=True)
    try:
        write_study(result, report.parent / STUDY_FILE)
        for name, text in texts.items():
            (report.parent / name).write_text(text, encoding="utf-8")
        write_study_page(result, report)
    except OSError as error:
        raise unwritable(report, error) from error
    _print(result, report, as_json=options["as_json"])
    if not result.complete:
        sys.exit(EXIT_INTERRUPTED)


def _run_with_progress(
    setting: _Setting, policies: tuple[UpdatePolicy, ...], stopped: Callable[[], bool]
) -> tuple[PolicyRun, ...]:
    from marginkeep.lab.oracle_study import run_study

    ticks, planned = len(setting.path.times_ns), len(policies) + 1
    with told_progress("study", "ticks", TICKS_A_SHOW) as told:

        def advance(done: int) -> None:
            number = min(planned, done // ticks + 1)
            told(done, ticks * planned, what=f"policy {number} of {planned}")

        return run_study(setting.path, setting.open_house, policies, advance, stopped)


def _conclude(
    setting: _Setting,
    runs: tuple[PolicyRun, ...],
    planned: int,
    accounts: int,
    prices: Path | None,
    options: dict[str, Any],
) -> StudyResult:
    """Return the result as far as it was computed, with all the words that go with it."""
    from marginkeep.lab.oracle_study_result import StudyResult
    from marginkeep.rulebook import rulebook_hash

    path, rulebook = setting.path, setting.rulebook
    times = path.times_ns
    source = f"a synthetic {ARCHETYPE.replace('_', ' ')}" if prices is None else prices.name
    return StudyResult(
        title=f"When to publish: {planned - 1} policies over {source}",
        runs=runs,
        planned=planned,
        harm=options["harm"],
        update_cost=setting.update_cost,
        reporting_asset=rulebook.reporting,
        reporting_decimals=rulebook.assets[rulebook.reporting].decimals,
        accounts=accounts,
        feeds=len(path.markets) + len(path.assets),
        ticks=len(times),
        first_ns=int(times[0]),
        last_ns=int(times[-1]),
        step_ns=int((times[1:] - times[:-1]).min()) if len(times) > 1 else 0,
        assumptions=_assumptions(prices, options),
        repairs=setting.repairs,
        reproduce=_command(prices, options),
        inputs=_inputs(prices, options),
        rulebook={"name": rulebook.name, "sha256": rulebook_hash(rulebook)},
    )


def _assumptions(prices: Path | None, options: dict[str, Any]) -> tuple[str, ...]:
    from marginkeep.cli.session import path_assumption

    seed = options["seed"]
    return (
        *([f"Prices are synthetic (seed {seed}), shaped like measured crashes."] if prices is None else []),
        path_assumption(options["kind"]),
        "These prices are the true ones. The engine sees only published ones, at once.",
        f"Each market and each collateral asset is a feed; one update of one feed costs {options['update_cost']}.",
        "A policy publishes a feed's first price, then each that is further from the published one than the deviation.",
        "It also publishes a price that comes when the last update is at least as old as the heartbeat.",
        f"The book is generated (seed {seed}), the same for every policy.",
        "The insurance fund starts with 2 % of open interest.",
        "Forced trades are at the published mark less slippage; they do not move the market.",
        "Taken over counts by how much the true price was worse than that of the forced trade.",
        "Nobody deposits, withdraws or trades in the replay: what is lost by trades at stale prices is not counted.",
    )


def _inputs(prices: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    from marginkeep.lab.outcome import file_sha256

    source = {"archetype": ARCHETYPE} if prices is None else {"file": prices.name, "sha256": file_sha256(prices)}
    names = ("accounts", "seed", "deviations", "heartbeats", "update_cost", "harm")
    return {"prices": source, "path": options["kind"], **{name: options[name] for name in names}}


def _command(prices: Path | None, options: dict[str, Any]) -> str:
    """Return the command line that gives this study again."""
    words = ["marginkeep", "oracle", "study", *([] if prices is None else [str(prices)])]
    names = ("accounts", "seed", "rules", "symbols", "start", "end", "deviations", "heartbeats", "update_cost", "harm")
    for name in (*names, "report"):
        value = options[name]
        if value is not None:
            text = value.isoformat() if name in ("start", "end") else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join([*words, "--path", options["kind"], *(["--drop-bad-rows"] if options["drop_bad_rows"] else [])])


def _print(result: StudyResult, report: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from marginkeep.lab.oracle_study_result import study_record
    from marginkeep.lab.oracle_study_summary import write_study_table

    if as_json:
        click.echo(json.dumps(study_record(result), indent=2))
        return
    write_study_table(result, Console(highlight=False))
    click.echo(f"report: {report}")
    click.echo(f"study:  {report.parent / STUDY_FILE}")
