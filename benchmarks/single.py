"""Checks of one account at a time, in process: what an exchange asks before each order."""

from __future__ import annotations

from benchmarks.figures import Figure, seconds
from marginkeep.book.health import measure
from marginkeep.clearing import Clearinghouse, Deposit, ReleaseOrder, ReserveOrder, SetPrices, Trade
from marginkeep.rulebook import MAINTENANCE, read_rulebook

CHECKS = 5_000
HELD = 5


def measure_single() -> list[Figure]:
    """Measure a health check, and a reserve and release of an order, for an account with five positions."""
    house = _house()
    state = house.state
    index = state.index["ann"]
    account = state.book.read(index)

    def check() -> None:
        for _ in range(CHECKS):
            measure(account, state.valuation, MAINTENANCE)

    def read_and_check() -> None:
        for _ in range(CHECKS):
            measure(state.book.read(index), state.valuation, MAINTENANCE)

    def order() -> None:
        for _ in range(CHECKS // 10):
            house.apply(ReserveOrder(account="ann", order="1", market="M0-PERP", side="buy", size=5, price=500_000))
            house.apply(ReleaseOrder(account="ann", order="1"))

    return [
        Figure("health checks of one account", CHECKS / seconds(check), "/s", 20_000),
        Figure("the same, read from the columns", CHECKS / seconds(read_and_check), "/s", 20_000),
        Figure("orders reserved and released", CHECKS // 10 / seconds(order), "/s"),
    ]


def _house() -> Clearinghouse:
    tiers = [
        {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
        {"floor": "100000", "initial": "0.05", "maintenance": "0.025"},
    ]
    market = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000", "tiers": tiers}
    names = [f"M{number}-PERP" for number in range(HELD)]
    house = Clearinghouse(read_rulebook({"assets": {"USD": {}}, "markets": dict.fromkeys(names, market)}))
    house.apply(SetPrices(marks=dict.fromkeys(names, 500_000)))
    house.apply(Deposit(account="ann", asset="USD", amount=10**11))
    for name in names:
        house.apply(Trade(market=name, buyer="ann", seller="external", size=700, price=500_000))
    return house
