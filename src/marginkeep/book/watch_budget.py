"""Budgets and triggers of one account: how far each price may move, alone, before the account is looked at again.

Health is a sum of integer terms, one a position or balance. Split the slack h into budgets b_i >= 0 with sum <= h: as
long as no term has lost more than its budget, health has not gone below zero. Each term is concave in its price (or in
its notional, which is monotone in the price), so between two prices it is never lower than at the lower of the two;
a trigger is therefore proved by evaluating the term in integers at the trigger itself. `ROUNDING` units are kept back
for each term, because rounded terms are concave only up to that. Floats propose triggers and shares; integers decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from numba import njit

from marginkeep import units
from marginkeep.book import columns as c
from marginkeep.book import kernels as k
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

_SEARCH_ROUNDS: Final = 12
_CLOSE_ENOUGH: Final = 6
"""A trigger is taken when the bracket is shorter than 1/2^6 of its distance."""


@njit(cache=True, error_model="numpy")
def _worth(size: int, fixed: int, number: int, price: int, markets: Rows, tiers: Rows, payoffs: Rows) -> Any:
    """Return counted profit less requirement of a position at a price, in settle units; `fixed` = funding - cost."""
    if markets[number, k.SIGN] > 0:
        x, y = price * payoffs[number, NUMERATOR], payoffs[number, DENOMINATOR]
    else:
        x, y = payoffs[number, NUMERATOR], price * payoffs[number, DENOMINATOR]
    profit = k._signed_value(size, markets[number, k.SIGN], x, y) + fixed
    if profit > 0 and markets[number, k.PROFIT_WEIGHT] != units.RATE_ONE:
        profit = k._rate_floor(profit, markets[number, k.PROFIT_WEIGHT])
    return profit - k._size_requirement(size, number, markets, tiers, x, y)


@njit(cache=True, error_model="numpy")
def _tier_number(size: int, number: int, price: int, markets: Rows, tiers: Rows, payoffs: Rows) -> Any:
    if markets[number, k.SIGN] > 0:
        notional = k._notional(size, price * payoffs[number, NUMERATOR], payoffs[number, DENOMINATOR])
    else:
        notional = k._notional(size, payoffs[number, NUMERATOR], price * payoffs[number, DENOMINATOR])
    return k._tier_at(notional, number, markets, tiers)


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
def _position_limit(
    size: int,
    fixed: int,
    number: int,
    price: int,
    bound: int,
    allowed: int,
    gains: bool,
    markets: Rows,
    tiers: Rows,
    payoffs: Rows,
) -> int:
    """Return the price farthest from `price` toward `bound` that is proved to cost (or gain) no more than `allowed`."""
    if allowed < 0 or bound == price:
        return price
    sign = -1 if gains else 1
    here = _worth(size, fixed, number, price, markets, tiers, payoffs)
    change = sign * (here - _worth(size, fixed, number, bound, markets, tiers, payoffs))
    if change <= allowed:
        return bound
    step = 1 if bound > price else -1
    near, near_change, far, far_change = 0, 0, abs(bound - price), change
    guess = max(1, price >> 10)
    for round_number in range(_SEARCH_ROUNDS):
        distance = min(max(guess, near + 1), far - 1)
        if far - near <= 1 + (near >> _CLOSE_ENOUGH):
            break
        change = sign * (here - _worth(size, fixed, number, price + step * distance, markets, tiers, payoffs))
        if change <= allowed:
            near, near_change = distance, change
        else:
            far, far_change = distance, change
        if round_number == 0 and change > 0:
            guess = int(float(distance) * (float(allowed) / float(change)))
        elif round_number % 3 == 2:
            guess = (near + far) // 2
        else:
            share = float(allowed - near_change) / max(1.0, float(far_change - near_change))
            guess = near + int(float(far - near) * share)
    return price + step * near


@njit(cache=True, error_model="numpy")
def _coin_worth(amount: int, others: int, price: int, asset: int, assets: Rows, coins: Rows) -> int:
    """Return what a balance (weighted) and `others` coin units are worth at a price, in reporting units."""
    x, y = price * coins[asset, NUMERATOR], coins[asset, DENOMINATOR]
    worth = k._convert_floor(amount, x, y)
    weight = assets[asset, 2] if amount >= 0 else assets[asset, 3]
    return k._rate_floor(worth, weight) + k._convert_floor(others, x, y)


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
def _share(slack: int, left: int, weight: float, weights: float) -> int:
    """Return a part of the slack in proportion to a weight, never more than what is left: no sum can exceed it."""
    if weights <= 0.0:
        return 0
    return min(left, max(0, int(float(slack) * (weight / weights))))


@njit(cache=True, error_model="numpy")
def _two_sided(lists: Any, account: int, variable: int, low: int, high: int, lowest: int, highest: int) -> None:
    """File the ends of [low, high] as triggers; an end at the price's own limit needs none."""
    nodes, heads, variables, first_nodes, counters = lists
    if low > lowest:
        add_node(nodes, heads, variables, first_nodes, counters, account, variable, DOWN, low)
    if high < highest:
        add_node(nodes, heads, variables, first_nodes, counters, account, variable, UP, high)


@njit(cache=True, error_model="numpy")
def measure_account(book: Any, account: int, tables: Any) -> tuple[int, int]:
    """Return an account's collateral and requirement at one level, as `kernels.measure_all` computes them."""
    accounts, positions, balances = book
    markets, tiers, assets = tables
    held, owed = k._balances(balances, accounts[account, c.BALANCE_START], accounts[account, c.BALANCE_COUNT], assets)
    start = accounts[account, c.POSITION_START]
    for slot in range(start, start + accounts[account, c.POSITION_COUNT]):
        counted, required = k._terms(positions, slot, markets, tiers, False)
        held += counted
        owed += required
    return held, owed


@njit(cache=True, error_model="numpy")
def _list_coins(book: Any, account: int, markets: Rows, reporting: int, scratch: Any) -> int:
    """List the coins an account's health depends on: those it holds or owes, and those its positions settle in."""
    accounts, positions, balances = book
    _, _, _, coin_assets, coin_amounts = scratch
    count = 0
    start = accounts[account, c.BALANCE_START]
    for slot in range(start, start + accounts[account, c.BALANCE_COUNT]):
        if balances[slot, c.ASSET] != reporting:
            coin_assets[count], coin_amounts[count] = balances[slot, c.ASSET], balances[slot, c.AMOUNT]
            count += 1
    start = accounts[account, c.POSITION_START]
    for slot in range(start, start + accounts[account, c.POSITION_COUNT]):
        settle = markets[positions[slot, c.MARKET], k.SETTLE_ASSET]
        known = settle == reporting
        for place in range(count):
            known = known or coin_assets[place] == settle
        if not known:
            coin_assets[count], coin_amounts[count] = settle, 0
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def _weigh(book: Any, account: int, tables: Any, coin_count: int, volatility: Any, scratch: Any) -> float:
    """Fill in each term's exposure times volatility, positions first, then coins; return their sum."""
    accounts, positions, _ = book
    markets, _, assets = tables
    weights, _, _, coin_assets, coin_amounts = scratch
    start, count = accounts[account, c.POSITION_START], accounts[account, c.POSITION_COUNT]
    for place in range(coin_count):
        weights[count + place] = abs(float(coin_amounts[place]))
    total = 0.0
    for place in range(count):
        number = positions[start + place, c.MARKET]
        value = abs(float(positions[start + place, c.SIZE])) * markets[number, k.X] / markets[number, k.Y]
        for coin in range(coin_count):
            if coin_assets[coin] == markets[number, k.SETTLE_ASSET]:
                weights[count + coin] += abs(float(k._profit(positions, start + place, number, markets)))
        weights[place] = value * markets[number, k.SETTLE_X] / markets[number, k.SETTLE_Y] * volatility[number]
        total += weights[place]
    for place in range(coin_count):
        asset = coin_assets[place]
        weights[count + place] *= assets[asset, 0] / assets[asset, 1] * volatility[len(markets) + asset]
        total += weights[count + place]
    return total


@njit(cache=True, error_model="numpy")
def _in_settle_units(budget: int, x: int, y: int) -> int:
    """Return a budget of reporting units in settle units, less what rounding may take; negative: too small to use."""
    if budget <= ROUNDING:
        return -1
    if x == 1 and y == 1:
        return budget - ROUNDING
    return k._convert_floor(budget - ROUNDING, y, x) - ROUNDING


@njit(cache=True, error_model="numpy")
def _position_interval(
    positions: Rows,
    slot: int,
    place: int,
    budget: int,
    goal: int,
    status: int,
    level: Any,
    call: Any,
    payoffs: Rows,
    price: int,
    scratch: Any,
) -> tuple[int, int]:
    """Return the prices between which a position keeps within its budget (and, when called, below its goal)."""
    markets, tiers, _ = level
    number, size = positions[slot, c.MARKET], positions[slot, c.SIZE]
    _, worst, best, _, _ = scratch
    moved = markets[number, k.FUNDING_INDEX] - positions[slot, c.FUNDING]
    fixed = k._rate_floor(-size, moved) - positions[slot, c.COST]
    lowest, highest = payoffs[number, LOWEST], payoffs[number, HIGHEST]
    if payoffs[number, JUMPS]:
        lowest = _edge_of_tier(size, number, price, lowest, markets, tiers, payoffs)
        highest = _edge_of_tier(size, number, price, highest, markets, tiers, payoffs)
    x, y = markets[number, k.SETTLE_X], markets[number, k.SETTLE_Y]
    allowed = _in_settle_units(budget, x, y)
    here = _worth(size, fixed, number, price, markets, tiers, payoffs)
    worst[place] = here - max(0, allowed) - ROUNDING
    low = _position_limit(size, fixed, number, price, lowest, allowed, False, markets, tiers, payoffs)
    high = _position_limit(size, fixed, number, price, highest, allowed, False, markets, tiers, payoffs)
    if status != HEALTHY:
        markets, tiers, _ = call
        allowed = -1 if payoffs[number, STEEP] else _in_settle_units(goal, x, y)
        here = _worth(size, fixed, number, price, markets, tiers, payoffs)
        best[place] = here + max(0, allowed) + ROUNDING
        low = _position_limit(size, fixed, number, price, low, allowed, True, markets, tiers, payoffs)
        high = _position_limit(size, fixed, number, price, high, allowed, True, markets, tiers, payoffs)
    return low, high


@njit(cache=True, error_model="numpy")
def _coin_interval(
    place: int,
    budget: int,
    goal: int,
    status: int,
    level: Any,
    call: Any,
    others_worst: int,
    others_best: int,
    slack: int,
    coins: Rows,
    price: int,
    scratch: Any,
) -> tuple[int, int]:
    """Return the coin prices between which holdings, debts and the positions settled in a coin keep within budget."""
    _, _, _, coin_assets, coin_amounts = scratch
    asset, amount = coin_assets[place], coin_amounts[place]
    allowed = budget - slack
    lowest, highest = 1, coins[asset, HIGHEST]
    low = _coin_limit(amount, others_worst, price, lowest, allowed, False, asset, level[2], coins)
    high = _coin_limit(amount, others_worst, price, highest, allowed, False, asset, level[2], coins)
    if status != HEALTHY:
        allowed = goal - slack
        low = _coin_limit(amount, others_best, price, low, allowed, True, asset, call[2], coins)
        high = _coin_limit(amount, others_best, price, high, allowed, True, asset, call[2], coins)
    return low, high


@njit(cache=True, error_model="numpy")
def set_triggers(
    book: Any,
    account: int,
    status: int,
    slack: int,
    deficit: int,
    levels: Any,
    terms: Any,
    prices: Rows,
    volatility: Any,
    lists: Any,
    scratch: Any,
) -> None:
    """Split an account's slack into budgets and file a trigger for each; its old ones have been dropped.

    Parameters
    ----------
    status : `HEALTHY` (slack is health at call), `CALLED` or `BREACHED` (slack is health at maintenance)
    deficit : for a called account, what it lacks at call: triggers on the winning side tell when it may be cured
    levels : (markets, tiers, assets) at call, and at maintenance
    terms : (payoffs, coins, reporting): int64[markets, 6], int64[assets, 4], the reporting asset
    scratch : (weights, worst, best, coin assets, coin amounts), room for every term
    """
    accounts, positions, _ = book
    payoffs, coins, reporting = terms
    level, call = levels[min(status, MAINTENANCE_LEVEL)], levels[CALL_LEVEL]
    weights, worst, best, coin_assets, _ = scratch
    coin_count = _list_coins(book, account, call[0], reporting, scratch)
    total = _weigh(book, account, level, coin_count, volatility, scratch)
    start, count = accounts[account, c.POSITION_START], accounts[account, c.POSITION_COUNT]
    slack_left, goal_left = slack, deficit - 1
    for place in range(count):
        slot = start + place
        number = positions[slot, c.MARKET]
        worst[place] = best[place] = 0
        if positions[slot, c.SIZE] == 0:
            continue
        budget = _share(slack, slack_left, weights[place], total)
        goal = _share(deficit, goal_left, weights[place], total)
        slack_left -= budget
        goal_left -= goal
        low, high = _position_interval(
            positions, slot, place, budget, goal, status, level, call, payoffs, prices[number], scratch
        )
        _two_sided(lists, account, number, low, high, payoffs[number, LOWEST], payoffs[number, HIGHEST])
    for coin in range(coin_count):
        asset = coin_assets[coin]
        budget = _share(slack, slack_left, weights[count + coin], total)
        goal = _share(deficit, goal_left, weights[count + coin], total)
        slack_left -= budget
        goal_left -= goal
        others_worst = others_best = 0
        rounding = 2 * ROUNDING
        for place in range(count):
            if call[0][positions[start + place, c.MARKET], k.SETTLE_ASSET] == asset:
                others_worst += worst[place]
                others_best += best[place]
                rounding += ROUNDING
        variable = len(payoffs) + asset
        if prices[variable] == 0:
            continue
        low, high = _coin_interval(
            coin,
            budget,
            goal,
            status,
            level,
            call,
            others_worst,
            others_best,
            rounding,
            coins,
            prices[variable],
            scratch,
        )
        _two_sided(lists, account, variable, low, high, 1, coins[asset, HIGHEST])
