"""One rulebook with an oracle that states everything, and what happens when one field of it is changed."""

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
[assets.ETH]
tick = "0.01"
[assets.WSTETH]
tick = "0.01"
[assets.USDC]
tick = "0.0001"
[markets.BTC-PERP]
settle = "USD"
lot = "0.001"
tick = "0.1"
tiers = [{ floor = "0", initial = "0.02", maintenance = "0.01" }]
[markets.ETH-PERP]
settle = "USD"
lot = "0.01"
tick = "0.01"
tiers = [{ floor = "0", initial = "0.02", maintenance = "0.01" }]
"""
MINIMAL = (
    RULEBOOK
    + """
[oracle]
sources = ["binance", "okx", "bybit"]
[oracle.stable]
[oracle.feeds.BTC]
[oracle.feeds.USDC]
[oracle.marks.BTC-PERP]
index = "BTC"
[oracle.breakers.BTC-PERP]
triggers = [{ horizon = "60s", fall = "0.1", rise = "0.1" }]
[oracle.venue_breaker]
markets = 3
[oracle.pegs.USDC]
target = "1"
stages = [{ name = "broken", deviation = "0.02" }]
"""
)
SPELLED_OUT = (
    RULEBOOK
    + """
[oracle]
stale_after = "5m"
[oracle.sources]
binance = { weight = 1, rank = 0, group = "binance", stale_after = "60s" }
okx = { weight = 1, rank = 0, group = "okx", stale_after = "60s" }
bybit = { weight = 1, rank = 0, group = "bybit", stale_after = "60s" }
[oracle.stable]
per_second = "0.0003"
delayed_per_hour = "0.06"
[oracle.score]
late_after = "5s"
memory = 50
quarantine_above = "0.5"
return_below = "0.1"
quarantine = "10m"
[oracle.defaults]
aggregate = "weighted_median"
trim = "0.25"
min_sources = 2
max_age = "15s"
max_ahead = "2s"
outlier_band = "0.02"
max_confidence = "0.01"
max_dispersion = "0.02"
volatile_band = "0.1"
average_half_life = "5m"
frozen_after = "0s"
[oracle.feeds.BTC]
tick = "0.01"
sources = ["bybit", "okx", "binance"]
delay = "0s"
[oracle.feeds.USDC]
tick = "0.0001"
[oracle.marks.BTC-PERP]
index = "BTC"
method = "median"
band = "0.05"
components = [
  { kind = "index", weight = 1, stale_after = "60s", reserve = false },
  { kind = "basis", window = "150s" },
  { kind = "mid" },
]
[oracle.actions]
open = ["valid"]
reduce = ["volatile", "stale", "uncertain", "divergent", "valid"]
withdraw = ["valid"]
call = ["valid", "stale", "uncertain", "divergent", "volatile", "too_few_sources", "halted"]
soft = ["valid", "stale", "uncertain", "volatile"]
liquidate = ["valid", "stale", "uncertain", "volatile"]
auction = ["valid", "stale", "uncertain", "volatile"]
settle = ["valid"]
fund = ["valid", "uncertain", "volatile"]
[oracle.breakers.BTC-PERP]
liquidation_share = "0.02"
liquidation_interval = "10s"
triggers = [{ horizon = "60s", fall = "0.1", rise = "0.1", state = "guarded", duration = "60s" }]
[oracle.venue_breaker]
markets = 3
state = "guarded"
[oracle.pegs.USDC]
target = "1"
dispersion = "0.01"
return_after = "6h"
stages = [{ name = "broken", deviation = "0.02", after = "1h", weight = "1", opens = false }]
"""
)
FULL = (
    RULEBOOK
    + """
[oracle.sources]
binance = { weight = 3, rank = 0, group = "cex", stale_after = "30s" }
chain = { weight = 2, rank = 1, group = "dex", stale_after = "90s" }
[oracle.stable]
[oracle.score]
[oracle.feeds.BTC]
score = { late_after = "4s" }
[oracle.feeds.ETH]
[oracle.feeds.BTC-CEX]
tick = "0.1"
[oracle.feeds.WSTETH]
base = "ETH"
tick = "0.000001"
sources = ["chain"]
delay = "1h"
growth_cap = { ratio = "1.15", since = "2026-01-01T00:00:00Z", yearly = "0.0968" }
jump_limit = { ratio = "1.25", window = "120s" }
[oracle.feeds.USDC]
[oracle.marks.BTC-PERP]
index = "BTC"
components = [
  { kind = "trades", decay = "0.5", power = 2, window = "2m" },
  { kind = "feed", feed = "BTC-CEX" },
  { kind = "basis", reserve = true },
]
[oracle.marks.ETH-PERP]
index = "ETH"
[oracle.breakers.BTC-PERP]
triggers = [
  { horizon = "60s", fall = "0.1", rise = "0.2", state = "guarded", duration = "60s" },
  { horizon = "1h", probability = "0.9999999", volatility = "1", drift = "0", state = "halted", duration = "5m" },
]
[oracle.breakers.ETH-PERP]
[oracle.venue_breaker]
markets = 2
[oracle.pegs.USDC]
target = "1"
stages = [
  { name = "strained", deviation = "0.005", weight = { initial = "0.9", maintenance = "1" }, opens = true },
  { name = "broken", deviation = "0.02", after = "10m", weight = "0.5" },
]
"""
)


def table(text=FULL):
    return parse_text(text, ".toml", "house.toml")


def changed(path, value, text=FULL):
    """The rulebook of a text with one field set, deleted or added; a path's parts are joined by a slash."""
    whole = copy.deepcopy(table(text))
    *outer, last = ["oracle", *path.split("/")]
    inner = whole
    for key in outer:
        inner = inner[int(key)] if isinstance(inner, list) else inner.setdefault(key, {})
    if isinstance(inner, list):
        last = int(last)
    if value is DELETE:
        del inner[last]
    else:
        inner[last] = value
    return whole


def oracle_of(path, value, text=FULL):
    return read_rulebook(changed(path, value, text)).oracle


def refusal(path, value, text=FULL):
    with pytest.raises(RulebookError) as caught:
        read_rulebook(changed(path, value, text))
    return str(caught.value)
