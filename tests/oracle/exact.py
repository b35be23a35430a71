"""Account health in exact fractions, stated a second time from the design and the words of the rulebook's model.

Nothing here is shared with the engine but the model's own objects (`Rulebook`, `Asset`, `Market`, `Tier`): amounts
are whole assets, sizes are contracts, prices are decimals, all as `Fraction`, and a requirement is summed slice by
slice. A `Rounding` says what is rounded, so the same text gives the unrounded truth and the rounding contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from marginkeep.rulebook.model import INITIAL, Asset, Market, Rulebook

ZERO = Fraction(0)
PART = Fraction(1, 10**9)
"""A rate counts parts per 10^9."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """What is rounded: `amounts` to smallest units, `floors` of tiers down to the unit that measures them."""

    amounts: bool
    floors: bool

    def down(self, value: Fraction, unit: Fraction) -> Fraction:
        """Return the largest whole number of units that is not more."""
        return value // unit * unit if self.amounts else value

    def up(self, value: Fraction, unit: Fraction) -> Fraction:
        """Return the smallest whole number of units that is not less."""
        return -self.down(-value, unit)


EXACT = Rounding(amounts=False, floors=False)
CONTRACT = Rounding(amounts=True, floors=True)
WHOLE_FLOORS = Rounding(amounts=False, floors=True)
"""Unrounded amounts over the tier floors that integer tables can hold."""


@dataclass(frozen=True, slots=True)
class ExactPosition:
    """One position: contracts, and whole settle assets.

    Attributes
    ----------
    funding : what one contract has come to owe since funding was last booked
    bid_size, bid_cost, ask_size, ask_cost : open orders by side; a cost is signed like the value it buys
    """

    size: Fraction = ZERO
    cost: Fraction = ZERO
    funding: Fraction = ZERO
    bid_size: Fraction = ZERO
    bid_cost: Fraction = ZERO
    ask_size: Fraction = ZERO
    ask_cost: Fraction = ZERO


@dataclass(frozen=True, slots=True)
class ExactAccount:
    """Balances in whole assets and positions by market name; `margined` is False for a system account."""

    balances: Mapping[str, Fraction] = field(default_factory=dict)
    positions: Mapping[str, ExactPosition] = field(default_factory=dict)
    margined: bool = True

    def without(self, market: str) -> ExactAccount:
        """Return the account as it would be without one position."""
        return replace(self, positions={name: held for name, held in self.positions.items() if name != market})

    def only(self, market: str) -> ExactAccount:
        """Return the account as it would be with nothing but one position."""
        return replace(self, balances={}, positions={market: self.positions[market]})


@dataclass(frozen=True, slots=True)
class ExactPrices:
    """Marks by market name and prices by asset name, in their own decimals."""

    marks: Mapping[str, Fraction]
    prices: Mapping[str, Fraction]

    def marked(self, market: str, mark: Fraction) -> ExactPrices:
        """Return the prices with one mark moved."""
        return replace(self, marks={**self.marks, market: mark})


class ExactMeasure(NamedTuple):
    """Collateral and requirement in whole reporting assets."""

    collateral: Fraction
    requirement: Fraction

    @property
    def health(self) -> Fraction:
        """Collateral beyond the requirement."""
        return self.collateral - self.requirement


def measure(
    rulebook: Rulebook, prices: ExactPrices, account: ExactAccount, level: int, rounding: Rounding = EXACT
) -> ExactMeasure:
    """Return the collateral and the requirement of an account at a level."""
    if not account.margined:
        return ExactMeasure(ZERO, ZERO)
    unit = rulebook.assets[rulebook.reporting].unit
    collateral = requirement = ZERO
    for name, amount in account.balances.items():
        asset = rulebook.assets[name]
        worth = rounding.down(amount * prices.prices[name], unit)
        if amount > 0:
            collateral += rounding.down(worth * asset.weight[level] * PART, unit)
        else:
            requirement += rounding.up(-worth * asset.debt_weight[level] * PART, unit)
    for name, position in account.positions.items():
        market, price = rulebook.markets[name], prices.prices[rulebook.markets[name].settle]
        settle = rulebook.assets[market.settle]
        counted = counted_profit(market, settle, position, prices.marks[name], level, rounding)
        required = position_requirement(market, settle, position, prices.marks[name], level, rounding)
        collateral += rounding.down(counted * price, unit)
        requirement += rounding.up(required * price, unit)
    return ExactMeasure(collateral, requirement)


def equity(rulebook: Rulebook, prices: ExactPrices, account: ExactAccount, rounding: Rounding = EXACT) -> Fraction:
    """Return what the account is worth with every weight 1, in whole reporting assets."""
    unit = rulebook.assets[rulebook.reporting].unit
    total = sum((rounding.down(amount * prices.prices[name], unit) for name, amount in account.balances.items()), ZERO)
    for name, position in account.positions.items():
        market = rulebook.markets[name]
        profit = unrealised_profit(market, rulebook.assets[market.settle], position, prices.marks[name], rounding)
        total += rounding.down(profit * prices.prices[market.settle], unit)
    return total


def value(market: Market, size: Fraction, mark: Fraction) -> Fraction:
    """Return the signed value of a size: base units at the mark, or quote units owed in coin at the mark."""
    if market.payoff == "linear":
        return size * market.contract_size * mark
    return -size * market.contract_size / mark


def unrealised_profit(
    market: Market, settle: Asset, position: ExactPosition, mark: Fraction, rounding: Rounding
) -> Fraction:
    """Return value less cost less funding owed, in settle assets."""
    worth = rounding.down(value(market, position.size, mark), settle.unit)
    return worth - position.cost + rounding.down(-position.size * position.funding, settle.unit)


def counted_profit(
    market: Market, settle: Asset, position: ExactPosition, mark: Fraction, level: int, rounding: Rounding
) -> Fraction:
    """Return the part of unrealised profit that counts at a level: a share of profit, the whole of a loss."""
    profit = unrealised_profit(market, settle, position, mark, rounding)
    return rounding.down(profit * market.profit_weight[level] * PART, settle.unit) if profit > 0 else profit


def position_requirement(
    market: Market, settle: Asset, position: ExactPosition, mark: Fraction, level: int, rounding: Rounding
) -> Fraction:
    """Return the requirement of a position; at the initial level the worst of: no fill, all bids, all asks filled."""
    held = size_requirement(market, settle, position.size, mark, level, rounding)
    if level != INITIAL:
        return held
    outcomes = [held]
    for size, cost in ((position.bid_size, position.bid_cost), (-position.ask_size, position.ask_cost)):
        if size:
            filled = size_requirement(market, settle, position.size + size, mark, level, rounding)
            loss = max(ZERO, cost - rounding.down(value(market, size, mark), settle.unit))
            outcomes.append(filled + loss + rounding.up(abs(cost) * market.taker_fee * PART, settle.unit))
    return max(outcomes)


def size_requirement(
    market: Market, settle: Asset, size: Fraction, mark: Fraction, level: int, rounding: Rounding
) -> Fraction:
    """Return the requirement of holding a size at one level, in settle assets."""
    if size == 0:
        return ZERO
    notional = abs(value(market, size, mark))
    if moves_with_price(market):
        notional = rounding.up(notional, settle.unit)
    extent = tier_measure(market, abs(size), notional)
    weighed = _weighed(market, settle, extent, level, rounding)
    return rounding.up(notional * weighed / extent, settle.unit)


def moves_with_price(market: Market) -> bool:
    """Tell whether tiers measure a value that the mark moves: quote of a linear, coin of an inverse market."""
    return market.tier_unit == ("quote" if market.payoff == "linear" else "base")


def tier_measure(market: Market, size: Fraction, notional: Fraction) -> Fraction:
    """Return how large a position is in the unit that its market's tiers measure."""
    if moves_with_price(market):
        return notional
    return size if market.tier_unit == "contracts" else size * market.contract_size


def measure_unit(market: Market, settle: Asset) -> Fraction:
    """Return the smallest step of that measure: a smallest unit of money, or one lot."""
    return settle.unit if moves_with_price(market) else tier_measure(market, market.lot, ZERO)


def floors(market: Market, settle: Asset, rounding: Rounding) -> list[Fraction]:
    """Return the tier floors, rounded down to whole steps of the measure if the rounding says so."""
    unit = measure_unit(market, settle)
    return [tier.floor // unit * unit if rounding.floors else tier.floor for tier in market.tiers]


def _weighed(market: Market, settle: Asset, extent: Fraction, level: int, rounding: Rounding) -> Fraction:
    """Return the measure weighed by rates: slice by slice, or all of it at the rate of the tier that it reaches."""
    starts = floors(market, settle, rounding)
    rates = [tier.rates[level] * PART for tier in market.tiers]
    if market.tier_kind == "whole_position":
        return extent * max((start, rate) for start, rate in zip(starts, rates, strict=True) if start <= extent)[1]
    ends = [*starts[1:], max(extent, starts[-1])]
    return sum(
        (max(ZERO, min(extent, end) - start) * rate for start, end, rate in zip(starts, ends, rates, strict=True)), ZERO
    )
