"""Four venues' rules for a loss, with their own numbers and rounding: Drift, Vega, Derive, and dYdX's worst price.

Drift counts money in parts of 10^6 (`MICRO`), sizes in parts of 10^9, indices of deposits in parts of 10^10; Derive
counts in wads of 10^-18; Vega and dYdX in smallest units. Every function takes and returns such integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.liquidation.auction_presets import WAD
from marginkeep.liquidation.size_presets import BASE_ONE, MICRO
from marginkeep.units import ceil_div, floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence

VEGA_RATIO: Final = 10**16
"""Vega rounds the share of winnings that is paid half up to 16 decimals."""


def drift_funding_delta(loss: int, open_long: int, open_short: int) -> int:
    """Return what a loss adds to the longs' index of funding and takes from the shorts', for each unit, rounded up.

    Parameters
    ----------
    open_long, open_short : open sizes of the two sides, of either sign, not both 0
    """
    return ceil_div(loss * BASE_ONE, abs(open_long) + abs(open_short))


def drift_deposit_delta(loss: int, deposits: int, index: int) -> int:
    """Return what a loss takes from the index of a token's deposits, rounded up.

    Parameters
    ----------
    loss, deposits : in the same unit; deposits above 0
    """
    return ceil_div(index * loss, deposits)


class VegaCollection(NamedTuple):
    """What was collected of the losers and the fund, and what the fund keeps."""

    collected: int
    fund_left: int


def vega_collect(losses: Sequence[tuple[int, int]], fund: int) -> VegaCollection:
    """Collect each loss from its party, and what the party lacks from the insurance fund while it lasts.

    Parameters
    ----------
    losses : loss and available balance of each loser, in Vega's order
    """
    own = sum(min(loss, available) for loss, available in losses)
    drawn = min(fund, sum(loss for loss, _ in losses) - own)
    return VegaCollection(own + drawn, fund - drawn)


def vega_payments(wins: Sequence[int], collected: int, expected: int, network: int | None = None) -> list[int]:
    """Return what each winner is paid: its share rounded down, the remainder of rounding to one of them.

    The remainder goes to the network where it is a winner, else to the last, who may get more than it won. It is not
    negative while less than 2 * 10^16 units are expected.

    Parameters
    ----------
    wins : in Vega's order, at least one
    expected : sum of the losses
    network : the network's place among the winners
    """
    if collected >= expected:
        return list(wins)
    ratio = floor_div(2 * collected * VEGA_RATIO + expected, 2 * expected)
    paid = [floor_div(win * ratio, VEGA_RATIO) for win in wins]
    paid[-1 if network is None else network] += collected - sum(paid)
    return paid


class DeriveCash(NamedTuple):
    """Derive's account of its cash: the stable coins held, and what they answer for, in wads."""

    stable: int
    supply: int
    fees: int = 0
    borrowed: int = 0
    net_settled: int = 0


def derive_print(cash: DeriveCash, loss: int) -> DeriveCash:
    """Return the cash after a loss was paid by new supply; fees kept for the security module are spent first."""
    return cash._replace(supply=cash.supply + loss, fees=max(0, cash.fees - loss))


def derive_exchange_rate(cash: DeriveCash) -> int:
    """Return how much of a stable coin one unit of cash is worth, at most 1, rounded down."""
    owed = cash.supply + cash.fees - cash.borrowed - cash.net_settled
    return WAD if owed <= cash.stable else floor_div(cash.stable * WAD, owed)


def derive_burnt(withdrawn: int, exchange_rate: int) -> int:
    """Return the cash that a withdrawal of stable coins burns, rounded up against the one who withdraws."""
    return ceil_div(withdrawn * WAD, exchange_rate)


def derive_blocks_withdrawals(insolvent_margins: Sequence[int], module_cash: int) -> bool:
    """Tell whether all withdrawals wait: insolvent accounts lack more than the security module holds."""
    return sum(insolvent_margins) > module_cash


class DydxAccount(NamedTuple):
    """Net collateral of an account and its maintenance requirement, above 0, in quanta."""

    collateral: int
    requirement: int


def dydx_fillable_price(
    account: DydxAccount, notional: int, requirement: int, size: int, adjustment: int, spread: int, scale: int
) -> int:
    """Return the worst price at which dYdX may close a position: further from the index the deeper the account is.

    ``(N - ABR * spread * requirement) / size`` with ``ABR = clamp(adjustment * (1 - NC / MM), 0, 1)``, rounded once,
    against the taker: up when a long is sold, down when a short is bought back.

    Parameters
    ----------
    notional, requirement, size : of the position; notional and size negative when short, size not 0
    adjustment, spread : bankruptcy adjustment, and spread to maintenance margin, in parts of 10^6
    scale : how many steps of the price make one quantum for each unit of size
    """
    whole = MICRO * account.requirement
    depth = min(whole, max(0, adjustment * (account.requirement - account.collateral)))
    numerator = (notional * MICRO * whole - depth * spread * requirement) * scale
    return ceil_div(numerator, MICRO * whole * size) if size > 0 else floor_div(numerator, MICRO * whole * size)
