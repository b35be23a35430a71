"""A service with a few people in it: ann long and bob short, each with a key of its own, and rules with a ladder."""

from __future__ import annotations

from marginkeep.clearing import AddMargin, Deposit, ReserveOrder, SetPrices, Trade
from marginkeep.journal.record import Genesis
from marginkeep.service.access.scopes import Scope
from tests.clearing.ladder_world import AUCTIONS, FULL
from tests.ladder_houses import rules_text, usd
from tests.service.conftest import memory_log

BTC = "BTC-PERP"
LADDER = {**FULL, "auctions": {**AUCTIONS, "below_factor": "0.7"}}


def ladder_log(ladder=LADDER):
    """A new journal in memory under rules with a ladder."""
    return memory_log(Genesis(name="test.example/queries", rules=rules_text(ladder), created_ns=1))


def deposit(name, amount):
    return Deposit(account=name, asset="USD", amount=usd(amount))


def trade(buyer, seller, lots, price):
    return Trade(market=BTC, buyer=buyer, seller=seller, size=lots, price=round(price * 10))


def marks(btc, eth=3_000):
    return SetPrices(marks={BTC: round(btc * 10), "ETH-PERP": round(eth * 100)}, prices={"BTC": round(btc * 100)})


def populate(service):
    """Ann holds 1 BTC long and an order, bob the other side, ann/BTC-PERP 0.1 of its own; keys of both."""
    service.apply(marks(50_000), deposit("ann", 6_000), deposit("bob", 90_000))
    service.apply(AddMargin(account="ann", market=BTC, amount=usd(1_000)))
    service.apply(trade("ann", "bob", 1_000, 50_000), trade("ann/BTC-PERP", "bob", 100, 50_000))
    order = ReserveOrder(account="ann", order="o1", market="ETH-PERP", side="buy", size=10, price=290_000)
    service.apply(order)
    for name in ("ann", "bob"):
        service.key(name, (Scope.READ, Scope.TRADE, Scope.TRANSFER), (name,))
    return service


def ask(service, path, key="ann", status=200):
    """Ask and return the answer's document; the status must be as expected."""
    answer = service.call("GET", path, key=key, idempotency="")
    assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()
