"""lending-liquidation.jsonl: health of loans, and the repayment that reaches a target health.

Loan-to-value and liquidation threshold are an asset's weights at initial and at maintenance; a debt has weight 1.
Amounts are whole numbers of each token's smallest unit. An asset has at most 9 decimals, so a token of 18 is stated
in units of 10^9 of its smallest, its price divided alike: the same integers, and the same rounding.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.book import read_case, state_account
from marginkeep.liquidation import Sale, plan_reduction
from marginkeep.liquidation.reduction import sell_holding
from marginkeep.liquidation.trial import Trial

from .reading import NEEDS_VECTORS, PRINTED, Near, Vector, cases_of, disagreements, each, rate_up, state, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.book import Case

FILE: Final = "lending-liquidation"
BASE: Final = Fraction(1, 10**8)
"""Aave's base unit of value: a USD of 8 decimals."""

BASIS_POINTS: Final = 10_000
ASSET, OWED = "ASSET", "OWED"


def token(row: dict[str, Any]) -> tuple[dict[str, Any], Fraction]:
    """Return a token as an asset of a case, and its balance there."""
    decimals = int(row["decimals"])
    kept = min(decimals, 9)
    price = Fraction(row["price"]) * BASE / 10 ** (decimals - kept)
    return {"decimals": kept, "price": text(price)}, Fraction(int(row["balance"]), 10**kept)


def rate_of(basis_points: str) -> str:
    return text(Fraction(int(basis_points), BASIS_POINTS))


def aave_case(vector: Vector) -> dict[str, Any]:
    """State the borrower, and beside it one account with the holdings alone and one with the debts alone."""
    assets: dict[str, Any] = {"USD": {"decimals": 8}}
    holdings, debts = {}, {}
    for index, row in enumerate(vector.inputs["collaterals"]):
        asset, balance = token(row)
        weights = {"loan_to_value": rate_of(row["ltv_bps"]), "liquidation_threshold": rate_of(row["lt_bps"])}
        assets[f"{ASSET}-{index}"] = {**asset, **weights}
        holdings[f"{ASSET}-{index}"] = text(balance)
    for index, row in enumerate(vector.inputs["debts"]):
        assets[f"{OWED}-{index}"], balance = token(row)
        debts[f"{OWED}-{index}"] = text(-balance)
    accounts = {"borrower": {**holdings, **debts}, "holdings": holdings, "debts": debts}
    return {"assets": assets, "accounts": [{"id": name, "balances": rows} for name, rows in accounts.items()]}


def aave_health(vector: Vector) -> dict[str, Any]:
    """The source rounds the health factor half up in its last of 18 decimals, we round it down: one apart."""
    accounts = state(aave_case(vector))
    held, owed = Fraction(accounts["holdings"].equity), -Fraction(accounts["debts"].equity)

    def average(weighed: str) -> int:
        return Fraction(weighed) * BASIS_POINTS // held if held else 0

    return {
        "total_collateral": held / BASE,
        "total_debt": owed / BASE,
        "avg_ltv_bps": average(accounts["holdings"].health_initial),
        "avg_lt_bps": average(accounts["holdings"].collateral),
        "health_factor_wad": Near(Fraction(accounts["borrower"].health_factor or 0) / PRINTED, Fraction(1)),
        "available_borrow": max(Fraction(0), Fraction(accounts["borrower"].health_initial) / BASE),
    }


def loan(threshold: Fraction, target: Fraction, bonus: Fraction, held: Fraction, owed: Fraction) -> Case:
    """State a loan whose target level asks for `target` times the debt, and whose liquidator gets a bonus.

    A bonus of 1 + b for what is repaid is a sale at a price lower by b / (1 + b).
    """
    asset = {
        "decimals": 9,
        "price": "1",
        "weight": text(threshold),
        "liquidation": {"slippage": text(rate_up(bonus / (1 + bonus)))},
    }
    debt = {
        "decimals": 9,
        "price": "1",
        "debt_weight": {"initial": "1", "maintenance": "1", "target": text(target)},
    }
    balances = {ASSET: text(held), OWED: text(-owed)}
    return read_case(
        {
            "assets": {"USD": {"decimals": 9}, ASSET: asset, OWED: debt},
            "accounts": [{"id": "borrower", "balances": balances}],
        }
    )


def factor_of(case: Case) -> Fraction:
    return Fraction(state_account("borrower", case.accounts["borrower"], case.valuation).health_factor or 0)


def worth(case: Case, name: str) -> Fraction:
    return Fraction(abs(case.accounts["borrower"].balances[case.tables.asset_index[name]]), 10**9)


def sale_helps(threshold: Fraction, bonus: Fraction, loan_to_value: Fraction) -> bool:
    """Tell whether a small sale raises the health factor of a loan at a loan-to-value."""
    case = loan(threshold, Fraction(1), bonus, Fraction(1000), loan_to_value // Fraction(1, 10**9) * Fraction(1, 10**6))
    before = factor_of(case)
    index = case.tables.asset_index
    trial = Trial(case.accounts["borrower"], case.valuation)
    sell_holding(trial, case.tables.assets[index[ASSET]], 10**9, index[OWED])
    case.accounts["borrower"].balances = trial.account.balances
    return factor_of(case) > before


def target_sizing(vector: Vector) -> dict[str, Any]:
    """Sell the smallest part that reaches the target health.

    `within` allows for the bonus rounded to a rate of 10^-9 and for amounts of 9 decimals. The frontier beyond which
    a sale hurts is not a figure of the engine, only of its behaviour: a sale on either side of it shows it.
    """
    held, owed = vector.number("collateral_value"), vector.number("debt_value")
    threshold, bonus, target = (vector.number(name) for name in ("liq_threshold", "bonus", "target_health"))
    case = loan(threshold, target, bonus, held, owed)
    account, within = case.accounts["borrower"], held * Fraction(1, 10**8)
    health, ratio = factor_of(case), worth(case, OWED) / worth(case, ASSET)
    spiral = 1 / (1 + bonus)
    assert sale_helps(threshold, bonus, spiral - Fraction(1, 10**6))
    assert not sale_helps(threshold, bonus, spiral + Fraction(1, 10**6))
    plan = plan_reduction(account, case.valuation)
    (sale,) = plan.steps
    assert isinstance(sale, Sale)
    account.balances.update(plan.after.balances)
    after = factor_of(case)
    return {
        "health": Near(health, PRINTED),
        "ltv": ratio,
        "improves": after > health,
        "repay": Near(Fraction(sale.proceeds, 10**9), within),
        "seize_value": Near(Fraction(sale.amount, 10**9), within),
        "health_after": Near(after, Fraction(1, 10**8)),
        "spiral_ltv": Near(spiral, PRINTED),
        "spiral_health": threshold / spiral,
    }


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "aave_health": aave_health,
    "target_sizing": target_sizing,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_loans_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
