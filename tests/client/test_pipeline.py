"""Checks and commands over one socket: many at a time, in order, and across a service that goes away."""

import asyncio
import json

import pytest
from websockets.asyncio.server import serve

from marginkeep.client import AsyncClient, commands
from marginkeep.client.errors import BadRequest, NotAllowed, Refused, Unauthenticated, Unreachable, UnreadableAnswer
from marginkeep.client.exchange import Conduct
from marginkeep.client.signing import Ed25519Key
from marginkeep.errors import InputError
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep.service.access.scopes import Scope
from tests.client.test_stream import free_port
from tests.journal.houses import GENESIS
from tests.service.conftest import VENUE, settings

MARKET = "BTC-PERP"
QUICK = Conduct(retries=200, chance=lambda: 0.0)


def order(number, size="0.001"):
    return commands.order("ann", str(number), MARKET, "buy", size, "50000", key=f"order-{number}")


def on_socket(service, work, credential=None, **options):
    """Run a coroutine function on an open socket."""

    async def run():
        client = AsyncClient(service.url, credential or service._keys[VENUE], conduct=QUICK)
        async with client, client.socket(**options) as socket:
            return await work(socket)

    return asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.without_shadows("hundreds of equal orders")
def test_many_commands_are_under_way_at_once_and_each_has_its_own_answer(running_service, client):
    async def work(socket):
        return await asyncio.gather(*(socket.command(order(number)) for number in range(300)))

    results = on_socket(running_service, work)
    assert [one.events[0].order for one in results] == [str(number) for number in range(300)]
    sequences = [one.sequence for one in results]
    assert sequences == sorted(sequences), "they were applied in the order in which they were asked for"
    assert len(client.orders("ann").orders) == 300


def test_refusals_are_values_and_checks_change_nothing(running_service, client):
    async def work(socket):
        verdicts = await socket.checks([commands.check_order("ann", MARKET, "buy", s, "50000") for s in ("1", "100")])
        one = await socket.check(commands.check_order("ann", MARKET, "sell", "1", "50000"))
        results = await socket.commands([order(1), order(2, "100"), commands.release("ann", "1", key="r")])
        return verdicts, one, results, await socket.ping()

    verdicts, one, results, sequence = on_socket(running_service, work)
    assert [verdict.accepted for verdict in (*verdicts, one)] == [True, False, True]
    assert [result.status for result in results] == ["accepted", "rejected", "accepted"]
    assert isinstance(results[1].error(), Refused)
    assert sequence == results[2].sequence


def test_a_message_that_cannot_be_read_is_an_exception_of_its_own_asker(running_service, client):
    async def work(socket):
        bad = commands.order("ann", "x" * 65, MARKET, "buy", "1", "50000", key="bad")
        return await asyncio.gather(socket.command(bad), socket.command(order(1)), return_exceptions=True)

    bad, good = on_socket(running_service, work)
    assert isinstance(bad, BadRequest)
    assert good.accepted
    with pytest.raises(InputError, match="no command"):
        on_socket(running_service, lambda socket: socket.command(commands.check_order("a", MARKET, "buy", "1", "1")))


def test_who_may_not_open_a_socket_is_told_at_once(running_service):
    async def work(socket):
        return await socket.ping()

    with pytest.raises(Unauthenticated):
        on_socket(running_service, work, Ed25519Key("stranger", b"s" * 32))
    publisher = running_service.key("publisher", (Scope.ORACLE_PUBLISH,), ("*",))
    with pytest.raises(NotAllowed):
        on_socket(running_service, work, publisher)


def test_what_waits_when_the_socket_is_closed_is_told_so(running_service, client):
    async def work(socket):
        await socket.ping()
        await socket.close()
        return await socket.ping()

    with pytest.raises(Unreachable):
        on_socket(running_service, work)


class Relay:
    """Forwards connections to a port; of the first one it loses all answers after some bytes, and later cuts it."""

    def __init__(self, port, answered_bytes):
        self._port, self._left = port, answered_bytes
        self._first = True

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        loses, self._first = self._first, False
        there, to_there = await asyncio.open_connection("127.0.0.1", self._port)
        forward = asyncio.create_task(self._pump(reader, to_there, None))
        await self._pump(there, writer, self._left if loses else None)
        forward.cancel()
        to_there.close()
        writer.close()

    async def _pump(self, source, target, left):
        """Forward until the source ends; after `left` bytes swallow as many again, then end."""
        swallowed = 0
        while part := await source.read(4_096):
            if left is None or left > 0:
                target.write(part)
                left = None if left is None else left - len(part)
            else:
                swallowed += len(part)
                if swallowed > self._left:
                    return


@pytest.mark.without_shadows("hundreds of equal orders")
def test_answers_that_were_lost_are_asked_for_again_and_nothing_is_applied_twice(running_service, client):
    port = int(running_service.url.rpartition(":")[2])

    async def run():
        async with Relay(port, 8_000) as url:
            there = AsyncClient(url, running_service._keys[VENUE], conduct=QUICK)
            async with there, there.socket() as socket:
                results = await asyncio.gather(*(socket.command(order(number)) for number in range(300)))
                return results, socket.reconnections

    results, reconnections = asyncio.run(asyncio.wait_for(run(), 60))
    assert reconnections == 1
    assert [one.events[0].order for one in results] == [str(number) for number in range(300)]
    assert any(one.repeated for one in results)
    assert not all(one.repeated for one in results)
    assert len({one.sequence for one in results}) == len(client.orders("ann").orders) == 300


@pytest.mark.without_shadows("hundreds of equal orders")
def test_what_is_unanswered_when_the_service_goes_away_is_asked_again_and_applied_once(start_service, tmp_path):
    chosen, place = settings(port=free_port()), str(tmp_path / "journal.db")
    log = SqliteLog(place)
    log.create(GENESIS)
    first = start_service(chosen, log)

    async def work(socket):
        await socket.command(commands.set_prices({MARKET: "50000"}))
        await socket.command(commands.deposit("ann", "USD", "10000"))
        asked = [asyncio.create_task(socket.command(order(number))) for number in range(200)]
        await asked[20]
        await asyncio.to_thread(first.stop)
        asked += [asyncio.create_task(socket.command(order(number))) for number in range(200, 250)]
        second = await asyncio.to_thread(start_service, chosen, SqliteLog(place))
        return second, await asyncio.gather(*asked), socket.reconnections

    second, results, reconnections = on_socket(first, work)
    assert reconnections >= 1
    assert all(one.accepted for one in results)
    assert len({one.sequence for one in results}) == 250
    assert len(second.context.state.orders[second.context.state.index["ann"]]) == 250


def test_a_service_that_stays_away_is_given_up(start_service):
    service = start_service()

    async def work(socket):
        await asyncio.to_thread(service.stop)
        return await socket.ping()

    with pytest.raises(Unreachable):
        on_socket(service, work, patience=0.5)


def test_a_message_that_is_none_fails_what_waits_instead_of_leaving_it():
    async def run():
        async def speak(connection):
            async for _ in connection:
                await connection.send("<html>of a proxy</html>")

        async with serve(speak, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            client = AsyncClient(url, Ed25519Key("me", b"k" * 32), conduct=QUICK)
            async with client, client.socket() as socket:
                return await socket.ping()

    with pytest.raises(UnreadableAnswer, match="cannot be read"):
        asyncio.run(asyncio.wait_for(run(), 20))


def test_each_of_those_who_wait_is_given_an_error_of_its_own():
    async def run():
        async def refuse(connection):
            taken = 0
            async for _ in connection:
                taken += 1
                if taken == 2:
                    problem = {"type": "error", "id": "", "status": 400, "code": "bad_request", "detail": "no"}
                    await connection.send(json.dumps(problem))

        async with serve(refuse, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            client = AsyncClient(url, Ed25519Key("me", b"k" * 32), conduct=QUICK)
            async with client, client.socket() as socket:
                return await asyncio.gather(*map(socket.command, (order(1), order(2))), return_exceptions=True)

    errors = asyncio.run(asyncio.wait_for(run(), 20))
    assert [(type(error), error.key) for error in errors] == [(BadRequest, "order-1"), (BadRequest, "order-2")]


def test_a_socket_whose_opening_is_given_up_leaves_nothing_running():
    async def run():
        async with AsyncClient(f"http://127.0.0.1:{free_port()}", Ed25519Key("me", b"k" * 32)) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.socket().__aenter__(), 0.05)
            return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(run()) == set()
