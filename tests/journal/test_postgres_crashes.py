"""Kill -9 of the writing process at every message it sends to its PostgreSQL server, in a run of 1,000 commands.

After each death a new writer finds every acknowledged command; whoever asked asks again by key; and the end is that of
a run in which nobody died.
"""

from __future__ import annotations

import itertools

import pytest

from marginkeep.clearing import state_hash
from marginkeep.errors import FencedOut
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.postgres_log import PostgresLog
from tests.journal.cutting_proxy import ENDS, CuttingProxy
from tests.journal.doomed_writer import REQUESTS, Nursery, groups
from tests.journal.houses import GENESIS, new_store, opened, ticking
from tests.journal.postgres_servers import wait_for

PARTS = 4
"""Each test takes every fourth message, so that several processes can share the work."""

ENDS_A_FLIGHT = (b"\0", b"Q", b"S", b"c")
"""First bytes of messages after which a writer waits for the server: the start, a query, a sync, the end of a copy.

Messages before them leave together with them: there "after" is a death in the midst, as is "torn".
"""

pytestmark = pytest.mark.without_shadows("thousands of commands, the same ones again and again")


@pytest.fixture(scope="module")
def proxy(postgres_server):
    proxy = CuttingProxy(postgres_server.port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def nursery(postgres_server):
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def undisturbed():
    """What is recorded, and the state in the end, when nobody dies."""
    house = opened(new_store())
    for group in groups(REQUESTS):
        house.submit(group)
    return substance(house), state_hash(house.house)


@pytest.fixture
def run(postgres_server, proxy, nursery):
    """A callable: (at, end) -> (an opener of the journal, last acknowledged sequence), after one writer's life."""
    numbers = itertools.count()
    base = f"crash_{next(RUNS)}"
    schemas = []

    def run_once(at, end):
        schemas.append(f"{base}_{next(numbers)}")
        open_one = opener(postgres_server.dsn, schemas[-1])
        log = open_one()
        log.create(GENESIS)
        log.close()
        pid = nursery.start(postgres_server.dsn.replace(str(postgres_server.port), str(proxy.port)), schemas[-1])
        proxy.arm(pid, at, end)
        acknowledged, status = nursery.go()
        # The last message says goodbye: whoever sent it may be gone before it can be killed, with everything done.
        assert status == (-9 if at else 0) or (status == 0 and acknowledged == len(REQUESTS))
        return open_one, acknowledged

    yield run_once
    for schema in schemas:
        postgres_server.execute(f"DROP SCHEMA {schema} CASCADE")


RUNS = itertools.count(1)


def opener(dsn, schema):
    return lambda: PostgresLog(dsn, schema=schema)


def substance(house):
    """What must be the same whoever wrote it and when: order, keys, commands, answers."""
    return [(one.sequence, one.kind, one.actor, one.key, one.body, one.events) for one in house.log.read()]


def reopen(open_one):
    """Open the journal anew; the dead writer's session may live on for a moment on the server, and holds the lock."""
    log = open_one()
    for _ in wait_for("the server to notice that the writer is dead"):
        try:
            return DurableHouse.open(log, clock=ticking(10**6))
        except FencedOut:
            continue
    raise AssertionError


def check_recovery(open_one, acknowledged, undisturbed):
    records, state = undisturbed
    house = reopen(open_one)
    try:
        found = house.head.sequence
        assert found >= acknowledged, "an acknowledged command is lost"
        assert substance(house) == records[:found], "what is found is not what was asked"
        outcomes = house.submit(REQUESTS[acknowledged:])
        assert [one.sequence for one in outcomes] == list(range(acknowledged + 1, len(REQUESTS) + 1))
        assert [one.repeated for one in outcomes].count(True) == found - acknowledged
        assert substance(house) == records
        assert state_hash(house.house) == state
    finally:
        house.close()


def cuts(sent, end):
    """Return the numbers of the messages at which a death of this kind differs from all the others."""
    numbers = range(1, len(sent) + 1)
    return [number for number in numbers if end == "torn" or sent[number - 1][:1] in ENDS_A_FLIGHT]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("end", ENDS)
def test_a_writer_killed_at_any_message_loses_nothing_acknowledged_and_repeats_nothing(
    run, proxy, undisturbed, end, part
):
    open_one, acknowledged = run(0, "")
    assert acknowledged == len(REQUESTS)
    check_recovery(open_one, acknowledged, undisturbed)
    seen = set()
    for at in cuts(list(proxy.sent), end)[part::PARTS]:
        open_one, acknowledged = run(at, end)
        # A writer that had to ask twice for the lock sends more messages than the first, never fewer but the goodbye.
        assert proxy.cut or acknowledged == len(REQUESTS), f"message {at} was never sent"
        check_recovery(open_one, acknowledged, undisturbed)
        seen.add(acknowledged)
    assert len(seen) > len(list(groups(REQUESTS))) // 2, "the deaths are spread over the run"


def test_every_run_sends_each_batch_once(run, proxy):
    # Elsewhere the messages vary by a flush or two, with what the server has answered by then.
    for _ in range(2):
        run(0, "")
        assert [message[:1] for message in proxy.sent].count(b"c") == len(list(groups(REQUESTS)))
