"""`marginkeep why`: what was done to an account, and the reason, from the journal alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from marginkeep.cli.journal import reading, when
from marginkeep.cli.progress import told_progress
from marginkeep.errors import JournalCorrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
    account, sequence = ("", int(who)) if who.isdecimal() and not sequence else (who, sequence)
    with reading(place) as log, told_progress("replaying", "records") as told:
        found = _explained(log, account, sequence, told)
        proof, unproved = _proof(log, found.sequence)
    if as_json:
        click.echo(json.dumps({**_as_table(found), "proof": proof, "unproved": unproved}, indent=2))
    else:
        _print(found, proof, unproved)


def _explained(log: CommandLog, account: str, sequence: int, told: Callable[[int, int], None]) -> Why:
    import msgspec

    from marginkeep.journal.why import explain

    try:
        return explain(log, account, sequence, told)
    except msgspec.DecodeError as error:
        unread = f"{log.place} holds a record that cannot be read ({error})"
        raise JournalCorrupt(f"{unread}: see `marginkeep verify`") from error


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

    from marginkeep.service.access.scopes import EVERY_ACCOUNT, Caller, Scope
    from marginkeep.service.queries.why_views import why_view

    auditor = Caller(key="", scopes=frozenset(Scope), accounts=frozenset({EVERY_ACCOUNT}))
    table: dict[str, Any] = msgspec.to_builtins(why_view(found, auditor, found.terms))
    return table


def _print(found: Why, proof: dict[str, Any] | None, unproved: str) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    _section(console, f"Why {_headline(found)}", [])
    stated = f"record {found.sequence:,}, {when(found.recorded_ns)} UTC: {found.command} by {found.actor}"
    _section(console, "", [f"{stated}, under rulebook {found.rulebook[:12]}"], indent="")
    _section(console, f"\nEquity, in {found.reporting}", _walk_lines(found))
    if len(found.walk) > len(found.sums):
        shown = min(WALK_SHOWN, len(found.walk))
        _section(console, f"\nIts last steps, {shown} of {len(found.walk):,}", _step_lines(found))
    if found.prices:
        _section(console, "\nPrices", _price_lines(found))
    if found.statement is not None:
        _section(console, "\nThe rule, with its numbers", found.statement.why)
    _section(console, "\nWhat was done", _event_lines(found))
    _section(console, "\nProof", [f"record {found.sequence:,} has hash {found.hash}", _proof_line(proof, unproved)])


def _section(console: Console, title: str, lines: Iterable[str], indent: str = "  ") -> None:
    if title:
        console.print(title, style="bold", markup=False, soft_wrap=True)
    for line in lines:
        console.print(f"{indent}{line}", soft_wrap=True, markup=False)


def _proof_line(proof: dict[str, Any] | None, unproved: str) -> str:
    if proof is None:
        return f"no proof: {unproved}"
    return f"it is under a signed checkpoint, by {len(proof['path'])} hashes: --json prints the proof"


def _headline(found: Why) -> str:
    """Return what was done to the account, in few words: the weightiest of it."""
    from marginkeep.journal.why import DECISIONS

    ranks = {kind.__name__: rank for rank, kind in enumerate(DECISIONS)}
    event = min(found.events, key=lambda one: ranks.get(type(one).__name__, len(ranks)))
    own, others = _DONE.get(type(event).__name__, ("is concerned",) * 2)
    return f"{found.account} {own if getattr(event, 'account', found.account) == found.account else others}"


_DONE: Final = {
    "Liquidated": ("was liquidated", "took a liquidation over"),
    "Deleveraged": ("was closed against winners", "was deleveraged"),
    "LossCovered": ("left a loss that others covered", "bore a loss"),
    "LossSocialised": ("left a loss that holders bear", "bears a loss"),
    "AuctionBid": ("was sold by auction", "bought by auction"),
    "AuctionOpened": ("was put up for auction", "is concerned by an auction"),
    "MarginCalled": ("was called for margin", ""),
    "CallReminded": ("was reminded of its margin call", ""),
    "RungChanged": ("moved on the ladder", ""),
    "Rejected": ("was refused", "was refused"),
}
"""What an event did to the account that it names, and to one that has another part in it."""


def _walk_lines(found: Why) -> list[str]:
    rows = [(f"before record {found.since:,}", _money(found, found.opening))]
    rows += [(cause, _change(found, amount)) for cause, amount in found.sums.items()]
    return _in_columns([*rows, ("when this was decided", _money(found, found.equity))])


def _step_lines(found: Why) -> list[str]:
    steps = found.walk[-WALK_SHOWN:]
    return _in_columns(
        [(f"record {step.sequence:,}", step.cause, _change(found, step.amount)) for step in steps],
    )


def _in_columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows with their columns one under the other, the numbers at the end by their points."""
    wholes = [row[-1].partition(".") for row in rows]
    left = max(len(whole) for whole, _, _ in wholes)
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), whole.rjust(left)])
        + point
        + part
        for row, (whole, point, part) in zip(rows, wholes, strict=True)
    ]


def _money(found: Why, amount: int) -> str:
    from marginkeep.units import format_units

    whole, point, part = format_units(amount, found.decimals).partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{int(whole.removeprefix('-')):,}{point}{part}"


def _change(found: Why, amount: int) -> str:
    return f"{'+' if amount > 0 else ''}{_money(found, amount)}"


def _price_lines(found: Why) -> Iterator[str]:
    """Yield each price with its age, what set it, and what each source said."""
    from marginkeep.service.wire.amounts import units_of

    units = units_of(found.terms)
    name_width = max(len(one.name) for one in found.prices)
    width = max(len(one.price) for one in found.prices)
    for one in found.prices:
        source = f"set by record {one.set_by:,} ({one.actor}), {_age(one.age_ns)}" if one.set_by else _EARLIER
        quality = f"; quality {one.quality}" + (f", {one.state}" if one.state else "") if one.quality else ""
        yield f"{one.name.ljust(name_width)}  {one.price.rjust(width)}  {source}{quality}"
        for seen in one.sources:
            price = units.grid("source", one.name).format(seen.price)
            yield f"    {seen.source}: {price}, {_age(seen.age_ns)}, {seen.use}"


_EARLIER: Final = "there when the walk began"


def _age(age_ns: int) -> str:
    return f"{age_ns / 10**9:,.3f} s old" if age_ns >= 10**6 else "just then"


def _event_lines(found: Why) -> list[str]:
    """Return what was done to the account, in sentences."""
    from marginkeep.cli.event_words import sentences
    from marginkeep.service.wire.amounts import units_of
    from marginkeep.service.wire.events import wire_event

    units = units_of(found.terms)
    return [
        line
        for event in found.events
        for line in sentences(wire_event(event, units, found.asked), found.reporting, found.account)
    ]
