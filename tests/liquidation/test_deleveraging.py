from fractions import Fraction

import numpy as np
import pytest
from tests.houses import rules

from marginkeep.book import Account, Position, Valuation
from marginkeep.book.fills import fill_position
from marginkeep.book.health import equity, measure
from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.deleveraging import (
    Deleveraged,
    Winners,
    allocate,
    allot_equity,
    audit,
    bankruptcy_price,
    bankruptcy_prices,
    haircut_per_lot,
    lights,
    overlaps,
)
from marginkeep.liquidation.deleveraging_policies import hyperliquid_index
from marginkeep.rulebook import MAINTENANCE, build_tables
from marginkeep.units import RATE_ONE

POLICIES = ("queue", "pro_rata", "risk_aware", "portfolio_aware")


def column(*values):
    return np.array(values, np.int64)


def winners(sizes, profits, equities=None, notionals=None, relief=None, accounts=None):
    """Winners of unit leverage that hold nothing else, unless said otherwise."""
    count = len(sizes)
    defaults = (range(count), [100] * count, [100] * count, [1] * count)
    given = (accounts, equities, notionals, relief)
    names, *rest = (
        column(*(one if one is not None else default)) for one, default in zip(given, defaults, strict=True)
    )
    return Winners(names, column(*sizes), column(*profits), *rest)


def test_the_queue_closes_whole_positions_by_profit_ratio_times_leverage():
    # profit / equity * notional / equity: 0.1 * 2, 0.2 * 0.5, 0.3 * 1
    some = winners([10, 10, 10], [10, 40, 30], equities=[100, 200, 100], notionals=[200, 100, 100])
    assert allocate("queue", some, 15).tolist() == [5, 0, 10]
    assert allocate("queue", some, 25).tolist() == [10, 5, 10]


def test_equal_ranks_go_to_the_lower_account():
    assert allocate("queue", winners([10] * 3, [7] * 3), 12).tolist() == [10, 2, 0]
    assert allocate("portfolio_aware", winners([10] * 3, [7] * 3), 12).tolist() == [10, 2, 0]
    assert allocate("pro_rata", winners([10] * 3, [7] * 3), 4).tolist() == [2, 1, 1]


def test_ranks_that_differ_in_the_last_bit_are_told_apart():
    big = 2**55
    some = winners([1, 1, 1], [big, big + 1, big], equities=[3] * 3, notionals=[big, big, big + 1])
    # big * (big + 1) twice: a tie, which goes to the lower account
    assert allocate("queue", some, 1).tolist() == [0, 1, 0]
    some = winners([1, 1], [big, big + 1], equities=[big + 1, big + 2], notionals=[big] * 2)
    # big / (big + 1)^2 > (big + 1) / (big + 2)^2
    assert allocate("queue", some, 1).tolist() == [1, 0]


def test_pro_rata_closes_in_proportion_to_profit_up_to_the_whole_position():
    some = winners([100, 100, 5], [60, 30, 10])
    assert allocate("pro_rata", some, 10).tolist() == [6, 3, 1]
    assert allocate("pro_rata", some, 100).tolist() == [63, 32, 5]  # level 95 / 90: 63.3, 31.7
    assert allocate("pro_rata", some, 205).tolist() == [100, 100, 5]


def test_risk_aware_weighs_profit_by_leverage():
    some = winners([100, 100], [10, 10], equities=[100, 100], notionals=[300, 100])
    assert allocate("risk_aware", some, 40).tolist() == [30, 10]
    assert allocate("pro_rata", some, 40).tolist() == [20, 20]


def test_portfolio_aware_spares_hedges_and_then_hurts_the_least():
    some = winners([10] * 4, [40, 30, 20, 10], relief=[-50, -5, 0, 3])
    assert allocate("queue", some, 15).tolist() == [10, 5, 0, 0]
    assert allocate("portfolio_aware", some, 15).tolist() == [0, 0, 10, 5]
    assert allocate("portfolio_aware", some, 25).tolist() == [0, 5, 10, 10]
    smaller = winners([10, 1], [10, 10], relief=[-50, -6])
    assert allocate("portfolio_aware", smaller, 5).tolist() == [5, 0], "5 a lot hurts less than 6 a lot"


@pytest.mark.parametrize("policy", POLICIES)
def test_who_has_no_profit_follows_only_when_all_who_have_one_are_not_enough(policy):
    some = winners([10, 20, 30, 40], [-100, 1, 0, 5])
    assert allocate(policy, some, 59).tolist()[0::2] == [0, 0]
    assert allocate(policy, some, 60).tolist() == [0, 20, 0, 40]
    beyond = allocate(policy, some, 64).tolist()
    assert beyond[1::2] == [20, 40]
    assert beyond[0::2] == ([1, 3] if policy in ("pro_rata", "risk_aware") else [0, 4])
    assert allocate(policy, some, 1_000).tolist() == [10, 20, 30, 40]


def test_among_losses_the_smallest_per_notional_is_first():
    some = winners([1] * 3, [-10, -10, -1], notionals=[100, 200, 5])
    assert allocate("queue", some, 2).tolist() == [1, 1, 0]
    assert allocate("queue", some, 1).tolist() == [0, 1, 0]


@pytest.mark.parametrize("policy", POLICIES)
def test_who_is_not_eligible_is_left_out(policy):
    some = winners([10, 10, 10], [30, 20, 10])
    eligible = np.array([False, True, True])
    assert allocate(policy, some, 15, eligible)[0] == 0
    assert allocate(policy, some, 15, eligible).sum() == 15
    assert allocate(policy, some, 99, eligible).tolist() == [0, 10, 10]


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_and_nothing_are_fine(policy):
    nobody = winners([], [])
    assert allocate(policy, nobody, 5).tolist() == []
    assert lights(policy, nobody).tolist() == []
    assert allocate(policy, winners([3], [1]), 0).tolist() == [0]
    with pytest.raises(InvariantViolation):
        allocate(policy, nobody, -1)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_account_without_equity_ranks_first_and_does_not_divide_by_zero(policy):
    some = winners([10, 10], [30, 30], equities=[50, -4])
    if policy == "pro_rata":
        assert allocate(policy, some, 10).tolist() == [5, 5]
        return
    assert allocate(policy, some, 10).tolist() == [0, 10]
    assert lights(policy, some).tolist() == [3, 5]


def test_winners_must_be_columns_of_one_length_in_the_order_of_accounts():
    with pytest.raises(InvariantViolation, match="length"):
        winners([1, 1], [1])
    with pytest.raises(InvariantViolation, match="order"):
        winners([1, 1], [1, 1], accounts=[4, 4])
    with pytest.raises(InvariantViolation, match="without a size"):
        winners([1, 0], [1, 1])


def test_five_lights_show_the_place_by_the_lots_before():
    some = winners([20] * 5, [50, 10, 30, 20, 40])
    assert lights("queue", some).tolist() == [5, 1, 3, 2, 4]
    large = winners([90, 10], [9, 1])
    assert lights("queue", large).tolist() == [5, 1], "nobody is before the first, 90 of 100 before the second"


def test_lights_of_water_filling_show_whose_position_shrinks_most():
    some = winners([100, 100], [10, 10], equities=[100, 100], notionals=[300, 100])
    assert lights("risk_aware", some).tolist() == [5, 3]
    # the same profit on a tenth of the size: a larger share of it is closed
    assert lights("pro_rata", winners([100, 10], [10, 10])).tolist() == [5, 5]
    assert lights("pro_rata", winners([100, 100], [10, 11])).tolist() == [3, 5]


# bankruptcy prices


def house_of(*held, cash=0, btc=50_000, eth=3_000):
    """An account that opened (market, size, price) with USD `cash`, at marks."""
    valuation = Valuation(build_tables(rules()))
    index = valuation.tables.market_index
    for name, ticks in (("BTC-PERP", btc * 10), ("ETH-PERP", eth * 100), ("BTC-INV", btc * 2)):
        valuation.set_mark(index[name], ticks)
    valuation.set_price(valuation.tables.asset_index["BTC"], btc * 100)
    account = Account(balances={valuation.tables.asset_index["USD"]: round(cash * 10**6)})
    for name, size, price in held:
        position = account.positions[index[name]] = Position()
        fill_position(valuation.tables.markets[index[name]], position, size, price)
    return account, valuation


def close_all(account, valuation, prices):
    after = account.copy()
    for market, price in prices.items():
        table = valuation.tables.markets[market]
        position = after.positions.pop(market)
        realised = fill_position(table, position, -position.size, price).realised
        after.balances[table.settle] = after.balances.get(table.settle, 0) + realised
    return equity(after, valuation)


def test_equity_is_allotted_by_maintenance_requirement_and_rounded_against_the_house():
    assert allot_equity(-100, [1, 2, 0]) == (-34, -67, 0)
    assert allot_equity(100, [1, 2]) == (33, 66)


def test_a_bankrupt_long_is_sold_above_the_mark_where_its_equity_is_nothing():
    account, valuation = house_of(("BTC-PERP", 1_000, 600_000), cash=9_000, btc=50_000)
    assert equity(account, valuation) == -1_000 * 10**6
    prices = bankruptcy_prices(account, valuation)
    assert prices == {0: 510_000}
    assert close_all(account, valuation, prices) == 0


def test_a_price_between_two_ticks_is_rounded_in_favour_of_the_account():
    long, valuation = house_of(("BTC-PERP", 3, 500_000), cash=0.0001, btc=50_000)
    # 0.003 BTC and 0.0001 USD left: the tick of 0.1 is worth 0.0003
    assert bankruptcy_prices(long, valuation) == {0: 500_000}
    assert close_all(long, valuation, {0: 500_000}) == 100
    short, _ = house_of(("BTC-PERP", -3, 500_000), cash=0.0001, btc=50_000)
    assert bankruptcy_prices(short, valuation) == {0: 500_000}
    owes, _ = house_of(("BTC-PERP", -3, 500_000), cash=-0.0001, btc=50_000)
    assert bankruptcy_prices(owes, valuation) == {0: 499_999}


def test_several_legs_share_the_deficit_by_what_they_require():
    account, valuation = house_of(
        ("BTC-PERP", 4_000, 500_000), ("ETH-PERP", -3_000, 300_000), ("BTC-INV", 20_000, 100_000), cash=-2_000
    )
    before = equity(account, valuation)
    prices = bankruptcy_prices(account, valuation)
    terms = measure(account, valuation, MAINTENANCE)
    assert before < 0 < terms.requirement
    btc, eth, inverse = (prices[valuation.tables.market_index[name]] for name in ("BTC-PERP", "ETH-PERP", "BTC-INV"))
    assert btc > 500_000
    assert eth < 300_000
    assert inverse > 100_000
    ticks_worth = 4_000 * 100 + 3_000 * 100 + 20_000 * 10**6 * Fraction(1, 100_000)
    assert 0 <= close_all(account, valuation, prices) <= ticks_worth + 3


def test_a_short_that_lost_more_than_its_value_has_no_bankruptcy_price():
    account, valuation = house_of(("BTC-PERP", -1_000, 500_000), cash=-60_000)
    assert bankruptcy_prices(account, valuation) == {0: None}


def test_a_long_with_more_than_its_value_behind_it_has_the_lowest_price():
    account, valuation = house_of(("BTC-PERP", 1_000, 500_000), cash=60_000)
    assert bankruptcy_prices(account, valuation) == {0: 1}


def test_an_inverse_position_has_no_price_where_infinity_is_not_enough():
    market = build_tables(rules()).markets[build_tables(rules()).market_index["BTC-INV"]]
    worth = 10_000 * 10**8 // 50_000
    assert bankruptcy_price(market, 10_000, 100_000, -worth) is None
    assert bankruptcy_price(market, -10_000, 100_000, worth) is None
    assert bankruptcy_price(market, 10_000, 100_000, -worth // 2) == 200_000
    assert bankruptcy_price(market, -10_000, 100_000, -worth) == 50_000


def test_an_account_without_positions_has_no_prices():
    account, valuation = house_of(cash=-5)
    assert bankruptcy_prices(account, valuation) == {}


def test_a_haircut_is_what_a_winner_gives_up_against_the_mark():
    tables = build_tables(rules())
    linear, inverse = (tables.markets[tables.market_index[name]] for name in ("BTC-PERP", "BTC-INV"))
    # a lot of 0.001 BTC: 1,000 USD of price are 1 USD
    assert haircut_per_lot(linear, True, 500_000, 490_000) == 10**6
    assert haircut_per_lot(linear, False, 500_000, 490_000) == -(10**6)
    assert haircut_per_lot(linear, False, 500_000, 490_000, Fraction(1, 2)) == -(10**6) // 2
    assert haircut_per_lot(inverse, True, 100_000, 80_000) == Fraction(10**8, 40_000) - Fraction(10**8, 50_000)


def test_who_would_be_left_without_equity_at_the_price_does_not_overlap_with_it():
    some = winners([10, 10, 10, 10], [1] * 4, equities=[100, 99, 0, -5])
    assert overlaps(some, Fraction(10)).tolist() == [True, False, False, False]
    assert overlaps(some, Fraction(0)).tolist() == [True, True, True, False]
    assert overlaps(some, Fraction(-1, 2)).tolist() == [True] * 4
    assert overlaps(some, Fraction(-1, 3)).tolist() == [True, True, True, False]


def test_anothers_index_of_a_long_rises_with_the_mark():
    assert hyperliquid_index(mark=120, entry=100, notional=10, equity=50) == Fraction(6, 25)


# audit


def closed(lots, wanted, needed, taken, notional=100, accounts=None):
    names = column(*(accounts if accounts is not None else range(len(lots))))
    return Deleveraged(wanted, names, column(*lots), *(Fraction(value) for value in (needed, taken, notional)))


def test_closing_all_lots_at_the_bankruptcy_price_takes_exactly_the_budget():
    figures = audit([closed([3, 0, 4], wanted=7, needed="10/3", taken="10/3")])
    assert (figures.needed, figures.taken, figures.over, figures.under) == (24, 24, 0, 0)
    assert figures.accounts.tolist() == [0, 2]
    assert figures.haircuts.sum() == 24
    assert figures.haircuts.tolist() == [10, 14]
    assert figures.notionals.tolist() == [300, 400]
    assert (figures.count, figures.wanted, figures.closed) == (2, 7, 7)


def test_over_and_under_do_not_hide_each_other():
    figures = audit([closed([5], 5, needed=2, taken=6), closed([5], 5, needed=4, taken=1)])
    assert (figures.needed, figures.taken) == (30, 35)
    assert (figures.over, figures.under) == (20, 15)


def test_lots_that_nobody_took_are_under():
    figures = audit([closed([5], wanted=8, needed=2, taken=2)])
    assert (figures.needed, figures.taken, figures.over, figures.under) == (16, 10, 0, 6)


def test_one_account_of_several_positions_counts_once():
    figures = audit([closed([5, 1], 6, 2, 2, accounts=[3, 9]), closed([4], 4, 1, 1, notional=10, accounts=[3])])
    assert figures.accounts.tolist() == [3, 9]
    assert figures.haircuts.tolist() == [14, 2]
    assert figures.notionals.tolist() == [540, 100]
    assert figures.concentration(1) == 540 * RATE_ONE // 640
    assert figures.concentration(2) == RATE_ONE


def test_an_audit_of_nothing_is_nothing():
    figures = audit([])
    assert (figures.needed, figures.taken, figures.count, figures.concentration(1)) == (0, 0, 0, 0)


def test_a_gain_counts_as_a_negative_haircut():
    figures = audit([closed([5], 5, needed=-2, taken=-2), closed([5], 5, needed=3, taken=3)])
    assert (figures.needed, figures.taken, figures.over, figures.under) == (5, 5, 0, 0)
