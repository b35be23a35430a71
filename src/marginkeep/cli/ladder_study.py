"""`marginkeep lab ladder`: one crash under four rulebooks, from closing everything at once to the full ladder."""

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
    from marginkeep.lab.ladder_study import VariantRun
    from marginkeep.lab.ladder_study_result import StudyResult
    from marginkeep.lab.ladder_study_rules import Variant
    from marginkeep.lab.opening import PricePath
    from marginkeep.rulebook import Rulebook

STUDY_FILE: Final = "study.json"
FUND_PART: Final = 100
"""Without --fund, the insurance fund starts with one part in this many of open interest."""

TICKS_A_SHOW: Final = 20
"""The bar moves this seldom: to draw it costs as much as a tick."""


@click.command("ladder")
@click.argument("prices", required=False, type=click.Path(path_type=Path))
@click.option("--accounts", type=int, default=2_000, show_default=True, help="How many accounts to generate.")
@click.option(
    "--seed", type=int, default=7, show_default=True, help="Seed of the book, the people and the made-up crash."
)
@price_options
@click.option("--fund", help="Opening balance of the insurance fund (default: 1 % of open interest).")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("ladder-study/report.html"),
    show_default=True,
    help="Where to write the page; study.json and the rulebooks go beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print study.json instead of the table.")
def ladder_study(prices: Path | None, **options: Any) -> None:
    """Replay PRICES over one generated book under four rulebooks and compare who loses what.

    No partial: an account below maintenance is closed whole. Partial: it is reduced to its target at once. Soft +
    partial: step by step. Full ladder: called first, above maintenance, and auctioned when far below. All else is the
    same: the rulebooks are written beside the report. Without PRICES, a made-up crash is replayed. Ctrl-C stops early
    and leaves a valid report of the rulebooks that were finished.

    \b
    marginkeep lab ladder
    marginkeep lab ladder candles.parquet --start 2021-05-19T12:00 --end 2021-05-19T14:00
    """  # noqa: D301 - click reads a real backspace as "do not wrap"
    _check_report(options["report"])
    _run_and_show(_set_up(prices, options), prices, options)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What all variants share, and each variant with the text of its rulebook and what opens its house."""

    base: Rulebook
    path: PricePath
    texts: dict[str, str]
    variants: tuple[tuple[Variant, Callable[[], Clearinghouse]], ...]
    accounts: int
    open_interest: int
    repairs: tuple[str, ...]


def _check_report(report: Path) -> None:
    from marginkeep.cli.session import check_report_path
    from marginkeep.lab.ladder_study_rules import VARIANTS

    check_report_path(report)
    for name in (STUDY_FILE, *(_file_of(variant) for variant in VARIANTS)):
        if report.name == name:
            raise InputError(f"--report {report}: {name} is another file of the study; choose another name")


def _file_of(variant: Variant) -> str:
    return f"{variant.key}.toml"


def _set_up(prices: Path | None, options: dict[str, Any]) -> _Setting:
    from marginkeep.cli.session import generated_house
    from marginkeep.lab.ladder_study_rules import VARIANTS, base_rules_text, depths_of, variant_text
    from marginkeep.lab.opening import price_path
    from marginkeep.lab.replay import open_interest
    from marginkeep.rulebook import read_rulebook
    from marginkeep.rulebook.reading import parse_text

    candles = read_or_make_up(prices, options)
    text = base_rules_text(candles)
    base = read_rulebook(parse_text(text, ".toml", "the example rulebook"))
    path = price_path(candles, base, options["kind"], tuple(base.markets))
    house = generated_house(base, path, options["accounts"], options["seed"])
    interest = open_interest(house)
    fund = _fund(base, interest, options["fund"])
    depths = depths_of(base, house.state.open_interest)
    texts = {variant.key: variant_text(text, variant, depths) for variant in VARIANTS}
    openers = (_opener(texts[variant.key], path, fund, options) for variant in VARIANTS)
    variants = tuple(zip(VARIANTS, openers, strict=True))
    return _Setting(base, path, texts, variants, house.state.book.count - 2, interest, path_repairs(candles, path))


def _fund(rulebook: Rulebook, interest: int, stated: str | None) -> int:
    amount = interest // FUND_PART if stated is None else rulebook.units(rulebook.reporting, stated)
    if amount < 0:
        raise InputError(f"--fund is {stated}: give 0 or more")
    return amount


def _opener(text: str, path: PricePath, fund: int, options: dict[str, Any]) -> Callable[[], Clearinghouse]:
    """Return what opens a house under a rulebook: the same book and the same fund for each."""
    from marginkeep.cli.session import generated_house
    from marginkeep.lab.replay import top_up_fund
    from marginkeep.rulebook import read_rulebook
    from marginkeep.rulebook.reading import parse_text

    rulebook = read_rulebook(parse_text(text, ".toml", "a rulebook of the study"))

    def open_house() -> Clearinghouse:
        house = generated_house(rulebook, path, options["accounts"], options["seed"])
        top_up_fund(house, fund)
        return house

    return open_house


def _run_and_show(setting: _Setting, prices: Path | None, options: dict[str, Any]) -> None:
    """Run to the end or to Ctrl-C; write all files; print; exit with 130 when interrupted."""
    from marginkeep.cli.session import EXIT_INTERRUPTED, interrupts, prove_writable, unwritable
    from marginkeep.lab.ladder_study_page import write_study_page
    from marginkeep.lab.ladder_study_result import write_study

    report: Path = options["report"]
    files = {f"{key}.toml": text for key, text in setting.texts.items()}
    with interrupts() as stopped:
        prove_writable(report, [report.name, STUDY_FILE, *files])
        runs = _run_with_progress(setting, options["seed"], stopped)
    result = _conclude(setting, runs, prices, options)
    if not result.complete:
        planned = len(result.planned)
        click.echo(f"interrupted after {len(runs)} of {planned} rulebooks: writing what there is", err=True)
    try:
        write_study(result, report.parent / STUDY_FILE)
        for name, text in files.items():
            (report.parent / name).write_text(text, encoding="utf-8")
        write_study_page(result, report)
    except OSError as error:
        raise unwritable(report, error) from error
    _print(result, report, as_json=options["as_json"])
    if not result.complete:
        sys.exit(EXIT_INTERRUPTED)


def _run_with_progress(setting: _Setting, seed: int, stopped: Callable[[], bool]) -> tuple[VariantRun, ...]:
    from marginkeep.lab.ladder_study import run_variants

    ticks, labels = len(setting.path.times_ns), [variant.label for variant, _ in setting.variants]
    with told_progress("study", "ticks", TICKS_A_SHOW) as told:

        def advance(done: int) -> None:
            told(done, ticks * len(labels), what=labels[min(len(labels) - 1, done // ticks)])

        return run_variants(setting.path, setting.variants, seed, advance, stopped)


def _conclude(
    setting: _Setting, runs: tuple[VariantRun, ...], prices: Path | None, options: dict[str, Any]
) -> StudyResult:
    """Return the result as far as it was computed, with all the words that go with it."""
    from marginkeep.lab.ladder_study_result import StudyResult

    base = setting.base
    source = f"a synthetic {ARCHETYPE.replace('_', ' ')}" if prices is None else prices.name
    return StudyResult(
        title=f"The ladder: {source} under {len(setting.variants)} rulebooks",
        runs=runs,
        planned=tuple(variant for variant, _ in setting.variants),
        reporting_asset=base.reporting,
        reporting_decimals=base.assets[base.reporting].decimals,
        accounts=setting.accounts,
        markets=len(setting.path.markets),
        times_ns=setting.path.times_ns,
        open_interest=setting.open_interest,
        assumptions=_assumptions(prices, options),
        repairs=setting.repairs,
        reproduce=_command(prices, options),
        inputs=_inputs(prices, options),
    )


def _assumptions(prices: Path | None, options: dict[str, Any]) -> tuple[str, ...]:
    from marginkeep.cli.session import path_assumption
    from marginkeep.lab.ladder_study_words import assumptions

    seed = options["seed"]
    fund = "1 % of open interest" if options["fund"] is None else options["fund"]
    made_up = () if prices is not None else (f"Prices are synthetic (seed {seed}), shaped like measured crashes.",)
    return (*made_up, path_assumption(options["kind"]), *assumptions(seed, fund))


def _inputs(prices: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    from marginkeep.lab.outcome import file_sha256

    source = {"archetype": ARCHETYPE} if prices is None else {"file": prices.name, "sha256": file_sha256(prices)}
    return {"prices": source, "path": options["kind"], **{name: options[name] for name in ("accounts", "seed", "fund")}}


def _command(prices: Path | None, options: dict[str, Any]) -> str:
    """Return the command line that gives this study again."""
    words = ["marginkeep", "lab", "ladder", *([] if prices is None else [str(prices)])]
    for name in ("accounts", "seed", "symbols", "start", "end", "fund", "report"):
        value = options[name]
        if value is not None:
            words += [f"--{name}", value.isoformat() if name in ("start", "end") else str(value)]
    return shlex.join([*words, "--path", options["kind"], *(["--drop-bad-rows"] if options["drop_bad_rows"] else [])])


def _print(result: StudyResult, report: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from marginkeep.lab.ladder_study_result import study_record
    from marginkeep.lab.ladder_study_summary import write_study_table

    if as_json:
        click.echo(json.dumps(study_record(result), indent=2))
        return
    write_study_table(result, Console(highlight=False))
    click.echo(f"report:    {report}")
    click.echo(f"study:     {report.parent / STUDY_FILE}")
    click.echo(f"rulebooks: {', '.join(str(report.parent / _file_of(variant)) for variant in result.planned)}")
