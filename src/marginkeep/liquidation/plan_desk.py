"""One account under reduction as the kernels have it: the sums of `trial.Trial` on int64 rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from marginkeep import units
from marginkeep.book import columns as c
from marginkeep.book import kernels as k
from marginkeep.book.limits import TERMS_MAX
from marginkeep.compiled import lending_kernel
from marginkeep.liquidation.wide_division import wide_multiply_divide

if TYPE_CHECKING:
    from marginkeep.book.columns import Rows

_lending = lending_kernel()

WORTH_MAX: Final = 2**56
"""Most that balances, values, costs and unpaid funding of an account may be worth, all without sign, in reporting
units. A close may triple a value (half of 3 ticks is 1), a requirement is at most four times its base: below 2^62."""

AMOUNT_MAX: Final = 2**57
"""The same for their sum in smallest units, whatever these are worth."""

MARK, NUMERATOR, DENOMINATOR, SLIPPAGE, PENALTY_RATE = range(5)
"""Columns of a market's terms of a forced close."""

HEALTH, REQUIRED, EQUITY, SETTLED_COLLATERAL, SETTLED_REQUIREMENT, HELD, IS_UNFIT = range(7)
SUMS: Final = 7
"""Sums of an account: health at target, what its legs require at maintenance, equity, its settled measure; how many
assets it has; and whether a figure was beyond the bounds."""

TRIED_PRICE, TRIED_COST, TRIED_REALISED, TRIED_PENALTY, TRIED_BOOKED = range(5)
TRIED: Final = 5
"""Of the close that is tried: its price, money, and what is booked to the balance in all."""

TRIED_LEG: Final = TERMS_MAX


class Prices(NamedTuple):
    """Rules and prices: see `book.kernels.LevelColumns`, and int64[markets, 5] of `MARK` ... `PENALTY_RATE`."""

    maintenance: k.LevelColumns
    target: k.LevelColumns
    terms: Rows


class Desk(NamedTuple):
    """One account under reduction, as `trial.Trial` has it; the last leg is the one that is tried.

    Attributes
    ----------
    legs : rows of positions; required, healths : by leg, what it requires at maintenance and adds to health at target
    order, ranks : legs in the order in which they are closed, and what decides it
    balances, settled : rows of balances as they are, and as if all profit had been booked
    sums, tried : see `HEALTH` and `TRIED_PRICE`
    """

    legs: Rows
    required: Rows
    healths: Rows
    order: Rows
    ranks: Rows
    balances: Rows
    settled: Rows
    sums: Rows
    tried: Rows


def make_desk() -> Desk:
    """Return room for one account of any size."""
    required, healths, order, ranks = (np.zeros(TERMS_MAX, np.int64) for _ in range(4))
    balances, settled = (np.zeros((2 * TERMS_MAX, c.BALANCE_WIDTH), np.int64) for _ in range(2))
    legs = np.zeros((TERMS_MAX + 1, c.POSITION_WIDTH), np.int64)
    sums, tried = np.zeros(SUMS, np.int64), np.zeros(TRIED, np.int64)
    return Desk(legs, required, healths, order, ranks, balances, settled, sums, tried)


@_lending
def load(index: int, accounts: Rows, positions: Rows, balances: Rows, prices: Prices, desk: Desk) -> Any:
    """Copy an account to the desk; return the number of its legs, or -1 where its figures are beyond the bounds."""
    start, legs = accounts[index, c.POSITION_START], accounts[index, c.POSITION_COUNT]
    first, held = accounts[index, c.BALANCE_START], accounts[index, c.BALANCE_COUNT]
    if legs + held > TERMS_MAX:
        return -1
    amounts = worth = 0
    desk.sums[HELD] = held
    desk.sums[IS_UNFIT] = 0
    for slot in range(held):
        asset, amount = balances[first + slot, c.ASSET], balances[first + slot, c.AMOUNT]
        for rows in (desk.balances, desk.settled):
            rows[slot, c.ASSET] = asset
            rows[slot, c.AMOUNT] = amount
        amounts += abs(amount)
        worth += _worth_at_most(abs(amount), prices.target.assets, asset)
        if amounts > AMOUNT_MAX or worth > WORTH_MAX:
            return -1
    for slot in range(legs):
        for column in range(c.POSITION_WIDTH):
            desk.legs[slot, column] = positions[start + slot, column]
        amount = _gross(desk.legs, slot, prices.target.markets)
        asset = prices.target.markets[desk.legs[slot, c.MARKET], k.SETTLE_ASSET]
        if amount < 0 or prices.target.assets[asset, 0] == 0:
            return -1
        amounts += amount
        worth += _worth_at_most(amount, prices.target.assets, asset)
        if amounts > AMOUNT_MAX or worth > WORTH_MAX:
            return -1
    return legs


@_lending
def _worth_at_most(amount: int, assets: Rows, asset: int) -> Any:
    return 1 + wide_multiply_divide(amount, assets[asset, 0], assets[asset, 1])


@_lending
def _gross(legs: Rows, slot: int, markets: Rows) -> Any:
    """Return value, cost and unpaid funding of a leg, without sign; -1 where they are too large or have no price."""
    number, size = legs[slot, c.MARKET], legs[slot, c.SIZE]
    x, y = markets[number, k.X], markets[number, k.Y]
    if x == 0 or y == 0:
        return -1
    moved = markets[number, k.LONG_INDEX + (size < 0)] - legs[slot, c.FUNDING]
    value = wide_multiply_divide(abs(size), x, y)
    funding = wide_multiply_divide(abs(size), abs(moved), units.RATE_ONE)
    cost = abs(legs[slot, c.COST])
    if max(value, funding, cost) > AMOUNT_MAX:
        return -1
    return value + funding + cost + 2


@_lending
def open_account(legs: int, prices: Prices, desk: Desk) -> tuple[int, int]:
    """Sum up the account on the desk; return its collateral and requirement at maintenance."""
    markets, tiers, assets = prices.maintenance
    held = desk.sums[HELD]
    collateral, requirement = k._balances(desk.balances, 0, held, assets)
    plus, minus = k._balances(desk.balances, 0, held, prices.target.assets)
    health, total = plus - minus, 0
    for slot in range(legs):
        counted, required = k._terms(desk.legs, slot, markets, tiers, False)
        collateral += counted
        total += required
        desk.required[slot] = required
        desk.healths[slot] = leg_health(desk.legs, slot, prices.target)
        health += desk.healths[slot]
        number = desk.legs[slot, c.MARKET]
        place = place_of(markets[number, k.SETTLE_ASSET], desk)
        desk.settled[place, c.AMOUNT] += k._profit(desk.legs, slot, number, markets)
    desk.sums[HEALTH] = health
    desk.sums[REQUIRED] = total
    return collateral, requirement + total


@_lending
def leg_health(legs: Rows, slot: int, target: k.LevelColumns) -> Any:
    """Return what a leg adds to health at target."""
    counted, required = k._terms(legs, slot, target.markets, target.tiers, False)
    return counted - required


@_lending
def place_of(asset: int, desk: Desk) -> Any:
    """Return the row of an asset among the balances; a new one when it is not held."""
    held = desk.sums[HELD]
    for place in range(held):
        if desk.balances[place, c.ASSET] == asset:
            return place
    for rows in (desk.balances, desk.settled):
        rows[held, c.ASSET] = asset
        rows[held, c.AMOUNT] = 0
    desk.sums[HELD] = held + 1
    return held


@_lending
def settle(prices: Prices, desk: Desk) -> None:
    """Compute what bounds the penalty: the settled measure at maintenance, and equity."""
    assets, held = prices.maintenance.assets, desk.sums[HELD]
    collateral, requirement = k._balances(desk.settled, 0, held, assets)
    equity = 0
    for place in range(held):
        asset = desk.settled[place, c.ASSET]
        equity += k._convert_floor(desk.settled[place, c.AMOUNT], assets[asset, 0], assets[asset, 1])
    desk.sums[EQUITY] = equity
    desk.sums[SETTLED_COLLATERAL] = collateral
    desk.sums[SETTLED_REQUIREMENT] = requirement + desk.sums[REQUIRED]


@_lending
def balance_change(place: int, booked: int, desk: Desk, assets: Rows) -> Any:
    """Return what booking an amount to a balance adds to health at target."""
    held, owed = k._balances(desk.balances, place, 1, assets)
    desk.balances[place, c.AMOUNT] += booked
    more, less = k._balances(desk.balances, place, 1, assets)
    desk.balances[place, c.AMOUNT] -= booked
    return more - less - held + owed
