"""Copying a journal out as JSON lines that any program can read; the form is `marginkeep_verify.export_form`."""

from __future__ import annotations

import gzip
import heapq
import os
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from marginkeep.errors import InputError
from marginkeep.journal.command_log import TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from marginkeep.journal.command_log import CommandLog

    Placed = tuple[int, dict[str, Any]]

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
    InputError : there is no journal, the target's name says nothing of its form, or it cannot be written
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
    """Yield the lines of an export, up to where the journal ends now.

    Of records that are gone there are the leaf hashes, in tiles; checkpoints over them are there too, and verifiable.
    """
    head, genesis = log.head(), log.genesis()
    assert genesis is not None
    yield {"line": "genesis", **structs.asdict(genesis)}
    # What belongs to one record comes in this order, and tiles after whatever ends where they begin.
    streams = (
        _records(log, head.sequence, with_personal),
        _checkpoints(log, head.sequence),
        _snapshots(log, head.sequence),
        _tiles(log, log.first()),
    )
    for _, line in heapq.merge(*streams, key=itemgetter(0)):
        yield line
    yield {"line": "head", **structs.asdict(head)}


def _records(log: CommandLog, end: int, with_personal: bool) -> Iterator[Placed]:
    for record in log.read(0, end):
        yield record.sequence, {"line": "record", **structs.asdict(record)}
        personal = log.personal(record.sequence) if with_personal and record.personal else None
        if personal is not None:
            yield record.sequence, {"line": "personal", **structs.asdict(personal)}


def _checkpoints(log: CommandLog, end: int) -> Iterator[Placed]:
    for one in log.checkpoints():
        if one.size > end:
            return
        yield one.size, {"line": "checkpoint", **structs.asdict(one)}


def _snapshots(log: CommandLog, end: int) -> Iterator[Placed]:
    for label in log.snapshots():
        if label.sequence <= end:
            yield label.sequence, {"line": "snapshot", "sequence": label.sequence, "record_hash": label.record_hash}


def _tiles(log: CommandLog, first: int) -> Iterator[Placed]:
    """Yield the tiles with leaf hashes of records that are gone."""
    for index in range((first - 2) // TILE_WIDTH + 1):
        hashes = log.tile(0, index)
        if hashes is not None:
            yield index * TILE_WIDTH, {"line": "tile", "level": 0, "index": index, "hashes": hashes}


def _counted(
    lines: Iterator[dict[str, Any]], log: CommandLog, progress: Callable[[int, int], None] | None
) -> Iterator[dict[str, Any]]:
    first, last = log.first(), log.head().sequence
    for line in lines:
        if progress is not None and line["line"] == "record" and line["sequence"] % PROGRESS_RECORDS == 0:
            progress(line["sequence"] - first + 1, last - first + 1)
        yield line
