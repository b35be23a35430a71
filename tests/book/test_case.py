"""Case files: what they may leave out, and what is refused and why."""

import copy
import json

import pytest

from marginkeep.book import load_case, read_case
from marginkeep.book.account import CROSS
from tests.book.case_table import ALICE, DELETE, ORDER, POSITION, TABLE, TOML, changed, refusal


def test_the_case_of_the_design_becomes_lots_ticks_and_units(tmp_path):
    path = tmp_path / "alice.toml"
    path.write_text(TOML)
    case = load_case(path)
    alice = case.accounts["alice"]
    position = alice.positions[0]
    assert (case.rulebook.name, alice.mode) == ("alice", CROSS)
    assert alice.balances == {0: 10_000 * 10**6, 1: 10_000_000}
    assert (position.size, position.cost) == (-1500, -72_000 * 10**6)  # -1.5 * 48,000
    assert (position.bid_size, position.bid_cost, position.ask_size) == (500, 23_500 * 10**6, 0)  # 0.5 * 47,000
    assert case.valuation.marks == [500_000]
    assert case.valuation.prices == [1, 500_000_000]  # an asset's tick is 10^-4 or finer


def test_toml_and_json_forms_of_a_case_are_the_same_case(tmp_path):
    import tomllib

    (tmp_path / "case.toml").write_text(TOML)
    (tmp_path / "case.json").write_text(json.dumps(tomllib.loads(TOML)))
    toml, json_ = load_case(tmp_path / "case.toml"), load_case(tmp_path / "case.json")
    assert toml.rulebook == json_.rulebook
    assert toml.accounts == json_.accounts
    assert toml.valuation.marks == json_.valuation.marks


def test_maintenance_may_equal_initial_in_a_case():
    tiers = [{"floor": "0", "initial": "0.01", "maintenance": "0.01"}]
    case = read_case(changed((("markets", "BTC-PERP", "tiers"), tiers)))
    assert set(case.rulebook.markets["BTC-PERP"].tiers[0].rates) == {10_000_000}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ((*POSITION, "size"), "-1.5005", ["positions[0].size -1.5005", "lot 0.001", "use -1.501 or -1.5"]),
        ((*ORDER, "size"), "0.0015", ["orders[0].size 0.0015", "lot 0.001", "0.001 or 0.002"]),
        ((*ORDER, "price"), "47000.05", ["orders[0].price 47000.05", "tick 0.1", "47000 or 47000.1"]),
        (("prices", "BTC-PERP"), "50000.05", ["prices.BTC-PERP 50000.05", "tick 0.1", "50000 or 50000.1"]),
        ((*ALICE, "balances"), {"USD": "0.0000001"}, ["accounts[0].balances.USD 0.0000001", "0.000001"]),
    ],
)
def test_a_number_off_its_grid_is_refused_with_its_neighbours(path, value, words):
    message = refusal((path, value))
    assert "is not a multiple of the" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            (*POSITION, "market"),
            "BTC-PREP",
            "accounts[0].positions[0].market is 'BTC-PREP', which is not a market of this case: did you mean 'BTC-",
        ),
        (
            (*ORDER, "market"),
            "ZZZ",
            "accounts[0].orders[0].market is 'ZZZ', which is not a market of this case: known: BTC-PERP",
        ),
        (
            (*POSITION, "market"),
            "BTC",
            "accounts[0].positions[0].market is 'BTC', which is not a market of this case: known: BTC-PERP",
        ),
        (
            ("prices", "EUR"),
            "1.1",
            "prices.EUR: 'EUR' is neither a market nor an asset of this case: known: USD, BTC, BTC-PERP",
        ),
        (("accounts", 0, "colour"), "red", "accounts[0].colour is not a known field: known: balances, id, mode, "),
        ((*POSITION, "entyr"), "1", "accounts[0].positions[0].entyr is not a known field: did you mean 'entry'?"),
        ((*ORDER, "sidee"), "buy", "accounts[0].orders[0].sidee is not a known field: did you mean 'side'?"),
        ((*ORDER, "side"), "long", "accounts[0].orders[0].side is 'long': use one of buy, sell"),
        ((*ALICE, "mode"), "portfolio", "accounts[0].mode is 'portfolio': use one of cross, isolated"),
        ((*POSITION, "size"), "0", "accounts[0].positions[0].size is 0: leave the position out"),
        ((*ORDER, "size"), "-1", "accounts[0].orders[0].size is -1: an order's size must be above 0"),
        ((*ORDER, "price"), "0", "accounts[0].orders[0].price is '0': it must be above 0"),
        ((*POSITION, "entry"), "-5", "accounts[0].positions[0].entry is '-5': it must be above 0"),
        ((*ALICE, "id"), DELETE, "accounts[0].id is missing: add it"),
        ((*POSITION, "entry"), DELETE, "accounts[0].positions[0].entry is missing: add it"),
    ],
)
def test_an_unknown_name_or_wrong_value_is_refused_with_path_and_cure(path, value, message):
    assert refusal((path, value)).startswith(message)


def test_an_unknown_asset_in_a_balance_is_refused_with_those_that_exist():
    message = refusal(((*ALICE, "balances"), {"EUR": "5"}))
    assert message.startswith("accounts[0].balances.EUR: 'EUR' is ")
    assert message.endswith("known: USD, BTC")


@pytest.mark.parametrize(
    ("path", "value", "cure"),
    [
        (("accounts",), {}, "give a list of tables"),
        (("accounts", 0), "x", "give a table of named fields"),
        ((*ALICE, "balances"), [], "give a table of named fields"),
        ((*ALICE, "positions"), {}, "give a list of tables"),
        ((*ALICE, "orders"), "x", "give a list of tables"),
        (("prices",), [], "give a table of named fields"),
        (("assets",), [], "give a table of named fields"),
        (("markets",), [], "give a table of named fields"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_right_one(path, value, cure):
    assert refusal((path, value)).endswith(cure)


def test_a_case_without_accounts_is_a_case():
    assert read_case(changed((("accounts",), []))).accounts == {}
    assert refusal((("accounts",), DELETE)) == "accounts is missing: add it"


def test_reading_does_not_change_the_table_it_reads_where_steps_are_stated():
    table = copy.deepcopy(TABLE)
    read_case(table)
    assert table == TABLE


def test_a_case_without_lots_and_ticks_is_not_changed_by_reading_it():
    table = changed((("markets", "BTC-PERP", "lot"), DELETE), (("markets", "BTC-PERP", "tick"), DELETE))
    before = copy.deepcopy(table)
    read_case(table)
    assert table == before


@pytest.mark.parametrize(
    ("path", "value", "end"),
    [
        ((*POSITION, "size"), "0.0004", "use 0.001, or a finer lot"),
        ((*POSITION, "size"), "-0.0004", "use -0.001, or a finer lot"),
        ((*ORDER, "size"), "0.0004", "use 0.001, or a finer lot"),
        ((*ORDER, "price"), "0.05", "use 0.1, or a finer tick"),
        ((*ALICE, "balances"), {"USD": "0.0000001"}, "use 0 or 0.000001"),
    ],
)
def test_zero_is_offered_as_a_neighbour_only_where_it_is_accepted(path, value, end):
    assert refusal((path, value)).endswith(end)
