"""The book of the service's benchmarks: people with leverage under a rulebook that calls them before it closes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from marginkeep.book.valuation import Valuation
from marginkeep.clearing import Clearinghouse, SetPrices
from marginkeep.clearing.snapshot import take_snapshot
from marginkeep.journal.record import Genesis
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep.lab.population import generate_population
from marginkeep.rulebook import build_tables, read_rulebook
from marginkeep.rulebook.reading import parse_text

if TYPE_CHECKING:
    from pathlib import Path

MARKETS: Final = tuple(f"M{number}-PERP" for number in range(8))
MARK_TICKS: Final = 500_000
TICK: Final = "0.1"
SIZE: Final = "0.001"
SEED: Final = 11
RULES: Final = """\
name = "bench"

[assets.USD]
decimals = 6

[ladder]
dust = "10"
policy = "pro_rata"
socialise = "side"

[ladder.calls]
deadline = "15m"
volatility = "1"
probability = "0.99"
""" + "".join(
    f"""
[markets.{name}]
settle = "USD"
lot = "0.001"
tick = "{TICK}"
max_price = "1000000"
tiers = [
  {{ floor = "0", initial = "0.05", call = "0.035", maintenance = "0.02", target = "0.042" }},
  {{ floor = "1000000", initial = "0.1", call = "0.07", maintenance = "0.04", target = "0.085" }},
]
"""
    for name in MARKETS
)


def called_house(accounts: int) -> Clearinghouse:
    """Return a house with a generated book, every market at 50,000."""
    rulebook = read_rulebook(parse_text(RULES, ".toml", "the rulebook of the benchmark"))
    valuation = Valuation(build_tables(rulebook))
    for market in range(len(MARKETS)):
        valuation.set_mark(market, MARK_TICKS)
    population = generate_population(valuation, accounts, SEED)
    house = Clearinghouse.opened_with(rulebook, population.book, population.names)
    house.apply(SetPrices(marks=dict.fromkeys(MARKETS, MARK_TICKS)))
    return house


def make_journal(path: Path, house: Clearinghouse) -> None:
    """Make a journal in which the book stands as opening."""
    log = SqliteLog(path)
    log.create(
        Genesis(name="bench.example/service", rules=RULES, created_ns=time.time_ns(), opening=take_snapshot(house))
    )
    log.close()
