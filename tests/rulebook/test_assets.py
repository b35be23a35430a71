"""Assets of a rulebook: weights, loans, and what the reporting asset does not have."""

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import INITIAL, MAINTENANCE, read_rulebook
from tests.rulebook.house import BTC, PERP, refusal


def weight_of(fields):
    return read_rulebook({"reporting": "USD", "assets": {"USD": {}, "ETH": fields}}).assets["ETH"].weight


def test_the_loan_to_value_form_equals_the_weight_form():
    loan = weight_of({"loan_to_value": "0.75", "liquidation_threshold": "0.8"})
    assert loan == weight_of({"weight": {"initial": "0.75", "maintenance": "0.8"}})
    assert (loan[INITIAL], loan[MAINTENANCE]) == (750_000_000, 800_000_000)
    assert loan == (750_000_000, 787_500_000, 800_000_000, 775_000_000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loan_to_value": "0.75"}, "assets.ETH.liquidation_threshold is missing: add it"),
        ({"liquidation_threshold": "0.75"}, "assets.ETH.loan_to_value is missing: add it"),
        ({"weight": {"initial": "0.9"}}, "assets.ETH.weight.maintenance is missing: add it"),
    ],
)
def test_half_of_a_weight_is_refused(fields, message):
    with pytest.raises(RulebookError) as caught:
        weight_of(fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"loan_to_value": "0.85", "liquidation_threshold": "0.8"},
        {"weight": {"initial": "0.85", "maintenance": "0.8"}},
        {"weight": {"initial": "0.8", "maintenance": "0.9", "call": "0.95"}},
        {"weight": {"initial": "0.8", "maintenance": "0.9", "target": "0.95"}},
    ],
)
def test_weights_out_of_order_are_refused(fields):
    with pytest.raises(
        RulebookError, match=r"^assets\.ETH\..*initial <= call <= maintenance and target <= maintenance"
    ):
        weight_of(fields)


def test_a_call_weight_out_of_order_is_refused_by_its_own_path_and_value():
    with pytest.raises(RulebookError, match=r"assets\.ETH\.weight\.call is 0\.95"):
        weight_of({"weight": {"initial": "0.8", "maintenance": "0.9", "call": "0.95"}})


def test_a_loan_written_in_both_forms_is_refused_with_the_choice():
    with pytest.raises(RulebookError, match=r"assets\.ETH\.weight .*loan_to_value"):
        weight_of({"loan_to_value": "0.75", "liquidation_threshold": "0.8", "weight": "1"})


def test_debt_and_profit_weights_out_of_order_are_refused():
    debt = refusal((*BTC, "debt_weight"), {"initial": "1.05", "maintenance": "1.1"})
    assert debt.startswith("assets.BTC.debt_weight.initial is 1.05, below maintenance 1.1; ")
    assert "initial >= call >= maintenance" in debt
    debt = refusal((*BTC, "debt_weight"), {"initial": "1.2", "maintenance": "1.1", "target": "1.05"})
    assert debt.startswith("assets.BTC.debt_weight.target is 1.05, below maintenance 1.1; ")
    profit = refusal((*PERP, "profit_weight"), {"initial": "1", "maintenance": "0.5"})
    assert profit.startswith("markets.BTC-PERP.profit_weight.initial is 1, above maintenance 0.5; ")
    assert "initial <= call <= maintenance" in profit
    profit = refusal((*PERP, "profit_weight"), {"initial": "0.5", "maintenance": "1", "call": "0.4"})
    assert profit.startswith("markets.BTC-PERP.profit_weight.call is 0.4, below initial 0.5; ")


def test_a_loan_that_lends_more_than_its_threshold_is_refused_in_its_own_words():
    with pytest.raises(RulebookError) as caught:
        weight_of({"loan_to_value": "0.85", "liquidation_threshold": "0.8"})
    assert str(caught.value).startswith("assets.ETH.loan_to_value is 0.85, above liquidation_threshold 0.8; ")


@pytest.mark.parametrize("field", ["tick", "max_price"])
def test_the_reporting_asset_has_no_price_fields(field):
    message = refusal(("assets", "USD", field), "0.01")
    assert message == (
        f"assets.USD.{field} is '0.01', but USD is the reporting asset, whose price is always 1: leave {field} out"
    )
