"""Markets of a rulebook: expiry, fees and stated limits."""

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import read_rulebook
from tests.rulebook.house import PERP, changed, refusal


def test_a_future_needs_an_expiry_and_a_perpetual_has_none():
    assert "markets.BTC-PERP.expiry is missing: a future needs one" in refusal((*PERP, "kind"), "future")
    message = refusal((*PERP, "expiry"), "2027-03-26T08:00:00Z")
    assert message == (
        "markets.BTC-PERP.expiry is '2027-03-26T08:00:00Z', but a perpetual has none: use kind = \"future\""
    )
    table = changed((*PERP, "kind"), "future")
    table["markets"]["BTC-PERP"]["expiry"] = "2027-03-26T08:00:00Z"
    assert read_rulebook(table).markets["BTC-PERP"].expiry == "2027-03-26T08:00:00Z"


def future(expiry):
    table = changed((*PERP, "kind"), "future")
    table["markets"]["BTC-PERP"]["expiry"] = expiry
    return read_rulebook(table).markets["BTC-PERP"]


@pytest.mark.parametrize(
    "expiry",
    [
        *("soon", "2027-03-26", "2027-03-26T08:00:00", "2027-03-26 08:00:00Z", "2027-03-26T08:00:00+02:00"),
        *("2027-13-26T08:00:00Z", "2027-00-26T08:00:00Z", "2027-04-31T08:00:00Z", "2027-04-00T08:00:00Z"),
        *("2027-02-29T08:00:00Z", "2100-02-29T08:00:00Z", "2027-03-26T24:00:00Z", "2027-03-26T08:60:00Z"),
        *("2027-03-26T08:00:60Z", "٢٠٢٧-03-26T08:00:00Z", "2027-03-26T08:00:00Z ", 20270326),
    ],
)
def test_an_expiry_that_is_no_utc_time_is_refused(expiry):
    with pytest.raises(RulebookError) as caught:
        future(expiry)
    assert str(caught.value).startswith(f"markets.BTC-PERP.expiry is {expiry!r}: give a UTC time in quotes, as in ")


def test_an_expiry_may_be_any_day_of_the_calendar():
    for day in ("2028-02-29", "2000-02-29", "2027-12-31", "2027-01-01"):
        assert future(f"{day}T23:59:59Z").expiry == f"{day}T23:59:59Z"


def test_a_rebate_above_the_taker_fee_is_refused_and_one_equal_to_it_passes():
    message = refusal((*PERP, "maker_fee"), "-0.000500001")
    assert message.startswith("markets.BTC-PERP.maker_fee is -0.000500001, which pays back more than taker_fee 0.0005 ")
    assert "raise one of them" in message
    assert read_rulebook(changed((*PERP, "maker_fee"), "-0.0005")).markets["BTC-PERP"].maker_fee == -500_000


def test_a_limit_below_one_step_is_refused_and_one_between_two_steps_is_the_lower():
    message = refusal((*PERP, "max_price"), "0.05")
    assert message == "markets.BTC-PERP.max_price is 0.05, below one tick of 0.1: raise it to that or more"
    message = refusal((*PERP, "max_position"), "0.0001")
    assert message == "markets.BTC-PERP.max_position is 0.0001, below one lot of 0.001: raise it to that or more"
    assert read_rulebook(changed((*PERP, "max_price"), "100.19")).markets["BTC-PERP"].max_price == 1001


def test_an_unknown_settle_asset_is_refused_with_those_that_exist():
    message = refusal((*PERP, "settle"), "USDT")
    assert message == "markets.BTC-PERP.settle is 'USDT', which is not an asset: use one of USD, BTC"
