"""Reducing an account: the smallest sufficient closes at mark less slippage, until it is back at its target.

Legs are taken by health restored per unit of cost. Each is closed by the smallest size that restores health at the
target level, or whole when that is not enough. When all positions are gone and debts remain, holdings are sold against
them. Penalties are taken only from what the account has left, and never beyond what heals: every close that leaves
requirement behind raises the health factor, or takes no penalty at all and the account is on its way to be closed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.liquidation.impact import cost_rate
from marginkeep.liquidation.incentive import bearable_penalty, healing_cost, heals
from marginkeep.liquidation.sizing import lots_below, released_per_cost, smallest_sufficient
from marginkeep.liquidation.trial import Trial
from marginkeep.margin.tiered import convert_floor, notional
from marginkeep.rulebook.model import MAINTENANCE, TARGET
from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_ceil, rate_floor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.liquidation.trial import Closed
    from marginkeep.rulebook import AssetTable, MarketTable
    from marginkeep.rulebook.ladder_rules import ImpactRules


class Close(NamedTuple):
    """Trade `size` lots (against the position) at `price` ticks, then take `penalty` settle units."""

    market: int
    size: int
    price: int
    value: int
    realised: int
    penalty: int


class Sale(NamedTuple):
    """Give `amount` of an asset for `proceeds` of the owed asset, then take `penalty` of the owed asset."""

    asset: int
    amount: int
    price: int
    owed: int
    proceeds: int
    penalty: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, in order, and the account as it will be after them."""

    steps: tuple[Close | Sale, ...]
    after: Account


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be used of an account now, and what it costs.

    Attributes
    ----------
    lots : by market, the most that may be closed; a market that is not named has no bound
    kept : assets that may be neither sold nor bought
    impacts : by market, what closing much costs beyond slippage
    closed : by market, lots that others have closed in the present interval: they have moved the price already
    dust : a position that would be worth less than this afterwards, in reporting units, is closed whole
    penalty : rate instead of the rulebook's; None = the rulebook's
    heals : the penalty of a sale, too, is no more than leaves the health factor higher
    """

    lots: Mapping[int, int] = field(default_factory=dict)
    kept: frozenset[int] = frozenset()
    impacts: Mapping[int, ImpactRules] = field(default_factory=dict)
    closed: Mapping[int, int] = field(default_factory=dict)
    dust: int = 0
    penalty: int | None = None
    heals: bool = False

    @property
    def is_everything(self) -> bool:
        """Tell whether nothing is kept back, at the rulebook's own cost."""
        return self is EVERYTHING or self == EVERYTHING


EVERYTHING: Final = Allowance()
"""No bound, at the rulebook's own cost."""


def plan_reduction(account: Account, valuation: Valuation, allowance: Allowance = EVERYTHING) -> Plan:
    """Return the steps that bring an account back to its target level, or close it, as far as it is allowed.

    Parameters
    ----------
    account : below maintenance; open orders must have been released before
    valuation : current prices
    """
    trial = Trial(account, valuation)
    steps: list[Close | Sale] = []
    for index in _leg_order(trial, allowance):
        if trial.health >= 0:
            break
        most = allowance.lots.get(index, abs(trial.account.positions[index].size))
        if most > 0:
            steps.append(_reduce_leg(trial, valuation.tables.markets[index], most, allowance))
    for owed in _debt_order(trial):
        for asset in _holding_order(trial):
            if asset in allowance.kept or owed in allowance.kept:
                continue
            if trial.account.balances[owed] >= 0 or trial.health >= 0:
                break
            steps.append(_sell_holding(trial, asset, owed, allowance))
    return Plan(tuple(steps), trial.account)


def _leg_order(trial: Trial, allowance: Allowance) -> list[int]:
    """Return markets by the requirement that closing them releases per unit of what that costs, highest first."""
    valuation = trial.valuation

    def rank(index: int) -> tuple[int, int, int]:
        market = valuation.tables.markets[index]
        size = trial.account.positions[index].size
        released = trial.required(index)
        value = notional(size, valuation.market_x[index], valuation.market_y[index])
        worth = convert_floor(value, valuation.asset_x[market.settle], valuation.asset_y[market.settle])
        terms = market.market.liquidation
        rate = terms.penalty if allowance.penalty is None else allowance.penalty
        rate += slippage_of(market, abs(size), allowance)
        cost = rate_ceil(worth, rate)
        return -released_per_cost(released, cost), -released, index

    return sorted((index for index, position in trial.account.positions.items() if position.size), key=rank)


def _reduce_leg(trial: Trial, market: MarketTable, most: int, allowance: Allowance) -> Close:
    """Close the smallest sufficient part of one position, at most `most` lots; changes `trial`."""
    held = trial.account.positions[market.index].size
    side = -1 if held > 0 else 1

    def health_after(lots: int) -> int:
        if lots == 0:
            return trial.health
        leg, penalty = _priced(trial, market, side * lots, allowance)
        return trial.health_after(market, leg, penalty)

    closable = min(abs(held), most)
    stops = [stop for stop in _tier_stops(market, abs(held), trial.valuation) if stop < closable]
    lots = smallest_sufficient(closable, health_after, stops)
    if closable == abs(held) and _leaves_dust(market, abs(held) - lots, trial.valuation, allowance):
        lots = closable
    return close_leg(trial, market, side * lots, allowance)


def _leaves_dust(market: MarketTable, left: int, valuation: Valuation, allowance: Allowance) -> bool:
    if not left or not allowance.dust:
        return False
    value = notional(left, valuation.market_x[market.index], valuation.market_y[market.index])
    x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
    return convert_floor(value, x, y) < allowance.dust


def _tier_stops(market: MarketTable, held: int, valuation: Valuation) -> list[int]:
    """Return the sizes whose closing leaves a position just below a tier's floor, rising."""
    if len(market.tiers[TARGET]) == 1:
        return []
    x, y = valuation.market_x[market.index], valuation.market_y[market.index]
    floors = [row[0] for row in reversed(market.tiers[TARGET]) if row[0]]
    kept = [lots_below(floor, market.by_size, x, y) for floor in floors]
    return [held - lots for lots in kept if 0 < lots < held]


def close_leg(trial: Trial, market: MarketTable, size: int, allowance: Allowance = EVERYTHING) -> Close:
    """Trade against a position at mark less slippage and take the penalty; changes `trial`."""
    leg, penalty = _priced(trial, market, size, allowance)
    trial.keep(market, leg, penalty)
    return Close(market.index, size, leg.price, abs(leg.cost), leg.realised, penalty)


def _priced(trial: Trial, market: MarketTable, size: int, allowance: Allowance) -> tuple[Closed, int]:
    """Return a close of `size` lots and the penalty it can bear, in settle units."""
    valuation = trial.valuation
    slippage = slippage_of(market, abs(size), allowance)
    leg = trial.closed(market, size, slipped_price(valuation.marks[market.index], slippage, selling=size < 0))
    rate = market.market.liquidation.penalty if allowance.penalty is None else allowance.penalty
    wanted = rate_ceil(abs(leg.cost), rate)
    if not wanted:
        return leg, 0
    x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
    lost = -convert_floor(-leg.lost, x, y)
    before = trial.settled()
    released = trial.released(market, leg.position.size)
    healing = healing_cost(before.collateral, before.requirement, released)
    return leg, bearable_penalty(wanted, min(healing, trial.equity()) - lost, x, y)


def slippage_of(market: MarketTable, lots: int, allowance: Allowance) -> int:
    """Return what a forced trade of so many lots loses against the mark, as a rate, at most one half."""
    closed = allowance.closed.get(market.index, 0)
    rate = cost_rate(lots + closed, market.market.liquidation, allowance.impacts.get(market.index))
    return min(rate, RATE_ONE // 2)


def slipped_price(mark: int, slippage: int, selling: bool) -> int:
    """Return the price of a forced trade: below the mark when selling, above when buying, whole ticks, at least 1."""
    if selling:
        return max(1, rate_floor(mark, RATE_ONE - slippage))
    return rate_ceil(mark, RATE_ONE + slippage)


def _debt_order(trial: Trial) -> list[int]:
    """Return owed assets, the largest value first."""
    owed = [asset for asset, amount in trial.account.balances.items() if amount < 0]
    return sorted(owed, key=lambda asset: (_worth(trial, asset), asset))


def _holding_order(trial: Trial) -> list[int]:
    """Return held assets, the worst-weighted first (selling it restores most health), then the largest value."""
    assets = trial.valuation.tables.assets
    held = [asset for asset, amount in trial.account.balances.items() if amount > 0 and trial.valuation.prices[asset]]
    return sorted(held, key=lambda asset: (assets[asset].weight[MAINTENANCE], -_worth(trial, asset), asset))


def _worth(trial: Trial, asset: int) -> int:
    valuation = trial.valuation
    return convert_floor(trial.account.balances[asset], valuation.asset_x[asset], valuation.asset_y[asset])


def _sell_holding(trial: Trial, asset: int, owed: int, allowance: Allowance) -> Sale:
    """Sell the smallest sufficient part of a holding against a debt; changes `trial`."""
    table = trial.valuation.tables.assets[asset]
    most = min(trial.account.balances[asset], _amount_to_repay(trial, table, owed))

    def health_after(amount: int) -> int:
        sale = _sale(trial, table, amount, owed, allowance)
        return trial.health_after_swap(asset, amount, owed, sale.proceeds - sale.penalty)

    return sell_holding(trial, table, smallest_sufficient(most, health_after), owed, allowance)


def sell_holding(trial: Trial, table: AssetTable, amount: int, owed: int, allowance: Allowance = EVERYTHING) -> Sale:
    """Give an amount of an asset for the owed asset at its price less slippage; changes `trial`."""
    sale = _sale(trial, table, amount, owed, allowance)
    trial.swap(table.index, sale.amount, owed, sale.proceeds - sale.penalty)
    return sale


def _amount_to_repay(trial: Trial, table: AssetTable, owed: int) -> int:
    """Return how much of an asset repays the whole debt, slippage and penalty included, rounded up."""
    terms = table.asset.liquidation
    kept = rate_floor(RATE_ONE - terms.slippage, RATE_ONE - terms.penalty)
    debt = -_worth(trial, owed)
    x, y = trial.valuation.asset_x[table.index], trial.valuation.asset_y[table.index]
    return max(1, ceil_div((debt + 1) * y * RATE_ONE, x * kept) + 1)


def _sale(trial: Trial, table: AssetTable, amount: int, owed: int, allowance: Allowance) -> Sale:
    """Return the sale of an amount at its price less slippage, with the penalty that the account can bear."""
    valuation, terms = trial.valuation, table.asset.liquidation
    x, y = valuation.asset_x[table.index], valuation.asset_y[table.index]
    worth = convert_floor(amount, x, y)
    got = rate_floor(worth, RATE_ONE - terms.slippage)
    proceeds = floor_div(got * valuation.asset_y[owed], valuation.asset_x[owed])
    rate = terms.penalty if allowance.penalty is None else allowance.penalty
    left = max(0, trial.equity() - (worth - got))
    afford = convert_floor(left, valuation.asset_y[owed], valuation.asset_x[owed])
    penalty = min(rate_ceil(proceeds, rate), afford)
    if allowance.heals:
        penalty = _healing_penalty(trial, table.index, amount, owed, proceeds, penalty)
    price = slipped_price(valuation.prices[table.index], terms.slippage, selling=True)
    return Sale(table.index, amount, price, owed, proceeds, penalty)


def _healing_penalty(trial: Trial, given: int, amount: int, owed: int, proceeds: int, wanted: int) -> int:
    """Return the largest penalty, at most what is wanted, at which a sale strictly raises the health factor."""
    before = trial.settled()

    def is_good(penalty: int) -> bool:
        return heals(before, trial.settled_after_swap(given, amount, owed, proceeds - penalty))

    if wanted <= 0 or is_good(wanted):
        return max(0, wanted)
    low, high = 0, wanted
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_good(middle) else (low, middle)
    return low
