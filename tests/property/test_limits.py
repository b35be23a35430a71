"""The limits: what they admit fits the columns, and a rulebook that cannot fit is refused in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book import Account, Book, Position, Valuation, equity
from marginkeep.book.fills import cost_of
from marginkeep.book.kernels import equity_all, measure_all
from marginkeep.book.limits import TERM_MAX, payoff_at, prove_limits
from marginkeep.errors import RulebookError
from marginkeep.rulebook import Rulebook, Tables, build_tables, read_rulebook
from marginkeep.units import RATE_ONE
from tests.oracle import exact
from tests.property.strategies import rulebooks

TIER = {"floor": "0", "initial": "0.1", "maintenance": "0.05"}
MARKET = {"settle": "USD", "lot": "0.001", "tick": "0.1", "tiers": [TIER]}


@settings(max_examples=50, deadline=None)
@given(rulebooks())
def test_the_largest_position_and_balance_are_worth_at_most_a_term_at_the_worst_price(rulebook):
    tables = build_tables(rulebook)
    limits = prove_limits(tables)
    reporting = rulebook.assets[rulebook.reporting].unit
    price = [bound.max_price * asset.asset.tick for bound, asset in zip(limits.assets, tables.assets, strict=True)]
    for bound, table in zip(limits.assets, tables.assets, strict=True):
        assert bound.max_balance * table.asset.unit * price[table.index] <= TERM_MAX * reporting
    for bound, table in zip(limits.markets, tables.markets, strict=True):
        market = table.market
        worst = (bound.min_price if market.payoff == "inverse" else bound.max_price) * market.tick
        value = abs(exact.value(market, bound.max_position * market.lot, worst))
        assert value * price[table.settle] <= TERM_MAX * reporting
        assert value <= TERM_MAX * rulebook.assets[market.settle].unit
        assert bound.max_position >= 1


@settings(max_examples=50, deadline=None)
@given(rulebooks(markets=1), st.integers(1, 40))
def test_a_stated_limit_that_fits_is_kept_and_one_that_cannot_fit_is_refused(rulebook, digits):
    derived = prove_limits(build_tables(rulebook)).markets[0].max_position
    stated = with_limit(rulebook, 10**digits)
    if 10**digits <= derived:
        assert prove_limits(stated).markets[0].max_position == 10**digits
    else:
        with pytest.raises(RulebookError, match="max_position is too large"):
            prove_limits(stated)
    assert prove_limits(with_limit(rulebook, derived)).markets[0].max_position == derived


def with_limit(rulebook: Rulebook, lots: int) -> Tables:
    market = replace(rulebook.markets["M0"], max_position=lots)
    return build_tables(replace(rulebook, markets={"M0": market}))


def test_an_asset_whose_tick_of_one_unit_is_a_reporting_unit_keeps_its_own_price_limit():
    rules = {"assets": {"USD": {"decimals": 6}, "EUR": {"decimals": 2, "tick": "0.0001", "max_price": "5"}}}
    limits = prove_limits(build_tables(read_rulebook(rules)))
    assert limits.assets[1].max_price == 50_000


def test_an_asset_too_fine_for_any_price_is_refused_in_words():
    rules = {"assets": {"USD": {"decimals": 2}, "DUST": {"decimals": 9, "tick": "0.000000000001"}}}
    with pytest.raises(RulebookError, match=r"assets\.DUST"):
        prove_limits(build_tables(read_rulebook(rules)))


def test_a_tier_floor_beyond_the_columns_is_refused_or_harmless():
    tiers = [TIER, {"floor": "10000000000", "initial": "0.2", "maintenance": "0.1"}]
    rules = {"assets": {"USD": {"decimals": 9}}, "markets": {"M": {**MARKET, "tiers": tiers}}}
    tables = build_tables(read_rulebook(rules))
    try:
        prove_limits(tables)
    except RulebookError:
        return
    valuation = Valuation(tables)
    valuation.set_mark(0, 10)
    book = Book()
    book.add(Account(balances={0: 5}))
    assert measure_all(book, valuation, 0)[0].tolist() == [5]


def test_funding_up_to_the_bound_of_its_index_does_not_overflow():
    rules = {"assets": {"USD": {}}, "markets": {"M": {**MARKET, "lot": "0.000001", "tick": "1", "max_price": "1000"}}}
    tables = build_tables(read_rulebook(rules))
    most = prove_limits(tables).markets[0].max_position
    valuation = Valuation(tables)
    valuation.set_mark(0, 1000)
    x, y = payoff_at(tables.markets[0], 1000)
    bound = RATE_ONE * x // (2 * y)  # what `pay_funding` accepts
    valuation.funding[0] = bound
    position = Position(size=-most, cost=cost_of(tables.markets[0], -most, 1000), funding_entry=-bound)
    book = Book()
    book.add(Account(positions={0: position}))
    assert equity_all(book, valuation).tolist() == [equity(book.read(0), valuation)]
