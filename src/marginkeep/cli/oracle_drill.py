"""`marginkeep oracle drill`: whom faulty quotes would have liquidated, and whom they would have spared."""

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
    from marginkeep.lab.candles import Candles
    from marginkeep.lab.drill import Drill
    from marginkeep.lab.drill_result import DrillResult
    from marginkeep.lab.faults import Fault
    from marginkeep.lab.opening import PricePath
    from marginkeep.lab.quote_paths import QuotePath
    from marginkeep.rulebook import Rulebook

DRILL_FILE: Final = "drill.json"
EXIT_STRICT: Final = 1
SOURCES_DEFAULT: Final = 5
TICKS_A_SHOW: Final = 20


@click.command()
@click.argument("prices", required=False, type=click.Path(path_type=Path))
@click.option("--fault", "faults", multiple=True, metavar="FAULT", help="What goes wrong; may be given again.")
@click.option(
    "--sources", type=click.IntRange(1, 16), help=f"How many sources quote each feed (default {SOURCES_DEFAULT})."
)
@click.option(
    "--noise",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Most that a healthy source is off, basis points.",
)
@click.option("--accounts", type=int, default=2_000, show_default=True, help="How many accounts to generate.")
@click.option(
    "--seed", type=int, default=7, show_default=True, help="Seed of the book, the quotes and the made-up crash."
)
@click.option("--rules", type=click.Path(path_type=Path), help="Rulebook with an [oracle] (default: an example).")
@price_options
@click.option("--strict", is_flag=True, help="Exit 1 if an account is liquidated only with the faults.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("oracle-drill/report.html"),
    show_default=True,
    help="Where to write the page; drill.json goes beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print drill.json instead of the tables.")
def drill(prices: Path | None, **options: Any) -> None:
    """Replay PRICES twice, quoted by several sources, once well and once with faults, and compare who is liquidated.

    Both runs have the same generated book, the same noise and the same rules. Without PRICES, a made-up crash is
    replayed. Without --fault, in the steepest fall one source freezes for ten minutes, then another prints ten times
    the price, then all but one are silent. Ctrl-C stops early and leaves a valid report of what was done.

    \b
    A fault is KIND:SOURCES@WHEN+HOW LONG. Sources are alpha, bravo, charlie and so
    on, or those of the rulebook; SOURCES/FEED is one feed only; WHEN is a UTC time,
    or + and the time since the start.
    freeze:alpha@+1h+10m                  repeats its last price
    scale:alpha*10@2021-05-19T12:50+10m   prints its price times this
    silence:alpha,bravo@+1h+10m           say nothing
    swap:alpha:BTC<->ETH@+1h+10m          has two symbols the wrong way round
    zero:alpha/BTC@+1h+10m                prints zero
    late:alpha+30s@+1h+10m                quotes what was true so long ago
    ahead:alpha+30s@+1h+10m               has a clock that is ahead

    \b
    marginkeep oracle drill
    marginkeep oracle drill candles.parquet --fault freeze:alpha@+1h+10m --strict
    """  # noqa: D301 - click reads a real backspace as "do not wrap"
    from marginkeep.cli.session import check_report_path

    check_report_path(options["report"])
    if options["report"].name == DRILL_FILE:
        raise InputError(
            f"--report {options['report']}: {DRILL_FILE} is another file of the drill; choose another name"
        )
    if options["rules"] is not None and options["sources"] is not None:
        raise InputError("--sources and --rules exclude each other: the rulebook names the sources")
    _run_and_show(_set_up(prices, options), prices, options)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What the two runs share, and what is different."""

    rulebook: Rulebook
    rules_text: str | None
    path: PricePath
    quotes: QuotePath
    faults: tuple[Fault, ...]
    open_house: Callable[[], Clearinghouse]
    repairs: tuple[str, ...]


def _set_up(prices: Path | None, options: dict[str, Any]) -> _Setting:
    from marginkeep.cli.session import house_opener
    from marginkeep.lab.faults import default_faults, parse_fault
    from marginkeep.lab.opening import price_path
    from marginkeep.lab.quote_paths import make_quotes

    candles = read_or_make_up(prices, options)
    rulebook, text = _rules(candles, options)
    path = price_path(candles, rulebook, options["kind"], tuple(rulebook.markets))
    quotes = make_quotes(path, rulebook, options["seed"], options["noise"])
    options["faults"] = options["faults"] or default_faults(quotes)
    faults = tuple(parse_fault(fault, quotes) for fault in options["faults"])
    repairs = path_repairs(candles, path)
    return _Setting(rulebook, text, path, quotes, faults, house_opener(rulebook, path, options), repairs)


def _rules(candles: Candles, options: dict[str, Any]) -> tuple[Rulebook, str | None]:
    """Return the stated rulebook, or the example for these markets with an example oracle, and its text."""
    from marginkeep.cli.session import load_rules
    from marginkeep.lab.example_oracle import SOURCE_NAMES, example_oracle_text
    from marginkeep.rulebook import read_rulebook
    from marginkeep.rulebook.reading import parse_text

    rulebook, text = load_rules(options["rules"], candles)
    if text is not None:
        count = SOURCES_DEFAULT if options["sources"] is None else options["sources"]
        text += example_oracle_text(rulebook, SOURCE_NAMES[:count])
        return read_rulebook(parse_text(text, ".toml", "the example rulebook")), text
    if rulebook.oracle is None:
        raise InputError(
            f"--rules {options['rules']}: the rulebook has no [oracle] table, so nothing quotes its prices; add one, "
            f"or leave --rules out for an example"
        )
    return rulebook, None


def _run_and_show(setting: _Setting, prices: Path | None, options: dict[str, Any]) -> None:
    """Run to the end or to Ctrl-C; write the page and drill.json; print; exit with the stated code."""
    from marginkeep.cli.session import EXIT_INTERRUPTED, RULES_FILE, interrupts, prove_writable, unwritable
    from marginkeep.lab.drill import Drill, DrilledRun
    from marginkeep.lab.drill_page import write_drill_page
    from marginkeep.lab.drill_result import write_drill
    from marginkeep.lab.faults import apply_faults

    report: Path = options["report"]
    healthy = DrilledRun(setting.open_house(), setting.quotes, setting.path)
    faulted = DrilledRun(setting.open_house(), apply_faults(setting.quotes, setting.faults), setting.path)
    running = Drill(healthy, faulted)
    texts = {} if setting.rules_text is None else {RULES_FILE: setting.rules_text}
    with interrupts() as stopped:
        prove_writable(report, [report.name, DRILL_FILE, *texts])
        _run_with_progress(running, stopped)
    result = _conclude(running, setting, prices, options)
    if not result.complete:
        click.echo(f"interrupted after {result.done:,} ticks: writing what there is", err=True)
    try:
        write_drill(result, report.parent / DRILL_FILE)
        for name, text in texts.items():
            (report.parent / name).write_text(text, encoding="utf-8")
        write_drill_page(result, report)
    except OSError as error:
        raise unwritable(report, error) from error
    _print(result, report, as_json=options["as_json"])
    if not result.complete:
        sys.exit(EXIT_INTERRUPTED)
    if options["strict"] and result.of_fate("only with"):
        sys.exit(EXIT_STRICT)


def _run_with_progress(running: Drill, stopped: Callable[[], bool]) -> None:
    total = len(running.healthy.path.times_ns)
    with told_progress("drilling", "ticks", TICKS_A_SHOW) as told:

        def advance(done: int) -> None:
            told(done, total, seen=f", {len(running.glimpses):,} accounts fare otherwise")

        running.run(advance, stopped)


def _conclude(running: Drill, setting: _Setting, prices: Path | None, options: dict[str, Any]) -> DrillResult:
    """Return the result as far as it was computed, with all the words that go with it."""
    from marginkeep.lab.drill_result import conclude
    from marginkeep.lab.outcome import file_sha256

    made_up = {"archetype": ARCHETYPE}
    names = ("accounts", "seed", "noise")
    return conclude(
        running,
        setting.faults,
        title=f"Drill: {'a synthetic ' + ARCHETYPE.replace('_', ' ') if prices is None else prices.name}",
        assumptions=_assumptions(setting, prices, options),
        repairs=setting.repairs,
        reproduce=_command(prices, options),
        inputs={
            "prices": made_up if prices is None else {"file": prices.name, "sha256": file_sha256(prices)},
            "path": options["kind"],
            **{name: options[name] for name in names},
        },
    )


def _assumptions(setting: _Setting, prices: Path | None, options: dict[str, Any]) -> tuple[str, ...]:
    from marginkeep.cli.session import RULES_FILE

    seed, names = options["seed"], ", ".join(setting.quotes.sources)
    return (
        *([f"Prices are synthetic (seed {seed}), shaped like measured crashes."] if prices is None else []),
        *(
            [f"The rulebook is an example made for these markets, with an example oracle: see {RULES_FILE}."]
            if setting.rules_text is not None
            else []
        ),
        (
            f"The sources ({names}) are made up: each quotes each feed once a tick, off by up to {options['noise']} bp "
            f"and up to 0.8 s late."
        ),
        "Moves inside a bar are not seen, and between two ticks nobody quotes.",
        "Noise, latencies and book are the same in both runs; only the faults differ.",
        f"The book is generated (seed {seed}). The insurance fund starts with 2 % of open interest.",
        "Forced trades are at the mark less slippage; they do not move the market.",
        "Nobody deposits, withdraws or trades: a margin call is not answered.",
        "An account counts as liquidated from its first forced trade on, however small.",
    )


def _command(prices: Path | None, options: dict[str, Any]) -> str:
    """Return the command line that gives this drill again."""
    words = ["marginkeep", "oracle", "drill", *([] if prices is None else [str(prices)])]
    for fault in options["faults"]:
        words += ["--fault", fault]
    for name in ("sources", "noise", "accounts", "seed", "rules", "symbols", "start", "end", "report"):
        value = options[name]
        if value is not None:
            words += [f"--{name}", value.isoformat() if name in ("start", "end") else str(value)]
    return shlex.join([*words, "--path", options["kind"], *(["--drop-bad-rows"] if options["drop_bad_rows"] else [])])


def _print(result: DrillResult, report: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from marginkeep.lab.drill_result import drill_record
    from marginkeep.lab.drill_summary import write_drill_tables

    if as_json:
        click.echo(json.dumps(drill_record(result), indent=2))
        return
    write_drill_tables(result, Console(highlight=False))
    click.echo(f"report: {report}")
    click.echo(f"drill:  {report.parent / DRILL_FILE}")
