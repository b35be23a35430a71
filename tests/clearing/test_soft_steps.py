"""Soft liquidation: paced by the clock alone, with its own penalty, ended by a cure, over in bounded time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clearing.ladder_world import SOFT, lots_closed
from tests.clearing.test_margin_calls import START, at, house_of_ann, rung_of
from tests.ladder_houses import balance, fund, kinds, ledger, only, opened, position, prices, trade, usd

from marginkeep.clearing import Clearinghouse, Deposit, Liquidated
from marginkeep.clearing.events import RungChanged
from marginkeep.liquidation import Allowance, Close, plan_reduction
from marginkeep.liquidation.incentive import settled_measure
from marginkeep.rulebook import MAINTENANCE
from marginkeep.units import RATE_ONE, ceil_div

LADDER = {"soft": SOFT}
ILL_AT = 47_970
"""Ann's equity is 470 USD there, her maintenance 479.7: a factor of 0.98."""

SOME = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def softened(soft: dict | None = None, **ladder) -> tuple[Clearinghouse, tuple]:
    """The house after the fall that begins a soft liquidation."""
    house = house_of_ann({"soft": {**SOFT, **(soft or {})}, **ladder})
    return house, house.apply(prices(ILL_AT))


def whole_reduction(house: Clearinghouse, name: str = "ann") -> int:
    """Lots that it takes to reach the target at once, at the soft penalty."""
    state = house.state
    plan = plan_reduction(
        state.book.read(state.index[name]), state.valuation, Allowance(penalty=state.rulebook.ladder.soft.penalty)
    )
    return sum(abs(step.size) for step in plan.steps if isinstance(step, Close))


def lots_of(house: Clearinghouse, name: str = "ann") -> int:
    """Lots of her position, 0 without one."""
    held = position(house, name, "BTC-PERP")
    return abs(held.size) if held else 0


def settled(house: Clearinghouse, name: str = "ann"):
    state = house.state
    return settled_measure(state.book.read(state.index[name]), state.valuation, MAINTENANCE)


def test_each_step_takes_the_share_that_is_due_by_the_clock_alone():
    house = house_of_ann(LADDER)
    house.state.valuation.set_mark(0, ILL_AT * 10)
    total = whole_reduction(house)
    house.state.valuation.set_mark(0, 500_000)
    closed, seen = lots_closed(house.apply(prices(ILL_AT)), rungs=("soft",)), []
    seen.append(closed)
    for step in range(1, 7):
        assert rung_of(house) == "soft"
        assert kinds(at(house, START + 10 * step - 0.001)) == ["TimeAdvanced"]
        closed += lots_closed(at(house, START + 10 * step), rungs=("soft",))
        seen.append(closed)
    shares = [min(RATE_ONE, RATE_ONE // 10 + RATE_ONE * step // 6) for step in range(7)]
    due = [ceil_div(total * share, RATE_ONE) for share in shares]
    assert all(0 <= have - want <= step + 1 for step, (have, want) in enumerate(zip(seen, due, strict=True)))
    assert rung_of(house) == "healthy"
    assert total <= closed <= total + 6


def test_a_soft_step_takes_the_soft_penalty():
    house, events = softened()
    (event,) = only(events, Liquidated)
    assert event.rung == "soft"
    assert [step.penalty for step in event.steps] == [ceil_div(step.value, 1_000) for step in event.steps]
    free = softened({"penalty": "0"})[1]
    assert only(free, Liquidated)[0].penalty == 0
    assert ledger(house, "insurance_fund") > 0


def test_a_deposit_ends_it_between_two_steps():
    house, _ = softened()
    held = position(house, "ann", "BTC-PERP").size
    events = house.apply(Deposit(account="ann", asset="USD", amount=usd(2_000)))
    assert [(change.before, change.after) for change in only(events, RungChanged)] == [("soft", "healthy")]
    assert kinds(at(house, START + 1_000)) == ["TimeAdvanced"]
    assert position(house, "ann", "BTC-PERP").size == held < 1_000


def test_a_trade_or_a_price_ends_it_between_two_steps():
    house, _ = softened()
    trade(house, "bob", "ann", 900 - (1_000 - position(house, "ann", "BTC-PERP").size), ILL_AT)
    assert rung_of(house) == "healthy"
    house, _ = softened()
    house.apply(prices(51_000))
    assert rung_of(house) == "healthy"


def test_above_maintenance_it_goes_on_until_the_target():
    house, _ = softened()
    house.apply(prices(48_500))
    assert rung_of(house) == "soft"
    assert lots_closed(at(house, START + 10)) > 0


@pytest.mark.parametrize("initial", ["0", "0.1", "1"])
def test_it_is_over_within_its_duration_and_a_step(initial):
    house, _ = softened({"initial_share": initial})
    for seconds in range(10, 80, 10):
        at(house, START + seconds)
    assert not house.state.ill
    assert position(house, "ann", "BTC-PERP").size > 0


def test_a_clock_that_jumps_past_the_end_finishes_it_at_once():
    house, _ = softened()
    at(house, START + 3_600)
    assert not house.state.ill


def test_a_fall_below_the_hard_factor_is_not_paced():
    house, _ = softened()
    before = lots_of(house)
    events = house.apply(prices(47_800))
    assert next(change.after for change in only(events, RungChanged)) == "partial"
    assert not house.state.ill
    assert 0 < lots_of(house) < before
    direct = house_of_ann(LADDER)
    assert [change.after for change in only(direct.apply(prices(47_800)), RungChanged)] == ["partial", "healthy"]


def test_holdings_are_not_sold_while_positions_are_paced():
    house = opened(LADDER)
    at(house, START)
    fund(house, "bob", 500_000)
    fund(house, "ann", 0.2, "BTC")
    trade(house, "ann", "bob", 2_000, 50_000)
    trade(house, "bob", "ann", 1_900, 46_500)
    trade(house, "ann", "bob", 1_900, 46_500)
    held = balance(house, "ann", "BTC")
    assert balance(house, "ann") < 0
    seen = []
    for price in range(49_500, 44_000, -20):
        seen += only(house.apply(prices(price)), Liquidated)
        if seen:
            break
    assert seen[0].rung == "soft"
    assert [step.what for step in seen[0].steps] == ["close"]
    assert balance(house, "ann", "BTC") == held


def test_a_loan_without_positions_is_repaid_when_all_is_due():
    house = opened({"soft": {**SOFT, "hard_factor": "0"}})
    at(house, START)
    fund(house, "bob", 500_000)
    fund(house, "ann", 1, "BTC")
    trade(house, "ann", "bob", 5_000, 50_000)
    trade(house, "bob", "ann", 5_000, 41_500)
    house.apply(prices(44_000))
    assert rung_of(house) == "soft"
    assert not only(at(house, START + 50), Liquidated)
    (event,) = only(at(house, START + 60), Liquidated)
    assert {step.what for step in event.steps} == {"sell"}
    assert not house.state.ill


def test_a_step_that_would_leave_dust_closes_the_position():
    soft = {**SOFT, "hard_factor": "0", "initial_share": "0.9"}
    for dust, kept in (("0", True), ("10000", False)):
        house = opened({"soft": soft, "dust": dust})
        at(house, START)
        fund(house, "ann", 2_500)
        fund(house, "bob", 500_000)
        trade(house, "ann", "bob", 1_000, 50_000)
        house.apply(prices(47_610))
        assert bool(lots_of(house)) == kept


def test_where_a_step_harms_by_slippage_alone_pacing_ends_and_it_goes_on_to_be_closed():
    """Slippage of 2 % is more than a position that requires 1 % can heal."""
    house = house_of_ann(LADDER, liquidation={"slippage": "0.02", "penalty": "0.003"})
    events = house.apply(prices(47_970))
    assert [change.after for change in only(events, RungChanged)] == ["soft", "partial", "bankrupt", "closed"]
    assert sum(event.penalty for event in only(events, Liquidated)) == 0
    assert lots_of(house) == 0


@SOME
@given(
    st.integers(1, 3_000),
    st.integers(460, 475),
    st.lists(st.integers(1, 25), min_size=0, max_size=10),
    st.sampled_from(["0", "0.05", "0.5"]),
)
def test_every_step_heals_and_all_is_over_in_time_whatever_the_clock_does(lots, price, pauses, initial):
    house = opened({"soft": {**SOFT, "initial_share": initial}})
    at(house, START)
    fund(house, "ann", lots * 2.5)
    fund(house, "bob", 5_000_000)
    trade(house, "ann", "bob", lots, 50_000)
    house.apply(prices(47_500 + price))
    now = START
    for pause in pauses:
        now += pause
        before = settled(house)
        events = at(house, now)
        after = settled(house)
        if only(events, Liquidated) and after.requirement:
            assert after.collateral * before.requirement > before.collateral * after.requirement
    at(house, max(now, START + 60))
    at(house, max(now, START + 60) + 10)
    assert not house.state.ill
