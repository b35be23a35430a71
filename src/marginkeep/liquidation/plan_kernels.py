"""Plans of many reductions on the book's columns: the steps of `reduction.plan_reduction`, compiled, to the unit.

The rules are the plain path's own functions; only its loops and its sums (`trial.Trial`) are written twice. What does
not fit int64 by the bounds of `plan_desk`, and accounts that have to sell holdings, are left to the plain path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep import units
from marginkeep.book import columns as c
from marginkeep.book import fills
from marginkeep.book import kernels as k
from marginkeep.compiled import compile_together, lending_kernel
from marginkeep.liquidation import incentive, reduction, sizing, wide_division
from marginkeep.liquidation import plan_desk as d
from marginkeep.margin import tiered
from marginkeep.units import INT64_SAFE

if TYPE_CHECKING:
    from marginkeep.book.columns import Rows
    from marginkeep.liquidation.plan_desk import Desk, Prices

_lending = lending_kernel()
_LEAVES: Final = compile_together(
    (
        *(wide_division.multiply_unsigned, wide_division.divide_unsigned, wide_division.multiply_divide),
        *(units.rate_floor, units.rate_ceil, tiered.convert_floor, tiered.notional, tiered.signed_value),
        *(tiered.payoff_pair, fills.share_of_cost, fills.realised_profit, sizing.lots_below, sizing.next_try),
        *(sizing.released_per_cost, incentive.healing_cost, incentive.bearable_penalty, reduction.slipped_price),
    )
)
_rate_floor, _rate_ceil, _convert_floor = (_LEAVES[n] for n in ("rate_floor", "rate_ceil", "convert_floor"))
_notional, _signed_value, _slipped_price = (_LEAVES[n] for n in ("notional", "signed_value", "slipped_price"))
_payoff_pair, _realised_profit, _lots_below = (_LEAVES[n] for n in ("payoff_pair", "realised_profit", "lots_below"))
_next_try, _released_per_cost, _healing_cost = (_LEAVES[n] for n in ("next_try", "released_per_cost", "healing_cost"))
_bearable_penalty = _LEAVES["bearable_penalty"]

MARKET, SIZE, PRICE, VALUE, REALISED, PENALTY, LEFT_SIZE, LEFT_COST, BALANCE = range(9)
CLOSE_WIDTH: Final = 9
"""Columns of a close: those of `reduction.Close`, then the position and the balance of its settle asset after it."""

VERDICT, FIRST, COUNT, COLLATERAL, REQUIREMENT, HEALTH_TARGET, HEALTH_AFTER = range(7)
FIGURES_WIDTH: Final = 7
"""Figures of an account: verdict, its run of closes, its measure at maintenance, health at target before and after."""

UNFIT, PLANNED, HEALTHY = range(3)
"""Verdicts: left to the plain path; planned; not below maintenance."""


@_lending
def plan_all(
    indices: Rows,
    accounts: Rows,
    positions: Rows,
    balances: Rows,
    prices: Prices,
    desk: Desk,
    figures: Rows,
    closes: Rows,
) -> None:
    """Plan the reduction of accounts.

    Parameters
    ----------
    indices : int64[n], accounts
    figures : int64[n, 7], filled
    closes : int64[at least all their positions, 9], filled by runs
    """
    used = 0
    for row in range(len(indices)):
        figures[row, FIRST] = used
        figures[row, COUNT] = 0
        figures[row, VERDICT] = UNFIT
        legs = d.load(indices[row], accounts, positions, balances, prices, desk)
        if legs < 0:
            continue
        figures[row, COLLATERAL], figures[row, REQUIREMENT] = d.open_account(legs, prices, desk)
        figures[row, HEALTH_TARGET] = desk.sums[d.HEALTH]
        if figures[row, COLLATERAL] >= figures[row, REQUIREMENT]:
            figures[row, VERDICT] = HEALTHY
            continue
        count = _close_legs(legs, prices, desk, closes, used)
        if desk.sums[d.IS_UNFIT] or _must_sell(prices, desk):
            continue
        figures[row, VERDICT] = PLANNED
        figures[row, COUNT] = count
        figures[row, HEALTH_AFTER] = desk.sums[d.HEALTH]
        used += count


@_lending
def _close_legs(legs: int, prices: Prices, desk: Desk, closes: Rows, used: int) -> int:
    """Close legs in order until the account is at its target; return how many closes that took."""
    _rank(legs, prices, desk)
    count = 0
    for number in range(legs):
        slot = desk.order[number]
        if desk.sums[d.HEALTH] >= 0 or desk.sums[d.IS_UNFIT]:
            break
        if desk.legs[slot, c.SIZE] == 0:
            continue
        d.settle(prices, desk)
        lots = _sufficient(slot, prices, desk)
        _try(slot, lots, prices, desk)
        _keep(slot, prices, desk, closes[used + count])
        count += 1
    return count


@_lending
def _rank(legs: int, prices: Prices, desk: Desk) -> None:
    """Put legs in the order of `reduction._leg_order`: released per cost, then released, then the lower index."""
    markets, _, assets = prices.target
    for slot in range(legs):
        number, size = desk.legs[slot, c.MARKET], desk.legs[slot, c.SIZE]
        asset = markets[number, k.SETTLE_ASSET]
        value = _notional(size, markets[number, k.X], markets[number, k.Y])
        worth = _convert_floor(value, assets[asset, 0], assets[asset, 1])
        cost = _rate_ceil(worth, prices.terms[number, d.PENALTY_RATE] + prices.terms[number, d.SLIPPAGE])
        desk.ranks[slot] = _released_per_cost(desk.required[slot], cost)
        if desk.ranks[slot] >= INT64_SAFE:
            desk.sums[d.IS_UNFIT] = 1
        place = slot
        while place > 0 and _precedes(slot, desk.order[place - 1], desk):
            desk.order[place] = desk.order[place - 1]
            place -= 1
        desk.order[place] = slot


@_lending
def _precedes(slot: int, other: int, desk: Desk) -> Any:
    if desk.ranks[slot] != desk.ranks[other]:
        return desk.ranks[slot] > desk.ranks[other]
    if desk.required[slot] != desk.required[other]:
        return desk.required[slot] > desk.required[other]
    return desk.legs[slot, c.MARKET] < desk.legs[other, c.MARKET]


@_lending
def _sufficient(slot: int, prices: Prices, desk: Desk) -> Any:
    """Return the smallest sufficient close, see `sizing.smallest_sufficient`, stopping below each tier's floor."""
    markets, tiers, _ = prices.target
    number, largest = desk.legs[slot, c.MARKET], abs(desk.legs[slot, c.SIZE])
    below, at_below = 0, desk.sums[d.HEALTH]
    for tier in range(markets[number, k.LAST_TIER], markets[number, k.FIRST_TIER], -1):
        if tiers[tier, 0] == 0:
            continue
        left = _lots_below(tiers[tier, 0], markets[number, k.BY_SIZE], markets[number, k.X], markets[number, k.Y])
        if 0 < left < largest:
            at_stop = _try(slot, largest - left, prices, desk)
            if at_stop >= 0:
                return _crossing(slot, below, at_below, largest - left, at_stop, prices, desk)
            below, at_below = largest - left, at_stop
    at_stop = _try(slot, largest, prices, desk)
    if at_stop >= 0:
        return _crossing(slot, below, at_below, largest, at_stop, prices, desk)
    return largest


@_lending
def _crossing(slot: int, low: int, at_low: int, high: int, at_high: int, prices: Prices, desk: Desk) -> Any:
    tries = 0
    while high - low > 1:
        tries += 1
        middle = _next_try(tries, low, at_low, high, at_high)
        at_middle = _try(slot, middle, prices, desk)
        if at_middle >= 0:
            high, at_high = middle, at_middle
        else:
            low, at_low = middle, at_middle
    return high


@_lending
def _try(slot: int, lots: int, prices: Prices, desk: Desk) -> Any:
    """Close `lots` of a leg, as the tried leg, with the penalty it can bear; return health at target after that."""
    markets, _, assets = prices.target
    legs, tried = desk.legs, desk.tried
    number, held = legs[slot, c.MARKET], legs[slot, c.SIZE]
    size = -lots if held > 0 else lots
    sign, terms = markets[number, k.SIGN], prices.terms[number]
    index = markets[number, k.LONG_INDEX + (held < 0)]
    price = _slipped_price(terms[d.MARK], terms[d.SLIPPAGE], size < 0)
    x, y = _payoff_pair(sign, terms[d.NUMERATOR], terms[d.DENOMINATOR], price)
    cost = -_signed_value(-size, sign, x, y)
    realised = _realised_profit(held, legs[slot, c.COST], size, cost)
    legs[d.TRIED_LEG, c.MARKET] = number
    legs[d.TRIED_LEG, c.SIZE] = held + size
    legs[d.TRIED_LEG, c.COST] = legs[slot, c.COST] + cost + realised
    legs[d.TRIED_LEG, c.FUNDING] = index
    lost = max(0, cost - _signed_value(size, sign, markets[number, k.X], markets[number, k.Y]))
    penalty = _bearable(slot, abs(cost), lost, prices, desk)
    tried[d.TRIED_PRICE], tried[d.TRIED_COST], tried[d.TRIED_REALISED] = price, cost, realised
    tried[d.TRIED_PENALTY] = penalty
    tried[d.TRIED_BOOKED] = _rate_floor(-held, index - legs[slot, c.FUNDING]) + realised - penalty
    place = d.place_of(markets[number, k.SETTLE_ASSET], desk)
    change = d.balance_change(place, tried[d.TRIED_BOOKED], desk, assets)
    return desk.sums[d.HEALTH] - desk.healths[slot] + d.leg_health(legs, d.TRIED_LEG, prices.target) + change


@_lending
def _bearable(slot: int, value: int, lost: int, prices: Prices, desk: Desk) -> Any:
    """Return the penalty that the tried leg can bear, in settle units."""
    markets, tiers, assets = prices.maintenance
    number = desk.legs[slot, c.MARKET]
    wanted = _rate_ceil(value, prices.terms[number, d.PENALTY_RATE])
    if wanted == 0:
        return 0
    asset = markets[number, k.SETTLE_ASSET]
    x, y = assets[asset, 0], assets[asset, 1]
    released = desk.required[slot] - k._terms(desk.legs, d.TRIED_LEG, markets, tiers, False)[1]
    healing = _healing_cost(desk.sums[d.SETTLED_COLLATERAL], desk.sums[d.SETTLED_REQUIREMENT], released)
    left = min(healing, desk.sums[d.EQUITY]) + _convert_floor(-lost, x, y)
    if left // x >= INT64_SAFE // y:
        desk.sums[d.IS_UNFIT] = 1
        return 0
    return _bearable_penalty(wanted, left, x, y)


@_lending
def _keep(slot: int, prices: Prices, desk: Desk, close: Rows) -> None:
    """Make the tried leg the account's own and write the close down."""
    markets, tiers, _ = prices.maintenance
    legs, tried, sums = desk.legs, desk.tried, desk.sums
    number = legs[slot, c.MARKET]
    place = d.place_of(markets[number, k.SETTLE_ASSET], desk)
    profit = k._profit(legs, slot, number, markets)
    left = k._profit(legs, d.TRIED_LEG, number, markets)
    health = d.leg_health(legs, d.TRIED_LEG, prices.target)
    change = d.balance_change(place, tried[d.TRIED_BOOKED], desk, prices.target.assets)
    sums[d.HEALTH] += health - desk.healths[slot] + change
    required = k._terms(legs, d.TRIED_LEG, markets, tiers, False)[1]
    sums[d.REQUIRED] += required - desk.required[slot]
    desk.required[slot], desk.healths[slot] = required, health
    desk.balances[place, c.AMOUNT] += tried[d.TRIED_BOOKED]
    desk.settled[place, c.AMOUNT] += tried[d.TRIED_BOOKED] + left - profit
    close[MARKET], close[PRICE], close[VALUE] = number, tried[d.TRIED_PRICE], abs(tried[d.TRIED_COST])
    close[SIZE] = legs[d.TRIED_LEG, c.SIZE] - legs[slot, c.SIZE]
    close[REALISED], close[PENALTY] = tried[d.TRIED_REALISED], tried[d.TRIED_PENALTY]
    close[LEFT_SIZE], close[LEFT_COST] = legs[d.TRIED_LEG, c.SIZE], legs[d.TRIED_LEG, c.COST]
    close[BALANCE] = desk.balances[place, c.AMOUNT]
    for column in (c.SIZE, c.COST, c.FUNDING):
        legs[slot, column] = legs[d.TRIED_LEG, column]


@_lending
def _must_sell(prices: Prices, desk: Desk) -> Any:
    """Tell whether debts remain that holdings have to be sold against."""
    if desk.sums[d.HEALTH] >= 0:
        return False
    owes = holds = False
    for place in range(desk.sums[d.HELD]):
        asset, amount = desk.balances[place, c.ASSET], desk.balances[place, c.AMOUNT]
        owes = owes or amount < 0
        holds = holds or (amount > 0 and prices.target.assets[asset, 0] > 0)
    return owes and holds
