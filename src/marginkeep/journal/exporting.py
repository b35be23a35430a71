"""Copying a journal out as JSON lines that any program can read; the form is `marginkeep_verify.export_form`."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from marginkeep.errors import InputError
from marginkeep.journal.command_log import TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from marginkeep.journal.command_log import CommandLog

PROGRESS_RECORDS: Final = 5000


def export_journal(
    log: CommandLog,
    target: Path,
    *,
    with_personal: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write everything but snapshots' contents and documents to a file, and return how many records that were.

    The file appears under its name when it is complete.

    Raises
    ------
    InputError : the target's name says nothing of its form, or it cannot be written
    """
    from marginkeep_verify.export_form import encode_lines

    if not target.name.endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"{target}: name a file that ends in .jsonl or .jsonl.gz")
    making = target.with_name(target.name + ".part")
    count = 0
    try:
        with gzip.open(making, "wb") if target.suffix == ".gz" else making.open("wb") as file:
            for text in encode_lines(_counted(journal_lines(log, with_personal), log, progress)):
                file.write(text)
                count += b'"line":"record"' in text[:20]
        os.replace(making, target)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}): choose another place") from error
    return count


def journal_lines(log: CommandLog, with_personal: bool = True) -> Iterator[dict[str, Any]]:
    """Yield the lines of an export."""
    genesis = log.genesis()
    assert genesis is not None
    yield {"line": "genesis", **structs.asdict(genesis)}
    first = log.first()
    yield from _tiles_before(log, first)
    labels = [(label.sequence, label.record_hash) for label in log.snapshots()]
    yield from _snapshots(labels, first - 1)
    checkpoints = iter([*log.checkpoints(first - 1)])
    checkpoint = next(checkpoints, None)
    for record in log.read(first - 1):
        yield {"line": "record", **structs.asdict(record)}
        if with_personal and record.personal:
            personal = log.personal(record.sequence)
            if personal is not None:
                yield {"line": "personal", **structs.asdict(personal)}
        while checkpoint is not None and checkpoint.size <= record.sequence:
            yield {"line": "checkpoint", **structs.asdict(checkpoint)}
            checkpoint = next(checkpoints, None)
        yield from _snapshots(labels, record.sequence)
    yield {"line": "head", **structs.asdict(log.head())}


def _tiles_before(log: CommandLog, first: int) -> Iterator[dict[str, Any]]:
    """Yield the leaf hashes of records that are gone."""
    for index in range((first - 1) // TILE_WIDTH):
        hashes = log.tile(0, index)
        if hashes is not None:
            yield {"line": "tile", "level": 0, "index": index, "hashes": hashes}


def _snapshots(labels: list[tuple[int, bytes]], until: int) -> Iterator[dict[str, Any]]:
    """Yield, and take off the list, the snapshots up to a record."""
    while labels and labels[0][0] <= until:
        sequence, record_hash = labels.pop(0)
        yield {"line": "snapshot", "sequence": sequence, "record_hash": record_hash}


def _counted(
    lines: Iterator[dict[str, Any]], log: CommandLog, progress: Callable[[int, int], None] | None
) -> Iterator[dict[str, Any]]:
    first, last = log.first(), log.head().sequence
    for line in lines:
        if progress is not None and line["line"] == "record" and line["sequence"] % PROGRESS_RECORDS == 0:
            progress(line["sequence"] - first + 1, last - first + 1)
        yield line
