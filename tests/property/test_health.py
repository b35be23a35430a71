"""The plain twin of exact health against the oracle: equal under the rounding contract, close to the truth without."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings

from marginkeep.book import Account, Valuation, equity, measure
from marginkeep.book.limits import TERM_MAX
from marginkeep.rulebook.model import INITIAL, LEVELS
from tests.oracle import exact
from tests.oracle.exact import CONTRACT, ExactAccount, ExactPrices
from tests.oracle.translation import exact_account, exact_prices
from tests.property.strategies import houses, tier_edges

ALL_LEVELS = range(len(LEVELS))


def oracle_of(valuation: Valuation, account: Account) -> tuple[ExactPrices, ExactAccount]:
    return exact_prices(valuation), exact_account(account, valuation)


def reporting_unit(valuation: Valuation) -> Fraction:
    return valuation.tables.rulebook.assets[valuation.tables.rulebook.reporting].unit


@settings(max_examples=150, deadline=None)
@given(houses(most=4))
def test_the_twin_equals_the_oracle_with_rounding_to_the_unit(house):
    require_oracle(*house)


@settings(max_examples=40, deadline=None)
@given(tier_edges())
def test_the_twin_equals_the_oracle_on_the_edges_of_tiers(house):
    require_oracle(*house)


def require_oracle(valuation: Valuation, accounts: list[Account]) -> None:
    rulebook, unit = valuation.tables.rulebook, reporting_unit(valuation)
    for account in accounts:
        prices, same = oracle_of(valuation, account)
        assert equity(account, valuation) * unit == exact.equity(rulebook, prices, same, CONTRACT)
        for level in ALL_LEVELS:
            found = measure(account, valuation, level)
            stated = exact.measure(rulebook, prices, same, level, CONTRACT)
            assert (found.collateral * unit, found.requirement * unit) == tuple(stated)


@settings(max_examples=150, deadline=None)
@given(houses(most=4))
def test_rounding_is_always_against_the_account_and_at_most_a_few_units_a_term(house):
    valuation, accounts = house
    rulebook, unit = valuation.tables.rulebook, reporting_unit(valuation)
    for account in accounts:
        prices, same = oracle_of(valuation, account)
        kept_back = exact.equity(rulebook, prices, same) - equity(account, valuation) * unit
        assert 0 <= kept_back <= equity_allowance(valuation, prices, same)
        for level in ALL_LEVELS:
            found, truth = measure(account, valuation, level), exact.measure(rulebook, prices, same, level)
            less, more = truth.collateral - found.collateral * unit, found.requirement * unit - truth.requirement
            assert 0 <= less <= collateral_allowance(valuation, prices, same)
            assert more >= 0
            if not jumps_nearby(valuation, prices, same):
                assert more <= requirement_allowance(valuation, prices, same, level)


def equity_allowance(valuation: Valuation, prices: ExactPrices, account: ExactAccount) -> Fraction:
    """One unit a balance; a position one more for its value and one for its funding, in settle units."""
    rulebook, unit = valuation.tables.rulebook, reporting_unit(valuation)
    total = len(account.balances) * unit
    for name in account.positions:
        settle = rulebook.assets[rulebook.markets[name].settle]
        total += 2 * settle.unit * prices.prices[settle.name] + unit
    return total


def collateral_allowance(valuation: Valuation, prices: ExactPrices, account: ExactAccount) -> Fraction:
    """Beyond that of equity, one unit a balance and one settle unit a position for the weight."""
    rulebook, unit = valuation.tables.rulebook, reporting_unit(valuation)
    settles = [rulebook.assets[rulebook.markets[name].settle] for name in account.positions]
    weighed = len(account.balances) * unit + sum(settle.unit * prices.prices[settle.name] for settle in settles)
    return equity_allowance(valuation, prices, account) + weighed


def requirement_allowance(valuation: Valuation, prices: ExactPrices, account: ExactAccount, level: int) -> Fraction:
    """Return what rounding may add to a requirement.

    A debt: one unit for the conversion, times its weight, and one for the weight. A position: one unit for the
    conversion and one settle unit for the requirement; the highest rate on one unit of notional and on one step of
    the measure by which floors begin early; with orders, a settle unit for their value and one for their fee.
    """
    rulebook, unit = valuation.tables.rulebook, reporting_unit(valuation)
    total = Fraction(0)
    for name, amount in account.balances.items():
        weight = rulebook.assets[name].debt_weight[level] * exact.PART
        total += (weight + 1) * unit if amount < 0 else 0
    for name in account.positions:
        market = rulebook.markets[name]
        settle = rulebook.assets[market.settle]
        rate = market.tiers[-1].rates[level] * exact.PART
        step = abs(exact.value(market, market.lot, prices.marks[name]))
        early = 2 * settle.unit if exact.moves_with_price(market) else step
        units = settle.unit * (3 if level == INITIAL else 1) + rate * early
        total += units * prices.prices[settle.name] + unit
    return total


def jumps_nearby(valuation: Valuation, prices: ExactPrices, account: ExactAccount) -> bool:
    """Tell whether a whole-position tier begins within two steps: there a unit of rounding may cost a whole rate."""
    rulebook = valuation.tables.rulebook
    for name, position in account.positions.items():
        market = rulebook.markets[name]
        settle = rulebook.assets[market.settle]
        step = exact.measure_unit(market, settle)
        for size in (position.size, position.size + position.bid_size, position.size - position.ask_size):
            extent = exact.tier_measure(market, abs(size), abs(exact.value(market, size, prices.marks[name])))
            near = any(extent < tier.floor <= extent + 2 * step for tier in market.tiers)
            near |= any(tier.floor - step < extent < tier.floor for tier in market.tiers)
            if near and market.tier_kind == "whole_position":
                return True
    return False


@settings(max_examples=150, deadline=None)
@given(houses(most=4))
def test_no_intermediate_of_an_account_within_the_limits_leaves_int64(house):
    valuation, accounts = house
    for account in accounts:
        with np.errstate(over="raise"):
            for level in ALL_LEVELS:
                assert measure(in_int64(account), valuation, level) == measure(account, valuation, level)
            assert equity(in_int64(account), valuation) == equity(account, valuation)


def in_int64(account: Account) -> Account:
    """Return the account with NumPy integers, whose arithmetic refuses to pass 64 bits."""
    other = account.copy()
    other.balances = {asset: np.int64(amount) for asset, amount in account.balances.items()}
    for position in other.positions.values():
        for name in ("size", "cost", "funding_entry", "bid_size", "bid_cost", "ask_size", "ask_cost"):
            setattr(position, name, np.int64(getattr(position, name)))
    return other


@settings(max_examples=50, deadline=None)
@given(houses(most=4))
def test_one_term_of_collateral_or_debt_within_the_limits_is_at_most_two_to_the_fifty_second(house):
    valuation, accounts = house
    for account in accounts:
        for asset, amount in account.balances.items():
            assert abs(equity(Account(balances={asset: amount}), valuation)) <= TERM_MAX
        for market, position in account.positions.items():
            assert abs(equity(Account(positions={market: position}), valuation)) <= 4 * TERM_MAX + 4


@settings(max_examples=50, deadline=None)
@given(houses(most=4))
def test_initial_needs_most_and_maintenance_least_whatever_the_account(house):
    valuation, accounts = house
    for account in accounts:
        initial, call, maintenance, target = (measure(account, valuation, level) for level in ALL_LEVELS)
        assert initial.collateral <= call.collateral <= maintenance.collateral >= target.collateral
        assert initial.requirement >= call.requirement >= maintenance.requirement <= target.requirement
