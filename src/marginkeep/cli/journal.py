"""`marginkeep journal`: make, look at, copy out and trim the record of a house."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marginkeep.cli.progress import told_progress
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.journal.command_log import CommandLog
    from marginkeep.journal.stats import JournalStats

NS: int = 10**9
SHOWN_MOST: int = 8
KEEP_HOURS_MAX: int = 1_000_000


@click.group()
def journal() -> None:
    """Make, look at, copy out and trim a journal: PLACE is an SQLite file or a postgresql:// address."""


@journal.command()
@click.argument("place")
@click.option("--rules", type=click.Path(path_type=Path), required=True, help="The rulebook it starts with.")
@click.option("--name", default="marginkeep", show_default=True, help="What its checkpoints call it.")
@click.option("--key", type=click.Path(path_type=Path), help="Signing key for checkpoints; PLACE with .key by default.")
def init(place: str, rules: Path, name: str, key: Path | None) -> None:
    """Make an empty journal at PLACE, and the key that signs its checkpoints."""
    from marginkeep.book.limits import prove_limits
    from marginkeep.journal.checkpoint import Signer, make_key
    from marginkeep.journal.opening import open_log
    from marginkeep.journal.record import Genesis
    from marginkeep.rulebook import build_tables, load_rulebook

    prove_limits(build_tables(load_rulebook(rules)))
    where = signing_key_path(place, key)
    known = Signer.load(where, name) if where.exists() else None
    log = open_log(place)
    try:
        log.create(Genesis(name=name, rules=rules.read_text(encoding="utf-8-sig"), created_ns=time.time_ns()))
    finally:
        log.close()
    signer = known or make_key(where, name)
    click.echo(f"journal: {log.place}")
    click.echo(f"signing key: {where} (keep it secret, keep a copy)")
    click.echo(f"verifying key: {signer.vkey} (give it to whoever audits)")


def signing_key_path(place: str, stated: Path | None) -> Path:
    """Return where the signing key of a journal is; a database has no file beside it, so it must be stated."""
    if stated is not None:
        return stated
    if "://" in place:
        raise InputError("--key is needed: a database has no folder in which to look for the signing key")
    return Path(place).with_suffix(".key")


@journal.command()
@click.argument("place")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(place: str, as_json: bool) -> None:
    """Count what the journal at PLACE holds."""
    from marginkeep.journal.stats import as_table, journal_stats

    with reading(place) as log, told_progress("reading", "records") as told:
        found = journal_stats(log, told)
    if as_json:
        click.echo(json.dumps(as_table(found), indent=2))
    else:
        _print_stats(found)


@journal.command()
@click.argument("place")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--without-personal", is_flag=True, help="Leave personal payloads out.")
def export(place: str, target: Path, without_personal: bool) -> None:
    """Write the records of PLACE as JSON lines to TARGET (.jsonl, or .jsonl.gz), for `marginkeep verify` and others."""
    from marginkeep.journal.exporting import export_journal

    with reading(place) as log, told_progress("exporting", "records") as told:
        count = export_journal(log, target, with_personal=not without_personal, progress=told)
    click.echo(f"{count:,} records: {target}")


@journal.command()
@click.argument("place")
@click.option("--keep-hours", default=24.0, show_default=True, help="Keep what is younger.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and do nothing.")
def compact(place: str, keep_hours: float, dry_run: bool) -> None:
    """Delete old records of PLACE that its snapshots make needless for a restart; export first what must be kept.

    The service must not be running. Proofs of later records go on to hold: the hashes of deleted ones stay.
    """
    from marginkeep.journal.opening import open_log
    from marginkeep.journal.retention import compact as compacted
    from marginkeep.journal.retention import plan_retention

    if not 0 <= keep_hours <= KEEP_HOURS_MAX:
        raise InputError(f"--keep-hours is {keep_hours}: give 0 to {KEEP_HOURS_MAX}")
    log = open_log(place, read_only=dry_run)
    try:
        if not dry_run:
            log.acquire()
        plan = plan_retention(log, time.time_ns(), int(keep_hours * 3600 * NS))
        count = plan.until - plan.first + 1
        if count and not dry_run:
            with told_progress("deleting", "records") as told:
                for gone in compacted(log, plan):
                    told(gone, count)
    finally:
        log.close()
    what = "would be deleted" if dry_run else "deleted"
    done = f"{count:,} records {what}, from {plan.first} to {plan.until}" if count else f"nothing {what}"
    click.echo(f"{done} ({plan.why})")


@journal.command()
@click.argument("place")
@click.argument("sequences", type=int, nargs=-1, required=True)
def erase(place: str, sequences: tuple[int, ...]) -> None:
    """Erase the personal payloads of records of PLACE for good; their salted hashes stay, and say nothing."""
    from marginkeep.journal.opening import open_log

    log = open_log(place)
    try:
        log.acquire()
        first, last = log.first(), log.head().sequence
        unknown = [sequence for sequence in sequences if not first <= sequence <= last]
        if unknown:
            raise InputError(f"{log.place} has no record {unknown[0]}: it keeps {first} to {last}; nothing was erased")
        gone = log.erase_personal(sequences)
    finally:
        log.close()
    named = len(set(sequences))
    none = "none of them had a personal payload, or it is gone already"
    click.echo(f"records named: {named:,}; " + (f"personal payloads erased for good: {gone:,}" if gone else none))


@journal.command()
@click.argument("place")
@click.argument("sequence", type=int)
def prove(place: str, sequence: int) -> None:
    """Print the proof, as JSON, that record SEQUENCE of PLACE is under its newest signed checkpoint."""
    from marginkeep.journal.proofs import prove as proved

    with reading(place) as log:
        click.echo(proved(log, sequence).to_json())


@contextmanager
def reading(place: str) -> Iterator[CommandLog]:
    """Open a journal to read it, and refuse a place that holds none."""
    from marginkeep.journal.opening import open_log

    log = open_log(place, read_only=True)
    try:
        if log.genesis() is None:
            raise InputError(f"{log.place} holds no journal: make one with `marginkeep journal init`")
        yield log
    finally:
        log.close()


def _print_stats(found: JournalStats) -> None:
    from rich.console import Console
    from rich.table import Table

    records = f"{found.records:,} (numbers {found.first:,} to {found.last:,}), {found.notes:,} of them notes"
    rows = [
        ("name", found.name),
        ("records", records if found.records else "none yet"),
        ("writers so far", f"{found.epoch:,}"),
        ("time", f"{when(found.first_ns)} to {when(found.last_ns)} UTC"),
        ("bytes", f"{found.stored_bytes:,} stored; commands {found.body_bytes:,}, answers {found.events_bytes:,}"),
        (
            "checkpoints",
            f"{found.checkpoints:,}, the last over {found.checkpoint_size:,} records" if found.checkpoints else "none",
        ),
        ("snapshots", ", ".join(f"at {one.sequence:,} ({one.size:,} bytes)" for one in found.snapshots) or "none"),
        ("commands", _counted(found.commands)),
        ("refusals", _counted(found.refusals)),
        ("asked by", _counted(found.actors)),
    ]
    table = Table(title=found.place, title_justify="left", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def _counted(counts: dict[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:SHOWN_MOST]]
    rest = len(counts) - len(shown)
    return ", ".join([*shown, *([f"{rest} more"] if rest > 0 else [])]) or "none"


def when(ns: int) -> str:
    """Return a time as people write it, UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ns // NS, UTC).strftime("%Y-%m-%d %H:%M:%S") if ns else "-"
