"""The compiled plans against the plain path: the same steps, measures and books, to the unit."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book import CROSS, ISOLATED, Account, Book, Position, Valuation, measure
from marginkeep.book.fills import cost_of
from marginkeep.book.limits import TERM_MAX, prove_limits
from marginkeep.clearing import (
    Liquidated,
    PayFunding,
    ReserveOrder,
    TopUpFund,
    Trade,
    check_conservation,
    enforcement,
    state_hash,
)
from marginkeep.liquidation import Close, plan_reduction
from marginkeep.liquidation.batch_plans import BatchPlans
from marginkeep.liquidation.wide_division import wide_multiply_divide
from marginkeep.rulebook import LiquidationTerms, Rulebook
from marginkeep.rulebook.model import MAINTENANCE, TARGET
from marginkeep.units import INT64_SAFE, RATE_ONE
from tests.houses import fund, opened, prices, usd
from tests.liquidation.holdings import valued
from tests.property.strategies import accounts, positions, rulebooks, up_to, valuations


def require_equal(valuation: Valuation, several: list[Account]) -> list[bool]:
    """Compare each compiled plan with the plain one; tell which accounts have one."""
    book = Book()
    for account in several:
        book.add(account)
    plans = BatchPlans(book, valuation, range(book.count))
    planned = [plans.of(index) for index in range(book.count)]
    for index, plan in enumerate(planned):
        if plan is not None:
            require_same(plan, book.read(index), valuation)
    return [plan is not None for plan in planned]


def require_same(plan, account: Account, valuation: Valuation) -> None:
    assert plan.before == measure(account, valuation, MAINTENANCE)
    assert plan.health_target == measure(account, valuation, TARGET).health
    if plan.before.health >= 0:
        assert plan.steps == []
        return
    for position in account.positions.values():
        position.bid_size = position.bid_cost = position.ask_size = position.ask_cost = 0
    plain = plan_reduction(account, valuation)
    assert tuple(plan.steps) == plain.steps
    assert plan.health_after == measure(plain.after, valuation, TARGET).health
    assert plan.is_booked(plain.after)


def rates(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.just(0), up_to(most))


@st.composite
def costly_rulebooks(draw: st.DrawFn) -> Rulebook:
    """Draw a rulebook whose forced closes cost something: slippage and penalty up to whatever the reader admits."""
    rulebook = draw(rulebooks())
    markets = {
        name: replace(market, liquidation=LiquidationTerms(draw(rates(RATE_ONE // 2)), draw(rates(RATE_ONE // 20)), 0))
        for name, market in rulebook.markets.items()
    }
    return replace(rulebook, markets=markets)


@st.composite
def ill_houses(draw: st.DrawFn) -> tuple[Valuation, list[Account]]:
    """Draw accounts and give each the balance with which it lacks anything from one unit to all it requires."""
    valuation = draw(costly_rulebooks().flatmap(valuations))
    drawn = draw(st.lists(accounts(valuation, (CROSS, ISOLATED)), min_size=1, max_size=4))
    drawn += [draw(moderate_accounts(valuation)) for _ in range(draw(st.integers(0, 6)))]
    for account in drawn:
        make_ill(draw, account, valuation)
    return valuation, drawn


@st.composite
def moderate_accounts(draw: st.DrawFn, valuation: Valuation) -> Account:
    """Draw an account without extremes: positions of at most 2^40 settle units, bought within a tenth of the mark."""
    limits, account = prove_limits(valuation.tables), Account()
    for market in draw(st.sets(st.integers(0, len(limits.markets) - 1), min_size=1)):
        table, bounds = valuation.tables.markets[market], limits.markets[market]
        x, y = valuation.market_x[market], valuation.market_y[market]
        most = max(1, min(bounds.max_position, 2**40 * y // x))
        size = draw(st.sampled_from([-1, 1])) * draw(up_to(most))
        mark = valuation.marks[market]
        price = min(max(draw(st.integers(mark * 9 // 10, mark * 11 // 10)), bounds.min_price), bounds.max_price)
        index = valuation.funding_index(market, size)
        entry = index + draw(st.sampled_from([0, 0, 1, -1])) * draw(st.integers(0, RATE_ONE * x // (50 * y)))
        account.positions[market] = Position(size, cost_of(table, size, price), entry)
    return account


def make_ill(draw: st.DrawFn, account: Account, valuation: Valuation) -> None:
    tables, bounds = valuation.tables, prove_limits(valuation.tables)
    before = measure(account, valuation, MAINTENANCE)
    lacking = draw(st.one_of(st.integers(1, 1_000), st.integers(0, max(1, 2 * before.requirement))))
    most = bounds.assets[tables.reporting].max_balance
    balance = account.balances.get(tables.reporting, 0) - before.health - lacking
    account.balances[tables.reporting] = min(max(balance, -most), most)


@settings(max_examples=400, deadline=None)
@given(ill_houses())
def test_compiled_plans_equal_plain_ones(house):
    require_equal(*house)


@settings(max_examples=100, deadline=None)
@given(costly_rulebooks().flatmap(valuations), st.data())
def test_compiled_plans_equal_plain_ones_up_to_the_limits(valuation, data):
    limits = prove_limits(valuation.tables)
    held = {market: data.draw(positions(valuation, market, limits)) for market in range(len(limits.markets))}
    require_equal(valuation, [Account(positions=held)])


def drawn_account(valuation: Valuation, chance: random.Random) -> Account:
    """An account of the usual house near its maintenance, in any of its four markets and two assets."""
    names = chance.sample(["BTC-PERP", "ETH-PERP", "BTC-INV", "BTC-OKX"], chance.randint(1, 4))
    account = Account(balances={1: chance.choice([0, 0, 10**6, -(10**5)])})
    for name in names:
        market = valuation.tables.markets[valuation.tables.market_index[name]]
        most = 200_000 if name == "BTC-INV" else 20_000
        size = chance.choice([-1, 1]) * chance.randint(1, most)
        price = max(1, int(valuation.marks[market.index] * chance.uniform(0.8, 1.2)))
        entry = valuation.funding_index(market.index, size) - chance.choice([0, 0, 10**12])
        account.positions[market.index] = Position(size, cost_of(market, size, price), entry)
    before = measure(account, valuation, MAINTENANCE)
    account.balances[0] = -before.health - int(before.requirement * chance.uniform(0, 1.5))
    return account


def test_nearly_all_accounts_of_a_usual_house_are_planned_by_the_kernel():
    chance, valuation = random.Random(1), valued()
    valuation.funding[0], valuation.funding_short[0] = 5 * 10**12, 4 * 10**12
    several = [drawn_account(valuation, chance) for _ in range(400)]
    planned = require_equal(valuation, several)
    sales = sum(not all(isinstance(s, Close) for s in plan_reduction(a, valuation).steps) for a in several)
    assert sales > 10, "none has to sell anything: the draw has lost its point"
    assert planned.count(False) == sales


def test_an_account_beyond_the_bounds_is_left_to_the_plain_path():
    valuation = valued()
    lots = prove_limits(valuation.tables).markets[0].max_position
    one = Account(balances={0: -TERM_MAX}, positions={0: Position(lots, 0)})
    many = Account(balances={0: 1 - 2**60}, positions={0: Position(1, 0)})
    assert require_equal(valuation, [one, many]) == [True, False]


def test_an_account_whose_prices_are_unknown_is_left_to_the_plain_path():
    valuation = Valuation(valued().tables)
    valuation.set_mark(0, 500_000)
    assert require_equal(valuation, [Account(positions={2: Position(100, 10)}), Account(balances={1: -5})]) == [
        False,
        True,
    ]


@settings(max_examples=1_000, deadline=None)
@given(*[st.one_of(st.integers(-(2**62), 2**62), st.integers(-(2**33), 2**33))] * 2, st.integers(1, 2**62))
def test_wide_division_is_exact_or_at_its_bound(first, second, divisor):
    exact = first * second // divisor
    assert wide_multiply_divide(first, second, divisor) == min(max(exact, -INT64_SAFE), INT64_SAFE)


# The engine ------------------------------------------------------------------------------------------------------


def crashed(monkeypatch, batch_from: int, seed: int):
    """A house of 150 users with orders, funding and a half-filled fund, after two falls; and what it answered."""
    monkeypatch.setattr(enforcement, "BATCH_FROM", batch_from)
    chance, house = np.random.default_rng(seed), opened()
    house.apply(TopUpFund(asset="USD", amount=usd(30_000)))
    for number in range(150):
        name = f"user{number}"
        fund(house, name, int(chance.integers(4_000, 9_000)))
        if number % 4 == 0:
            fund(house, name, float(chance.uniform(0.001, 0.1)), "BTC")
        for market, price, most in (
            ("BTC-PERP", 500_000, 2_000),
            ("ETH-PERP", 300_000, 3_000),
            ("BTC-INV", 100_000, 30_000),
        ):
            sides = (
                {"buyer": name, "seller": "external"}
                if chance.random() < 0.8
                else {"buyer": "external", "seller": name}
            )
            size = int(chance.integers(1, most))
            house.apply(Trade(market=market, size=size, price=price, taker="buyer", **sides))
        house.apply(ReserveOrder(account=name, order="1", market="BTC-OKX", side="buy", size=5, price=490_000))
    answers = [house.apply(PayFunding(market="BTC-PERP", rate=1_000_000))]
    for btc, eth in ((46_500, 2_700), (42_000, 2_500), (55_000, 3_400)):
        answers.append(house.apply(prices(btc, eth)))
        check_conservation(house)
    return house, answers


@pytest.mark.without_shadows  # the same commands are applied twice here already
@pytest.mark.parametrize("seed", range(4))
def test_events_and_state_are_the_same_with_and_without_compiled_plans(monkeypatch, seed):
    taken = []
    plain_of = BatchPlans.of
    monkeypatch.setattr(BatchPlans, "of", lambda plans, index: taken.append(plain_of(plans, index)) or taken[-1])
    compiled, answers = crashed(monkeypatch, 1, seed)
    assert sum(plan is not None for plan in taken) > 50
    plain, expected = crashed(monkeypatch, 10**9, seed)
    assert msgspec.json.encode(answers) == msgspec.json.encode(expected)
    assert state_hash(compiled) == state_hash(plain)
    assert len([e for events in answers for e in events if isinstance(e, Liquidated)]) > 50


def test_a_plan_that_the_books_do_not_follow_is_noticed():
    valuation = valued()
    account = Account(balances={0: usd(1)}, positions={0: Position(1_000, usd(60_000))})
    book = Book()
    book.add(account)
    plan = BatchPlans(book, valuation, [0]).of(0)
    after = plan_reduction(account, valuation).after
    assert plan.is_booked(after)
    after.balances[0] += 1
    assert not plan.is_booked(after)
    after.balances[0] -= 1
    after.positions[0].cost += 1
    assert not plan.is_booked(after)
