"""The verification itself: one pass over the lines of a journal, each held against what came before it."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marginkeep_verify.databases import POSTGRES, read_postgres, read_sqlite
from marginkeep_verify.export_form import read_export
from marginkeep_verify.hashing import Tree, genesis_hash, leaf_hash
from marginkeep_verify.ledger import Ledger
from marginkeep_verify.notes import is_signed, read_key, read_note
from marginkeep_verify.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Line = dict[str, Any]

SCHEMA = 1
TILE_BYTES = 256 * 32
A_WHILE = 1000


def verify_journal(
    journal: str | Path | Iterable[Line],
    key: str | None = None,
    most: int = 20,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify a journal and return what was found. Memory grows with open positions, not with records.

    Parameters
    ----------
    journal : an SQLite file, an export (``.jsonl``, ``.jsonl.gz``), a ``postgresql://`` address, or lines of an export
    key : text of the public key that signs its checkpoints; None = signatures are not checked
    most : findings to keep
    progress : called now and then with the number of the record reached

    Raises
    ------
    ValueError : the key is not one
    FileNotFoundError : there is no such file
    """
    place, lines, has_tiles = _open(journal)
    if key is not None:
        read_key(key)
    report = Report(place, most)
    verification = Verification(report, key, has_tiles)
    try:
        for line in lines:
            verification.take(line)
            if progress is not None and report.last % A_WHILE == 0:
                progress(report.last)
        verification.finish()
    except KeyboardInterrupt:
        report.interrupted = True
    except Exception as error:  # whatever a damaged file makes its reader raise is a finding
        what = f"nothing can be read after record {report.last}: {type(error).__name__} {error}"
        report.note("sequence", report.last, False, what)
    return report


def _open(journal: str | Path | Iterable[Line]) -> tuple[str, Iterable[Line], bool]:
    if isinstance(journal, str) and journal.startswith(POSTGRES):
        return journal.partition("?")[0].rpartition("@")[2], read_postgres(journal), True
    if not isinstance(journal, str | Path):
        return "lines", journal, False
    path = Path(journal)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: name a journal")
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return str(path), read_export(path), False
    return str(path), read_sqlite(path), True


class Verification:
    """What is known of a journal as its lines go by.

    Attributes
    ----------
    at, hash : leaves seen, and the hash of the last; None = not known
    """

    def __init__(self, report: Report, key: str | None, has_tiles: bool) -> None:
        self.report, self._key, self._has_tiles = report, key, has_tiles
        self.at, self.hash = 0, b""
        self._tree: Tree | None = Tree()
        self._genesis: Line | None = None
        self._record: Line | None = None
        self._waiting: dict[int, bytes] = {}
        self._filled: dict[tuple[int, int], bytes] = {}
        self._snapshot = 0
        self._ended = False
        self._ledger = Ledger(report)

    def take(self, line: Line) -> None:
        """Look at one line."""
        getattr(self, f"_take_{line['line']}")(line)

    def _take_unreadable(self, line: Line) -> None:
        self.report.note("records", 0, False, line["why"])

    def _take_genesis(self, line: Line) -> None:
        self._genesis, self.hash = line, genesis_hash(line)
        self.report.hash, self._ledger.rules = self.hash.hex(), line["rules"]
        if line["opening"]:
            self._ledger.is_known = False
            self.report.remark("the house did not start empty: its first balances and positions are not looked at")

    # Records -----------------------------------------------------------------------------------------------------

    def _take_record(self, line: Line) -> None:
        sequence, report = line["sequence"], self.report
        if self._record is None:
            self._take_first(line)
        elif not report.note("sequence", sequence, sequence == self.at + 1, f"comes after record {self.at}"):
            if sequence <= self.at:
                return
            if sequence == self.at + 2 and self._tree is not None:  # the link says what is missing
                self._append(line["previous"])
            self._fill(sequence - 1, line["previous"])
        if self._record is not None or sequence > 1:
            report.note("links", sequence, line["previous"] == self.hash, "its previous hash is not the last record's")
        self._check_leaf(line)
        self._check_key(line)
        self._check_order(line)
        self._append(line["hash"])
        self.at, self.hash, self._record = sequence, line["hash"], line
        report.last, report.hash = sequence, line["hash"].hex()
        self._ledger.take(line)

    def _take_first(self, line: Line) -> None:
        sequence, report = line["sequence"], self.report
        report.first = sequence
        if self._genesis is None:
            report.note("genesis", 0, False, "there is no genesis")
        elif sequence == 1:
            report.note("genesis", 1, line["previous"] == self.hash, "it does not continue the genesis")
        else:
            report.checks["genesis"].unchecked += 1
            self._ledger.is_known, self._ledger.rules = False, None
            report.remark(f"records before {sequence} are compacted away: of them only the tree's leaves are left")
            self._fill(sequence - 1, line["previous"] if self.at != sequence - 1 else self.hash)

    def _check_leaf(self, line: Line) -> None:
        sequence = line["sequence"]
        try:
            found = leaf_hash(line)
        except (struct.error, ValueError) as error:
            self.report.note("records", sequence, False, f"it cannot be hashed: {error}")
            return
        same = found == line["hash"]
        self.report.note(
            "records", sequence, same, f"its hash is {line['hash'].hex():.16}, its content's {found.hex():.16}"
        )
        if line["schema"] != SCHEMA:
            self.report.note("records", sequence, False, f"schema {line['schema']} is unknown, {SCHEMA} is known")

    def _check_key(self, line: Line) -> None:
        """See that a database finds the record by its key, if it has one."""
        if "found" in line and (line["key"] or line["found"] is not None):
            to = line["sequence"] if line["key"] else None
            what = f"its key leads to record {line['found']}"
            self.report.note("keys", line["sequence"], line["found"] == to, what)
        if "key_digest" in line:
            name = f"{len(line['actor'])} {line['actor']}{line['key']}".encode(errors="surrogateescape")
            digest = hashlib.blake2b(name, digest_size=16).digest() if line["key"] else None
            if line["key_digest"] != digest:
                self.report.note("keys", line["sequence"], False, "its place in the index of keys is not its key's")

    def _check_order(self, line: Line) -> None:
        before = self._record or {"epoch": 0, "recorded_ns": (self._genesis or line).get("created_ns", 0)}
        for name in ("epoch", "recorded_ns"):
            what = f"{name} falls from {before[name]} to {line[name]}"
            self.report.note("order", line["sequence"], line[name] >= before[name], what)
        follows = line["causation"] < line["sequence"]
        self.report.note("order", line["sequence"], follows, f"it answers to the later record {line['causation']}")

    # The tree ----------------------------------------------------------------------------------------------------

    def _append(self, leaf: bytes, is_own: bool = True) -> None:
        """Grow the tree by a leaf and compare the tiles that fill, save those that the leaf itself came from."""
        for level, index, hashes in self._tree.append(leaf) if self._tree is not None else ():
            end = index + 1 << 8 * (level + 1)
            if level:
                self._filled[level, index] = hashes
            elif (stored := self._waiting.pop(index, None)) is not None:
                if is_own:
                    self.report.note("tiles", end, stored == hashes, f"tile {index} of level 0 is not of these records")
            elif self._has_tiles:
                self.report.note("tiles", end, False, f"tile {index} of level 0 is missing")
            else:
                self.report.checks["tiles"].unchecked += 1

    def _fill(self, until: int, otherwise: bytes | None = None) -> bool:
        """Take leaves whose records are gone from the tiles; where there is no tile, the tree ends (if `otherwise`).

        Once records have begun, only a record that shows a gap (`otherwise`) may close it.
        """
        may_fill = self._record is None or otherwise is not None
        while may_fill and self._tree is not None and self._tree.size < until:
            tile, place = self._waiting.get(self._tree.size >> 8, b""), self._tree.size % 256
            if len(tile) != TILE_BYTES:
                break
            self.hash = tile[32 * place : 32 * place + 32]
            self._append(self.hash, False)
            self.at = self._tree.size
        if self._tree is not None and self._tree.size == until:
            return True
        if otherwise is not None:
            self._tree, self.at, self.hash = None, until, otherwise
            self.report.remark(
                f"leaves before record {until + 1} are missing: roots and tiles are not checked from there"
            )
        return False

    def _take_tile(self, line: Line) -> None:
        level, index, end = line["level"], line["index"], line["index"] + 1 << 8 * min(max(line["level"], 0) + 1, 9)
        if level == 0:
            self._waiting[index] = line["hashes"]
            return
        self._fill(end)
        if self._tree is None:
            self.report.checks["tiles"].unchecked += 1
            return
        what = f"tile {index} of level {level} is not of these records"
        self.report.note("tiles", min(end, self.at), self._filled.pop((level, index), None) == line["hashes"], what)

    def _take_checkpoint(self, line: Line) -> None:
        size, report = line["size"], self.report
        try:
            origin, stated, root = read_note(line["note"])
            signed = self._key is not None and is_signed(line["note"], self._key)
        except ValueError as error:
            report.note("roots", size, False, f"the checkpoint cannot be read: {error}")
            return
        name = (self._genesis or {}).get("name")
        report.note(
            "roots", size, (origin, stated) == (name, size), f"the checkpoint is of {stated} records of {origin!r}"
        )
        if self._fill(size):
            report.note("roots", size, self._tree is not None and root == self._tree.root(), "the root is another")
        elif self._tree is None:
            report.checks["roots"].unchecked += 1
        else:
            report.note("roots", size, False, f"a checkpoint covers {size} records, there are {self.at}")
        if self._key is None:
            report.checks["signatures"].unchecked += 1
        else:
            report.note("signatures", size, signed, "the checkpoint is not signed with the key")

    # Beside the records ------------------------------------------------------------------------------------------

    def _take_personal(self, line: Line) -> None:
        if self._record is None or line["sequence"] != self.at:
            gone = line["sequence"] < self.report.first or self._record is None
            self.report.note("personal", line["sequence"], gone, "a personal payload belongs to no record")
            return
        found = hashlib.sha256(line["salt"] + line["payload"]).digest()
        self.report.note("personal", self.at, found == self._record["personal"], "the personal payload is another")

    def _take_snapshot(self, line: Line) -> None:
        sequence = self._snapshot = line["sequence"]
        if self._record is None and not self._fill(sequence):
            self.at, self.hash = sequence, line["record_hash"]
        is_there = (sequence, line["record_hash"]) == (self.at, self.hash)
        self.report.note("snapshots", sequence, is_there, "the snapshot is not of this record")
        if "content" in line:
            digest, size = hashlib.sha256(), 0
            for (part,) in line["content"]:
                digest.update(part)
                size += len(part)
            whole = (digest.digest(), size) == (line["state_hash"], line["size"])
            whole = whole and line["rules"] == (self._ledger.rules or line["rules"])
            self.report.note("snapshots", sequence, whole, "the snapshot's bytes or rules are others")

    def _take_head(self, line: Line) -> None:
        self._ended = True
        epoch = self._record["epoch"] if self._record else 0
        same = (line["sequence"], line["hash"]) == (self.at, self.hash) and line["epoch"] >= epoch
        stated = f"the stated end is {line['sequence']} {line['hash'].hex():.16} of epoch {line['epoch']}"
        self.report.note("head", self.at, same, f"{stated}, the last record is {self.at} of epoch {epoch}")
        first = line.get("first", self.report.first)
        if self._record is not None and first != self.report.first:
            self.report.note("sequence", self.report.first, False, f"it is the first, where {first} should be")
        if strays := line.get("strays", 0):
            self.report.note("keys", 0, False, f"{strays} entries of the index of keys lead to no record of theirs")

    def finish(self) -> None:
        """Look at what can only be known at the end."""
        report = self.report
        if self._genesis is None and self._record is None:
            report.note("genesis", 0, False, "there is no journal")
        if not self._ended:
            report.note("head", self.at, False, "the journal does not state its end")
        if report.first > self._snapshot + 1:
            report.note("sequence", report.first, False, "records before it are gone and no snapshot covers them")
        for index in self._waiting:
            report.note("tiles", 0, False, f"tile {index} of level 0 has no complete row of records")
        for level, index in self._filled if self._has_tiles else ():
            report.note("tiles", 0, False, f"tile {index} of level {level} is missing")
        if report.checks["signatures"].unchecked:
            report.remark("no key was given: signatures are not checked")
        self._ledger.finish()
