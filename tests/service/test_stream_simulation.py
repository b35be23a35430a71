"""Clients come, go, resume and fall behind at random: they have seen what the journal says, no more and no less."""

from __future__ import annotations

import json
import random
import socket
import threading

import pytest
from websockets.exceptions import ConnectionClosed

from marginkeep.clearing import ReserveOrder
from marginkeep.service.operations.settings import ServerSettings, Settings, StreamSettings
from tests.service.conftest import VENUE, memory_log
from tests.service.stream_world import CALLED, MARKET, StreamClient, deposit, open_market, price, reader, trade

PEOPLE = [f"user-{number}" for number in range(5)]
PUBLIC = {"PricesSet", "TimeAdvanced", "RulebookAdopted", "FundingPaid"}


class Person:
    """An owner with one socket at a time; what it has learnt outlives the socket."""

    def __init__(self, service, name):
        self.service, self.name = service, name
        self.client = None
        self.since = None
        self.seen, self.told_from, self.raw = [], 0, []
        self.resyncs = 0

    def connect(self, resume):
        after = self.since if resume else None
        self.client = StreamClient(self.service, self.name)
        if after is not None:
            self.client.last["events"] = after
            self.client.subscribe("events", identity="e", after=after)
        else:
            self.client.subscribe("events", identity="e")
            self.client.settle(lambda c: c.snapshots)
            self.told_from = self.client.last["events"]
            self.seen = []
        self.client.subscribe("accounts", "marks", identity="r")

    def read_some(self, chance):
        for _ in range(chance.randrange(6)):
            try:
                self.client.take(0.001)
            except TimeoutError:
                return

    def leave(self):
        client = self.client
        self.since = client.last["events"]
        self.keep()
        client.close()
        self.client = None

    def keep(self):
        """Take over what the socket has seen; after a resync what came before cannot be compared."""
        client = self.client
        if client.resyncs:
            self.resyncs += len(client.resyncs)
            self.told_from = max(one["sequence"] for one in client.snapshots if one["channel"] == "events")
            self.seen = []
        self.seen += [name for name in client.ids("events") if int(name.split("-")[0]) > self.told_from]
        self.raw += client.raw


def expected_ids(service, person):
    """What the journal says that an owner should have been told: told apart by reading, not by the code under test."""
    found = []
    for record in service.context.log.read(person.told_from):
        for number, event in enumerate(json.loads(record.events or b"[]")):
            text = json.dumps(event)
            own = (f'"{person.name}"' in text or f'"{person.name}.' in text) and event["type"] != "Rejected"
            if own or event["type"] in PUBLIC:
                found.append(f"{record.sequence}-{number}")
    return found


def act(service, chance, number):
    """Something happens at the venue."""
    one, other = chance.sample(PEOPLE, 2)
    kind = chance.randrange(5)
    if kind == 0:
        service.apply(*(deposit(one, 1 + n) for n in range(chance.choice((1, 2, 60)))))
    elif kind == 1:
        service.apply(trade(one, other, chance.randrange(1, 50)))
    elif kind == 2:
        service.apply(price(50_000 + chance.randrange(-500, 500)))
    elif kind == 3:
        order = ReserveOrder(account=one, order=f"o{number}", market=MARKET, side="buy", size=5, price=500_000)
        service.apply(order)
    else:
        service.apply(deposit(f"{one}.bot", 1), trade(f"{one}.bot", other, 10**6))


@pytest.mark.without_shadows("what the house answers is not in question here, and the service runs in another thread")
@pytest.mark.parametrize(("seed", "behind_max"), [(1, 10_000), (2, 10_000), (3, 20)])
def test_clients_that_come_and_go_see_all_that_concerns_them_and_nothing_else(start_service, seed, behind_max):
    chance = random.Random(seed)
    stream = StreamSettings(behind_max=behind_max, row_interval_ms=5)
    service = start_service(Settings(server=ServerSettings(port=0, tick_seconds=0), stream=stream), memory_log(CALLED))
    open_market(service, *PEOPLE)
    people = [Person(service, reader(service, name)) for name in PEOPLE[:3]]
    for number in range(250):
        act(service, chance, number)
        person = chance.choice(people)
        if person.client is None:
            person.connect(resume=person.since is not None and chance.random() < 0.8)
        elif chance.random() < 0.15:
            person.leave()
        else:
            person.read_some(chance)
    for person in people:
        settle(service, person)
    assert (sum(person.resyncs for person in people) > 0) == (behind_max == 20)


def settle(service, person):
    """Let a person read to the end, and hold what it knows against the journal and the house."""
    if person.client is None:
        person.connect(resume=True)
    service.apply(price(49_999))
    last = service.context.feed.last
    client = person.client
    client.settle(lambda c: c.last["events"] == last and len(c.rows.get("accounts", ())) > 0)
    fresh = StreamClient(service, person.name)
    fresh.subscribe("accounts", "marks")
    fresh.settle(lambda c: len(c.snapshots) == 2)
    client.settle(lambda c: all(c.rows[channel] == fresh.rows[channel] for channel in ("accounts", "marks")))
    fresh.close()
    person.leave()
    assert person.seen == expected_ids(service, person)
    foreign = [name for name in PEOPLE if name != person.name]
    assert not any(name in text for text in person.raw for name in foreign)


@pytest.mark.without_shadows("ten thousand events to fill a socket with")
def test_a_client_that_takes_nothing_is_closed_and_costs_a_bounded_amount(start_service):
    stream = StreamSettings(behind_max=50, stalled_seconds=0.4)
    service = start_service(Settings(server=ServerSettings(port=0, tick_seconds=0), stream=stream), memory_log(CALLED))
    open_market(service, "ann", "bob")
    service.apply(*(deposit("ann", 1) for _ in range(3_000)))
    host, port = service.url.removeprefix("http://").split(":")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.connect((host, int(port)))
    client = StreamClient(service, VENUE, sock=plain, max_queue=1)
    for number in range(60):
        client.send(op="subscribe", id=number, channels=["events"], after=0)
    hub = service.context.parts["stream"]
    service.on_loop(_until_stalled(hub))
    (held,) = hub.listeners
    service.apply(*(deposit("ann", 1) for _ in range(200)))
    assert len(held._pending) <= 50
    assert held._reply_bytes < 2**20
    service.on_loop(_until_gone(hub))
    with pytest.raises((ConnectionClosed, OSError)):
        drain(client)


def drain(client):
    while True:
        client.socket.recv(20)


async def _until_stalled(hub):
    import asyncio

    async with asyncio.timeout(20):
        while not any(one._sending_since for one in hub.listeners):
            await asyncio.sleep(0)


async def _until_gone(hub):
    import asyncio

    async with asyncio.timeout(20):
        while len(hub.listeners) or hub.connections:
            await asyncio.sleep(0.01)


@pytest.mark.without_shadows("many deposits, and the service runs in another thread")
def test_who_subscribes_while_much_happens_sees_nothing_twice_and_misses_nothing(start_service):
    service = start_service(log=memory_log(CALLED))
    reader(service, "ann")
    service.apply(deposit("ann", 1))
    opened = service.context.feed.last
    busy = threading.Thread(target=lambda: [service.apply(deposit("ann", 1)) for _ in range(1_500)], daemon=True)
    busy.start()
    seen, after = [], opened
    while busy.is_alive():
        client = StreamClient(service, "ann")
        client.last["events"] = max(opened, after - 20)
        client.subscribe("events", after=client.last["events"])
        client.settle(lambda c: len(c.ids("events")) > 40 or c.last["events"] == service.context.feed.last)
        sequences = [int(name.split("-")[0]) for name in client.ids("events")]
        first = client.last["events"] - len(sequences) + 1
        assert sequences == list(range(first, first + len(sequences)))
        seen += sequences
        after = client.last["events"]
        client.close()
    assert set(range(opened + 1, after + 1)) == set(seen)
    assert len(set(seen)) > 100
