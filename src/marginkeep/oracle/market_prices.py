"""Prices that a venue's own market states: from its trades, its best bid and ask, and the depth of its book.

Books are levels (price in ticks, size in lots), best first. A value is a price times a size, in tick-lots. Means are
rounded down to ticks; None stands for a price that does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.units import RATE_ONE, floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    Level = tuple[int, int]


def trades_price(
    trades: Sequence[tuple[int, int, int]], now_ns: int, window_ns: int, decay: int, power: int
) -> int | None:
    """Return the mean price of trades, each weighted by its size and its age, rounded down (Vega, 0009-MRKP).

    Parameters
    ----------
    trades : (time, price, size); one older than the window is left out, one from the future counts as of now
    decay : rate from 0 to 1: the weight is ``1 - decay * (age / window)^power``, at least 0
    power : 1 to 3. Decay 0 or power 0: every trade of the window weighs 1 for each lot
    """
    weighs = decay > 0 and power > 0
    total = weight = 0
    for at_ns, price, size in trades:
        age_ns = max(now_ns - at_ns, 0)
        if age_ns > window_ns:
            continue
        kept = max(RATE_ONE * window_ns**power - decay * age_ns**power, 0) if weighs else 1
        total += kept * size * price
        weight += kept * size
    return floor_div(total, weight) if weight else None


def mid(bid: int | None, ask: int | None) -> int | None:
    """Return the middle of best bid and best ask, rounded down; None where either is missing."""
    return None if bid is None or ask is None else floor_div(bid + ask, 2)


def touch_price(bid: int | None, ask: int | None, last: int | None) -> int | None:
    """Return the median of best bid, best ask and last trade; of two the mean, rounded down."""
    there = sorted(price for price in (bid, ask, last) if price is not None)
    if not there:
        return None
    return floor_div(there[(len(there) - 1) // 2] + there[len(there) // 2], 2)


def walk(levels: Sequence[Level], quantity: int) -> int | None:
    """Return the mean price of filling `quantity` lots against a side of the book, rounded down.

    Quantity 0 costs the best price. None where the book is too thin or empty.
    """
    if quantity <= 0:
        return levels[0][0] if levels else None
    left, value = quantity, 0
    for price, size in levels:
        filled = min(left, size)
        value += filled * price
        left -= filled
        if left == 0:
            return floor_div(value, quantity)
    return None


def impact_value(cash: int, initial_factor: int, slippage: int, risk_factor: int) -> int:
    """Return the value of the position that `cash` carries as initial margin, rounded down (Vega, 0009-MRKP).

    Parameters
    ----------
    cash : in tick-lots
    initial_factor, slippage, risk_factor : rates; the margin of a position is
        ``value * initial_factor * (slippage + risk_factor)``
    """
    return floor_div(cash * RATE_ONE**2, initial_factor * (slippage + risk_factor))


def impact_price(bids: Sequence[Level], asks: Sequence[Level], bid_value: int, ask_value: int) -> int | None:
    """Return the middle of what it costs to sell, and to buy, a value's worth of lots at the best price.

    Parameters
    ----------
    bid_value, ask_value : the value sold into the bids and bought from the asks; lots are rounded down, and 0 lots
        cost the best price

    Returns
    -------
    Rounded down; None where either side is empty or too thin.
    """
    if not bids or not asks:
        return None
    sold = walk(bids, floor_div(bid_value, bids[0][0]))
    bought = walk(asks, floor_div(ask_value, asks[0][0]))
    return mid(sold, bought)


def premium(bids: Sequence[Level], asks: Sequence[Level], index: int, value: int, most: int) -> int:
    """Return how far the book is from the index: the sample that funding is made from (dYdX v4).

    ``(max(0, impact bid - index) - max(0, index - impact ask)) / index``, where an impact price is `value` over the
    lots, not rounded, that it fills. A side too thin for the value says nothing.

    Parameters
    ----------
    value : in tick-lots; 0 = the best price
    most : rate; the premium is kept within it on both sides

    Returns
    -------
    A rate, rounded toward zero.
    """
    above = max(_distance(bids, index, value), 0)
    below = min(_distance(asks, index, value), 0)
    return max(-most, min(above + below, most))


def _distance(levels: Sequence[Level], index: int, value: int) -> int:
    """Return the rate by which a side's impact price is above the index, rounded toward zero; 0 if it has none."""
    left, lots = value, 0
    for price, size in levels:
        if left <= price * size:
            # The impact price is value / (lots + left / price); without a value it is the first price.
            paid, filled = (value * price, lots * price + left) if value else (price, 1)
            excess = (paid - index * filled) * RATE_ONE
            rate = floor_div(abs(excess), filled * index)
            return rate if excess > 0 else -rate
        left -= price * size
        lots += size
    return 0


def without_tails(samples: Sequence[int], tail: int) -> list[int]:
    """Return samples in order without the share `tail` (a rate) at each end (dYdX v4).

    ``floor(2 * tail * n)`` samples go, the smaller half of them from the bottom; nothing goes where that is all.
    """
    ordered = sorted(samples)
    count = floor_div(2 * tail * len(ordered), RATE_ONE)
    if count >= len(ordered):
        return ordered
    bottom = count // 2
    return ordered[bottom : len(ordered) - (count - bottom)]
