"""vega.jsonl: prices over time and from a market's own book and trades. Seconds become nanoseconds, prices ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.market_prices import impact_price, impact_value, trades_price
from marginkeep.oracle.time_weighted import TimeWeighted
from marginkeep.units import parse_rate

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "vega"
SECOND: Final = 10**9


def nanoseconds(seconds: str) -> int:
    return int(seconds) * SECOND


def path_of(vector: Vector) -> TimeWeighted:
    path = TimeWeighted()
    for point in vector.inputs["points"]:
        assert path.observe(int(point["price"]), nanoseconds(point["t"]))
    return path


def funding_average(vector: Vector) -> dict[str, Any]:
    start, end = (nanoseconds(vector.inputs[name]) for name in ("start", "end"))
    auctions = [(nanoseconds(first), nanoseconds(last)) for first, last in vector.inputs["auctions"]]
    return {"twap": path_of(vector).average(start, end, auctions)}


def book_average(vector: Vector) -> dict[str, Any]:
    """What was observed before the period began is not carried into it."""
    now = nanoseconds(vector.inputs["now"])
    start = now - nanoseconds(vector.inputs["period"])
    return {"price": path_of(vector).average_floor(start, now, carry_in=False)}


def from_trades(vector: Vector) -> dict[str, Any]:
    trades = [(nanoseconds(row["t"]), int(row["price"]), int(row["size"])) for row in vector.inputs["trades"]]
    now, period = (nanoseconds(vector.inputs[name]) for name in ("now", "period"))
    decay = parse_rate(vector.inputs["alpha"], "alpha")
    return {"price": trades_price(trades, now, period, decay, int(vector.inputs["power"]))}


def book_impact(vector: Vector) -> dict[str, Any]:
    """The bids are measured by the margin of a short, the asks by that of a long."""
    bids, asks = ([(int(price), int(size)) for price, size in vector.inputs[side]] for side in ("bids", "asks"))
    initial, slippage, short, long = (
        parse_rate(vector.inputs[name], name)
        for name in ("initial_factor", "slippage", "risk_factor_short", "risk_factor_long")
    )
    cash = int(vector.inputs["cash_amount"])
    sold, bought = (impact_value(cash, initial, slippage, factor) for factor in (short, long))
    return {"price": impact_price(bids, asks, sold, bought)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "funding_twap": funding_average,
    "book_price_twap": book_average,
    "price_from_trades": from_trades,
    "book_impact_price": book_impact,
}

LEFT_OUT: Final[dict[str, str]] = {}

LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_price_is_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
