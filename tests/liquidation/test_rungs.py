from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.houses import usd
from tests.liquidation.holdings import holding, valued

from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.rungs import (
    LEGAL,
    Standing,
    health_factor,
    next_rung,
    require_legal,
    standing_of,
)
from marginkeep.margin.solvency import Measure
from marginkeep.rulebook.ladder_rules import (
    AUCTION,
    BANKRUPT,
    CALLED,
    CLOSED,
    HEALTHY,
    PARTIAL,
    RUNGS,
    SOFT,
    AuctionRules,
    CallRules,
    LadderRules,
    SoftRules,
)
from marginkeep.units import RATE_ONE

CALLS = CallRules(100, (), RATE_ONE, RATE_ONE // 2, 0)
PACE = SoftRules(10, 60, 0, 0, 800_000_000)
AUCTIONS = AuctionRules(500_000_000, "linear", 0, 0, 0, 60, 5, RATE_ONE - 1, 1, 0, 0, 0, 0)


def ladder(calls=CALLS, soft=PACE, auctions=AUCTIONS):
    return LadderRules(calls, soft, auctions, (), (), 0, 0, None, None)


FULL = ladder()


def standing(collateral, call=125, maintenance=100, target=150, equity=None):
    levels = (Measure(collateral, required) for required in (call, maintenance, target))
    return Standing(*levels, collateral if equity is None else equity)


def rung(now, collateral, rules=FULL, at=0, deadline=100, **levels):
    found = standing(collateral, **levels)
    return next_rung(now, found, health_factor(found.maintenance), rules, at, deadline)


def test_each_level_of_illness_has_its_rung():
    assert [rung(HEALTHY, collateral) for collateral in (150, 125, 124, 100, 99, 80, 79, 50, 49, 0, -1)] == [
        *(HEALTHY, HEALTHY, CALLED, CALLED, SOFT, SOFT, PARTIAL, PARTIAL, AUCTION, AUCTION, BANKRUPT),
    ]


def test_a_call_is_cancelled_only_by_reaching_the_target():
    assert rung(CALLED, 149) == CALLED
    assert rung(CALLED, 150) == HEALTHY


def test_a_call_that_expires_begins_soft_liquidation_or_without_it_a_partial_one():
    assert rung(CALLED, 110, at=99) == CALLED
    assert rung(CALLED, 110, at=100) == SOFT
    assert rung(CALLED, 110, ladder(soft=None), at=100) == PARTIAL


def test_below_maintenance_a_call_does_not_wait_for_its_deadline():
    assert rung(CALLED, 99) == SOFT
    assert rung(CALLED, 40) == AUCTION


def test_without_calls_nobody_is_called():
    assert rung(HEALTHY, 110, ladder(calls=None)) == HEALTHY
    assert rung(HEALTHY, 99, ladder(calls=None)) == SOFT


def test_a_call_stands_though_the_rules_adopted_meanwhile_have_none():
    assert rung(CALLED, 110, ladder(calls=None)) == CALLED
    assert rung(CALLED, 110, ladder(calls=None), at=100) == SOFT


def test_forced_action_goes_on_until_call_and_target_hold():
    assert [rung(SOFT, collateral) for collateral in (99, 120, 149, 150)] == [SOFT, SOFT, SOFT, HEALTHY]
    assert [rung(PARTIAL, collateral) for collateral in (99, 120, 149, 150)] == [PARTIAL, PARTIAL, PARTIAL, HEALTHY]
    assert rung(AUCTION, 99) == rung(AUCTION, 149) == AUCTION
    assert rung(SOFT, 160, call=170) == SOFT


def test_worse_health_moves_up_at_once():
    assert (rung(SOFT, 79), rung(SOFT, 49), rung(PARTIAL, 49)) == (PARTIAL, AUCTION, AUCTION)
    assert [rung(now, -1) for now in range(CLOSED)] == [BANKRUPT] * CLOSED


def test_a_bankrupt_account_that_recovers_is_reduced_auctioned_or_healed():
    assert [rung(BANKRUPT, collateral) for collateral in (0, 90, 120, 150)] == [AUCTION, PARTIAL, PARTIAL, HEALTHY]


def test_rungs_that_adopted_rules_no_longer_have_become_partial():
    bare = ladder(soft=None, auctions=None)
    assert rung(SOFT, 90, bare) == rung(SOFT, 120, bare) == PARTIAL
    assert rung(AUCTION, 40, bare) == rung(AUCTION, 120, bare) == PARTIAL


NOTHING = {"call": 0, "maintenance": 0, "target": 0}


def test_an_account_with_nothing_left_is_closed_until_its_owner_begins_anew():
    assert [rung(now, 0, **NOTHING) for now in range(len(RUNGS))] == [HEALTHY, HEALTHY, *(CLOSED,) * 5]
    assert rung(CLOSED, 1, **NOTHING) == HEALTHY
    assert rung(CLOSED, 110) == CALLED


def test_a_called_account_without_a_deadline_is_impossible():
    with pytest.raises(InvariantViolation, match="no deadline"):
        rung(CALLED, 110, deadline=None)


def test_every_transition_outside_the_table_is_impossible():
    for now, after in product(range(len(RUNGS)), repeat=2):
        if now == after or after in LEGAL[now]:
            require_legal(now, after)
        else:
            with pytest.raises(InvariantViolation, match=f"from {RUNGS[now]} to {RUNGS[after]}"):
                require_legal(now, after)


def test_danger_never_comes_down_but_to_healthy_or_out_of_bankruptcy():
    for now in (CALLED, SOFT, PARTIAL):
        assert all(after > now for after in LEGAL[now] if after != HEALTHY)
    assert CALLED not in LEGAL[BANKRUPT] + LEGAL[AUCTION]
    assert SOFT not in LEGAL[BANKRUPT] + LEGAL[AUCTION]


def test_the_health_factor_is_rounded_down_and_needs_a_requirement():
    assert health_factor(Measure(2, 3)) == 666_666_666
    assert health_factor(Measure(-2, 3)) == 0
    assert health_factor(Measure(5, 0)) == health_factor(Measure(0, 0)) == RATE_ONE
    assert health_factor(Measure(-1, 0)) == 0


def test_an_account_is_measured_at_the_three_levels_and_by_its_equity():
    valuation = valued(btc=49_400)
    account = holding(valuation, 1_119, ("BTC-PERP", 1_000, 500_000))
    found = standing_of(account, valuation)
    required = [found.call.requirement, found.maintenance.requirement, found.target.requirement]
    assert required == [usd(617.5), usd(494), usd(741)]
    assert found.equity == found.target.collateral == usd(519)
    assert not found.is_healed
    assert not found.is_empty


AMOUNTS = st.integers(-20, 220)
RULES = st.builds(
    ladder, st.sampled_from([CALLS, None]), st.sampled_from([PACE, None]), st.sampled_from([AUCTIONS, None])
)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    """Draw measures of an account as the levels order them; its collateral weighs differently at each."""
    maintenance = draw(st.integers(0, 100))
    call, target = maintenance + draw(st.integers(0, 50)), maintenance + draw(st.integers(0, 50))
    collateral = draw(AMOUNTS)
    weighed = [collateral - draw(st.integers(0, 10)) for _ in range(2)]
    levels = (Measure(weighed[0], call), Measure(collateral, maintenance), Measure(weighed[1], target))
    return Standing(*levels, draw(st.one_of(st.just(collateral), AMOUNTS)))


@given(st.lists(st.tuples(standings(), RULES, st.integers(0, 200)), max_size=12))
def test_every_path_takes_legal_steps_and_is_healthy_again_only_when_both_levels_hold(path):
    now, clock, deadline = HEALTHY, 0, None
    for found, rules, passed in path:
        clock += passed
        after = next_rung(now, found, health_factor(found.maintenance), rules, clock, deadline)
        assert after == now or after in LEGAL[now]
        if after == HEALTHY and now not in (HEALTHY, CLOSED):
            assert found.is_healed or (rules.calls is None and found.target.health >= 0)
        if found.is_healed and not found.is_empty and found.equity >= 0:
            assert after == HEALTHY
        if found.maintenance.health < 0 and found.equity >= 0:
            assert after in (SOFT, PARTIAL, AUCTION)
        deadline = clock + CALLS.deadline_ns if after == CALLED and now != CALLED else deadline
        now = after


@given(st.integers(0, len(RUNGS) - 1), standings(), RULES, st.integers(0, 200))
def test_an_account_that_does_not_change_stays_on_its_rung(now, found, rules, clock):
    """No flapping: with the same figures a second look moves nothing, but for a deadline that has passed."""
    factor = health_factor(found.maintenance)
    after = next_rung(now, found, factor, rules, clock, 100)
    again = next_rung(after, found, factor, rules, clock, 100)
    assert again == after or (after == CALLED and now != CALLED and clock >= 100)
