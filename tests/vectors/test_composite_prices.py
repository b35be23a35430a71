"""vega.jsonl: composite prices, by weights and by median, without their stale sources."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.composite import fresh, median, weighted

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "vega"


def fresh_prices(vector: Vector) -> list[int | None]:
    """Return the prices with those of stale sources missing."""
    now = int(vector.inputs["now"])
    sources = zip(vector.inputs["prices"], vector.inputs["last_update"], vector.inputs["tolerance"], strict=True)
    return [
        int(price) if price is not None and fresh(int(last), int(tolerance), now) else None
        for price, last, tolerance in sources
    ]


def by_weights(vector: Vector) -> dict[str, Any]:
    """Weights have a decimal there and are whole numbers here; only their proportions matter."""
    weights = [int(10 * Fraction(weight)) for weight in vector.inputs["weights"]]
    return {"price": weighted(fresh_prices(vector), weights)}


def by_median(vector: Vector) -> dict[str, Any]:
    return {"price": median(fresh_prices(vector))}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "composite_price_weighted": by_weights,
    "composite_price_median": by_median,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_composite_price_is_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
