import asyncio
import json

import pytest

from marginkeep.clearing import take_snapshot
from marginkeep.clearing.commands import Deposit, SetPrices
from marginkeep.journal.durable import Request
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.settings import AccessSettings, ServerSettings, Settings
from marginkeep.service.writer import BATCH_REQUESTS_MAX

MARKET = "BTC-PERP"


def order(number, size="0.1", account="ann"):
    return {"account": account, "order": str(number), "market": MARKET, "side": "buy", "size": size, "price": "50000"}


def item(number, **command):
    return {"key": f"k-{number}", "command": {"type": "ReserveOrder", **order(number), **command}}


def withdrawal(number, amount="1", account="ann"):
    command = {"type": "Withdraw", "account": account, "asset": "USD", "amount": amount}
    return {"key": f"w-{number}", "command": command}


@pytest.fixture
def house(running_service):
    running_service.apply(
        SetPrices(marks={MARKET: 500_000}),
        *(Deposit(account=name, asset="USD", amount=10**10) for name in ("ann", "bob")),
    )
    return running_service


def send(house, *items, **options):
    return house.call("POST", "/v1/batch", {"commands": list(items)}, idempotency="", **options)


def last(house):
    return house.context.durable.durable.sequence


def test_commands_are_applied_in_order_and_a_refusal_is_a_value_among_the_results(house):
    release = {"key": "r", "command": {"type": "ReleaseOrder", "account": "ann", "order": "1"}}
    answer = send(house, item(1), item(2, size="1000"), release, item(4))
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()["results"]
    assert [one["status"] for one in (first, second, third, fourth)] == ["accepted", "rejected", "accepted", "accepted"]
    assert (second["refusal"], second["numbers"]["collateral"]) == ("insufficient_margin", "10000")
    assert third["events"][0]["type"] == "OrderReleased"
    assert [one["sequence"] for one in (first, second, third, fourth)] == list(range(last(house) - 3, last(house) + 1))


def test_a_retried_batch_is_answered_what_was_recorded(house):
    first = send(house, item(1), withdrawal(2)).json()["results"]
    end = last(house)
    again = send(house, item(1), withdrawal(2), item(3)).json()["results"]
    assert [{**one, "repeated": True} for one in first] == again[:2]
    assert (again[2]["repeated"], last(house)) == (False, end + 1)


def test_a_key_that_is_there_twice_stands_for_the_first_of_the_two(house):
    same, other = {**withdrawal(2), "key": "k-1"}, withdrawal(1)
    results = send(house, {**other, "key": "k-1"}, {**other, "key": "k-1"}, {**same, "command": item(9)["command"]})
    statuses = [(one["status"], one.get("repeated")) for one in results.json()["results"]]
    assert statuses == [("accepted", False), ("accepted", True), ("key_reused", None)]


@pytest.mark.parametrize(
    ("bad", "status", "said"),
    [
        (item(2, size="0.00001"), 400, "not a multiple of the lot"),
        (item(2, size=1), 400, "commands[1]"),
        (item(2, account="eve"), 404, "no such account"),
        ({"key": "", "command": withdrawal(1)["command"]}, 400, "commands[1]"),
        ({"key": "a", "command": {"type": "AdoptRulebook", "rules": ""}}, 400, "AdoptRulebook"),
        ({"key": "a", "command": {"type": "Deposit", "account": "ann", "asset": "USD", "amount": "1"}}, 403, "venue"),
        ({"key": "a", "command": {"type": "Halt"}}, 403, "scope"),
    ],
    ids=["fine", "number", "account", "keyless", "rulebook", "venue", "scope"],
)
def test_one_command_that_may_not_be_sent_refuses_the_whole_batch_and_says_which(house, bad, status, said):
    house.key("ann's", (Scope.READ, Scope.TRADE, Scope.TRANSFER), ("ann",))
    end = last(house)
    answer = send(house, item(1), bad, key="ann's")
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert "commands[1]" in answer.json()["detail"]
    assert last(house) == end


def test_a_market_that_the_rulebook_lacks_is_a_refusal_among_the_results(house):
    results = send(house, item(1, market="DOGE"), item(2)).json()["results"]
    assert [(one["status"], one.get("refusal")) for one in results] == [
        ("rejected", "unknown_market"),
        ("accepted", None),
    ]


@pytest.mark.without_shadows("hundreds of commands")
def test_what_is_submitted_at_once_is_applied_in_pieces_and_in_order(house, monkeypatch):
    count = BATCH_REQUESTS_MAX * 2 + 50
    writer, sizes = house.context.writer, []
    commit = writer.commits.submit
    monkeypatch.setattr(
        writer.commits, "submit", lambda requests, known: sizes.append(len(requests)) or commit(requests, known)
    )
    start = last(house)
    deposits = [Request(command=Deposit(account="ann", asset="USD", amount=1), actor="test") for _ in range(count)]

    async def submit_both():
        return await asyncio.gather(writer.submit(deposits), writer.submit(deposits[:1]), writer.submit([]))

    many, one, none = house.on_loop(submit_both())
    assert [outcome.sequence for outcome in (*many, *one)] == list(range(start + 1, start + count + 2))
    assert none == []
    assert sizes == [BATCH_REQUESTS_MAX, BATCH_REQUESTS_MAX, 51]


@pytest.mark.without_shadows("hundreds of commands")
def test_a_batch_longer_than_the_writers_own_stays_in_order(house):
    count = BATCH_REQUESTS_MAX * 2 + 50
    start = last(house)
    results = send(house, *(withdrawal(number, "0.000001") for number in range(count))).json()["results"]
    assert [one["sequence"] for one in results] == list(range(start + 1, start + count + 1))


def test_a_batch_is_bounded_in_number_and_in_bytes(start_service):
    service = start_service(Settings(server=ServerSettings(port=0, tick_seconds=0, batch_max=3)))
    many = send(service, *(withdrawal(number) for number in range(4)))
    assert (many.status_code, many.json()["code"]) == (413, "too_large")
    none = send(service)
    assert (none.status_code, none.json()["code"]) == (400, "bad_request")
    heavy = service.call("POST", "/v1/batch", content=b" " * (2**20 + 1))
    assert (heavy.status_code, heavy.json()["code"]) == (413, "too_large")
    assert service.call("POST", "/v1/batch", content=b" " * 2**20).status_code == 400


def test_each_command_of_a_batch_spends_its_own_bucket(start_service):
    limits = AccessSettings(requests_per_second=1, burst=10)
    service = start_service(Settings(server=ServerSettings(port=0, tick_seconds=0), access=limits))
    refused = send(service, *(withdrawal(number) for number in range(10)), *(withdrawal(n) for n in range(10, 12)))
    assert refused.status_code in (200, 429)
    answer = send(service, *(withdrawal(number) for number in range(20, 29)))
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
    assert int(answer.headers["retry-after"]) > 0
    safe = {"key": "s", "command": {"type": "ReleaseOrder", "account": "ann", "order": "1"}}
    assert send(service, safe).status_code == 200


def test_orders_are_tried_each_alone_and_nothing_changes(house):
    async def snapshot():
        return take_snapshot(house.context.house)

    before, end = house.on_loop(snapshot()), last(house)
    body = {"orders": [order(1, "2"), order(2, "2"), order(3, "1000"), {**order(4), "market": "DOGE"}]}
    answer = house.call("POST", "/v1/orders/check-batch", body, idempotency="")
    assert (house.on_loop(snapshot()), last(house)) == (before, end)
    results = answer.json()["results"]
    assert [one["status"] for one in results] == ["accepted", "accepted", "rejected", "rejected"]
    assert results[0]["free"] == results[1]["free"]
    assert [one.get("refusal") for one in results[2:]] == ["insufficient_margin", "unknown_market"]


def test_one_unreadable_order_refuses_all_of_them_and_says_which(house):
    body = {"orders": [order(1), order(2, "0.00001")]}
    answer = house.call("POST", "/v1/orders/check-batch", body)
    assert (answer.status_code, answer.json()["index"]) == (400, 1)
    assert json.loads(answer.text)["detail"].startswith("orders[1]")


def test_somebody_elses_order_is_not_tried(house):
    house.key("ann's", (Scope.READ, Scope.TRADE), ("ann",))
    body = {"orders": [order(1), order(2, account="bob")]}
    answer = house.call("POST", "/v1/orders/check-batch", body, key="ann's")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
