"""Webhooks against a receiver that fails in every way it can: each notice at least once, in order, with its own id."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from marginkeep.errors import InputError
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.service.notifications.addresses import check_url, is_public, pinned_address
from marginkeep.service.notifications.endpoints import CURSOR, ENDPOINT, Endpoint, Preferences
from marginkeep.service.notifications.notices import Notice
from marginkeep.service.notifications.sending import Sender, Undelivered
from marginkeep.service.operations.settings import NotificationSettings, ServerSettings, Settings
from tests.journal.houses import new_store
from tests.service.stream_world import CALLED, lever, open_market, price, reader
from tests.service.webhook_receiver import Receiver

pytestmark = pytest.mark.without_shadows("what the house answers is not in question here, but who is told")
ENDPOINTS = "/v1/notifications/endpoints"
LETTERS = "/v1/notifications/dead-letters"


def hasty(**changes):
    stated = {
        "attempts_max": 4,
        "timeout_seconds": 0.4,
        "retry_seconds": 0.01,
        "retry_seconds_max": 0.02,
        "allow_private_addresses": True,
        **changes,
    }
    server = ServerSettings(port=0, tick_seconds=0)
    return Settings(server=server, notifications=NotificationSettings(**stated))


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def store():
    return new_store(CALLED)


def opened(start_service, store, **changes):
    return start_service(hasty(**changes), MemoryLog(store))


def venue(start_service, store, receiver, preferences=None, **changes):
    """A venue where carl is levered, and told of everything."""
    service = opened(start_service, store, **changes)
    open_market(service, "bob")
    lever(service, "carl", "bob")
    reader(service, "carl")
    return service, make(service, receiver.url, preferences)


def make(service, url, preferences=None, owner="carl", key="carl"):
    document = {"owner": owner, "kind": "webhook", "target": url, "preferences": preferences or {}}
    answer = service.call("POST", ENDPOINTS, document, key=key)
    assert answer.status_code == 201, answer.text
    return answer.json()


def swing(service, times):
    """Let the price fall and rise: carl is called and cured, called and cured; return the ids of what carl is told."""
    ids = []
    for _ in range(times):
        for whole in (48_500, 50_500):
            events = service.apply(price(whole))[0]
            kinds = [type(event).__name__ for event in events]
            last = service.context.feed.last
            ids += [f"{last}-{n}" for n, kind in enumerate(kinds) if kind in ("MarginCalled", "CallCured")]
    assert len(ids) == 2 * times
    return ids


def test_a_margin_call_arrives_signed(start_service, store, receiver):
    service, made = venue(start_service, store, receiver)
    called, cured = swing(service, 1)
    receiver.wait(lambda r: len(r.taken) == 2)
    headers, body = receiver.seen[0]
    expected = hmac.new(bytes.fromhex(made["secret"]), headers["Webhook-Timestamp"].encode() + b"." + body, "sha256")
    assert headers["Webhook-Signature"] == f"v1={expected.hexdigest()}"
    assert headers["Webhook-Id"] == called
    notice = receiver.taken[0]
    assert (notice["kind"], notice["severity"], notice["account"]) == ("margin_call", "warning", "carl")
    assert notice["event"]["missing"] in notice["text"]
    assert receiver.ids() == [called, cured]


@pytest.mark.parametrize("fault", [500, 404, "redirect", "die", "hang", "flood"])
def test_a_receiver_that_fails_is_tried_again_and_the_order_is_kept(start_service, store, receiver, fault):
    receiver.script = [fault, fault, "take", fault]
    service, _ = venue(start_service, store, receiver)
    ids = swing(service, 3)
    receiver.wait(lambda r: len(r.taken) == len(ids))
    assert receiver.ids() == ids
    assert len(receiver.seen) == len(ids) + 3
    assert {headers["Webhook-Id"] for headers, _ in receiver.seen[:3]} == {ids[0]}


def test_what_cannot_be_delivered_becomes_a_dead_letter_and_the_rest_goes_on(start_service, store, receiver):
    receiver.script = [500, 500, 500, 500]
    service, made = venue(start_service, store, receiver)
    first, *others = swing(service, 2)
    receiver.wait(lambda r: len(r.taken) == len(others))
    assert receiver.ids() == others
    (letter,) = service.call("GET", LETTERS, key="carl").json()["dead_letters"]
    assert (letter["notice"], letter["attempts"], letter["reason"]) == (first, 4, "answered 500")
    reader(service, "ann")
    assert service.call("GET", LETTERS, key="ann").json() == {"dead_letters": []}
    path = f"{LETTERS}/{letter['id']}/redeliver"
    assert service.call("POST", path, key="ann").status_code == 404
    assert service.call("POST", path, key="carl").status_code == 202
    receiver.wait(lambda r: r.ids()[-1] == first)
    service.call("DELETE", f"{ENDPOINTS}/{made['id']}", key="carl")
    assert service.call("GET", LETTERS, key="carl").json() == {"dead_letters": []}


def test_a_receiver_that_stays_away_gets_one_attempt_for_each_notice_until_it_is_back(start_service, store, receiver):
    receiver.always = 500
    service, _ = venue(start_service, store, receiver)
    swing(service, 3)
    receiver.wait(lambda r: len(r.seen) == 4 + 5)
    receiver.always = "take"
    ids = swing(service, 1)
    receiver.wait(lambda r: r.ids() == ids)


def test_after_a_restart_everything_arrives_with_the_ids_it_would_have_had(start_service, store, receiver):
    receiver.script = ["take", *[500] * 3]
    service, made = venue(start_service, store, receiver, retry_seconds=30.0, retry_seconds_max=30.0)
    ids = swing(service, 2)
    receiver.wait(lambda r: len(r.seen) == 2)
    service.stop()
    receiver.script = []
    again = opened(start_service, store)
    ids += swing(again, 1)
    receiver.wait(lambda r: set(r.ids()) == set(ids))
    first_arrivals = list(dict.fromkeys(receiver.ids()))
    assert first_arrivals == ids
    (listed,) = again.call("GET", ENDPOINTS).json()["endpoints"]
    assert listed["id"] == made["id"]


def test_a_lost_cursor_means_the_same_notices_again_with_the_same_ids(start_service, store, receiver):
    service, made = venue(start_service, store, receiver)
    ids = swing(service, 2)
    receiver.wait(lambda r: len(r.taken) == len(ids))
    service.stop()
    del store.documents[CURSOR, made["id"]]
    opened(start_service, store)
    receiver.wait(lambda r: len(r.taken) == 2 * len(ids))
    assert receiver.ids() == ids * 2


def test_a_saved_cursor_means_nothing_again(start_service, store, receiver):
    service, _ = venue(start_service, store, receiver)
    swing(service, 1)
    receiver.wait(lambda r: len(r.taken) == 2)
    service.stop()
    again = opened(start_service, store)
    ids = swing(again, 1)
    receiver.wait(lambda r: len(r.taken) == 4)
    assert receiver.ids()[2:] == ids


def test_the_secret_is_shown_once(start_service, store, receiver):
    service, made = venue(start_service, store, receiver)
    assert len(bytes.fromhex(made["secret"])) == 32
    (listed,) = service.call("GET", ENDPOINTS, key="carl").json()["endpoints"]
    assert listed["secret"] == ""
    assert (ENDPOINT, made["id"]) in store.documents


# Addresses ----------------------------------------------------------------------------------------------------------

INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
    "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
    "2001:0:7f00:1::", "nonsense",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "ftp://example.org/", "file:///etc/passwd", "https://", "https://user:pw@example.org/",
        "https://example.org:99999/", "https://exam ple.org/", "https://" + "a" * 3_000, "//example.org",
    ],
)  # fmt: skip
def test_an_address_that_no_webhook_may_have_is_refused(url):
    with pytest.raises(InputError):
        check_url(url, allow_private=False)


async def one_inside(host, port):
    return ["1.1.1.1", "10.0.0.1"]


def run(coroutine):
    import asyncio

    return asyncio.run(coroutine)


def test_a_host_with_one_address_inside_is_refused_as_a_whole():
    with pytest.raises(InputError, match="not public"):
        run(pinned_address("https://example.org/", allow_private=False, resolver=one_inside))


def notice(number=1):
    return Notice(
        id=f"{number}-0",
        sequence=number,
        recorded_ns=number,
        owner="ann",
        kind="margin_call",
        severity="warning",
        account="ann",
        title="Margin call: ann",
        text="ann lacks 5 USD",
    )


def endpoint(target, kind="webhook", owner="ann", **preferences):
    return Endpoint(
        id="e", owner=owner, kind=kind, target=target, secret=b"s", preferences=Preferences(**preferences), created_ns=1
    )


async def attempt(settings, target, resolver, **more):
    sender = Sender(settings, lambda: 5 * 10**9, resolver=resolver)
    try:
        await sender.send(endpoint(target, **more), notice())
    finally:
        await sender.close()


def test_what_is_connected_to_is_the_address_that_was_checked_under_the_name_of_the_url(receiver):
    asked = []

    async def resolver(host, port):
        asked.append((host, port))
        return ["127.0.0.1"]

    target = f"http://hooks.example.org:{receiver.port}/path?x=1"
    run(attempt(hasty().notifications, target, resolver))
    assert asked == [("hooks.example.org", receiver.port)]
    headers, body = receiver.seen[0]
    assert headers["Host"] == f"hooks.example.org:{receiver.port}"
    expected = hmac.new(b"s", b"5." + body, hashlib.sha256).hexdigest()
    assert headers["Webhook-Signature"] == f"v1={expected}"


def test_an_inside_address_is_never_connected_to(receiver):
    async def resolver(host, port):
        return ["127.0.0.1"]

    settings = hasty(allow_private_addresses=False).notifications
    with pytest.raises(Undelivered, match="not public"):
        run(attempt(settings, f"https://hooks.example.org:{receiver.port}/", resolver))
    assert receiver.seen == []


def test_chat_and_mail_go_through_apprise(receiver):
    async def resolver(host, port):
        raise AssertionError("not asked")

    run(attempt(hasty().notifications, f"json://127.0.0.1:{receiver.port}/", resolver, kind="apprise", owner="*"))
    assert receiver.taken[0]["title"] == "Margin call: ann"
    assert "ann lacks 5 USD" in receiver.taken[0]["message"]
    receiver.always = 500
    with pytest.raises(Undelivered):
        run(attempt(hasty().notifications, f"json://127.0.0.1:{receiver.port}/", resolver, kind="apprise", owner="*"))
