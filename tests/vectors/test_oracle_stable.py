"""perp-dex.jsonl: the slow price, what it does to an account's margins, and a book's distance from its index."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.book import read_case
from marginkeep.liquidation import Close, plan_reduction
from marginkeep.oracle.market_prices import premium, without_tails
from marginkeep.oracle.stable_price import StablePrice
from marginkeep.rulebook.oracle_rules import StableRules
from marginkeep.units import RATE_ONE, parse_rate

from .reading import (
    ACCOUNT,
    NEEDS_VECTORS,
    Near,
    Vector,
    cases_of,
    disagreements,
    each,
    flat,
    half_of_last_digit,
    one_position,
    state_one,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "perp-dex"
SECOND: Final = 10**9
TICK: Final = Fraction(1, 10**9)
STEP: Final = Fraction(1, 10**6)
"""The source writes premiums in parts of 10^6."""


def in_ticks(value: Fraction | str) -> int:
    exact = Fraction(value) / TICK
    assert exact.denominator == 1
    return exact.numerator


def follow_path(vector: Vector) -> dict[str, Any]:
    """Follow the jump in the stated steps, such as ``"then 10s x 360"``."""
    rules = StableRules(
        per_second=parse_rate(vector.inputs["stable_limit_per_s"], "limit"),
        delayed_per_hour=parse_rate(vector.inputs["delay_limit_per_h"], "limit"),
    )
    stable, now = StablePrice(rules), 0
    stable.update(in_ticks(vector.inputs["start_price"]), now)
    for text in vector.inputs["update_steps"]:
        length, _, count = text.removeprefix("then ").partition("s x ")
        for _ in range(int(count)):
            now += int(length) * SECOND
            stable.update(in_ticks(vector.inputs["jump_to"]), now)
    assert now == int(vector.inputs["elapsed_seconds"]) * SECOND
    value = stable.value * TICK
    stated = vector.expected
    return {
        "stable_price": Near(value, Fraction(stated["tolerance"])),
        "computed": Near(value, half_of_last_digit(stated["computed"])),
    }


def margins_at_two_prices(vector: Vector) -> dict[str, Any]:
    """Opening is measured at the worse price, liquidation at the oracle's, and it aims at initial margin there."""
    base, oracle, stable = (vector.number(name) for name in ("base", "oracle", "stable"))
    initial, maintenance = (1 - vector.number(f"{level}_base_asset_weight") for level in ("init", "maint"))
    tiers = flat(maintenance, initial)
    tiers[0]["target"] = tiers[0]["initial"]

    def case(mark: Fraction) -> dict[str, Any]:
        cost = -vector.number("quote")
        return one_position(tiers, base, mark, vector.number("settle_balance"), cost=cost, lot="1")

    at_oracle = state_one(case(oracle))[0]
    read = read_case(case(oracle))
    (step,) = plan_reduction(read.accounts[ACCOUNT], read.valuation).steps
    assert isinstance(step, Close)
    return {
        "init_health": Fraction(state_one(case(min(oracle, stable)))[0].health_initial),
        "liq_end_health": Fraction(at_oracle.health_initial),
        "maint_health": Fraction(at_oracle.health),
        "base_after": base + step.size,
    }


def premium_of(vector: Vector) -> dict[str, Any]:
    """Prices in ticks of a tenth, sizes in lots of a tenth; the source cuts off what is finer than its step."""
    bids, asks = (
        [(int(Fraction(price) * 10), int(Fraction(size) * 10)) for price, size in vector.inputs[side]]
        for side in ("bids", "asks")
    )
    index, value = vector.number("index_price") * 10, vector.number("impact_notional") * 100
    most = parse_rate(vector.inputs["max_abs_premium"], "premium")
    exact = Fraction(premium(bids, asks, int(index), int(value), most), RATE_ONE)
    return {"premium": int(exact / STEP) * STEP}


def trimmed(vector: Vector) -> dict[str, Any]:
    samples = [int(sample) for sample in vector.inputs["samples"]]
    return {"kept": without_tails(samples, parse_rate(vector.inputs["tail_rate"], "tail"))}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "stable_price_path": follow_path,
    "stable_price": margins_at_two_prices,
    "premium": premium_of,
    "premium_trim": trimmed,
}

LEFT_OUT: Final[dict[str, str]] = {}

LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {
    ("stable_price_path", "tolerance"): "not a figure: how near the stable price must be, which the check uses",
}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_figures_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
