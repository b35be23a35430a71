"""Reading margin calls, and refusing a deadline in which the price may move further than a call leaves room for.

A position of value V is called when its collateral falls below C(V), its call requirement. While it has time to add
collateral the price may turn against it by a share m: it loses m V and is then worth (1 + m) V. That is exact for a
short, and for a long of an inverse market, whose loss in coin is V (p / p' - 1) with p / p' at most 1 + m; every other
position fares better. So with probability p it is still above maintenance when the deadline ends, and its forced
close still leaves nothing owed, if for every V

    C(V) - m V >= R((1 + m) V)        maintenance of what the position has become
    C(V) - m V >= k (1 + m) V         slippage, impact and penalty of closing it, a rate k

In a single tier with rates c and r: `c >= m + (1 + m) * max(r, k)`. Where tiers measure what no price moves, the
first right-hand side is `(1 + m) R(V)`.

The move is `exp(sigma * sqrt(t) * z) - 1` with z the normal quantile of (1 + p) / 2: of a logarithm without drift, the
largest excursion in one direction during the whole time t stays within that with probability exactly p (reflection
principle), not only the last price.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.errors import PrecisionError, RulebookError
from marginkeep.rulebook.durations import MINUTE, SECOND, format_duration, parse_duration
from marginkeep.rulebook.fields import shown
from marginkeep.rulebook.ladder_rules import CallRules
from marginkeep.rulebook.lognormal import lognormal_bounds
from marginkeep.rulebook.model import CALL, MAINTENANCE, TARGET
from marginkeep.rulebook.oracle_rules import FACTOR_ONE
from marginkeep.units import RATE_ONE, ceil_div, format_units, rate_ceil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marginkeep.rulebook.fields import Fields
    from marginkeep.rulebook.ladder_rules import ImpactRules
    from marginkeep.rulebook.model import Asset, Market, Tier

VOLATILITY_MAX: Final = 10 * RATE_ONE
"""Highest yearly volatility, 1000 %."""

_REMINDERS: Final = ((5 * MINUTE, "5m"), (MINUTE, "1m"))


class _Gap(NamedTuple):
    """Where a move is too much: the tier, what a call leaves and what must be left, and of what that consists."""

    tier: int
    left: Fraction
    needed: Fraction
    rest: Fraction
    is_cost: bool


def read_calls(
    fields: Fields, assets: Mapping[str, Asset], markets: Mapping[str, Market], impacts: Sequence[ImpactRules]
) -> CallRules | None:
    """Read ``calls``; without it nobody is called.

    Raises
    ------
    RulebookError : a deadline that is not safe in some market, or a target below the call level
    """
    if fields.take("calls", None) is None:
        return None
    row = fields.sub("calls")
    deadline = row.duration("deadline", "10m", zero=False)
    volatility = row.rate("volatility", 1, VOLATILITY_MAX, "1")
    probability = row.rate("probability", 1, RATE_ONE - 1, "0.99")
    reminders = _read_reminders(row, deadline)
    row.finish()
    try:
        move = largest_move(deadline, volatility, probability)
    except RulebookError as error:
        raise RulebookError(f"{row.at('deadline')} is {format_duration(deadline)}: {error}") from None
    rules = CallRules(deadline, reminders, volatility, probability, move)
    _check_levels(row, assets, markets)
    _check_deadline(row, rules, markets, impacts)
    return rules


def _read_reminders(row: Fields, deadline: int) -> tuple[int, ...]:
    stated = row.take("reminders", [text for length, text in _REMINDERS if length < deadline])
    path = row.at("reminders")
    if not isinstance(stated, list):
        raise RulebookError(f'{path} is {shown(stated)}: give a list of durations, as in ["5m", "1m"]')
    try:
        reminders = tuple(parse_duration(entry, f"{path}[{index}]") for index, entry in enumerate(stated))
    except PrecisionError as error:
        raise RulebookError(str(error)) from None
    for index, (before, reminder) in enumerate(pairwise((deadline, *reminders))):
        if not 0 < reminder < before:
            above = "the deadline" if index == 0 else "the reminder before it"
            raise RulebookError(
                f"{path}[{index}] is {format_duration(reminder)}: it is a time left, above 0 and below {above}, "
                f"{format_duration(before)}; list the longest first"
            )
    return reminders


def largest_move(deadline_ns: int, volatility: int, probability: int) -> int:
    """Return how far a price moves in a time at a probability, in one direction and at any moment, a rate rounded up.

    Raises
    ------
    RulebookError : more than `marginkeep.rulebook.lognormal` can say anything about
    """
    sigma = Fraction(volatility, RATE_ONE)
    no_drift = sigma * sigma * Fraction(1, 2)
    _, upper = lognormal_bounds(Fraction(probability, RATE_ONE), sigma, no_drift, deadline_ns)
    return ceil_div((upper + 1 - FACTOR_ONE) * RATE_ONE, FACTOR_ONE)


def close_cost(market: Market, impacts: Sequence[ImpactRules]) -> int:
    """Return the most that a forced close costs, a rate of the position's value, rounded up.

    Slippage, with the impact of the most that is closed in one interval, and the penalty on the price so reached.
    """
    terms = market.liquidation
    impact = sum(rate_ceil(rules.impact, rules.share) for rules in impacts if rules.market == market.name)
    slippage = terms.slippage + impact
    return slippage + rate_ceil(RATE_ONE + slippage, terms.penalty)


def _check_levels(row: Fields, assets: Mapping[str, Asset], markets: Mapping[str, Market]) -> None:
    """Refuse a target that can hold while the call level does not: a reduced account would stay called for ever."""
    shares = [(f"assets.{asset.name}.weight", asset.weight) for asset in assets.values()]
    shares += [(f"markets.{market.name}.profit_weight", market.profit_weight) for market in markets.values()]
    rates = [(f"assets.{asset.name}.debt_weight", asset.debt_weight) for asset in assets.values()]
    for market in markets.values():
        rates += [(f"markets.{market.name}.tiers[{index}]", tier.rates) for index, tier in enumerate(market.tiers)]
    for sign, table in ((-1, shares), (1, rates)):
        for path, levels in table:
            if sign * levels[TARGET] < sign * levels[CALL]:
                raise RulebookError(
                    f"{path}.target is {format_units(levels[TARGET], 9)}, milder than call "
                    f"{format_units(levels[CALL], 9)}: with {row.path} an account reduced to its target must not "
                    f"still be called; make target at least as strict as call"
                )


def _check_deadline(
    row: Fields, rules: CallRules, markets: Mapping[str, Market], impacts: Sequence[ImpactRules]
) -> None:
    """Refuse a deadline after which, at the stated probability, a called account may be below maintenance or owe."""
    for market in markets.values():
        cost = close_cost(market, impacts)
        gap = _first_gap(market, rules.move, cost)
        if gap is None:
            continue
        rates = market.tiers[gap.tier].rates
        what = "closing it costs" if gap.is_cost else "maintenance requires"
        raise RulebookError(
            f"{row.at('deadline')} is {format_duration(rules.deadline_ns)}: in that time a price may move by "
            f"{format_units(rules.move, 9)} (volatility {format_units(rules.volatility, 9)}, probability "
            f"{format_units(rules.probability, 9)}). In markets.{market.name}.tiers[{gap.tier}], call "
            f"{format_units(rates[CALL], 9)} and maintenance {format_units(rates[MAINTENANCE], 9)}, a position is "
            f"called with {_up(gap.left)} of its value left, and {_up(gap.needed)} is needed: move + (1 + move) * "
            f"{_up(gap.rest)}, which is what {what} after the move; raise call, or "
            f"{_longest(rules, markets, impacts)}"
        )


def _up(rate: Fraction) -> str:
    return format_units(ceil_div(rate.numerator * RATE_ONE, rate.denominator), 9)


def _longest(rules: CallRules, markets: Mapping[str, Market], impacts: Sequence[ImpactRules]) -> str:
    """Say which deadline is safe in all markets, to the whole second."""
    safe = rules.deadline_ns // SECOND
    for market in markets.values():
        cost, too_long, low = close_cost(market, impacts), safe + 1, 0
        while too_long - low > 1:
            # the present bound first: most markets have room at it
            middle = safe if too_long > safe else (low + too_long) // 2
            move = largest_move(middle * SECOND, rules.volatility, rules.probability)
            low, too_long = (middle, too_long) if _first_gap(market, move, cost) is None else (low, middle)
        safe = low
    if not safe:
        return "give no time at all: not even one second is safe"
    return f"give at most {format_duration(safe * SECOND)}, the longest whole seconds safe in every market"


def _first_gap(market: Market, move: int, cost: int) -> _Gap | None:
    """Return where a call leaves too little for a move, at the smallest position checked; None where it never does.

    All terms are linear in the position's value between the floors of tiers and those floors before the move, so the
    points between and at them decide, and the last tier's own rates decide for what is larger.
    """
    moved, by_value = Fraction(RATE_ONE + move, RATE_ONE), (market.payoff == "linear") == (market.tier_unit == "quote")
    floors = [tier.floor for tier in market.tiers]
    breaks = sorted({*floors, *((Fraction(floor, moved) for floor in floors) if by_value else ())})
    between = [(low + high) * Fraction(1, 2) for low, high in pairwise(breaks)]
    for value in sorted([*between, *breaks[1:]]):
        after = _required(market, MAINTENANCE, value * moved if by_value else value)
        rest = Fraction(after, value * moved if by_value else value)
        gap = _gap_at(_tier_of(market.tiers, value), Fraction(_required(market, CALL, value), value), rest, move, cost)
        if gap is not None:
            return gap
    last = market.tiers[-1].rates
    call, rest = Fraction(last[CALL], RATE_ONE), Fraction(last[MAINTENANCE], RATE_ONE)
    return _gap_at(len(market.tiers) - 1, call, rest, move, cost)


def _gap_at(tier: int, left: Fraction, maintenance: Fraction, move: int, cost: int) -> _Gap | None:
    closing = Fraction(cost, RATE_ONE)
    rest = max(maintenance, closing)
    needed = Fraction(move, RATE_ONE) + Fraction(RATE_ONE + move, RATE_ONE) * rest
    return _Gap(tier, left, needed, rest, closing > maintenance) if left < needed else None


def _tier_of(tiers: Sequence[Tier], value: Fraction) -> int:
    return max(index for index, tier in enumerate(tiers) if tier.floor <= value)


def _required(market: Market, level: int, value: Fraction) -> Fraction:
    """Return the requirement of a position in the unit of its tiers, exactly."""
    tier = _tier_of(market.tiers, value)
    if market.tier_kind == "whole_position":
        return value * Fraction(market.tiers[tier].rates[level], RATE_ONE)
    ends = [*(above.floor for above in market.tiers[1 : tier + 1]), value]
    slices = zip(market.tiers[: tier + 1], ends, strict=True)
    return sum(((end - row.floor) * Fraction(row.rates[level], RATE_ONE) for row, end in slices), Fraction(0))
