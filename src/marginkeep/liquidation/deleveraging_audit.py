"""What a deleveraging needed and what it took, from whom: figures for its event, computed from what was done alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from marginkeep.units import RATE_ONE, ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Deleveraged:
    """One bankrupt position closed against winners at one price; money in reporting units.

    Attributes
    ----------
    wanted : lots that had to be closed
    accounts : int64[k], rising
    lots : int64[k], closed of each, at least 0
    needed_per_lot : what the bankrupt position cannot pay of a lot: the distance from mark to bankruptcy price
    taken_per_lot : what a winner gives up for a lot: the distance from mark to the price at which it was closed
    notional_per_lot : a lot's notional at mark
    """

    wanted: int
    accounts: NDArray[np.int64]
    lots: NDArray[np.int64]
    needed_per_lot: Fraction
    taken_per_lot: Fraction
    notional_per_lot: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What one event, or a sum of events, needed and took, in reporting units.

    Attributes
    ----------
    needed : budget: what bankrupt positions could not pay; negative for one that could pay more
    taken : what winners gave up, negative for a gain; `taken - needed = over - under`
    over, under : by how much was taken more, and less, than needed, position by position: neither hides the other
    wanted, closed : lots
    accounts : int64[m], those of whom something was closed, rising
    haircuts : int64[m], what each gave up, negative for a gain; the sum is `taken`
    notionals : int64[m], the notional at mark that was closed of each
    """

    needed: int
    taken: int
    over: int
    under: int
    wanted: int
    closed: int
    accounts: NDArray[np.int64]
    haircuts: NDArray[np.int64]
    notionals: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many accounts something was closed of."""
        return len(self.accounts)

    def concentration(self, top: int) -> int:
        """Return the share of closed notional that the `top` largest bear, a rate rounded down; 0 if nothing was."""
        total = int(self.notionals.sum())
        return int(np.sort(self.notionals)[-top:].sum()) * RATE_ONE // total if total else 0


def audit(positions: Sequence[Deleveraged]) -> Audit:
    """Return the figures of positions closed by deleveraging.

    Budget and haircuts are exact products of lots and prices, rounded up once for each position; an account's haircut
    is within one unit of its own exact product, and the haircuts sum to what was taken.
    """
    needed = [_up(one.wanted, one.needed_per_lot) for one in positions]
    taken = [_up(int(one.lots.sum()), one.taken_per_lot) for one in positions]
    gaps = [took - need for took, need in zip(taken, needed, strict=True)]
    accounts, haircuts, notionals = _by_account(positions)
    return Audit(
        needed=sum(needed),
        taken=sum(taken),
        over=sum(max(0, gap) for gap in gaps),
        under=sum(max(0, -gap) for gap in gaps),
        wanted=sum(one.wanted for one in positions),
        closed=sum(int(one.lots.sum()) for one in positions),
        accounts=accounts,
        haircuts=haircuts,
        notionals=notionals,
    )


def _up(lots: int, per_lot: Fraction) -> int:
    return ceil_div(lots * per_lot.numerator, per_lot.denominator)


def _by_account(
    positions: Sequence[Deleveraged],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return touched accounts, rising, with the sums of their haircuts and closed notionals."""
    touched = [np.flatnonzero(one.lots) for one in positions]
    nothing = np.zeros(0, np.int64)
    names = np.concatenate([nothing, *(one.accounts[rows] for one, rows in zip(positions, touched, strict=True))])
    accounts, places = np.unique(names, return_inverse=True)
    sums = []
    for which in ("taken_per_lot", "notional_per_lot"):
        parts = [_shares(one.lots[rows], getattr(one, which)) for one, rows in zip(positions, touched, strict=True)]
        total = np.zeros(len(accounts), np.int64)
        np.add.at(total, places, np.concatenate([nothing, *parts]))
        sums.append(total)
    return accounts, sums[0], sums[1]


def _shares(lots: NDArray[np.int64], per_lot: Fraction) -> NDArray[np.int64]:
    """Return each account's share of `ceil(sum of lots * per_lot)`: what the running total grows by with its lots."""
    up, down = per_lot.numerator, per_lot.denominator
    running = np.array([ceil_div(upto * up, down) for upto in np.cumsum(lots).tolist()], np.int64)
    return np.diff(running, prepend=0)
