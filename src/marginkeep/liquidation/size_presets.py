"""Three venues' sizes, fees and paces of liquidation with their own numbers and rounding: Drift, dYdX, Vega.

Drift counts money, prices, rates and multipliers in parts of 10^6 (`MICRO`), sizes of perpetuals in parts of 10^9, the
weights of a size in parts of 10^5, and rounds down at every division. Every function takes and returns such
integers, a token's amounts in its smallest units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.units import ceil_div, floor_div

if TYPE_CHECKING:
    from collections.abc import Mapping

MICRO: Final = 10**6
BASE_ONE: Final = 10**9
WEIGHT_ONE: Final = 10**5
GRACE_SLOTS: Final = 1_500
"""Drift's liquidator fee stays at its base for so many slots."""

FUND_SHARE: Final = 950_000
"""Share of what is left to the account that Drift's insurance fund takes at most, in parts of 10^6."""


class Token(NamedTuple):
    """A token in a swap of an asset against a liability: price and multiplier in parts of 10^6."""

    price: int
    multiplier: int
    decimals: int


def drift_base(shortage: int, price: int, quote_price: int, margin_ratio: int, fee: int, fund_fee: int) -> int | None:
    """Return the size of a perpetual whose close covers a shortage of margin, rounded down; None = without bound.

    Parameters
    ----------
    shortage : margin that is missing
    margin_ratio, fee, fund_fee : requirement, liquidator's and insurance fund's fee, rates of the value
    """
    if price == 0 or margin_ratio <= fee:
        return None
    released = floor_div(floor_div(price * quote_price, MICRO) * (margin_ratio - fee), MICRO)
    gain = released - floor_div(price * fund_fee, MICRO)
    return floor_div(shortage * BASE_ONE, gain) if gain > 0 else None


def drift_liability(
    shortage: int, asset_weight: int, asset: Token, liability_weight: int, liability: Token, fund_fee: int
) -> int | None:
    """Return how much of a liability must be taken over to cover a shortage, at least 1 unit; None = without bound.

    Parameters
    ----------
    asset_weight, liability_weight : in parts of 10^5
    """
    difference = liability_weight - floor_div(asset_weight * asset.multiplier, liability.multiplier)
    if difference <= 0:
        return None
    gain = liability.price * difference - floor_div(liability.price * fund_fee, MICRO) * liability_weight
    if gain <= 0:
        return None
    return max(1, floor_div(shortage * WEIGHT_ONE * 10**liability.decimals, gain))


def drift_liability_of_asset(amount: int, asset: Token, liability: Token) -> int:
    """Return the liability that an amount of an asset pays for, rounded up."""
    worth = amount * asset.price * liability.multiplier * 10**liability.decimals
    return ceil_div(worth, liability.price * asset.multiplier * 10**asset.decimals)


def drift_asset_of_liability(available: int, asset: Token, amount: int, liability: Token) -> int:
    """Return the asset given for a liability, rounded down, at least 1 unit; all of it when less than 1 is left."""
    worth = amount * liability.price * asset.multiplier * 10**asset.decimals
    given = max(1, floor_div(worth, asset.price * liability.multiplier * 10**liability.decimals))
    left = available - given
    return available if left > 0 and left * asset.price < MICRO * 10**asset.decimals else given


def drift_fee(base: int, most: int, slots: int) -> int:
    """Return the liquidator's fee so many slots after the account was last active: a millionth more for each."""
    return base if slots < GRACE_SLOTS else min(most, base + slots)


def drift_perp_fund_fee(
    shortage: int, base: int, price: int, quote_price: int, margin_ratio: int, fee: int, most: int
) -> int:
    """Return the insurance fund's fee on a perpetual: what keeps the account solvent, 95 % of it, at most `most`."""
    worth = floor_div(floor_div(base * price, BASE_ONE) * quote_price, MICRO)
    if worth == 0:
        return 0
    left = margin_ratio - fee - floor_div(shortage * MICRO, worth)
    return min(most, floor_div(max(0, left) * FUND_SHARE, MICRO))


def drift_spot_fund_fee(
    shortage: int, amount: int, asset_weight: int, asset: Token, liability_weight: int, liability: Token, most: int
) -> int:
    """Return the insurance fund's fee on a token's liability: what keeps the account solvent, at most `most`."""
    worth = floor_div(amount * liability.price, 10**liability.decimals)
    if worth == 0 or liability_weight == 0:
        return 0
    kept = floor_div(asset_weight * (MICRO // WEIGHT_ONE) * asset.multiplier, liability.multiplier)
    left = liability_weight * (MICRO // WEIGHT_ONE) - kept - floor_div(shortage * MICRO, worth)
    return min(most, floor_div(max(0, left) * WEIGHT_ONE, liability_weight))


class DriftClose(NamedTuple):
    """One step against a perpetual: base taken over, what the liquidator pays for it, and the fund's fee."""

    base: int
    quote: int
    fund_fee: int


def drift_step(
    base: int, quote: int, collateral: int, price: int, most_base: int, step: int, terms: Mapping[str, int]
) -> DriftClose:
    """Return one liquidation step of a long with Drift's buffer, fees and step of sizes.

    Parameters
    ----------
    base, quote : size held and its cost as a negative amount
    most_base : the liquidator's bound
    terms : ``margin_ratio``, ``buffer``, ``fee`` and ``most_fund_fee``, in parts of 10^6
    """
    worth = floor_div(base * price, BASE_ONE)
    profit = worth + quote
    ratio = terms["margin_ratio"] + terms["buffer"]
    counted = collateral + profit + floor_div(min(profit, 0) * terms["buffer"], MICRO)
    shortage = floor_div(worth * ratio, MICRO) - counted
    if shortage <= 0:
        return DriftClose(0, 0, 0)
    fund_fee = drift_perp_fund_fee(shortage, base, price, MICRO, ratio, terms["fee"], terms["most_fund_fee"])
    needed = drift_base(shortage, price, MICRO, ratio, terms["fee"], fund_fee)
    rounded = base if needed is None else ceil_div(needed, step) * step
    taken = min(base, most_base, rounded)
    value = floor_div(taken * price, BASE_ONE)
    return DriftClose(taken, value - floor_div(value * terms["fee"], MICRO), floor_div(value * fund_fee, MICRO))


def dydx_bounds(notional: int, least: int, portion: int) -> tuple[int, int]:
    """Return the least and the most notional that dYdX liquidates of a position in one block, in quanta.

    Parameters
    ----------
    portion : share of the position, in parts of 10^6
    """
    lowest = min(least, notional)
    return lowest, max(lowest, floor_div(notional * portion, MICRO))


def vega_disposal(position: int, fraction: int, full_size: int, available: int, most_fraction: int) -> int:
    """Return how much the network disposes of in one step: a share of its position, capped by what the book holds.

    Parameters
    ----------
    position, full_size, available : volumes; a position of at most `full_size` is disposed of whole
    fraction, most_fraction : of the position, and of the volume within range, in parts of 10^6
    """
    size = abs(position)
    wanted = size if size <= full_size else ceil_div(size * fraction, MICRO)
    return min(wanted, ceil_div(available * most_fraction, MICRO))
