"""All notifications of a service: endpoints and their tasks, cursors, dead letters, watched levels.

Nothing here waits in the writer's way: the room reads the feed like any other listener.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from marginkeep.errors import FencedOut, InputError, JournalError
from marginkeep.service.access.scopes import EVERY_ACCOUNT
from marginkeep.service.notifications.delivery import Delivery
from marginkeep.service.notifications.endpoints import (
    CURSOR,
    DEAD_LETTER,
    ENDPOINT,
    DeadLetter,
    Endpoint,
    Preferences,
    check_endpoint,
    wants,
)
from marginkeep.service.notifications.levels import Levels
from marginkeep.service.notifications.notices import Notice, notice_of_trouble, notices_of
from marginkeep.service.notifications.sending import Sender, Undelivered
from marginkeep.service.operations.halting import words_for_callers
from marginkeep.service.stream.hub import PAGE_RECORDS, read_entries
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.service.context import ServiceContext
    from marginkeep.service.feed import Entry

SENDING_MAX: Final = 32
"""Attempts under way at the same time, all endpoints together."""

SAVE_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.5
DEAD_LETTERS_MAX: Final = 1_000
"""Kept for each endpoint; the oldest are forgotten first."""

PAGES_KEPT: Final = 64
SECRET_BYTES: Final = 32
_log = structlog.get_logger("marginkeep.notifications")


class _Cursor(msgspec.Struct, frozen=True):
    """What is saved of an endpoint's progress."""

    sequence: int
    told: tuple[int, ...] = ()


class Notifications:
    """The room.

    Parameters
    ----------
    sender : makes the attempts; None = the usual one
    random : a number from 0 to 1, for the waits between attempts
    secret : gives as many random bytes as asked for
    """

    def __init__(
        self,
        context: ServiceContext,
        sender: Sender | None = None,
        random: Callable[[], float] = random.random,
        secret: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.context, self.settings, self.clock = context, context.settings.notifications, context.clock
        self.seal = context.parts.get("seal")
        self.sender = sender if sender is not None else Sender(self.settings, context.clock, self.seal)
        self.random, self._secret = random, secret
        self.sending = asyncio.Semaphore(SENDING_MAX)
        self.last = context.feed.last
        self.levels = Levels()
        self.deliveries: dict[str, Delivery] = {}
        self.dead: OrderedDict[str, DeadLetter] = OrderedDict()
        self._by_owner: dict[str, list[Delivery]] = {}
        self._saved: dict[str, bytes] = {}
        self._told: dict[str, tuple[int, ...]] = {}
        self._pages: OrderedDict[int, list[tuple[int, list[Notice]]]] = OrderedDict()
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # Life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read what is stored and begin to deliver what has not been delivered."""
        endpoints, cursors, letters = await asyncio.to_thread(self._read_documents)
        for letter in letters:
            self.dead[letter.name] = letter
        for endpoint in [*self._configured(), *endpoints]:
            cursor = cursors.get(endpoint.id, _Cursor(endpoint.start))
            self._serve(endpoint, cursor)
        jobs = {
            "notices": self._spread(),
            "trouble": self._tell_of_trouble(),
            "cursors": self._save_often(),
            "levels": self._look_often(),
        }
        self._tasks = [asyncio.create_task(job, name=name) for name, job in jobs.items()]

    async def stop(self) -> None:
        """Stop delivering, and save how far each endpoint has come."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(one.stop() for one in self.deliveries.values()), return_exceptions=True)
        await self._save()
        await self.sender.close()

    def _serve(self, endpoint: Endpoint, cursor: _Cursor) -> None:
        delivery = self.deliveries[endpoint.id] = Delivery(self, endpoint, cursor.sequence)
        self._by_owner.setdefault(endpoint.owner, []).append(delivery)
        self._pages.clear()
        self._told[endpoint.id] = cursor.told
        self.levels.watch(endpoint, cursor.told)
        self._moved.set()
        delivery.start()

    def _configured(self) -> list[Endpoint]:
        """Return the operators' endpoints of the configuration; they begin with what is new when first seen."""
        return [
            Endpoint(
                id=f"configured-{number}",
                owner=EVERY_ACCOUNT,
                kind="apprise",
                target=target,
                preferences=Preferences(least_severity="warning"),
                created_ns=0,
                start=self.context.feed.last,
            )
            for number, target in enumerate(self.settings.targets)
        ]

    def _read_documents(self) -> tuple[list[Endpoint], dict[str, _Cursor], list[DeadLetter]]:
        log = self.context.log
        endpoints = [msgspec.json.decode(body, type=Endpoint) for body in log.documents(ENDPOINT).values()]
        cursors = {name: msgspec.json.decode(body, type=_Cursor) for name, body in log.documents(CURSOR).items()}
        letters = [msgspec.json.decode(body, type=DeadLetter) for body in log.documents(DEAD_LETTER).values()]
        return endpoints, cursors, sorted(letters, key=lambda letter: letter.at_ns)

    # Endpoints ----------------------------------------------------------------------------------------------------

    async def add(self, owner: str, kind: Any, target: str, preferences: Preferences, key: str) -> tuple[Endpoint, str]:
        """Make an endpoint; return it with its secret, which is never shown again.

        Raises
        ------
        InputError, PrecisionError : what is wrong with it
        """
        self._require_room(owner)
        identity, secret = self._secret(8).hex(), self._secret(SECRET_BYTES)
        sealed = secret if self.seal is None else self.seal.seal(f"webhook {identity}", secret)
        endpoint = Endpoint(
            id=identity,
            owner=owner,
            kind=kind,
            target=target,
            secret=sealed if kind == "webhook" else b"",
            preferences=preferences,
            created_ns=self.clock(),
            start=self.context.feed.last,
            key=key,
        )
        check_endpoint(endpoint, self.settings)
        await self._put(ENDPOINT, identity, endpoint)
        self._serve(endpoint, _Cursor(endpoint.start))
        return endpoint, secret.hex() if kind == "webhook" else ""

    async def remove(self, identity: str) -> None:
        """Delete an endpoint with its cursor and its dead letters."""
        delivery = self.deliveries.pop(identity)
        owner = delivery.endpoint.owner
        self._by_owner[owner].remove(delivery)
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        self.levels.forget(identity)
        await delivery.stop()
        await asyncio.to_thread(self.context.log.delete_document, ENDPOINT, identity)
        await asyncio.to_thread(self.context.log.delete_document, CURSOR, identity)
        self._saved.pop(identity, None)
        self._told.pop(identity, None)
        for name in [name for name, letter in self.dead.items() if letter.endpoint == identity]:
            await self._forget(name)

    def _require_room(self, owner: str) -> None:
        all_of_them, most = len(self.deliveries), self.settings.endpoints_max
        own = sum(one.endpoint.owner == owner for one in self.deliveries.values())
        if all_of_them >= most or own >= self.settings.endpoints_per_owner:
            bound = most if all_of_them >= most else self.settings.endpoints_per_owner
            raise InputError(f"there are {bound} endpoints, the most allowed: delete one")

    async def test(self, identity: str) -> str:
        """Make one attempt with a test notice; return why it failed, empty = it was taken."""
        endpoint = self.deliveries[identity].endpoint
        notice = Notice(
            id=f"test-{self._secret(8).hex()}",
            sequence=self.last,
            recorded_ns=self.clock(),
            owner=endpoint.owner,
            kind="test",
            severity="info",
            account="",
            title="Test",
            text="This is a test: notices arrive here.",
        )
        try:
            async with self.sending:
                await self.sender.send(endpoint, notice)
        except Undelivered as error:
            return str(error)
        return ""

    # Dead letters -------------------------------------------------------------------------------------------------

    async def bury(self, letter: DeadLetter) -> None:
        """Keep a notice that could not be delivered."""
        _log.warning("a notice could not be delivered", endpoint=letter.endpoint, id=letter.notice.id)
        self.dead[letter.name] = letter
        try:
            await self._put(DEAD_LETTER, letter.name, letter)
        except JournalError as error:
            _log.error("a dead letter could not be saved", endpoint=letter.endpoint, error=str(error))
            return
        of_endpoint = [name for name, other in self.dead.items() if other.endpoint == letter.endpoint]
        for name in of_endpoint[:-DEAD_LETTERS_MAX]:
            await self._forget(name)

    def redeliver(self, letter: DeadLetter) -> None:
        """Try a dead letter again; it is one until it has been taken.

        Raises
        ------
        InputError : too much waits for the endpoint
        """
        if not self.deliveries[letter.endpoint].offer_extra(letter.notice):
            raise InputError(f"too many notices wait for endpoint {letter.endpoint}: try again later")

    async def landed(self, endpoint: Endpoint, notice: Notice) -> None:
        """Note that a notice has been taken: if it was a dead letter, it is one no more."""
        name = f"{endpoint.id}:{notice.id}"
        if name in self.dead:
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        self.dead.pop(name, None)
        try:
            await asyncio.to_thread(self.context.log.delete_document, DEAD_LETTER, name)
        except JournalError as error:
            _log.error("a dead letter could not be deleted", name=name, error=str(error))

    # The feed -----------------------------------------------------------------------------------------------------

    async def _spread(self) -> None:
        """Offer what is new to those whom it concerns."""
        feed = self.context.feed
        while True:
            await feed.wait(self.last)
            entries = feed.since(self.last)
            if entries is None:  # more has happened at once than the ring keeps
                self.last = feed.last
                for delivery in self.deliveries.values():
                    delivery.fall_behind()
            for entry in entries or ():
                self._offer(entry)
            self._moved.set()
            await asyncio.sleep(0)

    def _offer(self, entry: Entry) -> None:
        self.last = entry.sequence
        if not self.deliveries or not entry.events:
            return
        for notice in notices_of(entry, self.context.rulebook, self._by_owner):
            for delivery in self.deliveries.values() if notice.public else self._by_owner[notice.owner]:
                delivery.offer(notice)

    async def _tell_of_trouble(self) -> None:
        """Tell everybody when nothing more is accepted, unless the house goes on elsewhere."""
        durable = self.context.durable
        while (trouble := durable.trouble) is None:
            await self.context.feed.published()
        if isinstance(trouble, FencedOut):
            return
        words = words_for_callers(trouble, self.context.log)
        for delivery in self.deliveries.values():
            notice = notice_of_trouble(words, delivery.endpoint.owner, durable.durable.sequence, self.clock())
            if wants(delivery.endpoint, notice):
                delivery.offer_extra(notice)

    async def page(self, after: int) -> list[tuple[int, list[Notice]]]:
        """Return the next entries after a sequence with their notices; endpoints that are equally far share them.

        What was compacted away before it could be delivered is passed over, and the log says so.
        """
        found = self._pages.get(after)
        if found is None:
            entries = self.context.feed.since(after, PAGE_RECORDS)
            if entries is None:
                entries = await asyncio.to_thread(read_entries, self.context.log, after, self.context.feed.last)
            if entries and entries[0].sequence != after + 1:
                _log.error("notices were compacted away", after=after, first=entries[0].sequence)
            rulebook, listening = self.context.rulebook, frozenset(self._by_owner)
            found = [(entry.sequence, notices_of(entry, rulebook, listening)) for entry in entries]
            found = found or [(self.context.feed.last, [])]
            self._pages[after] = found
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        return found

    # Levels and cursors -------------------------------------------------------------------------------------------

    async def _look_often(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            if self.levels:
                try:
                    sequence = self.context.durable.head.sequence
                    falls = await self.levels.look(self.context.state, sequence, self.clock())
                    await self.context.writer.settled()
                except Problem:
                    continue
                for endpoint, notice in falls:
                    if endpoint in self.deliveries:
                        self.deliveries[endpoint].offer_extra(notice)
            await asyncio.sleep(LOOK_SECONDS)

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        """Save the cursors that have moved."""
        for identity, delivery in list(self.deliveries.items()):
            delivery.passed()
            if not delivery.awaits_levels:
                self._told[identity] = tuple(self.levels.told(identity))
            body = msgspec.json.encode(_Cursor(delivery.cursor, self._told.get(identity, ())))
            if self._saved.get(identity) == body:
                continue
            try:
                await asyncio.to_thread(self.context.log.put_document, CURSOR, identity, body)
            except JournalError as error:
                _log.error("a cursor could not be saved", endpoint=identity, error=str(error))
                return
            self._saved[identity] = body

    async def _put(self, kind: str, name: str, document: msgspec.Struct) -> None:
        await asyncio.to_thread(self.context.log.put_document, kind, name, msgspec.json.encode(document))
