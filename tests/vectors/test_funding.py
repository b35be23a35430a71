"""perp-dex.jsonl: funding of dYdX and Drift, and initial margin that rises with open interest.

dYdX samples are what medians of votes have made already. Its rates have 6 decimals, its index counts 10^-6 quote quanta
for each base quantum: a lot is one base quantum here, and a settle unit one quote quantum.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.book.account import Position
from marginkeep.book.fills import book_funding
from marginkeep.clearing.funding_formulas import FundingDue, index_move, premium_due, toward_zero
from marginkeep.clearing.funding_rates import FundingMachine
from marginkeep.clearing.funding_venues import drift_sides
from marginkeep.rulebook import MarketTable, build_tables, read_rulebook
from marginkeep.rulebook.durations import HOUR, SECOND
from marginkeep.rulebook.funding_presets import drift, dydx
from marginkeep.rulebook.funding_rules import FundingRules, margin_cap, margin_gap
from marginkeep.rulebook.limit_rules import scaled_initial
from marginkeep.units import RATE_ONE, parse_rate, rate_ceil

from .reading import MARKET, NEEDS_VECTORS, SETTLE, Vector, cases_of, disagreements, each, flat, text

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "perp-dex"
MICRO: Final = 10**6
STEP: Final = RATE_ONE // MICRO
NANO_TO_MICRO: Final = 1_000
UNBOUNDED: Final = 10**18


def rate_of(vector: Vector, name: str) -> int:
    return parse_rate(vector.inputs[name], name)


def micro(value: Fraction) -> int:
    assert (value * MICRO).denominator == 1
    return int(value * MICRO)


def margin_bound(vector: Vector) -> dict[str, Any]:
    imf = vector.number("imf")
    maintenance = int(imf * vector.number("maintenance_fraction") * RATE_ONE)
    gap = margin_gap(rate_of(vector, "imf"), maintenance, STEP)
    return {"max_abs_rate": Fraction(margin_cap(rate_of(vector, "clamp_factor"), gap, STEP), RATE_ONE)}


def table_of(base_quantum: Fraction, quote_quantum: Fraction = Fraction(1, MICRO)) -> MarketTable:
    assert quote_quantum == Fraction(1, MICRO)
    market = {"settle": SETTLE, "lot": text(base_quantum), "tick": "1", "tiers": flat("0.1", "0.5")}
    rules = {"reporting": SETTLE, "assets": {SETTLE: {"decimals": 6}}, "markets": {MARKET: market}}
    return build_tables(read_rulebook(rules)).markets[0]


def micro_index(due: FundingDue, vector: Vector) -> int:
    """The source's index counts 10^-6, and is cut off there."""
    moved = index_move(due, table_of(vector.number("base_quantum")), int(vector.number("index_price")))
    return toward_zero(moved, NANO_TO_MICRO)


def dydx_rules(vector: Vector) -> FundingRules:
    """The samples required are those that fit the tick; more of them arrive while the payment waits."""
    tick = int(vector.inputs["tick_seconds"]) * SECOND
    return replace(
        dydx(MARKET),
        interval_ns=tick,
        sample_every_ns=tick // int(vector.inputs["samples_required"]),
        votes="last",
        interest=rate_of(vector, "default_rate_8h"),
        cap_of_margin=rate_of(vector, "clamp_factor"),
        margin_gap=rate_of(vector, "imf") - rate_of(vector, "mmf"),
    )


def dydx_rate(vector: Vector) -> dict[str, Any]:
    rules = dydx_rules(vector)
    machine = FundingMachine(rules)
    machine.sample(None, 0)
    now = 0
    for premium, count in vector.inputs["premium_samples_run_length"]:
        for _ in range(int(count)):
            machine.sample(parse_rate(premium, "premium"), now)
            now += rules.sample_every_ns
    due = machine.pay(max(now, rules.interval_ns))
    periods = Fraction(rules.period_ns, rules.interval_ns)
    return {"rate_8h": Fraction(due.rate, RATE_ONE) * periods, "index_delta_micro": micro_index(due, vector)}


def drift_rate(vector: Vector) -> dict[str, Any]:
    """Prices in ticks of 10^-6, the stated rate in 10^-9 quote. The offset of index / 5000 is not in these figures."""
    hours = int(vector.inputs["period_hours"])
    divisor = int(vector.inputs["clamp_divisor"])
    machine = FundingMachine(replace(drift(MARKET), interval_ns=hours * HOUR, interest=0, cap_divisor=divisor))
    machine.sample_prices(micro(vector.number("mark_twap")), micro(vector.number("oracle_twap")), 0)
    due = machine.pay(hours * HOUR)
    assert due.payment is not None
    return {"rate_per_unit": Fraction(toward_zero(due.payment, MICRO), RATE_ONE)}


def funding_rate(vector: Vector) -> dict[str, Any]:
    return drift_rate(vector) if "mark_twap" in vector.inputs else dydx_rate(vector)


def capped_sides(vector: Vector) -> dict[str, Any]:
    """A case without open interest states the net position of a venue that gains."""
    rate = rate_of(vector, "rate_per_unit")
    if "net_user_base" in vector.inputs:
        sides = drift_sides(rate, rate_of(vector, "net_user_base"), 0, micro(vector.number("fees_before")), 0)
        return {"fees_after": Fraction(sides.fees, MICRO)}
    longs, shorts = rate_of(vector, "oi_long"), rate_of(vector, "oi_short")
    fees, all_fees = micro(vector.number("fees_held")), micro(vector.number("exchange_fees"))
    sides = drift_sides(rate, longs, shorts, fees, all_fees)
    return {
        "long_rate": Fraction(sides.long_rate, RATE_ONE),
        "short_rate": Fraction(sides.short_rate, RATE_ONE),
        "fees_after": Fraction(sides.fees, MICRO),
    }


def settlement(vector: Vector) -> dict[str, Any]:
    size, entry, now = (int(vector.inputs[name]) for name in ("size_quanta", "index_entry", "index_now"))
    paid, dust = book_funding(Position(size=size, funding_entry=entry * NANO_TO_MICRO), now * NANO_TO_MICRO)
    return {"booked_quanta": paid, "settlement_micro_quanta": paid * MICRO + Fraction(dust, NANO_TO_MICRO)}


def index_delta(vector: Vector) -> dict[str, Any]:
    rules = replace(
        dydx(MARKET),
        interval_ns=int(vector.inputs["seconds"]) * SECOND,
        cap_of_margin=0,
        lowest=-UNBOUNDED,
        highest=UNBOUNDED,
    )
    due = premium_due(rules, Fraction(rate_of(vector, "rate_8h")), Fraction(0), Fraction(1))
    return {"index_delta_micro": micro_index(due, vector)}


def scaled_rate(vector: Vector) -> int:
    interest, lower, upper = (micro(vector.number(f"oi_{name}")) for name in ("notional", "lower_cap", "upper_cap"))
    return scaled_initial(rate_of(vector, "imf"), interest, lower, upper, STEP)


def scaled_margin(vector: Vector) -> dict[str, Any]:
    assert vector.number("quote_quantum") == Fraction(1, MICRO)
    return {"im": Fraction(rate_ceil(micro(vector.number("notional")), scaled_rate(vector)), MICRO)}


def scaled_fraction(vector: Vector) -> dict[str, Any]:
    return {"imf_eff": Fraction(scaled_rate(vector), RATE_ONE)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "funding_clamp": margin_bound,
    "funding_rate": funding_rate,
    "funding_cap": capped_sides,
    "funding_settlement": settlement,
    "funding_index": index_delta,
    "oi_scaled_im": scaled_margin,
    "oi_scaled_imf": scaled_fraction,
}

LEFT_OUT: Final[dict[str, str]] = {}

LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_figures_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
