"""The rulebook of ``marginkeep serve --demo``: three perpetuals, an oracle, and a ladder with short deadlines."""

from __future__ import annotations

from typing import Final

SOURCES: Final = ("alpha", "bravo", "charlie")
"""Made-up sources; none is a venue."""

START_PRICES: Final = {"BTC": 100_000.0, "ETH": 4_000.0, "SOL": 200.0}

DEMO_RULES: Final = """\
# The rulebook of `marginkeep serve --demo`. Deadlines are short, so that there is something to see.
name = "demo"

[liquidation]
slippage = "0.002"
penalty = "0.005"
liquidator_share = "0.5"

[assets.USD]
decimals = 6

[markets.BTC-PERP]
settle = "USD"
lot = "0.001"
tick = "0.1"
max_price = "1000000"
tiers = [{ floor = "0", initial = "0.05", call = "0.035", maintenance = "0.02", target = "0.04" }]

[markets.ETH-PERP]
settle = "USD"
lot = "0.01"
tick = "0.01"
max_price = "100000"
tiers = [{ floor = "0", initial = "0.06", call = "0.042", maintenance = "0.025", target = "0.05" }]

[markets.SOL-PERP]
settle = "USD"
lot = "0.1"
tick = "0.001"
max_price = "10000"
tiers = [{ floor = "0", initial = "0.08", call = "0.055", maintenance = "0.03", target = "0.065" }]

[oracle]
sources = ["alpha", "bravo", "charlie"]

[oracle.defaults]
outlier_band = "0.02"

[oracle.feeds.BTC]
tick = "0.1"

[oracle.feeds.ETH]
tick = "0.01"

[oracle.feeds.SOL]
tick = "0.001"

[oracle.marks.BTC-PERP]
index = "BTC"
preset = "index"

[oracle.marks.ETH-PERP]
index = "ETH"
preset = "index"

[oracle.marks.SOL-PERP]
index = "SOL"
preset = "index"

[oracle.breakers.BTC-PERP]
triggers = [{ horizon = "60s", fall = "0.25", rise = "0.25", state = "guarded", duration = "30s" }]

[ladder]
dust = "50"
house_share = "0.1"
policy = "pro_rata"
socialise = "side"

[ladder.calls]
deadline = "60s"
reminders = ["30s", "10s"]
volatility = "1"
probability = "0.99"

[ladder.soft]
step = "5s"
duration = "30s"
initial_share = "0.1"
penalty = "0.001"
hard_factor = "0.8"

[ladder.auctions]
below_factor = "0.6"
curve = "linear"
start = "0"
most = "0.04"
illness = "0.01"
duration = "30s"
step = "1s"
restarts = 1
tip = "1"
most_debt = "50000000"
most_debt_of_market = "25000000"
"""
