"""How far one price may move: the farthest price at which a position or a coin is proved to keep within an allowance.

Worth is computed in integers by the twin's own functions; a float only proposes where to look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep import units
from marginkeep.book import kernels as k
from marginkeep.compiled import kernel

if TYPE_CHECKING:
    from marginkeep.book.watch_lists import Rows

NUMERATOR, DENOMINATOR, LOWEST, HIGHEST, JUMPS, STEEP = range(6)
"""Columns of `payoffs` (and, the first four, of `coins`): value of a lot or unit as a fraction, price limits, whether
tiers jump (whole position, by value), whether a rate reaches 1, so that a gain need not be greatest at an end."""

_SEARCH_ROUNDS: Final = 12
_CLOSE_ENOUGH: Final = 6
"""A trigger is taken when the bracket is shorter than 1/2^6 of its distance, or the allowance used but for 1/2^6."""

_FAR: Final = 4e18
_SMALL: Final = 1e-9


@kernel(inline="always")
def worth(size: int, fixed: int, number: int, price: int, markets: Rows, tiers: Rows, payoffs: Rows) -> Any:
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
def tier_number(size: int, number: int, price: int, markets: Rows, tiers: Rows, payoffs: Rows) -> Any:
    """Return which tier a position whose tiers measure value is in at a price."""
    if markets[number, k.SIGN] > 0 and payoffs[number, DENOMINATOR] == 1:
        notional = abs(size) * price * payoffs[number, NUMERATOR]
    elif markets[number, k.SIGN] > 0:
        notional = k._notional(size, price * payoffs[number, NUMERATOR], payoffs[number, DENOMINATOR])
    else:
        notional = k._notional(size, payoffs[number, NUMERATOR], price * payoffs[number, DENOMINATOR])
    return k._tier_at(notional, number, markets, tiers)


@kernel()
def edge_of_tier(size: int, number: int, price: int, bound: int, markets: Rows, tiers: Rows, payoffs: Rows) -> int:
    """Return the price nearest to `bound` at which a jumping position is still in the tier it is in at `price`."""
    here = tier_number(size, number, price, markets, tiers, payoffs)
    if tier_number(size, number, bound, markets, tiers, payoffs) == here:
        return bound
    inside, outside = price, bound
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if tier_number(size, number, middle, markets, tiers, payoffs) == here:
            inside = middle
        else:
            outside = middle
    return inside


@kernel()
def first_guess(
    size: int, number: int, price: int, allowed: int, rising: bool, markets: Rows, tiers: Rows, payoffs: Rows
) -> int:
    """Propose how many ticks of a price move an amount is worth, by the slope at the price; only a proposal."""
    tier = tier_number(size, number, price, markets, tiers, payoffs)
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
def position_limit(
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
    guess = first_guess(size, number, price, allowed, rising, markets, tiers, payoffs)
    for round_number in range(_SEARCH_ROUNDS):
        distance = min(max(guess, near + 1), far - 1)
        change = sign * (here - worth(size, fixed, number, price + step * distance, markets, tiers, payoffs))
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
            part = float(allowed - near_change) / max(1.0, float(far_change - near_change))
            guess = near + int(float(far - near) * part)
    return price + step * near


@kernel()
def coin_worth(amount: int, others: int, price: int, asset: int, assets: Rows, coins: Rows) -> int:
    """Return what a balance (weighted) and `others` coin units are worth at a price, in reporting units."""
    x, y = price * coins[asset, NUMERATOR], coins[asset, DENOMINATOR]
    value = k._convert_floor(amount, x, y)
    weight = assets[asset, 2] if amount >= 0 else assets[asset, 3]
    return k._rate_floor(value, weight) + k._convert_floor(others, x, y)


@kernel()
def coin_limit(
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
    here = coin_worth(amount, others, price, asset, assets, coins)
    change = sign * (here - coin_worth(amount, others, bound, asset, assets, coins))
    if change <= allowed:
        return bound
    step = 1 if bound > price else -1
    distance = int(float(abs(bound - price)) * (float(allowed) / float(change)))
    while distance > 0:
        change = sign * (here - coin_worth(amount, others, price + step * distance, asset, assets, coins))
        if change <= allowed:
            break
        distance -= 1 + (distance >> 5)
    return price + step * max(0, distance)


@kernel(inline="always")
def share(slack: int, left: int, weight: float, weights: float) -> int:
    """Return a part of the slack in proportion to a weight, never more than what is left: no sum can exceed it."""
    if weights <= 0.0:
        return 0
    return min(left, max(0, int(float(slack) * (weight / weights))))
