"""The integer tables: values, tier measures and requirements, checked against plain fractions."""

from fractions import Fraction
from math import ceil

import pytest

from marginkeep.book import Valuation
from marginkeep.book.health import size_requirement
from marginkeep.book.limits import payoff_at
from marginkeep.margin.tiered import notional, signed_value
from marginkeep.rulebook import CALL, INITIAL, MAINTENANCE, TARGET, build_tables, read_rulebook
from marginkeep.rulebook.tables import tier_at

TIERS = [
    {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
    {"floor": "1000", "initial": "0.05", "maintenance": "0.025"},
    {"floor": "5000", "initial": "0.2", "maintenance": "0.1"},
]


def tables_of(reporting="USD", assets=None, **market):
    row = {"settle": "USD", "lot": "0.001", "tick": "0.1", "tiers": TIERS} | market
    names = {"USD": {"decimals": 6}, "BTC": {"decimals": 8, "tick": "0.01"}} | (assets or {})
    return build_tables(read_rulebook({"reporting": reporting, "assets": names, "markets": {"M": row}}))


def test_assets_and_markets_keep_the_order_of_the_file():
    row = {"settle": "B", "lot": "1", "tick": "1", "tiers": TIERS}
    table = {"reporting": "A", "assets": {"C": {}, "A": {}, "B": {}}, "markets": {"Z": row, "Y": row}}
    tables = build_tables(read_rulebook(table))
    assert [asset.name for asset in tables.assets] == ["C", "A", "B"]
    assert [market.name for market in tables.markets] == ["Z", "Y"]
    assert tables.market_index == {"Z": 0, "Y": 1}
    assert (tables.reporting, tables.markets[0].settle) == (1, 2)


def test_a_linear_value_is_size_times_price_times_contract_size():
    table = tables_of(contract_size="0.1").markets[0]
    # one lot at one tick: 0.001 contracts of 0.1 at a price of 0.1 = 10^-5 USD = 10 units
    assert (table.sign, table.numerator, table.denominator) == (1, 10, 1)
    x, y = payoff_at(table, 500_000)
    assert signed_value(-1500, 1, x, y) == -7_500_000_000  # -1.5 contracts of 0.1 at 50,000: -7,500 USD


def test_an_inverse_value_is_minus_contracts_over_price_in_coin():
    table = tables_of(payoff="inverse", settle="BTC", lot="1", tick="0.5", contract_size="100").markets[0]
    assert (table.sign, Fraction(table.numerator, table.denominator)) == (-1, Fraction(100 * 10**8 * 2))
    x, y = payoff_at(table, 100_000)  # 50,000.0
    assert signed_value(30, -1, x, y) == -6_000_000  # 30 contracts of 100 USD at 50,000: 0.06 BTC
    assert signed_value(-30, -1, x, y) == 6_000_000


def test_a_lot_times_tick_finer_than_the_smallest_unit_makes_a_denominator():
    table = tables_of(lot="0.00001", tick="0.01", assets={"USD": {"decimals": 2}}).markets[0]
    # 10^-5 * 10^-2 = 10^-7 USD, but the smallest unit is 10^-2
    assert (table.numerator, table.denominator) == (1, 100_000)
    x, y = payoff_at(table, 100)  # a price of 1.00
    assert notional(1, x, y) == 1  # 0.00001 USD counts as one cent, rounded up
    assert notional(1000, x, y) == 1
    assert notional(1001, x, y) == 2
    assert (signed_value(1001, 1, x, y), signed_value(-1001, 1, x, y)) == (1, -2)  # down, against the holder
    assert size_requirement(table, MAINTENANCE, 1001, x, y) == 1


def test_numerator_and_denominator_are_in_lowest_terms():
    table = tables_of(lot="0.0004", tick="0.005", assets={"USD": {"decimals": 2}}).markets[0]
    assert (table.numerator, table.denominator) == (1, 5000)  # 2 * 10^-6 / 10^-2


def test_an_asset_is_worth_amount_times_price_in_reporting_units():
    tables = tables_of()
    btc, usd = tables.assets[1], tables.assets[0]
    assert (usd.numerator, usd.denominator) == (1, 1)
    assert Fraction(btc.numerator, btc.denominator) == Fraction(1, 10**8) * Fraction("0.01") * 10**6
    valuation = Valuation(tables)
    valuation.set_price(1, 5_000_000)  # 50,000.00
    assert Fraction(10**8 * valuation.asset_x[1], valuation.asset_y[1]) == 50_000 * 10**6


def test_floors_are_in_settle_units_where_they_measure_notional():
    table = tables_of().markets[0]
    assert not table.by_size
    assert [row[0] for row in table.tiers[MAINTENANCE]] == [0, 1000 * 10**6, 5000 * 10**6]
    inverse = tables_of(payoff="inverse", settle="BTC", tier_unit="base").markets[0]
    assert not inverse.by_size
    assert [row[0] for row in inverse.tiers[MAINTENANCE]] == [0, 1000 * 10**8, 5000 * 10**8]


@pytest.mark.parametrize(
    ("market", "floors"),
    [
        ({"tier_unit": "contracts", "contract_size": "0.1"}, [0, 1_000_000, 5_000_000]),
        ({"tier_unit": "base", "contract_size": "0.1"}, [0, 10_000_000, 50_000_000]),
        (
            {"tier_unit": "quote", "payoff": "inverse", "settle": "BTC", "contract_size": "100", "lot": "1"},
            [0, 10, 50],
        ),
        (
            {"tier_unit": "contracts", "payoff": "inverse", "settle": "BTC", "contract_size": "100", "lot": "1"},
            [0, 1000, 5000],
        ),
    ],
)
def test_floors_are_in_lots_where_they_measure_size(market, floors):
    table = tables_of(**market).markets[0]
    assert table.by_size
    assert [row[0] for row in table.tiers[MAINTENANCE]] == floors


def test_a_floor_between_two_units_begins_early():
    tiers = [TIERS[0], TIERS[1] | {"floor": "1.9"}]
    table = tables_of(tiers=tiers, tier_unit="contracts", lot="1").markets[0]
    assert [row[0] for row in table.tiers[MAINTENANCE]] == [0, 1]


def test_a_tier_begins_at_its_floor_and_ends_just_below_the_next():
    rows = tables_of().markets[0].tiers[MAINTENANCE]
    found = [rows.index(tier_at(rows, measure)) for measure in (0, 10**9 - 1, 10**9, 5 * 10**9 - 1, 5 * 10**9, 2**62)]
    assert found == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("level", [INITIAL, CALL, MAINTENANCE, TARGET])
def test_a_marginal_requirement_is_the_sum_of_its_slices_rounded_up(level):
    table = tables_of().markets[0]
    rates = [Fraction(tier.rates[level], 10**9) for tier in table.market.tiers]
    for units in (0, 1, 99, 10**9 - 1, 10**9, 10**9 + 1, 4_999_999_999, 5 * 10**9, 123_456_789_123):
        slices = (min(units, 10**9), min(max(units - 10**9, 0), 4 * 10**9), max(units - 5 * 10**9, 0))
        expected = ceil(sum(rate * part for rate, part in zip(rates, slices, strict=True)))
        assert size_requirement(table, level, units, 1, 1) == expected


def test_a_marginal_requirement_with_a_fractional_amount_at_a_floor_stays_exact():
    second = {"floor": "0.000003", "initial": "0.9", "maintenance": "0.5"}
    tiers = [TIERS[0] | {"maintenance": "0.000000007"}, second]
    rows = tables_of(tiers=tiers).markets[0].tiers[MAINTENANCE]
    assert rows[1] == (3, 3, 500_000_000, 0, 21)  # 3 units * 7 parts per 10^9 = 21 parts
    table = tables_of(tiers=tiers).markets[0]
    assert size_requirement(table, MAINTENANCE, 5, 1, 1) == 2  # 21/10^9 + 2 * 0.5, rounded up


def test_a_whole_position_requirement_applies_one_rate_to_all_of_it():
    table = tables_of(tier_kind="whole_position").markets[0]
    assert size_requirement(table, MAINTENANCE, 10**9 - 1, 1, 1) == 10**7  # 1 % of 999,999,999, rounded up
    assert size_requirement(table, MAINTENANCE, 10**9, 1, 1) == 25 * 10**6
    assert size_requirement(table, MAINTENANCE, 5 * 10**9, 1, 1) == 500 * 10**6


def test_a_requirement_by_size_weighs_lots_and_values_them_at_the_mark():
    table = tables_of(tier_unit="base", contract_size="1").markets[0]
    x, y = payoff_at(table, 500_000)  # 50,000.0: one lot of 0.001 is worth 50 USD
    # 6,000 base units: 1,000 at 1 % + 4,000 at 2.5 % + 1,000 at 10 % = 210 base units
    assert size_requirement(table, MAINTENANCE, 6_000_000, x, y) == 210 * 50_000 * 10**6
    assert size_requirement(table, MAINTENANCE, -6_000_000, x, y) == 210 * 50_000 * 10**6
    # 1 lot: 1 % of 50 USD
    assert size_requirement(table, MAINTENANCE, 1, x, y) == 500_000
    assert size_requirement(table, MAINTENANCE, 0, x, y) == 0
