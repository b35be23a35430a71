"""A journal as JSON lines, which any program can read; ``.jsonl``, or ``.jsonl.gz`` with gzip around it.

Each line is an object whose ``line`` says what it is. Bytes are base64; everything else is a number or text.

``genesis`` : name, rules, created_ns, opening. The first line.
``tile`` : level, index, hashes. Only of level 0, only in a journal whose early records are gone, and only tiles with
    such records: before the record `index * 256 + 1`.
``record`` : the fields of a record: sequence, epoch, schema, kind, recorded_ns, causation, actor, key, correlation,
    personal, body, events, previous, hash. In order, one a line.
``personal`` : sequence, salt, payload. After its record; absent where it is erased, and where the export leaves it out.
``checkpoint`` : size, note. After the record `size`; where that is gone, after the tile with its leaf.
``snapshot`` : sequence, record_hash. After the record `sequence`; where that is gone, after the tile with its leaf.
``head`` : epoch, sequence, hash. The last line.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FIELDS: dict[str, dict[str, type]] = {
    "genesis": {"name": str, "rules": str, "created_ns": int, "opening": bytes},
    "tile": {"level": int, "index": int, "hashes": bytes},
    "record": {
        **dict.fromkeys(("sequence", "epoch", "schema", "recorded_ns", "causation"), int),
        **dict.fromkeys(("kind", "actor", "key", "correlation"), str),
        **dict.fromkeys(("personal", "body", "events", "previous", "hash"), bytes),
    },
    "personal": {"sequence": int, "salt": bytes, "payload": bytes},
    "checkpoint": {"size": int, "note": str},
    "snapshot": {"sequence": int, "record_hash": bytes},
    "head": {"epoch": int, "sequence": int, "hash": bytes},
}


def read_export(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of an export with their bytes decoded; a line that cannot be read says why in ``unreadable``."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        try:
            for number, text in enumerate(file, 1):
                yield _read_line(number, text)
        except (OSError, EOFError) as error:
            yield unreadable(f"the file cannot be read on: {error}")


def unreadable(why: str) -> dict[str, Any]:
    """Return the line that stands for one that cannot be read."""
    return {"line": "unreadable", "why": why}


def _read_line(number: int, text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
        fields = FIELDS[line["line"]]
        found = {name: _decoded(line[name], kind) for name, kind in fields.items()}
    except (ValueError, KeyError, TypeError) as error:
        return unreadable(f"line {number} cannot be read: {type(error).__name__} {error}")
    return checked({"line": line["line"], **found})


def _decoded(value: Any, kind: type) -> Any:
    return base64.b64decode(value, validate=True) if kind is bytes else value


def checked(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line if its fields have their types, and otherwise one that says which has not."""
    for name, kind in FIELDS[line["line"]].items():
        if type(line.get(name)) is not kind:
            return unreadable(f"{line['line']} {line.get('sequence', '')}: {name} is {line.get(name)!r:.60}")
    return line


def encode_lines(lines: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield the text of lines, each with its line feed."""
    for line in lines:
        plain = {name: base64.b64encode(v).decode() if isinstance(v, bytes) else v for name, v in line.items()}
        yield json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
