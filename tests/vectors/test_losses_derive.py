"""portfolio-margin.jsonl: a printed loss lowers what cash is worth, and open insolvencies block withdrawals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.liquidation.auction_presets import WAD
from marginkeep.liquidation.loss_presets import (
    DeriveCash,
    derive_blocks_withdrawals,
    derive_burnt,
    derive_exchange_rate,
    derive_print,
)

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "portfolio-margin"


def wad(value: str | Fraction) -> int:
    exact = Fraction(value) * WAD
    assert exact.denominator == 1
    return exact.numerator


def withdrawal(vector: Vector) -> dict[str, Any]:
    """Print the loss and withdraw, or ask at each balance of the module whether a withdrawal waits."""
    given = vector.inputs
    if "sm_cash" in given:
        margins = [wad(margin) for margin in given["insolvent_mm"]]
        return {"blocked": [derive_blocks_withdrawals(margins, wad(cash)) for cash in given["sm_cash"]]}
    before = DeriveCash(wad(given["stable_balance"]), wad(given["supply_before"]))
    rate = derive_exchange_rate(derive_print(before, wad(given["loss"])))
    burnt = derive_burnt(wad(given["withdraw"]), rate)
    return {"exchange_rate": Fraction(rate, WAD), "cash_burnt": Fraction(burnt, WAD)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"socialised_withdrawal_loss": withdrawal}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_rates_and_blocks_are_met(vector: Vector) -> None:
    assert vector.tolerance == "exact"
    assert disagreements(replace(vector, tolerance="0"), CHECKS[vector.family], LEFT_OUT_FIGURES) == []
