"""Small houses with a ladder: BTC-PERP and ETH-PERP in USD, and whatever rungs a test states."""

from __future__ import annotations

from tests.houses import balance, fund, ledger, position, usd

from marginkeep.clearing import Clearinghouse, Event, Rejected, SetPrices, Trade
from marginkeep.rulebook import Rulebook, read_rulebook

__all__ = [
    "LADDER",
    "balance",
    "fund",
    "kinds",
    "ledger",
    "only",
    "opened",
    "position",
    "prices",
    "rules",
    "trade",
    "usd",
]

TIERS = [{"floor": "0", "initial": "0.05", "call": "0.03", "maintenance": "0.01", "target": "0.04"}]
LINEAR = {"settle": "USD", "tiers": TIERS}
MARKETS = {
    "BTC-PERP": {**LINEAR, "lot": "0.001", "tick": "0.1", "max_price": "1000000"},
    "ETH-PERP": {**LINEAR, "lot": "0.01", "tick": "0.01", "max_price": "100000"},
}
ASSETS = {"USD": {}, "BTC": {"tick": "0.01", "weight": {"initial": "0.9", "maintenance": "0.95"}}}

LADDER = {"policy": "pro_rata", "socialise": "side"}
"""The least: no call, nothing paced, no auction; winners and then the winning side bear what nobody pays."""


def rules(ladder: dict | None = LADDER, **changes) -> Rulebook:
    """The rulebook with a ladder; None leaves the ladder out. Other tables replace those of the same name."""
    table = {
        "assets": ASSETS,
        "liquidation": {"slippage": "0.002", "penalty": "0.003", "liquidator_share": "0.4"},
        "markets": MARKETS,
    }
    return read_rulebook({**table, **({} if ladder is None else {"ladder": ladder}), **changes})


def opened(ladder: dict | None = LADDER, btc: float = 50_000, eth: float = 3_000, **changes) -> Clearinghouse:
    """A clearinghouse with BTC at 50,000 and ETH at 3,000."""
    house = Clearinghouse(rules(ladder, **changes))
    house.apply(prices(btc, eth))
    return house


def prices(btc: float | None = None, eth: float | None = None) -> SetPrices:
    """A price command that moves the two markets, and BTC the asset."""
    marks = {"BTC-PERP": btc and round(btc * 10), "ETH-PERP": eth and round(eth * 100)}
    return SetPrices(
        marks={name: ticks for name, ticks in marks.items() if ticks}, prices={"BTC": round(btc * 100)} if btc else {}
    )


def trade(house: Clearinghouse, buyer: str, seller: str, lots: int, price: float, market: str = "BTC-PERP") -> None:
    """A trade at a price in USD, which must succeed."""
    ticks = round(price * (10 if market == "BTC-PERP" else 100))
    events = house.apply(Trade(market=market, buyer=buyer, seller=seller, size=lots, price=ticks))
    assert not isinstance(events[0], Rejected), events[0]


def kinds(events: tuple[Event, ...]) -> list[str]:
    """What happened, by the names of the events."""
    return [type(event).__name__ for event in events]


def only(events: tuple[Event, ...], kind: type) -> list:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]
