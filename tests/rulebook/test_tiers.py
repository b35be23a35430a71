"""Tier tables: what is accepted, in the house's words and a venue's, and what is refused and why."""

from fractions import Fraction

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import CALL, INITIAL, MAINTENANCE, TARGET
from marginkeep.rulebook.fields import Fields
from marginkeep.rulebook.tiers import TIERS_MAX, read_tiers

SHARES = (250_000_000, 500_000_000)


def tier(floor, initial, maintenance, **others):
    return {"floor": floor, "initial": initial, "maintenance": maintenance, **others}


TWO = (tier("0", "0.02", "0.01"), tier("1000", "0.05", "0.025"))


def read(*rows, kind="marginal", strict=True):
    return read_tiers([Fields(dict(row), f"m.tiers[{i}]") for i, row in enumerate(rows)], SHARES, kind, strict)


def refusal(*rows, kind="marginal", strict=True):
    with pytest.raises(RulebookError) as caught:
        read(*rows, kind=kind, strict=strict)
    return str(caught.value)


def test_call_and_target_lie_at_their_share_of_the_way_rounded_up():
    (only,) = read(tier("0", "0.010000001", "0.01"))
    assert only.rates == (10_000_001, 10_000_001, 10_000_000, 10_000_001)
    (only,) = read(tier("0", "0.02", "0.01", call="0.02", target="0.01"))
    assert only.rates == (20_000_000, 20_000_000, 10_000_000, 10_000_000)


def test_a_venues_words_read_as_the_house_words():
    house = read(*TWO)
    venue = read(
        {"floor": "0", "cap": "1000", "max_leverage": "50", "mmr": "0.01", "maintenance_amount": "0"},
        {"floor": "1000", "cap": None, "max_leverage": "20", "mmr": "0.025", "maintenance_amount": "15"},
    )
    assert venue == house


def test_an_initial_rate_from_leverage_is_rounded_up_and_a_published_one_wins():
    (third,) = read({"floor": "0", "max_leverage": "3", "mmr": "0.01"})
    assert third.rates[INITIAL] == 333_333_334
    (stated,) = read({"floor": "0", "max_leverage": "3", "imr": "0.34", "mmr": "0.01"})
    assert stated.rates[INITIAL] == 340_000_000


def test_a_published_initial_rate_is_enough_without_leverage():
    assert read({"floor": "0", "imr": "0.34", "mmr": "0.01"})[0].rates[INITIAL] == 340_000_000


@pytest.mark.parametrize("amount", [None, "0"])
def test_a_whole_position_table_may_say_that_it_deducts_nothing(amount):
    assert read(TWO[0] | {"maintenance_amount": amount}, kind="whole_position")


def test_a_hole_and_an_overlap_are_told_apart_with_both_values():
    message = refusal(TWO[0] | {"cap": "999"}, TWO[1])
    assert message == "m.tiers[0].cap is 999 but the next floor is 1000: a hole between tiers; make them equal"
    message = refusal(TWO[0] | {"cap": "1000.5"}, TWO[1])
    assert message == "m.tiers[0].cap is 1000.5 but the next floor is 1000: an overlap between tiers; make them equal"
    assert len(read(TWO[0] | {"cap": "1000.0"}, TWO[1])) == 2


def test_a_bounded_last_tier_is_refused_with_where_the_limit_belongs():
    message = refusal(TWO[0], TWO[1] | {"cap": "5000"})
    assert message.startswith("m.tiers[1].cap bounds the last tier")
    assert "max_position" in message
    assert len(read(TWO[0], TWO[1] | {"cap": None})) == 2


@pytest.mark.parametrize("floor", ["0", "-1"])
def test_floors_that_do_not_rise_are_refused(floor):
    message = refusal(TWO[0], TWO[1] | {"floor": floor})
    assert message == (f"m.tiers[1].floor is {floor}, not above the floor before it, 0: list tiers by rising floor")


def test_unsorted_floors_are_refused_at_the_tier_that_is_out_of_place():
    message = refusal(TWO[0], tier("5000", "0.06", "0.03"), tier("1000", "0.07", "0.04"))
    assert message.startswith("m.tiers[2].floor is 1000, not above the floor before it, 5000")


@pytest.mark.parametrize("floor", ["1", "-1", "0.000000001"])
def test_the_first_tier_must_start_at_zero(floor):
    assert refusal(tier(floor, "0.02", "0.01")) == f"m.tiers[0].floor is {floor}: the first tier must start at 0"


@pytest.mark.parametrize(
    ("name", "second", "fallen", "before"),
    [
        ("initial", tier("1000", "0.019", "0.01"), "0.019", "0.02"),
        ("maintenance", tier("1000", "0.05", "0.009"), "0.009", "0.01"),
        ("call", tier("1000", "0.05", "0.01", call="0.012"), "0.012", "0.0125"),
        ("target", tier("1000", "0.05", "0.01", target="0.014"), "0.014", "0.015"),
    ],
)
def test_a_rate_that_falls_as_positions_grow_is_refused_with_both_rates(name, second, fallen, before):
    message = refusal(tier("0", "0.02", "0.01"), second)
    assert message == (
        f"m.tiers[1].{name} is {fallen}, below the tier before it, {before}: rates must not fall as positions grow"
    )


def test_equal_rates_in_neighbouring_tiers_are_no_fall():
    assert len(read(TWO[0], tier("1000", "0.02", "0.01"))) == 2


def test_maintenance_equal_to_initial_is_refused_in_a_rulebook_and_allowed_in_a_case():
    message = refusal(tier("0", "0.01", "0.01"))
    assert message.startswith("m.tiers[0].maintenance is 0.01, initial is 0.01: maintenance must be below initial")
    (only,) = read(tier("0", "0.01", "0.01"), strict=False)
    assert only.rates == (10_000_000,) * 4


def test_maintenance_above_initial_is_refused_everywhere():
    assert "must be below initial" in refusal(tier("0", "0.01", "0.010000001"))
    assert "must be at most initial" in refusal(tier("0", "0.01", "0.010000001"), strict=False)


def test_a_maintenance_rate_of_one_or_more_is_refused_in_a_rulebook_only():
    assert refusal(tier("0", "1.5", "1")) == "m.tiers[0].maintenance is 1: a maintenance rate must be below 1"
    assert read(tier("0", "1.5", "1"), strict=False)[0].rates[MAINTENANCE] == 10**9


@pytest.mark.parametrize("call", ["0.009", "0.021"])
def test_call_must_lie_from_maintenance_to_initial(call):
    message = refusal(tier("0", "0.02", "0.01", call=call))
    assert message == f"m.tiers[0].call is {call}: it must lie from maintenance 0.01 to initial 0.02"


def test_target_may_be_above_initial_but_not_below_maintenance():
    message = refusal(tier("0", "0.02", "0.01", target="0.009"))
    assert message == "m.tiers[0].target is 0.009, below maintenance 0.01: liquidation would stop too early"
    (only,) = read(tier("0", "0.02", "0.01", call="0.01", target="0.03"))
    assert (only.rates[CALL], only.rates[TARGET]) == (10_000_000, 30_000_000)


def test_a_wrong_maintenance_amount_is_refused_with_the_right_one():
    message = refusal(TWO[0] | {"maintenance_amount": "0"}, TWO[1] | {"maintenance_amount": "14.99"})
    assert message.startswith("m.tiers[1].maintenance_amount is 14.99, but floors and rates make it 15: ")
    message = refusal(TWO[0] | {"maintenance_amount": "1"})
    assert message.startswith("m.tiers[0].maintenance_amount is 1, but floors and rates make it 0: ")


def test_a_table_has_at_least_one_and_at_most_64_tiers():
    rows = [tier(str(index), "0.02", "0.01") for index in range(TIERS_MAX + 1)]
    assert len(read(*rows[:-1])) == TIERS_MAX == 64
    message = refusal(*rows)
    assert message.startswith("tiers has 65 tiers, the bound is 64: join neighbours")
    assert "give at least one tier with floor 0" in refusal()


def test_an_empty_table_is_refused_with_its_path():
    from marginkeep.rulebook import read_rulebook

    market = {"settle": "USD", "lot": "1", "tick": "1", "tiers": []}
    with pytest.raises(RulebookError, match=r"markets\.M\.tiers"):
        read_rulebook({"assets": {"USD": {}}, "markets": {"M": market}})


def test_leverage_must_be_above_zero():
    message = refusal({"floor": "0", "max_leverage": "0", "mmr": "0.01"})
    assert message == "m.tiers[0].max_leverage is '0': it must be above 0"


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"floor": "0", "max_leverage": "50", "mmr": "0.03"}, "m.tiers[0].mmr is 0.03"),
        ({"floor": "0", "max_leverage": "50"}, "m.tiers[0].mmr is missing"),
        ({"floor": "0", "imr": "0.02", "mmr": "1.5"}, "m.tiers[0].mmr is 1.5, initial is 0.02"),
        ({"floor": "0", "mmr": "0.01"}, "m.tiers[0].max_leverage is missing"),
        ({"floor": "0", "max_leverge": "50", "mmr": "0.01"}, "m.tiers[0].max_leverage is missing"),
    ],
)
def test_a_venues_tier_is_refused_in_the_venues_words(row, path):
    assert refusal(row).startswith(path)


def test_floors_are_kept_exactly():
    assert read(TWO[0], TWO[1] | {"floor": "1234.000000000000000001"})[1].floor == Fraction(1234 * 10**18 + 1, 10**18)


def test_a_leverage_that_rises_with_the_position_is_refused_in_the_venues_words():
    rows = [{"floor": "0", "max_leverage": "20", "mmr": "0.01"}, {"floor": "9", "max_leverage": "25", "mmr": "0.02"}]
    assert refusal(*rows).startswith("m.tiers[1].max_leverage makes initial 0.04, below the tier before it, 0.05: ")


def test_a_leverage_that_makes_a_rate_above_the_highest_is_refused():
    message = refusal({"floor": "0", "max_leverage": "0.2499", "mmr": "0.01"})
    assert message == "m.tiers[0].max_leverage is 0.2499: it must be at least 0.25"
    assert read({"floor": "0", "max_leverage": "0.25", "mmr": "0.01"})[0].rates[INITIAL] == 4 * 10**9


@pytest.mark.parametrize(("house", "venue"), [("initial", "imr"), ("maintenance", "mmr")])
def test_one_rate_in_two_words_is_refused(house, venue):
    message = refusal(TWO[0] | {venue: "0.015"})
    assert message == f"m.tiers[0].{house} and m.tiers[0].{venue} state the same rate: leave one of them out"


def test_a_null_is_as_good_as_a_rate_that_is_not_given():
    venue = {"floor": "0", "max_leverage": "50", "imr": None, "mmr": "0.01", "initial": None, "call": None}
    assert read(venue) == read(TWO[0])


def test_a_whole_position_table_that_deducts_an_amount_is_refused():
    message = refusal(TWO[0], TWO[1] | {"maintenance_amount": "15"}, kind="whole_position")
    assert message.startswith("m.tiers[1].maintenance_amount is 15, but a whole-position table deducts nothing: ")
