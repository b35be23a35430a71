"""Budgets of a market and interval: never exceeded by all together, shared in rotation; impact prices; dust."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clearing.ladder_world import lots_closed
from tests.clearing.test_margin_calls import START, at
from tests.clearing.test_soft_steps import lots_of
from tests.ladder_houses import check_books, fund, only, opened, prices, trade

from marginkeep.clearing import Clearinghouse, Liquidated
from marginkeep.units import RATE_ONE, ceil_div, rate_floor

IMPACT = {"BTC-PERP": {"depth": "1", "impact": "0.005", "share": "0.1", "interval": "10s"}}
LADDER = {"impact": IMPACT}
BUDGET = 100
"""Lots an interval: a tenth of a depth of 1 BTC."""

PACED = ("soft", "partial", "auction")
"""The rungs that budgets bound. A bankrupt account is closed whole: its owner can lose no more, others can."""

SOME = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def crowd(ladder: dict, lots: list[int]) -> Clearinghouse:
    """One long account for each entry, with 2,500 USD a BTC; Zoe is short against all."""
    house = opened(ladder)
    at(house, START)
    fund(house, "zoe", 50_000_000)
    for number, size in enumerate(lots):
        name = f"a{number:02d}"
        fund(house, name, 2.5 * size + number)
        trade(house, name, "zoe", size, 50_000)
    return house


def served(events: tuple) -> list[str]:
    """Who was reduced by one command, in order, each once."""
    return list(dict.fromkeys(event.account for event in only(events, Liquidated)))


def test_one_interval_closes_no_more_than_its_budget_and_the_next_goes_on_by_time_alone():
    house = crowd(LADDER, [1_000])
    assert lots_closed(house.apply(prices(47_850))) == BUDGET
    assert lots_of(house, "a00") == 900
    assert lots_closed(at(house, START + 9)) == 0
    assert lots_closed(house.apply(prices(47_849))) == 0
    assert lots_closed(at(house, START + 10)) == BUDGET
    assert lots_closed(at(house, START + 100)) == BUDGET
    for seconds in range(110, 300, 10):
        at(house, START + seconds)
    assert not house.state.ill
    assert lots_of(house, "a00") > 0


def test_closes_of_one_interval_share_the_impact_they_have_made():
    house = crowd(LADDER, [60, 1_000])
    events = only(house.apply(prices(47_800)), Liquidated)
    (first,), (second,) = events[0].steps, events[1].steps
    lots = abs(first.size), abs(second.size)
    for step, closed in ((first, lots[0]), (second, sum(lots))):
        slippage = 2_000_000 + ceil_div(5_000_000 * closed, 1_000)
        assert step.price == rate_floor(478_000, RATE_ONE - slippage)
    assert sum(lots) == BUDGET
    assert second.price < first.price


def test_holdings_are_not_sold_while_a_budget_bounds_the_closes():
    house = crowd(LADDER, [1_000])
    fund(house, "ben", 0.06, "BTC")
    trade(house, "ben", "zoe", 1_000, 50_000)
    trade(house, "zoe", "ben", 500, 49_000)
    trade(house, "ben", "zoe", 500, 49_000)
    steps = [step for event in only(house.apply(prices(47_500)), Liquidated) for step in event.steps]
    assert steps
    assert {step.what for step in steps} == {"close"}


def test_no_partial_close_leaves_dust_though_a_budget_bounds_it():
    """Dust is 3,000 USD, 62 lots: of 120 lots, 100 could be closed, 58 are, and the rest in one later interval."""
    house = crowd({"impact": IMPACT, "dust": "3000"}, [120])
    seen = [lots_closed(house.apply(prices(47_800)))]
    left = [lots_of(house, "a00")]
    for seconds in (10, 20, 30):
        seen.append(lots_closed(at(house, START + seconds)))
        left.append(lots_of(house, "a00"))
    assert all(lots == 0 or lots * 47.8 >= 3_000 for lots in left), left
    assert left[-1] == 0
    assert all(lots <= BUDGET for lots in seen)
    assert not house.state.ill


def test_a_budget_below_dust_still_closes_everything():
    house = crowd({"impact": IMPACT, "dust": "20000"}, [250])
    assert lots_closed(house.apply(prices(47_800))) == BUDGET
    for seconds in range(10, 60, 10):
        at(house, START + seconds)
    assert not house.state.ill
    assert lots_of(house, "a00") == 0


def test_accounts_are_served_in_turn():
    house = crowd(LADDER, [400] * 5)
    order = served(house.apply(prices(47_800)))
    for seconds in range(10, 100, 10):
        order += served(at(house, START + seconds))
    assert order[:10] == ["a00", "a01", "a02", "a03", "a04"] * 2


def test_the_newly_ill_do_not_set_the_turn_back():
    """Each interval one more falls ill, behind all others in order; nobody is passed over for long."""
    house = opened(LADDER)
    at(house, START)
    fund(house, "zoe", 50_000_000)
    for number in range(20):
        fund(house, f"a{number:02d}", 1_000 + 4 * number)
        trade(house, f"a{number:02d}", "zoe", 400, 50_000)
    order, price = [], 47_970.0
    for interval in range(20):
        order.append(served(house.apply(prices(price))))
        at(house, START + 10 * (interval + 1))
        price -= 10
    names = [name for group in order for name in group]
    gaps = [later - names.index(name) for name in set(names) for later in [_next(names, name)] if later]
    assert names
    assert max(gaps, default=0) <= 21


def _next(names: list[str], name: str) -> int | None:
    first = names.index(name)
    return names.index(name, first + 1) if name in names[first + 1 :] else None


@SOME
@given(
    st.lists(st.integers(20, 600), min_size=2, max_size=8),
    st.integers(47_300, 47_950),
    st.lists(st.tuples(st.integers(1, 14), st.integers(-60, 30)), max_size=15),
)
def test_budgets_hold_for_all_together_nobody_starves_and_all_is_resolved(sizes, price, path):
    house = crowd(LADDER, sizes)
    now, closed = START, {}

    def note(events) -> None:
        interval = now // 10
        closed[interval] = closed.get(interval, 0) + lots_closed(events, rungs=PACED)
        assert closed[interval] <= BUDGET
        check_books(house)

    note(house.apply(prices(price)))
    for seconds, change in path:
        now += seconds
        note(at(house, now))
        price += change
        note(house.apply(prices(price)))
    waiting = sorted(house.state.ill)
    order: list[str] = []
    for _ in range(ceil_div(sum(sizes), BUDGET) + len(sizes) + 1):
        if not house.state.ill:
            break
        now += 10
        events = at(house, now)
        note(events)
        order += served(events)
    assert not house.state.ill, f"{waiting} of {sizes} are still ill"
    turn = order[: len(waiting)]
    assert len(set(turn)) == len(turn) or len(set(turn)) == len(set(order)), f"{turn} before others of {waiting}"
