"""`marginkeep oracle`: what the prices one acts on cost, and what they do."""

from __future__ import annotations

import click

from marginkeep.cli.oracle_drill import drill
from marginkeep.cli.oracle_study import study


@click.group()
def oracle() -> None:
    """Study the prices that the engine acts on."""


for subcommand in (study, drill):
    oracle.add_command(subcommand)
