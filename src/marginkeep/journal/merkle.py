"""The Merkle tree over the journal's records: RFC 9162 hashing, kept in tiles of 256 hashes as in C2SP tlog-tiles.

A tile of level L holds roots of subtrees of 256^L leaves. What is not yet a complete tile is the edge, kept in memory.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.command_log import TILE_HEIGHT, TILE_WIDTH, Tile
from marginkeep.journal.record import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    ReadTile = Callable[[int, int], bytes | None]
    ReadHashes = Callable[[int, int, int], Sequence[bytes]]
    """(level, first, count) -> hashes of that level, all of one tile."""

NODE_PREFIX: Final = b"\x01"
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the RFC 9162 hash of an inner node."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def split_tile(hashes: bytes) -> list[bytes]:
    """Return the hashes of a tile."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def range_root(read: ReadHashes, low: int, high: int) -> bytes:
    """Return the root over leaves `low` to `high` (without), where `low` is a multiple of the power of two above."""
    parts = []
    while low < high:
        height = (high - low).bit_length() - 1
        level, inside = divmod(height, TILE_HEIGHT)
        parts.append(perfect_root(read(level, low >> TILE_HEIGHT * level, 1 << inside)))
        low += 1 << height
    return fold_right(parts)


def fold_right(roots: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees, largest first."""
    if not roots:
        return EMPTY_ROOT
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root


def inclusion_path(read: ReadHashes, index: int, size: int) -> list[bytes]:
    """Return the proof that the leaf `index` is in the tree of the first `size` leaves, nearest sibling first."""
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(range_root(read, middle, high))
            high = middle
        else:
            path.append(range_root(read, low, middle))
            low = middle
    return path[::-1]


def consistency_path(read: ReadHashes, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `new` leaves begins with that of `old`; empty where one of them is trivial."""
    if old in (0, new):
        return []
    low, high, path = 0, new, []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(range_root(read, middle, high))
            high = middle
        else:
            path.append(range_root(read, low, middle))
            low = middle
    if low:
        path.append(range_root(read, low, high))
    return path[::-1]


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least 2."""
    return 1 << (count - 1).bit_length() - 1


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Check an inclusion proof (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    first, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if not last:
            return False
        if first & 1 or first == last:
            found = node_hash(sibling, found)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        first, last = first >> 1, last >> 1
    return not last and found == root


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Check a consistency proof (RFC 9162, section 2.1.4.2); every tree is consistent with the empty one."""
    if not 0 <= old_size <= new_size:
        return False
    if old_size in (0, new_size):
        expected = EMPTY_ROOT if old_size == 0 else new_root
        return not proof and old_root == expected and (new_size > 0 or new_root == EMPTY_ROOT)
    hashes = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not hashes:
        return False
    first, last = old_size - 1, new_size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_found = new_found = hashes[0]
    for sibling in hashes[1:]:
        if not last:
            return False
        if first & 1 or first == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        first, last = first >> 1, last >> 1
    return not last and old_found == old_root and new_found == new_root


class MerkleTree:
    r"""A tree that grows by one leaf at a time and hands out its tiles as they fill. One thread at a time.

    Parameters
    ----------
    read_tile : (level, index) -> a complete tile as stored, or None; asked only for hashes within it

    Examples
    --------
    >>> tree = MerkleTree(lambda level, index: None)
    >>> tree.append(hashlib.sha256(b"\x00").digest())
    >>> tree.root().hex()[:16]
    '6e340b9cffb37a98'
    """

    __slots__ = ("_edges", "_filled", "_frontier", "_read_tile", "size")

    def __init__(self, read_tile: ReadTile) -> None:
        self._read_tile = read_tile
        self.size = 0
        self._edges: list[list[bytes]] = [[]]
        self._frontier: list[bytes] = []
        self._filled: list[Tile] = []

    @classmethod
    def restored(cls, read_tile: ReadTile, size: int, edge: Sequence[bytes]) -> MerkleTree:
        """Return the tree of a stored journal.

        Parameters
        ----------
        edge : leaf hashes after the last complete tile of level 0

        Raises
        ------
        JournalCorrupt : the edge has another length than `size` says, or a tile is missing
        """
        if len(edge) != size % TILE_WIDTH:
            raise JournalCorrupt(f"the tree's edge has {len(edge)} hashes, {size} leaves leave {size % TILE_WIDTH}")
        tree = cls(read_tile)
        tree.size = size
        tree._edges = [list(edge)]
        level, tiles = 0, size // TILE_WIDTH
        while tiles:
            first = tiles - tiles % TILE_WIDTH
            tree._edges.append([perfect_root(tree._tile(level, index)) for index in range(first, tiles)])
            level, tiles = level + 1, tiles // TILE_WIDTH
        tree._frontier = [root for row in reversed(tree._edges) for root in _perfect_parts(row)]
        return tree

    def append(self, leaf_hash: bytes) -> None:
        """Add a leaf."""
        rest = self.size
        if rest & (TILE_WIDTH - 1) == TILE_WIDTH - 1:
            self._append_last_of_tile(leaf_hash)
            return
        self._edges[0].append(leaf_hash)
        frontier, sha256 = self._frontier, hashlib.sha256
        self.size = rest + 1
        while rest & 1:
            leaf_hash = sha256(NODE_PREFIX + frontier.pop() + leaf_hash).digest()
            rest >>= 1
        frontier.append(leaf_hash)

    def _append_last_of_tile(self, found: bytes) -> None:
        """Add the leaf that fills a tile of level 0; the roots of tiles are met on the way up the frontier."""
        rest, height = self.size, 0
        self._edges[0].append(found)
        self.size += 1
        while rest & 1:
            found = node_hash(self._frontier.pop(), found)
            rest, height = rest >> 1, height + 1
            if height % TILE_HEIGHT == 0:
                self._fill(height // TILE_HEIGHT - 1, found)
        self._frontier.append(found)

    def _fill(self, level: int, root: bytes) -> None:
        """Turn an edge that is full into a tile, and take its root to the level above."""
        index = (self.size >> TILE_HEIGHT * (level + 1)) - 1
        self._filled.append(Tile(level, index, b"".join(self._edges[level])))
        self._edges[level] = []
        if level + 1 == len(self._edges):
            self._edges.append([])
        self._edges[level + 1].append(root)

    def take_tiles(self) -> list[Tile]:
        """Return the tiles that have filled since last asked, in the order in which they did."""
        taken, self._filled = self._filled, []
        return taken

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` leaves, over all where it is left out."""
        if size is None or size == self.size:
            return fold_right(self._frontier)
        if not 0 <= size < self.size:
            raise InputError(f"size {size}: the tree has {self.size} leaves, ask within them")
        return range_root(self.hashes, 0, size)

    def hashes(self, level: int, first: int, count: int) -> Sequence[bytes]:
        """Return hashes of one level, all within one tile, which must be stored where it is complete."""
        index, offset = divmod(first, TILE_WIDTH)
        row = self._edges[level] if index == self.size >> TILE_HEIGHT * (level + 1) else self._tile(level, index)
        return row[offset : offset + count]

    def _tile(self, level: int, index: int) -> list[bytes]:
        stored = self._read_tile(level, index)
        if stored is None or len(stored) != TILE_WIDTH * HASH_BYTES:
            state = "missing" if stored is None else f"{len(stored)} bytes long"
            raise JournalCorrupt(f"tile {index} of level {level} is {state}: run `marginkeep verify`")
        return split_tile(stored)


def _perfect_parts(row: Sequence[bytes]) -> list[bytes]:
    """Return the roots of the perfect subtrees that a row of hashes splits into, largest first."""
    parts, at = [], 0
    while at < len(row):
        width = 1 << (len(row) - at).bit_length() - 1
        parts.append(perfect_root(row[at : at + width]))
        at += width
    return parts
