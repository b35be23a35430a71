"""A writer whose journal thread moves only when told: every interleaving follows from a seed, and no time passes."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

from marginkeep.clearing import state_hash
from marginkeep.errors import FencedOut, JournalStalled
from marginkeep.journal.group_commit import GroupCommit
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.journal.record import Record
from marginkeep.service.feed import Feed
from marginkeep.service.wire.problems import Problem
from marginkeep.service.writer import Writer
from tests.journal.houses import deposit, new_store, opened

FAULTS = ("none", "refused", "unknown", "fenced", "find", "apply", "snapshot", "halted")
STEPS = 150
BOUND_SECONDS = 30


class Fault(Exception):
    """Something nobody has foreseen."""


class FaultyLog(MemoryLog):
    """Fails as `fault` says, once it is set."""

    fault = "none"

    def append(self, batch):
        if self.fault == "refused":
            raise JournalStalled("no space is left")
        super().append(batch)
        if self.fault == "unknown":
            raise JournalStalled("the connection was lost after the commit")

    def find(self, keys):
        if self.fault == "find":
            raise JournalStalled("the server is gone")
        return super().find(keys)

    def put_snapshot_part(self, sequence, number, part):
        if self.fault == "snapshot":
            raise OSError("no space is left")
        super().put_snapshot_part(sequence, number, part)


class SteppedCommit(GroupCommit):
    """Does what its threads would have done when `advance` is called."""

    def __init__(self, house):
        self.encodings = []
        self._asked_to_close, self._closed = threading.Event(), threading.Event()
        super().__init__(house)

    def _begin(self, name, work):
        if name == "snapshot":
            self.encodings.append(work)

    def advance(self):
        if self._waiting or self._jobs:
            self._take_turn()
        elif self._asked_to_close.is_set() and self._snapshot is None:
            self._closing = True
            self._closed.set()

    def encode(self):
        if self.encodings:
            self.encodings.pop(0)()

    def close(self):
        self._asked_to_close.set()
        assert self._closed.wait(BOUND_SECONDS)


class CrashingHouse:
    """A clearinghouse with a defect."""

    def __init__(self, house):
        self.state = house.state

    def apply(self, command):
        raise Fault("a defect of the engine")


class World:
    """One service's writer, clients that give up at any moment, a listener, and one fault at most."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.fault = FAULTS[seed % len(FAULTS)]
        self.store = new_store()
        self.log = FaultyLog(self.store)
        self.house = opened_on(self.log)
        self.feed = Feed(0)
        self.commits = SteppedCommit(self.house)
        self.writer = Writer(self.commits, self.feed, queue_max=60)
        self.seen, self.asked, self.tasks, self.snapshots = 0, [], [], []
        self.acknowledged, self.refused, self.cancelled = {}, Counter(), set()
        self.is_hit = False

    async def run(self):
        self.writer.start()
        hit_at, stop_at = self.chance.randrange(20, STEPS), self.chance.randrange(60, STEPS + 60)
        stopping = None
        for step in range(STEPS + 60):
            if step == hit_at and self.fault != "none":
                self.hit()
            if step == stop_at:
                stopping = asyncio.create_task(self.writer.stop())
            await self.step()
            self.look()
        await self.finish(stopping)

    async def step(self):
        choice = self.chance.randrange(100)
        if choice < 45:
            self.ask()
        elif choice < 55 and self.tasks:
            task = self.chance.choice(self.tasks)
            self.cancelled.add(task.get_name())
            task.cancel()
        elif choice < 80:
            self.commits.advance()
        elif choice < 84:
            self.begin_snapshot()
        elif choice < 90:
            self.commits.encode()
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    def ask(self):
        """Send a few requests, now and then keys that were sent before, perhaps to be in flight still."""
        again = self.asked and self.chance.random() < 0.2
        if again:
            requests = self.chance.choice(self.asked)
        else:
            number = len(self.asked)
            requests = [deposit("ann", 10**6 + number, f"k{number}-{n}") for n in range(self.chance.randrange(1, 6))]
        self.asked.append(requests)
        name = f"client-{len(self.asked)}"
        self.tasks.append(asyncio.get_running_loop().create_task(self.client(requests), name=name))

    async def client(self, requests):
        halted_before = self.house.trouble is not None
        try:
            outcomes = await self.writer.submit(requests)
        except Problem as problem:
            self.refused[problem.code] += 1
            return
        assert not halted_before, "a house in trouble has accepted a command"
        sequences = [outcome.sequence for outcome in outcomes]
        assert sequences == sorted(set(sequences))
        for request, outcome in zip(requests, outcomes, strict=True):
            record = self.store.records.get(outcome.sequence)
            assert isinstance(record, Record), "an answer was given before it was durable"
            assert (record.key, record.events) == (request.key, outcome.payload)
            assert self.feed.last >= outcome.sequence, "the feed learns before those who asked"
            assert self.acknowledged.setdefault(request.key, outcome.sequence) == outcome.sequence

    def begin_snapshot(self):
        try:
            self.snapshots.append(asyncio.wrap_future(self.commits.snapshot()))
        except JournalStalled:
            assert self.house.trouble is not None or self.commits._closing
            return
        except FencedOut:
            return
        if self.chance.random() < 0.5:
            self.snapshots[-1].cancel()

    def hit(self):
        """Let the fault happen from now on."""
        self.is_hit = True
        self.log.fault = self.fault
        if self.fault == "fenced":
            MemoryLog(self.store).acquire(take_over=True)
        elif self.fault == "apply":
            self.house.house = CrashingHouse(self.house.house)
        elif self.fault == "halted":
            self.writer.halt(JournalStalled("the self-check has found something"))

    def look(self):
        """Follow the feed: every sequence once, in order, durable."""
        for entry in self.feed.since(self.seen, 10**6):
            assert entry.sequence == self.seen + 1
            assert self.store.records[entry.sequence].recorded_ns == entry.recorded_ns
            self.seen = entry.sequence

    async def finish(self, stopping):
        stopping = stopping or asyncio.create_task(self.writer.stop())
        async with asyncio.timeout(BOUND_SECONDS):
            while not stopping.done():
                self.commits.encode()
                self.commits.advance()
                await asyncio.sleep(0)
            await stopping
        for _ in range(3):
            await asyncio.sleep(0)
        self.look()
        pending = [task.get_name() for task in self.tasks if not task.done()]
        assert not pending, "these wait for ever"
        for task in self.tasks:
            if not task.cancelled():
                task.result()
        unfinished = [one for one in self.snapshots if not one.done()]
        assert not unfinished, "a snapshot never ends"
        for one in self.snapshots:
            if not one.cancelled():
                one.exception()
        self.check_end()

    def check_end(self):
        keys = [record.key for record in self.store.records.values()]
        assert len(keys) == len(set(keys)), "a key was applied twice"
        if self.house.trouble is None:
            assert self.seen == self.store.head.sequence == len(keys)
        mine = state_hash(self.house.house)
        again = opened(self.store, take_over=True)
        if self.house.trouble is None:
            assert state_hash(again.house) == mine
        for key, sequence in self.acknowledged.items():
            (outcome,) = again.submit([request for request in self.flat() if request.key == key][:1])
            assert (outcome.repeated, outcome.sequence) == (True, sequence)

    def flat(self):
        return [request for requests in self.asked for request in requests]


def opened_on(log):
    """A house whose clock goes back now and then."""
    from marginkeep.journal.durable import DurableHouse

    readings = iter(range(10**9))
    return DurableHouse.open(log, clock=lambda: 1_000 + next(readings) % 7)
