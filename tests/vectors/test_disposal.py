"""vega.jsonl: how much of a position that the network took over is disposed of in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.liquidation.size_presets import MICRO, vega_disposal

from .reading import NEEDS_VECTORS, Vector, cases_of, disagreements, each

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "vega"


def disposal_step(vector: Vector) -> dict[str, Any]:
    position, full_size, available = (
        int(vector.number(name)) for name in ("network_position", "full_disposal_size", "available_volume")
    )
    fraction, most = (int(vector.number(name) * MICRO) for name in ("disposal_fraction", "max_fraction_consumed"))
    return {"size": vega_disposal(position, fraction, full_size, available, most)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"disposal_step": disposal_step}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_steps_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
