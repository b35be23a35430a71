"""The command `marginkeep`.

Exit codes: 0 ok, 1 a stated bar failed, 2 wrong usage or input, 3 a defect, 4 a journal in trouble or a service out of
reach, 130 Ctrl-C. Output that is read no further (`| head`) ends in silence, with 1.
"""

from __future__ import annotations

import sys

import click

from marginkeep import __version__
from marginkeep.cli.client import client
from marginkeep.cli.demo import demo
from marginkeep.cli.health import health
from marginkeep.cli.journal import journal
from marginkeep.cli.keys import keys
from marginkeep.cli.lab import lab
from marginkeep.cli.oracle import oracle
from marginkeep.cli.replay import replay
from marginkeep.cli.rules import rules
from marginkeep.cli.serve import serve
from marginkeep.cli.verify import verify
from marginkeep.cli.why import why
from marginkeep.errors import InputError, InvariantViolation, JournalError

EXIT_USAGE = 2
EXIT_DEFECT = 3
EXIT_JOURNAL = 4
EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="marginkeep")
def command() -> None:
    """Keep every leveraged account solvent, and prove that it is.

    Start with `marginkeep demo`, or ask about one account: `marginkeep health CASE.toml`.
    """


for subcommand in (health, replay, demo, rules, oracle, lab, verify, keys, journal, why, serve, client):
    command.add_command(subcommand)


def main() -> None:
    """Run the command line; errors of the user's input are one line, never a traceback."""
    try:
        code = command.main(prog_name="marginkeep", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("marginkeep: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except InputError as error:
        click.echo(f"marginkeep: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except JournalError as error:
        click.echo(f"marginkeep: {error}", err=True)
        sys.exit(EXIT_JOURNAL)
    except InvariantViolation as error:
        click.echo(f"marginkeep: a defect, please report it with the input: {error}", err=True)
        sys.exit(EXIT_DEFECT)
