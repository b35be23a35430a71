"""The durable house: acknowledged means recorded, a key means once, and trouble means stop."""

import msgspec
import pytest

from marginkeep.clearing import AdoptRulebook, Deposit, Withdraw, state_hash
from marginkeep.errors import FencedOut, InputError, JournalStalled
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import BATCH_MAX, Head
from marginkeep.journal.durable import Request
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.journal.record import genesis_hash
from tests.journal.houses import GENESIS, RULES_TEXT, deposit, new_store, opened, script, ticking

START = Head(0, 0, genesis_hash(GENESIS))


class FullLog(MemoryLog):
    """A log whose disk is full from a moment on."""

    is_full = False

    def append(self, batch):
        if self.is_full:
            raise JournalStalled("no space is left: make room and start again")
        super().append(batch)


def test_an_answer_is_in_the_journal_when_it_is_given():
    store = new_store()
    house = opened(store)
    (outcome,) = house.submit([deposit("ann")])
    (record,) = store_records(store)
    assert (record.sequence, record.body) == (outcome.sequence, msgspec.json.encode(deposit("ann").command))
    assert record.events == outcome.payload == msgspec.json.encode(outcome.events)


def store_records(store):
    return list(checked(MemoryLog(store).read(), START))


def test_a_staged_command_is_not_in_the_journal():
    store = new_store()
    house = opened(store)
    staged = house.stage([deposit("ann")])
    assert store_records(store) == []
    house.commit(staged)
    assert len(store_records(store)) == 1


def test_a_repeated_key_returns_the_recorded_answer_and_moves_nothing():
    store = new_store()
    house = opened(store)
    (first,) = house.submit([deposit("ann", key="k")])
    before = state_hash(house.house)
    (second,) = house.submit([deposit("ann", key="k")])
    assert second.repeated
    assert (second.sequence, second.events) == (first.sequence, first.events)
    assert state_hash(house.house) == before
    assert len(store_records(store)) == 1


def test_a_repeated_key_in_the_same_batch_and_in_flight_is_found():
    house = opened(new_store())
    staged = house.stage([deposit("ann", key="k"), deposit("ann", key="k")])
    assert [one.repeated for one in staged.outcomes] == [False, True]
    later = house.stage([deposit("ann", key="k")])
    assert later.outcomes[0].repeated
    house.commit(staged)
    house.commit(later)
    assert house.durable.sequence == 1


def test_a_refusal_is_recorded_and_repeated_too():
    house = opened(new_store())
    asked = Request(command=Withdraw(account="ann", asset="USD", amount=1), key="k")
    (first,) = house.submit([asked])
    house.submit([deposit("ann")])
    (second,) = house.submit([asked])
    assert second.repeated
    assert second.events == first.events
    assert first.events[0].code == "unknown_account"


def test_a_key_with_another_payload_is_a_conflict_and_changes_nothing():
    store = new_store()
    house = opened(store)
    house.submit([deposit("ann", 5, key="k")])
    (outcome,) = house.submit([deposit("ann", 6, key="k")])
    assert "stands for another command" in outcome.conflict
    assert outcome.events == ()
    assert len(store_records(store)) == 1


def test_the_same_key_of_two_actors_is_two_keys():
    house = opened(new_store())
    one, two = (msgspec.structs.replace(deposit("ann", key="k"), actor=actor) for actor in ("a", "b"))
    outcomes = house.submit([one, two])
    assert [outcome.repeated for outcome in outcomes] == [False, False]


def test_a_restart_reaches_the_same_state_and_keeps_the_keys():
    store = new_store()
    house = opened(store)
    requests = script(300)
    house.submit(requests)
    reached = state_hash(house.house)
    house.close()
    again = opened(store)
    assert state_hash(again.house) == reached
    assert again.recovered.replayed == 300
    assert all(one.repeated and not one.conflict for one in again.submit(requests))


def test_after_a_failed_write_nothing_more_is_accepted():
    store = new_store()
    log = FullLog(store)
    from marginkeep.journal.durable import DurableHouse

    house = DurableHouse.open(log, clock=ticking())
    house.submit([deposit("ann", key="a")])
    log.is_full = True
    with pytest.raises(JournalStalled, match="no space"):
        house.submit([deposit("ann", key="b")])
    log.is_full = False
    with pytest.raises(JournalStalled, match="no space"):
        house.submit([deposit("ann", key="c")])
    log.close()
    again = opened(store)
    assert again.head.sequence == 1
    assert not again.submit([deposit("ann", key="b")])[0].repeated


def test_the_stale_writer_of_two_is_fenced_out():
    store = new_store()
    first = opened(store)
    first.submit([deposit("ann")])
    second = opened(store, take_over=True)
    second.submit([deposit("ann")])
    with pytest.raises(FencedOut):
        first.submit([deposit("ann")])
    with pytest.raises(FencedOut):
        first.submit([deposit("ann")])
    assert [record.epoch for record in store_records(store)] == [1, 2]


def test_a_second_writer_is_refused_while_the_first_lives():
    store = new_store()
    first = opened(store)
    with pytest.raises(FencedOut):
        opened(store)
    first.close()
    opened(store)


def test_the_clock_of_records_never_falls():
    store = new_store()
    readings = iter([50, 40, 60])
    house = opened(store, clock=lambda: next(readings))
    for _ in range(3):
        house.submit([deposit("ann")])
    assert [record.recorded_ns for record in store_records(store)] == [50, 50, 60]


def test_an_adopted_rulebook_is_the_one_a_restart_uses():
    store = new_store()
    house = opened(store)
    rules = RULES_TEXT.replace("# Rules", "# The rules") + "\n# adopted\n"
    house.submit([Request(command=AdoptRulebook(rules=rules))])
    assert house.rules == rules
    house.begin_snapshot().write(house.log)
    house.close()
    assert opened(store).rules == rules


def test_a_note_is_chained_and_changes_no_state():
    store = new_store()
    house = opened(store)
    before = state_hash(house.house)
    house.submit([Request(note={"type": "KeyCreated", "key": "k1"}, actor="admin")])
    (record,) = store_records(store)
    assert (record.kind, record.actor, record.events) == ("note", "admin", b"")
    assert state_hash(house.house) == before
    house.close()
    assert opened(store).head.sequence == 1


def test_a_personal_payload_is_kept_apart_and_can_be_erased():
    store = new_store()
    house = opened(store, salt=lambda: b"0123456789abcdef")
    request = msgspec.structs.replace(deposit("ann"), personal=b"Ann, 1 Main Street")
    house.submit([request])
    assert b"Main Street" not in store_records(store)[0].body
    assert house.log.personal(1).payload == b"Ann, 1 Main Street"
    assert house.log.erase_personal([1]) == 1
    assert house.log.personal(1) is None
    assert len(store_records(store)) == 1


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request(command=Deposit(account="a", asset="USD", amount=1), note={"type": "x"}),
        Request(command=Deposit(account="a", asset="USD", amount=1), key="k" * 129),
        Request(command=Deposit(account="a", asset="USD", amount=1), actor="a\nb"),
        Request(command=Deposit(account="a", asset="USD", amount=1), causation=-1),
        Request(command=Deposit(account="a", asset="USD", amount=1), causation=2**63),
    ],
    ids=["neither", "both", "long key", "line feed", "negative number", "large number"],
)
def test_a_request_that_cannot_be_recorded_is_refused_and_harms_nothing(request_):
    house = opened(new_store())
    with pytest.raises(InputError):
        house.submit([deposit("ann"), request_])
    assert house.submit([deposit("ann")])[0].sequence == 1


def test_a_batch_beyond_the_bound_is_refused():
    house = opened(new_store())
    with pytest.raises(InputError, match=str(BATCH_MAX)):
        house.submit([deposit("ann")] * (BATCH_MAX + 1))
    assert house.head.sequence == 0
