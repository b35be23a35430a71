"""vega.jsonl: what a funding period pays, and how it reaches the accounts. Prices are ticks, payments whole ticks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.clearing.funding_formulas import prices_due
from marginkeep.clearing.funding_venues import vega_flows
from marginkeep.rulebook.durations import DAY
from marginkeep.rulebook.funding_presets import vega
from marginkeep.units import RATE_ONE, format_units, parse_rate

from .reading import MARKET, NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "vega"
YEAR: Final = 365 * DAY
UNBOUNDED: Final = 10**18


def rate_of(vector: Vector, name: str, default: int) -> int:
    return parse_rate(vector.inputs.get(name, format_units(default, 9)), name)


def payment(vector: Vector) -> dict[str, Any]:
    period = vector.number("delta_years", "1") * YEAR
    assert period.denominator == 1
    rules = replace(
        vega(MARKET),
        interval_ns=int(period),
        period_ns=int(period),
        interest=rate_of(vector, "interest_rate", 0),
        damping=(rate_of(vector, "clamp_lower", 0), rate_of(vector, "clamp_upper", 0)),
        scale=rate_of(vector, "scaling_factor", RATE_ONE),
        lowest=rate_of(vector, "rate_lower_bound", -UNBOUNDED),
        highest=rate_of(vector, "rate_upper_bound", UNBOUNDED),
    )
    mark, index = int(vector.inputs["internal_twap"]), int(vector.inputs["external_twap"])
    due = prices_due(rules, mark, index, Fraction(0), vector.number("fraction_outside_auction", "1"))
    assert due.payment is not None
    answers = {"funding_payment": Fraction(due.payment, RATE_ONE), "funding_rate": Fraction(due.rate, RATE_ONE)}
    return {name: answers[name] for name in vector.expected}


def flows(vector: Vector) -> dict[str, Any]:
    positions = [int(position) for position in vector.inputs["positions"]]
    result = vega_flows(int(vector.inputs["funding_payment"]), positions, int(vector.inputs["position_factor"]))
    return {"losses": list(result.losses), "wins": list(result.wins), "left_over": result.left_over}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"funding_payment": payment, "funding_flows": flows}

LEFT_OUT: Final[dict[str, str]] = {}

LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_payment_is_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
