"""Journals as lines in memory, and forgeries of them whose hashes are in order again."""

from __future__ import annotations

import json

from marginkeep.journal.record import Record, hash_of
from marginkeep_verify.databases import read_sqlite
from marginkeep_verify.hashing import genesis_hash

NOT_OF_RECORD = ("line", "found", "key_digest")


def lines_of(path):
    """Return a journal's lines, without what only a database has."""
    lines = []
    for line in read_sqlite(path):
        for name in ("content", "state_hash", "size", "rules"):
            if line["line"] == "snapshot":
                line.pop(name, None)
        lines.append(line)
    return lines


def rechained(lines):
    """Return the lines as a forger would leave them who has no key: every hash recomputed, no checkpoints or tiles."""
    forged, previous = [], genesis_hash(lines[0])
    for line in lines:
        if line["line"] == "record":
            fields = {name: value for name, value in line.items() if name not in NOT_OF_RECORD}
            record = Record(**{**fields, "previous": previous})
            previous = hash_of(record)
            forged.append({**line, "previous": record.previous, "hash": previous})
        elif line["line"] == "head":
            forged.append({**line, "hash": previous})
        elif line["line"] in ("genesis", "personal"):
            forged.append(line)
    return forged


def with_events(lines, change, *kinds):
    """Return rechained lines in which `change` has edited the first event of one of the kinds; name its record."""
    forged, sequence = [dict(line) for line in lines], 0
    for line in forged:
        if line["line"] == "record" and line["kind"] == "command":
            events = json.loads(line["events"])
            found = next((event for event in events if event["type"] in kinds), None)
            if found is not None and change(found) is not False:
                line["events"], sequence = json.dumps(events).encode(), line["sequence"]
                break
    assert sequence, f"no {kinds} in the journal"
    return rechained(forged), sequence
