from tests.houses import fund, opened, prices, usd

from marginkeep.book.account import Account, Position
from marginkeep.book.fills import fill_position
from marginkeep.book.health import measure
from marginkeep.clearing import Trade, restore_snapshot, take_snapshot
from marginkeep.liquidation.incentive import (
    affordable_cost,
    healing_bonus,
    healing_cost,
    healing_discount,
    heals,
    penalty_split,
    settled_measure,
)
from marginkeep.liquidation.reduction import close_leg
from marginkeep.liquidation.trial import Trial
from marginkeep.margin.solvency import Measure
from marginkeep.rulebook import MAINTENANCE
from marginkeep.units import RATE_ONE, rate_ceil


def with_profit_and_debt():
    """An ill account: 1 BTC with a profit of 15,000 beside a debt of 14,000, and 60 ETH that require most."""
    house = opened()
    house.apply(prices(btc=65_000))
    state = house.state
    account = Account(balances={state.tables.asset_index["USD"]: -usd(14_000)})
    for name, size, price in (("BTC-PERP", 1_000, 500_000), ("ETH-PERP", 6_000, 300_000)):
        market = state.tables.markets[state.tables.market_index[name]]
        account.positions[market.index] = Position(funding_entry=state.valuation.funding[market.index])
        fill_position(market, account.positions[market.index], size, price)
    return account, state


def test_closing_at_the_mark_heals_by_the_settled_measure_where_the_plain_one_sees_harm():
    account, state = with_profit_and_debt()
    plain = measure(account, state.valuation, MAINTENANCE)
    settled = settled_measure(account, state.valuation, MAINTENANCE)
    assert settled == (usd(1_000), usd(650 + 3_000))
    assert plain == (usd(15_000), usd(14_000 + 650 + 3_000))
    half = half_closed_at_the_mark(account, state)
    after = settled_measure(half, state.valuation, MAINTENANCE)
    assert after.collateral == settled.collateral
    assert heals(settled, after)
    assert not heals(plain, measure(half, state.valuation, MAINTENANCE))


def half_closed_at_the_mark(account, state):
    half = account.copy()
    index = state.tables.market_index["BTC-PERP"]
    fill = fill_position(state.tables.markets[index], half.positions[index], -500, state.valuation.marks[index])
    half.balances[state.tables.asset_index["USD"]] += fill.realised
    return half


def test_funding_not_yet_paid_counts_as_paid():
    account, state = with_profit_and_debt()
    before = settled_measure(account, state.valuation, MAINTENANCE)
    account.positions[state.tables.market_index["BTC-PERP"]].funding_entry -= usd(0.05) * RATE_ONE
    after = settled_measure(account, state.valuation, MAINTENANCE)
    assert after == (before.collateral - usd(50), before.requirement)


def test_measuring_settled_changes_nothing_of_the_account():
    account, state = with_profit_and_debt()
    before = (dict(account.balances), {i: (p.size, p.cost, p.funding_entry) for i, p in account.positions.items()})
    settled_measure(account, state.valuation, MAINTENANCE)
    assert before == (account.balances, {i: (p.size, p.cost, p.funding_entry) for i, p in account.positions.items()})


def test_a_step_of_the_engine_heals_until_slippage_alone_is_too_dear():
    """Slippage costs 0.2 % and penalty 0.3 % of a value that requires 1 %: the penalty gives way below a health factor
    of one half, and below one fifth nothing heals."""
    house = opened()
    fund(house, "ann", 1_500)
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=1_000, price=500_000))
    for mark, whole_penalty, helps in ((488_000, True, True), (487_400, False, True), (485_900, False, False)):
        state = restore_snapshot(house.state.rulebook, take_snapshot(house)).state
        market = state.tables.markets[state.tables.market_index["BTC-PERP"]]
        state.valuation.set_mark(market.index, mark)
        account = state.book.read(state.index["ann"])
        before = settled_measure(account, state.valuation, MAINTENANCE)
        assert (2 * before.collateral > before.requirement) is whole_penalty
        trial = Trial(account, state.valuation)
        assert trial.settled() == before
        step = close_leg(trial, market, -100)
        assert (step.penalty == rate_ceil(step.value, 3_000_000)) is whole_penalty
        after = settled_measure(trial.account, state.valuation, MAINTENANCE)
        assert trial.settled() == after
        assert heals(before, after) is helps


def test_without_collateral_or_release_nothing_heals():
    assert healing_cost(0, 100, 50) == healing_cost(-5, 100, 50) == healing_cost(50, 100, 0) == 0
    assert healing_discount(0, 100, 1_000, 50) == healing_discount(50, 100, 1_000, -1) == 0
    assert healing_discount(50, 100, 0, 50) == 0
    assert not heals(Measure(-5, 100), Measure(-5, 50))


def test_closing_the_account_may_cost_all_that_is_left_but_no_debt():
    assert healing_cost(40, 100, 100) == 40
    assert healing_discount(40, 100, 1_000, 100) == RATE_ONE * 4 // 100
    assert heals(Measure(40, 100), Measure(0, 0))
    assert not heals(Measure(40, 100), Measure(-1, 0))


def test_staying_as_ill_as_before_is_not_healing():
    assert not heals(Measure(40, 100), Measure(20, 50))
    assert healing_cost(40, 100, 50) == 19


def test_the_frontiers_of_the_reference_are_met():
    """h > T (1 + b): 0.86 and 5 % give 0.903, 0.95 and 1 % give 0.9595; at the frontier itself nothing heals."""
    assert healing_bonus(903, 1000, 860_000_000) == 50_000_000 - 1
    assert healing_bonus(9_595, 10_000, 950_000_000) == 10_000_000 - 1
    assert healing_bonus(80, 100, 860_000_000) == 0
    assert healing_bonus(100, 0, 860_000_000) == 0


def test_a_discount_as_large_as_the_illness_heals_only_above_the_root_of_the_threshold():
    """Euler's: 1 + b = 1 / h heals if and only if h > sqrt(T), 0.9274 at 0.86."""
    for health, helps in ((9_274, True), (9_273, False)):
        bonus = RATE_ONE * 10_000 // health - RATE_ONE
        assert (bonus <= healing_bonus(health, 10_000, 860_000_000)) is helps


def test_a_cost_is_cut_to_what_heals_and_to_what_is_left():
    before = Measure(40, 100)
    assert affordable_cost(5, before, 50, 1_000) == 5
    assert affordable_cost(500, before, 50, 1_000) == 19
    assert affordable_cost(500, before, 50, 7) == 7
    assert affordable_cost(500, before, 50, -7) == 0


def test_the_dust_of_a_penalty_goes_to_the_fund():
    assert penalty_split(101, RATE_ONE // 2, RATE_ONE // 10) == (45, 46, 10)
    assert penalty_split(1, RATE_ONE // 2, RATE_ONE // 2) == (0, 1, 0)
    assert penalty_split(100, RATE_ONE, 0) == (100, 0, 0)
