"""Floods: of requests, of commands, of messages, of forgeries. Who floods is told so; everybody else is served."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from marginkeep.client.signing import sign_request
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.service.access.access import FAILURES_BURST
from marginkeep.service.access.rate_limits import RateLimits
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.settings import AccessSettings, ServerSettings, Settings, StreamSettings
from marginkeep.service.writer import RESERVE
from tests.journal.houses import GENESIS
from tests.service.access_world import api_key, private_key, running
from tests.service.conftest import VENUE
from tests.service.stream_world import StreamClient, open_market

pytestmark = pytest.mark.without_shadows("floods of commands")

BOUND_S = 30
ORDER = {"account": "ann", "market": "BTC-PERP", "order": "o", "side": "buy", "size": "0.001", "price": "50000"}
TRADER = (Scope.READ, Scope.TRADE, Scope.TRANSFER)


class GatedLog(MemoryLog):
    """A journal that writes only while its gate is open: a slow disk, as slow as a test wants it."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def append(self, batch):
        assert self.gate.wait(BOUND_S), "the test has forgotten to open the gate"
        super().append(batch)


def gated():
    log = GatedLog()
    log.create(GENESIS)
    return log


def limited(**stated):
    access = AccessSettings(**{"requests_per_second": 1, "burst": 20, **stated})
    return Settings(server=ServerSettings(port=0, tick_seconds=0), access=access)


# Limits --------------------------------------------------------------------------------------------------------------


def test_a_key_that_floods_is_told_to_wait_and_its_own_protection_and_other_keys_are_served(start_service):
    service = start_service(limited())
    open_market(service, "ann", "bob")
    service.key("ann", TRADER, ["ann"])
    service.key("bob", TRADER, ["bob"])
    flood = [service.call("POST", "/v1/orders", {**ORDER, "order": f"o{n}"}, key="ann") for n in range(40)]
    assert [answer.status_code for answer in flood[:20]] == [200] * 20
    for answer in flood[25:]:
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["bucket"] == "risk"
    # The same key still releases, and others still do what they like.
    assert service.call("DELETE", "/v1/accounts/ann/orders/o1", key="ann").status_code == 200
    assert service.call("POST", "/v1/orders", {**ORDER, "account": "bob"}, key="bob").status_code == 200
    top_up = {"account": "ann", "asset": "USD", "amount": "1"}
    assert service.call("POST", "/v1/deposits", top_up).status_code == 200


def test_a_batch_and_a_socket_spend_from_the_same_buckets_as_requests(start_service):
    service = start_service(limited())
    open_market(service, "ann")
    service.key("ann", TRADER, ["ann"])
    items = [{"key": f"b{n}", "command": {"type": "ReserveOrder", **ORDER, "order": f"b{n}"}} for n in range(20)]
    assert service.call("POST", "/v1/batch", {"commands": items}, key="ann").status_code == 200
    assert service.call("POST", "/v1/orders", ORDER, key="ann").status_code == 429
    client = StreamClient(service, "ann")
    answer = client.ask(op="command", key="s1", command={"type": "ReserveOrder", **ORDER})
    assert answer["result"]["status"] == "too_many_requests"
    release = {"type": "ReleaseOrder", "account": "ann", "order": "b1"}
    assert client.ask(op="command", key="s2", command=release)["result"]["status"] == "accepted"
    client.close()


def test_everybody_behind_one_address_shares_what_is_public_and_signed_requests_do_not(start_service):
    service = start_service()
    access = service.context.parts["access"]
    access._public = RateLimits(1, 10)
    answers = [service.http.get("/v1/time") for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert service.call("GET", "/v1/status").status_code == 200


# The writer ----------------------------------------------------------------------------------------------------------


def test_new_risk_is_turned_away_where_the_queue_is_full_and_protection_still_finds_room(start_service):
    """With the disk at a stand-still; afterwards everything that was not turned away is done, once."""
    log = gated()
    service = start_service(Settings(server=ServerSettings(port=0, tick_seconds=0, queue_max=16)), log=log)
    open_market(service, "ann")
    service.key("ann", TRADER, ["ann"])
    log.gate.clear()
    with ThreadPoolExecutor(64) as pool:
        orders = [pool.submit(placed, service, number) for number in range(48)]
        until_true(lambda: sum(one.done() for one in orders) > 0)
        refused = next(one for one in orders if one.done()).result()
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        # While the queue is full for risk, a deposit is taken: it waits for the disk like the rest, but is not refused.
        until_true(lambda: service.context.writer.waiting_requests >= 15)
        top_up = {"account": "ann", "asset": "USD", "amount": "1"}
        deposit = pool.submit(service.call, "POST", "/v1/deposits", top_up)
        until_true(lambda: service.context.writer.waiting_requests > 16)
        assert not deposit.done()
        log.gate.set()
        answers = [one.result(BOUND_S) for one in orders]
        assert deposit.result(BOUND_S).status_code == 200
    accepted = {n for n, answer in enumerate(answers) if answer.status_code == 200}
    assert {answer.status_code for answer in answers} == {200, 503}
    recorded = {json.loads(record.body).get("order") for record in log.read()} - {None}
    assert recorded == {f"o{n}" for n in accepted}


def placed(service, number):
    """Place an order over a connection of its own."""
    request = signed(service, "ann", "POST", "/v1/orders", {**ORDER, "order": f"o{number}"}, f"k{number}")
    with httpx.Client(timeout=BOUND_S) as client:
        return client.send(request)


def signed(service, key, method, path, document, idempotency, **options):
    body = json.dumps(document).encode()
    headers = sign_request(
        service._keys[key], method, path, body, clock=time.time_ns, idempotency_key=idempotency, **options
    )
    return httpx.Request(method, service.url + path, content=body, headers=headers)


def until_true(holds):
    until = time.monotonic() + BOUND_S
    while not holds():
        assert time.monotonic() < until, "it never came to hold"


def test_the_reserve_is_bounded_as_well(start_service):
    service = start_service(Settings(server=ServerSettings(port=0, tick_seconds=0, queue_max=16)), log=gated())
    writer = service.context.writer
    writer.require_room(16)
    writer.require_room(16 + RESERVE, protective=True)
    for count, protective in ((17, False), (17 + RESERVE, True)):
        with pytest.raises(Exception, match="retry"):
            writer.require_room(count, protective=protective)


def test_a_request_whose_window_passes_in_the_queue_is_refused_and_not_applied(start_service):
    log = gated()
    service = start_service(log=log)
    open_market(service, "ann")
    ahead = Ahead()
    service.context.writer._clock = ahead
    log.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        top_up = {"account": "ann", "asset": "USD", "amount": "1"}
        # Two batches fill the journal's pipe; what follows waits in the queue.
        first = [pool.submit(service.call, "POST", "/v1/deposits", top_up, idempotency=f"f{n}") for n in range(1)]
        until_true(lambda: service.context.writer._in_flight == 1)
        first.append(pool.submit(service.call, "POST", "/v1/deposits", top_up, idempotency="f1"))
        until_true(lambda: service.context.writer._in_flight == 2)
        waits = pool.submit(service.call, "POST", "/v1/deposits", top_up, idempotency="late")
        again = pool.submit(service.call, "POST", "/v1/deposits", top_up, idempotency="f0")
        until_true(lambda: service.context.writer.waiting_requests == 2)
        ahead.seconds = 6
        log.gate.set()
        late, repeated = waits.result(BOUND_S), again.result(BOUND_S)
        assert [one.result(BOUND_S).status_code for one in first] == [200, 200]
    assert (late.status_code, late.json()["code"]) == (401, "expired")
    assert (repeated.status_code, repeated.json()["repeated"]) == (200, True)
    assert "late" not in {record.key for record in log.read()}
    ahead.seconds = 0
    assert service.call("POST", "/v1/deposits", top_up, idempotency="late").json()["repeated"] is False


class Ahead:
    def __init__(self):
        self.seconds = 0

    def __call__(self):
        return time.time_ns() + self.seconds * 10**9


# Forgeries -----------------------------------------------------------------------------------------------------------


def test_a_flood_of_forgeries_fills_neither_the_memory_nor_the_journal():
    with running(api_key("ann")) as world:
        access, before = world.context.parts["access"], world.context.durable.head.sequence
        for number in range(4 * FAILURES_BURST):
            forged = sign_request(private_key("eve"), "GET", "/v1/keys/self", clock=world.clock)
            forged["Marginkeep-Key"] = "ann" if number % 2 else f"nobody-{number}"
            forged["X-Forwarded-For"] = f"10.0.{number % 250}.1"
            assert world.client.get("/v1/keys/self", headers=forged).status_code in (401, 429)
        assert len(access._desk._nonces) == 0
        assert len(access._failures) == 1
        assert len(access.limits) == 0
        assert world.context.durable.head.sequence <= before + 2
        assert world.send(private_key("ann"), "GET", "/v1/keys/self").status_code == 200


def test_one_key_cannot_take_the_nonces_of_the_others():
    with running(api_key("ann"), api_key("bob")) as world:
        nonces = world.context.parts["access"]._desk._nonces
        nonces._per_key_max = 30
        answers = [world.send(private_key("ann"), "GET", "/v1/keys/self") for _ in range(40)]
        assert {answer.status_code for answer in answers[:30]} == {200}
        assert {answer.status_code for answer in answers[30:]} == {429}
        assert answers[-1].headers["retry-after"] == "1"
        assert world.send(private_key("bob"), "GET", "/v1/keys/self").status_code == 200
        world.clock.advance(62)
        assert world.send(private_key("ann"), "GET", "/v1/keys/self").status_code == 200


# Sockets -------------------------------------------------------------------------------------------------------------


def test_a_socket_that_floods_is_closed_with_the_stated_code(start_service):
    server, stream = ServerSettings(port=0, tick_seconds=0), StreamSettings(messages_per_second=50)
    service = start_service(Settings(server=server, stream=stream))
    flooder, other = StreamClient(service, VENUE), StreamClient(service, VENUE)
    try:
        for number in range(1_000):
            flooder.send(op="ping", id=number)
    except ConnectionClosed:
        pass
    with pytest.raises(ConnectionClosed):
        flooder.settle(lambda _: False)
    assert flooder.socket.close_code == 4429
    assert other.ask(op="ping")["type"] == "pong"
    other.close()


def test_sockets_beyond_the_bound_are_told_and_room_comes_back(start_service):
    server, stream = ServerSettings(port=0, tick_seconds=0), StreamSettings(connections_max=3)
    service = start_service(Settings(server=server, stream=stream))
    held = [StreamClient(service, VENUE) for _ in range(3)]
    for one in held:
        one.ask(op="ping")
    beyond = StreamClient(service, VENUE)
    with pytest.raises(ConnectionClosed):
        beyond.take()
    assert beyond.socket.close_code == 4503
    held.pop().close()
    until_true(lambda: service.context.parts["stream"].connections == 2)
    again = StreamClient(service, VENUE)
    assert again.ask(op="ping")["type"] == "pong"
    for one in (*held, again):
        one.close()


def test_a_flood_of_subscriptions_is_bounded(start_service):
    server, stream = ServerSettings(port=0, tick_seconds=0), StreamSettings(subscriptions_max=4)
    service = start_service(Settings(server=server, stream=stream))
    client = StreamClient(service, VENUE)
    codes = [client.subscribe("marks", identity=str(number)).get("code") for number in range(10)]
    assert codes == [None] * 4 + ["too_large"] * 6
    client.close()
