"""What a fill does to a position: average cost, realised profit, and no unit lost to rounding.

Each side's cost of a fill is rounded up, so the two costs of one trade sum to 0, or to dust that goes to the insurance
fund. A close realises `proceeds - share of cost`, rounded down by taking the share of cost up. For either side
`change of cost = cost of fill + realised`, which is why a market's settlement account mirrors the sum of open costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.margin.tiered import payoff_pair, signed_value
from marginkeep.units import RATE_ONE, multiply_divide, rate_floor

if TYPE_CHECKING:
    from marginkeep.book.account import Position
    from marginkeep.rulebook import MarketTable


class Fill(NamedTuple):
    """A fill's money: `cost` of what was traded and `realised` profit, in settle units."""

    cost: int
    realised: int


def cost_of(market: MarketTable, size: int, price: int) -> int:
    """Return what `size` lots cost at a price in ticks, signed like their value, rounded up."""
    x, y = payoff_pair(market.sign, market.numerator, market.denominator, price)
    return -signed_value(-size, market.sign, x, y)


def share_of_cost(cost: int, part: int, whole: int) -> int:
    """Return the share of a cost that belongs to a part of its size, rounded up."""
    return cost if part == whole else -multiply_divide(-cost, part, whole)


def realised_profit(held: int, held_cost: int, size: int, cost: int) -> int:
    """Return what a trade of `size` lots for `cost` realises on the opposite `held` lots that it closes."""
    closed = min(abs(held), abs(size))
    return -share_of_cost(cost, closed, abs(size)) - share_of_cost(held_cost, closed, abs(held))


def fill_position(market: MarketTable, position: Position, size: int, price: int) -> Fill:
    """Trade `size` lots (negative = sell) at `price` ticks: change the position, return the money that moves.

    Funding must have been booked before (`book_funding`): it is owed on the size held until now.
    """
    cost = cost_of(market, size, price)
    held = position.size
    position.size = held + size
    if held * size >= 0:
        position.cost += cost
        return Fill(cost, 0)
    realised = realised_profit(held, position.cost, size, cost)
    position.cost += cost + realised
    return Fill(cost, realised)


def book_funding(position: Position, index: int) -> tuple[int, int]:
    """Bring a position's funding up to the market's index.

    Returns
    -------
    (paid, dust) : settle units credited (negative = owed), rounded down, and the 10^-9 parts that rounding kept back
    """
    moved = index - position.funding_entry
    position.funding_entry = index
    if not moved or not position.size:
        return 0, 0
    paid = rate_floor(-position.size, moved)
    return paid, -position.size * moved - paid * RATE_ONE
