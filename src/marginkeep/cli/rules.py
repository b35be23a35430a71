"""`marginkeep rules`: look at rulebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from marginkeep.rulebook import Rulebook


@click.group()
def rules() -> None:
    """Check, compare and write rulebooks."""


@rules.command()
@click.argument("rulebook", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(rulebook: Path, as_json: bool) -> None:
    """Read a RULEBOOK and prove that the engine can clear it exactly."""
    from marginkeep.book.limits import prove_limits
    from marginkeep.rulebook import build_tables, load_rulebook, rulebook_hash

    loaded = load_rulebook(rulebook)
    prove_limits(build_tables(loaded))
    found = {"name": loaded.name, "sha256": rulebook_hash(loaded), "reporting": loaded.reporting}
    if as_json:
        names = {"assets": list(loaded.assets), "markets": list(loaded.markets)}
        click.echo(json.dumps({**found, **names, "cautions": _cautions(loaded)}, indent=2))
        return
    click.echo(f"{loaded.name}: {len(loaded.assets)} assets, {len(loaded.markets)} markets, good")
    click.echo(f"sha256 {found['sha256']}")
    for caution in _cautions(loaded):
        click.echo(f"caution: {caution}")


def _cautions(rulebook: Rulebook) -> list[str]:
    """Say where sound rules will hurt: where closing costs more than it releases, nothing is closed in part."""
    from marginkeep.rulebook import TARGET
    from marginkeep.units import format_units

    cautions = []
    for market in rulebook.markets.values():
        cost = market.liquidation.slippage + market.liquidation.penalty
        released = market.tiers[0].rates[TARGET]
        if cost and cost >= released:
            cautions.append(
                f"markets.{market.name}: a liquidation costs {format_units(cost, 9)} of what it closes and releases "
                f"{format_units(released, 9)} in the first tier, so positions there are always closed whole"
            )
    return cautions


@rules.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Show every parameter that differs between two rulebooks."""
    from marginkeep.rulebook import compare, load_rulebook, rulebook_hash

    old, new = load_rulebook(before), load_rulebook(after)
    changes = compare(old, new)
    if as_json:
        rows = [{"path": c.path, "before": c.before, "after": c.after} for c in changes]
        hashes = {"before": rulebook_hash(old), "after": rulebook_hash(new)}
        click.echo(json.dumps({"sha256": hashes, "changes": rows}, indent=2))
        return
    if not changes:
        click.echo("no parameter differs")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("parameter", "before", "after", box=box.SIMPLE_HEAD, pad_edge=False)
    for change in changes:
        table.add_row(*(Text(value or "-") for value in (change.path, change.before, change.after)))
    Console(highlight=False).print(table)
    click.echo(f"{len(changes)} parameters differ")


@rules.command()
@click.option("--prices", type=click.Path(path_type=Path), required=True, help="Candles whose markets to cover.")
def example(prices: Path) -> None:
    """Print a rulebook for the markets of a price file, a starting point to edit."""
    from marginkeep.lab.candles import filled, read_candles
    from marginkeep.lab.example_rules import example_rules_text, price_ranges

    candles = filled(read_candles(prices))
    click.echo(example_rules_text(*price_ranges(candles)), nl=False)
