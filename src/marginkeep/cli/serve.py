"""`marginkeep serve`: run the service, or explain how it is configured."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.service.context import ServiceContext
    from marginkeep.service.operations.settings import Settings
    from marginkeep.service.operations.settings_reading import Setting

SPEED_MAX: Final = 20.0
WIDE: Final = 160
"""Columns that the table of settings needs; narrower terminals are shown a list."""

DEMO_OPTIONS: Final = ("demo_folder", "demo_speed", "demo_accounts", "demo_seed")
_FLAGS: Final = {"rules": "rules", "place": "journal.place", "host": "server.host", "port": "server.port"}

_path = click.Path(path_type=Path)


@click.command()
@click.option("--config", type=_path, metavar="FILE", help="Settings, as TOML; see deploy/marginkeep.toml.")
@click.option("--rules", metavar="FILE", help="The rulebook that a new journal starts with.")
@click.option("--journal", "place", metavar="PLACE", help="SQLite file, or postgresql://...")
@click.option("--host", help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen at; 0 = any that is free.")
@click.option("--take-over", is_flag=True, help="Become the writer although another seems to be alive.")
@click.option("--explain", is_flag=True, help="Print every setting and where it comes from; start nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for what is printed and for the log.")
@click.option("--demo", is_flag=True, help="Start with a live simulated market, and with keys to speak to it.")
@click.option("--demo-folder", type=_path, default=Path(), help="Where to write the demonstration's keys.")
@click.option("--demo-speed", type=click.FloatRange(0.1, SPEED_MAX), default=1.0, show_default=True)
@click.option("--demo-accounts", type=click.IntRange(0, 2_000), default=400, show_default=True)
@click.option("--demo-seed", type=click.IntRange(0), default=1, show_default=True)
@click.pass_context
def serve(
    context: click.Context, /, config: Path | None, *, take_over: bool, explain: bool, as_json: bool, **stated: Any
) -> None:
    """Run the service: REST and WebSocket under /v1.

    Settings come from --config, then from MARGINKEEP_... variables, then from these options. The first SIGTERM or
    Ctrl-C ends it in order, the second at once; the journal is safe either way. Exit code 4: the journal is in trouble.
    """
    from marginkeep.service.operations.settings_reading import read_settings

    flags = {setting: stated[option] for option, setting in _FLAGS.items()}
    settings, explained = read_settings(config, os.environ, flags)
    if explain:
        _print_settings(explained, as_json=as_json)
        return
    from marginkeep.service.operations.logs import configure_logs

    configure_logs(settings.logs, time.time_ns, as_json=as_json)
    if stated["demo"]:
        _run_demo(settings, stated, take_over=take_over, as_json=as_json)
        return
    _require_no_demo_options(context)
    _run(settings, take_over=take_over, tell=partial(_print_start, as_json=as_json))


def _run(settings: Settings, *, tell: Callable[[ServiceContext, str], None], **more: Any) -> None:
    """Serve, and tell both the terminal and a supervisor when it is ready."""
    import structlog

    from marginkeep.service.operations.supervision import Supervisor, tell_supervisor
    from marginkeep.service.running import run

    prepare = more.pop("prepare", None)
    opened: list[ServiceContext] = []
    recovery = ExitStack()

    def prepared(context: ServiceContext) -> None:
        recovery.close()
        opened.append(context)
        if prepare is not None:
            prepare(context)
        context.parts["supervisor"] = Supervisor(os.environ)

    def listening(url: str) -> None:
        tell(opened[0], url)
        tell_supervisor("READY=1", os.environ)

    with recovery:
        if sys.stderr.isatty():
            from marginkeep.cli.progress import told_progress

            more["progress"] = recovery.enter_context(told_progress("recovering", "records"))
        run(settings, prepare=prepared, listening=listening, **more)
    structlog.get_logger("marginkeep.service").info("the service has stopped, and its journal is in order")


def _run_demo(settings: Settings, stated: dict[str, Any], *, take_over: bool, as_json: bool) -> None:
    from msgspec import structs

    from marginkeep.service.demo.opening import Demo, DemoOptions, demo_log

    if settings.rules:
        raise InputError(f"--demo brings its own rulebook, and rules is {settings.rules!r}: leave one of them out")
    if not stated["demo_folder"].is_dir():
        raise InputError(f"--demo-folder is {str(stated['demo_folder'])!r}, no folder: make it first")
    options = DemoOptions(**{name.removeprefix("demo_"): stated[name] for name in DEMO_OPTIONS})
    with ExitStack() as stack:
        place = stated["place"]
        if place is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="marginkeep-demo-"))
            place = str(Path(folder, "demo.db"))
        settings = structs.replace(settings, journal=structs.replace(settings.journal, place=place))

        def prepare(context: ServiceContext) -> None:
            context.parts["demo"] = Demo(context, options)

        tell = partial(_print_demo_start, as_json=as_json)
        log = demo_log(place, time.time_ns)
        _run(settings, log=log, prepare=prepare, take_over=take_over, tell=tell)


def _require_no_demo_options(context: click.Context) -> None:
    for name in DEMO_OPTIONS:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise InputError(f"--{name.replace('_', '-')} says something only together with --demo")


# What is printed -----------------------------------------------------------------------------------------------------


def _started(context: ServiceContext, url: str) -> dict[str, Any]:
    head = context.durable.head
    return {
        "url": url,
        "journal": context.log.place,
        "record": head.sequence,
        "epoch": head.epoch,
        "verifying_key": context.durable.vkey,
    }


def _print_start(context: ServiceContext, url: str, *, as_json: bool) -> None:
    members = _started(context, url)
    place = context.log.place
    make = f"marginkeep keys create --journal {place} --person NAME --account OWNER"
    if as_json:
        click.echo(json.dumps({**members, "make_a_key": make}))
        return
    _print_members(members)
    click.echo(f"make a key      {make}")


def _print_demo_start(context: ServiceContext, url: str, *, as_json: bool) -> None:
    members = _started(context, url)
    yours, venue = context.parts["demo"].write_credentials(url)
    client = f"marginkeep client --credentials {yours}"
    commands = [f"{client} check buy 0.01 BTC-PERP at 100000", f"{client} watch --until margin-call"]
    if as_json:
        click.echo(json.dumps({**members, "credentials": str(yours), "venue": str(venue), "next": commands}))
        return
    _print_members(members)
    click.echo(f'your key        {yours} (account "you", read and trade)')
    click.echo(f"the venue's     {venue} (every account, every scope, from this machine alone)")
    click.echo("\nIn another terminal: a signed request, then what happens to you (a margin call within 20 seconds)\n")
    for command in commands:
        click.echo(f"  {command}")
    click.echo("")


def _print_members(members: dict[str, Any]) -> None:
    click.echo(f"listening       {members['url']}")
    click.echo(f"journal         {members['journal']}, record {members['record']}, epoch {members['epoch']}")
    if members["verifying_key"]:
        click.echo(f"verifying key   {members['verifying_key']}")


def _print_settings(explained: list[Setting], *, as_json: bool) -> None:
    import msgspec

    if as_json:
        click.echo(json.dumps({"settings": msgspec.to_builtins(explained)}, indent=2))
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    width = None if sys.stdout.isatty() else WIDE
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    if console.width < WIDE:
        for one in explained:
            console.print(
                f"{one.name} = {_shown(one.value)}  ({one.place or one.source})", soft_wrap=True, style="bold"
            )
            console.print(Padding(one.meaning, (0, 0, 0, 4)))
        return
    table = Table("setting", "value", "from", "meaning", box=None, pad_edge=False)
    for one in explained:
        table.add_row(one.name, _shown(one.value), one.place or one.source, one.meaning)
    console.print(table)


def _shown(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, tuple) else " ".join(map(str, value)) or "[]"
