"""Checkpoints, proofs that they continue each other, and explanations, over the network."""

from __future__ import annotations

import json

import msgspec
import pytest

from marginkeep.clearing import ReserveOrder
from marginkeep.journal.checkpoint import Signer, make_key
from marginkeep.journal.proofs import Continuation, check_continuation
from marginkeep.service.operations.settings import JournalSettings, ServerSettings, Settings
from marginkeep.service.routes import audit as routes_audit
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


def call_ann(service):
    """Prices by which ann is called, and the record; a checkpoint is signed at once."""
    service.apply(marks(46_200), actor="feeder")
    return service.context.feed.last


def test_checkpoints_are_listed_and_continue_each_other(service):
    first = call_ann(service)
    service.apply(deposit("ann", 5_000), marks(50_000), marks(41_000))
    sizes = [one["size"] for one in ask(service, "/v1/checkpoints")["checkpoints"]]
    assert first in sizes
    assert len(sizes) >= 2
    latest = ask(service, "/v1/checkpoints/latest")
    assert latest["size"] == sizes[-1]
    page = ask(service, "/v1/checkpoints?limit=1")
    assert [one["size"] for one in page["checkpoints"]] == sizes[:1] == [page["next"]]
    told = ask(service, f"/v1/proofs/consistency?old={sizes[0]}&new={sizes[-1]}")
    old, new = check_continuation(msgspec.convert(told, Continuation), service.vkey)
    assert (old.size, new.size) == (sizes[0], sizes[-1])
    assert ask(service, f"/v1/proofs/consistency?old={sizes[0]}") == told


@pytest.mark.parametrize(("query", "status"), [("old=0", 404), ("old=-3", 404), ("old=99999", 404), ("new=1", 400)])
def test_checkpoints_that_are_not_there_are_not_proved(service, query, status):
    call_ann(service)
    ask(service, f"/v1/proofs/consistency?{query}", status=status)


def test_a_checkpoint_does_not_continue_a_larger_one(service):
    size = call_ann(service)
    assert "smaller" in ask(service, f"/v1/proofs/consistency?old={size}&new={size - 1}", status=400)["detail"]


def test_a_decision_is_explained_to_whom_it_concerns(service):
    sequence = call_ann(service)
    told = ask(service, "/v1/why?account=ann")
    assert (told["sequence"], told["command"], told["actor"]) == (sequence, "SetPrices", "")
    assert told["equity"] == "1200"
    total = sum(msgspec.convert(amount, type=float, strict=False) for amount in told["sums"].values())
    assert total == 1_200
    assert {price["actor"] for price in told["prices"]} == {""}
    assert told["statement"]["status"] == "margin_call"
    assert '"bob"' not in json.dumps(told)
    whole = ask(service, "/v1/why?account=ann", key="venue")
    assert (whole["actor"], whole["prices"][0]["actor"]) == ("feeder", "feeder")
    assert whole["walk"] == told["walk"]


def test_foreign_accounts_are_explained_to_nobody(service):
    sequence = call_ann(service)
    foreign = ask(service, f"/v1/why?account=ann&sequence={sequence}", key="bob", status=404)
    assert foreign == ask(service, f"/v1/why?account=zed&sequence={sequence}", key="bob", status=404)
    spared = ask(service, f"/v1/why?account=bob&sequence={sequence}", key="bob", status=404)
    assert "ann" not in spared["detail"]


def test_what_only_has_the_name_of_an_account_in_it_is_not_explained_to_its_owner(service):
    order = ReserveOrder(account="bob", order="ann", market="ETH-PERP", side="buy", size=10, price=290_000)
    service.apply(order)
    path = f"/v1/why?account=ann&sequence={service.context.feed.last}"
    assert "bob" not in ask(service, path, status=404)["detail"]


def test_a_refusal_is_explained_to_the_key_that_asked_alone(service):
    service.key("ann-2", ("read",), ("ann",))
    answer = service.call("POST", "/v1/withdrawals", {"account": "ann", "asset": "USD", "amount": "99999"}, key="ann")
    path = f"/v1/why?account=ann&sequence={answer.json()['sequence']}"
    assert ask(service, path)["events"][0]["type"] == "Rejected"
    ask(service, path, key="ann-2", status=404)


def test_a_walk_from_a_snapshot_begins_there_and_says_so(service):
    async def snapshot():
        service.context.durable.begin_snapshot().write(service.context.log)

    service.on_loop(snapshot())
    start = service.context.feed.last
    call_ann(service)
    told = ask(service, "/v1/why?account=ann")
    assert told["since"] == start + 1
    assert (told["opening"], told["equity"]) == ("5000", "1200")


def test_what_lies_too_far_back_is_left_to_the_command_line(service, monkeypatch):
    sequence = call_ann(service)
    monkeypatch.setattr(routes_audit, "REPLAYED_MAX", 3)
    told = ask(service, f"/v1/why?account=ann&sequence={sequence}", key="venue", status=404)
    assert "use `marginkeep why` where the journal is" in told["detail"]


@pytest.mark.parametrize("query", ["", "account=ann&sequence=-1", "account=ann&sequence=x", "account=ann&deep=1"])
def test_strange_questions_are_refused(service, query):
    assert ask(service, f"/v1/why?{query}", status=400)["code"] == "bad_request"
