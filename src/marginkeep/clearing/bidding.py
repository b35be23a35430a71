"""What one bid in an auction would take, at which discount: planned on a copy, so that bots may ask and nothing moves.

A bid takes at most the share that brings the account to its target, at the mark less a discount that leaves its health
factor strictly higher. The formulas of the liquidation floor propose; a trial in exact integers decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.liquidation import Allowance
from marginkeep.liquidation.auctions import (
    Leg,
    discount_now,
    first_bid_reward,
    slice_of_portfolio,
    slice_price,
    smallest_fraction,
)
from marginkeep.liquidation.incentive import affordable_cost, healing_discount, heals
from marginkeep.liquidation.trial import Trial
from marginkeep.margin.tiered import convert_floor, notional
from marginkeep.rulebook.model import TARGET
from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_ceil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.liquidation.auctions import Auction
    from marginkeep.margin.solvency import Measure
    from marginkeep.rulebook.ladder_rules import AuctionRules


class BidLeg(NamedTuple):
    """Lots that the account trades in one market (negative = it sells), at a price in ticks; `value` at the mark."""

    market: int
    size: int
    price: int
    value: int


class Offer(NamedTuple):
    """A bid as it would be booked.

    Attributes
    ----------
    fraction : share of every leg that is taken, a rate: what was asked for, or the most that may be taken
    discount : rate of the mark
    curve : the discount that time and illness alone would give
    value : of what is taken, at the mark, in reporting units
    reward, asset : tip and chip of the first bid, in units of that asset
    before, after : the settled measure at maintenance
    account : the account as it will be
    """

    fraction: int
    discount: int
    curve: int
    legs: tuple[BidLeg, ...]
    value: int
    reward: int
    asset: int
    before: Measure
    after: Measure
    account: Account


def legs_of(account: Account, valuation: Valuation) -> list[Leg]:
    """Return an account's positions by market, with their value at the mark in reporting units, rounded up."""
    legs = []
    for index, position in sorted(account.positions.items()):
        if position.size:
            value = notional(position.size, valuation.market_x[index], valuation.market_y[index])
            settle = valuation.tables.markets[index].settle
            worth = -convert_floor(-value, valuation.asset_x[settle], valuation.asset_y[settle])
            legs.append(Leg(index, position.size, worth))
    return legs


class BidPlanner:
    """Plans bids on one account at one moment.

    Parameters
    ----------
    account : without open orders
    auction, rules, now_ns : decide what the curve gives
    market : the one leg that is bid on; None = all
    allowance : the most lots by market that prices and states allow, and the dust not to be left

    Attributes
    ----------
    before, health : settled measure at maintenance, and health at target
    legs : what may be taken a share of
    """

    __slots__ = ("_account", "_allowance", "_auction", "_now_ns", "_rules", "_trial", "before", "health", "legs")

    def __init__(
        self,
        account: Account,
        valuation: Valuation,
        auction: Auction,
        rules: AuctionRules,
        now_ns: int,
        market: int | None = None,
        allowance: Allowance = Allowance(),  # noqa: B008 - immutable
    ) -> None:
        self._account, self._auction, self._rules, self._now_ns = account, auction, rules, now_ns
        self._allowance = allowance
        self._trial = Trial(account, valuation)
        self.before = self._trial.settled()
        self.health = self._trial.health
        self.legs = [
            leg for leg in legs_of(account, valuation) if market in (None, leg.market) and self._most_lots(leg)
        ]

    def _most_lots(self, leg: Leg) -> int:
        return min(abs(leg.size), self._allowance.lots.get(leg.market, abs(leg.size)))

    @property
    def factor(self) -> int:
        """Health factor, settled, as a rate rounded down; 1 for an account that requires nothing."""
        if self.before.requirement <= 0:
            return RATE_ONE
        return floor_div(self.before.collateral * RATE_ONE, self.before.requirement)

    @property
    def curve(self) -> int:
        """The discount that time and illness give, whatever heals."""
        return discount_now(self._auction, self._rules, self._now_ns, self.factor, RATE_ONE)

    def most(self) -> int:
        """Return the largest share that may be taken, a rate: the smallest that reaches the target, else all."""
        if self.health >= 0 or not self.legs:
            return 0
        return smallest_fraction(self._health_after, self._stops())

    def offer(self, asked: int) -> Offer | None:
        """Return what a bid for a share would be, cut down to what may be taken; None where no such bid heals."""
        fraction = min(asked, self.most())
        if fraction <= 0:
            return None
        lots = self._lots(fraction)
        discount, reward = self._terms(lots)
        reward = _largest(reward, lambda paid: self._is_good(lots, discount, paid))
        if reward < 0:
            reward, discount = 0, _largest(discount, lambda rate: self._is_good(lots, rate, 0))
        return None if discount < 0 else self._offered(fraction, lots, discount, reward)

    def _offered(self, fraction: int, lots: Sequence[int], discount: int, reward: int) -> Offer:
        trial, legs = self._tried(lots, discount, reward)
        value = sum(leg.value for leg in legs)
        asset = self._reward_asset(lots)
        after = trial.settled()
        return Offer(
            fraction, discount, self.curve, legs, value, reward, asset, self.before, after, trial.account
        )  # fmt: skip

    def _lots(self, fraction: int) -> tuple[int, ...]:
        taken = slice_of_portfolio(self.legs, fraction, self._allowance.dust)
        return tuple(min(lots, self._most_lots(leg)) for lots, leg in zip(taken, self.legs, strict=True))

    def _stops(self) -> list[int]:
        """Return the shares at which a leg drops to a lower tier, where its requirement may jump; rising."""
        valuation, stops = self._trial.valuation, []
        for leg in self.legs:
            market, held = valuation.tables.markets[leg.market], abs(leg.size)
            x, y = valuation.market_x[leg.market], valuation.market_y[leg.market]
            floors = [row[0] for row in market.tiers[TARGET] if row[0]]
            kept = (floor - 1 if market.by_size else (floor - 1) * y // x for floor in floors)
            stops += [ceil_div((held - lots) * RATE_ONE, held) for lots in kept if 0 < lots < held]
        return sorted(stops)

    def _terms(self, lots: Sequence[int]) -> tuple[int, int]:
        """Return the discount, and the reward in units of its asset, that the formulas give a slice."""
        value = self._value(lots)
        released = sum(self._released(leg, taken) for leg, taken in zip(self.legs, lots, strict=True))
        equity = max(0, self._trial.equity())
        healing = min(healing_discount(*self.before, value, released), floor_div(equity * RATE_ONE, value))
        discount = discount_now(self._auction, self._rules, self._now_ns, self.factor, healing)
        cost = rate_ceil(value, discount)
        wanted = first_bid_reward(self._auction, self._rules, value)
        reward = max(0, affordable_cost(cost + wanted, self.before, released, equity) - cost)
        asset, valuation = self._reward_asset(lots), self._trial.valuation
        return discount, convert_floor(reward, valuation.asset_y[asset], valuation.asset_x[asset])

    def _released(self, leg: Leg, taken: int) -> int:
        market = self._trial.valuation.tables.markets[leg.market]
        return self._trial.released(market, leg.size - taken if leg.size > 0 else leg.size + taken)

    def _value(self, lots: Sequence[int]) -> int:
        return sum(_part(leg, taken) for leg, taken in zip(self.legs, lots, strict=True))

    def _main_leg(self, lots: Sequence[int]) -> int:
        """Return which leg of a slice is worth most; the reward is paid in what it settles in."""
        return max(range(len(lots)), key=lambda i: (_part(self.legs[i], lots[i]), -i))

    def _reward_asset(self, lots: Sequence[int]) -> int:
        return self._trial.valuation.tables.markets[self.legs[self._main_leg(lots)].market].settle

    def _tried(self, lots: Sequence[int], discount: int, reward: int) -> tuple[Trial, tuple[BidLeg, ...]]:
        """Return the account after a slice has been taken, and the trades that took it."""
        valuation = self._trial.valuation
        trial, legs, main = Trial(self._account, valuation), [], self._main_leg(lots)
        for number, (leg, taken) in enumerate(zip(self.legs, lots, strict=True)):
            if not taken:
                continue
            size = -taken if leg.size > 0 else taken
            price = slice_price(valuation.marks[leg.market], discount, selling=size < 0)
            market = valuation.tables.markets[leg.market]
            trial.keep(market, trial.closed(market, size, price), reward if number == main else 0)
            legs.append(BidLeg(leg.market, size, price, _part(leg, taken)))
        return trial, tuple(legs)

    def _health_after(self, fraction: int) -> int:
        if fraction <= 0:
            return self.health
        lots = self._lots(fraction)
        return self._tried(lots, *self._terms(lots))[0].health

    def _is_good(self, lots: Sequence[int], discount: int, reward: int) -> bool:
        """Tell whether a bid heals and leaves no debt beyond what is held."""
        trial, _ = self._tried(lots, discount, reward)
        return heals(self.before, trial.settled()) and trial.equity() >= 0


def _part(leg: Leg, taken: int) -> int:
    """Return the value of part of a leg, rounded up."""
    return ceil_div(leg.value * taken, abs(leg.size))


def _largest(high: int, is_good: Callable[[int], bool]) -> int:
    """Return the largest number in [0, high] that is good, given that lower ones are better; -1 if none is."""
    if is_good(high):
        return high
    low = -1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_good(middle) else (low, middle)
    return low
