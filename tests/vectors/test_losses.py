"""perp-dex.jsonl: a loss spread by an index, the worst price of a forced close, health with an oracle left out.

Money and prices have 6 decimals, as in the sources; dYdX's account figures come from the engine's own evaluation.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.book import read_case
from marginkeep.book.opening_health import measure_opening
from marginkeep.liquidation.loss_presets import (
    DydxAccount,
    drift_deposit_delta,
    drift_funding_delta,
    dydx_fillable_price,
)
from marginkeep.liquidation.size_presets import BASE_ONE, MICRO
from marginkeep.units import ceil_div

from .reading import ACCOUNT, NEEDS_VECTORS, SETTLE, Vector, cases_of, disagreements, each
from .test_insurance import margins, quanta
from .test_liquidation_sizes import count
from .test_perp_dex import QUANTUM

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.book.valuation import Valuation

FILE: Final = "perp-dex"
INDEX_ONE: Final = 10**10
DECIMALS: Final = 9


def loss_socialisation(vector: Vector) -> dict[str, Any]:
    """Spread over deposits or over open interest what insurance and the market's own fees leave of a loss."""
    loss = count(vector, "loss")
    if "deposit_index" in vector.inputs:
        delta = drift_deposit_delta(loss, count(vector, "total_deposits"), count(vector, "deposit_index", INDEX_ONE))
        return {"index_delta": Fraction(delta, INDEX_ONE)}
    for payer in ("insurance", "fee_pool"):
        loss -= count(vector, payer) if payer in vector.inputs else 0
    delta = drift_funding_delta(loss, count(vector, "oi_long", BASE_ONE), count(vector, "oi_short", BASE_ONE))
    figures = {"cum_funding_delta_per_unit": Fraction(delta, MICRO)}
    for side, sign in (("long", 1), ("short", -1)):
        if f"holder_{side}" in vector.inputs:
            owed = ceil_div(sign * delta * count(vector, f"holder_{side}", BASE_ONE), BASE_ONE)
            figures[f"holder_{side}_cash_delta"] = Fraction(-owed, MICRO)
    return figures


def fillable_price(vector: Vector) -> dict[str, Any]:
    """Price one of the account's positions, whose requirement is that of the account that holds nothing else."""
    rows = vector.inputs["positions"]
    collateral, required = margins(vector.number("cash"), rows)
    (row,) = (row for row in rows if row["market"] == vector.inputs["close_market"])
    _, of_position = margins(Fraction(0), [row])
    lot, size = Fraction(row["size_quantum"]), Fraction(row["size"])
    assert vector.number("close_delta") == -size
    notional, lots = quanta(size * Fraction(row["index_price"])), int(size / lot)
    terms = (count(vector, "bankruptcy_adjustment"), count(vector, "spread_to_mm_ratio"))
    price = dydx_fillable_price(DydxAccount(collateral, required), notional, of_position, lots, *terms, int(1 / lot))
    return {
        "fillable_price": price * QUANTUM,
        "net_collateral": collateral * QUANTUM,
        "mm": required * QUANTUM,
    }


class SkippedPrices:
    """Current prices; an asset in `skipped` counts at 0 when held, and at its price when owed."""

    def __init__(self, valuation: Valuation, skipped: list[str]) -> None:
        self._valuation = valuation
        self._skipped = skipped

    def market(self, index: int) -> tuple[int, int]:
        return (self._valuation.marks[index],) * 2

    def asset(self, index: int) -> tuple[int, int]:
        price = self._valuation.prices[index]
        return (0 if self._valuation.tables.assets[index].name in self._skipped else price, price)


def stale_oracle_skip(vector: Vector) -> dict[str, Any]:
    """Measure without the tokens of bad oracles; an order that touches one is dropped, and here they all do."""
    tokens = vector.inputs["tokens"]
    skipped = [row["id"] for row in tokens if not row["oracle_ok"]]
    assert all({order["base"], order["quote"]} & set(skipped) for order in vector.inputs["spot_orders"])
    weighed = {
        row["id"]: {
            "decimals": DECIMALS,
            "price": row["price"],
            "weight": row["init_asset_weight"],
            "debt_weight": row["init_liab_weight"],
        }
        for row in tokens
    }
    balances = {row["id"]: row["balance"] for row in tokens}
    case = read_case(
        {
            "reporting": SETTLE,
            "assets": {SETTLE: {"decimals": DECIMALS}, **weighed},
            "accounts": [{"id": ACCOUNT, "balances": balances}],
        }
    )
    prices = SkippedPrices(case.valuation, skipped)
    health = measure_opening(case.accounts[ACCOUNT], case.valuation.copy(), prices).health
    return {"init_health": Fraction(health, 10**DECIMALS)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "loss_socialisation": loss_socialisation,
    "fillable_price": fillable_price,
    "stale_oracle_skip": stale_oracle_skip,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_losses_prices_and_healths_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
