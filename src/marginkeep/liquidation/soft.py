"""Soft liquidation: which share of a reduction is due when, and what spreading it over time is expected to cost.

The pace is that of Drift: `min(1, initial + elapsed / duration)`, here in steps. The cost is disclosed in the call.

Derivation. A reduction of value V is sold at times t_j = j h; before t_(j+1) the share u_j is still held. Compared
with selling all of it at once, the seller gains or loses `V * sum(u_j * (S_(j+1) - S_j) / S_0)`. Without a drift of
the price each term has mean 0 whatever was decided before it, so the expected cost is slippage and penalty alone, also
when a cure or the target stops it early. The terms are uncorrelated, so the variance is `sigma^2 V^2 h sum(u_j^2)`; for
small steps and no initial share that is `sigma^2 V^2 T / 3`, a standard deviation of `sigma V sqrt(T / 3)`.

A band that sells low and buys back high (LLAMMA) loses its sampled variance on every round trip. This reduction never
buys back: it has the same kind of risk along the way, and no such loss on average.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.errors import InvariantViolation
from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_ceil

if TYPE_CHECKING:
    from marginkeep.rulebook.ladder_rules import SoftRules

YEAR_NS: Final = 31_557_600 * 10**9
"""A year of 365.25 days, that of volatilities."""

TWO_SIDED_95: Final = 1_959_963_985
"""The standard normal quantile of 0.975, a rate rounded up: 95 % lie within so many standard deviations."""


class SoftCost(NamedTuple):
    """What a paced reduction costs, in the unit of its value; negative = a gain.

    Attributes
    ----------
    expected : slippage and penalty
    deviation : standard deviation of what the price adds or takes meanwhile
    low, high : 95 % of outcomes lie between them
    """

    expected: int
    deviation: int
    low: int
    high: int


def due_share(rules: SoftRules, started_ns: int, now_ns: int) -> int:
    """Return the share of the whole reduction that is due, a rate; it grows at whole steps and is all at the end."""
    elapsed = now_ns - started_ns
    if elapsed < 0:
        raise InvariantViolation(f"soft liquidation began at {started_ns}, now is {now_ns}")
    if elapsed >= rules.duration_ns:
        return RATE_ONE
    passed = elapsed - elapsed % rules.step_ns
    return min(RATE_ONE, rules.initial_share + floor_div(RATE_ONE * passed, rules.duration_ns))


def next_step_ns(rules: SoftRules, started_ns: int, now_ns: int) -> int | None:
    """Return when more will be due, None where all of it is already."""
    if due_share(rules, started_ns, now_ns) == RATE_ONE:
        return None
    steps = (now_ns - started_ns) // rules.step_ns + 1
    return started_ns + min(steps * rules.step_ns, rules.duration_ns)


def lots_due(total_lots: int, already: int, share: int) -> int:
    """Return the lots to close now, rounded up, so that no step waits for a whole lot.

    Parameters
    ----------
    total_lots : of the whole reduction as it is needed now: those closed already, and those still needed
    already : lots closed since it began
    share : see `due_share`
    """
    due = ceil_div(total_lots * share, RATE_ONE)
    return max(0, min(due, total_lots) - already)


def soft_cost(rules: SoftRules, value: int, slippage: int, volatility: int) -> SoftCost:
    """Return what reducing a value is expected to cost and the range it may cost, in exact integers.

    Parameters
    ----------
    value : value of the lots to be closed, at the mark
    slippage : rate of a forced trade of one step, impact included
    volatility : yearly, a rate
    """
    expected = rate_ceil(value, slippage) + rate_ceil(value, rules.penalty)
    deviation = _deviation(rules, value, volatility)
    reach = rate_ceil(deviation, TWO_SIDED_95)
    return SoftCost(expected, deviation, expected - reach, expected + reach)


def _deviation(rules: SoftRules, value: int, volatility: int) -> int:
    """Return `sigma * V * sqrt(h * sum(u_j^2))`, the time in years, rounded up."""
    squares, scale = _held_squares(rules)
    variance = (value * volatility) ** 2 * rules.step_ns * squares
    return _root_up(ceil_div(variance, RATE_ONE**2 * YEAR_NS * scale))


def _held_squares(rules: SoftRules) -> tuple[int, int]:
    """Return `sum(u_j^2)` as (numerator, denominator).

    With `a` the share not due at once and q = step / duration, u_j = a - j q for j = 0 .. n - 1, where n is the first
    j with u_j <= 0: the sum is `n a^2 - a q n (n - 1) + q^2 (n - 1) n (2 n - 1) / 6`. Both are taken times
    duration * 10^9.
    """
    whole = (RATE_ONE - rules.initial_share) * rules.duration_ns
    step = RATE_ONE * rules.step_ns
    steps = ceil_div(whole, step)
    squares = (
        steps * whole * whole
        - whole * step * steps * (steps - 1)
        + step * step * floor_div((steps - 1) * steps * (2 * steps - 1), 6)
    )
    return squares, (RATE_ONE * rules.duration_ns) ** 2


def _root_up(value: int) -> int:
    root = isqrt(value)
    return root if root * root == value else root + 1
