"""The example of a matching engine beside a real service: both run as a user would run them, and one is killed."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from marginkeep.clearing.event_codec import decode_events
from marginkeep.clearing.events import Traded
from marginkeep.client import Client
from marginkeep.client.errors import ClientError
from marginkeep.journal.sqlite_log import SqliteLog

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MARGINKEEP = (sys.executable, "-c", "from marginkeep.cli import main; main()")
BOUND_SECONDS = 60
CORRECTED = {"dropped, for the service has it no more", "released, for it is in no book"}
"""What the engine counts when its books and the service's open orders were not the same."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Service:
    """`marginkeep serve` in a process of its own, with a journal in a folder."""

    def __init__(self, folder):
        self.journal = str(folder / "journal.db")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = (folder / "serve.log").open("w")
        self.process = None

    def start(self):
        asked = ("serve", "--rules", str(EXAMPLES / "rulebook.toml"), "--journal", self.journal)
        self.process = subprocess.Popen(
            (*MARGINKEEP, *asked, "--port", str(self.port)), stdout=self._output, stderr=subprocess.STDOUT
        )
        wait_until(self._is_ready, "the service is not ready")

    def _is_ready(self):
        assert self.process.poll() is None, "the service has ended"
        try:
            return httpx.get(f"{self.url}/v1/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(BOUND_SECONDS)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(BOUND_SECONDS) in (0, -signal.SIGTERM)


def wait_until(holds, what):
    """Ask again and again, with a bound; there is no event of another process to wait for."""
    until = time.monotonic() + BOUND_SECONDS
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def make_key(service, folder):
    path = folder / "venue.key"
    scopes = [word for scope in ("read", "trade", "transfer", "oracle.publish") for word in ("--scope", scope)]
    asked = ("keys", "create", "--journal", service.journal, "-o", str(path), "--person", "Venue", "--account", "*")
    more = ("--address", "127.0.0.0/8", "--url", service.url)
    subprocess.run((*MARGINKEEP, *asked, *scopes, *more), check=True, capture_output=True, timeout=BOUND_SECONDS)
    return path


def start_engine(credentials, seconds, *more):
    asked = (str(EXAMPLES / "matching_engine.py"), "--credentials", str(credentials), "--seconds", str(seconds))
    options = ("--seed", "7", "--run", "test", "--open", "BTC-PERP=50000", "--open", "ETH-PERP=3000", *more)
    return subprocess.Popen(
        (sys.executable, *asked, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


@pytest.fixture
def service(tmp_path):
    running = Service(tmp_path)
    running.start()
    yield running
    if running.process.poll() is None:
        running.stop()


def usable_key(service, folder):
    """Make a key and wait until the service has taken it up."""
    path = make_key(service, folder)

    def is_known():
        with Client(None, path, retries=0) as client:
            try:
                return client.own_key().accounts == ["*"]
            except ClientError:
                return False

    wait_until(is_known, "the key is not taken up")
    return path


def records_by_key(journal):
    log = SqliteLog(journal, read_only=True)
    try:
        found = {}
        for record in log.read():
            if record.kind == "command" and record.key:
                found.setdefault(record.key, []).append(decode_events(record.events))
        return found
    finally:
        log.close()


def check_all(client, journal, told, traders=20):
    """What must hold in the end, however often the service was killed."""
    found = records_by_key(journal)
    for key in told["trade keys"]:
        (events,) = found[key]
        assert any(isinstance(event, Traded) for event in events), key
    traded = [key for key, (events, *_) in found.items() if any(isinstance(event, Traded) for event in events)]
    assert sorted(traded) == sorted(told["trade keys"]), "the engine knows every trade, and the service no other"
    open_orders, sizes = {}, {}
    rows = client.accounts(limit=1000).rows
    for owner in {row.account.partition("/")[0] for row in rows} | {"external", "liquidator"}:
        try:
            view = client.account(owner)
        except ClientError:
            continue
        for account in view.accounts:
            for position in account.positions:
                sizes[position.market] = sizes.get(position.market, Decimal(0)) + Decimal(position.size)
            open_orders |= {order.order: order.size for order in account.orders}
    assert set(sizes.values()) == {Decimal(0)}
    assert {number: Decimal(size) for number, size in open_orders.items()} == {
        number: Decimal(size) for number, size in told["resting"].items()
    }


def test_the_engine_trades_and_its_books_are_the_services(service, tmp_path):
    credentials = usable_key(service, tmp_path)
    engine = start_engine(credentials, 1.5, "--json")
    output, errors = engine.communicate(timeout=BOUND_SECONDS)
    assert engine.returncode == 0, errors
    told = json.loads(output.splitlines()[-1])
    assert told["counts"]["trades"] > 50
    assert not CORRECTED & set(told["counts"])
    with Client(None, credentials) as client:
        check_all(client, service.journal, told)


def test_liquidations_take_orders_out_of_the_book(service, tmp_path):
    credentials = usable_key(service, tmp_path)
    engine = start_engine(credentials, 3, "--json", "--deposit", "150")
    assert engine.stdout.readline() == "trading\n"
    with Client(None, credentials) as client:
        wait_until(lambda: client.status().sequence > 1_000, "the engine does not trade")
        client.set_prices({"BTC-PERP": "47500"})
        wait_until(lambda: client.status().sequence > 2_000, "the engine does not trade on")
        client.set_prices({"BTC-PERP": "50000"})
    output, errors = engine.communicate(timeout=BOUND_SECONDS)
    assert engine.returncode == 0, errors
    told = json.loads(output.splitlines()[-1])
    assert told["counts"]["refused: insufficient_margin"] > 0
    assert told["counts"]["liquidations"] > 0
    with Client(None, credentials) as client:
        check_all(client, service.journal, told)


def test_killing_the_service_in_the_middle_loses_nothing_and_repeats_nothing(service, tmp_path):
    credentials = usable_key(service, tmp_path)
    engine = start_engine(credentials, 6, "--json")
    assert engine.stdout.readline() == "trading\n"
    with Client(None, credentials) as client:
        for _ in range(2):
            seen = client.status().sequence
            wait_until(lambda seen=seen: client.status().sequence > seen + 300, "the engine does not trade")
            service.kill()
            service.start()
    output, errors = engine.communicate(timeout=BOUND_SECONDS)
    assert engine.returncode == 0, errors
    told = json.loads(output.splitlines()[-1])
    assert told["reconnections"] >= 2
    assert not CORRECTED & set(told["counts"]), (
        "what was under way was answered by its key: nothing was to be corrected"
    )
    assert told["counts"]["trades"] > 50
    with Client(None, credentials) as client:
        check_all(client, service.journal, told)


def test_the_book_matches_by_price_and_then_by_time():
    spec = importlib.util.spec_from_file_location("order_book", EXAMPLES / "order_book.py")
    room = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = room
    spec.loader.exec_module(room)
    book = room.OrderBook()

    def order(number, account, side, size, price):
        return room.Order(number, account, "M", side, Decimal(size), Decimal(price))

    for row in (("1", "a", "sell", 2, 101), ("2", "b", "sell", 2, 100), ("3", "c", "sell", 2, 100)):
        assert book.add(order(*row)) == []
    matches = book.add(order("4", "d", "buy", 5, 101))
    assert [(one.maker.number, one.size, one.price) for one in matches] == [("2", 2, 100), ("3", 2, 100), ("1", 1, 101)]
    assert {number: one.size for number, one in book.orders.items()} == {"1": 1}
    assert book.add(order("5", "a", "buy", 1, 101)) == [], "nobody trades with himself"
    assert list(book.orders) == ["1"]
