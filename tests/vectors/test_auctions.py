"""lending-liquidation.jsonl: Maker's auctions and Euler's discount by health, in the venues' own integers.

The family of partial sizes that reach a target is asserted beside the loans that it is about, in `test_lending`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.liquidation.auction_presets import (
    EulerCollateral,
    MakerLoan,
    MakerLot,
    euler_liquidation,
    maker_exponential,
    maker_linear,
    maker_lot,
    maker_needs_restart,
    maker_purchase,
    maker_stairstep,
    ray_product,
)

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "lending-liquidation"


def price_at(vector: Vector) -> int:
    given = {name: int(value) for name, value in vector.inputs.items() if name != "curve"}
    curve, top, elapsed = vector.inputs["curve"], given["top_ray"], given["t_s"]
    if curve == "linear":
        return maker_linear(top, elapsed, given["tau_s"])
    if curve == "stairstep":
        return maker_stairstep(top, elapsed, given["step_s"], given["cut_ray"])
    return maker_exponential(top, elapsed, given["cut_ray"])


def maker_price(vector: Vector) -> dict[str, Any]:
    """State the price; the source's own test compares it with a round figure, within a tolerance given there."""
    price = price_at(vector)
    if "upstream_expected_ray" not in vector.expected:
        return {"price_ray": price}
    round_figure, within = (int(vector.expected[name]) for name in ("upstream_expected_ray", "abs_tol_ray"))
    assert abs(price - round_figure) <= within
    return {"price_ray": price, "upstream_expected_ray": round_figure, "abs_tol_ray": within}


def maker_auction(vector: Vector) -> dict[str, Any]:
    """Answer the step that the case is about: a restart, its top price, a purchase, or the size of a lot."""
    given = {name: int(value) for name, value in vector.inputs.items() if name != "curve"}
    if "tail_s" in given:
        price = price_at(vector)
        over = maker_needs_restart(price, given["top_ray"], given["t_s"], given["tail_s"], given["cusp_ray"])
        return {"needs_redo": over, "price_ray": price}
    if "buf_ray" in given:
        return {"top_ray": ray_product(given["feed_price_ray"], given["buf_ray"])}
    return sized_lot(given) if "ink_raw" in given else purchase(given)


def purchase(given: dict[str, int]) -> dict[str, Any]:
    sold = maker_purchase(*(given[name] for name in ("tab_rad", "lot_wad", "price_ray", "amt_wad", "chost_rad")))
    if sold is None:
        return {"revert": "no_partial_purchase"}
    return {
        "paid_rad": sold.paid,
        "bought_wad": sold.bought,
        "tab_after_rad": sold.debt,
        "lot_after_wad": sold.lot,
        "closed": sold.is_closed,
        "bad_debt_rad": sold.bad_debt,
        "returned_wad": sold.returned,
    }


def sized_lot(given: dict[str, int]) -> dict[str, Any]:
    names = ("ink", "art", "rate", "spot", "dust", "chop", "Hole", "Dirt", "hole", "dirt")
    lot = maker_lot(MakerLoan(*(given[f"{name}_raw"] for name in names)))
    if isinstance(lot, MakerLot):
        return {"dart_raw": lot.debt, "dink_raw": lot.collateral, "tab_raw": lot.to_raise}
    return {"revert": lot}


def euler(vector: Vector) -> dict[str, Any]:
    given = vector.inputs
    rows = given["collaterals"]
    holdings = [EulerCollateral(int(row["balance"]), int(row["price_wad"]), int(row["liq_ltv_bps"])) for row in rows]
    debt, price, seize, most = (
        int(given[name]) for name in ("liability", "liability_price_wad", "seize_index", "max_discount_bps")
    )
    step = euler_liquidation(debt, price, holdings, seize, most)
    assert step is not None
    return {
        "adjusted_collateral_value": step.adjusted,
        "liability_value": step.debt_value,
        "discount_factor_wad": step.factor,
        "max_repay": step.repay,
        "max_yield": step.seized,
        "liability_left": step.left,
        "socialised": step.socialised,
    }


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "maker_price": maker_price,
    "maker_auction": maker_auction,
    "euler_liquidation": euler,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_auctions_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
