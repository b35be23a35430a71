"""Liquidation and bankruptcy prices against the oracle: health, or equity, is zero there and changes sign.

A price is a root with all else at mark, and what else an account holds is rounded to whole units; so the oracle is
asked for the position alone, unrounded, on top of the rest as it is rounded. Floors are those of the integer tables.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book import CROSS, ISOLATED, Account, Valuation
from marginkeep.book.limits import prove_limits
from marginkeep.book.threshold_prices import bankruptcy_price, liquidation_price
from marginkeep.rulebook import LEVELS, Market, Rulebook
from marginkeep.rulebook.model import MAINTENANCE
from marginkeep.units import RATE_ONE
from tests.oracle import exact
from tests.oracle.exact import CONTRACT, EXACT, WHOLE_FLOORS, Rounding
from tests.oracle.translation import exact_account, exact_prices
from tests.property.strategies import accounts, positions, rulebooks, valuations

NEARBY = Fraction(1, 10**15)
"""A step to either side of a price, as a share of it: far below a tick, far above nothing."""

FAR = 10**30
"""A mark this many times higher or lower is beyond every root."""


class OnePosition:
    """Health and equity as exact functions of one market's mark, all else held."""

    def __init__(self, valuation: Valuation, account: Account, index: int) -> None:
        self.rulebook = valuation.tables.rulebook
        self.market: Market = valuation.tables.markets[index].market
        self.size = account.positions[index].size
        self.mark = valuation.marks[index] * self.market.tick
        self.whole = exact_account(account, valuation)
        self.prices = exact_prices(valuation)
        rest = self.whole.without(self.market.name)
        self.rest = exact.measure(self.rulebook, self.prices, rest, MAINTENANCE, CONTRACT).health
        self.rest_of_equity = exact.equity(self.rulebook, self.prices, rest, CONTRACT)
        self.alone = self.whole.only(self.market.name)

    def health(self, mark: Fraction) -> Fraction:
        """Return the health with the position unrounded at a mark."""
        prices = self.prices.marked(self.market.name, mark)
        return self.rest + exact.measure(self.rulebook, prices, self.alone, MAINTENANCE, WHOLE_FLOORS).health

    def equity(self, mark: Fraction) -> Fraction:
        """Return the equity with the position unrounded at a mark."""
        prices = self.prices.marked(self.market.name, mark)
        return self.rest_of_equity + exact.equity(self.rulebook, prices, self.alone)

    def unrounded_health(self, mark: Fraction, rounding: Rounding = EXACT) -> Fraction:
        """Return the health of everything, unrounded."""
        prices = self.prices.marked(self.market.name, mark)
        return exact.measure(self.rulebook, prices, self.whole, MAINTENANCE, rounding).health

    def slope_at_the_mark(self) -> Fraction:
        """Return how health changes as the price rises, taken on the side of the larger notional."""
        step = NEARBY if self.market.payoff == "linear" else -NEARBY
        return (self.health(self.mark * (1 + step)) - self.health(self.mark)) / step

    def mark_at(self, notional: Fraction) -> Fraction:
        """Return the mark at which the position is worth a notional in settle assets."""
        per_mark = abs(self.size) * self.market.lot * self.market.contract_size
        return notional / per_mark if self.market.payoff == "linear" else per_mark / notional

    def _floors(self) -> list[Fraction]:
        settle = self.rulebook.assets[self.market.settle]
        return exact.floors(self.market, settle, WHOLE_FLOORS) if exact.moves_with_price(self.market) else []

    def corners(self) -> list[Fraction]:
        """Return marks between which health is a straight line in the notional, and one far beyond either end."""
        position = self.whole.positions[self.market.name]
        even = position.cost + position.size * position.funding
        notionals = [abs(even), *self._floors()]
        inner = sorted(self.mark_at(notional) for notional in notionals if notional > 0)
        inner.append(self.mark)
        return sorted({*inner, min(inner) / FAR, max(inner) * FAR})


@st.composite
def held_positions(draw: st.DrawFn, plain: bool = False, smooth: bool = False) -> tuple[Valuation, Account, int]:
    """Draw a margined account and the index of a market in which it holds a position.

    Half of the accounts hold cash, or owe it, in the order of the position's value, so that roots are common.
    `smooth` markets have marginal tiers and count profit in full: health is then monotone in the mark.
    """
    rulebook = draw(rulebooks(plain=plain))
    valuation = draw(valuations(smoothed(rulebook) if smooth else rulebook))
    account = draw(accounts(valuation, modes=(CROSS, ISOLATED)))
    proven = prove_limits(valuation.tables)
    index = draw(st.sampled_from(sorted(account.positions) or [0]))
    position = account.positions.setdefault(index, draw(positions(valuation, index, proven)))
    if position.size == 0:
        position.size = draw(st.sampled_from([1, -1, proven.markets[index].max_position]))
    if draw(st.booleans()):
        settle = valuation.tables.markets[index].settle
        worth = min(abs(position.cost) + 1, proven.assets[settle].max_balance)
        account.balances[settle] = draw(st.integers(-worth, worth))
    return valuation, account, index


def smoothed(rulebook: Rulebook) -> Rulebook:
    markets = {
        name: replace(market, tier_kind="marginal", profit_weight=(RATE_ONE,) * len(LEVELS))
        for name, market in rulebook.markets.items()
    }
    return replace(rulebook, markets=markets)


@settings(max_examples=200, deadline=None)
@given(held_positions())
def test_health_is_zero_at_the_liquidation_price_or_jumps_across_it(drawn):
    valuation, account, index = drawn
    one = OnePosition(*drawn)
    ticks = liquidation_price(account, valuation.tables.markets[index], valuation)
    if ticks is None:
        return
    price = ticks * one.market.tick
    assert price > 0
    below, above = (one.health(price * (1 + side)) for side in (-NEARBY, NEARBY))
    if one.market.tier_kind == "marginal":
        assert one.health(price) == 0
    else:
        assert one.health(price) == 0 or (below >= 0) != (above >= 0)


@settings(max_examples=150, deadline=None)
@given(held_positions(smooth=True))
def test_a_position_is_healthy_on_its_winning_side_of_the_liquidation_price_only(drawn):
    valuation, account, index = drawn
    one = OnePosition(*drawn)
    ticks = liquidation_price(account, valuation.tables.markets[index], valuation)
    if ticks is None:
        assert len({one.health(mark) > 0 for mark in (one.mark / FAR, one.mark, one.mark * FAR)}) == 1
        return
    price = ticks * one.market.tick
    winning = NEARBY if one.size > 0 else -NEARBY
    assert one.health(price * (1 + winning)) > 0
    assert one.health(price * (1 - winning)) < 0
    assert (one.health(one.mark) >= 0) == ((one.mark - price) * winning >= 0)


@settings(max_examples=200, deadline=None)
@given(held_positions())
def test_there_is_no_liquidation_price_only_where_health_never_changes_sign(drawn):
    valuation, account, index = drawn
    one = OnePosition(*drawn)
    if liquidation_price(account, valuation.tables.markets[index], valuation) is not None:
        return
    healthy, slope = one.health(one.mark) >= 0, one.slope_at_the_mark()
    towards_higher = (slope < 0) == healthy
    beyond = [mark for mark in one.corners() if (mark >= one.mark) == towards_higher]
    assert slope == 0 or all((one.health(mark) >= 0) == healthy for mark in beyond)


@settings(max_examples=200, deadline=None)
@given(held_positions())
def test_equity_is_zero_at_the_bankruptcy_price_and_there_is_none_only_without_a_root(drawn):
    valuation, account, index = drawn
    one = OnePosition(*drawn)
    ticks = bankruptcy_price(account, valuation.tables.markets[index], valuation)
    if ticks is not None:
        price = ticks * one.market.tick
        assert price > 0
        assert one.equity(price) == 0
        assert (one.equity(price * (1 + NEARBY)) > 0) == (one.size > 0)
    else:
        signs = {one.equity(mark) > 0 for mark in (one.mark / FAR, one.mark, one.mark * FAR)}
        assert len(signs) == 1


@settings(max_examples=150, deadline=None)
@given(held_positions(plain=True))
def test_one_position_on_reporting_collateral_has_exactly_no_health_at_its_liquidation_price(drawn):
    valuation, account, index = drawn
    account.positions = {index: account.positions[index]}
    account.balances = {asset: abs(amount) for asset, amount in account.balances.items()}
    one = OnePosition(valuation, account, index)
    ticks = liquidation_price(account, valuation.tables.markets[index], valuation)
    if ticks is None:
        return
    price = ticks * one.market.tick
    if one.market.tier_kind == "marginal":
        assert one.unrounded_health(price) == 0
    bankrupt = bankruptcy_price(account, valuation.tables.markets[index], valuation)
    losing = price if bankrupt is None else bankrupt * one.market.tick
    if one.health(one.mark) >= 0:
        assert (losing - price) * (1 if one.size > 0 else -1) <= 0


@settings(max_examples=100, deadline=None)
@given(held_positions(plain=True, smooth=True), st.integers(-(10**9), 10**9))
def test_the_entry_price_moves_no_threshold_when_cash_makes_up_for_it(drawn, more):
    valuation, account, index = drawn
    market = valuation.tables.markets[index]
    cash = 10**12
    account.balances[market.settle] = cash
    before = liquidation_price(account, market, valuation), bankruptcy_price(account, market, valuation)
    account.positions[index].cost += more
    account.balances[market.settle] = cash + more
    assert (liquidation_price(account, market, valuation), bankruptcy_price(account, market, valuation)) == before
