"""Budgets and triggers of one account: how far each price may move, alone, before the account is looked at again.

Health is a sum of integer terms, one a position or balance. Split the slack h into budgets b_i >= 0 with sum <= h: as
long as no term has lost more than its budget, health has not gone below zero. Each term is concave in its price (or in
its notional, which is monotone in the price), so between two prices it is never lower than at the lower of the two;
a trigger is therefore proved by evaluating the term in integers at the trigger itself. `ROUNDING` units are kept back
for each term, because rounded terms are concave only up to that. Floats propose triggers and shares; integers decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.book import columns as c
from marginkeep.book import kernels as k
from marginkeep.book.watch_limits import (
    HIGHEST,
    JUMPS,
    LOWEST,
    STEEP,
    coin_limit,
    edge_of_tier,
    position_limit,
    share,
    worth,
)
from marginkeep.book.watch_lists import DOWN, UP, add_node
from marginkeep.compiled import kernel, lending_kernel

if TYPE_CHECKING:
    from marginkeep.book.watch_lists import Rows

ROUNDING: Final = 4
"""Units by which a rounded term may dip below its unrounded self between two points: profit, weight, requirement,
conversion."""

HEALTHY: Final = 0
CALLED: Final = 1
BREACHED: Final = 2

CALL_LEVEL: Final = 0
MAINTENANCE_LEVEL: Final = 1

WORST, BEST, COIN, COIN_AMOUNT = range(4)
"""Rows of the room to work in: least and most worth of each position, coins, amounts held or owed of them."""

SLACK, DEFICIT, SLACK_LEFT, DEFICIT_LEFT, BUDGET, GOAL, LOW, HIGH, SLACK_BASE, DEFICIT_BASE = range(10)
"""Slots of `shares`: what is split, what is left of it, one term's part, its interval of prices, and the least part."""

BASE: Final = 10_000
"""Reporting units that every term gets before exposures count, where there is enough: else what rounding takes would
leave a small term no room at all, and any move of its price would have the account looked at."""


@lending_kernel()
def measure_account(
    accounts: Rows, positions: Rows, balances: Rows, account: int, markets: Rows, tiers: Rows, assets: Rows
) -> tuple[int, int]:
    """Return an account's collateral and requirement at one level, as `kernels.measure_all` computes them."""
    held, owed = k._balances(balances, accounts[account, c.BALANCE_START], accounts[account, c.BALANCE_COUNT], assets)
    start = accounts[account, c.POSITION_START]
    for slot in range(start, start + accounts[account, c.POSITION_COUNT]):
        row = np.uintp(slot)
        number = np.uintp(positions[row, c.MARKET])
        value = positions[row, c.SIZE] * markets[number, k.X]
        if abs(value) < markets[number, k.PLAIN_BELOW]:
            owed += k._first_tier_requirement(abs(value), markets[number, k.FIRST_RATE])
            held += value - positions[row, c.COST]
            moved = markets[number, k.LONG_INDEX + (positions[row, c.SIZE] < 0)] - positions[row, c.FUNDING]
            if moved:
                held += k._rate_floor(-positions[row, c.SIZE], moved)
        else:
            counted, required = k._terms(positions, slot, markets, tiers, False)
            held += counted
            owed += required
    return held, owed


@kernel(inline="always")
def _list_coins(
    accounts: Rows, positions: Rows, balances: Rows, account: int, markets: Rows, reporting: int, room: Rows
) -> int:
    """List the coins an account's health depends on: those it holds or owes, and those its positions settle in."""
    count = 0
    start = accounts[account, c.BALANCE_START]
    for slot in range(start, start + accounts[account, c.BALANCE_COUNT]):
        if balances[slot, c.ASSET] != reporting and balances[slot, c.AMOUNT] != 0:
            room[COIN, count], room[COIN_AMOUNT, count] = balances[slot, c.ASSET], balances[slot, c.AMOUNT]
            count += 1
    start = accounts[account, c.POSITION_START]
    for slot in range(start, start + accounts[account, c.POSITION_COUNT]):
        settle = markets[positions[slot, c.MARKET], k.SETTLE_ASSET]
        known = settle == reporting
        for place in range(count):
            known = known or room[COIN, place] == settle
        if not known:
            room[COIN, count], room[COIN_AMOUNT, count] = settle, 0
            count += 1
    return count


@kernel(inline="always")
def _weigh(
    accounts: Rows,
    positions: Rows,
    account: int,
    markets: Rows,
    assets: Rows,
    coins: int,
    volatility: Any,
    weights: Any,
    room: Rows,
) -> float:
    """Fill in each term's exposure times volatility, positions first, then coins; return their sum."""
    start, count = accounts[account, c.POSITION_START], accounts[account, c.POSITION_COUNT]
    for place in range(coins):
        weights[count + place] = abs(float(room[COIN_AMOUNT, place]))
    total = 0.0
    for place in range(count):
        number = positions[start + place, c.MARKET]
        value = abs(float(positions[start + place, c.SIZE])) * markets[number, k.X] / markets[number, k.Y]
        for coin in range(coins):
            if room[COIN, coin] == markets[number, k.SETTLE_ASSET]:
                weights[count + coin] += abs(float(k._profit(positions, start + place, number, markets)))
        weights[place] = value * markets[number, k.SETTLE_X] / markets[number, k.SETTLE_Y] * volatility[number]
        total += weights[place]
    for place in range(coins):
        asset = room[COIN, place]
        weights[count + place] *= assets[asset, 0] / assets[asset, 1] * volatility[len(markets) + asset]
        total += weights[count + place]
    return total


@kernel(inline="always")
def _in_settle_units(budget: int, x: int, y: int) -> int:
    """Return a budget of reporting units in settle units, less what rounding may take; negative: too small to use."""
    if budget <= ROUNDING:
        return -1
    if x == 1 and y == 1:
        return budget - ROUNDING
    return k._convert_floor(budget - ROUNDING, y, x) - ROUNDING


@kernel()
def _narrow(
    shares: Rows,
    size: int,
    fixed: int,
    number: int,
    price: int,
    allowed: int,
    gains: bool,
    markets: Rows,
    tiers: Rows,
    payoffs: Rows,
) -> None:
    """Narrow the interval in `shares` to where a position loses (or gains) no more than allowed.

    A position moves against its holder in one direction only, so only that end needs a search, unless a rate reaches 1.
    """
    here = worth(size, fixed, number, price, markets, tiers, payoffs)
    for side in range(2):
        moves_here = (size > 0) == (side == DOWN)
        if allowed < 0:
            shares[LOW + side] = price
        elif moves_here != gains or payoffs[number, STEEP]:
            shares[LOW + side] = position_limit(
                size, fixed, number, price, shares[LOW + side], allowed, gains, here, markets, tiers, payoffs
            )


@kernel()
def file_interval(
    low: int,
    high: int,
    lowest: int,
    highest: int,
    nodes: Any,
    heads: Any,
    variables: Rows,
    first_nodes: Any,
    counters: Rows,
    account: int,
    variable: int,
) -> None:
    """File the ends of a term's interval as triggers.

    An end at the price's own limit needs none, but a term always has one node at least: through it funding and rule
    changes find everybody who holds the market or the asset.
    """
    if high < highest:
        add_node(nodes, heads, variables, first_nodes, counters, account, variable, UP, high)
    if low > lowest or high >= highest:
        add_node(nodes, heads, variables, first_nodes, counters, account, variable, DOWN, low)


@kernel()
def _note_extremes(
    shares: Rows,
    room: Rows,
    place: int,
    size: int,
    fixed: int,
    number: int,
    markets: Rows,
    tiers: Rows,
    call_markets: Rows,
    call_tiers: Rows,
    payoffs: Rows,
) -> None:
    """Note the least and the most a position is worth between the ends of its interval, in settle units."""
    low, high = shares[LOW], shares[HIGH]
    kept = ROUNDING if low < high else 0
    at_low = worth(size, fixed, number, low, markets, tiers, payoffs)
    at_high = worth(size, fixed, number, high, markets, tiers, payoffs)
    room[WORST, place] = min(at_low, at_high) - kept
    at_low = worth(size, fixed, number, low, call_markets, call_tiers, payoffs)
    at_high = worth(size, fixed, number, high, call_markets, call_tiers, payoffs)
    room[BEST, place] = max(at_low, at_high) + kept


@kernel()
def _watch_positions(
    accounts: Rows,
    positions: Rows,
    account: int,
    status: int,
    coin_count: int,
    total: float,
    markets: Rows,
    tiers: Rows,
    call_markets: Rows,
    call_tiers: Rows,
    payoffs: Rows,
    prices: Rows,
    nodes: Any,
    heads: Any,
    variables: Rows,
    first_nodes: Any,
    counters: Rows,
    weights: Any,
    room: Rows,
    shares: Rows,
) -> None:
    """File the triggers of an account's positions, and note the least and most each is worth between them."""
    start = accounts[account, c.POSITION_START]
    for place in range(accounts[account, c.POSITION_COUNT]):
        slot = start + place
        number, size = positions[slot, c.MARKET], positions[slot, c.SIZE]
        room[WORST, place] = room[BEST, place] = 0
        if size == 0:
            continue
        _take_share(shares, weights[place], total)
        x, y = markets[number, k.SETTLE_X], markets[number, k.SETTLE_Y]
        moved = markets[number, k.LONG_INDEX + (size < 0)] - positions[slot, c.FUNDING]
        fixed = (k._rate_floor(-size, moved) if moved else 0) - positions[slot, c.COST]
        price = prices[number]
        shares[LOW], shares[HIGH] = payoffs[number, LOWEST], payoffs[number, HIGHEST]
        if payoffs[number, JUMPS]:
            shares[LOW] = edge_of_tier(size, number, price, shares[LOW], markets, tiers, payoffs)
            shares[HIGH] = edge_of_tier(size, number, price, shares[HIGH], markets, tiers, payoffs)
        if status != BREACHED:
            allowed = _in_settle_units(shares[BUDGET], x, y)
            _narrow(shares, size, fixed, number, price, allowed, False, markets, tiers, payoffs)
        if status != HEALTHY:
            allowed = -1 if payoffs[number, STEEP] else _in_settle_units(shares[GOAL], x, y)
            _narrow(shares, size, fixed, number, price, allowed, True, call_markets, call_tiers, payoffs)
        if coin_count:
            _note_extremes(shares, room, place, size, fixed, number, markets, tiers, call_markets, call_tiers, payoffs)
        file_interval(
            shares[LOW], shares[HIGH], payoffs[number, LOWEST], payoffs[number, HIGHEST],
            nodes, heads, variables, first_nodes, counters, account, number,
        )  # fmt: skip


@kernel()
def _watch_coins(
    accounts: Rows,
    positions: Rows,
    account: int,
    status: int,
    coin_count: int,
    total: float,
    markets: Rows,
    assets: Rows,
    call_assets: Rows,
    coins: Rows,
    prices: Rows,
    nodes: Any,
    heads: Any,
    variables: Rows,
    first_nodes: Any,
    counters: Rows,
    weights: Any,
    room: Rows,
    shares: Rows,
) -> None:
    """File the triggers of the coins an account depends on: balances together with what positions settle in them."""
    start, count = accounts[account, c.POSITION_START], accounts[account, c.POSITION_COUNT]
    for coin in range(coin_count):
        asset, amount = room[COIN, coin], room[COIN_AMOUNT, coin]
        variable = len(markets) + asset
        price, highest = prices[variable], coins[asset, HIGHEST]
        _take_share(shares, weights[count + coin], total)
        if price == 0:
            continue
        worst = best = 0
        rounding = 2 * ROUNDING
        for place in range(count):
            if markets[positions[start + place, c.MARKET], k.SETTLE_ASSET] == asset:
                worst += room[WORST, place]
                best += room[BEST, place]
                rounding += ROUNDING
        low, high = 1, highest
        if status != BREACHED:
            allowed = shares[BUDGET] - rounding
            low = coin_limit(amount, worst, price, low, allowed, False, asset, assets, coins)
            high = coin_limit(amount, worst, price, high, allowed, False, asset, assets, coins)
        if status != HEALTHY:
            allowed = shares[GOAL] - rounding
            low = coin_limit(amount, best, price, low, allowed, True, asset, call_assets, coins)
            high = coin_limit(amount, best, price, high, allowed, True, asset, call_assets, coins)
        file_interval(low, high, 1, highest, nodes, heads, variables, first_nodes, counters, account, variable)


@kernel(inline="always")
def _take_share(shares: Rows, weight: float, total: float) -> None:
    """Take a term's part out of the slack and the goal that are left; integers, so that no sum exceeds the whole."""
    shares[BUDGET] = min(
        shares[SLACK_LEFT], shares[SLACK_BASE] + share(shares[SLACK], shares[SLACK_LEFT], weight, total)
    )
    shares[GOAL] = min(
        shares[DEFICIT_LEFT], shares[DEFICIT_BASE] + share(shares[DEFICIT], shares[DEFICIT_LEFT], weight, total)
    )
    shares[SLACK_LEFT] -= shares[BUDGET]
    shares[DEFICIT_LEFT] -= shares[GOAL]


@kernel()
def set_triggers(
    accounts: Rows,
    positions: Rows,
    balances: Rows,
    account: int,
    status: int,
    markets: Rows,
    tiers: Rows,
    assets: Rows,
    call_markets: Rows,
    call_tiers: Rows,
    call_assets: Rows,
    payoffs: Rows,
    coins: Rows,
    reporting: int,
    prices: Rows,
    volatility: Any,
    nodes: Any,
    heads: Any,
    variables: Rows,
    first_nodes: Any,
    counters: Rows,
    weights: Any,
    room: Rows,
    shares: Rows,
) -> None:
    """Split an account's slack into budgets and file a trigger for each; its old ones have been dropped.

    Arrays are passed one by one because unpacking tuples of them costs more than the work.

    Parameters
    ----------
    status : `HEALTHY` (slack is health at call), `CALLED` (slack is health at maintenance) or `BREACHED` (it can only
        gain)
    markets, tiers, assets : tables at the level of the slack; `call_...` at the level it may regain: call, or
        maintenance for a breached account
    payoffs, coins, reporting : int64[markets, 6], int64[assets, 4], the reporting asset
    weights, room : float64[terms] and int64[4, terms] to work in
    shares : int64[10]; the caller has set `SLACK` and `DEFICIT` (what it lacks at the level it may regain)
    """
    coin_count = _list_coins(accounts, positions, balances, account, markets, reporting, room)
    total = _weigh(accounts, positions, account, markets, assets, coin_count, volatility, weights, room)
    shares[SLACK_LEFT], shares[DEFICIT_LEFT] = shares[SLACK], shares[DEFICIT] - 1
    terms = accounts[account, c.POSITION_COUNT] + coin_count
    shares[SLACK_BASE] = max(0, min(BASE, shares[SLACK_LEFT] // max(1, 2 * terms)))
    shares[DEFICIT_BASE] = max(0, min(BASE, shares[DEFICIT_LEFT] // max(1, 2 * terms)))
    shares[SLACK] -= terms * shares[SLACK_BASE]
    shares[DEFICIT] = shares[DEFICIT_LEFT] - terms * shares[DEFICIT_BASE]
    _watch_positions(
        accounts, positions, account, status, coin_count, total,
        markets, tiers, call_markets, call_tiers, payoffs, prices,
        nodes, heads, variables, first_nodes, counters, weights, room, shares,
    )  # fmt: skip
    if coin_count:
        _watch_coins(
            accounts, positions, account, status, coin_count, total, markets, assets, call_assets, coins, prices,
            nodes, heads, variables, first_nodes, counters, weights, room, shares,
        )  # fmt: skip
