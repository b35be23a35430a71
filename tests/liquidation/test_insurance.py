import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InputError
from marginkeep.liquidation.insurance import (
    DAY_NS,
    Fund,
    Replenishment,
    answering_funds,
    bankruptcy_quote,
    fund_delta,
    replenishment,
    sizing,
)
from marginkeep.rulebook.ladder_rules import FundRules
from marginkeep.units import RATE_ONE

RULES = FundRules("coins", ("BTC-PERP", "ETH-PERP"), most_an_event=300, most_a_day=1_000)
LAST = FundRules("all", (), most_an_event=100, most_a_day=100)
OTHER = FundRules("metals", ("GOLD-PERP",), most_an_event=1, most_a_day=1)


def test_a_fund_pays_within_its_balance_and_its_cap_of_an_event():
    fund = Fund()
    assert fund.payable(RULES, balance=50, wanted=80, now_ns=0) == 50
    assert fund.payable(RULES, balance=5_000, wanted=80, now_ns=0) == 80
    assert fund.payable(RULES, balance=5_000, wanted=800, now_ns=0) == 300
    assert fund.payable(RULES, balance=5_000, wanted=800, now_ns=0, paid_before=120) == 180
    assert fund.payable(RULES, balance=-5, wanted=800, now_ns=0) == 0


def test_a_day_has_its_own_cap_and_ends_at_midnight():
    fund, evening = Fund(), 20 * DAY_NS - 1
    for _ in range(3):
        fund.note_paid(fund.payable(RULES, 5_000, 800, evening), evening)
    assert fund.paid_today(evening) == 900
    assert fund.payable(RULES, 5_000, 800, evening) == 100
    assert fund.payable(RULES, 5_000, 800, evening + 1) == 300


@given(
    st.lists(st.tuples(st.integers(0, 3 * DAY_NS), st.integers(0, 900)), max_size=30),
    st.integers(0, 30),
)
def test_no_day_pays_more_than_its_cap_and_a_restored_fund_goes_on_alike(events, cut):
    fund, by_day = Fund(), {}
    for number, (now_ns, wanted) in enumerate(sorted(events)):
        if number == cut:
            restored = Fund()
            restored.restore(fund.save())
            fund = restored
        paid = fund.payable(RULES, 10**9, wanted, now_ns)
        fund.note_paid(paid, now_ns)
        assert paid == min(wanted, 300, 1_000 - by_day.get(now_ns // DAY_NS, 0))
        by_day[now_ns // DAY_NS] = by_day.get(now_ns // DAY_NS, 0) + paid
    assert all(paid <= RULES.most_a_day for paid in by_day.values())


def test_paying_nothing_leaves_no_trace():
    fund = Fund()
    fund.note_paid(0, 5 * DAY_NS)
    assert fund.save() == Fund().save()


def test_the_pool_of_the_largest_loss_answers_before_the_last_fund():
    funds = (RULES, LAST, OTHER)
    assert answering_funds(funds, {"BTC-PERP": 10, "GOLD-PERP": 9}) == (0, 1)
    assert answering_funds(funds, {"BTC-PERP": 10, "GOLD-PERP": 11}) == (2, 1)
    assert answering_funds(funds, {"GOLD-PERP": 10, "BTC-PERP": 10}) == (0, 1)
    assert answering_funds(funds, {"BTC-PERP": -10, "OIL-PERP": 4}) == (1,)
    assert answering_funds(funds, {"BTC-PERP": -10}) == (1,)
    assert answering_funds((RULES,), {"ETH-PERP": 1}) == (0,)
    assert answering_funds((), {"ETH-PERP": 1}) == ()


def test_a_bankruptcy_quote_is_rounded_against_whoever_closes():
    assert bankruptcy_quote(-5_000, -100, 500, 500) == 5_100
    assert bankruptcy_quote(-5_000, 100, 500, 500) == 4_900
    assert bankruptcy_quote(-1_000, 100, 300, 100) == 967
    assert bankruptcy_quote(1_000, -100, 300, 100) == -966


def test_the_fund_takes_a_gain_up_to_the_fee_and_bears_all_of_a_loss():
    assert fund_delta(5_610, 5_100, RATE_ONE // 200) == 28
    assert fund_delta(5_105, 5_100, RATE_ONE // 200) == 5
    assert fund_delta(5_000, 5_100, RATE_ONE // 200) == -100
    assert fund_delta(-4_000, -4_900, RATE_ONE // 200) == 20


def test_a_fund_is_full_again_after_whole_days_of_mean_income():
    assert replenishment(400, 1_000, [100, 0, 50]) == Replenishment(600, 50, 12)
    assert replenishment(399, 1_000, [100, 0, 50]) == Replenishment(601, 50, 13)
    assert replenishment(1_000, 1_000, []) == Replenishment(0, 0, 0)
    assert replenishment(0, 1_000, [5, -5]) == Replenishment(1_000, 0, None)


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=40), st.integers(1, RATE_ONE))
def test_a_sizing_is_the_least_observed_sum_that_covers_the_share(losses, quantile):
    def covers(amount: int) -> bool:
        return sum(loss <= amount for loss in losses) * RATE_ONE >= quantile * len(losses)

    found = sizing(losses, quantile)
    assert found == min(loss for loss in losses if covers(loss))


def test_a_sizing_may_ask_for_several_days_in_a_row():
    losses = [0, 0, 70, 10, 0]
    assert sizing(losses, RATE_ONE) == 70
    assert sizing(losses, RATE_ONE, days=2) == 80
    assert sizing(losses, RATE_ONE // 4, days=2) == 0


@pytest.mark.parametrize(("losses", "quantile", "days"), [([], 1, 1), ([1], 0, 1), ([1], RATE_ONE + 1, 1), ([1], 1, 2)])
def test_a_sizing_without_meaning_is_refused(losses, quantile, days):
    with pytest.raises(InputError, match="give"):
        sizing(losses, quantile, days)
