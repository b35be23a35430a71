"""How a service ends and begins again: in order, at once, in the midst of a snapshot, and from the newest one."""

from __future__ import annotations

import signal
import socket
import threading

import httpx
import pytest

from marginkeep.clearing import Clearinghouse, Deposit, ReserveOrder, SetPrices, state_hash, take_snapshot
from marginkeep.journal.durable import DurableHouse, Request
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.journal.record import Genesis
from marginkeep.journal.recovery import restore
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep.service.operations.settings import JournalSettings, ServerSettings, Settings
from marginkeep.service.running import close_context, open_context
from tests.journal.houses import GENESIS, MARKET, RULES, RULES_PATH, RULES_TEXT, ticking
from tests.journal.postgres_servers import wait_for
from tests.service.conftest import WAIT_SECONDS
from tests.service.serving import Serving

ACCOUNTS = 100_000
TAIL = 20_000
GROUP = 4_000


class SlowSnapshots(MemoryLog):
    """Lets a snapshot's parts wait for permission."""

    def __init__(self):
        super().__init__()
        self.reached, self.may_go_on = threading.Event(), threading.Event()

    def put_snapshot_part(self, sequence, number, part):
        self.reached.set()
        assert self.may_go_on.wait(WAIT_SECONDS)
        super().put_snapshot_part(sequence, number, part)


def test_a_service_that_is_stopped_while_it_writes_a_snapshot_finishes_it_and_ends(start_service):
    log = SlowSnapshots()
    log.create(GENESIS)
    journal = JournalSettings(place="memory", snapshot_records=3)
    service = start_service(Settings(journal=journal, server=ServerSettings(port=0, tick_seconds=0)), log)
    service.apply(*(Deposit(account="ann", asset="USD", amount=1) for _ in range(5)))
    assert log.reached.wait(WAIT_SECONDS)
    service._server.should_exit = True
    for _ in wait_for("the writer to have drained", WAIT_SECONDS):
        if service.context.writer._task.done():
            break
    assert service._thread.is_alive(), "it has not waited for the snapshot"
    log.may_go_on.set()
    service._thread.join(WAIT_SECONDS)
    assert not service._thread.is_alive(), "it hangs on a snapshot whose asker was stopped"
    close_context(service.context)
    assert log.snapshots()[-1].sequence == log.store.head.sequence


def serving(tmp_path):
    stated = ["--rules", RULES_PATH, "--journal", tmp_path / "house.db"]
    return Serving(*stated, folder=tmp_path, environment={"MARGINKEEP_SERVER_TICK_SECONDS": "0.02"})


def test_a_service_that_has_ended_in_order_begins_where_it_ended(tmp_path):
    with serving(tmp_path) as service:
        wait_for_records(service)
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
    context = open_context(Settings(journal=JournalSettings(place=str(tmp_path / "house.db"))))
    recovered = context.durable.recovered
    assert (recovered.snapshot, recovered.replayed) == (recovered.head.sequence, 0)
    assert recovered.signed_size == recovered.head.sequence > 0
    close_context(context)


def test_a_second_signal_ends_a_service_at_once_and_the_journal_is_sound(tmp_path):
    with serving(tmp_path) as service:
        wait_for_records(service)
        host, port = service.told["url"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), WAIT_SECONDS) as unfinished:
            unfinished.sendall(b"POST /v1/deposits HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            httpx.get(f"{service.told['url']}/v1/live")
            service.signal(signal.SIGTERM)
            for _ in wait_for("the service to accept nobody", WAIT_SECONDS):
                if refuses(host, int(port)):
                    break
            assert service.process.poll() is None, "the first signal waits for what is under way"
            service.signal(signal.SIGTERM)
            assert service.ended() == -signal.SIGTERM
    log = SqliteLog(tmp_path / "house.db", read_only=True)
    assert restore(log, log.head()).head.sequence == log.head().sequence > 0
    log.close()


def wait_for_records(service):
    for _ in wait_for("the clock's own records", WAIT_SECONDS):
        if httpx.get(f"{service.told['url']}/v1/time", timeout=WAIT_SECONDS).json()["house_ns"]:
            return


def refuses(host, port):
    try:
        socket.create_connection((host, port), WAIT_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.without_shadows("a hundred thousand accounts")
def test_a_large_house_begins_from_its_snapshot_and_replays_the_tail_alone(tmp_path):
    house = Clearinghouse(RULES)
    house.apply(SetPrices(marks={MARKET: 500_000}))
    for number in range(ACCOUNTS):
        house.apply(Deposit(account=f"user-{number}", asset="USD", amount=10**9))
    log = SqliteLog(tmp_path / "house.db")
    log.create(Genesis(name="large.example", rules=RULES_TEXT, created_ns=1, opening=take_snapshot(house)))
    durable = DurableHouse.open(log, clock=ticking())
    durable.submit([Request(command=SetPrices(marks={MARKET: 500_001}))])
    durable.begin_snapshot().write(log)
    for start in range(0, TAIL, GROUP):
        durable.submit([order(number) for number in range(start, start + GROUP)])
    reached = state_hash(durable.house)
    durable.close()
    settings = Settings(journal=JournalSettings(place=str(tmp_path / "house.db")), server=ServerSettings(port=0))
    for replayed in (TAIL, 0):
        context = open_context(settings)
        assert len(context.state.names) >= ACCOUNTS
        recovered = context.durable.recovered
        assert (recovered.snapshot, recovered.replayed) == (1 + TAIL - replayed, replayed)
        assert state_hash(context.house) == reached
        close_context(context)


def order(number):
    name = f"user-{number * 7 % ACCOUNTS}"
    return Request(
        command=ReserveOrder(account=name, order=f"o{number}", market=MARKET, side="buy", size=1, price=500_000)
    )
