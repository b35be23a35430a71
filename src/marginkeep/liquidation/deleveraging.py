"""Deleveraging: close positions of winners against a bankrupt one that nobody else takes, by a stated rule.

The order of things: `bankruptcy_prices` of the account, `overlaps` for who can bear them, `allocate` by the rulebook's
policy, `audit` of what was needed and taken. `lights` tells each winner its place before anything happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.deleveraging_audit import Audit, Deleveraged, audit
from marginkeep.liquidation.deleveraging_policies import POLICIES, Winners
from marginkeep.liquidation.deleveraging_prices import (
    allot_equity,
    bankruptcy_price,
    bankruptcy_prices,
    haircut_per_lot,
    overlaps,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.rulebook.ladder_rules import DeleveragingPolicy

__all__ = [
    "LIGHTS",
    "Audit",
    "Deleveraged",
    "Winners",
    "allocate",
    "allot_equity",
    "audit",
    "bankruptcy_price",
    "bankruptcy_prices",
    "haircut_per_lot",
    "lights",
    "overlaps",
]

LIGHTS: Final = 5
"""Lights that show a place in the queue; all of them lit: among the first to be closed."""


def allocate(
    policy: DeleveragingPolicy, winners: Winners, lots: int, eligible: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return how many lots of each winner are closed.

    Parameters
    ----------
    policy : the rulebook's
    winners : holders of the side opposite to the bankrupt position
    lots : to be closed, at least 0
    eligible : bool[n], who may be closed, see `overlaps`; everyone when left out

    Returns
    -------
    int64[n], each from 0 to the winner's size; the sum is `lots`, or all that is eligible where that is less
    """
    if lots < 0:
        raise InvariantViolation(f"{lots} lots to deleverage")
    caps = winners.sizes if eligible is None else np.where(eligible, winners.sizes, 0)
    return POLICIES[policy].allocate(winners, lots, caps)


def lights(policy: DeleveragingPolicy, winners: Winners) -> NDArray[np.int64]:
    """Return how many of five lights each winner shows: its place in the queue by the lots before it, in fifths.

    Five lights: fewer than a fifth of all lots would be closed before its own. Under water-filling nobody is before
    anybody; there the order is that of the share of the position that would be closed, the largest first.

    Returns
    -------
    int64[n], from 1 to 5
    """
    order = POLICIES[policy].order(winners)
    sizes = winners.sizes[order]
    before = np.cumsum(sizes) - sizes
    shown = np.zeros(len(winners), np.int64)
    shown[order] = LIGHTS - LIGHTS * before // max(1, int(sizes.sum()))
    return shown
