"""portfolio-margin.jsonl: Derive's auctions of whole portfolios, in its own wads of 10^-18.

Tolerances there are words: `exact`, `truncated` (the figure is cut after the digits its name says), or a number.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.liquidation.auction_presets import (
    WAD,
    DeriveAuction,
    derive_bid,
    derive_buffer_margin,
    derive_most_fraction,
    derive_price_share,
)
from marginkeep.liquidation.auctions import insolvent_bid, insolvent_payment
from marginkeep.units import RATE_ONE

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "portfolio-margin"


def wad(value: str) -> int:
    """Return a decimal as a wad, digits beyond the 18th cut off."""
    return int(Fraction(value) * WAD)


def rules_of(given: dict[str, Any]) -> DeriveAuction:
    return DeriveAuction(
        wad(given["start"]), wad(given["cutoff"]), int(given["fast"]), int(given["slow"]), wad(given["buffer"])
    )


def exact(value: int) -> Fraction:
    return Fraction(value, WAD)


def cut_after(value: int, decimals: int) -> Fraction:
    unit = Fraction(1, 10**decimals)
    return exact(value) // unit * unit


def price_share(vector: Vector) -> dict[str, Any]:
    return {"discount": exact(derive_price_share(rules_of(vector.inputs), int(vector.inputs["elapsed"])))}


def bid_of_an_insolvent(vector: Vector) -> dict[str, Any]:
    """Bid in the engine's own function: it is Derive's rule."""
    given = vector.inputs
    bid = insolvent_bid(wad(given["mtm"]), wad(given["mm"]), int(given["elapsed"]), int(given["length"]))
    if "percent" not in given:
        return {"bid_price": exact(bid)}
    return {"cash_to_bidder": exact(insolvent_payment(bid, int(Fraction(given["percent"]) * RATE_ONE)))}


def bought(given: dict[str, Any], step: dict[str, Any]) -> dict[str, int]:
    """Return what a bidder who wants a share of the present portfolio gets, and pays."""
    rules = rules_of(given)
    value, margin, reserved = (wad(step.get(name, "0")) for name in ("mtm", "mm", "reserved"))
    share = derive_price_share(rules, int(step.get("elapsed") or given["elapsed"]))
    buffer_margin = derive_buffer_margin(rules, margin, value)
    most = derive_most_fraction(buffer_margin, value, reserved, share) if "mm" in step else WAD
    bid = derive_bid(value, reserved, share)
    taken = min(most, wad(step.get("want") or step.get("want_of_current") or "1"))
    return {"buffer_margin": buffer_margin, "bid": bid, "most": most, "taken": taken, "cash": bid * taken // WAD}


def solvent(vector: Vector) -> dict[str, Any]:
    given = vector.inputs
    if "first" in given:
        return {f"cash_{name}": exact(bought(given, given[name])["cash"]) for name in ("first", "second")}
    if "step1" in given:
        first, second = (bought(given, given[name]) for name in ("step1", "step2"))
        return {
            "step1_bid_price": exact(first["bid"]),
            "step1_cash": exact(first["cash"]),
            "step2_max_fraction_trunc4": cut_after(second["most"], 4),
            "step2_cash_trunc0": cut_after(second["cash"], 0),
        }
    one = bought(given, given)
    figures = {
        "bid_price": exact(one["bid"]),
        "max_fraction_trunc3": cut_after(one["most"], 3),
        "cash_from_bidder_trunc0": cut_after(one["cash"], 0),
        "cash_from_bidder": exact(one["cash"]),
    }
    return {name: figures[name] for name in vector.expected}


def simulated(vector: Vector) -> dict[str, Any]:
    one = bought(vector.inputs, vector.inputs)
    return {
        "buffer_margin": exact(one["buffer_margin"]),
        "max_fraction": exact(one["most"]),
        "taken": exact(one["taken"]),
        "cash_from_bidder": exact(one["cash"]),
    }


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "dutch_auction_discount": price_share,
    "insolvent_auction_bid": bid_of_an_insolvent,
    "solvent_auction": solvent,
    "liquidation_sim": simulated,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


def numbered(vector: Vector) -> Vector:
    """Return the vector with its tolerance as a number; words mean none."""
    first = vector.tolerance.split()[0]
    return replace(vector, tolerance="0" if first in ("exact", "truncated") else first)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_portfolio_auctions_are_met(vector: Vector) -> None:
    assert disagreements(numbered(vector), CHECKS[vector.family], LEFT_OUT_FIGURES) == []
