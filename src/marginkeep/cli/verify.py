"""`marginkeep verify`: check a journal with a verifier that shares no code with the engine, or make it all again."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marginkeep.cli.progress import told_progress
from marginkeep.errors import InputError, JournalCorrupt, JournalError, MarginkeepError

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.journal.replaying import ReplayReport
    from marginkeep_verify import Report

EXIT_FOUND = 1
EXIT_INTERRUPTED = 130
RECORDS_AN_UPDATE = 500
FINDINGS_SHOWN = 20
PRIVATE = "PRIVATE+"


@click.command()
@click.argument("journal")
@click.option("--key", help="Public key of the checkpoints, as text or in a file; without it signatures are unchecked.")
@click.option("--replay", is_flag=True, help="Also make every decision again with this engine.")
@click.option("--findings", type=click.IntRange(1), default=FINDINGS_SHOWN, show_default=True, help="List so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(journal: str, key: str | None, replay: bool, findings: int, as_json: bool) -> None:
    """Verify a JOURNAL: an SQLite file, an export (.jsonl, .jsonl.gz), or postgresql://...

    Checks hashes, links, order, the tree's tiles and checkpoints, payloads kept apart, snapshots and conservation; it
    says what it could not check. Ctrl-C stops early and prints what was found so far. `python -m marginkeep_verify`
    does the same without the engine. Exit code 1 when something is found.

    \b
    marginkeep verify house.journal --key house.vkey --replay
    """  # noqa: D301 - click reads a real backspace as "do not wrap"
    from marginkeep.cli.session import interrupts
    from marginkeep.journal.opening import EXPORTS

    if replay and journal.endswith(EXPORTS):
        raise InputError(f"{journal} is an export, which cannot be replayed: name the journal, or leave --replay out")
    _require_journal(journal)
    report = _verify(journal, key, findings)
    if not as_json:
        click.echo(_report_text(report, replay=replay))
    replayed = None
    if replay and not report.interrupted:
        with interrupts() as stopped:  # from here on, also while the engine is being imported
            replayed = _replay(journal, findings, stopped)
    if as_json:
        from msgspec import to_builtins

        derived = None if replayed is None else {"ok": replayed.ok, **to_builtins(replayed)}
        click.echo(json.dumps({**report.as_dict(), "replay": derived}, indent=2))
    elif replayed is not None:
        click.echo(replay_text(replayed))
    if report.interrupted or (replayed is not None and replayed.interrupted):
        sys.exit(EXIT_INTERRUPTED)
    if not report.ok or (replayed is not None and not replayed.ok):
        sys.exit(EXIT_FOUND)


def _require_journal(journal: str) -> None:
    """Refuse what is no journal or out of reach; what is wrong with a journal is for the verifier to find."""
    from marginkeep.journal.opening import EXPORTS, open_log

    if journal.endswith(EXPORTS):
        return
    with suppress(JournalCorrupt):
        log = open_log(journal, read_only=True)
        try:
            log.genesis()
        finally:
            log.close()


def _report_text(report: Report, *, replay: bool) -> str:
    """Return the verifier's page; what it leaves to a replay is not left out where one follows."""
    lines = report.as_text().splitlines()
    return "\n".join(line for line in lines if not (replay and "only --replay" in line))


def _verify(journal: str, key: str | None, findings: int) -> Report:
    from marginkeep_verify import verify_journal

    vkey = _key_text(key)
    try:
        with told_progress("verifying", "records") as told:
            total = _records_in(journal) if sys.stderr.isatty() else None
            return verify_journal(journal, vkey, findings, lambda done: told(done, total))
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from error


def _records_in(journal: str) -> int | None:
    """Return how many records a journal says it has; None where it does not say."""
    from marginkeep.journal.opening import open_log

    try:
        log = open_log(journal, read_only=True)
        try:
            return log.head().sequence
        finally:
            log.close()
    except MarginkeepError:
        return None


def _key_text(key: str | None) -> str | None:
    """Return a key's text; a text with plus signs is one, anything else names a file."""
    from marginkeep_verify.notes import read_key

    if key is None:
        return None
    text = key if "+" in key else _key_file(key)
    if text.startswith(PRIVATE):
        raise InputError("--key is the signing key, which is secret: give the verifying key, as the service prints it")
    try:
        read_key(text)
    except ValueError as error:
        raise InputError(f"--key is no verifying key ({error}): give it as the service prints it") from error
    return text


def _key_file(key: str) -> str:
    try:
        return Path(key).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--key {key} cannot be read ({reason}): give the key's text, or a file that holds it"
        ) from error


def _replay(journal: str, findings: int, stopped: Callable[[], bool]) -> ReplayReport:
    from marginkeep.journal.opening import open_log
    from marginkeep.journal.replaying import Difference, ReplayReport, replay_journal

    try:
        log = open_log(journal, read_only=True)
        try:
            with told_progress("replaying", "records", RECORDS_AN_UPDATE) as told:
                return replay_journal(log, most=findings, progress=told, stopped=stopped)
        finally:
            log.close()
    except (InputError, JournalError) as error:
        report = ReplayReport(after=0, found=1)
        report.differences.append(Difference(0, "journal", str(error), "it cannot be replayed"))
        return report


def replay_text(report: ReplayReport) -> str:
    """Return what replaying found, as text."""
    start = f"record {report.after}" if report.after else "the genesis"
    derived = f"replay: {report.commands:,} commands derived again from {start} to record {report.last}"
    lines = [f"{derived}, {report.snapshots:,} snapshots compared"]
    for one in report.differences:
        lines += [
            f"differs: record {one.sequence}, {one.where}:",
            f"  recorded {one.recorded}",
            f"  derived  {one.derived}",
        ]
    if report.found > len(report.differences):
        lines.append(f"and {report.found - len(report.differences)} more differences")
    state = f"NOT AS RECORDED: differences: {report.found}" if report.found else "all as recorded"
    return "\n".join([*lines, f"{state}, stopped before the end" if report.interrupted else state])
