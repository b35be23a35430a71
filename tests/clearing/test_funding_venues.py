"""The documented funding of each venue, by hand."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.clearing.funding_cases import paid_for, paid_on, rate

from marginkeep.clearing.funding_formulas import toward_zero
from marginkeep.clearing.funding_rates import FundingMachine
from marginkeep.clearing.funding_venues import drift_sides, vega_flows
from marginkeep.rulebook.durations import HOUR, MINUTE
from marginkeep.rulebook.funding_presets import binance, derive, drift, dydx, house, hyperliquid, vega
from marginkeep.units import RATE_ONE, floor_div


def test_binance_weighs_later_premiums_more_and_damps_them_toward_the_interest():
    rules = replace(binance("B"), sample_every_ns=2 * HOUR)
    due = paid_for(rules, "0.0004", "0.0008", "0.0012", "0.0016")
    # (1 * 4 + 2 * 8 + 3 * 12 + 4 * 16) / 10 = 12; 0.01 % - 0.12 % = -0.11 %, no less than -0.05 %
    assert due.premium == rate("0.0012")
    assert due.interest == rate("-0.0005")
    assert due.rate == rate("0.0007")


def test_binance_divides_by_eight_hours_over_the_interval():
    rules = replace(binance("B"), sample_every_ns=2 * HOUR, interval_ns=4 * HOUR)
    assert paid_for(rules, "0.0012", "0.0012").rate == rate("0.00035")


def test_within_the_damping_band_the_rate_is_the_interest():
    rules = replace(binance("B"), sample_every_ns=8 * HOUR)
    assert paid_for(rules, "0.0003").rate == rate("0.0001")
    assert paid_for(rules, "-0.0004").rate == rate("0.0001")
    assert paid_for(rules, "-0.0007").rate == rate("-0.0002")


def test_hyperliquid_pays_an_eighth_an_hour_and_at_most_four_percent():
    rules = replace(hyperliquid("H"), sample_every_ns=HOUR)
    assert paid_for(rules, "0.0020").rate == rate("0.0001875")  # (0.2 % - 0.05 %) / 8
    assert paid_for(rules, "0.5").rate == rate("0.04")
    assert paid_for(rules, "-0.5").rate == rate("-0.04")
    assert paid_for(rules, "0.5").uncapped == rate("0.4995")


def test_dydx_pads_the_hour_with_zeros_and_cuts_rates_to_six_decimals():
    rules = replace(dydx("D"), votes="last", margin_gap=rate("0.01"))
    due = paid_for(rules, "0.0010")
    # 0.001 / 60 = 0.00001666..., cut to 0.000016; an eighth of it each hour
    assert (due.premium, due.rate) == (rate("0.000016"), rate("0.000002"))
    # 60 * 0.3, within 6 * 0.01 for 8 hours
    assert paid_for(rules, *["0.3"] * 60).rate == rate("0.0075")


def test_dydx_takes_the_median_of_fifteen_votes_of_which_missing_ones_are_zero():
    for votes, sample in ((8, "0.06"), (7, "0")):
        machine = FundingMachine(replace(dydx("D"), margin_gap=rate("0.01")))
        for _ in range(votes):
            machine.sample(rate("0.06"), 0)
        assert machine.pay(HOUR).premium == rate(sample) // 60


def test_a_premium_counts_no_more_than_its_cap():
    rules = replace(dydx("D"), votes="last", margin_gap=rate("0.01"), premium_cap=rate("0.3"))
    assert paid_for(rules, "5").premium == rate("0.3") // 60
    assert paid_for(replace(rules, premium_cap=0), "-5").premium == -rate("0.6") // 60


def test_drift_pays_a_twenty_fourth_of_a_distance_of_averages_within_a_thirty_third():
    due = paid_on(drift("D"), 10_100, 10_000)
    # 100 ticks and 10,000 / 5,000 = 2 more; 102 / 24 = 4.25 ticks
    assert due.payment == 4_250_000_000
    assert due.rate == rate("0.000425")
    # 10,000 / 33 = 303 ticks at most
    assert paid_on(drift("D"), 20_000, 10_000).payment == 303 * RATE_ONE // 24


def test_vega_pays_the_distance_for_the_share_of_time_outside_auctions():
    machine = FundingMachine(vega("V"))
    machine.sample_prices(1_011, 1_000, 0)
    machine.sample_prices(None, 1_000, 4 * HOUR)
    assert machine.pay(8 * HOUR).payment == 5 * RATE_ONE  # 11 ticks, half of the time, cut to whole ticks


def test_vega_damps_only_where_there_is_interest():
    rules = replace(vega("V"), damping=(rate("-0.01"), rate("0.01")))
    assert paid_on(rules, 1_100, 1_000).payment == 100 * RATE_ONE
    # a rate of 8,760 % a year is 8 % in 8 hours: 1,080 - 1,100 = -20, no less than -10
    interest = rate("87.6")
    assert paid_on(replace(rules, interest=interest), 1_100, 1_000).payment == 90 * RATE_ONE


def test_a_bound_of_the_rate_binds_the_payment_on_the_average():
    rules = replace(vega("V"), lowest=rate("-0.015"), highest=rate("0.005"))
    assert paid_on(rules, 1_010, 1_000).payment == 5 * RATE_ONE
    assert paid_on(rules, 900, 1_000)[:2] == (rate("-0.015"), -15 * RATE_ONE)


def test_derive_averages_over_time_and_adds_its_static_part():
    machine = FundingMachine(derive("D"))
    machine.sample(rate("0.008"), 0)
    machine.sample(rate("0.004"), 45 * MINUTE)
    # (45 * 0.8 % + 15 * 0.4 %) / 60 = 0.7 %; an eighth, and 0.00125 %
    assert machine.pay(HOUR).rate == rate("0.0008875")


def test_the_house_rate_takes_no_more_than_three_quarters_of_the_margin_gap_in_eight_hours():
    rules = replace(house("H"), sample_every_ns=HOUR, margin_gap=rate("0.01"))
    assert paid_for(rules, "0.5").rate == rate("0.0075") // 8
    assert paid_for(rules, "0.0003").rate == rate("0.0001") // 8


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**12), st.integers(1, 10**12), st.integers(0, 10**9))
def test_a_venue_that_is_the_counterparty_never_pays_more_than_its_budget(per_unit, longs, shorts, fees):
    sides = drift_sides(per_unit, longs, -shorts, fees, fees)
    budget = floor_div(fees - fees // 2, 3)
    assert sides.fees >= fees - budget
    paying, receiving = (sides.long_rate, sides.short_rate) if per_unit > 0 else (sides.short_rate, sides.long_rate)
    assert paying == per_unit
    assert abs(receiving) <= abs(per_unit)
    flow = longs * sides.long_rate - shorts * sides.short_rate
    assert flow >= -(budget + 1) * 10**12


def test_flows_are_rounded_down_and_what_is_left_over_is_counted():
    assert vega_flows(10, [10, -10, 0], 1) == ((100,), (100,), 0)
    assert vega_flows(1, [25, -15, -10], 10) == ((2,), (1, 1), 0)
    assert vega_flows(-3, [15, 5, -20], 10) == ((6,), (4, 1), 1)


def test_rounding_toward_zero_is_the_same_on_both_sides():
    assert (toward_zero(7, 2), toward_zero(-7, 2), toward_zero(-4, 2)) == (3, -3, -2)
