"""Fills and funding: no unit is made, none is lost, and no side is better off than exact arithmetic says."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book import Position
from marginkeep.book.fills import Fill, book_funding, cost_of, fill_position
from marginkeep.book.limits import prove_limits
from marginkeep.rulebook import MarketTable, build_tables
from marginkeep.units import RATE_ONE
from tests.oracle import exact
from tests.property.strategies import rulebooks, up_to, within

FUNDING_INDEX = within(2**60)


@st.composite
def trades(draw: st.DrawFn, most: int = 8) -> tuple[MarketTable, list[tuple[int, int]]]:
    """Draw a market and (size, price) fills of one account, each within the limits, some closing all that is held."""
    tables = build_tables(draw(rulebooks(markets=1)))
    limits = prove_limits(tables).markets[0]
    largest = max(1, limits.max_position // most)
    fills, held = [], 0
    for _ in range(draw(st.integers(1, most))):
        sizes = within(draw(st.sampled_from([largest, min(largest, 100)]))).filter(bool)
        size = draw(st.one_of(sizes, st.just(-held)) if held else sizes)
        fills.append((size, draw(up_to(limits.max_price, limits.min_price))))
        held += size
    return tables.markets[0], fills


def exact_cost(market: MarketTable, size: int, price: int, settle_unit: Fraction) -> Fraction:
    rules = market.market
    return exact.value(rules, size * rules.lot, price * rules.tick) / settle_unit


def settle_unit(market: MarketTable) -> Fraction:
    """Return the unit from the definition of the market's factor: what one settle unit is, in settle assets."""
    rules = market.market
    lot = rules.lot * rules.contract_size
    return (lot * rules.tick if market.sign > 0 else lot / rules.tick) * market.denominator / market.numerator


@settings(max_examples=50, deadline=None)
@given(trades())
def test_the_change_of_cost_is_the_cost_of_the_fill_and_what_was_realised(drawn):
    market, fills = drawn
    position = Position()
    for size, price in fills:
        held, cost = position.size, position.cost
        fill = fill_position(market, position, size, price)
        assert fill.cost == cost_of(market, size, price)
        assert position.size == held + size
        assert position.cost == cost + fill.cost + fill.realised
        assert fill.realised == 0 or held * size < 0


@settings(max_examples=50, deadline=None)
@given(trades())
def test_a_cost_is_the_exact_value_rounded_up_and_two_sides_leave_at_most_one_unit(drawn):
    market, fills = drawn
    unit = settle_unit(market)
    for size, price in fills:
        assert 0 <= cost_of(market, size, price) - exact_cost(market, size, price, unit) < 1
        assert cost_of(market, size, price) + cost_of(market, -size, price) in (0, 1)


@settings(max_examples=100, deadline=None)
@given(trades())
def test_closing_everything_leaves_no_cost(drawn):
    market, fills = drawn
    position = Position()
    paid = 0
    for size, price in fills:
        paid += fill_position(market, position, size, price).realised
        if position.size == 0:
            assert position.cost == 0
            assert position.is_empty
    if position.size:
        paid += fill_position(market, position, -position.size, fills[-1][1]).realised
    assert (position.size, position.cost) == (0, 0)
    total = sum(exact_cost(market, size, price, settle_unit(market)) for size, price in fills)
    left = sum(size for size, _ in fills)
    total += exact_cost(market, -left, fills[-1][1], settle_unit(market)) if left else 0
    assert -3 * (len(fills) + 1) < paid + total <= 0


@settings(max_examples=100, deadline=None)
@given(trades())
def test_what_a_close_realises_is_never_better_than_exact_and_less_than_three_units_worse(drawn):
    market, fills = drawn
    position = Position()
    for size, price in fills:
        held, cost = position.size, position.cost
        fill = fill_position(market, position, size, price)
        closed = min(abs(held), abs(size)) if held * size < 0 else 0
        if closed:
            proceeds = -exact_cost(market, size, price, settle_unit(market)) * Fraction(closed, abs(size))
            missing = proceeds - Fraction(cost * closed, abs(held)) - fill.realised
            assert 0 <= missing < 3


@settings(max_examples=100, deadline=None)
@given(trades(), st.randoms(use_true_random=False))
def test_the_settlement_account_of_a_market_mirrors_its_open_costs(drawn, chance):
    market, fills = drawn
    positions = [Position() for _ in range(4)]
    settlement = dust = 0
    for size, price in fills:
        buyer, seller = chance.sample(positions, 2)
        sides: list[Fill] = [
            fill_position(market, buyer, size, price),
            fill_position(market, seller, -size, price),
        ]
        dust += sum(side.cost for side in sides)
        settlement -= sum(side.realised for side in sides)
    assert sum(position.size for position in positions) == 0
    assert sum(position.cost for position in positions) + settlement == dust
    assert 0 <= dust <= len(fills)


@given(st.lists(st.tuples(within(4 * 10**9), FUNDING_INDEX), min_size=1, max_size=8), FUNDING_INDEX)
def test_funding_of_sizes_that_sum_to_zero_never_pays_out_more_than_it_collects(entries, now):
    entry = entries[0][1]
    sizes = [size for size, _ in entries]
    sizes.append(-sum(sizes))
    booked = [book_funding(Position(size=size, funding_entry=entry), now) for size in sizes]
    paid, dust = sum(paid for paid, _ in booked), sum(dust for _, dust in booked)
    assert paid <= 0
    assert paid * RATE_ONE + dust == 0
    assert -paid < len(sizes)


@given(within(4 * 10**9), FUNDING_INDEX, FUNDING_INDEX, FUNDING_INDEX)
def test_funding_is_exact_but_for_its_dust_and_is_booked_once(size, entry, then, now):
    position = Position(size=size, funding_entry=entry)
    total = 0
    for index in (then, then, now):
        moved = index - position.funding_entry
        paid, dust = book_funding(position, index)
        assert paid == -size * moved // RATE_ONE
        assert 0 <= dust < RATE_ONE
        assert paid * RATE_ONE + dust == -size * moved
        assert position.funding_entry == index
        total += paid
    owed = Fraction(size * (now - entry), RATE_ONE)
    assert 0 <= -owed - total < 2
