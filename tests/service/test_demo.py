"""`marginkeep serve --demo`: something to see within seconds, on any machine, and nothing that gets in the way."""

from __future__ import annotations

import json
import signal
import stat
import time
import tomllib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from marginkeep.clearing import Clearinghouse, Liquidated, Rejected, ReserveOrder, check_conservation, encode_command
from marginkeep.client.signing import Credentials, login_message, sign_request
from marginkeep.errors import InputError
from marginkeep.journal.opening import open_log
from marginkeep.rulebook import read_rulebook
from marginkeep.service.access.scopes import Scope
from marginkeep.service.demo.market import COMMANDS_A_STEP, DemoMarket
from marginkeep.service.demo.opening import CREDENTIALS, NAME, VENUE_CREDENTIALS, demo_log
from marginkeep.service.demo.people import YOU
from marginkeep.service.demo.prices import STEPS_A_SECOND
from marginkeep.service.demo.rules import DEMO_RULES
from tests.service.serving import BOUND_S, Serving

START_NS = 10**18
STEP_NS = 10**9 // STEPS_A_SECOND
ACCOUNTS = 120


class Played:
    """A demonstration's market in a house of its own, without a service."""

    def __init__(self, seed: int, accounts: int = ACCOUNTS):
        self.house = Clearinghouse(read_rulebook(tomllib.loads(DEMO_RULES)))
        self.market = DemoMarket(accounts, seed)
        self.step, self.kinds, self.of_you, self.lines = 0, Counter(), [], []
        for batch in self.market.open(self.house.state, START_NS):
            self.apply(batch)

    def apply(self, commands):
        assert len(commands) <= COMMANDS_A_STEP + 1
        for one in commands:
            self.lines.append(encode_command(one))
            events = self.house.apply(one)
            if any(isinstance(event, Liquidated) and event.account == YOU for event in events):
                self.market.note_reduction()
            for event in events:
                self.kinds[type(event).__name__] += 1
                if getattr(event, "account", None) == YOU:
                    self.of_you.append((self.step / STEPS_A_SECOND, type(event).__name__))

    def play(self, seconds: int):
        for _ in range(seconds * STEPS_A_SECOND):
            self.step += 1
            self.apply(self.market.step(self.house.state, START_NS + self.step * STEP_NS))
        return self


@pytest.mark.without_shadows("thousands of commands")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_you_are_called_within_twenty_seconds_and_not_liquidated_at_once(seed):
    played = Played(seed).play(20)
    called = [at for at, kind in played.of_you if kind == "MarginCalled"]
    assert called
    assert 5 <= called[0] <= 20
    assert not [at for at, kind in played.of_you if kind == "Liquidated"]


@pytest.mark.without_shadows("thousands of commands")
def test_within_two_minutes_there_is_everything_to_see_and_nothing_is_lost():
    played = Played(1, 400).play(120)
    for kind in ("Traded", "MarginCalled", "CallCured", "Liquidated", "AuctionOpened", "AuctionBid", "LossCovered"):
        assert played.kinds[kind] > 0, kind
    assert played.kinds["Rejected"] < played.kinds["Traded"]
    assert not played.house.state.halted
    check_conservation(played.house)


@pytest.mark.without_shadows("thousands of commands")
def test_a_seed_gives_one_market():
    first, again, other = Played(7).play(15), Played(7).play(15), Played(8).play(15)
    assert first.lines == again.lines
    assert first.lines != other.lines


@pytest.mark.without_shadows("thousands of commands")
def test_whenever_you_begin_to_watch_a_call_comes_within_a_minute_and_a_half():
    played = Played(1, 0).play(600)
    called = [at for at, kind in played.of_you if kind == "MarginCalled"]
    assert max(later - earlier for earlier, later in pairwise([0, *called, 600])) <= 90


def test_the_market_fills_your_orders_when_the_mark_reaches_them():
    played = Played(1, 0)
    mark = played.house.state.valuation.marks[0]
    order = ReserveOrder(account=YOU, order="mine", market="BTC-PERP", side="sell", size=10, price=mark - 1_000)
    far = ReserveOrder(account=YOU, order="far", market="BTC-PERP", side="sell", size=10, price=2 * mark)
    assert not any(isinstance(event, Rejected) for one in (order, far) for event in played.house.apply(one))
    played.play(1)
    index = played.house.state.index[YOU]
    assert list(played.house.state.orders[index]) == ["far"]
    assert played.house.state.book.read(index).positions[0].size == 990


def test_a_journal_of_something_else_is_left_alone(tmp_path):
    place = str(tmp_path / "keep.db")
    demo_log(place, lambda: 1).close()
    assert open_log(place, read_only=True).genesis().name == NAME
    demo_log(place, lambda: 2).close()
    from marginkeep.journal.record import Genesis

    other = open_log(str(tmp_path / "other.db"))
    other.create(Genesis(name="venue", rules=DEMO_RULES, created_ns=1))
    other.close()
    with pytest.raises(InputError, match="'venue', not of a demonstration"):
        demo_log(str(tmp_path / "other.db"), lambda: 1)


# The process ---------------------------------------------------------------------------------------------------------


def signed(credentials: Credentials, method: str, path: str, document=None) -> httpx.Response:
    body = b"" if document is None else json.dumps(document).encode()
    headers = sign_request(credentials.credential(), method, path, body, clock=time.time_ns)
    return httpx.request(method, credentials.url + path, content=body, headers=headers, timeout=BOUND_S)


def margin_call(credentials: Credentials, path: str = "/v1/stream") -> dict:
    """Listen until the account is called."""
    until = time.monotonic() + BOUND_S
    with connect(credentials.url.replace("http", "ws", 1) + path, open_timeout=BOUND_S) as socket:
        socket.send(login_message(credentials.credential(), path, clock=time.time_ns))
        socket.send(json.dumps({"op": "subscribe", "id": 1, "channels": ["calls"]}))
        while time.monotonic() < until:
            message = json.loads(socket.recv(timeout=BOUND_S))
            for event in message.get("events", ()):
                if event["event"]["type"] == "MarginCalled":
                    return event["event"]
    raise TimeoutError("nobody was called")


def test_a_signed_request_and_a_margin_call_from_nothing(tmp_path):
    with Serving("--demo", "--demo-speed", 10, "--demo-accounts", 60, folder=tmp_path) as serving:
        told = serving.told
        yours = Credentials.load(tmp_path / CREDENTIALS)
        assert yours.url == told["url"]
        assert told["next"][0].startswith(f"marginkeep client --credentials {CREDENTIALS} check ")
        order = {"account": YOU, "order": "1", "market": "BTC-PERP", "side": "sell", "size": "0.1", "price": "100000"}
        assert signed(yours, "POST", "/v1/orders/check", order).json()["status"] == "accepted"
        assert signed(yours, "POST", "/v1/orders/check", {**order, "account": "maker"}).status_code == 404
        called = margin_call(yours)
        assert called["account"] == YOU
        assert called["deposits"]
        metrics = httpx.get(told["url"] + "/v1/metrics", timeout=BOUND_S).text
        assert 'marginkeep_market_state{market="BTC-PERP",state="open"} 1.0' in metrics
        serving.signal(signal.SIGTERM)
        assert serving.ended() == 0, serving.logged()
    assert not Path(told["journal"]).exists()


def test_a_stated_journal_is_kept_and_goes_on_and_keys_are_new_and_private(tmp_path):
    arguments = ("--demo", "--demo-accounts", 5, "--journal", "demo.db")
    accounts = 0
    for _ in range(2):
        with Serving(*arguments, folder=tmp_path) as serving:
            venue = Credentials.load(tmp_path / VENUE_CREDENTIALS)
            status = signed(venue, "GET", "/v1/status").json()
            assert accounts in (0, status["accounts"])
            accounts = status["accounts"]
            serving.signal(signal.SIGTERM)
            assert serving.ended() == 0, serving.logged()
    for name in (CREDENTIALS, VENUE_CREDENTIALS):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    log = open_log(str(tmp_path / "demo.db"), read_only=True)
    try:
        keys = [json.loads(body) for body in log.documents("key").values()]
    finally:
        log.close()
    assert len(keys) == 4
    yours = [key for key in keys if key["accounts"] == [YOU]]
    assert all(set(key["scopes"]) == {Scope.READ, Scope.TRADE} for key in yours)
    assert all(key["addresses"] and key["expires_ns"] for key in keys)
