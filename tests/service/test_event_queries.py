"""What has happened, page by page, as far as the key may see it; and single records with their proofs."""

from __future__ import annotations

import json

import pytest

from marginkeep.journal.checkpoint import Signer, make_key
from marginkeep.journal.proofs import check_proof, read_proof
from marginkeep.service.access.scopes import Scope
from marginkeep.service.feed import Feed
from marginkeep.service.operations.settings import JournalSettings, ServerSettings, Settings
from marginkeep.service.queries import event_pages
from tests.service.query_world import ask, deposit, ladder_log, marks, populate

pytestmark = pytest.mark.without_shadows("questions change nothing; what the house does is tested elsewhere")
NAME = "test.example/queries"


@pytest.fixture
def service(start_service, tmp_path):
    """A service that signs checkpoints."""
    key = tmp_path / "signing.key"
    make_key(key, NAME)
    stated = Settings(
        journal=JournalSettings(place="memory", signing_key=str(key)), server=ServerSettings(port=0, tick_seconds=0)
    )
    service = populate(start_service(stated, ladder_log()))
    service.vkey = Signer.load(key, NAME).vkey
    return service


def every_page(service, key, query="", limit=3):
    """All records that a key is told, over as many pages as it takes."""
    records, after = [], 0
    for _ in range(100):
        page = ask(service, f"/v1/events?after={after}&limit={limit}{query}", key=key)
        assert len(page["records"]) <= limit
        records += page["records"]
        if page["after"] == page["last"]:
            return records
        assert page["after"] > after
        after = page["after"]
    raise AssertionError("the pages do not end")


def names_in(records):
    return json.dumps(records)


def test_pages_hold_every_record_once_and_in_order(service):
    records = every_page(service, "venue")
    sequences = [record["sequence"] for record in records]
    assert sequences == sorted(set(sequences))
    kinds = [event["type"] for record in records for event in record["events"]]
    assert kinds.count("Traded") == 2
    assert every_page(service, "venue", limit=1_000) == records


def test_an_owner_sees_its_own_and_what_is_public(service):
    records = every_page(service, "ann")
    text = names_in(records)
    assert '"bob"' not in text
    assert "PricesSet" in text
    trades = [event for record in records for event in record["events"] if event["type"] == "Traded"]
    assert [trade["buyer"]["account"] for trade in trades] == ["ann", "ann/BTC-PERP"]
    assert {trade["seller"]["account"] for trade in trades} == {""}


def test_a_refusal_is_told_to_the_key_that_asked_alone(service):
    service.call("POST", "/v1/withdrawals", {"account": "ann", "asset": "USD", "amount": "99999"}, key="ann")
    assert "Rejected" in names_in(every_page(service, "ann"))
    assert "Rejected" not in names_in(every_page(service, "bob"))
    assert "Rejected" in names_in(every_page(service, "venue"))


def test_events_are_narrowed_to_an_account(service):
    records = every_page(service, "venue", "&account=bob")
    events = [event for record in records for event in record["events"]]
    assert all('"bob"' in json.dumps(event) for event in events)
    narrow = every_page(service, "venue", "&account=ann/BTC-PERP")
    assert narrow
    assert all("ann/BTC-PERP" in json.dumps(record) for record in narrow)
    assert ask(service, "/v1/events?account=bob", status=404) == ask(service, "/v1/events?account=zed", status=404)


def test_what_the_feed_has_lost_is_read_from_the_journal(service):
    before = {key: every_page(service, key) for key in ("ann", "venue")}
    service.context.feed = Feed(service.context.feed.last)
    for key, records in before.items():
        assert every_page(service, key) == records


def test_a_page_ends_early_where_much_has_happened(service, monkeypatch):
    whole = every_page(service, "venue")
    monkeypatch.setattr(event_pages, "EVENTS_MAX", 1)
    monkeypatch.setattr(event_pages, "SCANNED_MAX", 2)
    service.context.feed = Feed(service.context.feed.last)
    assert every_page(service, "venue", limit=50) == whole


def test_nothing_is_told_twice_at_the_end(service):
    last = ask(service, "/v1/events", key="venue")["last"]
    page = ask(service, f"/v1/events?after={last}", key="venue")
    assert (page["records"], page["after"]) == ([], last)
    assert ask(service, f"/v1/events?after={last + 5}", key="venue")["records"] == []


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=99999", "from=1"])
def test_strange_questions_are_refused(service, query):
    assert ask(service, f"/v1/events?{query}", status=400)["code"] == "bad_request"


# Records -------------------------------------------------------------------------------------------------------------


def liquidate(service):
    """Ann is called; the call's record is under a checkpoint at once."""
    service.apply(marks(46_200), actor="feeder")
    return service.context.feed.last


def test_an_auditor_reads_a_record_in_full_and_its_proof_holds(service):
    sequence = liquidate(service)
    told = ask(service, f"/v1/records/{sequence}", key="venue")
    assert (told["actor"], told["body"]["type"], told["unproved"]) == ("feeder", "SetPrices", "")
    proof = read_proof(json.dumps(told["proof"]).encode())
    assert check_proof(proof, service.vkey).size >= sequence
    assert proof.sequence == sequence


def test_an_owner_reads_records_that_concern_it_without_what_is_others(service):
    sequence = liquidate(service)
    told = ask(service, f"/v1/records/{sequence}", key="ann")
    assert (told["actor"], told["key"], told["body"]) == ("", "", None)
    assert any(event["type"] in ("MarginCalled", "RungChanged") for event in told["events"])
    assert check_proof(read_proof(json.dumps(told["proof"]).encode()), service.vkey)


def test_what_a_key_has_sent_is_its_own_to_read(service):
    answer = service.call(
        "POST", "/v1/withdrawals", {"account": "ann", "asset": "USD", "amount": "99999"}, key="ann", idempotency="mine"
    )
    told = ask(service, f"/v1/records/{answer.json()['sequence']}", key="ann")
    assert (told["actor"], told["key"], told["body"]["type"]) == ("ann", "mine", "Withdraw")
    assert told["events"][0]["type"] == "Rejected"


def test_a_foreign_record_is_told_like_an_absent_one(service):
    service.apply(deposit("bob", 5))
    sequence = service.context.feed.last
    foreign = ask(service, f"/v1/records/{sequence}", key="ann", status=404)
    assert foreign == ask(service, "/v1/records/999999", key="ann", status=404)
    service.key("spy", (Scope.READ, Scope.AUDIT_READ), ("ann",))
    assert ask(service, f"/v1/records/{sequence}", key="spy", status=404) == foreign
    assert ask(service, f"/v1/records/{sequence}", key="bob")
