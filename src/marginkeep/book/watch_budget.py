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

from marginkeep import units
from marginkeep.book import columns as c
from marginkeep.book import kernels as k
from marginkeep.book.compiled import kernel
from marginkeep.book.watch_lists import DOWN, UP, add_node

if TYPE_CHECKING:
    from marginkeep.book.watch_lists import Rows

ROUNDING: Final = 4
"""Units by which a rounded term may dip below its unrounded self between two points: profit, weight, requirement,
conversion."""

HEALTHY: Final = 0
CALLED: Final = 1
BREACHED: Final = 2

NUMERATOR, DENOMINATOR, LOWEST, HIGHEST, JUMPS, STEEP = range(6)
"""Columns of `payoffs` (and, the first four, of `coins`): value of a lot or unit as a fraction, price limits, whether
tiers jump (whole position, by value), whether a rate reaches 1, so that a gain need not be greatest at an end."""

CALL_LEVEL: Final = 0
MAINTENANCE_LEVEL: Final = 1

WORST, BEST, COIN, COIN_AMOUNT = range(4)
"""Rows of the room to work in: least and most worth of each position, coins, amounts held or owed of them."""

SLACK, DEFICIT, SLACK_LEFT, DEFICIT_LEFT, BUDGET, GOAL, LOW, HIGH, SLACK_BASE, DEFICIT_BASE = range(10)
"""Slots of `shares`: what is split, what is left of it, one term's part, its interval of prices, and the least part."""

BASE: Final = 10_000
"""Reporting units that every term gets before exposures count, where there is enough: else what rounding takes would
leave a small term no room at all, and any move of its price would have the account looked at."""

_SEARCH_ROUNDS: Final = 12
_CLOSE_ENOUGH: Final = 6
"""A trigger is taken when the bracket is shorter than 1/2^6 of its distance, or the allowance used but for 1/2^6."""

_FAR: Final = 4e18
_SMALL: Final = 1e-9


@kernel(inline="always")
def _worth(size: int, fixed: int, number: int, price: int, markets: Rows, tiers: Rows, payoffs: Rows) -> Any:
    """Return counted profit less requirement of a position at a price, in settle units; `fixed` = funding - cost."""
    if markets[number, k.SIGN] > 0:
        x, y = price * payoffs[number, NUMERATOR], payoffs[number, DENOMINATOR]
    else:
        x, y = payoffs[number, NUMERATOR], price * payoffs[number, DENOMINATOR]
    sign = markets[number, k.SIGN]
    value = sign * size * x if y == 1 else k._signed_value(size, sign, x, y)  # a division costs more than all the rest
    profit = value + fixed
    if profit > 0 and markets[number, k.PROFIT_WEIGHT] != units.RATE_ONE:
        profit = k._rate_floor(profit, markets[number, k.PROFIT_WEIGHT])
    return profit - k._size_requirement(size, number, markets, tiers, x, y)


@kernel(inline="always")
def _tier_number(size: int, number: int, price: int, markets: Rows, tiers: Rows, payoffs: Rows) -> Any:
    if markets[number, k.SIGN] > 0 and payoffs[number, DENOMINATOR] == 1:
        notional = abs(size) * price * payoffs[number, NUMERATOR]
    elif markets[number, k.SIGN] > 0:
        notional = k._notional(size, price * payoffs[number, NUMERATOR], payoffs[number, DENOMINATOR])
    else:
        notional = k._notional(size, payoffs[number, NUMERATOR], price * payoffs[number, DENOMINATOR])
    return k._tier_at(notional, number, markets, tiers)


@kernel()
def _edge_of_tier(size: int, number: int, price: int, bound: int, markets: Rows, tiers: Rows, payoffs: Rows) -> int:
    """Return the price nearest to `bound` at which a jumping position is still in the tier it is in at `price`."""
    here = _tier_number(size, number, price, markets, tiers, payoffs)
    if _tier_number(size, number, bound, markets, tiers, payoffs) == here:
        return bound
    inside, outside = price, bound
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if _tier_number(size, number, middle, markets, tiers, payoffs) == here:
            inside = middle
        else:
            outside = middle
    return inside


@kernel()
def _first_guess(
    size: int, number: int, price: int, allowed: int, rising: bool, markets: Rows, tiers: Rows, payoffs: Rows
) -> int:
    """Propose how many ticks of a price move an amount is worth, by the slope at the price; only a proposal."""
    tier = _tier_number(size, number, price, markets, tiers, payoffs)
    rate = float(tiers[tier, 2]) / float(units.RATE_ONE)
    lots = abs(float(size)) * float(payoffs[number, NUMERATOR]) / float(payoffs[number, DENOMINATOR])
    if markets[number, k.SIGN] > 0:
        slope = lots * (1.0 + rate if size < 0 else 1.0 - rate)
        return int(min(_FAR, float(allowed) / max(slope, _SMALL)))
    value = lots / float(price)
    move = float(allowed) / max(value * (1.0 + rate if size > 0 else 1.0 - rate), _SMALL)
    if rising:
        return int(min(_FAR, float(price) * move / max(1.0 - move, _SMALL)))
    return int(float(price) * move / (1.0 + move))


@kernel()
def _position_limit(
    size: int,
    fixed: int,
    number: int,
    price: int,
    bound: int,
    allowed: int,
    gains: bool,
    here: int,
    markets: Rows,
    tiers: Rows,
    payoffs: Rows,
) -> int:
    """Return the price farthest from `price` toward `bound` that is proved to cost (or gain) no more than `allowed`.

    `here` is the worth at `price`. The search narrows a bracket between a distance proved good and one proved bad.
    """
    if allowed < 0 or bound == price:
        return price
    rising = bound > price
    sign, step = (-1 if gains else 1), (1 if rising else -1)
    near, near_change, far, far_change = 0, 0, abs(bound - price) + 1, 0
    guess = _first_guess(size, number, price, allowed, rising, markets, tiers, payoffs)
    for round_number in range(_SEARCH_ROUNDS):
        distance = min(max(guess, near + 1), far - 1)
        change = sign * (here - _worth(size, fixed, number, price + step * distance, markets, tiers, payoffs))
        if change <= allowed:
            near, near_change = distance, change
        else:
            far, far_change = distance, change
        if far - near <= 1 + (near >> _CLOSE_ENOUGH) or allowed - near_change <= allowed >> _CLOSE_ENOUGH:
            break
        if far_change == 0:
            guess = near * 2 + 1
        elif round_number % 3 == 2:
            guess = (near + far) // 2
        else:
            share = float(allowed - near_change) / max(1.0, float(far_change - near_change))
            guess = near + int(float(far - near) * share)
    return price + step * near


@kernel()
def _coin_worth(amount: int, others: int, price: int, asset: int, assets: Rows, coins: Rows) -> int:
    """Return what a balance (weighted) and `others` coin units are worth at a price, in reporting units."""
    x, y = price * coins[asset, NUMERATOR], coins[asset, DENOMINATOR]
    worth = k._convert_floor(amount, x, y)
    weight = assets[asset, 2] if amount >= 0 else assets[asset, 3]
    return k._rate_floor(worth, weight) + k._convert_floor(others, x, y)


@kernel()
def _coin_limit(
    amount: int,
    others: int,
    price: int,
    bound: int,
    allowed: int,
    gains: bool,
    asset: int,
    assets: Rows,
    coins: Rows,
) -> int:
    """Return the coin price farthest toward `bound` that costs (or gains) no more than `allowed`: a line, so solved."""
    if allowed < 0 or bound == price:
        return price
    sign = -1 if gains else 1
    here = _coin_worth(amount, others, price, asset, assets, coins)
    change = sign * (here - _coin_worth(amount, others, bound, asset, assets, coins))
    if change <= allowed:
        return bound
    step = 1 if bound > price else -1
    distance = int(float(abs(bound - price)) * (float(allowed) / float(change)))
    while distance > 0:
        change = sign * (here - _coin_worth(amount, others, price + step * distance, asset, assets, coins))
        if change <= allowed:
            break
        distance -= 1 + (distance >> 5)
    return price + step * max(0, distance)


@kernel(inline="always")
def _share(slack: int, left: int, weight: float, weights: float) -> int:
    """Return a part of the slack in proportion to a weight, never more than what is left: no sum can exceed it."""
    if weights <= 0.0:
        return 0
    return min(left, max(0, int(float(slack) * (weight / weights))))


@kernel()
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
            moved = markets[number, k.FUNDING_INDEX] - positions[row, c.FUNDING]
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
) -> Any:
    """Narrow the interval in `shares` to where a position loses (or gains) no more than allowed; return its worth.

    A position moves against its holder in one direction only, so only that end needs a search, unless a rate reaches 1.
    """
    here = _worth(size, fixed, number, price, markets, tiers, payoffs)
    for side in range(2):
        moves_here = (size > 0) == (side == DOWN)
        if allowed < 0:
            shares[LOW + side] = price
        elif moves_here != gains or payoffs[number, STEEP]:
            shares[LOW + side] = _position_limit(
                size, fixed, number, price, shares[LOW + side], allowed, gains, here, markets, tiers, payoffs
            )
    return here


@kernel()
def _file_interval(
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
def _watch_positions(
    accounts: Rows,
    positions: Rows,
    account: int,
    status: int,
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
        moved = markets[number, k.FUNDING_INDEX] - positions[slot, c.FUNDING]
        fixed = (k._rate_floor(-size, moved) if moved else 0) - positions[slot, c.COST]
        price = prices[number]
        shares[LOW], shares[HIGH] = payoffs[number, LOWEST], payoffs[number, HIGHEST]
        if payoffs[number, JUMPS]:
            shares[LOW] = _edge_of_tier(size, number, price, shares[LOW], markets, tiers, payoffs)
            shares[HIGH] = _edge_of_tier(size, number, price, shares[HIGH], markets, tiers, payoffs)
        if status != BREACHED:
            allowed = _in_settle_units(shares[BUDGET], x, y)
            here = _narrow(shares, size, fixed, number, price, allowed, False, markets, tiers, payoffs)
            room[WORST, place] = here - max(0, allowed) - ROUNDING
        if status != HEALTHY:
            allowed = -1 if payoffs[number, STEEP] else _in_settle_units(shares[GOAL], x, y)
            here = _narrow(shares, size, fixed, number, price, allowed, True, call_markets, call_tiers, payoffs)
            room[BEST, place] = here + max(0, allowed) + ROUNDING
        _file_interval(
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
            low = _coin_limit(amount, worst, price, low, allowed, False, asset, assets, coins)
            high = _coin_limit(amount, worst, price, high, allowed, False, asset, assets, coins)
        if status != HEALTHY:
            allowed = shares[GOAL] - rounding
            low = _coin_limit(amount, best, price, low, allowed, True, asset, call_assets, coins)
            high = _coin_limit(amount, best, price, high, allowed, True, asset, call_assets, coins)
        _file_interval(low, high, 1, highest, nodes, heads, variables, first_nodes, counters, account, variable)


@kernel(inline="always")
def _take_share(shares: Rows, weight: float, total: float) -> None:
    """Take a term's part out of the slack and the goal that are left; integers, so that no sum exceeds the whole."""
    shares[BUDGET] = min(
        shares[SLACK_LEFT], shares[SLACK_BASE] + _share(shares[SLACK], shares[SLACK_LEFT], weight, total)
    )
    shares[GOAL] = min(
        shares[DEFICIT_LEFT], shares[DEFICIT_BASE] + _share(shares[DEFICIT], shares[DEFICIT_LEFT], weight, total)
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
        accounts, positions, account, status, total, markets, tiers, call_markets, call_tiers, payoffs, prices,
        nodes, heads, variables, first_nodes, counters, weights, room, shares,
    )  # fmt: skip
    if coin_count:
        _watch_coins(
            accounts, positions, account, status, coin_count, total, markets, assets, call_assets, coins, prices,
            nodes, heads, variables, first_nodes, counters, weights, room, shares,
        )  # fmt: skip
