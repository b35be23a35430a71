"""Streams of the client: what is resumed, what is a gap, and a service that goes away and comes back."""

import asyncio
import json
import socket
import threading

import pytest

from marginkeep.client import AsyncClient, Client
from marginkeep.client.errors import NotFound, UnreadableAnswer
from marginkeep.client.events import CallCured, MarginCalled
from marginkeep.client.exchange import Conduct
from marginkeep.client.stream_messages import Delta, Resync, Snapshot, StreamGap, StreamView
from marginkeep.errors import InputError
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep.service.access.scopes import Scope
from tests.service.conftest import VENUE, memory_log, settings
from tests.service.stream_world import CALLED, deposit, lever, open_market, price

QUICK = Conduct(retries=200, chance=lambda: 0.0)
BOUND_SECONDS = 30


def told(kind, sequence, previous, *rows, channel="events", complete=True):
    name = "events" if kind == "delta" else "rows"
    ends = {"channel": channel, "id": channel, "sequence": sequence, "previous": previous}
    return json.dumps({"type": kind, **ends, "complete": complete, name: list(rows)})


def happened(number, **members):
    return {"id": number, "event": {"type": "CallCured", "account": "ann", **members}}


def view(**changes):
    made = StreamView(**{"channels": ["events", "marks"], "accounts": [], "after": None, **changes})
    made.subscriptions()
    return made


def test_deltas_follow_each_other_and_a_missing_one_is_a_gap():
    one = view()
    assert one.take(told("snapshot", 5, 5)) == Snapshot(channel="events", sequence=5, rows=())
    assert one.take(told("delta", 8, 5, happened("8-0"))).events[0].event.account == "ann"
    with pytest.raises(StreamGap, match="9, but 8 was seen last"):
        one.take(told("delta", 10, 9, happened("10-0")))


def test_a_new_connection_resumes_event_channels_and_starts_rows_anew():
    one = view(accounts=["ann"])
    one.take(told("snapshot", 5, 5))
    one.take(told("delta", 8, 5, happened("8-0")))
    events, marks = (json.loads(operation) for operation in one.subscriptions())
    assert events == {"op": "subscribe", "id": "events", "channels": ["events"], "accounts": ["ann"], "after": 8}
    assert "after" not in marks
    assert one.take(told("delta", 9, 8, happened("9-0"))).sequence == 9


def test_parts_are_put_together_and_half_of_a_message_is_forgotten_with_its_connection():
    one = view(after=3)
    assert one.take(told("delta", 4, 3, happened("4-0"), complete=False)) is None
    assert [x.id for x in one.take(told("delta", 4, 3, happened("4-1"))).events] == ["4-0", "4-1"]
    assert one.take(told("delta", 5, 4, happened("5-0"), complete=False)) is None
    assert json.loads(one.subscriptions()[0])["after"] == 4
    assert [x.id for x in one.take(told("delta", 5, 4, happened("5-0"))).events] == ["5-0"]


def test_a_resync_is_told_and_the_snapshot_after_it_counts():
    one = view(after=3)
    assert one.take('{"type":"resync","id":"events","channel":"events","from":3}') == Resync(
        channel="events", from_sequence=3
    )
    one.take(told("snapshot", 90, 90))
    assert one.last["events"] == 90


def test_unknown_channels_are_refused_before_anything_is_sent():
    with pytest.raises(InputError, match="nonsense"):
        view(channels=["nonsense"])


@pytest.fixture
def called(start_service):
    """A service with margin calls, and a client with the venue's key."""
    service = start_service(log=memory_log(CALLED))
    open_market(service, "bob")
    with Client(service.url, service._keys[VENUE], conduct=QUICK) as client:
        yield service, client


def test_a_margin_call_is_watched_and_its_cure(called):
    service, client = called
    lever(service, "ann", "bob")
    found = []
    for message in client.watch("calls", accounts=["ann"], seconds=BOUND_SECONDS):
        if isinstance(message, Snapshot):
            service.apply(price(48_500))
            continue
        found += [one.event for one in message.events]
        if isinstance(found[-1], MarginCalled):
            service.apply(deposit("ann", 5_000))
        if any(isinstance(event, CallCured) for event in found):
            break
    (call,) = [event for event in found if isinstance(event, MarginCalled)]
    assert call.deadline_ns > 0
    assert call.deposits[0].asset == "USD"
    assert call.closes[0].size.startswith("-")


def test_watching_ends_when_its_time_is_over(called):
    _, client = called
    kinds = [type(message) for message in client.watch("events", "marks", seconds=0.3)]
    assert kinds == [Snapshot, Snapshot]


def test_what_may_not_be_watched_is_refused_once(called):
    service, _ = called
    mine = service.key("ann's", (Scope.READ,), ("ann",))
    with Client(service.url, mine) as client, pytest.raises(NotFound):
        next(client.watch("events", accounts=["bob"]))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.without_shadows("one test of the client's network; other tests replay the same commands")
def test_a_stream_goes_on_where_it_was_when_the_service_comes_back(start_service, tmp_path):
    chosen, place = settings(port=free_port()), str(tmp_path / "journal.db")
    log = SqliteLog(place)
    log.create(CALLED)
    first = start_service(chosen, log)
    open_market(first, "bob")
    seen, both, ready = [], threading.Event(), threading.Event()

    async def follow():
        async with AsyncClient(first.url, first._keys[VENUE], conduct=QUICK) as client:
            async for message in client.stream("events", "marks", after=0):
                ready.set()
                if isinstance(message, Delta):
                    seen.extend((one.id, one.event.raw.get("amount")) for one in message.events)
                if any(amount == "77" for _, amount in seen):
                    both.set()
                    return

    thread = threading.Thread(target=lambda: asyncio.run(follow()), daemon=True)
    thread.start()
    assert ready.wait(BOUND_SECONDS)
    first.stop()
    second = start_service(chosen, SqliteLog(place))
    second.apply(deposit("bob", 77))
    assert both.wait(BOUND_SECONDS), "the stream did not come back"
    thread.join(BOUND_SECONDS)
    ids = [identity for identity, _ in seen]
    assert len(ids) == len(set(ids)) > 3


@pytest.mark.parametrize(
    "message",
    [
        '{"type": "delta", "channel": "calls"}',
        '{"type": "snapshot"}',
        "<html>of a proxy</html>",
    ],
)
def test_a_message_that_is_not_what_was_agreed_is_an_error_of_the_client(message):
    with pytest.raises(UnreadableAnswer, match="cannot be read"):
        StreamView(["calls"], (), None).take(message)
