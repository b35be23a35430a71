"""Journals to verify: built by the engine in SQLite, and copies of them in which something is changed."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

from msgspec import structs

from marginkeep.journal.checkpoint import Signer
from marginkeep.journal.durable import DurableHouse, Request
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.houses import GENESIS, script, ticking

SEED = bytes(range(32))
SIGNER = Signer(GENESIS.name, SEED)
ANOTHER = Signer(GENESIS.name, bytes(32))
BATCH = 50
A_WHILE_NS = 11 * 10**9
"""Between readings of the clock: a checkpoint is due with each batch."""


def built(path, length=600, **options):
    """Make a journal of a scripted house in a file."""
    fill(SqliteLog(path), length, **options)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode=DELETE")
    return path


def fill(log, length, *, snapshots=(), signer=SIGNER):
    """Make a journal in a log: checkpoints every batch, some payloads kept apart, a note."""
    log.create(GENESIS)
    clock = ticking()
    house = DurableHouse.open(log, clock=lambda: clock() * A_WHILE_NS, signer=signer, salt=lambda: b"salt of 16 bytes")
    requests = script(length)
    for number in range(5, length, 97):
        requests[number] = structs.replace(requests[number], personal=b"payload %d" % number)
    requests.insert(7, Request(note={"type": "remark", "text": "a note"}))
    for start in range(0, len(requests), BATCH):
        house.submit(requests[start : start + BATCH])
        if start in snapshots:
            house.begin_snapshot().write(log)
    house.close()


def changed(path, target, statement, *values):
    """Copy a journal and change the copy."""
    shutil.copy(path, target)
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        assert db.execute(statement, values).rowcount >= 1, f"{statement} changes nothing"
    return target
