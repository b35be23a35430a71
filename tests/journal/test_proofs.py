"""Anyone who has the key can check that a record is in the journal, and that the journal was only ever extended."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.checkpoint import Signer
from marginkeep.journal.command_log import Batch, StoredCheckpoint
from marginkeep.journal.memory_log import MemoryLog, MemoryStore
from marginkeep.journal.merkle import MerkleTree
from marginkeep.journal.proofs import (
    check_continuation,
    check_proof,
    prove,
    prove_continuation,
    read_leaf,
    read_proof,
)
from marginkeep.journal.record import leaf_of
from tests.journal.records import GENESIS, chain, head_after

SIGNER = Signer(GENESIS.name, bytes(range(32)))
SIZES = (1, 5, 255, 256, 257, 600, 1023)
LAST = SIZES[-1] + 5


@pytest.fixture(scope="module")
def log():
    """A journal with a checkpoint at each of the sizes, and five records after the last."""
    made = MemoryLog(MemoryStore())
    made.create(GENESIS)
    head, tree = made.acquire(), MerkleTree(made.tile)
    for size in (*SIZES, LAST):
        records = chain(head, size - head.sequence, actor="key-7", correlation="order 9", causation=0)
        for record in records:
            tree.append(record.hash)
        note = None if size == LAST else StoredCheckpoint(size, SIGNER.sign_checkpoint(size, tree.root()))
        made.append(Batch(before=head, records=records, tiles=tree.take_tiles(), checkpoint=note))
        head = head_after(head, records)
    return made


def note_at(log, size):
    return next(one for one in log.checkpoints() if one.size == size)


@pytest.mark.parametrize("sequence", [1, 2, 256, 257, 600, 1023])
def test_a_record_is_proved_against_the_newest_checkpoint(log, sequence):
    proof = prove(log, sequence)
    checkpoint = check_proof(proof.to_json(), SIGNER.vkey)
    assert (checkpoint.size, checkpoint.origin) == (1023, GENESIS.name)
    assert (proof.sequence, proof.index, proof.actor) == (sequence, sequence - 1, "key-7")
    assert read_proof(proof.to_json()) == proof


@pytest.mark.parametrize("size", SIZES)
def test_a_record_is_proved_against_any_checkpoint_that_covers_it(log, size):
    for sequence in {1, (size + 1) // 2, size}:
        assert check_proof(prove(log, sequence, note_at(log, size)), SIGNER.vkey).size == size


def test_a_bundle_can_carry_the_record_itself(log):
    proof = prove(log, 300, with_content=True)
    record = next(iter(log.read(299, 300)))
    assert (proof.body, proof.events) == (record.body, record.events)
    check_proof(proof, SIGNER.vkey)
    for changed in ({"body": b"{}"}, {"events": b"[1]"}):
        with pytest.raises(JournalCorrupt, match="are not those of its leaf"):
            check_proof(structs.replace(proof, **changed), SIGNER.vkey)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"actor": "somebody"}, "actor"),
        ({"sequence": 301}, "sequence"),
        ({"recorded_ns": 1}, "recorded_ns"),
        ({"kind": "note"}, "kind"),
        ({"correlation": ""}, "correlation"),
        ({"index": 300}, "leaf 300"),
        ({"path": ()}, "does not lead"),
        ({"leaf": b"short"}, "cannot be read"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_changed_bundle_proves_nothing(log, changed, message):
    with pytest.raises(JournalCorrupt, match=message):
        check_proof(structs.replace(prove(log, 300), **changed), SIGNER.vkey)


def test_a_proof_by_another_key_proves_nothing(log):
    with pytest.raises(JournalCorrupt, match="not signed by"):
        check_proof(prove(log, 300), Signer(GENESIS.name, bytes(32)).vkey)


def test_what_cannot_be_proved_is_refused_with_a_reason(log):
    with pytest.raises(InputError, match="no checkpoint covers record 1024 yet"):
        prove(log, 1024)
    with pytest.raises(InputError, match="covers record 6"):
        prove(log, 6, note_at(log, 5))
    for sequence in (0, -1, LAST + 1):
        with pytest.raises(InputError, match="it keeps 1 to 1028"):
            prove(log, sequence)
    with pytest.raises(InputError, match="cannot be read"):
        read_proof(b"{}")
    with pytest.raises(InputError, match="form 2"):
        read_proof(msgspec.json.encode({**msgspec.to_builtins(prove(log, 1)), "form": 2}))


def test_a_damaged_journal_gives_no_proof(log):
    store = log.store
    honest = store.records[300]
    store.records[300] = structs.replace(honest, body=b"{}")
    try:
        with pytest.raises(JournalCorrupt, match="not the one that the checkpoint was signed over"):
            prove(log, 300)
    finally:
        store.records[300] = honest
    tile = store.tiles.pop((0, 1))
    del store.records[400]
    try:
        with pytest.raises(JournalCorrupt, match="are missing"):
            prove(log, 300)
    finally:
        store.tiles[0, 1] = tile


@pytest.mark.parametrize("old", SIZES)
def test_each_checkpoint_is_continued_by_every_later_one(log, old):
    for new in [size for size in SIZES if size >= old]:
        proof = prove_continuation(log, note_at(log, old), note_at(log, new))
        first, second = check_continuation(proof, SIGNER.vkey)
        assert (first.size, second.size) == (old, new)
    assert check_continuation(prove_continuation(log, note_at(log, old)), SIGNER.vkey)[1].size == 1023


def test_a_journal_that_was_rewritten_cannot_continue(log):
    other = SIGNER.sign_checkpoint(600, bytes(32))
    with pytest.raises(JournalCorrupt, match="does not continue"):
        prove_continuation(log, StoredCheckpoint(600, other))
    proof = prove_continuation(log, note_at(log, 600))
    with pytest.raises(JournalCorrupt, match="does not continue"):
        check_continuation(structs.replace(proof, old=other), SIGNER.vkey)
    stranger = Signer(GENESIS.name, bytes(range(32)), "another journal").sign_checkpoint(600, bytes(32))
    with pytest.raises(JournalCorrupt, match="two journals"):
        check_continuation(structs.replace(proof, old=stranger), SIGNER.vkey)


def test_a_leaf_is_read_back_to_its_fields(log):
    record = next(iter(log.read(299, 300)))
    leaf = leaf_of(record)
    fields = read_leaf(leaf)
    for name in ("sequence", "epoch", "schema", "recorded_ns", "causation", "kind", "actor", "key", "previous"):
        assert fields[name] == getattr(record, name)
    with pytest.raises(JournalCorrupt, match="its fields take"):
        read_leaf(leaf + b"more")
