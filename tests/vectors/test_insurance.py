"""perp-dex.jsonl: what a forced close brings the insurance fund or costs it, and whether the fund can pay.

Amounts are quanta of 10^-6, as in the source; account figures come from the engine's own evaluation.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.liquidation.insurance import Fund, bankruptcy_quote, fund_delta
from marginkeep.rulebook.ladder_rules import FundRules
from marginkeep.units import RATE_ONE

from .reading import ACCOUNT, NEEDS_VECTORS, Vector, cases_of, disagreements, each, state
from .test_perp_dex import QUANTUM, dydx_case

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "perp-dex"
UNCAPPED: Final = FundRules("all", (), 10**30, 10**30)


def quanta(value: Fraction | str) -> int:
    count = Fraction(value) / QUANTUM
    assert count.denominator == 1
    return count.numerator


def margins(cash: Fraction, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Return collateral and maintenance requirement."""
    account = state(dydx_case(cash, rows))[ACCOUNT]
    return quanta(account.equity), quanta(account.maintenance_margin)


def insurance_delta(vector: Vector) -> dict[str, Any]:
    rows, closed = vector.inputs["positions"], vector.number("close_delta")
    index = next(i for i, row in enumerate(rows) if row["market"] == vector.inputs["close_market"])
    left = {**rows[index], "size": str(Fraction(rows[index]["size"]) + closed)}
    kept = [row for row in (*rows[:index], left, *rows[index + 1 :]) if Fraction(row["size"])]
    collateral, required = margins(vector.number("cash"), rows)
    _, required_after = margins(Fraction(0), kept)
    change = quanta(closed * Fraction(rows[index]["index_price"]))
    quote = bankruptcy_quote(change, collateral, required, required - required_after)
    fill = quanta(vector.number("fill_quote")) * (1 if closed < 0 else -1)
    delta = fund_delta(fill, quote, int(vector.number("max_liquidation_fee") * RATE_ONE))
    return {"insurance_delta": delta * QUANTUM, "bankruptcy_quote": quote * QUANTUM}


def insurance_solvent(vector: Vector) -> dict[str, Any]:
    """Ask the fund for a loss; a gain asks for nothing."""
    wanted = max(0, -quanta(vector.number("delta")))
    payable = Fund().payable(UNCAPPED, quanta(vector.number("fund_balance")), wanted, now_ns=0)
    return {"allowed": payable == wanted}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "insurance_delta": insurance_delta,
    "insurance_solvent": insurance_solvent,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_funds_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
