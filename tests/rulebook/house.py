"""One rulebook in TOML and in JSON, and what happens when one field of it is changed."""

import copy

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

TOML = """
name = "house"
reporting = "USD"
levels = { call = "0.25", target = "0.5" }
liquidation = { slippage = 0.001, penalty = "0.01" }

[assets.USD]
[assets.BTC]
decimals = 8
tick = 0.01
weight = { initial = "0.90", maintenance = 0.95 }
debt_weight = { initial = "1.10", maintenance = "1.05" }

[markets.BTC-PERP]
settle = "USD"
lot = "0.001"
tick = 0.1
taker_fee = "0.0005"
maker_fee = "-0.0001"
max_position = "100"
tiers = [
  { floor = "0", initial = "0.02", maintenance = "0.01" },
  { floor = "100000", initial = "0.05", maintenance = "0.025" },
]
"""
JSON = """
{"name": "house", "reporting": "USD", "levels": {"call": 0.25, "target": 0.5},
 "liquidation": {"penalty": "1e-2", "slippage": "0.001"},
 "assets": {"USD": {}, "BTC": {"debt_weight": {"maintenance": 1.05, "initial": 1.1}, "tick": "0.010", "decimals": 8,
   "weight": {"initial": 0.9, "maintenance": "0.95"}}},
 "markets": {"BTC-PERP": {"tick": "0.1", "lot": 0.001, "settle": "USD", "maker_fee": -0.0001, "taker_fee": 5e-4,
   "tiers": [{"maintenance": 0.01, "initial": 0.02, "floor": 0},
     {"floor": 1e5, "initial": 0.05, "maintenance": 0.025}], "max_position": 100}}}
"""
BTC = ("assets", "BTC")
PERP = ("markets", "BTC-PERP")
DELETE = "(left out)"


def changed(path, value):
    """The rulebook of `JSON`, with one field set or deleted."""
    table = copy.deepcopy(parse_text(JSON, ".json", "house.json"))
    *outer, last = path
    inner = table
    for key in outer:
        inner = inner[key]
    if value is DELETE:
        del inner[last]
    else:
        inner[last] = value
    return table


def refusal(path, value):
    with pytest.raises(RulebookError) as caught:
        read_rulebook(changed(path, value))
    return str(caught.value)
