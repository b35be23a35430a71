"""Small houses with a ladder: BTC-PERP and ETH-PERP in USD, and whatever rungs a test states."""

from __future__ import annotations

from marginkeep.book.health import measure
from marginkeep.clearing import Clearinghouse, Event, Rejected, SetPrices, Trade, check_conservation
from marginkeep.clearing.state import FUNDING
from marginkeep.rulebook import MAINTENANCE, Rulebook, read_rulebook
from marginkeep.units import RATE_ONE
from tests.houses import balance, fund, ledger, position, usd

__all__ = [
    "LADDER",
    "balance",
    "check_books",
    "fund",
    "kinds",
    "ledger",
    "only",
    "opened",
    "position",
    "prices",
    "rules",
    "rules_text",
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


def tables(ladder: dict | None = LADDER, **changes) -> dict:
    """The tables of a rulebook; None leaves the ladder out. Other tables replace those of the same name."""
    table = {
        "assets": ASSETS,
        "liquidation": {"slippage": "0.002", "penalty": "0.003", "liquidator_share": "0.4"},
        "markets": MARKETS,
    }
    return {**table, **({} if ladder is None else {"ladder": ladder}), **changes}


def rules(ladder: dict | None = LADDER, **changes) -> Rulebook:
    """The rulebook of these tables."""
    return read_rulebook(tables(ladder, **changes))


def rules_text(ladder: dict | None = LADDER, **changes) -> str:
    """The same rulebook as TOML text, to be adopted."""
    return "\n".join(f"{key} = {_toml(value)}" for key, value in tables(ladder, **changes).items())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'


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


def check_books(house: Clearinghouse) -> None:
    """Nothing is made or lost, in funding not yet booked neither; whoever is below maintenance has a standing."""
    check_conservation(house)
    state = house.state
    accounts = [state.book.read(index) for index in range(state.book.count)]
    for market in state.tables.markets:
        held = state.ledger.get((FUNDING + market.name, market.settle), 0) * RATE_ONE
        owed = 0
        for account in accounts:
            if position := account.positions.get(market.index):
                index = state.valuation.funding_index(market.index, position.size)
                owed += position.size * (index - position.funding_entry)
        assert held + owed == state.funding_dust[market.index], f"funding of {market.name}: {held} held, {owed} owed"
    for name, account in zip(state.names, accounts, strict=True):
        assert measure(account, state.valuation, MAINTENANCE).health >= 0 or name in state.ill, f"{name} is forgotten"
