from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.auction_presets import (
    RAY,
    WAD,
    EulerCollateral,
    MakerLoan,
    MakerLot,
    euler_liquidation,
    maker_lot,
    maker_purchase,
    maker_reward,
)
from marginkeep.liquidation.auction_queue import Running, Waiting, may_start, next_to_start
from marginkeep.liquidation.auctions import (
    Auction,
    Leg,
    after_bid,
    discount_now,
    expires_ns,
    first_bid_reward,
    insolvent_bid,
    insolvent_bonus,
    insolvent_payment,
    is_over,
    most_fraction,
    next_run,
    open_auction,
    restore_auction,
    slice_of_leg,
    slice_of_portfolio,
    slice_price,
    smallest_fraction,
    turn_insolvent,
)
from marginkeep.liquidation.incentive import healing_discount
from marginkeep.rulebook.ladder_rules import AuctionRules
from marginkeep.units import RATE_ONE

SECOND = 10**9
PERCENT = RATE_ONE // 100
RULES = AuctionRules(
    below_factor=RATE_ONE // 2,
    curve="linear",
    start=0,
    most=20 * PERCENT,
    illness=0,
    duration_ns=1000 * SECOND,
    step_ns=SECOND,
    cut=RATE_ONE,
    restarts=2,
    tip=100,
    chip=PERCENT,
    most_debt=1_000,
    most_debt_of_market=600,
)
AMOUNT = st.integers(1, 10**15)
NOTHING = Running(0, {})


def test_a_discount_is_that_of_the_curve_and_never_more_than_heals():
    auction = open_auction(7, 5 * SECOND)
    assert discount_now(auction, RULES, 505 * SECOND, RATE_ONE, RATE_ONE) == 10 * PERCENT
    assert discount_now(auction, RULES, 505 * SECOND, RATE_ONE, 3 * PERCENT) == 3 * PERCENT
    assert discount_now(auction, RULES, 505 * SECOND, RATE_ONE, -PERCENT) == 0
    assert discount_now(turn_insolvent(auction, 0), RULES, 505 * SECOND, RATE_ONE, RATE_ONE) == 0


def test_an_auction_asked_about_a_time_before_it_began_halts():
    with pytest.raises(InvariantViolation, match="account 7"):
        discount_now(open_auction(7, 5), RULES, 4, RATE_ONE, RATE_ONE)


@given(st.integers(0, 10**18), st.booleans(), st.lists(st.integers(0, 10**6), max_size=9))
def test_every_auction_ends_in_bounded_time_whatever_is_bid(now_ns, is_insolvent, bids):
    auction: Auction | None = open_auction(1, now_ns, is_insolvent)
    began_ns = ended_ns = now_ns
    while auction is not None:
        for value in bids:
            auction = after_bid(auction, value)
        ended_ns = expires_ns(auction, RULES)
        assert not is_over(auction, RULES, ended_ns - 1)
        assert is_over(auction, RULES, ended_ns)
        auction = next_run(auction, RULES, ended_ns)
    assert ended_ns - began_ns == RULES.duration_ns * (1 if is_insolvent else RULES.restarts + 1)


def test_a_restored_auction_is_the_same():
    auction = after_bid(replace(open_auction(3, 12), restarts=1), 40)
    for one in (auction, turn_insolvent(auction, 20)):
        assert restore_auction(one.save()) == one


def test_only_the_first_bid_of_an_auction_is_rewarded():
    auction = open_auction(1, 0)
    assert first_bid_reward(auction, RULES, 12_345) == 100 + 123
    assert first_bid_reward(after_bid(auction, 5), RULES, 12_345) == 0
    restarted = next_run(after_bid(auction, 5), RULES, expires_ns(auction, RULES))
    assert restarted is not None
    assert first_bid_reward(restarted, RULES, 12_345) == 0


@given(st.integers(1, 10**9), st.integers(0, RATE_ONE - 1), st.booleans())
def test_a_price_gives_at_most_the_discount_and_at_most_a_tick_less(mark, discount, selling):
    price = slice_price(mark, discount, selling)
    given_up = mark - price if selling else price - mark
    exact = Fraction(mark * discount, RATE_ONE)
    assert exact - 1 < given_up <= exact
    assert price >= 1


@given(AMOUNT, AMOUNT, AMOUNT, st.integers(0, RATE_ONE // 2), st.integers(0, 100))
def test_the_largest_share_reaches_the_target_and_one_rate_step_less_does_not(
    collateral, requirement, value, discount, reward
):
    def health_after(fraction: int) -> Fraction:
        share = Fraction(fraction, RATE_ONE)
        cost = share * value * Fraction(discount, RATE_ONE) + reward
        return collateral - cost - requirement * (1 - share)

    fraction = most_fraction(collateral, requirement, value, discount, reward)
    assert 0 <= fraction <= RATE_ONE
    if collateral >= requirement:
        assert fraction == 0
    else:
        assert fraction == RATE_ONE or health_after(fraction) >= 0
        assert health_after(fraction - 1) < 0


def test_a_share_that_cannot_reach_the_target_is_the_whole():
    assert most_fraction(0, 100, 1_000, 10 * PERCENT) == RATE_ONE
    assert most_fraction(10, 100, 1_000, PERCENT) == RATE_ONE
    assert most_fraction(55, 100, 1_000, PERCENT) == RATE_ONE // 2


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_the_smallest_share_agrees_with_the_closed_form_where_requirements_are_linear(collateral, requirement, cost):
    assume(collateral < requirement and cost < requirement)

    def health_after(fraction: int) -> int:
        return (collateral - requirement) * RATE_ONE + fraction * (requirement - cost)

    assert smallest_fraction(health_after) == most_fraction(collateral, requirement, cost * RATE_ONE, 1)


def test_a_slice_is_a_share_of_every_leg_rounded_down():
    legs = [Leg(0, 1_000, 50_000), Leg(1, -37, 3_700), Leg(2, 0, 0)]
    assert slice_of_portfolio(legs, RATE_ONE // 10) == (100, 3, 0)
    assert slice_of_portfolio(legs, RATE_ONE) == (1_000, 37, 0)
    assert slice_of_portfolio(legs, 0) == (0, 0, 0)
    assert slice_of_portfolio([], RATE_ONE) == ()


def test_a_slice_too_small_for_any_leg_takes_a_lot_of_the_largest():
    legs = [Leg(0, 10, 500), Leg(1, -20, 900), Leg(2, 5, 900)]
    assert slice_of_portfolio(legs, 1) == (0, 1, 0)


def test_no_slice_leaves_dust():
    legs = [Leg(0, 1_000, 50_000), Leg(1, -37, 3_700)]
    assert slice_of_portfolio(legs, RATE_ONE * 8 // 10, dust=1_000) == (800, 37)
    assert slice_of_portfolio(legs, RATE_ONE // 1_000, dust=10**6) == (1_000, 0)
    assert slice_of_leg(legs[1], 30, 33, dust=700) == 30
    assert slice_of_leg(legs[1], 31, 33, dust=700) == 37
    assert slice_of_leg(legs[1], 50, 33) == 33
    assert slice_of_leg(legs[1], 50, 99) == 37


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(0, 100)), max_size=5), st.integers(1, RATE_ONE))
def test_bids_of_any_share_come_to_an_end(rows, fraction):
    legs = [Leg(index, size, abs(size) * price) for index, (size, price) in enumerate(rows)]
    lots = sum(abs(leg.size) for leg in legs)
    taken = slice_of_portfolio(legs, fraction)
    assert all(0 <= part <= abs(leg.size) for part, leg in zip(taken, legs, strict=True))
    assert (sum(taken) >= 1) == (lots >= 1)


def test_an_insolvent_account_is_offered_from_its_hole_to_all_it_requires():
    bids = [insolvent_bid(-100, -300, seconds, 600) for seconds in (0, 12, 300, 600, 9_999)]
    assert bids == [-100, -104, -200, -300, -300]
    assert insolvent_bid(50, -300, 0, 600) == 0
    assert insolvent_bid(-100, 0, 300, 600) == 0
    assert insolvent_payment(-104, RATE_ONE // 2) == 52
    assert [insolvent_bonus(-100, bid) for bid in bids] == [0, 4, 100, 200, 200]
    assert insolvent_bonus(50, -20) == 20


@given(st.integers(-(10**12), -1), st.integers(0, 10**12), st.integers(0, 1_000), st.integers(0, 1_000))
def test_the_fund_never_pays_less_for_waiting_nor_more_than_the_requirement_beyond_the_hole(
    equity, requirement, early, longer
):
    health = equity - requirement
    first, later = (insolvent_bid(equity, health, seconds, 600) for seconds in (early, early + longer))
    assert health <= later <= first <= equity


def waiting(account: int, ill_since_ns: int, **values: int) -> Waiting:
    return Waiting(ill_since_ns, account, tuple((int(name[1:]), value) for name, value in values.items()))


def test_who_has_been_ill_longest_is_first_and_then_the_lower_index():
    rows = [waiting(9, 5, m0=100), waiting(4, 5, m1=100), waiting(1, 6, m2=100), waiting(8, 4, m3=100)]
    assert next_to_start(rows, NOTHING, RULES) == [8, 4, 9, 1]


def test_a_portfolio_waits_for_room_in_all_and_in_each_market():
    running = NOTHING.plus([(0, 500), (1, 300)])
    assert may_start(100, {0: 100}, running.total, running.by_market, RULES)
    assert not may_start(101, {0: 101}, running.total, running.by_market, RULES)
    assert may_start(200, {2: 200}, running.total, running.by_market, RULES)
    assert not may_start(201, {2: 201}, running.total, running.by_market, RULES)


def test_a_portfolio_larger_than_every_cap_starts_where_nothing_runs():
    assert may_start(5_000, {0: 5_000}, 0, {}, RULES)
    assert next_to_start([waiting(1, 0, m0=5_000), waiting(2, 0, m1=1)], NOTHING, RULES) == [1]


def test_nobody_overtakes_in_a_market_that_an_earlier_account_waits_for():
    running = NOTHING.plus([(0, 500)])
    rows = [waiting(1, 0, m0=200, m1=10), waiting(2, 1, m1=10), waiting(3, 2, m2=10)]
    assert next_to_start(rows, running, RULES) == [3]


def test_nobody_overtakes_one_who_waits_for_room_in_all():
    running = NOTHING.plus([(0, 500)])
    rows = [waiting(1, 0, m1=550), waiting(2, 1, m2=10)]
    assert next_to_start(rows, running, RULES) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 3), st.integers(1, 900)),
        unique_by=lambda row: row[1],
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_all_who_wait_start_in_the_end_in_an_order_that_does_not_depend_on_their_listing(rows, random):
    queue = [Waiting(ill, account, ((market, value),)) for ill, account, market, value in rows]
    shuffled = list(queue)
    random.shuffle(shuffled)
    assert next_to_start(queue, NOTHING, RULES) == next_to_start(shuffled, NOTHING, RULES)
    for _ in range(len(rows) + 1):
        started = next_to_start(queue, NOTHING, RULES)
        assert started or not queue
        if started:
            assert started[0] == min(queue).account
        queue = [row for row in queue if row.account not in started]
    assert queue == []


@given(AMOUNT, AMOUNT, AMOUNT, st.integers(1, RATE_ONE), st.integers(0, 2_000))
def test_a_bid_at_the_discount_now_never_lowers_the_health_factor(collateral, requirement, value, fraction, seconds):
    released = requirement * fraction // RATE_ONE
    assume(0 < released < requirement and collateral < requirement)
    closed = value * fraction // RATE_ONE + 1
    factor = collateral * RATE_ONE // requirement
    healing = healing_discount(collateral, requirement, closed, released)
    rate = discount_now(open_auction(1, 0), RULES, seconds * SECOND, factor, healing)
    cost = Fraction(closed * rate, RATE_ONE)
    assert (collateral - cost) / (requirement - released) > Fraction(collateral, requirement)


def test_a_maker_purchase_shrinks_to_leave_no_dust_or_must_take_all():
    assert maker_purchase(100 * RAY, 10, 20 * RAY, 4, 30 * RAY) == (70 * RAY, 3, 30 * RAY, 7, False, 0, 0)
    assert maker_purchase(30 * RAY, 10, 20 * RAY, 1, 30 * RAY) is None
    assert maker_purchase(30 * RAY, 10, 20 * RAY, 10, 30 * RAY) == (30 * RAY, 1, 0, 9, True, 0, 9)
    assert maker_reward(100, WAD // 100, 5_000) == 150


LOAN = MakerLoan(40, 100, RAY, 2 * RAY, 20 * RAY, WAD, 1_000 * RAY, 0, 1_000 * RAY, 0)


def test_a_maker_lot_fits_under_the_caps_and_leaves_no_dust():
    assert maker_lot(LOAN) == MakerLot(100, 40, 100 * RAY)
    assert maker_lot(LOAN._replace(running_debt=950 * RAY)) == MakerLot(50, 20, 50 * RAY)
    assert maker_lot(LOAN._replace(running_debt_of_kind=915 * RAY)) == MakerLot(100, 40, 100 * RAY)
    assert maker_lot(LOAN._replace(running_debt=985 * RAY)) == "dusty"
    assert maker_lot(LOAN._replace(running_debt=1_000 * RAY)) == "limit_hit"
    assert maker_lot(LOAN._replace(collateral=50)) == "not_unsafe"
    assert maker_lot(LOAN._replace(collateral=1, running_debt=950 * RAY)) == "null_auction"
    assert maker_lot(LOAN._replace(penalty=WAD * 113 // 100)) == MakerLot(100, 40, 113 * RAY)


def test_an_euler_loan_is_healthy_above_its_debt_and_a_worthless_holding_is_free():
    coin, nothing = EulerCollateral(10**19, WAD, 9_000), EulerCollateral(5, 0, 9_000)
    assert euler_liquidation(8 * WAD, WAD, [coin], 0, 2_000) is None
    assert euler_liquidation(9 * WAD, WAD, [coin], 0, 2_000) is not None
    step = euler_liquidation(10 * WAD, WAD, [coin, nothing], 1, 2_000)
    assert step is not None
    assert (step.repay, step.seized, step.socialised) == (0, 5, 0)
