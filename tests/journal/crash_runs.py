"""The scripted runs that are cut short at every write, and what must be left of them.

A run may be started on whatever an earlier attempt has left: it asks for everything again, by idempotency key.
"""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

from marginkeep.clearing import state_hash
from marginkeep.journal import sqlite_file
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import Batch, Head, Personal
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.record import genesis_hash, make_record
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal import houses
from tests.journal.records import GENESIS, key_of

COMMANDS = 1_000
GROUP = 50
SNAPSHOT_AT = 500


def open_log(path):
    """Open a journal that carries pages over into its main file every few batches, so that this too is cut short."""
    with patch.object(sqlite_file, "WAL_PAGES", 30):
        return SqliteLog(path)


def record_run(path, acknowledge):
    """Append 1,000 records in groups with personal payloads, and erase one at the end."""
    log = open_log(path)
    if log.genesis() is None:
        log.create(GENESIS)
    head = log.acquire()
    for start in range(1, COMMANDS + 1, GROUP):
        head = append_missing(log, head, range(start, start + GROUP))
        acknowledge(start + GROUP - 1)
    log.erase_personal([1])
    log.close()


def append_missing(log, head, numbers):
    """Append those of the numbered commands that are not there yet."""
    known = log.find([("local", key_of(number)) for number in numbers])
    records, before = [], head
    for number in numbers:
        if ("local", key_of(number)) in known:
            continue
        record = make_record(
            sequence=head.sequence + 1,
            epoch=head.epoch,
            recorded_ns=10**18 + number,
            previous=head.hash,
            body=b'{"type":"tick","number":%d,"fill":"%s"}' % (number, b"b" * (number % 7 * 100)),
            events=b"[]",
            key=key_of(number),
        )
        records.append(record)
        head = Head(head.epoch, record.sequence, record.hash)
    if records:
        personal = [Personal(one.sequence, b"salt", b"payload") for one in records[:1]]
        log.append(Batch(before=before, records=records, personal=personal))
    return head


@cache
def requests():
    return tuple(houses.script(COMMANDS))


def house_run(path, acknowledge):
    """Submit 1,000 commands to a durable house in groups, with a snapshot half way; return the state's hash."""
    log = open_log(path)
    if log.genesis() is None:
        log.create(houses.GENESIS)
    house = DurableHouse.open(log, clock=houses.ticking())
    for start in range(0, COMMANDS, GROUP):
        for number, outcome in enumerate(house.submit(requests()[start : start + GROUP]), start + 1):
            assert not outcome.conflict
            if outcome.sequence != number:
                raise AssertionError(f"command {number} stands in the journal as {outcome.sequence}")
        acknowledge(start + GROUP)
        if start + GROUP == SNAPSHOT_AT and not log.snapshots() and house.head.sequence == SNAPSHOT_AT:
            house.begin_snapshot().write(log)
    final = state_hash(house.house)
    house.close()
    return final


RUNS = {"records": (record_run, GENESIS), "house": (house_run, houses.GENESIS)}


def leavings(path, run):
    """Return what a journal holds, checked from the genesis on, without what differs from one attempt to the next."""
    log = SqliteLog(path)
    try:
        genesis = log.genesis()
        if genesis is None:
            return []
        assert genesis == RUNS[run][1]
        records = checked(log.read(), Head(0, 0, genesis_hash(genesis)), log.head())
        return [(record.sequence, record.key, record.body, record.events) for record in records]
    finally:
        log.close()
