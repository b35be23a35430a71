"""What a house does when something beside the happy path happens to its journal or to those who wait."""

from __future__ import annotations

import threading

import msgspec
import pytest

from marginkeep.clearing import state_hash
from marginkeep.errors import InputError, InvariantViolation, JournalStalled
from marginkeep.journal.checkpoint import Signer, make_key, parse_note
from marginkeep.journal.durable import CHECKPOINT_NS, DurableHouse
from marginkeep.journal.group_commit import GroupCommit
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.journal.recovery import restore
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.houses import GENESIS, deposit, new_store, opened, script, ticking

BOUND_SECONDS = 30


def closed_within_bound(commits):
    closing = threading.Thread(target=commits.close, daemon=True)
    closing.start()
    closing.join(BOUND_SECONDS)
    return not closing.is_alive()


class HeldLog(MemoryLog):
    """Lets a snapshot's parts wait for permission."""

    def __init__(self, store):
        super().__init__(store)
        self.reached, self.may_go_on = threading.Event(), threading.Event()

    def put_snapshot_part(self, sequence, number, part):
        self.reached.set()
        assert self.may_go_on.wait(BOUND_SECONDS)
        super().put_snapshot_part(sequence, number, part)


def test_closing_waits_for_a_snapshot_whose_asker_has_given_up_and_not_for_ever():
    store = new_store()
    log = HeldLog(store)
    commits = GroupCommit(DurableHouse.open(log, clock=ticking()))
    commits.submit([deposit("ann")]).result(BOUND_SECONDS)
    snapshot = commits.snapshot()
    assert log.reached.wait(BOUND_SECONDS)
    assert not snapshot.cancel()
    log.may_go_on.set()
    assert closed_within_bound(commits), "closing hangs on a snapshot that nobody waits for"
    assert [label.sequence for label in log.snapshots()] == [1]


def test_what_comes_after_closing_is_refused_rather_than_left_waiting():
    commits = GroupCommit(opened(new_store()))
    commits.close()
    for late in (lambda: commits.submit([deposit("ann")]), commits.snapshot, lambda: commits.between_batches(iter(()))):
        with pytest.raises(JournalStalled, match="being closed"):
            late()


class LandingKeys(dict):
    """Keys in flight that land in the very moment in which somebody has seen them."""

    def __contains__(self, key):
        return super().__contains__(key) and self.pop(key) is not None


def test_a_key_that_lands_while_it_is_looked_for_is_found():
    house = opened(new_store())
    staged = house.stage([deposit("ann", key="k")])
    house._in_flight = LandingKeys(house._in_flight)
    again = house.stage([deposit("ann", key="k")])
    assert [one.repeated for one in again.outcomes] == [True]
    house.commit(staged)
    house.commit(again)
    assert house.durable.sequence == 1


def test_a_batch_of_repeats_leaves_the_checkpoint_to_the_next_that_is_written(tmp_path):
    make_key(tmp_path / "a.key", GENESIS.name)
    store, now = new_store(), [1]
    house = opened(store, signer=Signer.load(tmp_path / "a.key", GENESIS.name), clock=lambda: now[0])
    house.submit([deposit("ann", key="k")])
    now[0] += 2 * CHECKPOINT_NS
    assert house.submit([deposit("ann", key="k")])[0].repeated
    house.seal()
    assert [parse_note(one.note).size for one in store.checkpoints.values()] == [1]


def test_a_signer_of_another_journal_is_refused_and_the_journal_is_left_as_it_is():
    store = new_store()
    with pytest.raises(InputError, match=r"'test\.example/journal', .* would name 'another\.example'"):
        opened(store, signer=Signer("another.example", bytes(32)))
    assert (store.writer, store.head.epoch) == (None, 0)
    house = opened(store, signer=Signer("another.example", bytes(32), GENESIS.name))
    house.submit([deposit("ann")])
    house.seal()
    assert [parse_note(one.note).origin for one in store.checkpoints.values()] == [GENESIS.name]


class BlindLog(MemoryLog):
    """Its reading side is lost from a moment on."""

    is_lost = False
    asked = 0

    def find(self, keys):
        self.asked += 1
        if self.is_lost:
            raise JournalStalled("the server is gone")
        return super().find(keys)


def test_a_house_that_cannot_look_for_keys_accepts_nothing_more():
    log = BlindLog(new_store())
    house = DurableHouse.open(log, clock=ticking())
    log.is_lost = True
    for _ in range(3):
        with pytest.raises(JournalStalled):
            house.look_up([deposit("ann", key="k")])
    assert log.asked == 1, "a server that is gone is asked again and again"
    log.is_lost = False
    with pytest.raises(JournalStalled, match="gone"):
        house.submit([deposit("ann")])
    assert house.head.sequence == 0


def test_after_trouble_the_house_can_be_wound_back_to_what_is_durable():
    store = new_store()
    house = opened(store)
    house.submit(script(50))
    durable = state_hash(house.house)
    house.stage([deposit("ann")])
    assert state_hash(house.house) != durable
    house.halt(JournalStalled("no space is left"))
    house.rewind(restore(house.log, house.durable))
    assert state_hash(house.house) == durable
    assert house.head == house.durable
    with pytest.raises(JournalStalled, match="no space"):
        house.submit([deposit("ann")])


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_journal_that_disappears_is_not_written_to_silently(tmp_path, how):
    path = tmp_path / "house.journal"
    log = SqliteLog(path)
    log.create(GENESIS)
    house = DurableHouse.open(log, clock=ticking())
    house.submit([deposit("ann")])
    if how == "deleted":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere")
    if how == "replaced":
        path.write_bytes(b"")
    with pytest.raises(JournalStalled, match="moved, deleted or replaced"):
        house.submit([deposit("ann")])
    with pytest.raises(JournalStalled):
        house.submit([deposit("ann")])
    house.close()


def test_a_snapshot_under_rules_that_cannot_be_read_is_passed_over():
    store = new_store()
    house = opened(store)
    house.submit(script(100))
    house.begin_snapshot().write(house.log)
    house.submit(script(200)[100:])
    reached = state_hash(house.house)
    house.close()
    store.labels[100] = msgspec.structs.replace(store.labels[100], rules="[broken")
    again = opened(store)
    assert again.recovered.replayed == 200
    assert "snapshot at record 100" in again.recovered.warnings[0]
    assert state_hash(again.house) == reached


def test_a_live_house_is_not_wound_back():
    house = opened(new_store())
    with pytest.raises(InvariantViolation):
        house.rewind(restore(house.log, house.durable))
