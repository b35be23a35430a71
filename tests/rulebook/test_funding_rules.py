"""The funding and limits tables of a rulebook: presets, overrides, refusals, canonical text."""

from dataclasses import replace
from fractions import Fraction

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import read_rulebook, rulebook_hash
from marginkeep.rulebook.canonical import compare
from marginkeep.rulebook.durations import DAY, HOUR, MINUTE, SECOND
from marginkeep.rulebook.fields import Fields
from marginkeep.rulebook.funding_canonical import funding_lines, limit_lines
from marginkeep.rulebook.funding_presets import PRESETS
from marginkeep.rulebook.funding_reading import read_funding
from marginkeep.rulebook.funding_rules import margin_cap, margin_gap
from marginkeep.rulebook.limit_rules import MarginScale, SizeBound, largest_size, read_limits, scaled_initial
from marginkeep.units import RATE_ONE
from tests.clearing.funding_house import tables

BASE = {"settle": "USD", "lot": "0.001", "tick": "0.1"}
INVERSE = {**BASE, "settle": "BTC", "lot": "1", "payoff": "inverse"}
DATED = {**BASE, "kind": "future", "expiry": "2027-03-26T08:00:00Z"}
TIERS = [{"floor": "0", "initial": "0.02", "maintenance": "0.011234567"}]
MARKETS = read_rulebook(
    {
        "assets": {"USD": {}, "BTC": {"decimals": 8, "tick": "0.01"}},
        "markets": {
            name: {**market, "tiers": TIERS} for name, market in (("M", BASE), ("INVERSE", INVERSE), ("DATED", DATED))
        },
    }
).markets
UNIT = Fraction(1, 10**6)


def read(market="M", **row):
    (rules,) = read_funding(Fields({"funding": {market: row}}, ""), MARKETS, list(MARKETS))
    return rules


def refusal(market="M", **row):
    with pytest.raises(RulebookError) as caught:
        read(market, **row)
    return str(caught.value)


def limits(**row):
    (rules,) = read_limits(Fields({"limits": {"M": row}}, ""), MARKETS, UNIT, ["M"])
    return rules


def limits_refusal(measured=("M",), **row):
    with pytest.raises(RulebookError) as caught:
        read_limits(Fields({"limits": {"M": row}}, ""), MARKETS, UNIT, measured)
    return str(caught.value)


# Funding --------------------------------------------------------------------------------------------------------


def test_without_a_table_no_market_is_funded_by_rules():
    assert read_funding(Fields({}, ""), MARKETS, list(MARKETS)) == ()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_is_read_as_it_stands_with_the_margin_gap_of_its_market(preset):
    expected = PRESETS[preset]("M")
    gap = margin_gap(20_000_000, 11_234_567, expected.step)
    assert read(preset=preset) == replace(expected, margin_gap=gap)


def test_the_margin_gap_is_counted_in_the_steps_of_a_venue():
    assert read().margin_gap == 8_765_433
    assert read(preset="dydx").margin_gap == 8_766_000
    assert read(preset="dydx").most_rate == 52_596_000
    assert read(cap="0.001").most_rate == 1_000_000
    assert read(cap="0.5").most_rate == margin_cap(RATE_ONE * 3 // 4, 8_765_433, 1) == 6_574_074
    assert read(cap_of_margin="0").most_rate is None
    assert read(premium_cap="0.1").most_premium == RATE_ONE // 10


def test_every_part_of_a_preset_may_be_overridden():
    rules = read(
        preset="binance",
        interval="4h",
        sample_every="10s",
        average="mean",
        zero_padded=True,
        votes="median",
        least_votes=3,
        tail="0.1",
        premium_cap="0.02",
        premium_cap_of_margin="60",
        step="0.000001",
        interest="0.0002",
        interest_period="1d",
        damping={"lower": "-0.001", "upper": "0.002"},
        scale="1.5",
        by_coverage=True,
        cap="0.01",
        cap_of_margin="6",
        most="0.003",
        imbalance={"slope": "0.001", "most": "0.0005"},
        paid_on="index",
        accrual="continuous",
        stale_after="30s",
    )
    assert (rules.interval_ns, rules.period_ns, rules.samples) == (4 * HOUR, 8 * HOUR, 1_440)
    assert (rules.average, rules.votes, rules.least_votes, rules.tail) == ("mean", "median", 3, RATE_ONE // 10)
    assert (rules.interest, rules.interest_period_ns, rules.damping) == (200_000, DAY, (-1_000_000, 2_000_000))
    assert (rules.lowest, rules.highest, rules.scale) == (-3_000_000, 3_000_000, 1_500_000_000)
    assert (rules.imbalance_slope, rules.imbalance_most) == (1_000_000, 500_000)
    assert rules.zero_padded
    assert rules.by_coverage
    assert (rules.step, rules.premium_cap, rules.paid_on) == (1_000, 20_000_000, "index")
    assert (rules.accrual, rules.stale_after_ns) == ("continuous", 30 * SECOND)


def test_damping_is_a_rate_for_both_sides_a_table_or_false():
    assert read(damping="0.001").damping == (-1_000_000, 1_000_000)
    assert read(damping=False).damping is None
    assert read(preset="dydx", damping="0").damping == (0, 0)


def test_vegas_period_is_its_interval_and_binances_is_not():
    assert read(preset="vega", interval="1h").period_ns == HOUR
    assert read(preset="vega", interval="1h", period="8h").period_ns == 8 * HOUR
    assert read(preset="binance", interval="1h").period_ns == 8 * HOUR
    assert read(preset="vega").sample_every_ns == MINUTE
    assert read(preset="hyperliquid").sample_every_ns == 5 * SECOND


def test_an_imbalance_is_bounded_by_its_slope_unless_stated():
    assert read(imbalance={"slope": "0.002"}).imbalance_most == 2_000_000


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"preset": "bitmex"}, "funding.M.preset is 'bitmex': use one of house"),
        ({"intervall": "1h"}, "funding.M.intervall is not a known field: did you mean 'interval'?"),
        ({"interval": "0s"}, "funding.M.interval is '0s': it must be above 0"),
        ({"sample_every": "7m"}, "does not divide the interval of 1h"),
        ({"sample_every": "1ms"}, "makes 3600000 samples a payment: at most 100000"),
        ({"sample_every": "200ms", "tail": "0.1"}, "makes 18000 samples a payment: at most 10000"),
        ({"average": "rising", "tail": "0.1"}, "funding.M.tail leaves samples out of a plain mean only"),
        ({"tail": "0.5"}, "must lie from 0 to 0.499999999"),
        ({"preset": "drift", "zero_padded": True}, "concerns single samples, which average 'prices' does not have"),
        ({"average": "time_weighted", "least_votes": 3}, "funding.M.least_votes concerns single samples"),
        ({"paid_on": "average"}, "which only average 'prices' knows"),
        ({"whole_ticks": True}, "rounds payments on the average alone"),
        ({"cap_divisor": 33}, "bounds a distance of prices"),
        ({"most": "0.01", "lowest": "-0.02"}, "funding.M.most stands beside lowest"),
        ({"lowest": "0.02", "highest": "0.01"}, "funding.M.lowest is 0.02, above highest 0.01: lower it"),
        ({"highest": "0.3"}, "must lie from -0.25 to 0.25"),
        ({"damping": {"lower": "0.1", "upper": "0"}}, "funding.M.damping.lower is 0.1, above upper 0"),
        ({"damping": "-0.1"}, "funding.M.damping is '-0.1': it must lie from 0 to 1"),
        ({"imbalance": {"slope": "0.1", "steep": "1"}}, "funding.M.imbalance.steep is not a known field"),
    ],
)
def test_what_makes_no_sense_is_refused(row, message):
    assert message in refusal(**row)


def test_a_market_that_cannot_be_funded_is_refused():
    assert "funding.X is 'X', which is not a market" in refusal("X")
    assert "funding.DATED funds a future" in refusal("DATED")
    assert "funding.INVERSE.average is 'prices'" in refusal("INVERSE", preset="drift")
    assert read("INVERSE").market == "INVERSE"
    with pytest.raises(RulebookError, match=r"add \[oracle.marks.M\]"):
        read_funding(Fields({"funding": {"M": {}}}, ""), MARKETS, ["DATED"])


def test_the_canonical_text_states_every_parameter_and_tells_rules_apart():
    lines = dict(funding_lines([read(preset="dydx")]))
    assert lines["funding.M.interval"] == "3600s"
    assert lines["funding.M.damping"] == "none"
    assert lines["funding.M.cap_of_margin"] == "6"
    assert lines["funding.M.least_votes"] == "15"
    assert lines["funding.M.zero_padded"] == "true"
    assert dict(funding_lines([read()]))["funding.M.damping"] == "-0.0005 to 0.0005"
    texts = [tuple(funding_lines([read(preset=preset)])) for preset in PRESETS]
    assert len(set(texts)) == len(PRESETS)


# Limits ---------------------------------------------------------------------------------------------------------


def test_limits_are_counted_in_lots_units_and_multiples_of_depth():
    rules = limits(
        account={"size": "100", "value": "5000000", "depth": "0.5"},
        group={"size": "250.0005"},
        interest={"depth": "20"},
        margin={"from": "20000000", "to": "50000000"},
    )
    assert rules.account == SizeBound(100_000, 5 * 10**12, RATE_ONE // 2)
    assert rules.group == SizeBound(250_000)
    assert rules.interest == SizeBound(depths=20 * RATE_ONE)
    assert rules.margin == MarginScale(20 * 10**12, 50 * 10**12)
    assert limits() == replace(rules, account=SizeBound(), group=SizeBound(), interest=SizeBound(), margin=None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"account": {"size": "0"}}, "limits.M.account.size is '0': it must be above 0"),
        ({"acount": {}}, "limits.M.acount is not a known field: did you mean 'account'?"),
        ({"group": {"lots": 1}}, "limits.M.group.lots is not a known field"),
        ({"margin": {"from": "5", "to": "5"}}, "limits.M.margin scales from '5' to '5': from must be 0 or more"),
        ({"margin": {"from": "-1", "to": "5"}}, "from must be 0 or more, and below to"),
        ({"margin": {"to": "5"}}, "limits.M.margin.from is missing"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(row, message):
    assert message in limits_refusal(**row)


def test_a_multiple_of_depth_needs_a_depth():
    assert "limits.M.account.depth is a multiple of the market's depth, which nothing states" in limits_refusal(
        measured=(), account={"depth": "1"}
    )


def test_the_canonical_text_of_limits_is_in_contracts_and_reporting_units():
    rules = limits(account={"size": "100", "value": "5.5", "depth": "0.5"}, margin={"from": "1", "to": "2"})
    assert dict(limit_lines([rules], MARKETS, UNIT)) == {
        "limits.M.account.size": "100",
        "limits.M.account.value": "5.5",
        "limits.M.account.depth": "0.5",
        "limits.M.margin.from": "1",
        "limits.M.margin.to": "2",
    }


def test_the_smallest_of_the_bounds_that_can_be_told_holds():
    bound = SizeBound(lots=100, value=1_000, depths=2 * RATE_ONE)
    assert largest_size(bound, depth=40, lot_value=(10, 1)) == 80
    assert largest_size(bound, depth=40, lot_value=(30, 2)) == 66
    assert largest_size(bound, depth=None, lot_value=None) == 100
    assert largest_size(SizeBound(), depth=40, lot_value=(10, 1)) is None


def test_initial_margin_rises_from_its_own_rate_to_the_whole_value():
    rates = [scaled_initial(RATE_ONE // 5, interest, 100, 200) for interest in (0, 100, 150, 199, 200, 10**9)]
    assert rates == [200_000_000, 200_000_000, 600_000_000, 992_000_000, RATE_ONE, RATE_ONE]
    assert scaled_initial(RATE_ONE // 5, 10**9, 100, 0) == RATE_ONE // 5
    assert scaled_initial(3 * RATE_ONE, 150, 100, 200) == 3 * RATE_ONE
    assert scaled_initial(0, 1, 0, 3, step=1_000) == 333_333_000
    assert scaled_initial(RATE_ONE // 3, 200, 100, 200, step=1_000) == RATE_ONE


# In a whole rulebook --------------------------------------------------------------------------------------------


def test_a_rulebook_holds_both_and_its_hash_depends_on_them():
    plain = oracle_table()
    del plain["funding"], plain["limits"]
    with_both, without = read_rulebook(oracle_table()), read_rulebook(plain)
    assert [rules.market for rules in with_both.funding] == ["BTC-PERP"]
    assert [rules.market for rules in with_both.limits] == ["BTC-PERP"]
    assert (without.funding, without.limits) == ((), ())
    changed = {difference.path for difference in compare(without, with_both)}
    assert {"funding.BTC-PERP.accrual", "limits.BTC-PERP.account.size"} <= changed
    assert rulebook_hash(with_both) != rulebook_hash(without)


def test_funding_without_a_mark_in_the_oracle_is_refused():
    table = oracle_table()
    del table["oracle"]
    with pytest.raises(RulebookError, match="needs the index that premiums are measured from"):
        read_rulebook(table)


def test_a_depth_that_no_ladder_states_is_refused_in_a_rulebook():
    table = oracle_table()
    table["limits"] = {"BTC-PERP": {"interest": {"depth": "10"}}}
    with pytest.raises(RulebookError, match="a multiple of the market's depth, which nothing states"):
        read_rulebook(table)


def oracle_table():
    whole = tables(None, {"BTC-PERP": {"account": {"size": "2"}}})
    return {**whole, "funding": dict(whole["funding"])}
