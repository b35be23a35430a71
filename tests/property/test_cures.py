"""Cures to the unit and to the lot: the stated amount cures and one unit less does not, nor does one lot less."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from marginkeep.book import CROSS, Account, Position, Valuation
from marginkeep.book.fills import cost_of
from marginkeep.liquidation.cures import close_cure, find_cures, missing_health, with_close, with_deposit
from marginkeep.rulebook.model import CALL, TARGET
from marginkeep.units import RATE_ONE
from tests.property.strategies import accounts, houses, rulebooks, valuations


@st.composite
def ill_houses(draw: st.DrawFn) -> tuple[Valuation, Account]:
    """Draw an account that lacks something at its call or target level."""
    valuation = draw(valuations(draw(rulebooks(assets=2, markets=2))))
    account = draw(accounts(valuation, modes=(CROSS,)))
    assume(missing_health(account, valuation) < 0)
    return valuation, account


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(ill_houses())
def test_a_stated_deposit_cures_and_one_unit_less_does_not(house):
    valuation, account = house
    found = find_cures(account, valuation)
    for cure in found.deposits:
        assert cure.amount >= 1
        assert missing_health(with_deposit(account, cure.asset, cure.amount), valuation) >= 0
        assert missing_health(with_deposit(account, cure.asset, cure.amount - 1), valuation) < 0
    counted = {
        table.index
        for table in valuation.tables.assets
        if valuation.prices[table.index] and table.weight[CALL] and table.weight[TARGET]
    }
    assert counted <= {cure.asset for cure in found.deposits}
    assert [cure.value for cure in found.deposits] == sorted(cure.value for cure in found.deposits)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(ill_houses())
def test_a_stated_close_cures_and_one_lot_less_does_not(house):
    valuation, account = house
    found = find_cures(account, valuation)
    for cure in found.closes:
        market, held = valuation.tables.markets[cure.market], account.positions[cure.market].size
        assert 1 <= abs(cure.size) <= abs(held)
        assert (cure.size > 0) == (held < 0)
        step = 1 if cure.size > 0 else -1
        assert missing_health(with_close(account, market, cure.size, valuation), valuation) >= 0
        assert missing_health(with_close(account, market, cure.size - step, valuation), valuation) < 0
    assert [cure.cost for cure in found.closes] == sorted(cure.cost for cure in found.closes)


@st.composite
def small_positions(draw: st.DrawFn) -> tuple[Valuation, Account]:
    """Draw an ill account with a position of a few lots, in a market whose rates are above its taker fee."""
    valuation = draw(valuations(draw(rulebooks(assets=1, markets=1))))
    market = draw(st.sampled_from(valuation.tables.markets))
    lowest = min(market.tiers[level][0][2] for level in (CALL, TARGET))
    assume(lowest > market.market.taker_fee + RATE_ONE // 1000)
    size = draw(st.integers(-60, 60).filter(bool))
    mark = valuation.marks[market.index]
    entry = max(1, mark + mark * draw(st.integers(-20, 20)) // 100)
    position = Position(size, cost_of(market, size, entry), valuation.funding[market.index])
    worth = abs(cost_of(market, size, mark))
    cash = draw(st.integers(-30, 30)) * worth // 100 + draw(st.integers(-2, 2))
    account = Account(balances={market.settle: cash}, positions={market.index: position})
    assume(missing_health(account, valuation) < 0)
    return valuation, account


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(small_positions())
def test_no_smaller_size_cures_than_the_one_that_is_found(house):
    valuation, account = house
    ((index, position),) = account.positions.items()
    market, side = valuation.tables.markets[index], -1 if position.size > 0 else 1
    enough = [
        size
        for size in range(1, abs(position.size) + 1)
        if missing_health(with_close(account, market, side * size, valuation), valuation) >= 0
    ]
    cure = close_cure(account, market, valuation)
    assert (cure is None) == (not enough)
    if cure is not None:
        assert abs(cure.size) == enough[0]


@given(houses())
def test_an_account_that_holds_both_levels_needs_no_cure(house):
    valuation, (account,) = house
    assume(missing_health(account, valuation) >= 0)
    assert find_cures(account, valuation) == ((), ())
