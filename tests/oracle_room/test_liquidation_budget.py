"""How much of a guarded market may be liquidated in one interval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.liquidation_budget import LiquidationBudget
from marginkeep.rulebook.oracle_rules import BreakerRules

SECOND = 10**9
TENTH = 100_000_000
RULES = BreakerRules((), TENTH, 60 * SECOND)


def spent(lots: int, now_ns: int) -> LiquidationBudget:
    budget = LiquidationBudget()
    budget.spend(lots, now_ns, RULES)
    return budget


def test_an_unused_budget_is_the_whole_share():
    assert LiquidationBudget().left(0, 1_005, RULES) == 100
    assert LiquidationBudget().renews_ns(RULES) == 0


def test_what_was_spent_is_missing_until_the_interval_is_over():
    budget = spent(40, 7 * SECOND)
    assert budget.renews_ns(RULES) == 67 * SECOND
    assert budget.left(67 * SECOND - 1, 1_000, RULES) == 60
    assert budget.left(67 * SECOND, 1_000, RULES) == 100


def test_an_interval_begins_with_its_first_use_not_with_the_end_of_the_last():
    budget = spent(40, 0)
    budget.spend(30, 100 * SECOND, RULES)
    assert budget.left(159 * SECOND, 1_000, RULES) == 70
    assert budget.left(160 * SECOND, 1_000, RULES) == 100


def test_spending_nothing_begins_no_interval():
    assert spent(0, SECOND).renews_ns(RULES) == 0


def test_a_market_that_shrinks_has_less_left():
    assert spent(40, 0).left(1, 500, RULES) == 10
    assert spent(40, 0).left(1, 300, RULES) == 0


@pytest.mark.parametrize("share", [0, 1, TENTH])
def test_one_lot_an_interval_is_always_allowed(share):
    rules = BreakerRules((), share, 60 * SECOND)
    budget = LiquidationBudget()
    assert budget.left(0, 3, rules) == 1
    budget.spend(1, 0, rules)
    assert budget.left(59 * SECOND, 3, rules) == 0
    assert budget.left(60 * SECOND, 3, rules) == 1


@given(st.lists(st.tuples(st.integers(0, 40 * SECOND), st.integers(0, 500)), max_size=40), st.integers(0, 10_000))
def test_no_interval_spends_more_than_its_share_and_a_restored_budget_goes_on(steps, interest):
    budget, now_ns, started_ns, used = LiquidationBudget(), 0, None, 0
    for gap, wanted in steps:
        now_ns += gap
        left = budget.left(now_ns, interest, RULES)
        lots = min(wanted, left)
        if lots and (started_ns is None or now_ns >= started_ns + RULES.liquidation_interval_ns):
            started_ns, used = now_ns, 0
        budget.spend(lots, now_ns, RULES)
        used += lots
        assert used <= max(1, interest // 10)
        twin = LiquidationBudget()
        twin.restore(budget.save())
        assert twin.save() == budget.save()
        assert twin.left(now_ns, interest, RULES) == budget.left(now_ns, interest, RULES)
