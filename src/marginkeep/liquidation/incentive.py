"""What a liquidation step may cost the account: never so much that the step makes it worse.

The proof. An account has collateral N > 0 and requirement M > 0 at a level; a step releases R of the requirement,
0 < R < M, and costs L of the collateral. Its health factor N / M rises if and only if

    (N - L) / (M - R) > N / M   <=>   M (N - L) > N (M - R)   <=>   L M < N R   <=>   L < h R,   h = N / M.

So the toxic frontier is `L = h R`. A discount b on a closed value V costs b V: the step heals iff b < h R / V. Where
the requirement is a rate m of the value, R = m V and the frontier is b = h m. A loan that is repaid by r, against
collateral of threshold T worth (1 + b) r, has L = T (1 + b) r and R = r: it heals iff h > T (1 + b). An ill account
has h < 1, so L < R and its shortfall M - N falls as well: steps that heal lead to the target, or to the last lot.

N and M are those of `settled_measure`. The plain measure counts a profit as collateral and a debt of the same asset
as requirement; closing nets the two, which changes N / M with nobody gaining or losing anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.fills import book_funding
from marginkeep.book.health import measure
from marginkeep.margin.tiered import convert_floor, signed_value
from marginkeep.units import RATE_ONE, ceil_div, floor_div, multiply_divide, rate_floor

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.margin.solvency import Measure


def settled_measure(account: Account, valuation: Valuation, level: int) -> Measure:
    """Measure an account as if every profit, loss and funding payment had just been booked to its balance.

    Closing at the mark leaves this collateral as it is, and lowers the requirement by what the closed size required.
    """
    settled = account.copy()
    for index, position in settled.positions.items():
        market = valuation.tables.markets[index]
        paid, _ = book_funding(position, valuation.funding_index(index, position.size))
        value = signed_value(position.size, market.sign, valuation.market_x[index], valuation.market_y[index])
        balance = settled.balances.get(market.settle, 0)
        settled.balances[market.settle] = balance + paid + value - position.cost
        position.cost = value
    return measure(settled, valuation, level)


def heals(before: Measure, after: Measure) -> bool:
    """Tell whether a step strictly raises the health factor, or closes an account without leaving a debt."""
    if after.requirement <= 0:
        return after.collateral >= 0
    return after.collateral * before.requirement > before.collateral * after.requirement


def healing_cost(collateral: int, requirement: int, released: int) -> int:
    """Return the most that a step may cost so that the health factor strictly rises; 0 where no cost is healing.

    Parameters
    ----------
    collateral, requirement : of `settled_measure`, before the step
    released : how much lower the requirement is after the step; all of it = the account is closed, and the cost may
        be all that is left

    Notes
    -----
    The largest whole L with `L * requirement < collateral * released`. At 0 or less collateral nothing heals: the
    account must be closed, and the loss waterfall pays. Nor does a step heal that releases nothing.
    """
    if collateral <= 0 or released <= 0:
        return 0
    if released >= requirement:
        return collateral
    return -multiply_divide(-collateral, released, requirement) - 1


def healing_discount(collateral: int, requirement: int, value: int, released: int) -> int:
    """Return the largest discount, a rate on `value`, at which the health factor strictly rises; 0 where none does.

    The largest b with `b * value * requirement < collateral * released * 10^9`; for a step that closes the account,
    the largest that its collateral can pay.
    """
    if collateral <= 0 or released <= 0 or value <= 0:
        return 0
    if released >= requirement:
        return floor_div(collateral * RATE_ONE, value)
    return ceil_div(collateral * released * RATE_ONE, value * requirement) - 1


def healing_bonus(collateral: int, debt: int, threshold: int) -> int:
    """Return the largest liquidation bonus of a loan at which repaying strictly raises its health factor.

    The largest rate b of at least 0 with `threshold * (1 + b) < collateral / debt`; 0 also where even b = 0 harms.

    Parameters
    ----------
    collateral : sum of holdings, each times its threshold
    threshold : of the asset that is sold, a rate above 0. Assets with the lowest threshold heal most.
    """
    if collateral <= 0 or debt <= 0:
        return 0
    return max(0, ceil_div(collateral * RATE_ONE * RATE_ONE, threshold * debt) - 1 - RATE_ONE)


def affordable_cost(wanted: int, before: Measure, released: int, equity: int) -> int:
    """Return the cost of a step: what is wanted, at most what heals, at most what the account has left."""
    healing = healing_cost(before.collateral, before.requirement, released)
    return max(0, min(wanted, healing, equity))


def bearable_penalty(wanted: int, left: int, x: int, y: int) -> int:
    """Return the penalty in settle units: what is wanted, at most what is left, in reporting units."""
    return min(wanted, convert_floor(max(0, left), y, x))


def penalty_split(penalty: int, liquidator_share: int, house_share: int) -> tuple[int, int, int]:
    """Split a penalty among (liquidator, fund, house); the three sum to it.

    The house has its share of the whole and the liquidator its share of the rest, both rounded down; the fund has
    what remains, dust included.
    """
    house = rate_floor(penalty, house_share)
    liquidator = rate_floor(penalty - house, liquidator_share)
    return liquidator, penalty - house - liquidator, house
