"""Two venues' ways of paying funding that need a counterparty or a pool; the engine pays by one index instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.clearing.funding_formulas import toward_zero
from marginkeep.units import floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_UNIT: Final = 10**9
QUOTE_UNIT: Final = 10**6
"""Drift counts rates and sizes in parts of 10^9, quote amounts in parts of 10^6."""


class Sides(NamedTuple):
    """Drift's funding of one payment: the rate of each side, and the venue's fees afterwards."""

    long_rate: int
    short_rate: int
    fees: int


def drift_sides(rate: int, longs: int, shorts: int, fees: int, all_fees: int) -> Sides:
    """Return what each side pays or gets where the venue is the counterparty of the net position (Drift v2).

    What the venue gains it keeps. What it owes it pays out of the fees it holds less half of all fees ever taken, at
    most a third of that: then the side that receives gets what the other pays and this budget, less one unit.

    Parameters
    ----------
    rate : quote for each unit of base, positive when longs pay, in 10^-9
    longs, shorts : open interest of the sides, in 10^-9, shorts negative
    fees, all_fees : the venue's, in 10^-6 quote
    """
    gain = toward_zero((longs + shorts) * rate, RATE_UNIT * RATE_UNIT // QUOTE_UNIT)
    budget = max(0, floor_div(fees - floor_div(all_fees, 2), 3))
    if gain >= -budget:
        return Sides(rate, rate, fees + gain)
    payers, receivers = (longs, -shorts) if rate > 0 else (-shorts, longs)
    paid = floor_div(payers * abs(rate), RATE_UNIT * RATE_UNIT // QUOTE_UNIT)
    received = floor_div(max(0, paid + budget - 1) * RATE_UNIT * RATE_UNIT, QUOTE_UNIT * receivers)
    if rate > 0:
        return Sides(rate, received, fees - budget)
    return Sides(-received, rate, fees - budget)


class Flows(NamedTuple):
    """Vega's cash flows of one payment; what losses leave over goes to the insurance pool."""

    losses: tuple[int, ...]
    wins: tuple[int, ...]
    left_over: int


def vega_flows(payment: int, positions: Sequence[int], position_factor: int) -> Flows:
    """Return what each position loses or wins, magnitudes rounded down, in the order of positions (Vega).

    Parameters
    ----------
    payment : for a position of one, positive when longs pay
    position_factor : 10 to the power of the position's decimal places
    """
    flows = [toward_zero(-position * payment, position_factor) for position in positions]
    losses, wins = tuple(-flow for flow in flows if flow < 0), tuple(flow for flow in flows if flow > 0)
    return Flows(losses, wins, sum(losses) - sum(wins))
