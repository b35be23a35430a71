"""`marginkeep demo`: a built-in synthetic crash, no file, no key, no network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from marginkeep.lab.candles import Candles


@click.command()
@click.option("--accounts", type=int, default=20_000, show_default=True, help="How many accounts to generate.")
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the crash and of the book.")
@click.option("--archetype", default="flash_cascade", show_default=True, help="Kind of crash.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-report"),
    show_default=True,
    help="Folder for report.html and run.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of the summary.")
def demo(accounts: int, seed: int, archetype: str, out: Path, as_json: bool) -> None:
    """Replay a made-up crash day over a made-up book: what the engine does, in seconds."""
    from marginkeep.cli.session import Session, generated_house, load_rules, path_assumption, run_session
    from marginkeep.lab.opening import price_path

    candles = made_up_candles(seed, archetype)
    rulebook, text = load_rules(None, candles)
    path = price_path(candles, rulebook, "close")
    run_session(
        Session(
            house=generated_house(rulebook, path, accounts, seed),
            path=path,
            title=f"Demo: a synthetic {archetype.replace('_', ' ')} over {accounts:,} accounts",
            fund=None,
            expressions=(),
            assumptions=(
                (
                    f"Prices are synthetic (seed {seed}), shaped like measured crashes; the mark is the median of "
                    f"three made-up venues, so wicks on a single venue do not liquidate anybody."
                ),
                path_assumption("close"),
                "The book is generated: log-normal equities, leverage with a median of 6, 60 % of positions long.",
                "Liquidated positions pass to the liquidator at mark less slippage; they do not move the market.",
            ),
            repairs=(),
            reproduce=_command(accounts, seed, archetype, out),
            inputs={"archetype": archetype, "accounts": accounts, "seed": seed},
            report=out / "report.html",
            as_json=as_json,
            rules_text=text,
        )
    )


def _command(accounts: int, seed: int, archetype: str, out: Path) -> str:
    """Return the command line that gives this run again."""
    words = ["marginkeep", "demo", "--accounts", str(accounts), "--seed", str(seed)]
    return shlex.join([*words, "--archetype", archetype, "--out", str(out)])


def made_up_candles(seed: int, archetype: str) -> Candles:
    """Return a synthetic crash as candles."""
    from marginkeep.lab.candles import Candles
    from marginkeep.lab.crash import synthesise_crash

    crash = synthesise_crash(seed, archetype=archetype)
    step = int(crash.times_ns[1] - crash.times_ns[0])
    return Candles(
        symbols=crash.symbols,
        times_ns=crash.times_ns,
        open=crash.open,
        high=crash.high,
        low=crash.low,
        close=crash.close,
        volume=crash.volume,
        step_ns=step,
        symbol_steps_ns=(step,) * len(crash.symbols),
        repairs=(),
        counts={},
    )
