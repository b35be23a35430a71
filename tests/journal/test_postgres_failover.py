"""The primary is killed under load, its synchronous standby promoted: nothing that was acknowledged is lost."""

from __future__ import annotations

import threading

import pytest

from marginkeep.errors import JournalError, JournalStalled
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import Head
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.postgres_log import PostgresLog
from marginkeep.journal.record import genesis_hash
from tests.journal.houses import GENESIS, script, ticking
from tests.journal.postgres_servers import PostgresServer, new_folder, wait_for

pytestmark = pytest.mark.without_shadows("as many commands as there is time for")


@pytest.fixture
def pair():
    """A primary with one synchronous standby."""
    servers = []
    try:
        servers.append(PostgresServer(new_folder()))
        primary = servers[0].init().start()
        servers.append(PostgresServer(new_folder()))
        standby = servers[1].copy_of(primary, "standby").start()
        # Not in the primary's files before they were copied: the promoted standby must not wait for itself.
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        for _ in wait_for("the standby to be synchronous"):
            if primary.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
                break
        yield primary, standby
    finally:
        for server in servers:
            server.remove()


class Load:
    """Somebody who submits group after group, and keeps what was acknowledged."""

    def __init__(self, house, requests, size) -> None:
        self.house, self.requests, self.size = house, requests, size
        self.acknowledged: list = []
        self.trouble: JournalError | None = None
        self.under_way = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for start in range(0, len(self.requests), self.size):
            try:
                self.acknowledged += self.house.submit(self.requests[start : start + self.size])
            except JournalError as error:
                self.trouble = error
                return
            if start >= 20 * self.size:
                self.under_way.set()


@pytest.mark.parametrize("size", [1, 40])
def test_no_acknowledged_command_is_lost_when_the_primary_dies_under_load(pair, size):
    primary, standby = pair
    requests = script(20_000)
    old_log = PostgresLog(primary.dsn)
    old_log.create(GENESIS)
    load = Load(DurableHouse.open(old_log, clock=ticking()), requests, size)
    assert load.under_way.wait(60)
    primary.kill()
    load.thread.join(60)
    assert isinstance(load.trouble, JournalStalled), "a writer whose server died cannot know what became of its batch"
    standby.promote()

    log = PostgresLog(standby.dsn)
    house = DurableHouse.open(log, clock=ticking(10**6))
    acknowledged = len(load.acknowledged)
    found = house.head.sequence
    assert acknowledged <= found <= acknowledged + size
    assert house.head.epoch == 2
    records = list(checked(log.read(), Head(0, 0, genesis_hash(GENESIS)), house.head))
    for outcome, record in zip(load.acknowledged, records, strict=False):
        assert (outcome.sequence, outcome.payload) == (record.sequence, record.events)
    asked_again = house.submit(requests[acknowledged : acknowledged + 100])
    assert [outcome.repeated for outcome in asked_again] == [True] * (found - acknowledged) + [False] * (
        100 - found + acknowledged
    )
    assert [outcome.sequence for outcome in asked_again] == list(range(acknowledged + 1, acknowledged + 101))
    house.close()
    old_log.close()


def test_a_standby_is_read_from_and_not_written_to(pair):
    primary, standby = pair
    log = PostgresLog(primary.dsn)
    log.create(GENESIS)
    house = DurableHouse.open(log, clock=ticking())
    assert house.log.durability.endswith("synchronous_standby_names='standby'")
    house.submit(script(50))
    reader = PostgresLog(standby.dsn)
    for _ in wait_for("the standby to have applied what it has stored"):
        if reader.genesis() is not None and reader.head() == house.durable:
            break
    assert list(reader.read()) == list(log.read())
    with pytest.raises(JournalStalled, match="a standby: promote it, or name the primary"):
        reader.acquire()
    with pytest.raises(JournalStalled, match="a standby"):
        reader.create(GENESIS)
    reader.close()
    house.close()
