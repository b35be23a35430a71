"""A service whose journal fails, is taken over, or whose books contradict themselves: what it says, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import threading
from itertools import count
from urllib.parse import urlencode

import httpx
import pytest

from marginkeep.clearing.commands import Deposit
from marginkeep.errors import FencedOut, InvariantViolation, JournalFull, JournalStalled
from marginkeep.journal.checkpoint import make_key
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.journal.opening import open_log
from marginkeep.service.operations.retaining import HOUR_NS
from marginkeep.service.operations.settings import JournalSettings, ServerSettings, Settings
from marginkeep.service.running import open_context
from tests.journal.houses import GENESIS, RULES_PATH
from tests.journal.postgres_servers import postgres_server, wait_for  # noqa: F401  (a fixture)
from tests.service.conftest import RunningService, memory_log
from tests.service.serving import Serving, ended_at_once

DEPOSIT = {"account": "ann", "asset": "USD", "amount": "10"}


def on_disk(tmp_path):
    """Settings and the log of a service with a new journal in a file."""
    place = str(tmp_path / "house.db")
    log = open_log(place)
    log.create(GENESIS)
    return Settings(journal=JournalSettings(place=place), server=ServerSettings(port=0, tick_seconds=0)), log


def waited_for(service, predicate):
    for _ in wait_for("the service to have noticed", 30):
        if predicate(service):
            return


def fill_disk(service):
    """Let SQLite find no room for another page."""
    file = service.context.log._file

    async def fill():
        pages = file._writer.execute("PRAGMA page_count").fetchone()[0]
        file._writer.execute(f"PRAGMA max_page_count = {pages}")

    service.on_loop(fill())


def test_a_full_disk_halts_commands_which_says_so_and_reads_go_on(start_service, tmp_path):
    service = start_service(*on_disk(tmp_path))
    assert service.call("POST", "/v1/deposits", DEPOSIT).status_code == 200
    fill_disk(service)
    for number in range(200):
        refused = service.call("POST", "/v1/deposits", DEPOSIT | {"account": f"user-{number}"})
        if refused.status_code != 200:
            break
        settled = number + 2
    assert (refused.status_code, refused.json()["code"]) == (503, "halted")
    assert "the disk is full: make room" in refused.json()["detail"]
    assert str(tmp_path) not in refused.text
    waited_for(service, lambda one: one.context.durable.head == one.context.durable.durable)
    read = service.call("GET", "/v1/accounts/ann")
    assert (read.status_code, read.headers["marginkeep-halted"]) == (200, "journal")
    lost = service.call("GET", f"/v1/accounts/user-{number}")
    assert lost.status_code == 404, "what was never durable is shown"
    again = service.call("POST", "/v1/deposits", DEPOSIT)
    assert (again.status_code, again.json()["code"]) == (503, "halted")
    ready = httpx.get(f"{service.url}/v1/ready")
    assert (ready.status_code, ready.json()["why"]) == (503, "journal")
    assert service.context.durable.durable.sequence >= settled
    assert not service._server.should_exit


NO_ROOM = """
    CREATE FUNCTION served.no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE EXCEPTION 'could not extend file "base/5/16385"' USING ERRCODE = 'disk_full'; END$$;
    CREATE TRIGGER no_room BEFORE INSERT ON served.records EXECUTE FUNCTION served.no_room();
"""


def test_a_server_without_room_halts_commands_and_reads_go_on(start_service, tmp_path, postgres_server):  # noqa: F811
    """The server answers as on a full disk, from a trigger; the service stays, for a restart would not make room."""
    place = f"postgresql://?{urlencode({'host': '127.0.0.1', 'port': postgres_server.port, 'user': 'postgres'})}"
    place += "&dbname=postgres&sslmode=disable&gssencmode=disable&schema=served"
    log = open_log(place)
    log.create(GENESIS)
    try:
        make_key(tmp_path / "house.key", GENESIS.name)
        journal = JournalSettings(place=place, signing_key=str(tmp_path / "house.key"))
        service = start_service(Settings(journal=journal, server=ServerSettings(port=0, tick_seconds=0)), log)
        assert service.call("POST", "/v1/deposits", DEPOSIT).status_code == 200
        postgres_server.execute(NO_ROOM)
        refused = service.call("POST", "/v1/deposits", DEPOSIT | {"account": "bob"})
        assert (refused.status_code, refused.json()["code"]) == (503, "halted")
        assert "server is full: tell the operator" in refused.json()["detail"]
        assert isinstance(service.context.durable.trouble, JournalFull)
        waited_for(service, lambda one: one.context.durable.head == one.context.durable.durable)
        assert service.call("GET", "/v1/accounts/ann").status_code == 200
        assert service.call("GET", "/v1/accounts/bob").status_code == 404, "what was never durable is shown"
        assert not service._server.should_exit
        service.stop()
    finally:
        postgres_server.execute("DROP SCHEMA IF EXISTS served CASCADE")


def test_a_service_that_is_taken_over_says_why_and_ends(start_service):
    log = memory_log()
    service = start_service(log=log)
    held = threading.Event()
    service.context.parts["halting"].end = held.set
    MemoryLog(log.store).acquire(take_over=True)
    refused = service.call("POST", "/v1/deposits", DEPOSIT)
    assert (refused.status_code, refused.json()["code"]) == (503, "halted")
    assert "taken the journal over" in refused.json()["detail"]
    ready = httpx.get(f"{service.url}/v1/ready")
    assert (ready.status_code, ready.json()["why"]) == (503, "fenced_out")
    assert held.wait(30), "it goes on although it was fenced out"
    assert isinstance(service.context.durable.trouble, FencedOut)


def test_a_journal_that_cannot_even_be_read_ends_the_service(start_service):
    log = memory_log()
    service = start_service(log=log)
    log.append = log.read = log.snapshots = lost
    assert service.call("POST", "/v1/deposits", DEPOSIT).status_code == 503
    service._thread.join(30)
    assert not service._thread.is_alive()


def lost(*_):
    raise JournalStalled("the disk is gone")


# Self-check ----------------------------------------------------------------------------------------------------------


def check(service):
    return service.on_loop(service.context.parts["self_check"].check())


def breaks(name):
    """Spoil a running service's state behind its back."""

    def ledger(state):
        key = next(iter(state.ledger))
        state.ledger[key] += 1

    def balance(state):
        account = state.book.read(state.index["ann"])
        account.balances[0] += 1
        state.book.write(state.index["ann"], account)

    def interest(state):
        state.open_interest[0] += 1

    return {"ledger": ledger, "balance": balance, "interest": interest}[name]


@pytest.mark.parametrize("name", ["ledger", "balance", "interest"])
@pytest.mark.without_shadows("the state is broken on purpose")
def test_books_that_do_not_balance_halt_the_house_loudly(start_service, name):
    service = start_service()
    service.apply(Deposit(account="ann", asset="USD", amount=10**9))
    part = service.context.parts["self_check"]
    assert check(service) == ""
    assert part.sequence == service.context.durable.durable.sequence

    async def spoil():
        breaks(name)(service.context.state)

    service.on_loop(spoil())
    assert check(service)
    assert isinstance(service.context.durable.trouble, InvariantViolation)
    refused = service.call("POST", "/v1/deposits", DEPOSIT)
    assert (refused.status_code, refused.json()["code"]) == (503, "halted")
    assert "self-check" in refused.json()["detail"]
    assert httpx.get(f"{service.url}/v1/ready").json()["why"] == "self_check"
    assert "marginkeep_self_check_failed 1.0" in httpx.get(f"{service.url}/v1/metrics").text
    assert service.call("GET", "/v1/accounts/ann").headers["marginkeep-halted"] == "self_check"
    assert not service._server.should_exit


@pytest.mark.without_shadows("the watch is broken on purpose")
def test_a_watch_that_has_missed_an_account_halts_the_house(start_service):
    from marginkeep.book.watch import Watch

    service = start_service()
    service.apply(Deposit(account="ann", asset="USD", amount=10**9))

    async def watch(status):
        state = service.context.state
        state.watch = Watch(state.book, state.valuation)
        state.watch.statuses[state.index["ann"]] = status

    service.on_loop(watch(0))
    assert check(service) == ""
    service.on_loop(watch(2))
    assert "'ann' as 2, a full scan as 0" in check(service)
    assert service.call("POST", "/v1/deposits", DEPOSIT).status_code == 503


# Retention -----------------------------------------------------------------------------------------------------------


@pytest.mark.without_shadows("thousands of deposits")
@pytest.mark.parametrize("cursor", [None, 700], ids=["nobody listens", "an endpoint is behind"])
def test_old_records_are_deleted_in_whole_tiles_and_never_before_they_are_delivered(tmp_path, cursor):
    now, ticks = [10**18], count()
    place = JournalSettings(place=str(tmp_path / "house.db"), keep_hours=24, snapshot_records=10**6)
    settings = Settings(journal=place, server=ServerSettings(port=0, tick_seconds=0))
    log = open_log(str(tmp_path / "house.db"))
    log.create(GENESIS)
    service = RunningService(open_context(settings, log=log, clock=lambda: now[0] + next(ticks)))
    part = service.context.parts["retaining"]
    for _ in range(10):
        service.apply(*(Deposit(account="ann", asset="USD", amount=1) for _ in range(200)))
    assert service.on_loop(part.compact()).until == 0, "no snapshot makes any record needless"
    service.on_loop(take_snapshot(service))
    assert service.on_loop(part.compact()).until == 0, "keys are honoured for a day"
    now[0] += 25 * HOUR_NS
    if cursor is not None:
        room = service.context.parts["notifications"]
        room.deliveries["behind"] = Behind(cursor)
    plan = service.on_loop(part.compact())
    assert plan.until == (cursor or service.context.durable.durable.sequence) // 256 * 256
    assert log.first() == plan.until + 1
    service.apply(Deposit(account="ann", asset="USD", amount=1))
    service.context.parts["notifications"].deliveries.clear()
    service.stop()
    again = open_context(settings)
    assert again.durable.recovered.replayed <= 1
    again.durable.close()


class Behind:
    """An endpoint that has been told little."""

    def __init__(self, start):
        self.endpoint = self
        self.start = self.cursor = start
        self.owner, self.public, self.awaits_levels = "", False, True

    def passed(self):
        """Nothing."""

    async def stop(self):
        """Nothing."""


async def take_snapshot(service):
    await asyncio.wrap_future(service.context.writer.commits.snapshot())


# Two services, as processes ------------------------------------------------------------------------------------------


def test_a_second_service_is_refused_and_one_that_takes_over_ends_the_first(tmp_path):
    stated = ["--rules", RULES_PATH, "--journal", tmp_path / "house.db"]
    first_folder, second_folder = tmp_path / "first", tmp_path / "second"
    first_folder.mkdir()
    second_folder.mkdir()
    with Serving(*stated, folder=first_folder, environment={"MARGINKEEP_SERVER_TICK_SECONDS": "0.05"}) as first:
        code, _, errors = ended_at_once(*stated, "--port", "0", folder=second_folder)
        assert (code, "Traceback" in errors) == (4, False)
        assert f"locked by process {first.process.pid}" in errors
        with Serving(*stated, "--take-over", folder=second_folder) as second:
            assert second.told["epoch"] == first.told["epoch"] + 1
            assert first.ended() == 4
            assert "fenced_out" in first.logged()
            assert httpx.get(f"{second.told['url']}/v1/ready").status_code == 200
            second.signal(signal.SIGTERM)
            assert second.ended() == 0
