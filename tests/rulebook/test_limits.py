"""Limits that int64 columns can hold: what does not fit is refused with the largest value that does."""

import copy
import re
from decimal import Decimal

import numpy as np
import pytest

from marginkeep.book import Account, Book, Position, Valuation, measure, read_case
from marginkeep.book.limits import TERM_MAX, payoff_at, prove_limits
from marginkeep.errors import RulebookError
from marginkeep.rulebook import INITIAL, MAINTENANCE, build_tables, read_rulebook
from marginkeep.rulebook.tables import FLOOR_MAX
from marginkeep.units import INT64_SAFE

TABLE = {
    "assets": {"USD": {"decimals": 6}, "BTC": {"decimals": 8, "tick": "0.01"}},
    "markets": {
        "LIN": {
            "settle": "USD",
            "lot": "0.001",
            "tick": "0.1",
            "tiers": [
                {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
                {"floor": "100000", "initial": "0.05", "maintenance": "0.025"},
            ],
        },
        "INV": {
            "settle": "BTC",
            "payoff": "inverse",
            "tier_unit": "contracts",
            "lot": "1",
            "tick": "0.5",
            "tiers": [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}],
        },
    },
}


def changed(*fields):
    table = copy.deepcopy(TABLE)
    for (*outer, last), value in fields:
        inner = table
        for key in outer:
            inner = inner[key]
        inner[last] = value
    return table


def prove(table):
    return prove_limits(build_tables(read_rulebook(copy.deepcopy(table))))


def refusal(table):
    with pytest.raises(RulebookError) as caught:
        prove(table)
    return str(caught.value)


def largest(message):
    return re.search(r"at most ([0-9.]+)", message)[1].rstrip(".")


def test_stated_limits_that_fit_are_kept():
    limits = prove(
        changed(
            (("markets", "LIN", "max_price"), "1000000"),
            (("markets", "LIN", "min_price"), "10"),
            (("markets", "LIN", "max_position"), "100"),
            (("assets", "BTC", "max_price"), "1000000"),
            (("assets", "BTC", "max_balance"), "1000"),
        )
    )
    linear, btc = limits.markets[0], limits.assets[1]
    assert (linear.min_price, linear.max_price, linear.max_position) == (100, 10_000_000, 100_000)
    assert (btc.max_price, btc.max_balance) == (100_000_000, 1000 * 10**8)


def test_limits_that_are_left_open_are_derived_so_that_every_term_fits():
    tables = build_tables(read_rulebook(copy.deepcopy(TABLE)))
    limits = prove_limits(tables)
    for table, limit in zip(tables.markets, limits.markets, strict=True):
        assert 1 <= limit.min_price < limit.max_price
        worst = limit.min_price if table.sign < 0 else limit.max_price
        x, y = payoff_at(table, worst)
        settle, settle_x = tables.assets[table.settle], limits.assets[table.settle].max_price
        value = limit.max_position * x * settle_x * settle.numerator // (y * settle.denominator)
        assert value <= TERM_MAX
        assert 8 * limit.max_position * x <= INT64_SAFE
    for table, limit in zip(tables.assets, limits.assets, strict=True):
        assert limit.max_balance * limit.max_price * table.numerator // table.denominator <= TERM_MAX


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("markets", "LIN", "max_position"), "1e9"),
        (("markets", "INV", "max_position"), "1e15"),
        (("markets", "INV", "max_price"), "1e15"),
        (("assets", "USD", "max_balance"), "1e12"),
        (("assets", "BTC", "max_balance"), "1e12"),
    ],
)
def test_a_limit_too_large_names_the_largest_that_fits_which_is_then_accepted(path, value):
    message = refusal(changed((path, value)))
    assert message.startswith(f"{'.'.join(path)} is too large for exact 64-bit columns: at most ")
    prove(changed((path, largest(message))))


def test_an_asset_price_too_large_names_the_largest_that_fits_which_is_then_accepted():
    path = ("assets", "BTC", "max_price")
    table = changed((path, "1e15"))
    del table["markets"]["INV"]
    message = refusal(table)
    assert message.startswith("assets.BTC.max_price is too large")
    table["assets"]["BTC"]["max_price"] = largest(message)
    prove(table)


def test_an_asset_price_too_large_for_an_inverse_market_is_blamed_itself():
    message = refusal(changed((("assets", "BTC", "max_price"), "4e12")))
    assert message.startswith("markets.INV.min_price is 500, at which one lot is worth more than ")
    assert message.endswith("at least 888.5; or make lot finer, or assets.BTC.max_price lower")
    prove(changed((("assets", "BTC", "max_price"), "4e12"), (("markets", "INV", "min_price"), "888.5")))
    refusal(changed((("assets", "BTC", "max_price"), "4e12"), (("markets", "INV", "min_price"), "888")))


@pytest.mark.parametrize(
    ("path", "step"),
    [
        (("markets", "LIN", "max_position"), "0.001"),
        (("markets", "INV", "max_position"), "1"),
        (("assets", "USD", "max_balance"), "0.000001"),
    ],
)
def test_one_step_above_the_largest_that_fits_is_refused(path, step):
    most = Decimal(largest(refusal(changed((path, "1e15")))))
    assert refusal(changed((path, str(most + Decimal(step))))).startswith(".".join(path))


def test_a_linear_max_price_too_large_names_the_largest_that_fits():
    message = refusal(changed((("markets", "LIN", "max_price"), "1e15")))
    prove(changed((("markets", "LIN", "max_price"), largest(message))))


def test_a_lot_too_coarse_for_any_price_names_a_price_that_is_then_accepted():
    coarse = (("markets", "LIN", "lot"), "1e9")
    message = refusal(changed(coarse))
    prove(changed(coarse, (("markets", "LIN", "max_price"), largest(message))))


def test_a_lot_that_leaves_no_price_at_all_is_blamed_itself():
    message = refusal(changed((("markets", "LIN", "lot"), "1e20")))
    assert message.startswith("markets.LIN.lot is 100000000000000000000: with tick 0.1 and contract_size 1 no price ")
    assert message.endswith("make lot finer")


def test_a_lot_of_too_many_digits_is_refused_with_the_opposite_cure():
    message = refusal(changed((("markets", "LIN", "lot"), "1e-30")))
    assert message.startswith("markets.LIN.lot is 0.000000000000000000000000000001: ")
    assert "make lot coarser" in message


@pytest.mark.parametrize("tick", ["1e-30", "1e30"])
def test_an_asset_tick_that_leaves_no_price_is_refused(tick):
    message = refusal(changed((("assets", "BTC", "tick"), tick)))
    assert message.startswith("assets.BTC.tick is ")
    assert ("finer" if tick == "1e30" else "coarser") in message
    for bound in re.search(r"every power of ten from ([0-9.]+) to ([0-9.]+) fits", message).groups():
        table = changed((("assets", "BTC", "tick"), str(10 ** (len(bound) - 1)) if bound[0] != "0" else bound))
        del table["markets"]["INV"]
        prove(table)


def test_a_coarse_tick_of_an_asset_takes_a_lower_default_price_instead_of_no_balance():
    table = changed((("assets", "BTC", "tick"), "1e10"))
    del table["markets"]["INV"]
    limit = prove(table).assets[1]
    assert limit.max_balance >= 1
    assert limit.max_balance * limit.max_price * 10**8 <= TERM_MAX


def test_an_asset_whose_tick_of_one_unit_is_a_reporting_unit_keeps_its_own_price_limit():
    rules = {"assets": {"USD": {"decimals": 6}, "EUR": {"decimals": 2, "tick": "0.0001", "max_price": "5"}}}
    assert prove(rules).assets[1].max_price == 50_000


def test_a_min_price_above_max_price_is_refused():
    table = changed((("markets", "LIN", "max_price"), "10"), (("markets", "LIN", "min_price"), "10.1"))
    assert refusal(table) == "markets.LIN.min_price is 10.1, above max_price 10: lower it, or raise max_price"


def test_a_coarser_unit_makes_room_for_larger_positions():
    fine = prove(TABLE).markets[0].max_position
    cents = changed((("assets", "USD", "decimals"), 2))
    assert prove(cents).markets[0].max_position > fine


def test_at_all_limits_at_once_the_kernels_agree_with_plain_python():
    kernels = pytest.importorskip("marginkeep.book.kernels")
    steep = [{"floor": "0", "initial": "4", "maintenance": "0.99"}]
    table = changed(
        (("markets", "LIN", "tiers"), steep),
        (("markets", "INV", "tiers"), steep),
        (("assets", "BTC", "debt_weight"), "4"),
    )
    tables = build_tables(read_rulebook(table))
    limits = prove_limits(tables)
    valuation = Valuation(tables)
    valuation.set_price(1, limits.assets[1].max_price)
    valuation.set_mark(0, limits.markets[0].max_price)
    valuation.set_mark(1, limits.markets[1].min_price)
    book = Book()
    for sign in (1, -1):
        positions = {}
        for index in (0, 1):
            size = sign * limits.markets[index].max_position
            x, y = valuation.market_x[index], valuation.market_y[index]
            positions[index] = Position(size=size, cost=-tables.markets[index].sign * size * x // y)
        balances = {index: sign * limits.assets[index].max_balance for index in (0, 1)}
        book.add(Account(balances=balances, positions=positions))
    for level in (INITIAL, MAINTENANCE):
        collateral, requirement = kernels.measure_all(book, valuation, level)
        expected = [measure(book.read(index), valuation, level) for index in range(book.count)]
        np.testing.assert_array_equal(collateral, [item.collateral for item in expected])
        np.testing.assert_array_equal(requirement, [item.requirement for item in expected])


def test_a_tier_floor_beyond_int64_is_left_out_of_the_columns():
    kernels = pytest.importorskip("marginkeep.book.kernels")
    tables = build_tables(read_rulebook(changed((("markets", "LIN", "tiers", 1, "floor"), "1e25"))))
    limits = prove_limits(tables)
    valuation = Valuation(tables)
    for index in (0, 1):
        valuation.set_mark(index, limits.markets[index].max_price)
    valuation.set_price(1, 1000)
    book = Book()
    book.add(Account(balances={0: 1}, positions={0: Position(size=limits.markets[0].max_position)}))
    for level in (INITIAL, MAINTENANCE):
        collateral, requirement = kernels.measure_all(book, valuation, level)
        assert (*collateral.tolist(), *requirement.tolist()) == measure(book.read(0), valuation, level)


def test_a_floor_at_the_edge_of_the_columns_is_kept_and_fits_them():
    highest = str(Decimal(FLOOR_MAX).scaleb(-6))
    steep = [{"floor": "0", "initial": "4", "maintenance": "0.99"}]
    steep += [{"floor": highest, "initial": "4", "maintenance": "0.99"}]
    steep += [{"floor": str(Decimal(highest) + Decimal("0.000001")), "initial": "4", "maintenance": "0.99"}]
    table = changed((("markets", "LIN", "tiers"), steep))
    (kept, edge), *_ = (rows for rows in build_tables(read_rulebook(table)).markets[0].tiers)
    assert (kept[0], edge[0]) == (0, 2**60)
    assert max(edge) <= INT64_SAFE


def test_a_case_may_reach_a_tier_that_no_column_holds():
    floor, size = 10**25, 10**21  # at 50,000 a position of 5 * 10^25
    tiers = [
        {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
        {"floor": str(floor), "initial": "0.05", "maintenance": "0.025"},
    ]
    case = read_case(
        {
            "assets": {"USD": {}},
            "markets": {"M": {"settle": "USD", "tiers": tiers}},
            "prices": {"M": "50000"},
            "accounts": [{"id": "a", "positions": [{"market": "M", "size": str(size), "entry": "50000"}]}],
        }
    )
    required = measure(case.accounts["a"], case.valuation, MAINTENANCE).requirement
    assert required == (floor // 100 + (5 * floor - floor) // 40) * 10**6
    with pytest.raises(
        RulebookError, match=r"^markets\.M\.tiers\[1\]\.floor is 10{25}, beyond .*: leave this tier out$"
    ):
        prove_limits(case.tables)
