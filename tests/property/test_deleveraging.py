"""Deleveraging against plain restatements in exact fractions, and what must hold of it whatever the book."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from marginkeep.book.account import SYSTEM
from marginkeep.book.fills import book_funding, fill_position
from marginkeep.book.health import equity
from marginkeep.book.limits import payoff_at
from marginkeep.liquidation.deleveraging import (
    Deleveraged,
    Winners,
    allocate,
    audit,
    bankruptcy_price,
    bankruptcy_prices,
    lights,
    overlaps,
)
from marginkeep.liquidation.deleveraging_filling import water_fill
from marginkeep.liquidation.deleveraging_order import falling
from marginkeep.margin.tiered import signed_value
from tests.property.strategies import houses, rulebooks, up_to, valuations, within

POLICIES = ("queue", "pro_rata", "risk_aware", "portfolio_aware")
LARGE = 2**52
policies = st.sampled_from(POLICIES)


@st.composite
def winners_of(
    draw: st.DrawFn, fewest: int = 0, most: int = 12, largest: int = LARGE, profitable: bool = False
) -> Winners:
    """Draw winners, small numbers and ties among them often."""
    count = draw(st.integers(fewest, most))
    kind = draw(st.sampled_from([4, 1_000, largest]))

    def column(values: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), np.int64)

    accounts = draw(st.sets(st.integers(0, 10**6), min_size=count, max_size=count))
    return Winners(
        accounts=np.array(sorted(accounts), np.int64),
        sizes=column(up_to(min(kind, 2**32))),
        profits=column(up_to(kind) if profitable else within(kind)),
        equities=column(within(kind)),
        notionals=column(up_to(kind)),
        relief=column(within(kind)),
    )


def rows_of(winners: Winners) -> list[dict[str, int]]:
    names = ("accounts", "sizes", "profits", "equities", "notionals", "relief")
    columns = [getattr(winners, name).tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def rank(row: dict[str, int]) -> tuple:
    """Rank by the definition: the smaller is closed first."""
    own = max(1, row["equities"])
    if row["profits"] > 0:
        return 0, -Fraction(row["profits"] * row["notionals"], own * own), row["accounts"]
    return 1, Fraction(-row["profits"], row["notionals"]), row["accounts"]


def rank_by_relief(row: dict[str, int]) -> tuple:
    first, second, account = rank(row)
    if row["relief"] >= 0:
        return first, 0, second, account
    return first, 1, Fraction(-row["relief"], row["sizes"]), account


def weight(row: dict[str, int], policy: str) -> int:
    base = row["profits"] if row["profits"] > 0 else row["sizes"]
    if policy == "pro_rata":
        return base
    return min(2**62, -(-base * row["notionals"] // max(1, row["equities"])))


def level_shares(weights: list[int], caps: list[int], amount: int) -> list[Fraction]:
    """Fill in rounds: everyone at the level of the round, those above their cap are fixed and leave."""
    shares = [Fraction(0)] * len(caps)
    left, inside = Fraction(amount), [row for row in range(len(caps)) if caps[row]]
    while inside and left:
        level = left / sum(weights[row] for row in inside)
        full = [row for row in inside if level * weights[row] >= caps[row]]
        if not full:
            for row in inside:
                shares[row] = level * weights[row]
            break
        for row in full:
            shares[row] = Fraction(caps[row])
            left -= caps[row]
        inside = [row for row in inside if row not in full]
    return shares


def plain_water_fill(weights: list[int], caps: list[int], amount: int) -> list[int]:
    shares = level_shares(weights, caps, min(amount, sum(caps)))
    lots = [int(share) for share in shares]
    order = sorted(range(len(lots)), key=lambda row: (lots[row] - shares[row], row))
    for row in order[: min(amount, sum(caps)) - sum(lots)]:
        lots[row] += 1
    return lots


def plain_allocation(policy: str, winners: Winners, lots: int) -> list[int]:
    rows = rows_of(winners)
    closed = [0] * len(rows)
    if policy in ("queue", "portfolio_aware"):
        by = rank if policy == "queue" else rank_by_relief
        for row in sorted(range(len(rows)), key=lambda row: by(rows[row])):
            closed[row] = min(lots, rows[row]["sizes"])
            lots -= closed[row]
        return closed
    for stage in (True, False):
        chosen = [row for row, one in enumerate(rows) if (one["profits"] > 0) is stage]
        weights, caps = [weight(rows[row], policy) for row in chosen], [rows[row]["sizes"] for row in chosen]
        for row, share in zip(chosen, plain_water_fill(weights, caps, lots), strict=True):
            closed[row] = share
        lots -= sum(closed[row] for row in chosen)
    return closed


def some_lots(data: st.DataObject, winners: Winners) -> int:
    return data.draw(up_to(int(winners.sizes.sum()) + 2, 0))


@given(policies, winners_of(), st.data())
def test_every_policy_is_its_plain_restatement(policy, winners, data):
    lots = some_lots(data, winners)
    assert allocate(policy, winners, lots).tolist() == plain_allocation(policy, winners, lots)


@given(policies, winners_of(), st.data())
def test_exactly_what_is_needed_is_closed_and_nobody_gives_more_than_it_holds(policy, winners, data):
    lots = some_lots(data, winners)
    eligible = np.array([data.draw(st.booleans()) for _ in range(len(winners))], np.bool_)
    closed = allocate(policy, winners, lots, eligible)
    assert closed.sum() == min(lots, winners.sizes[eligible].sum())
    assert (closed >= 0).all()
    assert (closed <= winners.sizes).all()
    assert not closed[~eligible].any()
    gains = eligible & (winners.profits > 0)
    if closed[~gains].any():
        assert (closed[gains] == winners.sizes[gains]).all(), "those without a profit only follow"


@given(
    st.lists(st.tuples(up_to(2**62, 0), up_to(2**62, 0), up_to(2**62), up_to(2**62)), max_size=20),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)), max_size=20),
)
def test_ratios_are_ordered_exactly(large, small):
    rows = [*large, *small, *((a, b, c, max(1, d - 1)) for a, b, c, d in large)]
    a, b, c, d = (np.array(column, np.int64) for column in zip(*rows, strict=True)) if rows else [np.zeros(0, int)] * 4
    wanted = sorted(range(len(rows)), key=lambda row: -Fraction(int(a[row]) * int(b[row]), int(c[row]) * int(d[row])))
    assert falling((a, b), (c, d)).tolist() == wanted
    wanted = sorted(range(len(rows)), key=lambda row: -Fraction(int(a[row]), int(c[row])))
    assert falling((a,), (c,)).tolist() == wanted


@given(st.lists(st.tuples(up_to(2**62), up_to(2**56, 0)), min_size=1, max_size=30), st.data())
def test_water_filling_is_within_one_of_the_exact_level(rows, data):
    weights, caps = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    amount = data.draw(up_to(int(caps.sum()), 0))
    filled = water_fill(weights, caps, amount).tolist()
    shares = level_shares(weights.tolist(), caps.tolist(), amount)
    assert all(abs(got - share) < 1 for got, share in zip(filled, shares, strict=True))
    assert sum(filled) == amount
    assert filled == plain_water_fill(weights.tolist(), caps.tolist(), amount)


@given(winners_of(fewest=1, most=8, largest=2**40), st.integers(2, 6), st.data())
def test_splitting_an_account_does_not_change_its_total_under_pro_rata(winners, parts, data):
    row = data.draw(st.integers(0, len(winners) - 1))
    columns = {name: getattr(winners, name).copy() for name in ("sizes", "profits", "equities", "notionals", "relief")}
    for column in columns.values():
        column[row] = min(abs(int(column[row])), 2**29) * parts or parts
    whole = Winners(winners.accounts * 10, **columns)
    copies = np.where(np.arange(len(winners)) == row, parts, 1)
    pieces = {name: np.repeat(column // copies, copies) for name, column in columns.items()}
    offsets = np.concatenate([np.arange(count) for count in copies])
    split = Winners(np.repeat(winners.accounts * 10, copies) + offsets, **pieces)
    lots = some_lots(data, whole)
    before, after = allocate("pro_rata", whole, lots), allocate("pro_rata", split, lots)
    own = slice(row, row + parts)
    assert abs(int(before[row]) - int(after[own].sum())) <= parts
    others = np.abs(np.delete(before, row) - np.delete(after, np.arange(row, row + parts)))
    assert (others <= 1).all()


@given(policies, winners_of(), st.randoms(use_true_random=False), st.data())
def test_who_holds_a_position_does_not_matter_but_for_ties(policy, winners, random, data):
    order = list(range(len(winners)))
    random.shuffle(order)
    columns = [getattr(winners, name)[order] for name in ("sizes", "profits", "equities", "notionals", "relief")]
    moved = Winners(winners.accounts, *columns)
    lots = some_lots(data, winners)
    before, after = allocate(policy, winners, lots)[order], allocate(policy, moved, lots)
    if policy in ("pro_rata", "risk_aware"):
        assert (np.abs(before - after) <= 1).all()
        return
    by = rank if policy == "queue" else rank_by_relief
    ranks = [by(row)[:-1] for row in rows_of(moved)]
    for row in np.flatnonzero(before != after):
        assert ranks.count(ranks[row]) > 1


@given(winners_of(fewest=1, profitable=True), st.data())
def test_a_small_change_of_a_profit_changes_pro_rata_little(winners, data):
    lots = some_lots(data, winners)
    row = data.draw(st.integers(0, len(winners) - 1))
    profits = winners.profits.copy()
    profits[row] += 1
    raised = Winners(winners.accounts, winners.sizes, profits, winners.equities, winners.notionals, winners.relief)
    before, after = allocate("pro_rata", winners, lots), allocate("pro_rata", raised, lots)
    part = before < winners.sizes
    level = min(
        (Fraction(int(x) + 1, int(w)) for x, w in zip(before[part], winners.profits[part], strict=True)), default=0
    )
    assert all(abs(int(change)) <= level + 2 for change in after - before)


@given(policies, winners_of(), st.data())
def test_one_lot_more_takes_from_nobody_less_than_before_but_for_a_rounded_lot(policy, winners, data):
    lots = some_lots(data, winners)
    change = allocate(policy, winners, lots + 1) - allocate(policy, winners, lots)
    assert (change >= (0 if policy in ("queue", "portfolio_aware") else -1)).all()


@given(policies, winners_of())
def test_lights_follow_the_lots_before(policy, winners):
    shown = lights(policy, winners)
    assert ((shown >= 1) & (shown <= 5)).all()
    if policy == "queue" and len(winners):
        rows, total = rows_of(winners), int(winners.sizes.sum())
        for row, one in enumerate(rows):
            before = sum(other["sizes"] for other in rows if rank(other) < rank(one))
            assert shown[row] == 5 - 5 * before // total


@given(
    st.lists(st.integers(1, 10**12), min_size=1, max_size=12).map(lambda found: sorted(found, reverse=True)),
    st.data(),
)
def test_the_top_winner_keeps_less_under_the_queue_by_the_identity(profits, data):
    """In profit space (a lot is a unit of profit) the gap is `H * (1 - w1 / U)` for a budget H of at most w1."""
    budget = data.draw(st.integers(0, profits[0]))
    ones = np.ones(len(profits), np.int64)
    column = np.array(profits, np.int64)
    space = Winners(np.arange(len(profits)), column, column, ones, ones, ones)
    queue, pro_rata = allocate("queue", space, budget), allocate("pro_rata", space, budget)
    gap = int(queue[0]) - int(pro_rata[0])
    assert abs(gap - budget * (1 - Fraction(profits[0], sum(profits)))) < 1


@given(policies, winners_of(), st.fractions(-1000, 1000), st.data())
def test_an_audit_agrees_with_the_allocation(policy, winners, per_lot, data):
    lots = some_lots(data, winners)
    closed = allocate(policy, winners, lots)
    figures = audit([Deleveraged(lots, winners.accounts, closed, per_lot, per_lot, Fraction(7))])
    assert figures.closed == closed.sum()
    assert figures.taken == figures.haircuts.sum()
    assert figures.taken - figures.needed == figures.over - figures.under
    exact = [int(one) * per_lot for one in closed[closed > 0]]
    assert all(abs(got - want) < 1 for got, want in zip(figures.haircuts.tolist(), exact, strict=True))
    if closed.sum() == lots:
        assert (figures.over, figures.under) == (0, 0)


@given(winners_of(), st.fractions(-(10**6), 10**6), st.data())
def test_who_overlaps_keeps_equity_whatever_part_is_closed(winners, haircut, data):
    bears = overlaps(winners, haircut)
    for row, one in enumerate(rows_of(winners)):
        assert bears[row] == (one["equities"] - haircut * one["sizes"] >= 0)
        part = data.draw(st.integers(0, one["sizes"]))
        if bears[row] and one["equities"] >= 0:
            assert one["equities"] - haircut * part >= 0


@given(houses())
def test_closing_everything_at_its_bankruptcy_price_leaves_nothing_or_barely_more(house):
    valuation, (account,) = house
    assume(account.mode != SYSTEM)
    before = equity(account, valuation)
    prices = bankruptcy_prices(account, valuation)
    assume(None not in prices.values())
    after, slack = account.copy(), Fraction(len(account.balances) + 1)
    for index, price in prices.items():
        market, position = valuation.tables.markets[index], after.positions[index]
        size = position.size
        worse = price + (-1 if size > 0 else 1)
        x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
        if worse < 1:
            slack += abs(before) + abs(Fraction(signed_value(size, market.sign, *payoff_at(market, 1)) * x, y))
        else:
            ticks = [signed_value(size, market.sign, *payoff_at(market, ticks)) for ticks in (price, worse)]
            slack += Fraction((ticks[0] - ticks[1] + 1) * x, y) + 2
        paid, _ = book_funding(position, valuation.funding_index(index, size))
        fill = fill_position(market, position, -size, price)
        after.balances[market.settle] = after.balances.get(market.settle, 0) + paid + fill.realised
    left = equity(after, valuation)
    if prices:
        assert 0 <= left <= slack


@given(rulebooks().flatmap(valuations), st.data())
def test_the_bankruptcy_price_is_the_nearest_tick_that_does_not_fall_short(valuation, data):
    market = data.draw(st.sampled_from(valuation.tables.markets))
    size = data.draw(within(10**6).filter(bool))
    mark = valuation.marks[market.index]

    def worth(price: int) -> int:
        return signed_value(size, market.sign, *payoff_at(market, price))

    wanted = worth(mark) - data.draw(within(2 * abs(worth(mark)) + 10))
    price = bankruptcy_price(market, size, mark, worth(mark) - wanted)
    if price is None:
        beyond = market.sign < 0 and (wanted >= 0 if size > 0 else wanted <= 0)
        assert beyond or (size < 0 and worth(1) < wanted)
        return
    assert worth(price) >= wanted
    worse = price + (-1 if size > 0 else 1)
    assert worse < 1 or worth(worse) < wanted
