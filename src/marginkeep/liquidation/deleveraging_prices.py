"""At which price a bankrupt position is closed, what that costs the other side, and who can bear it.

Signs: a size is negative when short; an allotment is the part of the account's equity that belongs to one position,
negative when the account is bankrupt. Closing at the bankruptcy price changes equity by exactly minus the allotment,
then rounded so that the account keeps a little more: up for a long, which sells, down for a short, which buys.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from marginkeep.book.health import equity, position_terms
from marginkeep.book.limits import payoff_at
from marginkeep.margin.tiered import convert_floor, notional, signed_value
from marginkeep.rulebook.model import MAINTENANCE
from marginkeep.units import ceil_div, floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.liquidation.deleveraging_policies import Winners
    from marginkeep.rulebook import MarketTable


def allot_equity(amount: int, requirements: Sequence[int]) -> tuple[int, ...]:
    """Divide an account's equity among its positions in proportion to their maintenance requirement.

    `floor(equity * requirement / sum of requirements)`, as dYdX divides it. The sum of the parts is at most the equity,
    and less than it by fewer units than there are positions.

    Parameters
    ----------
    amount : equity, negative for a bankrupt account
    requirements : at least 0, one above 0
    """
    total = sum(requirements)
    return tuple(floor_div(amount * requirement, total) for requirement in requirements)


def bankruptcy_price(market: MarketTable, size: int, mark: int, allotted: int) -> int | None:
    """Return the price in ticks at which closing a position costs what is allotted to it, or barely less.

    Among the prices of at least one tick at which `floor(value)` does not fall short of `value at mark - allotted`, it
    is the one nearest to that. None where there is none: no price is low enough for a short that lost too much.

    Parameters
    ----------
    size : lots, not 0
    mark : ticks
    allotted : settle units
    """
    wanted = signed_value(size, market.sign, *payoff_at(market, mark)) - allotted
    if market.sign > 0:
        per_tick, scaled = size * market.numerator, wanted * market.denominator
        price = ceil_div(scaled, per_tick) if size > 0 else floor_div(scaled, per_tick)
    else:
        # -size * numerator / (price * denominator) >= wanted; a wanted value beyond price infinity is never reached
        if (wanted >= 0) == (size > 0) or not wanted:
            return None
        scaled, per_unit = size * market.numerator, -wanted * market.denominator
        price = ceil_div(scaled, per_unit) if size > 0 else floor_div(scaled, per_unit)
    if size > 0:
        return max(1, price)
    return price if price >= 1 else None


def bankruptcy_prices(account: Account, valuation: Valuation) -> dict[int, int | None]:
    """Return the bankruptcy price of each position, by market index, in ticks.

    Closing all of them at these prices leaves an equity of at least 0, and of less than one tick's worth a lot and
    one unit a position above it (where every position has a price, and no long needs less than one tick). Open orders
    must have been released before. Positions that require nothing share by notional if none requires anything.
    """
    prices: dict[int, int | None] = {}
    for index, share in allotments(account, valuation, equity(account, valuation)).items():
        market = valuation.tables.markets[index]
        x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
        size, mark = account.positions[index].size, valuation.marks[index]
        prices[index] = bankruptcy_price(market, size, mark, floor_div(share * y, x)) if x else None
    return prices


def allotments(account: Account, valuation: Valuation, amount: int) -> dict[int, int]:
    """Divide an amount, an account's equity or what others leave of its loss, among its positions, by market index."""
    held = [index for index, position in account.positions.items() if position.size]
    shares = allot_equity(amount, _requirements(account, held, valuation)) if held else ()
    return dict(zip(held, shares, strict=True))


def _requirements(account: Account, held: list[int], valuation: Valuation) -> list[int]:
    """Return what each position requires at maintenance, in reporting units; notionals where that is nothing."""
    required = []
    notionals = []
    for index in held:
        market, position = valuation.tables.markets[index], account.positions[index]
        x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
        terms = position_terms(market, position, valuation, MAINTENANCE)
        value = notional(position.size, valuation.market_x[index], valuation.market_y[index])
        required.append(-convert_floor(-terms.requirement, x, y))
        notionals.append(-convert_floor(-value, x, y))
    return required if any(required) else notionals


def haircut_per_lot(
    market: MarketTable, is_long: bool, mark: int, price: int, settle: Fraction = Fraction(1)
) -> Fraction:
    """Return what a winner gives up for each lot closed at a price instead of the mark; negative where it gains.

    Parameters
    ----------
    is_long : the winner's side
    settle : reporting units for one unit of the settle asset
    """
    at_mark, at_price = (Fraction(*payoff_at(market, ticks)) for ticks in (mark, price))
    change = market.sign * (at_mark - at_price) * settle
    return change if is_long else -change


def overlaps(winners: Winners, haircut: Fraction) -> NDArray[np.bool_]:
    """Tell whose own bankruptcy price overlaps with a price: who could be closed whole there and keep equity >= 0.

    A winner that could not is left out, even of a small close: it would come out poorer per lot than it can bear, and
    be the next bankrupt. Where too few are left the close is partial.

    Parameters
    ----------
    haircut : reporting units a lot, see `haircut_per_lot`
    """
    up, down = haircut.numerator, haircut.denominator
    pairs = zip(winners.equities.tolist(), winners.sizes.tolist(), strict=True)
    return np.array([own * down >= size * up for own, size in pairs], np.bool_)
