"""vega.jsonl: what losers and the insurance fund pay, and how too little of it is shared among the winners."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from marginkeep.liquidation.loss_presets import vega_collect, vega_payments

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "vega"
NETWORK: Final = "network"


def loss_socialisation(vector: Vector) -> dict[str, Any]:
    """Share the losses; a vector names the winners and the sums it is about."""
    losses = [(int(row["loss"]), int(row["available"])) for row in vector.inputs["losses"]]
    names = [row["party"] for row in vector.inputs["wins_in_order"]]
    wins = [int(row["win"]) for row in vector.inputs["wins_in_order"]]
    collected, fund_left = vega_collect(losses, int(vector.number("insurance_pool")))
    network = names.index(NETWORK) if NETWORK in names else None
    expected = sum(loss for loss, _ in losses)
    paid = vega_payments(wins, collected, expected, network)
    assert sum(wins) == expected
    assert sum(paid) == collected
    figures = {"collected": collected, "insurance_after": fund_left}
    figures |= {f"paid.{name}": amount for name, amount in zip(names, paid, strict=True)}
    return {name: figures[name] for name in flat_figures(vector)}


def flat_figures(vector: Vector) -> dict[str, Any]:
    """Return the stated figures with one entry for each winner."""
    stated = dict(vector.expected)
    return {**{f"paid.{name}": amount for name, amount in stated.pop("paid").items()}, **stated}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"loss_socialisation": loss_socialisation}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_payments_are_met(vector: Vector) -> None:
    answers = CHECKS[vector.family](vector)
    assert disagreements(replace(vector, expected=flat_figures(vector)), lambda _: answers, LEFT_OUT_FIGURES) == []
