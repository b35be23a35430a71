"""Liquidation and bankruptcy prices: each example solved by hand, tier by tier, and then tried on the engine."""

import copy
from decimal import Decimal
from fractions import Fraction

import pytest

from marginkeep.book import read_case, state_account
from marginkeep.units import format_exact

TIERS = [
    {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
    {"floor": "100000", "initial": "0.05", "maintenance": "0.025"},
]
MARKET = {"settle": "USD", "lot": "0.001", "tick": "0.000001", "tiers": TIERS}
INVERSE = {
    "settle": "BTC",
    "payoff": "inverse",
    "lot": "1",
    "tick": "0.000001",
    "tier_unit": "contracts",
    "tiers": [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}],
}

COIN_STEPS = 2000
"""In coin a smallest unit, 10^-8 of some 50,000 USD, is worth more than the tick: 0.002 is as near as it decides."""


def table_of(size, balances, entry="50000", mark="50000", market=None, coin=None):
    return {
        "assets": {"USD": {}, "BTC": {"price": "50000"} | (coin or {})},
        "markets": {"M": MARKET if market is None else market},
        "prices": {"M": mark},
        "accounts": [
            {"id": "a", "balances": balances, "positions": [{"market": "M", "size": size, "entry": entry}]},
        ],
    }


def state(table, mark=None):
    case = read_case(copy.deepcopy(table), None if mark is None else {"M": mark})
    return state_account("a", case.accounts["a"], case.valuation)


def prices(table):
    (position,) = state(table).positions
    return position.liquidation_price, position.bankruptcy_price


def near(price, steps):
    """The price moved by some steps of 10^-6, rounded to that tick."""
    return str((Decimal(price) + Decimal(steps) / 10**6).quantize(Decimal("0.000001")))


def assert_health_crosses_zero(table, price, steps=2):
    """Just on one side of the price the engine liquidates, just on the other it does not."""
    lower, upper = (Decimal(state(table, near(price, moved)).health) for moved in (-steps, steps))
    assert (lower < 0) != (upper < 0), (lower, upper)


def test_a_long_within_one_tier():
    table = table_of("1", {"USD": "5000"})
    # 5,000 + P - 50,000 = 0.01 * P
    expected = Fraction(45_000) / Fraction("0.99")
    assert prices(table) == (format_exact(expected), "45000")
    assert_health_crosses_zero(table, format_exact(expected))


def test_a_short_within_one_tier():
    table = table_of("-1", {"USD": "5000"})
    # 5,000 + 50,000 - P = 0.01 * P
    expected = Fraction(55_000) / Fraction("1.01")
    assert prices(table) == (format_exact(expected), "55000")
    assert_health_crosses_zero(table, format_exact(expected))


def test_a_short_that_enters_the_second_tier_on_the_way_is_solved_with_that_tier():
    table = table_of("-1.9", {"USD": "10000"})
    # at entry N = 95,000, the first tier: 10,000 + 95,000 = 1.01 * N gives N = 103,960, which is not in that tier;
    # second tier: M(N) = 0.025 * N - 1,500, so 106,500 = 1.025 * N and N = 103,902, which is
    first = Fraction(105_000) / Fraction("1.01")
    second = Fraction(106_500) / Fraction("1.025")
    assert first > 100_000 < second
    liquidation, bankruptcy = prices(table)
    assert liquidation == format_exact(second / Fraction("1.9"))
    assert liquidation != format_exact(first / Fraction("1.9"))
    assert bankruptcy == format_exact(Fraction(105_000) / Fraction("1.9"))
    assert_health_crosses_zero(table, liquidation)


def test_a_long_that_leaves_the_second_tier_on_the_way_is_solved_with_the_first():
    table = table_of("2.1", {"USD": "10000"})
    # at entry N = 105,000, the second tier: 10,000 - 105,000 + N = 0.025 * N - 1,500 gives N = 95,897, below its
    # floor; first tier: N - 95,000 = 0.01 * N gives N = 95,960
    second = Fraction(93_500) / Fraction("0.975")
    first = Fraction(95_000) / Fraction("0.99")
    assert second < 100_000 > first
    liquidation, bankruptcy = prices(table)
    assert liquidation == format_exact(first / Fraction("2.1"))
    assert bankruptcy == format_exact(Fraction(95_000) / Fraction("2.1"))
    assert_health_crosses_zero(table, liquidation)


def test_a_root_exactly_at_a_floor_is_found_once():
    # N = 100,000: 6,000 + 95,000 - 100,000 = 1,000 = 1 % of it
    table = table_of("-1.9", {"USD": "6000"})
    assert prices(table)[0] == format_exact(Fraction(100_000) / Fraction("1.9"))
    assert_health_crosses_zero(table, prices(table)[0])


def test_a_whole_position_table_liquidates_at_the_floor_where_the_requirement_jumps():
    stepped = MARKET | {"tier_kind": "whole_position"}
    table = table_of("-1.9", {"USD": "6500"}, market=stepped)
    # just below N = 100,000: 6,500 - 5,000 = 1,500 against 1,000; at it 1,500 against 2,500
    assert prices(table)[0] == format_exact(Fraction(100_000) / Fraction("1.9"))
    assert_health_crosses_zero(table, prices(table)[0])
    richer = table_of("-1.9", {"USD": "10000"}, market=stepped)
    # 105,000 = 1.025 * N: past the floor, inside the second tier
    assert prices(richer)[0] == format_exact(Fraction(105_000) / Fraction("1.025") / Fraction("1.9"))
    assert_health_crosses_zero(richer, prices(richer)[0])


def test_a_whole_position_already_past_the_jump_names_the_floor_that_heals_it():
    stepped = MARKET | {"tier_kind": "whole_position"}
    table = table_of("-1.9", {"USD": "7000"}, mark="52700", market=stepped)
    only = state(table)
    assert only.status == "liquidatable"  # 7,000 - 5,130 = 1,870 against 2.5 % of 100,130
    assert only.positions[0].liquidation_price == format_exact(Fraction(100_000) / Fraction("1.9"))


@pytest.mark.parametrize(("size", "balance"), [("1", "100"), ("-1", "100"), ("1", "-100")])
def test_an_account_below_maintenance_names_the_price_that_would_heal_it(size, balance):
    table = table_of(size, {"USD": balance})
    sign = 1 if size == "1" else -1
    # B + s * (P - 50,000) = 0.01 * P
    expected = (50_000 - sign * Fraction(balance)) / (1 - sign * Fraction("0.01"))
    only = state(table)
    assert Decimal(only.health) < 0
    assert only.positions[0].liquidation_price == format_exact(expected)
    assert (expected > 50_000) == (sign > 0)
    assert_health_crosses_zero(table, format_exact(expected))


def test_exactly_at_maintenance_the_liquidation_price_is_the_mark():
    only = state(table_of("1", {"USD": "500"}))
    assert (only.health, only.positions[0].liquidation_price) == ("0", "50000")


def test_a_long_backed_in_full_has_neither_price():
    assert prices(table_of("1", {"USD": "50000"})) == (None, None)
    assert prices(table_of("1", {"USD": "60000"})) == (None, None)


def test_a_long_backed_by_weighed_collateral_can_be_liquidated_but_not_go_bankrupt():
    table = table_of("1", {"BTC": "1"}, coin={"weight": {"initial": "0.9", "maintenance": "0.95"}})
    # the held BTC stay at their own price: 47,500 + P - 50,000 = 0.01 * P; equity 50,000 + P - 50,000 = P
    assert prices(table) == (format_exact(Fraction(2_500) / Fraction("0.99")), None)


def test_a_short_always_has_both_prices():
    liquidation, bankruptcy = prices(table_of("-1", {"USD": "1000000"}))
    # 1,050,000 = P + 0.025 * P - 1,500
    assert liquidation == format_exact(Fraction(1_051_500) / Fraction("1.025"))
    assert bankruptcy == "1050000"


def test_in_a_cross_account_the_other_position_is_held_at_its_mark():
    table = table_of("1", {"USD": "4000"}, entry="49000")
    table["markets"]["ETH"] = MARKET
    table["prices"]["ETH"] = "3000"
    table["accounts"][0]["positions"].append({"market": "ETH", "size": "-10", "entry": "2900"})
    long, short = state(table).positions
    # the short adds 29,000 - 30,000 = -1,000 and requires 300; the long adds 1,000 and requires 500
    assert long.liquidation_price == format_exact(Fraction(49_000 - 4_000 + 1_000 + 300) / Fraction("0.99"))
    assert long.bankruptcy_price == "46000"
    assert short.liquidation_price == format_exact(Fraction(4_000 + 1_000 - 500 + 29_000) / Fraction("10.1"))
    assert short.bankruptcy_price == "3400"
    assert_health_crosses_zero(table, long.liquidation_price)


def test_one_position_may_have_a_liquidation_price_that_the_other_sets():
    # the short alone is far from liquidation, but with little collateral left the small long decides little
    table = table_of("0.001", {"USD": "400"}, entry="50000")
    table["markets"]["ETH"] = MARKET
    table["prices"]["ETH"] = "3000"
    table["accounts"][0]["positions"].append({"market": "ETH", "size": "-10", "entry": "3000"})
    long, short = state(table).positions
    # 400 - 300 = 100 of slack: 0.001 BTC can lose at most 50, so no price of BTC alone liquidates the account
    assert long.liquidation_price is None
    assert short.liquidation_price == format_exact(
        Fraction(30_400) / Fraction("10.1") - Fraction("0.5") / Fraction("10.1")
    )


def test_profit_that_counts_in_part_brings_liquidation_nearer():
    table = table_of("1", {"USD": "100"}, entry="40000", market=MARKET | {"profit_weight": "0.5"})
    # above the entry: 100 + (P - 40,000) / 2 = 0.01 * P; equity: 100 + P - 40,000 = 0
    expected = Fraction(19_900) / Fraction("0.49")
    assert expected > 40_000
    assert prices(table) == (format_exact(expected), "39900")
    assert_health_crosses_zero(table, format_exact(expected))


def test_below_the_entry_a_loss_counts_in_full_whatever_the_profit_weight():
    table = table_of("1", {"USD": "1000"}, entry="40000", market=MARKET | {"profit_weight": "0.5"})
    # below the entry: 1,000 + P - 40,000 = 0.01 * P
    expected = Fraction(39_000) / Fraction("0.99")
    assert expected < 40_000
    assert prices(table) == (format_exact(expected), "39000")
    assert_health_crosses_zero(table, format_exact(expected))


def test_an_inverse_long_at_one_times_falls_to_half_its_entry():
    table = table_of("50000", {"BTC": "1"}, market=INVERSE)
    # in coin: 1 + 1 - 50,000 / P = 0.01 * 50,000 / P
    assert prices(table) == ("25250", "25000")
    assert_health_crosses_zero(table, "25250", COIN_STEPS)


def test_an_inverse_short_at_two_times_doubles():
    table = table_of("-50000", {"BTC": "0.5"}, market=INVERSE)
    # in coin: 0.5 - 1 + 50,000 / P = 0.01 * 50,000 / P
    assert prices(table) == ("99000", "100000")
    assert_health_crosses_zero(table, "99000", COIN_STEPS)


def test_an_inverse_short_at_one_times_has_neither_price_because_margin_is_computed_at_the_mark():
    # equity = 1 - 1 + 50,000 / P is always positive, and always a hundred times the requirement.
    # Venues that freeze the requirement at the entry price do liquidate: at 100 times the entry for a rate of 1 %.
    table = table_of("-50000", {"BTC": "1"}, market=INVERSE)
    assert prices(table) == (None, None)
    assert state(table, "5000000").health_factor == "100"


def test_an_inverse_short_at_one_times_on_weighed_collateral_has_a_liquidation_price_but_no_bankruptcy_price():
    table = table_of("-50000", {"BTC": "1"}, market=INVERSE, coin={"weight": {"initial": "0.9", "maintenance": "0.95"}})
    # in coin: 0.95 - 1 + 50,000 / P = 0.01 * 50,000 / P; equity stays 50,000 / P
    expected = Fraction(50_000) * Fraction("0.99") / Fraction("0.05")
    assert expected == 990_000
    assert prices(table) == ("990000", None)


def test_tiers_of_an_inverse_market_in_coin_are_those_at_the_root():
    tiers = [
        {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
        {"floor": "1.5", "initial": "0.1", "maintenance": "0.05"},
    ]
    table = table_of("50000", {"BTC": "1"}, market=INVERSE | {"tier_unit": "base", "tiers": tiers})
    # N = 50,000 / P coins: at the entry 1, in the first tier; 2 - N = 0.05 * N - 0.06 gives N = 2.06 / 1.05 > 1.5
    expected = 50_000 / (Fraction("2.06") / Fraction("1.05"))
    assert prices(table)[0] == format_exact(expected)
    assert_health_crosses_zero(table, format_exact(expected), COIN_STEPS)


def test_contract_size_scales_the_position_not_the_price():
    small = table_of("10", {"USD": "5000"}, market=MARKET | {"contract_size": "0.1"})
    assert prices(small) == prices(table_of("1", {"USD": "5000"}))


def test_a_settle_asset_that_is_not_the_reporting_asset_is_converted_at_its_price():
    # settled in BTC at 50,000 USD, backed by USD: 20,000 USD are 0.4 BTC; ETH at 0.05 BTC
    table = table_of("100", {"USD": "20000"}, entry="0.05", mark="0.05", market=MARKET | {"settle": "BTC"})
    # 0.4 + 100 * P - 5 = 0.01 * 100 * P
    assert prices(table) == (format_exact(Fraction("4.6") / 99), "0.046")


@pytest.mark.parametrize("size", ["1", "-1"])
def test_open_orders_do_not_move_the_liquidation_price(size):
    table = table_of(size, {"USD": "5000"})
    before = prices(table)
    table["accounts"][0]["orders"] = [{"market": "M", "side": "buy", "size": "2", "price": "49000"}]
    assert prices(table) == before
