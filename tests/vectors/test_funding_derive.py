"""portfolio-margin.jsonl: Derive's funding of an hour. Prices in ticks of 1, amounts in parts of 10^6."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.book.account import Position
from marginkeep.book.fills import book_funding
from marginkeep.clearing.funding_formulas import FundingDue, index_move
from marginkeep.clearing.funding_rates import FundingMachine
from marginkeep.oracle.market_prices import premium
from marginkeep.rulebook import build_tables, read_rulebook
from marginkeep.rulebook.durations import HOUR
from marginkeep.rulebook.funding_presets import derive
from marginkeep.units import RATE_ONE, parse_rate

from .reading import MARKET, NEEDS_VECTORS, SETTLE, Vector, cases_of, disagreements, each, flat

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "portfolio-margin"
MICRO: Final = 10**6
UNBOUNDED: Final = 10**12


def hourly_rate(vector: Vector) -> dict[str, Any]:
    """The static part is of an hour there, of the whole period here."""
    hours, cap = int(vector.inputs["convergence_hours"]), parse_rate(vector.inputs["cap_per_hour"], "cap")
    static = parse_rate(vector.inputs["static"], "static") * hours
    rules = replace(derive(MARKET), period_ns=hours * HOUR, interest=static, interest_period_ns=hours * HOUR)
    machine = FundingMachine(replace(rules, lowest=-cap, highest=cap))
    bid, ask, index = (int(vector.inputs[name]) for name in ("impact_bid", "impact_ask", "index"))
    machine.sample(premium([(bid, 1)], [(ask, 1)], index, 0, UNBOUNDED), 0)
    return {"rate_per_hour": Fraction(machine.pay(HOUR).rate, RATE_ONE)}


def cash(vector: Vector) -> dict[str, Any]:
    market = {"settle": SETTLE, "lot": "1", "tick": "1", "tiers": flat("0.1", "0.5")}
    rules = {"reporting": SETTLE, "assets": {SETTLE: {"decimals": 6}}, "markets": {MARKET: market}}
    table = build_tables(read_rulebook(rules)).markets[0]
    rate = parse_rate(vector.inputs["rate_per_hour"], "rate") * int(vector.inputs["hours"])
    moved = index_move(FundingDue(rate, None, 0, 0, 0, 0), table, int(vector.inputs["index"]))
    size = int(vector.inputs["size"])
    long, short = (book_funding(Position(size=sign * size), moved)[0] for sign in (1, -1))
    return {"long_cash": Fraction(long, MICRO), "short_cash": Fraction(short, MICRO)}


def funding(vector: Vector) -> dict[str, Any]:
    return hourly_rate(vector) if "rate_per_hour" in vector.expected else cash(vector)


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"perp_funding": funding}

LEFT_OUT: Final[dict[str, str]] = {}

LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_funding_is_met(vector: Vector) -> None:
    assert vector.tolerance == "exact"
    assert disagreements(replace(vector, tolerance="0"), CHECKS[vector.family], LEFT_OUT_FIGURES) == []
