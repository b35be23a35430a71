"""The hashes of a journal: leaf, genesis, and a Merkle tree (RFC 9162) that keeps only its frontier."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

TILE_BITS = 8


def leaf_hash(record: dict[str, Any]) -> bytes:
    """Return what a record's hash must be: SHA-256 of a zero byte and the header.

    Raises
    ------
    struct.error, ValueError : a field does not fit its place
    """
    numbers = (record[name] for name in ("sequence", "epoch", "schema", "recorded_ns", "causation"))
    texts = [record[name].encode() for name in ("kind", "actor", "key", "correlation")]
    if len(record["previous"]) != 32:
        raise ValueError("the previous hash has not 32 bytes")
    header = struct.pack(">QQIQQ", *numbers) + record["previous"]
    header += hashlib.sha256(record["body"]).digest() + hashlib.sha256(record["events"]).digest()
    header += b"".join(struct.pack(">I", len(raw)) + raw for raw in (*texts, record["personal"]))
    return hashlib.sha256(b"\x00" + header).digest()


def genesis_hash(genesis: dict[str, Any]) -> bytes:
    """Return what the first record has as the hash of its predecessor."""
    digest = hashlib.sha256(b"marginkeep-genesis-1\n")
    texts = (genesis["name"], genesis["rules"], str(genesis["created_ns"]))
    for part in (*(text.encode() for text in texts), genesis["opening"]):
        digest.update(struct.pack(">I", len(part)) + part)
    return digest.digest()


class Tree:
    """A Merkle tree that grows; it gives out each tile as it fills and forgets it."""

    def __init__(self) -> None:
        self.size = 0
        self._frontier: list[bytes] = []
        self._rows: dict[int, list[bytes]] = {}

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf and return the tiles that it fills, as (level, index, hashes)."""
        rest, height, found, tiles = self.size, 0, leaf, []
        self.size += 1
        self._rows.setdefault(0, []).append(leaf)
        while rest & 1:
            found = hashlib.sha256(b"\x01" + self._frontier.pop() + found).digest()
            rest, height = rest >> 1, height + 1
            if height % TILE_BITS == 0:
                level = height // TILE_BITS
                tiles.append((level - 1, (self.size >> height) - 1, b"".join(self._rows.pop(level - 1))))
                self._rows.setdefault(level, []).append(found)
        self._frontier.append(found)
        return tiles

    def root(self) -> bytes:
        """Return the root."""
        if not self._frontier:
            return hashlib.sha256(b"").digest()
        root = self._frontier[-1]
        for left in reversed(self._frontier[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        return root
