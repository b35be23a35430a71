from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from marginkeep.liquidation.impact import cost_rate, interval_began_ns, most_lots, slipped
from marginkeep.rulebook import LiquidationTerms
from marginkeep.rulebook.ladder_rules import ImpactRules
from marginkeep.units import RATE_ONE

TERMS = LiquidationTerms(2_000_000, 0, RATE_ONE // 2)
IMPACT = ImpactRules("BTC-PERP", 100_000, 10_000_000, RATE_ONE // 10, 10)


def test_without_a_stated_depth_only_slippage_is_charged():
    assert cost_rate(10**9, TERMS, None) == 2_000_000
    assert slipped(500_000, 10**9, TERMS, None, selling=True) == 499_000
    assert slipped(500_000, 10**9, TERMS, None, selling=False) == 501_000
    assert most_lots(None) is None


def test_closing_the_depth_moves_the_price_by_the_impact():
    assert cost_rate(100_000, TERMS, IMPACT) == 12_000_000
    assert slipped(500_000, 100_000, TERMS, IMPACT, selling=True) == 494_000
    assert slipped(500_000, 100_000, TERMS, IMPACT, selling=False) == 506_000
    assert cost_rate(10_000, TERMS, IMPACT) == 3_000_000


def test_the_budget_of_an_interval_is_a_share_of_the_depth():
    assert most_lots(IMPACT) == 10_000
    assert most_lots(IMPACT, 9_999) == 1
    assert most_lots(IMPACT, 10_001) == 0


def test_intervals_follow_each_other_from_time_zero():
    assert [interval_began_ns(IMPACT, now) for now in (0, 9, 10, 25)] == [0, 0, 10, 20]


def test_a_price_is_at_least_one_tick():
    assert slipped(1, 100_000, TERMS, IMPACT, selling=True) == 1
    assert slipped(500_000, 10**9, TERMS, IMPACT, selling=True) == 1


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**7),
    st.integers(0, RATE_ONE // 2),
    st.integers(0, RATE_ONE // 2),
    st.integers(1, 10**7),
    st.booleans(),
)
def test_prices_are_rounded_against_the_account_and_fall_with_size(mark, lots, slippage, impact, depth, selling):
    terms, rules = LiquidationTerms(slippage, 0, 0), ImpactRules("M", depth, impact, RATE_ONE, 1)
    rate = Fraction(slippage, RATE_ONE) + Fraction(impact * lots, RATE_ONE * depth)
    exact = mark * (1 - rate if selling else 1 + rate)
    price = slipped(mark, lots, terms, rules, selling)
    worse = slipped(mark, lots + 1, terms, rules, selling)
    within = 1 + Fraction(mark, RATE_ONE)
    if selling:
        assert price == 1 or exact - within < price <= exact
        assert 1 <= worse <= price
    else:
        assert exact <= price < exact + within
        assert worse >= price
