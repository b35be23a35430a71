"""What would be: as the house would answer, on copies, and for one's own accounts alone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marginkeep.clearing import Clearinghouse, Rejected, Trade, Withdraw, state_hash, take_snapshot
from marginkeep.service.queries.excerpt import excerpt
from marginkeep.service.queries.what_if import Question, try_changes
from tests.ladder_houses import opened, usd
from tests.service.query_world import BTC, ask, deposit, ladder_log, marks, populate, trade

pytestmark = pytest.mark.without_shadows("nothing is applied to the house in question")


@pytest.fixture
def service(start_service):
    return populate(start_service(log=ladder_log()))


def what_if(service, document, key="ann", status=200):
    answer = service.call("POST", "/v1/what-if", document, key=key, idempotency="")
    assert answer.status_code == status, answer.text
    return answer.json()


def withdrawal(amount, account="ann"):
    return {"type": "Withdraw", "account": account, "asset": "USD", "amount": amount}


def test_a_fall_is_shown_before_and_after(service):
    told = what_if(service, {"account": "ann", "prices": {BTC: "46200"}})
    (before, _), (after, isolated) = told["before"], told["after"]
    assert (before["status"], after["status"]) == ("healthy", "margin_call")
    assert before == {**ask(service, "/v1/accounts/ann")["accounts"][0], "positions": before["positions"]}
    assert after["equity"] == "1200"
    assert isolated["account"] == "ann/BTC-PERP"
    shown = what_if(service, {"account": "ann/BTC-PERP", "prices": {BTC: "46200"}})
    assert [one["account"] for one in shown["after"]] == ["ann/BTC-PERP"]


def test_each_change_is_answered_as_the_house_would_answer_it(service):
    changes = [
        withdrawal("2000"),
        withdrawal("4000"),
        {"type": "Trade", "market": BTC, "buyer": "external", "seller": "ann", "size": "1", "price": "50000"},
        withdrawal("2000"),
        {
            "type": "ReserveOrder",
            "account": "ann",
            "order": "x",
            "market": "NONE",
            "side": "buy",
            "size": "1",
            "price": "1",
        },
    ]
    told = what_if(service, {"account": "ann", "changes": changes})
    assert [one["status"] for one in told["results"]] == ["accepted", "rejected", "accepted", "accepted", "rejected"]
    refused = told["results"][1]
    assert refused["refusal"] == "insufficient_balance"
    assert told["results"][4]["refusal"] == "unknown_market"
    assert told["after"][0]["balances"]["USD"] == "1000"


def test_nothing_is_changed_or_recorded(service):
    def state():
        async def read():
            return take_snapshot(service.context.house), service.context.durable.head.sequence

        return service.on_loop(read())

    before = state()
    what_if(service, {"account": "ann", "prices": {BTC: "30000"}, "changes": [withdrawal("1"), withdrawal("9999")]})
    what_if(service, {"prices": {BTC: "30000"}}, key="venue")
    assert state() == before


@given(amount=st.integers(1, usd(7_000)), size=st.integers(1, 2_000), fall=st.integers(-60, 20))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_withdrawal_is_refused_exactly_where_the_house_refuses_it(amount, size, fall):
    house = opened(None)
    for command in (deposit("ann", 6_000), deposit("bob", 900_000), trade("ann", "bob", size, 50_000)):
        house.apply(command)
    before = state_hash(house)
    price = 50_000 + fall * 10
    asked = Question(account="ann", prices={BTC: str(price)}, changes=[])
    cut = excerpt(house.state, ["ann"])
    answer = try_changes(cut, "ann", asked, 1)
    (event, *_) = cut.house.apply(Withdraw(account="ann", asset="USD", amount=amount))
    assert state_hash(house) == before
    house.apply(marks(price))
    if "ann" in house.state.ill or answer.after[0].status == "liquidatable":
        return
    (real, *_) = house.apply(Withdraw(account="ann", asset="USD", amount=amount))
    assert isinstance(event, Rejected) == isinstance(real, Rejected)
    if isinstance(event, Rejected):
        assert (event.code, event.numbers) == (real.code, real.numbers)


def test_an_excerpt_holds_the_owners_accounts_alone():
    house = opened(None)
    for command in (deposit("ann", 6_000), deposit("bob", 900_000)):
        house.apply(command)
    cut = excerpt(house.state, ["ann"]).house
    assert cut.state.names == ["external", "liquidator", "ann"]
    assert isinstance(cut, Clearinghouse)
    refused = cut.apply(Trade(market=BTC, buyer="ann", seller="bob", size=1, price=500_000))[0]
    assert refused.code == "unknown_account"


@pytest.mark.parametrize(
    "document",
    [
        {"account": "bob"},
        {"account": "nobody"},
        {"account": "ann", "changes": [withdrawal("1", "bob")]},
        {"account": "ann", "changes": [withdrawal("1", "nobody")]},
        {"account": "ann", "changes": [{**withdrawal("1"), "type": "Deposit", "account": "bob/BTC-PERP"}]},
        {
            "account": "ann",
            "changes": [{"type": "Trade", "market": BTC, "buyer": "ann", "seller": "bob", "size": "1", "price": "1"}],
        },
        {
            "account": "ann",
            "changes": [{"type": "Transfer", "source": "ann", "target": "bob", "asset": "USD", "amount": "1"}],
        },
    ],
)
def test_others_accounts_are_not_there(service, document):
    told = what_if(service, document, status=404)
    assert told["detail"] == "there is no such account among yours"


def test_the_whole_book_is_counted_for_the_venue_alone(service):
    assert what_if(service, {"prices": {BTC: "45250"}}, status=403)["code"] == "forbidden"
    told = what_if(service, {"prices": {BTC: "45250"}}, key="venue")
    assert (told["book_before"]["called"], told["book_before"]["shortfall"]) == (0, "0")
    # ann has 250 of 452.5 left; her isolated account 525 of 1,000
    assert (told["book_after"]["liquidatable"], told["book_after"]["shortfall"]) == (1, "202.5")
    told = what_if(service, {"prices": {BTC: "39000"}}, key="venue")
    assert (told["book_after"]["bankrupt"], told["book_after"]["deficit"]) == (2, "6100")


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ({}, 400, "bad_request"),
        ({"account": "ann", "prices": {BTC: "0"}}, 422, "rejected"),
        ({"account": "ann", "prices": {BTC: "50000.05"}}, 400, "bad_request"),
        ({"account": "ann", "prices": {"USD": "2"}}, 400, "bad_request"),
        ({"account": "ann", "prices": {"NONE": "2"}}, 422, "rejected"),
        ({"account": "ann", "prices": {BTC: 5.0}}, 400, "bad_request"),
        ({"account": "ann", "unknown": 1}, 400, "bad_request"),
        ({"account": "ann", "changes": [{"type": "AdoptRulebook", "rules": ""}]}, 400, "bad_request"),
        ({"account": "ann", "changes": [withdrawal("1")] * 101}, 400, "bad_request"),
        ({"account": "ann", "case": {"assets": {"USD": {}}}}, 400, "bad_request"),
        ({"case": {"assets": {}}}, 400, "bad_request"),
    ],
)
def test_strange_questions_are_refused(service, document, status, code):
    assert what_if(service, document, key="venue", status=status)["code"] == code


def test_a_whole_case_is_stated(service):
    case = {
        "assets": {"USD": {}},
        "markets": {BTC: {"settle": "USD", "tiers": [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]}},
        "prices": {BTC: "50000"},
        "accounts": [
            {
                "id": "alice",
                "balances": {"USD": "1000"},
                "positions": [{"market": BTC, "size": "0.5", "entry": "50000"}],
            }
        ],
    }
    (told,) = what_if(service, {"case": case})["accounts"]
    assert (told["id"], told["maintenance_margin"], told["positions"][0]["liquidation_price"][:8]) == (
        "alice",
        "250",
        "48484.84",
    )
