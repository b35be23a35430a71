import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.houses import balance, fund, ledger, opened, position, prices, usd

from marginkeep.book.health import measure
from marginkeep.clearing import (
    AddMargin,
    Liquidated,
    ReserveOrder,
    TopUpFund,
    Trade,
    check_conservation,
    restore_snapshot,
    take_snapshot,
)
from marginkeep.liquidation.reduction import close_leg
from marginkeep.liquidation.sizing import smallest_sufficient
from marginkeep.liquidation.trial import Trial
from marginkeep.rulebook import MAINTENANCE, TARGET
from marginkeep.units import rate_ceil


def trade(size, price=500_000, buyer="ann", seller="external", market="BTC-PERP"):
    return Trade(market=market, buyer=buyer, seller=seller, size=size, price=price)


def liquidations(events):
    return [event for event in events if isinstance(event, Liquidated)]


def health(house, account, level=TARGET):
    return measure(house.state.book.read(house.state.index[account]), house.state.valuation, level).health


def long_one(house, account="ann", margin=1_100.0, size=1_000):
    fund(house, account, margin)
    house.apply(trade(size, buyer=account))


def test_an_account_at_exactly_its_requirement_is_safe_and_one_tick_below_is_not():
    house = opened()
    long_one(house, margin=1_119)
    assert liquidations(house.apply(prices(btc=49_400))) == []
    assert health(house, "ann", MAINTENANCE) == 0
    assert len(liquidations(house.apply(prices(btc=49_399.9)))) == 1


def test_a_position_is_reduced_to_the_target_by_the_smallest_sufficient_size():
    house = opened()
    long_one(house)
    event = liquidations(house.apply(prices(btc=49_300)))[0]
    step = event.steps[0]
    assert (step.what, step.name, step.mark, step.price) == ("close", "BTC-PERP", 493_000, 492_014)
    assert 0 < -step.size < 1_000
    assert event.health_after >= 0
    assert health(house, "ann") == event.health_after
    one_lot = usd(49.3 * (0.015 - 0.002 - 0.003))
    assert event.health_after <= one_lot
    check_conservation(house)


def test_one_lot_less_would_not_have_been_enough():
    house = opened()
    long_one(house)
    state = restore_snapshot(house.state.rulebook, take_snapshot(house)).state
    event = liquidations(house.apply(prices(btc=49_300)))[0]
    size, price = -event.steps[0].size, event.steps[0].price
    state.valuation.set_mark(state.tables.market_index["BTC-PERP"], 493_000)
    for lots, enough in ((size, True), (size - 1, False)):
        account = state.book.read(state.index["ann"])
        trial = Trial(account, state.valuation)
        step = close_leg(trial, state.tables.markets[0], -lots)
        assert step.price == price
        account = trial.account
        assert trial.health == measure(account, state.valuation, TARGET).health
        assert (measure(account, state.valuation, TARGET).health >= 0) is enough


def test_the_penalty_is_shared_between_liquidator_and_fund():
    house = opened()
    long_one(house)
    before = ledger(house, "insurance_fund")
    event = liquidations(house.apply(prices(btc=49_300)))[0]
    step = event.steps[0]
    assert step.penalty == rate_ceil(step.value, 3_000_000)
    share = step.penalty * 4 // 10
    assert balance(house, "liquidator") == share
    assert ledger(house, "insurance_fund") - before == step.penalty - share


def test_the_liquidator_takes_the_position_so_sizes_still_sum_to_zero():
    house = opened()
    long_one(house)
    house.apply(prices(btc=49_300))
    left = position(house, "ann", "BTC-PERP").size
    assert position(house, "liquidator", "BTC-PERP").size == 1_000 - left
    assert house.state.size_totals() == {}


def test_a_loss_beyond_the_collateral_goes_to_the_fund_and_then_to_bad_debt():
    house = opened()
    house.apply(TopUpFund(asset="USD", amount=usd(300)))
    long_one(house)
    event = liquidations(house.apply(prices(btc=45_000)))[0]
    assert position(house, "ann", "BTC-PERP") is None
    assert balance(house, "ann") == 0
    loss = usd(50_000 - 45_000 + 45_000 * 0.002) - usd(1_100 - 25)
    assert event.fund_paid == usd(300)
    assert event.bad_debt == loss - usd(300)
    assert event.penalty == 0
    assert ledger(house, "bad_debt") == -event.bad_debt
    assert ledger(house, "insurance_fund") == 0
    check_conservation(house)


def test_a_penalty_takes_no_more_than_the_account_has_left():
    house = opened()
    long_one(house)
    event = liquidations(house.apply(prices(btc=49_030)))[0]
    left = usd(1_075) + event.steps[0].realised
    assert 0 < left < rate_ceil(event.steps[0].value, 3_000_000)
    assert event.penalty == left
    assert balance(house, "ann") == event.bad_debt == event.fund_paid == 0


def test_open_orders_are_released_first():
    house = opened()
    long_one(house, margin=1_200)
    house.apply(ReserveOrder(account="ann", order="1", market="BTC-PERP", side="sell", size=10, price=600_000))
    events = house.apply(prices(btc=49_200))
    assert [event.reason for event in events if type(event).__name__ == "OrderReleased"] == ["liquidation"]
    assert house.state.orders == {}


def test_the_leg_that_releases_most_is_reduced_first():
    house = opened()
    fund(house, "ann", 2_870)
    house.apply(trade(1_000))
    house.apply(trade(3_000, price=300_000, market="ETH-PERP"))
    event = liquidations(house.apply(prices(btc=49_400, eth=2_970)))[0]
    assert [step.name for step in event.steps] == ["ETH-PERP"]


def test_an_isolated_account_is_liquidated_alone():
    house = opened()
    fund(house, "ann", 100_000)
    house.apply(AddMargin(account="ann", market="BTC-PERP", amount=usd(1_100)))
    house.apply(trade(1_000, buyer="ann/BTC-PERP"))
    event = liquidations(house.apply(prices(btc=45_000)))[0]
    assert event.account == "ann/BTC-PERP"
    assert event.bad_debt > 0
    assert balance(house, "ann") == usd(100_000 - 1_100)


def test_coin_collateral_is_sold_when_positions_alone_do_not_suffice():
    house = opened()
    fund(house, "ann", 0.1, "BTC")
    house.apply(trade(1_500, price=300_000, market="ETH-PERP"))
    event = liquidations(house.apply(prices(eth=2_700)))[0]
    assert [step.what for step in event.steps] == ["close", "sell"]
    sale = event.steps[-1]
    assert sale.name == "BTC"
    assert 0 < sale.size < 10**7
    assert event.health_after >= 0
    assert balance(house, "ann", "BTC") == 10**7 - sale.size
    assert balance(house, "liquidator", "BTC") == sale.size
    check_conservation(house)


def test_an_inverse_position_is_reduced_in_coin():
    house = opened()
    fund(house, "ann", 0.03, "BTC")
    house.apply(trade(50_000, price=100_000, market="BTC-INV"))
    event = liquidations(house.apply(prices(btc=49_000)))[0]
    assert event.steps[0].asset == "BTC"
    assert event.health_after >= 0
    check_conservation(house)


def test_a_whole_position_tier_drop_can_heal_with_a_part():
    house = opened()
    fund(house, "ann", 14_000)
    house.apply(trade(6_000, market="BTC-OKX"))
    event = liquidations(house.apply(prices(btc=48_600)))[0]
    assert event.health_after >= 0
    assert 0 < position(house, "ann", "BTC-OKX").size < 6_000


def test_nobody_is_liquidated_twice_at_the_same_prices():
    house = opened()
    for number in range(20):
        long_one(house, account=f"user{number}", margin=1_030 + 10 * number)
    assert liquidations(house.apply(prices(btc=49_100)))
    assert liquidations(house.apply(prices(btc=49_100))) == []


def test_a_liquidation_explains_itself():
    house = opened()
    long_one(house)
    event = liquidations(house.apply(prices(btc=49_300)))[0]
    assert event.collateral < event.requirement == usd(493)
    assert event.marks == {"BTC-PERP": 493_000}
    assert event.rulebook == house.state.rulebook_hash
    assert event.health_target < 0
    moved = sum(posting.amount for posting in event.postings if posting.reason.endswith("of the penalty"))
    assert moved == event.penalty


@given(largest=st.integers(1, 10**12), root=st.integers(-5, 10**12), slope=st.integers(1, 10**6))
def test_the_smallest_sufficient_size_of_a_line_is_exact(largest, root, slope):
    found = smallest_sufficient(largest, lambda size: (size - root) * slope)
    assert found == min(max(1, root), largest)


@given(largest=st.integers(1, 10**6), power=st.integers(2, 5), root=st.integers(1, 10**6))
def test_the_smallest_sufficient_size_of_a_curve_is_exact_and_cheap(largest, power, root):
    calls = []

    def health_after(size):
        calls.append(size)
        return size**power - root**power

    found = smallest_sufficient(largest, health_after)
    assert found == min(root, largest)
    assert len(calls) <= 3 * largest.bit_length() + 3


@pytest.mark.parametrize("fall", [0.5, 0.9, 0.99])
def test_after_any_gap_nobody_is_left_below_maintenance(fall):
    house = opened()
    house.apply(TopUpFund(asset="USD", amount=usd(1_000)))
    for number in range(10):
        fund(house, f"user{number}", 2_000 + 100 * number)
        fund(house, f"user{number}", 0.01 * number, "BTC") if number else None
        house.apply(trade(1_000, buyer=f"user{number}"))
    house.apply(prices(btc=50_000 * (1 - fall)))
    for number in range(10):
        assert health(house, f"user{number}", MAINTENANCE) >= 0
    check_conservation(house)


def test_a_part_is_enough_where_the_whole_is_not():
    steep = [
        {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
        {"floor": "100000", "initial": "0.2", "maintenance": "0.1"},
    ]
    market = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000", "tiers": steep}
    costly = {"slippage": "0.01", "penalty": "0.015", "liquidator_share": "0.4"}
    house = opened(markets={**rulebook_markets(), "BTC-PERP": market}, liquidation=costly)
    fund(house, "ann", 90_000)
    house.apply(trade(10_000))
    event = liquidations(house.apply(prices(btc=42_200)))[0]
    assert 0 < position(house, "ann", "BTC-PERP").size < 10_000
    assert event.health_after >= 0


def rulebook_markets() -> dict:
    from tests.houses import INVERSE, JUMPING_TIERS, LINEAR, TIERS

    return {
        "BTC-PERP": {},
        "ETH-PERP": {**LINEAR, "lot": "0.01", "tick": "0.01", "tiers": TIERS},
        "BTC-INV": {**INVERSE, "max_price": "1000000", "tier_unit": "contracts", "tiers": TIERS},
        "BTC-OKX": {**LINEAR, "tier_kind": "whole_position", "tier_unit": "base", "tiers": JUMPING_TIERS},
    }


def test_the_fund_buys_the_asset_that_is_owed_with_its_reporting_asset():
    house = opened()
    house.apply(TopUpFund(asset="USD", amount=usd(100_000)))
    fund(house, "ann", 0.03, "BTC")
    house.apply(trade(50_000, price=100_000, market="BTC-INV"))
    event = liquidations(house.apply(prices(btc=40_000)))[0]
    assert event.fund_paid > usd(5_000)
    assert event.bad_debt == 0
    assert ledger(house, "bad_debt", "BTC") == 0
    spent = usd(100_000) - ledger(house, "insurance_fund")
    assert abs(spent - event.fund_paid) <= 400, "one unit of coin came from what rounding had given the fund"
    check_conservation(house)


@given(
    peak=st.integers(1, 10**6), rise=st.integers(1, 1_000), fall=st.integers(1, 1_000), start=st.integers(-(10**6), 10)
)
def test_a_rise_before_a_stop_is_found_even_if_the_whole_is_not_enough(peak, rise, fall, start):
    def health_after(size):
        return start + min(size, peak) * rise - max(0, size - peak) * fall

    found = smallest_sufficient(2 * peak, health_after, [peak])
    enough = [size for size in (found,) if health_after(size) >= 0]
    if health_after(peak) >= 0:
        assert enough == [found]
        assert found == 1 or health_after(found - 1) < 0
    else:
        assert found == 2 * peak
