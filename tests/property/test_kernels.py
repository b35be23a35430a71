"""The compiled kernels against their plain twin: the same integers for every account, at every level."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book import CROSS, ISOLATED, SYSTEM, Account, Book, Position, Valuation, equity, measure
from marginkeep.book.fills import cost_of
from marginkeep.book.kernels import PLAIN_BELOW, equity_all, level_columns, measure_all
from marginkeep.book.limits import TERMS_MAX, Limits, prove_limits
from marginkeep.rulebook import MarketTable, Rulebook, build_tables, read_rulebook
from marginkeep.rulebook.model import LEVELS
from marginkeep.units import INT64_SAFE
from tests.property.strategies import accounts_on_edges, funding_bound, houses, rulebooks, tier_edges, valuations

ALL_LEVELS = range(len(LEVELS))
LARGE_BOOK = 2_000


def require_equal(book: Book, valuation: Valuation, accounts: list[Account]) -> None:
    """Compare every account of the book with the twin's own reading of it."""
    assert equity_all(book, valuation).tolist() == [equity(account, valuation) for account in accounts]
    for level in ALL_LEVELS:
        collateral, requirement = measure_all(book, valuation, level)
        twin = [tuple(measure(account, valuation, level)) for account in accounts]
        assert list(zip(collateral.tolist(), requirement.tolist(), strict=True)) == twin


@settings(max_examples=150, deadline=None)
@given(houses(most=6))
def test_kernels_equal_the_twin_for_every_account_of_a_book(house):
    valuation, accounts = house
    book = Book()
    for account in accounts:
        book.add(account)
    require_equal(book, valuation, accounts)


@settings(max_examples=60, deadline=None)
@given(tier_edges())
def test_kernels_equal_the_twin_on_the_edges_of_tiers(house):
    valuation, accounts = house
    book = Book()
    for account in accounts:
        book.add(account)
    require_equal(book, valuation, accounts)


@settings(max_examples=20, deadline=None)
@given(rulebooks().flatmap(valuations), st.integers(0, 2**32), st.sampled_from([1.0, 0.5, 0.02]))
def test_kernels_equal_the_twin_in_a_large_book_up_to_its_limits(valuation, seed, reach):
    book = random_book(valuation, np.random.default_rng(seed), reach)
    require_equal(book, valuation, [book.read(index) for index in range(book.count)])


@settings(max_examples=12, deadline=None)
@given(rulebooks(plain=True), st.integers(0, 2**32))
def test_kernels_equal_the_twin_where_markets_need_no_conversion(rulebook, seed):
    valuation = unit_free(rulebook, np.random.default_rng(seed))
    plain_below = level_columns(valuation, 0).markets[:, PLAIN_BELOW]
    assert (plain_below == [second_floor(table) for table in valuation.tables.markets]).all()
    book = random_book(valuation, np.random.default_rng(seed), reach=1.0)
    for account in accounts_on_edges(valuation):
        book.add(account)
    require_equal(book, valuation, [book.read(index) for index in range(book.count)])


def second_floor(table: MarketTable) -> int:
    """Return where the second tier begins: up to there the kernel takes its short path."""
    return table.tiers[0][1][0] if len(table.tiers[0]) > 1 else INT64_SAFE


def unit_free(rulebook: Rulebook, random: np.random.Generator) -> Valuation:
    """Return a valuation of the rulebook with every market made linear, by value, in whole units and fully counted."""
    asset = rulebook.assets[rulebook.reporting]
    markets = {
        name: replace(
            market,
            payoff="linear",
            tier_unit="quote",
            settle=asset.name,
            contract_size=asset.unit,
            lot=Fraction(1),
            tick=Fraction(1),
            profit_weight=(10**9,) * 4,
            max_price=10**5,
            min_price=1,
        )
        for name, market in rulebook.markets.items()
    }
    valuation = Valuation(build_tables(replace(rulebook, markets=markets)))
    for index in range(len(markets)):
        valuation.set_mark(index, int(random.choice([1, 2, random.integers(1, 10**5 + 1)])))
    return valuation


def random_book(valuation: Valuation, random: np.random.Generator, reach: float) -> Book:
    """Fill a book of `LARGE_BOOK` accounts with sizes spread over all magnitudes up to `reach` of the limits."""
    tables = valuation.tables
    limits = prove_limits(tables)
    book = Book()
    for _ in range(LARGE_BOOK):
        mode = int(random.choice([CROSS, CROSS, CROSS, ISOLATED, SYSTEM]))
        most = 1 if mode == ISOLATED else len(tables.markets)
        held = random.permutation(len(tables.markets))[: random.integers(0, most + 1)].tolist()
        assets = random.permutation(len(tables.assets))[: random.integers(0, len(tables.assets) + 1)].tolist()
        bounds = {asset: int(limits.assets[asset].max_balance * reach) for asset in assets}
        book.add(
            Account(
                mode=mode,
                balances={asset: magnitude(random, bound) or 1 for asset, bound in bounds.items()},
                positions={market: random_position(valuation, market, limits, random, reach) for market in held},
            )
        )
    return book


def magnitude(random: np.random.Generator, bound: int) -> int:
    """Return a signed integer whose size is spread evenly over orders of magnitude; every tenth is the bound."""
    largest = bound if random.random() < 0.1 else max(1, min(bound, int(bound ** random.random())))
    return largest if random.random() < 0.5 else -largest


def random_position(
    valuation: Valuation, index: int, limits: Limits, random: np.random.Generator, reach: float
) -> Position:
    market, bounds = valuation.tables.markets[index], limits.markets[index]
    most = max(1, int(bounds.max_position * reach))
    low, high = bounds.min_price, bounds.max_price + 1
    size = magnitude(random, most)
    bid = int(random.integers(0, most - abs(size) + 1))
    ask = int(random.integers(0, most - abs(size) - bid + 1))
    funding = funding_bound(valuation.tables, index, limits)
    return Position(
        size=size,
        cost=cost_of(market, size, int(random.integers(low, high))),
        funding_entry=int(random.integers(-funding, funding + 1)),
        bid_size=bid,
        bid_cost=cost_of(market, bid, int(random.integers(low, high))),
        ask_size=ask,
        ask_cost=cost_of(market, -ask, int(random.integers(low, high))),
    )


def test_the_fullest_account_the_limits_allow_does_not_overflow():
    """Every term at its bound and on one side: 255 positions at four times their value, and the largest debt."""
    table = {
        "assets": {"USD": {"decimals": 6, "debt_weight": "4"}},
        "markets": {f"M{index}": _costly_market(index) for index in range(TERMS_MAX - 1)},
    }
    tables = build_tables(read_rulebook(table))
    limits = prove_limits(tables)
    valuation = Valuation(tables)
    account = Account(balances={0: -limits.assets[0].max_balance})
    for index, (market, bounds) in enumerate(zip(tables.markets, limits.markets, strict=True)):
        price = bounds.min_price if market.sign < 0 else bounds.max_price
        valuation.set_mark(index, price)
        size = bounds.max_position if index % 2 else -bounds.max_position
        account.positions[index] = Position(size=size, cost=cost_of(market, size, price))
        if index % 3 == 0:
            cost = cost_of(market, abs(size), price)
            account.positions[index] = Position(bid_size=abs(size), bid_cost=cost)
    book = Book()
    book.add(account)
    require_equal(book, valuation, [account])
    requirement = measure(account, valuation, 0).requirement
    assert 2**61 < requirement < 2**63


def _costly_market(index: int) -> dict[str, object]:
    payoff, unit = ("inverse", "base") if index % 4 == 0 else ("linear", ("quote", "contracts")[index % 2])
    return {
        "settle": "USD",
        "payoff": payoff,
        "lot": "0.001",
        "tick": "0.01",
        "max_price": "1000000",
        "taker_fee": "0.1",
        "tier_unit": unit,
        "tiers": [{"floor": "0", "initial": "4", "maintenance": "0.99"}],
    }


@settings(max_examples=50, deadline=None)
@given(houses(most=1))
def test_level_columns_hold_the_rules_and_prices_of_their_level(house):
    valuation, _ = house
    tables = valuation.tables
    for level in ALL_LEVELS:
        columns = level_columns(valuation, level)
        rows = [row for table in tables.markets for row in table.tiers[level]]
        assert columns.tiers.tolist() == [list(row) for row in rows]
        worth = zip(valuation.asset_x, valuation.asset_y, strict=True)
        weights = [(table.weight[level], table.debt_weight[level]) for table in tables.assets]
        assert columns.assets.tolist() == [[*pair, *both] for pair, both in zip(worth, weights, strict=True)]
        assert len(columns.markets) == len(tables.markets)
        for table, row in zip(tables.markets, columns.markets.tolist(), strict=True):
            sign, x, y, of_longs, of_shorts, _, _, by_size, first, last, weight, fee = row[:PLAIN_BELOW]
            assert (sign, by_size, weight, fee) == (
                table.sign,
                table.by_size,
                table.profit_weight[level],
                table.market.taker_fee,
            )
            assert (x, y) == (valuation.market_x[table.index], valuation.market_y[table.index])
            assert of_longs == valuation.funding[table.index]
            assert of_shorts == valuation.funding_short[table.index]
            assert rows[first : last + 1] == list(table.tiers[level])
