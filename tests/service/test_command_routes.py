import json

import msgspec
import pytest

from marginkeep.clearing import commands as core
from marginkeep.clearing import take_snapshot
from marginkeep.clearing.commands import Deposit, RegisterLiquidator, SetPrices, Trade
from marginkeep.service.access.command_rules import RULES
from marginkeep.service.access.scopes import Scope
from marginkeep.service.routes.commands import ROUTES

MARKET = "BTC-PERP"
PRICES = SetPrices(marks={MARKET: 500_000})
USER_SCOPES = (Scope.READ, Scope.TRADE, Scope.TRANSFER, Scope.LIQUIDATE)


def order(account="ann", number="1", size="0.1", **changes):
    body = {"account": account, "order": number, "market": MARKET, "side": "buy", "size": size, "price": "50000"}
    return {**body, **changes}


BODIES = {
    core.Deposit: {"account": "ann", "asset": "USD", "amount": "10"},
    core.Withdraw: {"account": "ann", "asset": "USD", "amount": "10"},
    core.Transfer: {"source": "ann", "target": "bob", "asset": "USD", "amount": "10"},
    core.AddMargin: {"account": "ann", "market": MARKET, "amount": "10"},
    core.RemoveMargin: {"account": "ann", "market": MARKET, "amount": "1"},
    core.ChangeMode: {"account": "ann", "market": MARKET, "mode": "isolated", "margin": "1"},
    core.ReserveOrder: order(),
    core.ReleaseOrder: {"account": "ann", "order": "1"},
    core.Trade: {"market": MARKET, "buyer": "ann", "seller": "external", "size": "0.1", "price": "50000"},
    core.SetPrices: {"marks": {MARKET: "50000"}},
    core.PublishQuotes: {"quotes": [{"source": "okx", "feed": "BTC", "price": "1", "source_ns": 1, "arrival_ns": 1}]},
    core.ObserveBook: {"market": MARKET, "bid": "49999", "ask": "50001", "at_ns": 1},
    core.PayFunding: {"market": MARKET, "rate": "0.0001"},
    core.AdvanceTime: {"now_ns": 1},
    core.Halt: {"market": MARKET, "state": "halted"},
    core.Resume: {"market": MARKET},
    core.TopUpFund: {"asset": "USD", "amount": "1000"},
    core.RegisterLiquidator: {"account": "carol"},
    core.Bid: {"account": "ann", "liquidator": "carol", "fraction": "0.5"},
}
"""A body for each command that may be sent; by default the money is there."""

KINDS = sorted(RULES, key=lambda kind: kind.__name__)


@pytest.fixture
def house(running_service):
    running_service.apply(
        PRICES, *(Deposit(account=name, asset="USD", amount=10**10) for name in ("ann", "bob", "carol"))
    )
    return running_service


def test_there_is_a_row_for_every_command_but_the_one_that_needs_a_proposal():
    assert set(core.Command.__subclasses__()) - set(RULES) == {core.AdoptRulebook}
    assert set(BODIES) == set(RULES)


@pytest.mark.without_shadows("the commands of many requests; other tests replay the same ones")
def test_every_command_has_a_route_that_applies_and_records_it(house):
    for kind in KINDS:
        before = house.context.durable.durable.sequence
        answer = house.call("POST", RULES[kind].path, BODIES[kind])
        assert answer.status_code in (200, 422), (kind, answer.text)
        body = answer.json()
        assert body.get("code", "") in ("", "rejected"), body
        if body.get("refusal", "") in ("unknown_feed",):
            continue  # the rulebook has no oracle: refused before it could be written in ticks
        assert body["sequence"] == before + 1
        record = next(iter(house.context.log.read(before)))
        assert msgspec.json.decode(record.body)["type"] == kind.__name__
        assert record.actor == "venue"


def test_an_order_is_answered_with_what_it_caused_in_whole_units(house):
    answer = house.call("POST", "/v1/orders", order())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    (event,) = answer.json()["events"]
    assert event == {"type": "OrderReserved", "postings": [], "account": "ann", "order": "1", "free": "9897.5"}


def test_a_refusal_is_a_problem_with_its_numbers_and_its_record(house):
    answer = house.call("POST", "/v1/orders", order(size="100"))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    body = answer.json()
    assert (body["code"], body["refusal"]) == ("rejected", "insufficient_margin")
    assert body["numbers"]["collateral"] == "10000"
    assert body["sequence"] == house.context.durable.durable.sequence


def test_a_retry_is_answered_what_was_recorded_and_nothing_is_done_twice(house):
    first = house.call("POST", "/v1/withdrawals", BODIES[core.Withdraw], idempotency="w-1")
    again = house.call("POST", "/v1/withdrawals", BODIES[core.Withdraw], idempotency="w-1")
    assert again.json() == {**first.json(), "repeated": True}
    assert house.context.durable.durable.sequence == first.json()["sequence"]


def test_a_retried_refusal_is_the_same_refusal(house):
    first = house.call("POST", "/v1/orders", order(size="100"), idempotency="o-1")
    again = house.call("POST", "/v1/orders", order(size="100"), idempotency="o-1")
    assert (again.status_code, again.json()) == (422, {**first.json(), "repeated": True})


def test_a_key_that_stands_for_another_command_is_refused(house):
    house.call("POST", "/v1/withdrawals", BODIES[core.Withdraw], idempotency="w-1")
    other = house.call("POST", "/v1/withdrawals", {**BODIES[core.Withdraw], "amount": "11"}, idempotency="w-1")
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


def test_the_same_key_of_two_callers_stands_for_two_commands(house):
    house.key("ann's", USER_SCOPES, ("ann",))
    mine = house.call("POST", "/v1/withdrawals", BODIES[core.Withdraw], key="ann's", idempotency="w-1")
    other = house.call("POST", "/v1/withdrawals", BODIES[core.Withdraw], idempotency="w-1")
    assert mine.json()["sequence"] != other.json()["sequence"]


def test_a_command_without_an_idempotency_key_is_refused(house):
    answer = house.call("POST", "/v1/orders", order(), idempotency="")
    assert (answer.status_code, answer.json()["code"]) == (400, "key_missing")


def test_an_order_is_released_by_its_path(house):
    house.call("POST", "/v1/orders", order(number="a b/c"))
    answer = house.call("DELETE", "/v1/accounts/ann/orders/a%20b%2Fc")
    if answer.status_code == 404:  # a slash ends a path's part: such ids are released by their body
        answer = house.call("POST", "/v1/orders/releases", {"account": "ann", "order": "a b/c"})
    assert answer.json()["events"][0]["type"] == "OrderReleased"
    house.call("POST", "/v1/orders", order(number="2"))
    assert house.call("DELETE", "/v1/accounts/ann/orders/2").json()["events"][0]["type"] == "OrderReleased"
    assert house.call("DELETE", "/v1/accounts/ann/orders/2").json()["refusal"] == "unknown_order"


def test_an_isolated_accounts_order_is_released_by_its_path(house):
    house.call("POST", "/v1/margin/additions", {"account": "ann", "market": MARKET, "amount": "1000"})
    house.call("POST", "/v1/orders", order(account=f"ann/{MARKET}"))
    answer = house.call("DELETE", f"/v1/accounts/ann/isolated/{MARKET}/orders/1")
    assert answer.json()["events"][0]["account"] == f"ann/{MARKET}"


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in KINDS for field in RULES[kind].accounts],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_a_key_acts_for_its_own_accounts_alone_and_others_look_absent(house, kind, field):
    house.apply(RegisterLiquidator(account="carol"))
    house.key("mallory's", USER_SCOPES, ("mallory",))
    sequence = house.context.durable.durable.sequence
    answers = []
    for account in ("ann", "ann/BTC-PERP", "absent"):
        answer = house.call("POST", RULES[kind].path, {**BODIES[kind], field: account}, key="mallory's")
        answers.append((answer.status_code, answer.json()))
    assert answers[0][0] == 404
    assert answers[0] == answers[1] == answers[2]
    assert house.context.durable.durable.sequence == sequence


@pytest.mark.parametrize("path", ["/v1/accounts/ann/orders/1", f"/v1/accounts/ann/isolated/{MARKET}/orders/1"])
def test_nobody_releases_somebody_elses_order(house, path):
    house.key("mallory's", USER_SCOPES, ("mallory",))
    answer = house.call("DELETE", path, key="mallory's")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("kind", [core.Deposit, core.Trade], ids=lambda kind: kind.__name__)
def test_nobody_credits_himself_or_reports_his_own_trades(house, kind):
    house.key("ann's", USER_SCOPES, ("ann",))
    answer = house.call("POST", RULES[kind].path, BODIES[kind], key="ann's")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_command_needs_its_scope(house, kind):
    house.key("other", tuple(scope for scope in Scope if scope is not RULES[kind].scope), ("*",))
    answer = house.call("POST", RULES[kind].path, BODIES[kind], key="other")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "body"),
        (b"[]", "object"),
        (b'{"account": "ann"', "body"),
        (b'{"account": "ann", "asset": "USD", "amount": 10}', "amount"),
        (b'{"account": "ann", "asset": "USD", "amount": "1", "more": 1}', "more"),
        (b'{"account": "", "asset": "USD", "amount": "1"}', "account"),
        (b'{"account": "' + b"a" * 65 + b'", "asset": "USD", "amount": "1"}', "account"),
        (b'{"account": "\xff", "asset": "USD", "amount": "1"}', "body"),
        (b'{"account": "ann", "asset": "USD", "amount": "0.0000001"}', "smallest unit"),
        (b"[" * 10_000, "body"),
    ],
    ids=["empty", "list", "cut", "number", "unknown", "nameless", "long", "bytes", "fine", "deep"],
)
def test_what_cannot_be_read_is_a_bad_request_and_is_not_recorded(house, content, said):
    sequence = house.context.durable.durable.sequence
    answer = house.call("POST", "/v1/withdrawals", content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
    assert said in answer.json()["detail"]
    assert house.context.durable.durable.sequence == sequence


def test_an_unknown_market_is_refused_like_the_clearinghouse_would(house):
    answer = house.call("POST", "/v1/orders", order(market="DOGE"))
    assert (answer.status_code, answer.json()["refusal"]) == (422, "unknown_market")


def test_one_side_of_a_trade_is_not_told_of_the_other(house):
    house.key("ann's", USER_SCOPES, ("ann",))
    house.apply(Trade(market=MARKET, buyer="ann", seller="bob", size=100, price=500_000))
    moved = house.call("POST", "/v1/transfers", BODIES[core.Transfer], key="ann's").json()
    assert moved["events"][0]["amount"] == "10"
    assert "bob" not in json.dumps(moved)


def test_the_dry_run_says_what_placing_says_and_changes_nothing(house):
    async def snapshot():
        return take_snapshot(house.context.house)

    before, head = house.on_loop(snapshot()), house.context.durable.head
    passed = house.call("POST", "/v1/orders/check", order(), idempotency="").json()
    failed = house.call("POST", "/v1/orders/check", order(size="100"), idempotency="")
    assert (house.on_loop(snapshot()), house.context.durable.head) == (before, head)
    assert passed == {"status": "accepted", "sequence": head.sequence, "free": "9897.5"}
    assert (failed.status_code, failed.json()["status"]) == (200, "rejected")
    placed = house.call("POST", "/v1/orders", order(size="100")).json()
    assert {name: failed.json()[name] for name in ("refusal", "numbers", "prices")} == {
        name: placed[name] for name in ("refusal", "numbers", "prices")
    }


def test_the_dry_run_looks_at_the_callers_own_accounts_alone(house):
    house.key("mallory's", USER_SCOPES, ("mallory",))
    answer = house.call("POST", "/v1/orders/check", order(), key="mallory's")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.handler_name)
def test_every_route_states_scope_bucket_and_whether_it_changes_anything(route):
    assert isinstance(route.opt["scope"], Scope)
    assert route.opt["bucket"] in ("read", "risk", "safety", "oracle", "admin")
    assert route.opt.get("mutates", False) == ("check" not in str(route.paths))
