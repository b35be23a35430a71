"""`marginkeep lab`: studies of rules, on data and on generated books."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from marginkeep.cli.ladder_study import ladder_study
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from marginkeep.lab.adl_study_result import StudyResult

STUDY_FILE: Final = "study.json"


@click.group()
def lab() -> None:
    """Study rules before they are in force."""


@lab.command("adl-study")
@click.option(
    "--waves",
    type=click.Path(path_type=Path),
    help="Parquet file of waves: wave, budget_needed, budget_prod (USD), n_rows (default: those of 10 October 2025).",
)
@click.option("--accounts", type=int, default=32_000, show_default=True, help="How many winners to generate.")
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the winners.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("adl-study/report.html"),
    show_default=True,
    help="Where to write the page; study.json goes beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print study.json instead of the table.")
def adl_study(waves: Path | None, accounts: int, seed: int, report: Path, *, as_json: bool) -> None:
    """Compare deleveraging policies on the waves of 10 October 2025: how much is taken, and from whom.

    What each wave needed and what production took is data. The winners are generated, to match the concentration,
    leverage and profit that were published. Each policy closes the same lots of them at the bankruptcy price; the
    queue also at production's prices.
    """
    _check_report(report)
    result = _run(waves, accounts, seed, report)
    _write(result, report)
    if as_json:
        from marginkeep.lab.adl_study_result import study_record

        click.echo(json.dumps(study_record(result), indent=2))
        return
    from rich.console import Console

    from marginkeep.lab.adl_study_summary import write_study_table

    write_study_table(result, Console(highlight=False))
    click.echo(f"report: {report}")
    click.echo(f"study:  {report.parent / STUDY_FILE}")


def _check_report(report: Path) -> None:
    from marginkeep.cli.session import check_report_path

    check_report_path(report)
    if report.name == STUDY_FILE:
        raise InputError(f"--report {report}: {STUDY_FILE} is another file of the study; choose another name")


def _run(waves: Path | None, accounts: int, seed: int, report: Path) -> StudyResult:
    from marginkeep.lab.adl_study import prove_identity, run_policies
    from marginkeep.lab.adl_study_population import generate_winners
    from marginkeep.lab.adl_study_result import StudyResult
    from marginkeep.lab.adl_study_waves import PUBLISHED_WAVES, lots_of, read_waves

    chosen = PUBLISHED_WAVES if waves is None else read_waves(waves)
    population = generate_winners(accounts, seed, lots_of(chosen))
    return StudyResult(
        waves=chosen,
        runs=run_policies(chosen, population),
        identity=prove_identity(population.winners, sum(wave.needed for wave in chosen)),
        accounts=accounts,
        seed=seed,
        source="Hyperliquid, 10 October 2025" if waves is None else f"waves of {waves.name}",
        reproduce=_command(waves, accounts, seed, report),
        inputs=_inputs(waves, accounts, seed),
    )


def _inputs(waves: Path | None, accounts: int, seed: int) -> dict[str, Any]:
    from marginkeep.lab.outcome import file_sha256

    source = "built-in" if waves is None else {"file": waves.name, "sha256": file_sha256(waves)}
    return {"waves": source, "accounts": accounts, "seed": seed}


def _command(waves: Path | None, accounts: int, seed: int, report: Path) -> str:
    """Return the command line that gives this study again."""
    words = ["marginkeep", "lab", "adl-study", *([] if waves is None else ["--waves", str(waves)])]
    return shlex.join([*words, "--accounts", str(accounts), "--seed", str(seed), "--report", str(report)])


def _write(result: StudyResult, report: Path) -> None:
    from marginkeep.cli.session import unwritable
    from marginkeep.lab.adl_study_page import write_study_page
    from marginkeep.lab.adl_study_result import write_study

    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_study(result, report.parent / STUDY_FILE)
        write_study_page(result, report)
    except OSError as error:
        raise unwritable(report, error) from error


lab.add_command(ladder_study)
