"""The deadline of a margin call: what its bound is, that it is exact, and where a rulebook breaks it."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.errors import RulebookError
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.durations import MINUTE, SECOND
from marginkeep.rulebook.ladder_calls import close_cost, largest_move
from marginkeep.units import RATE_ONE
from tests.rulebook.ladder_house import MINIMAL, changed, ladder_of, read, refusal


def test_reminders_that_are_left_out_come_before_the_deadline():
    whole = changed("ladder/calls/deadline", "2m", MINIMAL)
    assert read_rulebook(whole).ladder.calls.reminders_ns == (MINUTE,)
    whole["ladder"]["calls"]["deadline"] = "1m"
    assert read_rulebook(whole).ladder.calls.reminders_ns == ()


def test_the_move_of_a_deadline_is_that_of_the_normal_law():
    years = 600 / 31_557_600
    exact = math.exp(2.5758293035489 * math.sqrt(years)) - 1
    assert largest_move(10 * MINUTE, RATE_ONE, 990_000_000) == pytest.approx(exact * 1e9, abs=2)
    assert largest_move(40 * MINUTE, RATE_ONE // 2, 990_000_000) == largest_move(10 * MINUTE, RATE_ONE, 990_000_000)


def test_a_random_walk_stays_within_the_move_during_the_whole_time_as_often_as_stated():
    """A symmetric walk in place of the price: of all its paths, those that never rise by the move, counted exactly."""
    steps, volatility, probability = 4_000, 1, 0.9
    move = largest_move(31_557_600 * SECOND, volatility * RATE_ONE, round(probability * 1e9))
    barrier = math.log(1 + move / 1e9) * math.sqrt(steps)
    rise = math.ceil(barrier) + (math.ceil(barrier) + steps) % 2
    end_above = sum(math.comb(steps, (steps + end) // 2) for end in range(rise, steps + 1, 2))
    touched = Fraction(2 * end_above - math.comb(steps, (steps + rise) // 2), 2**steps)
    assert float(1 - touched) == pytest.approx(probability, abs=0.01)


def tiers(call, maintenance="0.01"):
    return [{"floor": "0", "initial": "0.5", "call": call, "maintenance": maintenance, "target": "0.5"}]


def needed(rest, cost=0, deadline=10 * MINUTE):
    """The lowest safe call rate in a single tier, in the units of rates."""
    move = largest_move(deadline, RATE_ONE, 990_000_000)
    exact = Fraction(move, RATE_ONE) + (1 + Fraction(move, RATE_ONE)) * Fraction(max(rest, cost), RATE_ONE)
    return math.ceil(exact * RATE_ONE)


def rate(count):
    return f"{count / 1e9:.9f}"


def test_a_call_rate_at_the_bound_is_taken_and_one_rate_step_lower_is_refused():
    bound = needed(10_000_000)
    assert read_rulebook(changed("markets/BTC-PERP/tiers", tiers(rate(bound)), MINIMAL)).ladder.calls
    message = refusal("markets/BTC-PERP/tiers", tiers(rate(bound - 1)), MINIMAL)
    assert message.startswith("ladder.calls.deadline is 10m: in that time a price may move by 0.011")
    for words in (
        "volatility 1, probability 0.99",
        f"In markets.BTC-PERP.tiers[0], call {rate(bound - 1)} and maintenance 0.01,",
        f"{rate(bound)} is needed: move + (1 + move) * 0.01, which is what maintenance requires",
        "give at most 599s",
    ):
        assert words in message


def test_a_short_called_at_the_bound_meets_maintenance_after_the_move_and_a_little_more_breaks_it():
    """The derivation, against the plain arithmetic of one short position worth 1,000,000."""
    call, value = Fraction(needed(10_000_000), RATE_ONE), 1_000_000
    for move, holds in ((largest_move(10 * MINUTE, RATE_ONE, 990_000_000), True), (12_000_000, False)):
        share = Fraction(move, RATE_ONE)
        collateral = call * value - share * value
        assert (collateral >= (1 + share) * value * Fraction(1, 100)) is holds


def test_a_deadline_leaves_room_for_what_a_forced_close_costs():
    whole = changed("markets/ETH-PERP/liquidation", {"slippage": "0.02", "penalty": "0.01"}, MINIMAL)
    whole["markets"]["ETH-PERP"]["tiers"] = tiers(rate(needed(10_000_000, 30_200_000)))
    assert close_cost(read_rulebook(whole).markets["ETH-PERP"], ()) == 30_200_000
    whole["markets"]["ETH-PERP"]["tiers"] = tiers(rate(needed(10_000_000, 30_200_000) - 1))
    with pytest.raises(RulebookError, match=r"\* 0\.0302, which is what closing it costs after the move"):
        read_rulebook(whole)


def test_the_impact_of_a_close_counts_among_its_costs():
    rulebook = read(MINIMAL)
    assert close_cost(rulebook.markets["BTC-PERP"], rulebook.ladder.impacts) == 1_000_000
    assert close_cost(rulebook.markets["ETH-PERP"], rulebook.ladder.impacts) == 0


def two_tiers(call, floor="100000", upper_call="0.2"):
    upper = {"floor": floor, "initial": "0.5", "call": upper_call, "maintenance": "0.05", "target": "0.5"}
    return [*tiers(call), upper]


def test_a_position_that_the_move_lifts_into_a_dearer_tier_must_be_covered_too():
    """Below the floor by the move: the part above it is held at 0.05 then, not at 0.01."""
    move = Fraction(largest_move(10 * MINUTE, RATE_ONE, 990_000_000), RATE_ONE)
    exact = move + (1 + move) * Fraction(1, 100) + move * Fraction(4, 100)
    enough = math.ceil(exact * RATE_ONE)
    read_rulebook(changed("markets/BTC-PERP/tiers", two_tiers(rate(enough)), MINIMAL))
    assert "tiers[1]" in refusal("markets/BTC-PERP/tiers", two_tiers(rate(enough - 1)), MINIMAL)


def test_tiers_that_count_contracts_are_not_left_by_a_move():
    whole = changed("markets/BTC-PERP/tiers", two_tiers(rate(needed(10_000_000)), floor="100"), MINIMAL)
    whole["markets"]["BTC-PERP"]["tier_unit"] = "contracts"
    read_rulebook(whole)


def test_the_last_tier_is_checked_for_positions_of_any_size():
    whole = changed("markets/BTC-PERP/tiers", two_tiers("0.06", upper_call=rate(needed(50_000_000))), MINIMAL)
    read_rulebook(whole)
    whole["markets"]["BTC-PERP"]["tiers"][1]["call"] = rate(needed(50_000_000) - 1)
    with pytest.raises(RulebookError, match=r"tiers\[1\], call 0\.0618\d+ and maintenance 0\.05,"):
        read_rulebook(whole)


def test_whole_position_tiers_by_value_must_cover_the_jump_of_maintenance():
    whole = changed("markets/BTC-PERP/tiers", two_tiers("0.06"), MINIMAL)
    whole["markets"]["BTC-PERP"]["tier_kind"] = "whole_position"
    with pytest.raises(RulebookError, match=r"tiers\[0\], .* \* 0\.05, which is what maintenance"):
        read_rulebook(whole)
    whole["markets"]["BTC-PERP"]["tiers"][0]["call"] = rate(needed(50_000_000))
    read_rulebook(whole)


def test_the_longest_deadline_named_is_safe_and_one_second_more_is_not():
    message = refusal("ladder/calls/deadline", "2h", MINIMAL)
    named = message.rpartition("give at most ")[2].partition(",")[0]
    assert named.endswith("s")
    ladder_of("calls/deadline", named, MINIMAL)
    assert "give at most" in refusal("ladder/calls/deadline", f"{int(named[:-1]) + 1}s", MINIMAL)


def test_where_call_equals_maintenance_no_deadline_is_safe():
    message = refusal("markets/ETH-PERP/tiers", tiers("0.01"), MINIMAL)
    assert message.endswith("raise call, or give no time at all: not even one second is safe")


def test_without_calls_no_distance_is_asked_for():
    whole = changed("markets/ETH-PERP/tiers", tiers("0.01"), MINIMAL)
    del whole["ladder"]["calls"]
    assert read_rulebook(whole).ladder.calls is None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("markets/BTC-PERP/tiers/0/target", "0.029", "markets.BTC-PERP.tiers[0].target is 0.029, milder than call"),
        (
            "assets/BTC/weight",
            {"initial": "0.8", "call": "0.9", "maintenance": "1", "target": "0.95"},
            "assets.BTC.weight.target is 0.95, milder than call 0.9",
        ),
        (
            "assets/BTC/debt_weight",
            {"initial": "1.2", "call": "1.1", "maintenance": "1", "target": "1.05"},
            "assets.BTC.debt_weight.target is 1.05, milder than call 1.1",
        ),
        (
            "markets/BTC-PERP/profit_weight",
            {"initial": "0.8", "call": "0.9", "maintenance": "1", "target": "0.95"},
            "markets.BTC-PERP.profit_weight.target is 0.95, milder than call 0.9",
        ),
    ],
)
def test_a_target_milder_than_the_call_level_is_refused_where_accounts_are_called(path, value, words):
    assert words in refusal(path, value)
    whole = changed(path, value)
    del whole["ladder"]["calls"]
    read_rulebook(whole)


def test_a_move_beyond_every_model_is_refused_at_the_deadline():
    whole = changed("ladder/calls/deadline", "3650d")
    whole["ladder"]["calls"]["volatility"] = "10"
    with pytest.raises(RulebookError, match=r"ladder\.calls\.deadline is 3650d: a bound reaches a factor of e\^"):
        read_rulebook(whole)


@st.composite
def tables(draw):
    """Draw a tier table near the bound, and how it is counted."""
    rows, floor, maintenance = [], 0, draw(st.integers(0, 30))
    move = largest_move(10 * MINUTE, RATE_ONE, 990_000_000)
    for _ in range(draw(st.integers(1, 4))):
        call = needed(maintenance * 10**6) + draw(st.integers(-1, 3)) * 10**6
        call = max(call, maintenance * 10**6, *(row["call"] for row in rows), 0)
        rows.append({"floor": floor, "call": call, "maintenance": maintenance * 10**6})
        floor = floor * (RATE_ONE + move * draw(st.sampled_from([1, 2, 100]))) // RATE_ONE + draw(st.integers(1, 10**6))
        maintenance += draw(st.integers(0, 30))
    text = [
        {"floor": str(row["floor"]), "initial": "0.5", "target": "0.5", "call": rate(row["call"])}
        | {"maintenance": rate(row["maintenance"])}
        for row in rows
    ]
    return text, draw(st.sampled_from(["marginal", "whole_position"])), draw(st.sampled_from(["quote", "base"]))


def required(rows, level, kind, value):
    """The requirement of a value, slice by slice."""
    at = max(index for index, row in enumerate(rows) if Fraction(row["floor"]) <= value)
    if kind == "whole_position":
        return value * Fraction(rows[at][level])
    ends = [*(Fraction(row["floor"]) for row in rows[1 : at + 1]), value]
    return sum(
        (end - Fraction(row["floor"])) * Fraction(row[level]) for row, end in zip(rows[: at + 1], ends, strict=True)
    )


def is_refused(whole):
    """Tell whether the deadline, and nothing else, is refused."""
    try:
        read_rulebook(whole)
    except RulebookError as error:
        if not str(error).startswith("ladder.calls.deadline is 10m"):
            raise
        return True
    return False


@settings(max_examples=200, deadline=None)
@given(tables(), st.lists(st.fractions(min_value=Fraction(1, 10), max_value=10**7, max_denominator=10), max_size=20))
def test_an_accepted_deadline_covers_every_size_and_a_refused_one_fails_at_some(table, values):
    rows, kind, unit = table
    whole = changed("markets/BTC-PERP/tiers", rows, MINIMAL)
    whole["markets"]["BTC-PERP"] |= {"tier_kind": kind, "tier_unit": unit, "liquidation": {"slippage": "0.004"}}
    moved = 1 + Fraction(largest_move(10 * MINUTE, RATE_ONE, 990_000_000), RATE_ONE)

    def covered(value):
        left = required(rows, "call", kind, value) - (moved - 1) * value
        by_value = unit == "quote"
        after = required(rows, "maintenance", kind, value * (moved if by_value else 1)) * (1 if by_value else moved)
        return left >= max(after, Fraction("0.005") * moved * value)  # slippage, and the impact of a tenth of depth

    floors = [Fraction(row["floor"]) for row in rows[1:]]
    near = [value for floor in floors for value in (floor, floor / moved, floor - Fraction(1, 10**6))]
    between = [(low + high) / 2 for low, high in pairwise(sorted([Fraction(0), *near]))]
    points = [value for value in (*near, *between, Fraction(10**14)) if value > 0]
    if is_refused(whole):
        assert not all(map(covered, points))
    else:
        assert all(map(covered, [*values, *points]))
