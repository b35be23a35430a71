"""venues.jsonl: which tier holds, the amounts its table implies, and the largest leverage it allows.

A case states a table by floors; a venue's cap is the next floor, and the last tier has none. At a floor both tiers
require the same, so whether a floor belongs to the tier below or above it, where venues differ, moves no figure.
"""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.book import read_case
from marginkeep.rulebook import MAINTENANCE
from marginkeep.rulebook.tables import tier_at
from marginkeep.units import RATE_ONE

from .reading import (
    ACCOUNT,
    MARKET,
    NEEDS_VECTORS,
    UNIT,
    Near,
    Vector,
    cases_of,
    disagreements,
    each,
    half_of_last_digit,
    one_position,
    one_step,
    rate_up,
    state,
    state_one,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "venues"
ONE: Final = Fraction(1)


def tier_rows(vector: Vector) -> list[dict[str, str]]:
    """Return a vector's tier table as a case has it: a cap is the next floor, and the last tier has none."""
    rows: list[dict[str, str]] = []
    floor = "0"
    for row in vector.inputs["tiers"]:
        if isinstance(row, list):
            limit, rate, leverage = row[0], row[1], None
        else:
            floor, rate, leverage = row.get("floor", floor), row["mmr"], row.get("max_leverage")
            limit = row.get("risk_limit", floor)
        initial = {"initial": rate} if leverage is None else {"max_leverage": leverage}
        rows.append({"floor": floor, **initial, "mmr": rate})
        floor = limit
    return rows


def tier_lookup(vector: Vector) -> dict[str, Any]:
    """Read the rate off the rulebook's table, and the amount off the requirement: value * rate - requirement."""
    notional = vector.number("notional")
    case = one_position(tier_rows(vector), notional, ONE)
    table = read_case(case)
    rate = Fraction(tier_at(table.tables.markets[0].tiers[MAINTENANCE], int(notional / UNIT))[2], RATE_ONE)
    required = Fraction(state_one(case)[1].maintenance_margin)
    answers = {"maintenance_amount": notional * rate - required}
    return {"mmr": rate, **answers} if "mmr" in vector.expected else answers


def tier_amounts(vector: Vector) -> dict[str, Any]:
    """Put one account at every floor: its requirement there reveals the tier's amount, from the second tier on."""
    if "notional" in vector.inputs:
        return tier_lookup(vector)
    rows = tier_rows(vector)
    notionals = [Fraction(1), *(Fraction(row["floor"]) for row in rows[1:])]
    case = one_position(rows, ONE, ONE)
    case["accounts"] = [
        {"id": str(index), "positions": [{"market": MARKET, "size": text(notional), "entry": "1"}]}
        for index, notional in enumerate(notionals)
    ]
    stated = state(case)
    amounts = [
        notional * Fraction(row["mmr"]) - Fraction(stated[str(index)].maintenance_margin)
        for index, (notional, row) in enumerate(zip(notionals, rows, strict=True))
    ]
    return {next(iter(vector.expected)): amounts}


def hyperliquid_amount(vector: Vector) -> dict[str, Any]:
    """Give the table both leverages, and maintenance at half of each initial rate; half of 1/L is the venue's rule."""
    floor = vector.number("lower_bound")
    leverages = [vector.number("max_leverage_0"), vector.number("max_leverage_1")]
    rows = [
        {"floor": text(start), "max_leverage": text(leverage), "mmr": text(1 / (2 * leverage))}
        for start, leverage in zip((Fraction(0), floor), leverages, strict=True)
    ]
    required = Fraction(state_one(one_position(rows, 2 * floor, ONE))[1].maintenance_margin)
    return {"deduction": 2 * floor / (2 * leverages[1]) - required}


def hyperliquid_rate(vector: Vector) -> dict[str, Any]:
    """State the leverage and half of its rate: the requirements come out as 2 to 1."""
    leverage, notional = vector.number("max_leverage"), Fraction(1000)
    rate = rate_up(1 / (2 * leverage))
    rows = [{"floor": "0", "max_leverage": text(leverage), "mmr": text(rate)}]
    _, position = state_one(one_position(rows, notional, ONE))
    required = Fraction(position.maintenance_margin)
    assert abs(Fraction(position.initial_margin) - 2 * required) <= 2 * one_step(notional, 1 / (2 * leverage))
    is_rounded = rate != 1 / (2 * leverage)
    within = half_of_last_digit(vector.expected["mmr"]) if is_rounded else Fraction(0)
    return {"mmr": Near(required / notional, within)}


def largest_leverage(vector: Vector) -> dict[str, Any]:
    """Find the largest position whose initial margin the stake pays, where one rate holds for the whole position.

    A stake of nothing pays for no position: then it is the leverage of the smallest one.
    """
    stake = vector.number("stake")
    rows = [
        {"floor": row["floor"], "max_leverage": row["max_leverage"], "maintenance": "0"}
        for row in vector.inputs["tiers"]
    ]
    if stake == 0:
        _, position = state_one(one_position(rows, ONE, ONE, tier_kind="whole_position"))
        return {"max_leverage": 1 / Fraction(position.initial_margin)}
    most = Fraction(vector.inputs["tiers"][-1]["cap"])
    step = Fraction(1, 10**4)

    def is_refused(lots: int) -> bool:
        case = one_position(rows, lots * step, ONE, stake, tier_kind="whole_position")
        return Fraction(state(case)[ACCOUNT].health_initial) < 0

    sizes = range(1, int(most / step))
    largest = bisect_left(sizes, True, key=is_refused)
    return {"max_leverage": largest * step / stake}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "tier.lookup": tier_lookup,
    "tier.recursion": tier_amounts,
    "tier.recursion.real": tier_amounts,
    "tier.recursion.hyperliquid": hyperliquid_amount,
    "tier.max_leverage": largest_leverage,
    "mmr.hyperliquid": hyperliquid_rate,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}
CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_tiers_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
