"""Who is told what: preferences, watched levels, foreign accounts, broken requests."""

from __future__ import annotations

import asyncio

import pytest

from marginkeep.clearing import Halt
from marginkeep.errors import InputError
from marginkeep.service.notifications.delivery import Delivery
from marginkeep.service.notifications.endpoints import WatchLevel
from marginkeep.service.notifications.templates import check_template, fill
from tests.journal.houses import new_store
from tests.service.stream_world import CALLED, deposit, lever, open_market, price, reader, trade
from tests.service.test_webhooks import ENDPOINTS, endpoint, hasty, make, notice, opened, swing, venue
from tests.service.webhook_receiver import Receiver

pytestmark = pytest.mark.without_shadows("what the house answers is not in question here, but who is told")


@pytest.fixture
def receivers():
    """A callable that opens a receiver; all are closed at the end."""
    made = []

    def open_receiver(**options):
        made.append(Receiver(**options))
        return made[-1]

    yield open_receiver
    for one in made:
        one.close()


@pytest.fixture
def store():
    return new_store(CALLED)


def test_nobody_is_told_of_foreign_accounts(start_service, store, receivers):
    carls, anns, venues = receivers(), receivers(), receivers()
    service, _ = venue(start_service, store, carls)
    reader(service, "ann")
    make(service, anns.url, owner="ann", key="ann")
    make(service, venues.url, {"kinds": ["margin_call", "call_cured"]}, owner="*", key="venue")
    lever(service, "ann", "bob")
    ids = swing_both(service)
    for one in (carls, anns):
        one.wait(lambda r: len(r.taken) >= 2)
    venues.wait(lambda r: len(r.taken) == 4)
    assert sorted(venues.ids()) == sorted(ids)
    assert {taken["account"] for taken in carls.taken} == {"carl"}
    assert {taken["account"] for taken in anns.taken} == {"ann"}
    assert b"carl" not in b"".join(body for _, body in anns.seen)


def swing_both(service):
    """Let two levered accounts be called and cured."""
    ids = []
    for whole in (48_500, 50_500):
        events = service.apply(price(whole))[0]
        last = service.context.feed.last
        ids += [f"{last}-{n}" for n, one in enumerate(events) if type(one).__name__ in ("MarginCalled", "CallCured")]
    assert len(ids) == 4
    return ids


def test_a_hold_that_is_refused_is_told_to_nobody(start_service, store, receivers):
    mine = receivers()
    service, _ = venue(start_service, store, mine)
    service.apply(Halt(state="halted"))
    assert service.context.house.state.oracle is None, "without an oracle nothing can be held, and nothing is told"
    ids = swing(service, 1)
    mine.wait(lambda r: len(r.taken) == 2)
    assert mine.ids() == ids


def test_what_matters_less_than_asked_for_is_left_out(start_service, store, receivers):
    mine = receivers()
    service, _ = venue(start_service, store, mine, {"least_severity": "warning"})
    ids = swing(service, 2)
    mine.wait(lambda r: len(r.taken) == 2)
    assert mine.ids() == [ids[0], ids[2]]


def test_kinds_that_were_not_asked_for_are_left_out(start_service, store, receivers):
    mine = receivers()
    service, _ = venue(start_service, store, mine, {"kinds": ["call_cured"]})
    ids = swing(service, 2)
    mine.wait(lambda r: len(r.taken) == 2)
    assert mine.ids() == [ids[1], ids[3]]


def test_the_same_call_is_not_repeated_within_the_quiet_time(start_service, store, receivers):
    mine = receivers()
    service, _ = venue(start_service, store, mine, {"quiet_seconds": 3600})
    ids = swing(service, 3)
    service.apply(price(30_000))
    mine.wait(lambda r: any(taken["severity"] == "critical" for taken in r.taken))
    calls = [taken["id"] for taken in mine.taken if taken["kind"] in ("margin_call", "call_cured")]
    assert calls == ids[:2]


def test_a_watched_level_is_told_once_for_each_fall(start_service, store, receivers):
    mine = receivers()
    level = {"account": "carl", "below": "3.0", "again_above": "4.0"}
    service, _ = venue(start_service, store, mine, {"kinds": ["health"], "levels": [level]})
    for whole in (48_700, 48_750, 48_700):
        service.apply(price(whole))
    mine.wait(lambda r: len(r.taken) == 1)
    room = service.context.parts["notifications"]
    assert service.on_loop(look(service, room)) == []
    service.apply(price(50_000))
    assert service.on_loop(look(service, room)) == []
    service.apply(price(48_700))
    mine.wait(lambda r: len(r.taken) == 2)
    assert len(set(mine.ids())) == 2
    assert mine.taken[0]["account"] == "carl"
    assert "below the level of 3" in mine.taken[0]["text"]


async def look(service, room):
    return await room.levels.look(service.context.state, 1, 1)


def test_a_level_on_a_foreign_account_is_refused(start_service, store, receivers):
    service, _ = venue(start_service, store, receivers())
    document = {"owner": "carl", "kind": "webhook", "target": "http://127.0.0.1:1/"}
    level = {"account": "bob", "below": "1.5"}
    answer = service.call("POST", ENDPOINTS, {**document, "preferences": {"levels": [level]}}, key="carl")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "ftp://example.org/"},
        {"kind": "mail", "target": "ann@example.org"},
        {"kind": "apprise", "target": "json://127.0.0.1/"},
        {"kind": "pigeon"},
        {"preferences": {"template": "$password"}},
        {"preferences": {"template": "costs 5 $"}},
        {"preferences": {"levels": [{"account": "carl", "below": "0"}]}},
        {"preferences": {"levels": [{"account": "carl", "below": "2", "again_above": "1"}]}},
        {"preferences": {"quiet_seconds": -1}},
        {"secret": "mine"},
    ],
    ids=["scheme", "mail", "chat", "kind", "name", "dollar", "zero", "order", "quiet", "unknown"],
)
def test_a_broken_endpoint_is_refused(start_service, store, receivers, changes):
    service, _ = venue(start_service, store, receivers())
    document = {"owner": "carl", "kind": "webhook", "target": "http://127.0.0.1:1/", **changes}
    answer = service.call("POST", ENDPOINTS, document, key="carl")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text


def test_endpoints_are_their_owners_alone(start_service, store, receivers):
    service, made = venue(start_service, store, receivers())
    reader(service, "ann")
    path = f"{ENDPOINTS}/{made['id']}"
    for method, place in (("DELETE", path), ("POST", f"{path}/test")):
        mine = service.call(method, place, key="ann")
        absent = service.call(method, place.replace(made["id"], "0" * 16), key="ann")
        assert (mine.status_code, absent.status_code) == (404, 404)
        assert mine.text.replace(made["id"], "0" * 16) == absent.text
    document = {"owner": "*", "kind": "webhook", "target": "http://127.0.0.1:1/"}
    assert service.call("POST", ENDPOINTS, document, key="ann").status_code == 403
    assert service.call("GET", ENDPOINTS, key="ann").json() == {"endpoints": []}
    assert service.call("DELETE", path, key="carl").status_code == 200
    assert service.call("GET", ENDPOINTS).json() == {"endpoints": []}


def test_endpoints_of_an_owner_are_bounded(start_service, store, receivers):
    mine = receivers()
    service, _ = venue(start_service, store, mine, endpoints_per_owner=2)
    make(service, mine.url)
    document = {"owner": "carl", "kind": "webhook", "target": mine.url}
    assert service.call("POST", ENDPOINTS, document, key="carl").status_code == 400


def test_a_test_notice_says_whether_it_was_taken_and_nothing_of_the_answer(start_service, store, receivers):
    mine = receivers(script=["take", 500])
    service, made = venue(start_service, store, mine)
    path = f"{ENDPOINTS}/{made['id']}/test"
    assert service.call("POST", path, key="carl").json() == {"delivered": True, "reason": ""}
    assert service.call("POST", path, key="carl").json() == {"delivered": False, "reason": "answered 500"}


def test_a_dead_receiver_keeps_neither_the_writer_nor_the_others(start_service, store, receivers):
    dead, mine = receivers(always="hang"), receivers()
    service, _ = venue(start_service, store, dead, timeout_seconds=20.0)
    make(service, mine.url)
    ids = swing(service, 5)
    mine.wait(lambda r: len(r.taken) == len(ids))
    assert mine.ids() == ids
    assert len(dead.seen) == 1


def test_more_than_fits_in_memory_is_read_from_the_journal(start_service, store, receivers, monkeypatch):
    monkeypatch.setattr("marginkeep.service.notifications.delivery.QUEUE_MAX", 3)
    mine = receivers(script=["hang"])
    service, _ = venue(start_service, store, mine)
    ids = swing(service, 10)
    mine.wait(lambda r: len(set(r.ids())) == len(ids))
    assert list(dict.fromkeys(mine.ids())) == ids


def test_operators_of_the_configuration_are_told_by_apprise(start_service, store, receivers):
    mine = receivers()
    service = opened(start_service, store, targets=(f"json://127.0.0.1:{mine.port}/",))
    open_market(service, "bob")
    lever(service, "carl", "bob")
    swing(service, 1)
    mine.wait(lambda r: len(r.taken) == 1)
    assert mine.taken[0]["title"] == "Margin call: carl"
    (listed,) = service.call("GET", ENDPOINTS).json()["endpoints"]
    assert listed["target"] == ""


def test_a_template_is_filled_with_plain_text_and_nothing_is_evaluated():
    check_template("$account: $text costs $$5")
    fields = {**notice().fields(), "text": "$id {0.__class__} \x1b[2J"}
    assert fill("$account: $text costs $$5", fields) == "ann: $id {0.__class__}  [2J costs $5"
    with pytest.raises(InputError, match="may name"):
        check_template("$event")


def test_waits_between_attempts_double_up_to_the_longest_and_vary_by_half():
    class Room:
        settings = hasty(retry_seconds=1.0, retry_seconds_max=5.0).notifications
        share = 0.0

        def random(self):
            return self.share

    async def waits(share):
        room = Room()
        room.share = share
        delivery = Delivery(room, endpoint("http://127.0.0.1:1/"), 0)
        return [delivery._wait(attempt) for attempt in (1, 2, 3, 4, 9)]

    assert asyncio.run(waits(0.0)) == [0.5, 1.0, 2.0, 2.5, 2.5]
    assert asyncio.run(waits(1.0)) == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_level_has_room_between_its_two_values():
    assert WatchLevel(account="ann", below="2").rates() == (2_000_000_000, 2_100_000_000)
    with pytest.raises(InputError):
        WatchLevel(account="ann", below="2000").rates()


def test_a_winner_of_a_trade_is_not_bothered(start_service, store, receivers):
    mine = receivers()
    service, _ = venue(start_service, store, mine)
    service.apply(trade("carl", "bob", 1), deposit("carl", 1))
    ids = swing(service, 1)
    mine.wait(lambda r: len(r.taken) == 2)
    assert mine.ids() == ids
