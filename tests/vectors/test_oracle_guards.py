"""lending-liquidation.jsonl: the growth cap of a yield-bearing ratio, and the limit and fee of a sudden price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.growth_cap import capped, highest_ratio
from marginkeep.oracle.jump_limit import JumpLimiter
from marginkeep.rulebook.oracle_rules import GrowthCap, JumpLimit
from marginkeep.units import RATE_ONE, floor_div

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "lending-liquidation"
SECOND: Final = 10**9
BASIS_POINT: Final = RATE_ONE // 10_000
CURVE: Final = JumpLimit(ratio=1_250_000_000, window_ns=120 * SECOND)


def growth_cap(vector: Vector) -> dict[str, Any]:
    """Cap a ratio; its price is the product with the base's price, rounded down."""
    given = {name: int(value) for name, value in vector.inputs.items()}
    cap = GrowthCap(given["snapshot_ratio"], 0, given["max_yearly_growth_bps"] * BASIS_POINT)
    now_ns = given["dt_s"] * SECOND
    ratio, is_capped = capped(given["current_ratio"], cap, now_ns)
    return {
        "max_ratio": highest_ratio(cap, now_ns),
        "capped": is_capped,
        "price": floor_div(given["base_price"] * ratio, 10 ** given["ratio_decimals"]),
    }


def jump_limit(vector: Vector) -> dict[str, Any]:
    """Publish the old price, which asks no fee, and then the new one."""
    given = {name: int(value) for name, value in vector.inputs.items()}
    assert given["old_fee"] == 0
    limiter, now_ns = JumpLimiter(CURVE), given["dt_s"] * SECOND
    limiter.limit(given["old_price"], 0)
    return {"limited_price": limiter.limit(given["new_price"], now_ns), "dynamic_fee": limiter.fee(now_ns)}


def oracle_guard(vector: Vector) -> dict[str, Any]:
    """Ask the guard that the case is about."""
    return growth_cap(vector) if "snapshot_ratio" in vector.inputs else jump_limit(vector)


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"oracle_guard": oracle_guard}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_guards_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
