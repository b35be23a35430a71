"""The Merkle tree against the vectors of RFC 9162 and a naive twin that follows its recursion word for word."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.command_log import TILE_WIDTH
from marginkeep.journal.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    consistency_path,
    inclusion_path,
    verify_consistency,
    verify_inclusion,
)
from marginkeep.journal.record import leaf_hash

RFC_LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
RFC_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
MANY = [hashlib.sha256(b"%d" % number).digest() for number in range(3 * TILE_WIDTH + 77)]
LONG = [hashlib.sha256(b"%d" % number).digest() for number in range(TILE_WIDTH * TILE_WIDTH + 2 * TILE_WIDTH + 5)]


class Tiles(dict):
    """Where tiles are kept in these tests."""

    def read(self, level, index):
        return self.get((level, index))

    def put(self, tree):
        for tile in tree.take_tiles():
            assert (tile.level, tile.index) not in self, "a tile is handed out once"
            self[tile.level, tile.index] = tile.hashes


def grown(leaves, tiles=None):
    tiles = Tiles() if tiles is None else tiles
    tree = MerkleTree(tiles.read)
    for leaf in leaves:
        tree.append(leaf)
    tiles.put(tree)
    return tree, tiles


def twin_split(count):
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def twin_root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = twin_split(len(leaves))
    return hashlib.sha256(b"\x01" + twin_root(leaves[:k]) + twin_root(leaves[k:])).digest()


def twin_path(m, leaves):
    if len(leaves) == 1:
        return []
    k = twin_split(len(leaves))
    if m < k:
        return [*twin_path(m, leaves[:k]), twin_root(leaves[k:])]
    return [*twin_path(m - k, leaves[k:]), twin_root(leaves[:k])]


def twin_subproof(m, leaves, is_whole):
    if m == len(leaves):
        return [] if is_whole else [twin_root(leaves)]
    k = twin_split(len(leaves))
    if m <= k:
        return [*twin_subproof(m, leaves[:k], is_whole), twin_root(leaves[k:])]
    return [*twin_subproof(m - k, leaves[k:], False), twin_root(leaves[:k])]


def flipped(hashes, bit):
    at, inside = divmod(bit % (len(hashes) * 256), 256)
    raw = bytearray(hashes[at])
    raw[inside // 8] ^= 1 << inside % 8
    return [*hashes[:at], bytes(raw), *hashes[at + 1 :]]


def test_the_roots_are_those_of_the_standard():
    tree = MerkleTree(Tiles().read)
    assert tree.root() == EMPTY_ROOT
    for text, root in zip(RFC_LEAVES, RFC_ROOTS, strict=True):
        tree.append(leaf_hash(bytes.fromhex(text)))
        assert tree.root().hex() == root
    assert [tree.root(size).hex() for size in range(1, 9)] == list(RFC_ROOTS)


def test_every_proof_of_every_small_tree_is_that_of_the_naive_twin():
    tree, _ = grown(MANY[:20])
    for size in range(1, 21):
        leaves, root = MANY[:size], twin_root(MANY[:size])
        assert tree.root(size) == root
        for index in range(size):
            path = inclusion_path(tree.hashes, index, size)
            assert path == twin_path(index, leaves)
            assert verify_inclusion(leaves[index], index, size, path, root)
        for old in range(1, size + 1):
            path = consistency_path(tree.hashes, old, size)
            assert path == twin_subproof(old, leaves, True)
            assert verify_consistency(old, size, path, twin_root(MANY[:old]), root)
        assert verify_consistency(0, size, [], EMPTY_ROOT, root)


@given(st.integers(1, len(MANY)), st.data())
@settings(max_examples=60)
def test_proofs_across_tiles_are_those_of_the_naive_twin(size, drawn):
    tree, tiles = grown(MANY)
    index, old = drawn.draw(st.integers(0, size - 1)), drawn.draw(st.integers(1, size))
    stored = MerkleTree.restored(tiles.read, len(MANY), MANY[len(MANY) - len(MANY) % TILE_WIDTH :])
    for one in (tree, stored):
        assert one.root(size) == twin_root(MANY[:size])
        assert inclusion_path(one.hashes, index, size) == twin_path(index, MANY[:size])
        assert consistency_path(one.hashes, old, size) == twin_subproof(old, MANY[:size], True)


@given(st.integers(2, 300), st.data())
@settings(max_examples=100)
def test_a_proof_with_one_changed_bit_proves_nothing(size, drawn):
    tree, _ = grown(MANY[:size])
    index, old = drawn.draw(st.integers(0, size - 1)), drawn.draw(st.integers(1, size - 1))
    path, root = inclusion_path(tree.hashes, index, size), tree.root()
    bit = drawn.draw(st.integers(0, 256 * 12))
    assert verify_inclusion(MANY[index], index, size, path, root)
    assert not verify_inclusion(MANY[index], index, size, flipped(path, bit), root)
    assert not verify_inclusion(flipped([MANY[index]], bit)[0], index, size, path, root)
    assert not verify_inclusion(MANY[index], index, size, path[:-1], root)
    assert not verify_inclusion(MANY[index], index, size, [*path, root], root)
    path, old_root = consistency_path(tree.hashes, old, size), tree.root(old)
    assert verify_consistency(old, size, path, old_root, root)
    assert not verify_consistency(old, size, flipped(path, bit), old_root, root)
    assert not verify_consistency(old, size, path, flipped([old_root], bit)[0], root)
    assert not verify_consistency(old, size, path, old_root, flipped([root], bit)[0])
    assert not verify_consistency(old, size, [*path, root], old_root, root)
    assert not verify_consistency(old, size, path[:-1], old_root, root)


def test_senseless_claims_are_false_and_not_errors():
    root = twin_root(MANY[:5])
    assert not verify_inclusion(MANY[0], 5, 5, [], root)
    assert not verify_inclusion(MANY[0], -1, 5, [], root)
    assert not verify_inclusion(MANY[0], 0, 0, [], root)
    assert not verify_consistency(6, 5, [], root, root)
    assert not verify_consistency(3, 5, [], root, root)
    assert not verify_consistency(4, 5, [], root, root)
    assert not verify_consistency(5, 5, [], EMPTY_ROOT, root)
    assert not verify_consistency(0, 5, [root], EMPTY_ROOT, root)


def test_three_levels_of_tiles_are_handed_out_once_each_and_restore_the_tree():
    tree, tiles = grown(LONG)
    assert sorted(tiles) == [(0, index) for index in range(len(LONG) // TILE_WIDTH)] + [(1, 0)]
    for index in (0, 100, 257):
        assert tiles[0, index] == b"".join(LONG[index * TILE_WIDTH : (index + 1) * TILE_WIDTH])
    assert tiles[1, 0][32:64] == twin_root(LONG[TILE_WIDTH : 2 * TILE_WIDTH])
    restored = MerkleTree.restored(tiles.read, len(LONG), LONG[len(LONG) - len(LONG) % TILE_WIDTH :])
    assert restored.root() == tree.root() == twin_root(LONG)
    for index in (0, 300, TILE_WIDTH * TILE_WIDTH, len(LONG) - 1):
        path = inclusion_path(restored.hashes, index, len(LONG))
        assert verify_inclusion(LONG[index], index, len(LONG), path, tree.root())


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 700])
def test_a_restored_tree_grows_as_the_one_that_never_stopped(size):
    first, tiles = grown(MANY[:size])
    restored = MerkleTree.restored(tiles.read, size, MANY[size - size % TILE_WIDTH : size])
    assert restored.root() == first.root()
    for leaf in MANY[size:]:
        restored.append(leaf)
    tiles.put(restored)
    whole, expected = grown(MANY)
    assert restored.root() == whole.root()
    assert tiles == expected


def test_a_wrong_edge_and_a_missing_tile_are_named():
    _, tiles = grown(MANY)
    with pytest.raises(JournalCorrupt, match="edge has 76 hashes"):
        MerkleTree.restored(tiles.read, len(MANY), MANY[-76:])
    del tiles[0, 1]
    with pytest.raises(JournalCorrupt, match="tile 1 of level 0 is missing"):
        MerkleTree.restored(tiles.read, len(MANY), MANY[-77:])
    tiles[0, 1] = b"short"
    with pytest.raises(JournalCorrupt, match="tile 1 of level 0 is 5 bytes long"):
        MerkleTree.restored(tiles.read, len(MANY), MANY[-77:])


def test_a_tree_refuses_questions_beyond_its_leaves():
    tree, _ = grown(MANY[:7])
    for size in (-1, 8):
        with pytest.raises(InputError, match="the tree has 7 leaves"):
            tree.root(size)
