"""One case as a file and as a table, and what happens when one field of it is changed."""

import copy

import pytest

from marginkeep.book import read_case
from marginkeep.errors import InputError

TOML = """
[assets.USD]
decimals = 6
[assets.BTC]
price = "50000"
weight = { initial = "0.90", maintenance = "0.95" }
[markets.BTC-PERP]
kind = "perpetual"
payoff = "linear"
settle = "USD"
contract_size = "1"
lot = "0.001"
tick = "0.1"
tier_kind = "marginal"
tiers = [ { floor = "0", initial = "0.02", maintenance = "0.01" },
          { floor = "100000", initial = "0.05", maintenance = "0.025" } ]
[prices]
BTC-PERP = "50000"
[[accounts]]
id = "alice"
mode = "cross"
balances = { USD = "10000", BTC = "0.1" }
positions = [ { market = "BTC-PERP", size = "-1.5", entry = "48000" } ]
orders = [ { market = "BTC-PERP", side = "buy", size = "0.5", price = "47000" } ]
"""
TIERS = [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]
TABLE = {
    "assets": {"USD": {}, "BTC": {"price": "50000"}},
    "markets": {"BTC-PERP": {"settle": "USD", "lot": "0.001", "tick": "0.1", "tiers": TIERS}},
    "prices": {"BTC-PERP": "50000"},
    "accounts": [
        {
            "id": "alice",
            "balances": {"USD": "10000", "BTC": "0.1"},
            "positions": [{"market": "BTC-PERP", "size": "-1.5", "entry": "48000"}],
            "orders": [{"market": "BTC-PERP", "side": "buy", "size": "0.5", "price": "47000"}],
        }
    ],
}
ALICE = ("accounts", 0)
POSITION = (*ALICE, "positions", 0)
ORDER = (*ALICE, "orders", 0)
DELETE = "(left out)"


def changed(*fields):
    table = copy.deepcopy(TABLE)
    for (*outer, last), value in fields:
        inner = table
        for key in outer:
            inner = inner[key]
        if value is DELETE:
            del inner[last]
        else:
            inner[last] = value
    return table


def refusal(*fields, prices=None):
    with pytest.raises(InputError) as caught:
        read_case(changed(*fields), prices)
    return str(caught.value)


def accounts(*rows):
    return changed((("accounts",), list(rows)))
