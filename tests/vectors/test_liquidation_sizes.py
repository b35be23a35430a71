"""perp-dex.jsonl: how much is liquidated, what it costs, and how much at once, by Drift's and dYdX's own rules."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.liquidation.size_presets import (
    BASE_ONE,
    MICRO,
    WEIGHT_ONE,
    Token,
    drift_asset_of_liability,
    drift_base,
    drift_fee,
    drift_liability,
    drift_liability_of_asset,
    drift_perp_fund_fee,
    drift_spot_fund_fee,
    drift_step,
    dydx_bounds,
)

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "perp-dex"
NINE: Final = 9
"""Decimals of a token whose vector states none."""


def count(vector: Vector, name: str, one: int = MICRO) -> int:
    """Return an input in whole parts of one."""
    exact = vector.number(name) * one
    assert exact.denominator == 1
    return exact.numerator


def token(vector: Vector, side: str) -> Token:
    decimals = int(vector.inputs.get(f"{side}_decimals", NINE if side == "liab" else 6))
    price = count(vector, f"{side}_price") if f"{side}_price" in vector.inputs else 0
    return Token(price, count(vector, f"{side}_multiplier"), decimals)


def size(vector: Vector) -> dict[str, Any]:
    given = vector.inputs
    if "margin_ratio" in given:
        rates = (count(vector, name) for name in ("margin_ratio", "liquidator_fee", "if_fee"))
        prices = (count(vector, name) for name in ("price", "quote_price"))
        base = drift_base(count(vector, "margin_shortage"), *prices, *rates)
        return {"base_to_liquidate": None if base is None else Fraction(base, BASE_ONE)}
    asset, liability = token(vector, "asset"), token(vector, "liab")
    unit = Fraction(1, 10**liability.decimals)
    if "asset_available" in given:
        amount, available = count(vector, "liab", 10**liability.decimals), count(vector, "asset_available", MICRO)
        return {
            "asset_transfer": Fraction(
                drift_asset_of_liability(available, asset, amount, liability), 10**asset.decimals
            )
        }
    if "asset" in given:
        return {"liab_transfer": drift_liability_of_asset(count(vector, "asset"), asset, liability) * unit}
    weights = [count(vector, f"{side}_weight", WEIGHT_ONE) for side in ("asset", "liab")]
    shortage, fee = count(vector, "margin_shortage"), count(vector, "if_fee")
    found = drift_liability(shortage, weights[0], asset, weights[1], liability, fee)
    return {"liab_transfer": None if found is None else found * unit}


def fee_ramp(vector: Vector) -> dict[str, Any]:
    fee = drift_fee(count(vector, "base_fee"), count(vector, "max_fee"), count(vector, "slots_since_active", 1))
    return {"fee": Fraction(fee, MICRO)}


def fund_fee(vector: Vector) -> dict[str, Any]:
    shortage, most = count(vector, "margin_shortage"), count(vector, "max_if_fee")
    if "base" in vector.inputs:
        rest = (count(vector, name) for name in ("price", "quote_price", "margin_ratio", "liquidator_fee"))
        fee = drift_perp_fund_fee(shortage, count(vector, "base", BASE_ONE), *rest, most)
    else:
        weights = [count(vector, f"{side}_weight", WEIGHT_ONE) for side in ("asset", "liab")]
        amount, sides = count(vector, "liab_amount", 10**NINE), (token(vector, "asset"), token(vector, "liab"))
        fee = drift_spot_fund_fee(shortage, amount, weights[0], sides[0], weights[1], sides[1], most)
    return {"if_fee": Fraction(fee, MICRO)}


def block_limits(vector: Vector) -> dict[str, Any]:
    names = ("position_notional", "min_notional", "max_portion")
    least, most = dydx_bounds(*(count(vector, name) for name in names))
    return {"min_liquidatable": Fraction(least, MICRO), "max_liquidatable": Fraction(most, MICRO)}


def liquidation_step(vector: Vector) -> dict[str, Any]:
    names = {"margin_ratio": "mm_ratio", "buffer": "buffer", "fee": "liquidator_fee", "most_fund_fee": "max_if_fee"}
    base, quote = count(vector, "base", BASE_ONE), count(vector, "quote")
    close = drift_step(
        base,
        quote,
        count(vector, "collateral"),
        count(vector, "price"),
        count(vector, "liquidator_max_base", BASE_ONE),
        count(vector, "step", BASE_ONE),
        {name: count(vector, source) for name, source in names.items()},
    )
    return {
        "base_after": Fraction(base - close.base, BASE_ONE),
        "quote_after": Fraction(quote + close.quote - close.fund_fee, MICRO),
        "liquidator_base": Fraction(close.base, BASE_ONE),
        "liquidator_quote": Fraction(-close.quote, MICRO),
        "insurance_fee": Fraction(close.fund_fee, MICRO),
    }


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "liq_fee_ramp": fee_ramp,
    "if_fee": fund_fee,
    "liq_block_limits": block_limits,
    "liquidation_step": liquidation_step,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)

SIZES: Final = cases_of(FILE, {"liq_size": size}, {})
"""Asserted of the engine's own plan in `test_perp_dex`, to the lot; here of Drift's rule, to the unit."""


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_sizes_and_fees_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []


@NEEDS_VECTORS
@each(SIZES)
def test_the_stated_sizes_are_met_to_the_unit(vector: Vector) -> None:
    assert disagreements(vector, size) == []
