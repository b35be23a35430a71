"""Small houses to test in: a rulebook with the usual kinds of market, and shorthands for commands."""

from __future__ import annotations

from marginkeep.clearing import Clearinghouse, Deposit, Rejected, SetPrices
from marginkeep.rulebook import Rulebook, read_rulebook

TIERS = [
    {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
    {"floor": "100000", "initial": "0.05", "maintenance": "0.025"},
]
JUMPING_TIERS = [
    {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
    {"floor": "5", "initial": "0.04", "maintenance": "0.02"},
]


LINEAR = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000"}
BTC = {"tick": "0.01", "weight": {"initial": "0.9", "maintenance": "0.95"}, "max_price": "200000"}
INVERSE = {"settle": "BTC", "payoff": "inverse", "lot": "1", "contract_size": "1", "tick": "0.5"}


def rules(**changes) -> Rulebook:
    """BTC-PERP and ETH-PERP (linear, in USD), BTC-INV (inverse, in BTC), BTC-OKX (whole-position tiers)."""
    markets = {
        "BTC-PERP": {**LINEAR, "taker_fee": "0.0005", "maker_fee": "-0.0001", "tiers": TIERS},
        "ETH-PERP": {
            **LINEAR,
            "lot": "0.01",
            "tick": "0.01",
            "max_price": "100000",
            "taker_fee": "0.0005",
            "maker_fee": "0.0002",
            "tiers": TIERS,
        },
        "BTC-INV": {
            **INVERSE,
            "max_price": "1000000",
            "tier_unit": "contracts",
            "taker_fee": "0.0005",
            "tiers": TIERS,
        },
        "BTC-OKX": {**LINEAR, "tier_kind": "whole_position", "tier_unit": "base", "tiers": JUMPING_TIERS},
    }
    table = {
        "assets": {"USD": {}, "BTC": BTC},
        "liquidation": {"slippage": "0.002", "penalty": "0.003", "liquidator_share": "0.4"},
        "markets": markets,
    }
    table.update(changes)
    return read_rulebook(table)


def opened(**changes) -> Clearinghouse:
    """A clearinghouse with BTC at 50,000 and ETH at 3,000."""
    house = Clearinghouse(rules(**changes))
    house.apply(prices(btc=50_000, eth=3_000))
    return house


def prices(btc: float | None = None, eth: float | None = None) -> SetPrices:
    """A price command that moves BTC's three markets and its asset together."""
    marks, assets = {}, {}
    if btc is not None:
        marks |= {"BTC-PERP": round(btc * 10), "BTC-OKX": round(btc * 10), "BTC-INV": round(btc * 2)}
        assets["BTC"] = round(btc * 100)
    if eth is not None:
        marks["ETH-PERP"] = round(eth * 100)
    return SetPrices(marks=marks, prices=assets)


def usd(amount: float) -> int:
    """USD in smallest units."""
    return round(amount * 10**6)


def fund(house: Clearinghouse, account: str, amount: float, asset: str = "USD") -> None:
    """Deposit, which must succeed."""
    units = usd(amount) if asset == "USD" else round(amount * 10**8)
    events = house.apply(Deposit(account=account, asset=asset, amount=units))
    assert not isinstance(events[0], Rejected), events[0]


def balance(house: Clearinghouse, account: str, asset: str = "USD") -> int:
    """An account's balance in smallest units."""
    state = house.state
    return state.book.read(state.index[account]).balances.get(state.tables.asset_index[asset], 0)


def ledger(house: Clearinghouse, name: str, asset: str = "USD") -> int:
    """A ledger account's balance in smallest units."""
    return house.state.ledger.get((name, house.state.tables.asset_index[asset]), 0)


def position(house: Clearinghouse, account: str, market: str):
    """An account's position, or None."""
    state = house.state
    return state.book.read(state.index[account]).positions.get(state.tables.market_index[market])
