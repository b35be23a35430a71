"""Run all benchmarks, print a table, write JSON: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.journal import measure_journal
from benchmarks.liquidating import measure_liquidating
from benchmarks.machine import describe_machine
from benchmarks.quoting import measure_quoting
from benchmarks.replaying import measure_replay
from benchmarks.revaluation import measure_revaluation
from benchmarks.service import measure_service
from benchmarks.single import measure_single
from benchmarks.watching import measure_watching

if TYPE_CHECKING:
    from benchmarks.figures import Figure

ROOMS = {
    "revaluation": measure_revaluation,
    "single": measure_single,
    "watch": measure_watching,
    "liquidations": measure_liquidating,
    "quotes": measure_quoting,
    "replay": measure_replay,
    "journal": measure_journal,
    "service": measure_service,
}
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main(names: list[str]) -> None:
    """Run the named rooms, or all."""
    unknown = [name for name in names if name not in ROOMS]
    if unknown:
        sys.exit(f"no benchmark is called {unknown[0]!r}: use one of {', '.join(ROOMS)}")
    machine = describe_machine()
    console = Console(highlight=False, width=100)
    console.print(f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}")
    measured: dict[str, list[Figure]] = {}
    for name in names or ROOMS:
        measured[name] = ROOMS[name]()
        console.print(show(name, measured[name]))
    body = {"machine": machine, "figures": {name: [f.as_json() for f in items] for name, items in measured.items()}}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(body, indent=2) + "\n")
    console.print(f"written to {RESULTS.relative_to(Path.cwd())}")


def show(name: str, figures: list[Figure]) -> Table:
    """Return a table of figures and goals."""
    table = Table(title=name, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column("figure", min_width=48)
    for column in ("value", "goal"):
        table.add_column(column, justify="right", min_width=14)
    table.add_column("", min_width=6)
    for figure in figures:
        goal = "" if figure.goal is None else f"{'>=' if figure.at_least else '<='} {figure.goal:,g} {figure.unit}"
        verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
        table.add_row(figure.name, f"{figure.value:,.4g} {figure.unit}", goal, verdict)
    return table


if __name__ == "__main__":
    main(sys.argv[1:])
