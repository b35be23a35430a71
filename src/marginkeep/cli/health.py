"""`marginkeep health CASE`: one file in, every account's numbers out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marginkeep.cli.prices import parse_prices
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from marginkeep.book.case import Case
    from marginkeep.book.statement import AccountStatement

SHOWN_MAX = 20
"""Accounts in the table of a large case; the worst ones."""

WIDE = 120
"""Columns from which every figure is shown; output that is not to a terminal has them."""

STATUS_STYLES = {
    "healthy": "green",
    "reduce_only": "yellow",
    "margin_call": "yellow",
    "liquidatable": "bold red",
    "bankrupt": "bold red",
}


@click.command()
@click.argument("case", type=click.Path(path_type=Path))
@click.option("--price", "-p", "stated", multiple=True, metavar="NAME=PRICE", help="What if a price were this?")
@click.option("--account", "-a", "wanted", multiple=True, metavar="ID", help="Only these accounts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def health(case: Path, stated: tuple[str, ...], wanted: tuple[str, ...], as_json: bool) -> None:
    """Show how far every account of a CASE file is from liquidation, and why.

    A case is a TOML or JSON file with a rulebook excerpt, prices and accounts.

    \b
    marginkeep health examples/alice.toml
    marginkeep health examples/alice.toml --price BTC-PERP=57500
    """  # noqa: D301 - click reads a real backspace as "do not wrap"
    from marginkeep.book.case import load_case

    loaded = load_case(case, parse_prices(stated))
    names = _chosen(loaded, wanted)
    if as_json:
        from marginkeep.book.statement import state_account

        statements = [state_account(name, loaded.accounts[name], loaded.valuation) for name in names]
        click.echo(json.dumps({"accounts": [_plain(statement) for statement in statements]}, indent=2))
        return
    _show(loaded, names)


def _chosen(case: Case, wanted: tuple[str, ...]) -> list[str]:
    if not case.accounts:
        raise InputError("the case has no accounts: add [[accounts]] with an id")
    chosen = []
    for name in wanted:
        # An isolated account may be nothing but the owner of others, which then stand for it.
        found = [name] if name in case.accounts else [key for key in case.accounts if key.startswith(f"{name}/")]
        if not found:
            raise InputError(f"account {name!r} is not in the case: it has {', '.join(list(case.accounts)[:12])}")
        chosen += found
    return [name for name in case.accounts if not wanted or name in chosen]


def _plain(statement: AccountStatement) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(statement)


def _show(case: Case, names: Sequence[str]) -> None:
    from rich.console import Console

    from marginkeep.book.statement import state_account

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    wide = console.width >= WIDE
    shown = _worst(case, names)
    statements = [state_account(name, case.accounts[name], case.valuation) for name in shown]
    console.print(_accounts_table(statements, case, wide))
    if any(statement.positions for statement in statements):
        console.print(_positions_table(statements, wide))
    if len(shown) < len(names):
        console.print(f"The {len(shown)} accounts nearest to liquidation of {len(names):,}; --json gives all.\n")
        return
    for statement in statements:
        _explain(console, statement)


def _worst(case: Case, names: Sequence[str]) -> list[str]:
    """Return the accounts to show: all of a small case, else those nearest to liquidation, nearest first."""
    if len(names) <= SHOWN_MAX:
        return list(names)
    from marginkeep.book.scan import riskiest

    accounts = [case.accounts[name] for name in names]
    return [names[index] for index in riskiest(accounts, case.valuation, SHOWN_MAX)]


def _accounts_table(statements: Sequence[AccountStatement], case: Case, wide: bool) -> Table:
    columns = ["equity", *(["initial"] if wide else []), "maintenance", "health", "factor", "leverage"]
    table = _table(f"Accounts, in {case.rulebook.reporting}", ("account", "status"), columns)
    for item in statements:
        initial = [cents(item.initial_margin)] if wide else []
        table.add_row(
            _literal(item.id),
            _literal(item.status.replace("_", " "), STATUS_STYLES[item.status]),
            *(cents(item.equity), *initial, cents(item.maintenance_margin), cents(item.health)),
            cents_or_dash(item.health_factor),
            cents_or_dash(item.leverage),
        )
    return table


def _positions_table(statements: Sequence[AccountStatement], wide: bool) -> Table:
    extra = ["notional", "maintenance"] if wide else []
    columns = ["size", "mark", "profit", *extra, "liquidation at", "bankrupt at"]
    table = _table("Positions, amounts in their settle asset; all else held at mark", ("account", "market"), columns)
    for item in statements:
        for position in item.positions:
            decimals = 2 if position.settle in {"USD", "USDC", "USDT", "EUR"} else 8
            more = [cents(v, decimals) for v in (position.notional, position.maintenance_margin)] if wide else []
            table.add_row(
                *(_literal(item.id), _literal(position.market), position.size, position.mark),
                *(cents(position.unrealized_pnl, decimals), *more),
                _significant(position.liquidation_price),
                _significant(position.bankruptcy_price),
            )
    return table


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=_literal(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in texts:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _explain(console: Console, statement: AccountStatement) -> None:
    console.print(_literal(f"Why {statement.id}", "bold") + _literal(f" is {statement.status.replace('_', ' ')}:"))
    for line in statement.why:
        console.print(_literal(f"  - {line}"), soft_wrap=True)
    console.print()


def _literal(text: str, style: str = "") -> Text:
    """Return text from a file as it is: square brackets in a name are no markup."""
    from rich.text import Text

    from marginkeep.lab.summary import printable

    return Text(printable(text), style=style)


def cents(value: str, decimals: int = 2) -> str:
    """Write a number rounded down, with thousands separators; exact, however many digits it has."""
    from fractions import Fraction
    from math import floor

    count = floor(Fraction(value) * 10**decimals)
    whole, part = divmod(abs(count), 10**decimals)
    return f"{'-' if count < 0 else ''}{whole:,}.{part:0{decimals}d}"


def cents_or_dash(value: str | None) -> str:
    """Write a number as `cents` does, and nothing as a dash."""
    return "-" if value is None else cents(value)


def _significant(value: str | None) -> str:
    """Show a price to seven significant digits; the exact root is in the JSON."""
    from decimal import Context, Decimal

    return "-" if value is None else f"{Context(prec=7).create_decimal(Decimal(value)):f}"
