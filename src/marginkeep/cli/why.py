"""`marginkeep why`: what was done to an account, and the reason, from the journal alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from marginkeep.cli.journal import reading, told_progress, when

if TYPE_CHECKING:
    from rich.console import Console

    from marginkeep.journal.command_log import CommandLog
    from marginkeep.journal.why import Why

WALK_SHOWN = 12
"""Last steps of the walk that are listed; the sums take in all of them."""


@click.command()
@click.argument("who")
@click.option(
    "--journal", "place", default="marginkeep.db", show_default=True, help="SQLite file or postgresql:// address."
)
@click.option("--at", "sequence", type=int, default=0, help="The record; the last decision about WHO by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every step of the walk and the proof.")
def why(who: str, place: str, sequence: int, as_json: bool) -> None:
    """Explain what was done to WHO: an account, or the number of a record such as a liquidation's.

    The journal is replayed up to that moment: how equity came there, each price with its source and age, the rule with
    its numbers, and where the decision is recorded.
    """
    from marginkeep.journal.why import explain

    account, sequence = ("", int(who)) if who.isdecimal() and not sequence else (who, sequence)
    with reading(place) as log, told_progress("replaying", "records") as told:
        found = explain(log, account, sequence, told)
        proof, unproved = _proof(log, found.sequence)
    if as_json:
        click.echo(json.dumps({**_as_table(found), "proof": proof, "unproved": unproved}, indent=2))
    else:
        _print(found, proof, unproved)


def _proof(log: CommandLog, sequence: int) -> tuple[dict[str, Any] | None, str]:
    """Return the proof that a record is under a signed checkpoint, or why there is none."""
    from marginkeep.errors import MarginkeepError
    from marginkeep.journal.proofs import prove

    try:
        proof: dict[str, Any] = json.loads(prove(log, sequence).to_json())
    except MarginkeepError as error:
        return None, str(error)
    return proof, ""


def _as_table(found: Why) -> dict[str, Any]:
    """Return all of an explanation, as an auditor may see it over the network."""
    import msgspec

    from marginkeep.service.scopes import EVERY_ACCOUNT, Caller, Scope
    from marginkeep.service.why_views import why_view

    auditor = Caller(key="", scopes=frozenset(Scope), accounts=frozenset({EVERY_ACCOUNT}))
    table: dict[str, Any] = msgspec.to_builtins(why_view(found, auditor, found.terms))
    return table


def _money(found: Why, amount: int) -> str:
    from marginkeep.units import format_units

    return format_units(amount, found.decimals)


def _print(found: Why, proof: dict[str, Any] | None, unproved: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    account, actor = escape(found.account), escape(found.actor)
    console.print(f"[bold]{account}[/bold], record {found.sequence:,}: {found.command} by {actor}", soft_wrap=True)
    console.print(f"recorded {when(found.recorded_ns)} UTC, under rulebook {found.rulebook[:12]}")
    _print_walk(found, console)
    _print_prices(found, console)
    if found.statement is not None:
        console.print("\n[bold]The rule, with its numbers[/bold]")
        for line in found.statement.why:
            console.print(f"  - {line}", soft_wrap=True, markup=False)
    console.print("\n[bold]What was done[/bold]")
    for line in _event_lines(found):
        console.print(f"  - {line}", soft_wrap=True, markup=False)
    console.print("\n[bold]Where it is recorded[/bold]")
    console.print(f"  record {found.sequence:,}, hash {found.hash}", soft_wrap=True)
    if proof is None:
        console.print(f"  no proof: {unproved}", soft_wrap=True)
    else:
        hashes = len(proof["path"])
        console.print(f"  under a signed checkpoint, by {hashes} hashes: --json prints the proof", soft_wrap=True)


def _print_walk(found: Why, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"\nEquity, in {found.reporting}", title_justify="left", box=None, title_style="bold")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row(f"before record {found.since:,}", _money(found, found.opening))
    for cause, amount in found.sums.items():
        table.add_row(escape(cause), f"{'+' if amount > 0 else ''}{_money(found, amount)}")
    table.add_row("when this was decided", _money(found, found.equity), style="bold")
    console.print(table)
    if not found.walk:
        return
    table = Table(title=f"\nIts last steps, of {len(found.walk):,}", title_justify="left", box=None, title_style="bold")
    for name, side in (("record", "right"), ("cause", "left"), ("change", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for step in found.walk[-WALK_SHOWN:]:
        table.add_row(
            f"{step.sequence:,}", escape(step.cause), f"{'+' if step.amount > 0 else ''}{_money(found, step.amount)}"
        )
    console.print(table)


def _print_prices(found: Why, console: Console) -> None:
    if not found.prices:
        return
    from marginkeep.service.wire_amounts import units_of

    console.print("\n[bold]Prices[/bold]")
    units = units_of(found.terms)
    for one in found.prices:
        source = f"set by record {one.set_by:,} ({one.actor}), {_age(one.age_ns)}" if one.set_by else _EARLIER
        text = f"  - {one.name} {one.price}, {source}"
        if one.quality:
            text += f"; quality {one.quality}" + (f", {one.state}" if one.state else "")
        console.print(text, soft_wrap=True, markup=False)
        for seen in one.sources:
            price = units.grid("source", one.name).format(seen.price)
            console.print(
                f"      {seen.source}: {price}, {_age(seen.age_ns)}, {seen.use}", soft_wrap=True, markup=False
            )


_EARLIER = "there when the walk began"


def _age(age_ns: int) -> str:
    return f"{age_ns / 10**9:,.3f} s old"


def _event_lines(found: Why) -> list[str]:
    """Return what was done to the account, in sentences."""
    from marginkeep.cli.event_words import sentences
    from marginkeep.service.wire_amounts import units_of
    from marginkeep.service.wire_events import wire_event

    units = units_of(found.terms)
    return [
        line for event in found.events for line in sentences(wire_event(event, units), found.reporting, found.account)
    ]
