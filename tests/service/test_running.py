"""Opening a service by its settings, what it does by itself, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from marginkeep.clearing.commands import Deposit
from marginkeep.errors import InputError
from marginkeep.journal.checkpoint import parse_note, verify_note
from marginkeep.journal.durable import Request
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep.service.operations.pulse import Snapshots, Ticker
from marginkeep.service.operations.settings import JournalSettings, ServerSettings, Settings
from marginkeep.service.running import close_context, open_context, require_safe
from marginkeep.service.wire.problems import Problem
from tests.journal.houses import GENESIS, RULES_PATH, RULES_TEXT
from tests.service.conftest import WAIT_SECONDS, memory_log

DEPOSIT = {"account": "ann", "asset": "USD", "amount": "10"}


def deposit(amount=10**9):
    return Request(command=Deposit(account="ann", asset="USD", amount=amount))


@pytest.mark.parametrize(
    "server",
    [
        ServerSettings(),
        ServerSettings(host="::1"),
        ServerSettings(host="localhost"),
        ServerSettings(host="0.0.0.0", behind_tls=True),
        ServerSettings(host="0.0.0.0", certificate="c", certificate_key="k"),
    ],
    ids=["default", "six", "localhost", "proxied", "certified"],
)
def test_a_service_may_listen_where_nothing_goes_over_the_net_in_clear(server):
    require_safe(server)


@pytest.mark.parametrize(
    "server",
    [
        ServerSettings(host="0.0.0.0"),
        ServerSettings(host="::"),
        ServerSettings(host="10.0.0.1"),
        ServerSettings(host="venue.example"),
        ServerSettings(host="0.0.0.0", certificate="c"),
        ServerSettings(certificate_key="k"),
    ],
    ids=["all", "all six", "private", "named", "keyless", "half"],
)
def test_a_service_does_not_listen_beyond_this_machine_in_clear(server):
    with pytest.raises(InputError, match=r"server\.certificate"):
        require_safe(server)


def journalled(tmp_path, **journal):
    place = JournalSettings(place=str(tmp_path / "house.db"), **journal)
    return Settings(rules=str(RULES_PATH), journal=place, server=ServerSettings(port=0, tick_seconds=0))


def test_a_new_journal_begins_with_the_rules_and_a_known_one_needs_none(tmp_path):
    context = open_context(journalled(tmp_path))
    assert context.durable.rules == RULES_TEXT
    close_context(context)
    again = open_context(Settings(journal=JournalSettings(place=str(tmp_path / "house.db"))))
    assert (again.durable.rules, again.durable.head.epoch) == (RULES_TEXT, 2)
    close_context(again)


def test_no_key_is_made_in_the_working_folder_for_a_journal_that_is_elsewhere(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for log in (memory_log(), opened_log(tmp_path)):
        close_context(open_context(Settings(rules=str(RULES_PATH)), log=log))
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "house.key").exists()


def test_a_new_journal_without_rules_is_refused(tmp_path):
    with pytest.raises(InputError, match="rules is empty"):
        open_context(Settings(journal=JournalSettings(place=str(tmp_path / "house.db"))))


def test_the_last_checkpoint_covers_every_record(start_service, tmp_path):
    chosen = journalled(tmp_path)
    service = start_service(chosen, opened_log(tmp_path))
    service.call("POST", "/v1/deposits", DEPOSIT)
    vkey = service.context.durable._signer.vkey
    service.stop()
    log = SqliteLog(tmp_path / "house.db", read_only=True)
    note = log.last_checkpoint().note
    assert parse_note(note).size == log.head().sequence
    assert verify_note(note, vkey).size == log.head().sequence
    log.close()


def opened_log(tmp_path):
    log = SqliteLog(tmp_path / "house.db")
    log.create(GENESIS)
    return log


def test_what_was_asked_before_the_end_is_finished_and_what_comes_after_is_refused(start_service):
    service = start_service()

    async def ask_and_stop():
        writer = service.context.writer
        asked = [asyncio.create_task(writer.submit((deposit(),))) for _ in range(50)]
        await asyncio.sleep(0)
        stop = asyncio.create_task(writer.stop())
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="stopping"):
            await writer.submit((deposit(),))
        outcomes = [await one for one in asked]
        await stop
        return [one.sequence for (one,) in outcomes]

    sequences = service.on_loop(ask_and_stop())
    assert sequences == list(range(sequences[0], sequences[0] + 50))
    assert service.context.durable.durable.sequence == sequences[-1]


def test_the_house_is_told_the_time_and_never_an_earlier_one(start_service):
    service = start_service()
    times = iter([100, 50, 100, 200])
    ticker = Ticker(service.context.writer, lambda: next(times), 60)

    async def tick():
        await ticker.tick()
        return service.context.state.now_ns

    before = service.context.durable.durable.sequence
    assert [service.on_loop(tick()) for _ in range(4)] == [100, 100, 100, 200]
    assert service.context.durable.durable.sequence == before + 2


def test_a_snapshot_is_taken_after_so_many_records(start_service):
    log = memory_log()
    service = start_service(log=log)
    start = service.context.feed.last
    part = Snapshots(service.context.writer, service.context.feed, 3, start)
    taken = threading.Event()
    plain = part.take

    async def take():
        await plain()
        taken.set()

    part.take = take
    service.on_loop(part.start())
    service.apply(*(Deposit(account="ann", asset="USD", amount=1) for _ in range(2)))
    assert log.snapshots() == []
    service.apply(Deposit(account="ann", asset="USD", amount=1))
    assert taken.wait(WAIT_SECONDS)
    service.on_loop(part.stop())
    assert [label.sequence for label in log.snapshots()] == [start + 3]


SERVE = """
import sys
from marginkeep.service.running import run
from marginkeep.service.operations.settings import JournalSettings, ServerSettings, Settings

rules, place = sys.argv[1:]
journal = JournalSettings(place=place)
settings = Settings(rules=rules, journal=journal, server=ServerSettings(port=0, tick_seconds=0.01))
run(settings, listening=lambda url: print("URL", url, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["terminated", "interrupted"])
def test_a_service_that_is_told_to_stop_ends_in_order(tmp_path, how):
    place = tmp_path / "house.db"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    command = [sys.executable, "-c", SERVE, str(RULES_PATH), str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        url = next(line for line in process.stdout if line.startswith("URL")).split()[1]
        sequence = 0
        while sequence == 0:  # the clock's own records
            sequence = min(1, httpx.get(f"{url}/v1/time", timeout=WAIT_SECONDS).json()["house_ns"])
        process.send_signal(how)
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()
        process.stdout.close()
    log = SqliteLog(place, read_only=True)
    head, checkpoint = log.head(), log.last_checkpoint()
    log.close()
    assert checkpoint.size == head.sequence > 0


def test_a_service_on_any_port_says_where_it_listens(running_service):
    assert running_service.url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{running_service.url}/v1/live").status_code == 200
