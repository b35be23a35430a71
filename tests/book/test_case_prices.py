"""Prices of a case: which one wins, the lots and ticks inferred from them, and prices that are refused."""

from fractions import Fraction

import pytest

from marginkeep.book import read_case
from marginkeep.errors import InputError
from tests.book.case_table import ALICE, DELETE, accounts, changed, refusal


def test_lot_and_tick_are_inferred_as_fine_as_the_case_needs_and_no_finer():
    table = accounts(
        {
            "id": "a",
            "positions": [{"market": "BTC-PERP", "size": "-1.5", "entry": "48000.123456"}],
            "orders": [{"market": "BTC-PERP", "side": "sell", "size": "0.25", "price": "51000.5"}],
        }
    )
    del table["markets"]["BTC-PERP"]["lot"], table["markets"]["BTC-PERP"]["tick"]
    table["prices"]["BTC-PERP"] = "50000.125"
    case = read_case(table)
    market = case.rulebook.markets["BTC-PERP"]
    assert (market.lot, market.tick) == (Fraction(1, 100), Fraction(1, 1000))
    assert case.accounts["a"].positions[0].size == -150
    assert case.valuation.marks == [50_000_125]


def test_whole_numbers_infer_a_lot_and_tick_of_one():
    table = accounts({"id": "a", "positions": [{"market": "BTC-PERP", "size": "20", "entry": "48000"}]})
    del table["markets"]["BTC-PERP"]["lot"], table["markets"]["BTC-PERP"]["tick"]
    market = read_case(table).rulebook.markets["BTC-PERP"]
    assert (market.lot, market.tick) == (1, 1)


def test_a_what_if_price_finer_than_the_file_refines_an_inferred_tick():
    table = changed((("markets", "BTC-PERP", "tick"), DELETE), ((*ALICE, "orders"), []))
    case = read_case(table, {"BTC-PERP": "50000.25", "BTC": "50000.00001"})
    assert case.rulebook.markets["BTC-PERP"].tick == Fraction(1, 100)
    assert case.valuation.marks == [5_000_025]
    assert case.valuation.prices[1] * case.rulebook.assets["BTC"].tick == Fraction("50000.00001")


def test_a_missing_mark_is_refused_where_a_position_needs_it_and_only_there():
    message = refusal((("prices",), {}))
    assert message == 'prices.BTC-PERP is missing: its mark is needed, as in [prices] BTC-PERP = "100"'
    case = read_case(changed((("prices",), {}), (("accounts",), [{"id": "a", "balances": {"USD": "1"}}])))
    assert case.valuation.marks == [0]


def test_a_missing_asset_price_is_refused_with_an_example():
    message = refusal((("assets", "BTC", "price"), DELETE))
    assert message == 'assets.BTC.price is missing: give it, as in price = "1.00"'


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", True, None])
@pytest.mark.parametrize("path", [("prices", "BTC-PERP"), ("assets", "BTC", "price")])
def test_a_price_that_is_no_positive_number_is_refused(path, price):
    assert refusal((path, price)).startswith(f"{'.'.join(path)} is {price!r}: ")


def test_the_reporting_asset_has_price_one():
    message = refusal((("prices", "USD"), "1.01"))
    assert message == "prices.USD is 1.01: USD is the reporting asset, its price is 1"
    assert read_case(changed((("prices", "USD"), "1.00"))).valuation.prices[0] == 1


def test_the_prices_table_wins_over_the_asset_and_a_what_if_over_both():
    table = changed((("prices", "BTC"), "40000"))
    assert read_case(table).valuation.prices[1] == 400_000_000
    assert read_case(table, {"BTC": "30000"}).valuation.prices[1] == 300_000_000
    assert read_case(table, {"BTC-PERP": "45000"}).valuation.marks == [450_000]


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ({"BTC": "0"}, ["price of BTC is 0", "above 0"]),
        ({"BTC": "NaN"}, ["price of BTC is 'NaN'", "finite"]),
        ({"BTC-PERP": "-1"}, ["price of BTC-PERP is -1", "above 0"]),
        ({"BTC-PREP": "1"}, ["--price", "'BTC-PREP'", "did you mean 'BTC-PERP'?"]),
        ({"BTC-PERP": "40000.05"}, ["--price", "40000.05", "tick 0.1"]),
        ({"USD": "2"}, ["--price", "reporting asset"]),
    ],
)
def test_a_bad_what_if_price_is_refused(prices, words):
    message = refusal(prices=prices)
    for word in words:
        assert word in message


def test_a_what_if_price_off_the_tick_is_refused_with_the_market():
    assert refusal(prices={"BTC-PERP": "40000.05"}) == (
        "--price BTC-PERP 40000.05 is not a multiple of the tick 0.1: use 40000 or 40000.1, or a finer tick"
    )
    assert refusal((("prices", "BTC-PERP"), "50000.05")) == (
        "prices.BTC-PERP 50000.05 is not a multiple of the tick 0.1: use 50000 or 50000.1, or a finer tick"
    )
    assert refusal((("assets", "BTC", "tick"), "5"), (("assets", "BTC", "price"), "50001")) == (
        "assets.BTC.price 50001 is not a multiple of the tick 5: use 50000 or 50005, or a finer tick"
    )


def test_a_case_can_be_read_again_with_a_finer_what_if_price():
    table = changed((("markets", "BTC-PERP", "tick"), DELETE))
    read_case(table)
    assert read_case(table, {"BTC-PERP": "50000.25"}).valuation.marks == [5_000_025]


def test_a_price_of_many_digits_is_kept_or_refused_but_never_rounded():
    price = "50000.00000000000000000000000000001"
    table = changed((("markets", "BTC-PERP", "tick"), DELETE), (("prices", "BTC-PERP"), price))
    try:
        case = read_case(table)
    except InputError:
        return
    assert case.valuation.marks[0] * case.rulebook.markets["BTC-PERP"].tick == Fraction(price)
