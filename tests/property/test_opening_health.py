"""Health for opening, at the worse of two prices of everything: how it lies to initial health at single prices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from hypothesis import assume, given
from hypothesis import strategies as st

from marginkeep.book import Account, Position, Valuation
from marginkeep.book.health import measure
from marginkeep.book.limits import prove_limits
from marginkeep.book.opening_health import measure_opening
from marginkeep.rulebook import build_tables, read_rulebook
from marginkeep.rulebook.model import INITIAL
from tests.property.strategies import accounts, rulebooks, up_to, valuations

CORNERS_MAX = 64


@dataclass
class Prices:
    """Lowest and highest prices as an oracle would state them."""

    markets: list[tuple[int, int]]
    assets: list[tuple[int, int]]

    def market(self, index: int) -> tuple[int, int]:
        return self.markets[index]

    def asset(self, index: int) -> tuple[int, int]:
        return self.assets[index]


@st.composite
def cases(draw) -> tuple[Valuation, Account, Prices]:
    """A valuation, an account, and a range of prices for each market and asset; the reporting asset is worth 1."""
    valuation = draw(valuations(draw(rulebooks())))
    limits = prove_limits(valuation.tables)
    prices = Prices(
        [draw(spans(bound.max_price, bound.min_price)) for bound in limits.markets],
        [
            (1, 1) if table.index == valuation.tables.reporting else draw(spans(bound.max_price))
            for table, bound in zip(valuation.tables.assets, limits.assets, strict=True)
        ],
    )
    return valuation, draw(accounts(valuation)), prices


@st.composite
def spans(draw, highest: int, lowest: int = 1) -> tuple[int, int]:
    first, second = sorted((draw(up_to(highest, lowest)), draw(up_to(highest, lowest))))
    return first, second


def at_prices(valuation: Valuation, markets, assets) -> Valuation:
    single = valuation.copy()
    for index, ticks in enumerate(markets):
        single.set_mark(index, ticks)
    for index, ticks in enumerate(assets):
        single.set_price(index, ticks)
    return single


def needed(account: Account, valuation: Valuation) -> tuple[list[int], list[int]]:
    """The markets and assets that an account's health depends on."""
    settles = {valuation.tables.markets[index].settle for index in account.positions}
    return sorted(account.positions), sorted({*account.balances, *settles} - {valuation.tables.reporting})


@given(cases())
def test_with_one_price_of_each_it_is_initial_health(case):
    valuation, account, _ = case
    prices = Prices([(ticks, ticks) for ticks in valuation.marks], [(ticks, ticks) for ticks in valuation.prices])
    assert measure_opening(account, valuation.copy(), prices) == measure(account, valuation, INITIAL)


@given(cases())
def test_it_is_never_better_than_at_either_price_of_each_market_and_asset(case):
    """Profit and requirement of a position are converted apart, each rounded once: one unit a position."""
    valuation, account, prices = case
    opening = measure_opening(account, valuation.copy(), prices).health
    markets, assets = needed(account, valuation)
    for choice in list(product((0, 1), repeat=len(markets) + len(assets)))[:CORNERS_MAX]:
        single = valuation.copy()
        for index, side in zip(markets, choice, strict=False):
            single.set_mark(index, prices.markets[index][side])
        for index, side in zip(assets, choice[len(markets) :], strict=True):
            single.set_price(index, prices.assets[index][side])
        assert opening <= measure(account, single, INITIAL).health + len(markets)


def is_smooth(account: Account, valuation: Valuation) -> bool:
    """Whether no requirement jumps with the price: whole-position tiers by value do, at each floor."""
    markets = [valuation.tables.markets[index] for index in account.positions]
    return all(m.market.tier_kind == "marginal" or m.by_size or len(m.tiers[INITIAL]) == 1 for m in markets)


@given(cases(), st.data())
def test_where_no_requirement_jumps_it_is_never_better_than_at_any_price_between(case, data):
    """A term is concave in its price up to rounding of a few settle units, so it is lowest at an end of the range."""
    valuation, account, prices = case
    assume(is_smooth(account, valuation))
    between = at_prices(
        valuation,
        [data.draw(st.integers(*span)) for span in prices.markets],
        [data.draw(st.integers(*span)) for span in prices.assets],
    )
    slack = len(account.positions)
    for index in account.positions:
        settle = valuation.tables.assets[valuation.tables.markets[index].settle]
        slack += 8 * (1 + prices.assets[settle.index][1] * settle.numerator // settle.denominator)
    opening = measure_opening(account, valuation.copy(), prices)
    assert opening.health <= measure(account, between, INITIAL).health + slack


@given(cases(), st.data())
def test_a_wider_range_is_never_better(case, data):
    valuation, account, prices = case
    inner = Prices(*[[narrowed(data, span) for span in spans] for spans in (prices.markets, prices.assets)])
    assume(is_smooth(account, valuation) or inner.markets == prices.markets)
    slack = len(account.positions)
    for index in account.positions:
        settle = valuation.tables.assets[valuation.tables.markets[index].settle]
        slack += 8 * (1 + prices.assets[settle.index][1] * settle.numerator // settle.denominator)
    wide = measure_opening(account, valuation.copy(), prices).health
    assert wide <= measure_opening(account, valuation.copy(), inner).health + slack


def narrowed(data, span: tuple[int, int]) -> tuple[int, int]:
    low = data.draw(st.integers(*span))
    return low, data.draw(st.integers(low, span[1]))


@given(cases())
def test_holdings_of_an_asset_that_counts_nothing_add_nothing(case):
    valuation, account, prices = case
    reporting = valuation.tables.reporting
    nothing = Prices(prices.markets, [(0 if i != reporting else 1, high) for i, (_, high) in enumerate(prices.assets)])
    opening = measure_opening(account, valuation.copy(), nothing)
    poorer = account.copy()
    poorer.balances = {asset: amount for asset, amount in account.balances.items() if amount < 0 or asset == reporting}
    assert opening == measure_opening(poorer, valuation.copy(), nothing)
    assert opening.health <= measure_opening(account, valuation.copy(), prices).health


def one_market(**changed) -> Valuation:
    market = {"settle": "USD", "lot": "1", "tick": "0.1", "max_price": "1000", **changed}
    valuation = Valuation(build_tables(read_rulebook({"assets": {"USD": {}}, "markets": {"M": market}})))
    valuation.set_mark(0, 10)
    return valuation


def usd(amount: float) -> int:
    return round(amount * 10**6)


def test_a_requirement_that_jumps_may_be_highest_between_the_two_prices():
    """A long of 100 at 9.9 to 15: at 10 the whole position falls into a dearer tier, and no profit makes up for it."""
    tiers = [
        {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
        {"floor": "1000", "initial": "0.5", "maintenance": "0.25"},
    ]
    valuation = one_market(tier_kind="whole_position", tiers=tiers)
    account = Account(balances={0: usd(100)}, positions={0: Position(size=100, cost=usd(990))})
    opening = measure_opening(account, valuation.copy(), Prices([(99, 150)], [(1, 1)])).health
    between = at_prices(valuation, [100], [1])
    assert opening == usd(100 + 510 - 750)
    assert measure(account, between, INITIAL).health == usd(100 + 10 - 500) < opening


def test_the_two_prices_of_a_perpetual_on_mango():
    """perp-dex.jsonl, mango-0082: oracle 1, stable 0.5, weights 0.6 and 0.8, 30 bought for 30 with 5 in the account."""
    valuation = one_market(tiers=[{"floor": "0", "initial": "0.4", "maintenance": "0.2"}])
    account = Account(balances={0: usd(5)}, positions={0: Position(size=30, cost=usd(30))})
    assert measure_opening(account, valuation.copy(), Prices([(5, 10)], [(1, 1)])).health == usd(-16)
    assert measure(account, at_prices(valuation, [10], [1]), INITIAL).health == usd(-7)


def test_a_short_is_measured_at_the_higher_price():
    valuation = one_market(tiers=[{"floor": "0", "initial": "0.1", "maintenance": "0.05"}])
    account = Account(balances={0: usd(100)}, positions={0: Position(size=-10, cost=usd(-10))})
    opening = measure_opening(account, valuation.copy(), Prices([(10, 50)], [(1, 1)]))
    assert opening.health == usd(100 - 40 - 5)


def test_measuring_leaves_the_account_alone():
    valuation = one_market(tiers=[{"floor": "0", "initial": "0.1", "maintenance": "0.05"}])
    account = Account(balances={0: usd(100)}, positions={0: Position(size=-10, cost=usd(-10), bid_size=3, bid_cost=1)})
    before = account.copy()
    measure_opening(account, valuation.copy(), Prices([(10, 50)], [(1, 1)]))
    assert account == before
