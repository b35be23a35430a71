"""Value and tiered requirement of one position, in integers.

These functions are the only statement of these rules. The twin calls them as they are; the kernels compile this
very source, so every intermediate stays inside int64 within the limits of `marginkeep.book.limits`.
"""

from __future__ import annotations

from marginkeep.units import RATE_ONE


def convert_floor(amount: int, x: int, y: int) -> int:
    """Return `amount * x / y` rounded down, with y > 0, splitting the amount so that only the result can be large."""
    quotient = amount // y
    return quotient * x + (amount - quotient * y) * x // y


def payoff_pair(sign: int, numerator: int, denominator: int, price: int) -> tuple[int, int]:
    """Return the pair (x, y) of a market at a price in ticks: value = sign * size * x / y."""
    if sign > 0:
        return price * numerator, denominator
    return numerator, price * denominator


def signed_value(size: int, sign: int, x: int, y: int) -> int:
    """Return a position's value in settle units, rounded down, that is against its holder.

    Parameters
    ----------
    size : lots, negative when short
    sign, x, y : the market's payoff at its mark, see `marginkeep.rulebook.tables`
    """
    return sign * size * x // y


def notional(size: int, x: int, y: int) -> int:
    """Return the absolute value of a position in settle units, rounded up."""
    return -(-abs(size) * x // y)


def requirement_by_value(measure: int, offset: int, rate: int, whole: int, part: int) -> int:
    """Return the requirement of a tier whose floor measures notional, rounded up.

    Parameters
    ----------
    measure : notional in settle units, inside the tier
    offset, rate, whole, part : the tier's row at one level, see `marginkeep.rulebook.tables`

    Notes
    -----
    Marginal: M(N) = M(floor) + (N - floor) * rate, the recursion of maintenance amounts that venues publish.
    Whole position: M(N) = N * rate.
    """
    above = measure - offset
    high = above // RATE_ONE
    low = above - high * RATE_ONE
    return whole + high * rate - (-(part + low * rate) // RATE_ONE)


def requirement_by_size(size: int, offset: int, rate: int, whole: int, part: int, x: int, y: int) -> int:
    """Return the requirement of a tier whose floor measures size, rounded up: rates weigh lots, the mark values them.

    Parameters
    ----------
    size : absolute size in lots, inside the tier
    offset, rate, whole, part : the tier's row at one level
    x, y : the market's payoff at its mark
    """
    above = size - offset
    high = above // RATE_ONE
    weighed = part + (above - high * RATE_ONE) * rate
    lots = whole + high * rate + weighed // RATE_ONE
    share = weighed - weighed // RATE_ONE * RATE_ONE
    x_high = x // RATE_ONE
    x_low = x - x_high * RATE_ONE
    share_value = share * x_high - (-(share * x_low) // RATE_ONE)
    return -(-(lots * x + share_value) // y)
