"""Clients of a service that is killed again and again, and what must be true of the journal at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import signal

from marginkeep.clearing import state_hash
from marginkeep.clearing.event_codec import decode_events
from marginkeep.clearing.events import Rejected
from marginkeep.client import AsyncClient, commands
from marginkeep.client.commands import batch_item
from marginkeep.client.errors import Refused
from marginkeep.client.exchange import Conduct
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import Head
from marginkeep.journal.opening import open_log
from marginkeep.journal.record import genesis_hash
from marginkeep.journal.recovery import open_genesis, restore
from marginkeep.journal.replaying import replay_journal
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.events import wire_event
from marginkeep_verify import verify_journal
from tests.journal.houses import MARKET
from tests.service.doomed_service import CREDENTIAL

GROUP = 10
LONGEST_PAUSE = 0.05
BOUND_SECONDS = 300
LATER = ("too_many_requests", "overloaded", "halted")
PEOPLE = [f"user-{number}" for number in range(6)]


def script(name, length):
    """Return the commands of one client, each with a key of its own; some are refused."""
    chance = random.Random(name)
    calls = []
    for number in range(length):
        key, account, other = f"{name}-{number}", *chance.sample(PEOPLE, 2)
        kind = chance.randrange(6)
        if number < 2 or kind == 0:
            call = commands.deposit(account, "USD", "1000000", key=key)
        elif kind == 1:
            call = commands.withdraw(account, "USD", str(chance.randrange(1, 3_000_000)), key=key)
        elif kind == 2:
            call = commands.set_prices({MARKET: str(50_000 + chance.randrange(-900, 900))}, key=key)
        elif kind == 3:
            call = commands.order(account, f"o-{key}", MARKET, "buy", "0.1", "50000", key=key)
        elif kind == 4:
            call = commands.transfer(account, other, "USD", "5", key=key)
        else:
            call = commands.trade(MARKET, account, other, "0.01", "50000", key=key)
        calls.append(call)
    return calls


class Clients:
    """Everybody who asks, and what each was told.

    Attributes
    ----------
    told : key -> the members of the answer, as they came
    """

    def __init__(self, port, https, sockets, length):
        self.address = f"http://127.0.0.1:{port}"
        self.told = {}
        self.scripts = {f"http-{n}": script(f"http-{n}", length) for n in range(https)}
        self.scripts |= {f"socket-{n}": script(f"socket-{n}", 2 * length) for n in range(sockets)}
        self._grown = asyncio.Condition()

    @property
    def expected(self):
        return sum(map(len, self.scripts.values()))

    async def run(self):
        async with asyncio.TaskGroup() as group:
            for name, calls in self.scripts.items():
                group.create_task(self._through_http(calls) if "http" in name else self._through_socket(calls))

    async def reached(self, count):
        """Wait until so many answers have come."""
        async with self._grown:
            await self._grown.wait_for(lambda: len(self.told) >= min(count, self.expected))

    def _client(self):
        conduct = Conduct(timeout=5, retries=10**6)
        return AsyncClient(self.address, CREDENTIAL, conduct=conduct, sleep=pause)

    async def _note(self, key, members):
        async with self._grown:
            known = self.told.setdefault(key, members)
            assert known["sequence"] == members["sequence"]
            self._grown.notify_all()

    async def _through_http(self, calls):
        async with self._client() as client:
            for call in calls:
                try:
                    told = await client.send(dataclasses.replace(call, read=json.loads))
                except Refused as refused:
                    told = refused.document
                await self._note(call.key, told)

    async def _through_socket(self, calls):
        async with (
            self._client() as client,
            client.socket(patience=BOUND_SECONDS) as socket,
            asyncio.TaskGroup() as group,
        ):
            room = asyncio.Semaphore(4)
            for start in range(0, len(calls), GROUP):
                await room.acquire()
                group.create_task(self._group(socket, calls[start : start + GROUP], room))

    async def _group(self, socket, calls, room):
        asked = {"op": "commands", "commands": [batch_item(call) for call in calls]}
        while True:
            results = (await socket._ask(asked))["results"]
            if not any(one["status"] in LATER for one in results):
                break
            await pause(LONGEST_PAUSE)
        for call, members in zip(calls, results, strict=True):
            await self._note(call.key, members)
        room.release()


async def pause(seconds):
    """Wait for a restart, for less long than people would."""
    await asyncio.sleep(min(seconds, LONGEST_PAUSE))


async def killed_at_random(nursery, place, clients, kills, seed):
    """Serve all clients with one service after the other, each killed after some answers; return how many were."""
    chance = random.Random(seed)
    share = clients.expected // (kills + 1)
    async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
        load = group.create_task(clients.run())
        for kill in range(kills):
            pid = await asyncio.to_thread(nursery.start, place, port_of(clients))
            assert pid is not None, nursery.logged()
            await clients.reached(kill * share + chance.randrange(share))
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)  # somewhere within what follows an answer
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.to_thread(nursery.wait) == -signal.SIGKILL, nursery.logged()
        await finished(nursery, place, clients, load)


async def finished(nursery, place, clients, load):
    """Serve until everybody has been answered, and end in order."""
    pid = await asyncio.to_thread(nursery.start, place, port_of(clients))
    assert pid is not None, nursery.logged()
    await load
    os.kill(pid, signal.SIGTERM)
    assert await asyncio.to_thread(nursery.wait) == 0, nursery.logged()


def port_of(clients):
    return int(clients.address.rpartition(":")[2])


# What must be true at the end ----------------------------------------------------------------------------------------


def require_sound(place, clients, vkey=None):
    """Check the journal against what was asked and what was told, and make every decision of it again."""
    log = open_log(place)
    try:
        genesis, head = log.genesis(), log.head()
        records = list(checked(log.read(), Head(0, 0, genesis_hash(genesis)), head))
        require_each_once(records, clients)
        require_as_told(records, clients, log)
        assert replay_journal(log).ok
        require_one_state(log, genesis, head)
    finally:
        log.close()
    report = verify_journal(place, vkey)
    assert report.ok, report.as_text()


def require_each_once(records, clients):
    """Every command of every script is there, once, and nothing else with a key of theirs."""
    scripted = {call.key for calls in clients.scripts.values() for call in calls}
    keys = [record.key for record in records if record.actor == "venue" and record.key in scripted]
    assert len(keys) == len(set(keys)), "a command was applied twice"
    assert set(keys) == scripted == set(clients.told)
    times = [record.recorded_ns for record in records]
    assert times == sorted(times)


def require_as_told(records, clients, log):
    """Every answer is that of the record, with the same sequence and the same events."""
    units = units_of(restore(log, log.head()).house.state.rulebook)
    by_key = {record.key: record for record in records if record.key}
    for key, told in clients.told.items():
        record = by_key[key]
        assert told["sequence"] == record.sequence
        assert told["recorded_ns"] == record.recorded_ns
        events = decode_events(record.events)
        if isinstance(events[0], Rejected):
            assert told["refusal"] == events[0].code
        else:
            assert told["events"] == json.loads(encoded([wire_event(event, units) for event in events]))


def encoded(document):
    import msgspec

    return msgspec.json.encode(document)


def require_one_state(log, genesis, head):
    """The newest snapshot and its tail lead to the same state as every command from the genesis on."""
    from marginkeep.clearing import decode_command

    house = open_genesis(genesis)
    for record in log.read():
        if record.kind == "command":
            house.apply(decode_command(record.body))
    assert state_hash(house) == state_hash(restore(log, head).house)
