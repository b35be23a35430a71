"""vega.jsonl: bounds of price monitoring, as factors, and as a breaker applies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.breakers import Breaker
from marginkeep.rulebook.lognormal import apply_bounds, lognormal_bounds
from marginkeep.rulebook.oracle_rules import REDUCE_ONLY, BreakerRules, BreakerTrigger

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "vega"
SECOND: Final = 10**9


def factors(vector: Vector) -> tuple[int, int]:
    horizon = int(vector.number("horizon_seconds")) * SECOND
    return lognormal_bounds(vector.number("probability"), vector.number("sigma"), vector.number("mu"), horizon)


def bounds(vector: Vector) -> dict[str, Any]:
    lowest, highest = apply_bounds(int(vector.number("ref_price")), *factors(vector))
    return {"min_bound": lowest, "max_bound": highest}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"price_monitoring_bounds": bounds}
LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}
CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_bounds_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []


@NEEDS_VECTORS
@each(CASES)
def test_a_breaker_lets_the_bounds_pass_and_stops_the_next_tick(vector: Vector) -> None:
    horizon = int(vector.number("horizon_seconds")) * SECOND
    trigger = BreakerTrigger(horizon, *factors(vector), REDUCE_ONLY, SECOND)
    breaker = Breaker(BreakerRules((trigger,), 0, SECOND))
    breaker.observe(int(vector.number("ref_price")), 0)
    lowest, highest = int(vector.expected["min_bound"]), int(vector.expected["max_bound"])
    stopped = [breaker.would_breach(price, 1) is not None for price in (lowest - 1, lowest, highest, highest + 1)]
    assert stopped == [True, False, False, True]
