"""Rulebooks field by field: defaults, exact numbers, and refusals that say path, value, bound and cure."""

import copy
import json
from fractions import Fraction

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text
from tests.rulebook.house import BTC, DELETE, JSON, PERP, TOML, changed, refusal


def test_numbers_of_a_file_stay_exact_however_they_are_written():
    market = read_rulebook(parse_text(TOML, ".toml", "x")).markets["BTC-PERP"]
    assert (market.lot, market.tick) == (Fraction(1, 1000), Fraction(1, 10))
    assert (market.maker_fee, market.taker_fee) == (-100_000, 500_000)
    assert market.tiers[1].rates == (50_000_000, 31_250_000, 25_000_000, 37_500_000)
    assert market.max_position == 100_000


def test_what_a_rulebook_leaves_out_takes_the_documented_default():
    tiers = [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]
    market = {"settle": "USD", "lot": "1", "tick": "1", "tiers": tiers}
    rulebook = read_rulebook({"assets": {"USD": {}, "ETH": {}}, "markets": {"M": market}}, "unnamed")
    usd, eth, only = rulebook.assets["USD"], rulebook.assets["ETH"], rulebook.markets["M"]
    assert (rulebook.name, rulebook.reporting, usd.decimals, eth.decimals) == ("unnamed", "USD", 6, 8)
    assert (usd.tick, eth.tick) == (1, Fraction(1, 10_000))
    assert set(eth.weight + eth.debt_weight + only.profit_weight) == {10**9}
    assert (only.kind, only.payoff, only.tier_kind, only.tier_unit) == ("perpetual", "linear", "marginal", "quote")
    assert (only.contract_size, only.maker_fee, only.taker_fee) == (1, 0, 0)
    assert only.tiers[0].rates == (20_000_000, 12_500_000, 10_000_000, 15_000_000)


def test_a_single_asset_is_the_reporting_asset_whatever_its_name():
    assert read_rulebook({"assets": {"EUR": {}}}).reporting == "EUR"


@pytest.mark.parametrize(
    "number", ["NaN", "nan", "Infinity", "-inf", "sNaN", "0x10", "1_000", "1,5", "", "0.1.2", "2%"]
)
def test_what_is_no_finite_decimal_is_refused_with_its_path_and_value(number):
    message = refusal((*PERP, "lot"), number)
    assert message == f'markets.BTC-PERP.lot is {number!r}: give a finite decimal number such as "0.001"'


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}, 0.5])
def test_a_value_of_the_wrong_type_is_refused_as_a_number(value):
    message = refusal((*PERP, "lot"), value)
    assert message == f'markets.BTC-PERP.lot is {value!r}: give a decimal string such as "0.001"'


@pytest.mark.parametrize("name", ["lot", "tick", "contract_size", "max_price", "min_price", "max_position"])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_steps_and_limits_must_be_above_zero(name, value):
    assert refusal((*PERP, name), value) == f"markets.BTC-PERP.{name} is {value!r}: it must be above 0"


@pytest.mark.parametrize(
    ("path", "value", "bounds"),
    [
        ((*PERP, "taker_fee"), "0.11", "0 to 0.1"),
        ((*PERP, "taker_fee"), "-0.01", "0 to 0.1"),
        ((*PERP, "maker_fee"), "-0.11", "-0.1 to 0.1"),
        ((*BTC, "weight"), "1.01", "0 to 1"),
        ((*BTC, "weight"), "-0.5", "0 to 1"),
        ((*BTC, "debt_weight"), "0.99", "1 to 4"),
        ((*PERP, "profit_weight"), "1.01", "0 to 1"),
        (("levels", "call"), "1.5", "0 to 1"),
        (("levels", "target"), "-1", "0 to 1"),
        (("liquidation", "penalty"), "0.51", "0 to 0.5"),
        (("liquidation", "slippage"), "0.51", "0 to 0.5"),
        (("liquidation", "liquidator_share"), "1.1", "0 to 1"),
        ((*PERP, "tiers", 0, "initial"), "4.1", "0 to 4"),
        ((*PERP, "tiers", 0, "maintenance"), "-0.01", "0 to 4"),
    ],
)
def test_a_rate_outside_its_bounds_is_refused_with_both_bounds(path, value, bounds):
    written = ".".join(str(key) for key in path).replace(".0.", "[0].")
    assert refusal(path, value) == f"{written} is {value!r}: it must lie from {bounds}"


def test_a_rate_with_too_many_digits_is_refused_with_its_neighbours():
    message = refusal((*PERP, "tiers", 0, "initial"), "0.0200000001")
    assert message.startswith("markets.BTC-PERP.tiers[0].initial 0.0200000001 ")
    assert "0.000000001: use 0.02 or 0.020000001" in message


@pytest.mark.parametrize("decimals", [-1, 10, "8", True, 8.0])
def test_decimals_are_a_whole_number_up_to_nine(decimals):
    assert "assets.BTC.decimals is " in (message := refusal((*BTC, "decimals"), decimals))
    assert "give a whole number from 0 to 9" in message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((*PERP, "taker_fees"), "0", "markets.BTC-PERP.taker_fees is not a known field: did you mean 'taker_fee'?"),
        ((*BTC, "weigth"), "1", "assets.BTC.weigth is not a known field: did you mean 'weight'?"),
        (("levels", "cal"), "0", "levels.cal is not a known field: did you mean 'call'?"),
        (("liquidation", "penality"), "0", "liquidation.penality is not a known field: did you mean 'penalty'?"),
        (("marketss",), {}, "marketss is not a known field: did you mean 'markets'?"),
        (
            (*BTC, "weight", "maintenence"),
            "1",
            "assets.BTC.weight.maintenence is not a known field: did you mean 'maintenance'?",
        ),
        (
            (*PERP, "tiers", 1, "flor"),
            "1",
            "markets.BTC-PERP.tiers[1].flor is not a known field: did you mean 'floor'?",
        ),
    ],
)
def test_a_misspelt_key_is_refused_with_the_name_that_was_meant(path, value, message):
    assert refusal(path, value) == message


def test_a_key_like_no_other_is_refused_with_the_list_of_known_ones():
    message = refusal(("levels", "zzz"), "1")
    assert message == "levels.zzz is not a known field: known: call, target"


@pytest.mark.parametrize("name", ["settle", "lot", "tick", "tiers"])
def test_a_missing_key_is_refused_with_its_path(name):
    assert refusal((*PERP, name), DELETE) == f"markets.BTC-PERP.{name} is missing: add it"


def test_a_missing_key_names_the_one_that_was_probably_meant():
    table = changed((*PERP, "lot"), DELETE)
    table["markets"]["BTC-PERP"]["lots"] = "0.001"
    with pytest.raises(RulebookError, match=r"BTC-PERP\.lot is missing: add it \(did you mean it by 'lots'\?\)"):
        read_rulebook(table)


@pytest.mark.parametrize(
    ("path", "value", "cure"),
    [
        (("assets",), [], "give a table of named fields"),
        (("markets",), "x", "give a table of named fields"),
        ((*PERP, "tiers"), {}, "give a list of tables"),
        ((*PERP, "liquidation"), "x", "give a table of named fields"),
        (("levels",), 1, "give a table of named fields"),
        (("name",), 5, "give a non-empty text"),
        (("name",), "", "give a non-empty text"),
        ((*PERP, "symbol"), {}, "give a non-empty text"),
        ((*PERP, "payoff"), "quanto", "use one of linear, inverse"),
        ((*PERP, "kind"), ["future"], "use one of perpetual, future"),
        ((*PERP, "tier_kind"), "stepped", "use one of marginal, whole_position"),
        ((*PERP, "tier_unit"), "usd", "use one of quote, base, contracts"),
        (BTC, "x", "give a table of named fields"),
    ],
)
def test_a_wrong_type_or_choice_is_refused_with_what_to_give(path, value, cure):
    assert refusal(path, value) == f"{'.'.join(path)} is {value!r}: {cure}"


def test_assets_may_not_be_missing_or_empty():
    assert "assets is missing" in refusal(("assets",), DELETE)
    assert "for example [assets.USD]" in refusal(("assets",), {})


def test_the_reporting_asset_must_exist_and_be_clear():
    assert refusal(("reporting",), "EUR") == "reporting is 'EUR', which is not an asset: use one of USD, BTC"
    with pytest.raises(RulebookError, match=r'reporting is missing: name one of EUR, GBP, as in reporting = "EUR"'):
        read_rulebook({"assets": {"EUR": {}, "GBP": {}}})


def test_one_name_cannot_stand_for_an_asset_and_a_market():
    table = changed((*PERP, "lot"), "0.001")
    table["markets"]["BTC"] = table["markets"].pop("BTC-PERP")
    with pytest.raises(RulebookError, match=r"markets\.BTC has the name of an asset: rename it, .* BTC-PERP"):
        read_rulebook(table)


def test_digits_of_another_script_are_refused():
    refusal((*PERP, "lot"), "١")


def test_reading_does_not_change_the_table_it_reads():
    table = json.loads(JSON, parse_float=str)
    before = copy.deepcopy(table)
    read_rulebook(table)
    assert table == before
