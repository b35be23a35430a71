"""One rulebook with a ladder that states everything, one that states least, and what a changed field does."""

import copy

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text
from tests.rulebook.house import DELETE

RULEBOOK = """
reporting = "USD"
[assets.USD]
[assets.BTC]
tick = "0.01"
[markets.BTC-PERP]
settle = "USD"
lot = "0.001"
tick = "0.1"
tiers = [{ floor = "0", initial = "0.05", call = "0.03", maintenance = "0.01", target = "0.04" }]
[markets.ETH-PERP]
settle = "USD"
lot = "0.01"
tick = "0.01"
tiers = [{ floor = "0", initial = "0.05", call = "0.03", maintenance = "0.01", target = "0.04" }]
"""
MINIMAL = (
    RULEBOOK
    + """
[ladder]
[ladder.calls]
[ladder.soft]
[ladder.auctions]
[ladder.funds.all]
[ladder.impact.BTC-PERP]
depth = "100"
"""
)
FULL = (
    RULEBOOK
    + """
[ladder]
dust = "10"
house_share = "0.05"
policy = "queue"
socialise = "market"
[ladder.calls]
deadline = "10m"
reminders = ["5m", "1m"]
volatility = "1.0"
probability = "0.99"
[ladder.soft]
step = "10s"
duration = "60s"
initial_share = "0.1"
penalty = "0.001"
hard_factor = "0.8"
[ladder.auctions]
below_factor = "0.5"
curve = "exponential"
start = "0.01"
most = "0.1"
illness = "0.1"
duration = "60s"
step = "5s"
cut = "0.99"
restarts = 1
tip = "1"
chip = "0.001"
most_debt = "1000000"
most_debt_of_market = "500000"
[ladder.funds.major]
markets = ["BTC-PERP"]
most_an_event = "1000"
most_a_day = "5000"
[ladder.funds.last]
[ladder.impact.BTC-PERP]
depth = "100"
impact = "0.01"
share = "0.1"
interval = "10s"
[ladder.impact.ETH-PERP]
depth = "1000"
"""
)


def changed(path, value, text=FULL):
    """The rulebook of a text with one field set, deleted or added; a path's parts are joined by a slash."""
    whole = copy.deepcopy(parse_text(text, ".toml", "house.toml"))
    *outer, last = path.split("/")
    inner = whole
    for key in outer:
        inner = inner[int(key)] if isinstance(inner, list) else inner.setdefault(key, {})
    if value is DELETE:
        del inner[last]
    else:
        inner[last] = value
    return whole


def read(text):
    return read_rulebook(parse_text(text, ".toml", "house.toml"))


def ladder_of(path, value, text=FULL):
    return read_rulebook(changed(f"ladder/{path}", value, text)).ladder


def refusal(path, value, text=FULL):
    with pytest.raises(RulebookError) as caught:
        read_rulebook(changed(path, value, text))
    return str(caught.value)
