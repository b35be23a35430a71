"""The stream, seen from a client: snapshots, deltas, resuming, commands, and what a key may not see."""

from __future__ import annotations

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from marginkeep.clearing.events import MarginCalled
from marginkeep.client.signing import sign_request
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.settings import ServerSettings, Settings, StreamSettings
from tests.service.conftest import VENUE, memory_log
from tests.service.stream_world import (
    ALL_CHANNELS,
    CALLED,
    MARKET,
    StreamClient,
    deposit,
    lever,
    open_market,
    price,
    reader,
    trade,
)

ORDER = {"type": "ReserveOrder", "account": "ann", "order": "o1", "market": MARKET, "side": "buy", "size": "0.1"}


@pytest.fixture
def venue(start_service):
    service = start_service(log=memory_log(CALLED))
    open_market(service, "ann", "bob")
    reader(service, "ann")
    return service


@pytest.fixture
def clients():
    """A callable that connects; whatever is connected is closed at the end."""
    opened = []

    def open_client(service, key, **options):
        opened.append(StreamClient(service, key, **options))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


def bounded(**stream):
    return Settings(server=ServerSettings(port=0, tick_seconds=0), stream=StreamSettings(**stream))


def test_every_channel_begins_with_a_snapshot_of_what_is(venue, clients):
    client = clients(venue, "ann")
    assert client.subscribe(*ALL_CHANNELS)["channels"] == ALL_CHANNELS
    client.settle(lambda c: len(c.snapshots) == len(ALL_CHANNELS))
    assert client.rows["marks"] == {MARKET: {"market": MARKET, "mark": "50000"}}
    assert client.rows["accounts"]["ann"]["equity"] == "1000000"
    assert list(client.rows["accounts"]) == ["ann"]


def test_a_margin_call_reaches_its_owner_and_nobody_else(venue, clients):
    lever(venue, "carl", "bob")
    ann, carl = clients(venue, "ann"), clients(venue, reader(venue, "carl"))
    for client in (ann, carl):
        client.subscribe("calls", "events")
    events = venue.apply(price(48_500))[0]
    assert any(isinstance(event, MarginCalled) for event in events)
    carl.settle(lambda c: any(one["event"]["type"] == "MarginCalled" for one in c.events.get("calls", ())))
    ann.ask(op="ping")
    ann.settle(lambda c: c.last["events"] == venue.context.feed.last)
    assert ann.ids("calls") == []
    assert "carl" not in "".join(ann.raw)


def test_each_side_of_a_trade_sees_its_own_side_alone(venue, clients):
    ann = clients(venue, "ann")
    ann.subscribe("events")
    venue.apply(trade("ann", "bob", 10))
    ann.settle(lambda c: c.events.get("events"))
    (told,) = ann.events["events"]
    assert told["event"]["buyer"]["size"] == "0.01"
    assert told["event"]["seller"] == {
        "account": "", "order": None, "fee": "0", "realised": "0", "funding": "0", "size": "0", "cost": "0",
    }  # fmt: skip
    assert "bob" not in "".join(ann.raw)


def test_a_refusal_is_told_to_the_key_that_asked_and_to_no_other(venue, clients):
    ann, other = clients(venue, "ann"), clients(venue, reader(venue, "ann-too", "ann"))
    for client in (ann, other):
        client.subscribe("events")
    answer = ann.ask(op="command", key="k", command={**ORDER, "size": "900", "price": "50000"})
    assert answer["result"]["refusal"] == "insufficient_margin"
    venue.apply(deposit("ann", 1))
    for client in (ann, other):
        client.settle(lambda c: any(one["event"]["type"] == "BalanceMoved" for one in c.events.get("events", ())))
    assert [one["event"]["type"] for one in ann.events["events"]] == ["Rejected", "BalanceMoved"]
    assert [one["event"]["type"] for one in other.events["events"]] == ["BalanceMoved"]


def test_who_resumes_misses_nothing_that_has_left_the_ring(start_service, clients):
    service = start_service(log=memory_log(CALLED))
    open_market(service, "ann", "bob")
    reader(service, "ann")
    client = clients(service, "ann")
    client.subscribe("events")
    service.apply(deposit("ann", 1))
    client.settle(lambda c: c.events.get("events"))
    client.close()
    service.on_loop(_forget_ring(service))
    expected = [service.apply(deposit("ann", number))[0] for number in range(2, 600)]
    service.on_loop(_forget_ring(service, keep=10))
    back = clients(service, "ann")
    back.last["events"] = client.last["events"]
    back.subscribe("events", after=client.last["events"])
    back.settle(lambda c: len(c.ids("events")) == len(expected))
    amounts = [one["event"]["amount"] for one in back.events["events"]]
    assert amounts == [str(number) for number in range(2, 600)]
    assert not back.resyncs


async def _forget_ring(service, keep=0):
    """Let the ring hold no more than a few entries, as if many had been published."""
    feed = service.context.feed
    while len(feed._entries) > keep:
        del feed._entries[feed.first]
        feed.first += 1
    service.context.parts["stream"]._bulletins.clear()


def test_who_falls_behind_is_told_to_resynchronise_and_then_sees_the_present(start_service, clients):
    service = start_service(bounded(behind_max=5), memory_log(CALLED))
    open_market(service, "ann", "bob")
    reader(service, "ann")
    client = clients(service, "ann")
    client.subscribe("events", "accounts")
    client.settle(lambda c: len(c.snapshots) == 2)
    service.apply(*(deposit("ann", 1) for _ in range(200)))
    client.settle(lambda c: c.resyncs)
    client.settle(lambda c: c.last["events"] == service.context.feed.last)
    client.settle(lambda c: c.rows["accounts"]["ann"]["equity"] == "1000200")
    service.apply(deposit("ann", 7))
    client.settle(lambda c: c.events.get("events") and c.events["events"][-1]["event"]["amount"] == "7")


def test_a_command_is_answered_when_it_is_durable_and_a_repeated_one_with_the_first_answer(venue, clients):
    client = clients(venue, "ann")
    order = {**ORDER, "price": "50000"}
    first = client.ask(op="command", key="k", command=order)["result"]
    again = client.ask(op="command", key="k", command=order)["result"]
    assert (first["status"], first["repeated"], again["repeated"]) == ("accepted", False, True)
    assert first["sequence"] == again["sequence"] <= venue.context.durable.durable.sequence
    other = client.ask(op="command", key="k", command={**order, "size": "0.2"})["result"]
    assert other["status"] == "key_reused"


def test_commands_in_a_list_are_answered_each_at_its_place(venue, clients):
    client = clients(venue, "ann")
    good, foreign = {**ORDER, "price": "50000"}, {**ORDER, "account": "bob", "price": "50000"}
    bad = {**ORDER, "market": "DOGE", "price": "50000"}
    items = [{"key": f"k{n}", "command": {**one, "order": f"o{n}"}} for n, one in enumerate((good, foreign, bad, good))]
    results = client.ask(op="commands", commands=items)["results"]
    assert [one["status"] for one in results] == ["accepted", "not_found", "rejected", "accepted"]


def test_a_check_says_what_would_be_answered_and_changes_nothing(venue, clients):
    client = clients(venue, "ann")
    before = venue.context.durable.head.sequence
    orders = [{**ORDER, "price": "50000", "size": size} for size in ("0.1", "900")]
    answer = client.ask(op="check", orders=orders)
    assert [one["status"] for one in answer["results"]] == ["accepted", "rejected"]
    assert client.ask(op="check", order=orders[1])["result"]["refusal"] == "insufficient_margin"
    assert venue.context.durable.head.sequence == before


def test_a_foreign_account_and_an_absent_one_are_refused_alike(venue, clients):
    client = clients(venue, "ann")
    texts = []
    for name in ("bob", "nobody"):
        answer = client.ask(op="subscribe", channels=["events"], accounts=[name])
        texts.append(json.dumps({**answer, "id": ""}).replace(name, "NAME"))
    assert texts[0] == texts[1]
    assert '"code": "not_found"' in texts[0]


@pytest.mark.parametrize(
    "message",
    ["{", "[]", '{"op":"dance"}', '{"op":"ping","more":1}', '{"op":"subscribe","channels":["gossip"]}', "\x00"],
    ids=["truncated", "array", "unknown", "field", "channel", "zero"],
)
def test_what_cannot_be_read_is_answered_and_the_socket_lives_on(venue, clients, message):
    client = clients(venue, "ann")
    client.socket.send(message)
    assert client.take()["code"] == "bad_request"
    assert client.ask(op="ping")["type"] == "pong"


def test_a_sequence_of_the_future_is_refused(venue, clients):
    client = clients(venue, "ann")
    assert client.ask(op="subscribe", channels=["events"], after=10**6)["code"] == "bad_request"


def test_who_may_not_trade_may_not_send_commands(venue, clients):
    client = clients(venue, reader(venue, "watcher", "ann", scopes=(Scope.READ,)))
    answer = client.ask(op="command", key="k", command={**ORDER, "price": "50000"})
    assert answer["result"]["status"] == "forbidden"
    assert client.ask(op="check", order={**ORDER, "price": "50000"})["code"] == "forbidden"


def test_the_first_message_may_sign_in(venue):
    headers = sign_request(venue._keys["ann"], "GET", "/v1/stream", clock=time.time_ns)
    with connect(venue.url.replace("http", "ws") + "/v1/stream") as socket:
        socket.send(json.dumps({"login": headers}))
        socket.send('{"op":"ping","id":"x"}')
        assert json.loads(socket.recv(20))["type"] == "pong"


def test_nobody_listens_without_a_key(venue):
    with connect(venue.url.replace("http", "ws") + "/v1/stream") as socket:
        socket.send('{"op":"ping","id":"x"}')
        with pytest.raises(ConnectionClosed):
            socket.recv(20)
        assert socket.close_code == 4401


def test_sockets_and_subscriptions_are_bounded(start_service, clients):
    service = start_service(bounded(connections_max=1, subscriptions_max=2), memory_log(CALLED))
    reader(service, "ann")
    client = clients(service, "ann")
    assert client.ask(op="subscribe", channels=["events", "calls", "marks"])["code"] == "too_large"
    assert client.subscribe("events", "calls")["type"] == "subscribed"
    second = clients(service, "ann")
    with pytest.raises(ConnectionClosed):
        second.take()
    assert second.socket.close_code == 4503


def flood(client):
    for _ in range(1_000):
        client.send(op="ping", id="")
        client.take()


def test_a_flood_of_messages_is_shown_out(start_service, clients):
    service = start_service(bounded(messages_per_second=5), memory_log(CALLED))
    client = clients(service, reader(service, "ann"))
    with pytest.raises(ConnectionClosed):
        flood(client)
    assert client.socket.close_code == 4429


def test_a_key_for_every_account_names_those_whose_rows_it_wants(venue, clients):
    client = clients(venue, VENUE)
    assert client.ask(op="subscribe", channels=["accounts"])["code"] == "bad_request"
    client.subscribe("accounts", accounts=["bob"])
    client.settle(lambda c: "bob" in c.rows.get("accounts", ()))
    assert list(client.rows["accounts"]) == ["bob"]


def test_an_account_that_is_opened_later_appears_among_the_rows(venue, clients):
    client = clients(venue, "ann")
    client.subscribe("accounts")
    venue.apply(deposit("ann.bot", 5))
    client.settle(lambda c: "ann.bot" in c.rows.get("accounts", ()))
    assert client.rows["accounts"]["ann.bot"]["equity"] == "5"


def test_nothing_comes_after_unsubscribing(venue, clients):
    client = clients(venue, "ann")
    client.subscribe("events", identity="one")
    client.settle(lambda c: c.snapshots)
    client.send(op="unsubscribe", id="one")
    client.until(lambda message: message["type"] == "unsubscribed")
    venue.apply(deposit("ann", 1))
    assert client.ask(op="ping")["sequence"] == venue.context.feed.last
    assert client.ids("events") == []
