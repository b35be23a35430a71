"""`marginkeep replay`: real prices over a book, through the engine that clears live."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marginkeep.cli.price_options import path_repairs, price_options, read_price_file
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from marginkeep.clearing import Clearinghouse
    from marginkeep.lab.candles import Candles
    from marginkeep.lab.opening import PathKind, PricePath

ACCOUNTS_DEFAULT = 10_000


@click.command()
@click.option("--prices", required=True, type=click.Path(path_type=Path), help="Candles: Parquet or CSV.")
@click.option("--accounts", type=int, help=f"Generate this many accounts (default {ACCOUNTS_DEFAULT:,}).")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the generated book.")
@click.option("--book", type=click.Path(path_type=Path), help="Replay the accounts of this case file instead.")
@click.option("--rules", type=click.Path(path_type=Path), help="Rulebook (default: an example for the file's markets).")
@price_options
@click.option("--fund", help="Opening balance of the insurance fund (default: 2 % of open interest).")
@click.option("--fail-if", "expressions", multiple=True, metavar="EXPR", help="Exit 1 if true, as in 'bad_debt>0'.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("replay-report/report.html"),
    show_default=True,
    help="Where to write the page; run.json goes beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of the summary.")
def replay(prices: Path, **options: Any) -> None:
    """Replay historical or imagined PRICES over a book and report what the engine did.

    Prices are candles with ccxt symbols, or Binance public kline files. Ctrl-C stops early and leaves a valid report
    of what was done.

    \b
    marginkeep replay --prices candles.parquet --accounts 100000 --seed 7
    marginkeep replay --prices BTCUSDT-1m-2024-08-05.csv --book mine.toml --fail-if "bad_debt>0"
    """  # noqa: D301 - click reads a real backspace as "do not wrap"
    from marginkeep.cli.session import Session, check_report_path, load_rules, path_assumption, run_session
    from marginkeep.lab.bars import check_expressions
    from marginkeep.lab.outcome import FIGURES, file_sha256

    check_expressions(options["expressions"], FIGURES)
    check_report_path(options["report"])
    if options["book"] is not None and options["accounts"] is not None:
        raise InputError("--book and --accounts exclude each other: give the accounts or have them generated")
    candles = read_price_file(prices, options)
    rulebook, rules_text = load_rules(options["rules"], candles)
    house, path = _open(candles, rulebook, options)
    inputs = {
        "prices": {"file": prices.name, "sha256": file_sha256(prices)},
        "book": None if options["book"] is None else {"sha256": file_sha256(options["book"])},
        "accounts": house.state.book.count - 2,
        "seed": None if options["book"] is not None else options["seed"],
        "path": options["kind"],
    }
    run_session(
        Session(
            house=house,
            path=path,
            title=f"Replay of {prices.name}",
            fund=options["fund"],
            expressions=options["expressions"],
            assumptions=(path_assumption(options["kind"]), *_assumptions(options)),
            repairs=path_repairs(candles, path),
            reproduce=_command(prices, options),
            inputs=inputs,
            report=options["report"],
            as_json=options["as_json"],
            rules_text=rules_text,
        )
    )


def _open(candles: Candles, rulebook: Any, options: dict[str, Any]) -> tuple[Clearinghouse, PricePath]:
    from marginkeep.book.case import load_case
    from marginkeep.cli.session import generated_house
    from marginkeep.lab.opening import keep_case_prices, open_case, price_path, set_opening_prices

    kind: PathKind = options["kind"]
    if options["book"] is None:
        path = price_path(candles, rulebook, kind, _all_markets(rulebook, candles))
        accounts = ACCOUNTS_DEFAULT if options["accounts"] is None else options["accounts"]
        return generated_house(rulebook, path, accounts, options["seed"]), path
    case = load_case(options["book"])
    rules = case.rulebook if options["rules"] is None else rulebook
    held = {
        case.tables.markets[index].name
        for account in case.accounts.values()
        for index, position in account.positions.items()
        if position.size
    }
    path = price_path(candles, rules, kind, sorted(held))
    house = open_case(case, rules)
    options["kept"] = keep_case_prices(house.state.valuation, case, path)
    set_opening_prices(house.state.valuation, path)
    return house, path


def _all_markets(rulebook: Any, candles: Candles) -> tuple[str, ...]:
    return tuple(rulebook.markets)


def _assumptions(options: dict[str, Any]) -> tuple[str, ...]:
    book = "The book is the case file's; the account `external` holds the other side of each position."
    if options["book"] is None:
        book = (
            f"The book is generated (seed {options['seed']}): log-normal equities, leverage with a median of 6, "
            f"60 % of positions long, one account in six with coin as collateral."
        )
    kept = options.get("kept")
    return (
        book,
        *([f"Held at the case file's price: {', '.join(kept)}; the price file has none."] if kept else []),
        "Liquidated positions pass to the liquidator at mark less slippage; they do not move the market.",
        "No funding is paid, and nobody deposits, withdraws or trades during the replay.",
    )


def _command(prices: Path, options: dict[str, Any]) -> str:
    """Return the command line that gives this run again."""
    words = ["marginkeep", "replay", "--prices", str(prices)]
    for name in ("accounts", "seed", "book", "rules", "symbols", "start", "end", "fund", "report"):
        value = options[name]
        if value is not None and not (name == "seed" and options["book"] is not None):
            words += [f"--{name}", value.isoformat() if name in ("start", "end") else str(value)]
    words += ["--path", options["kind"], *(["--drop-bad-rows"] if options["drop_bad_rows"] else [])]
    for expression in options["expressions"]:
        words += ["--fail-if", expression]
    return shlex.join(words)
