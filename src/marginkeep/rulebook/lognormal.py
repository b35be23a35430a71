"""How far a price may move over a horizon: bounds from a log-normal model or from fixed shares.

Bounds are factors in parts of `FACTOR_ONE`, computed once when a rulebook is read. They are made in decimal arithmetic
of a stated precision, whose every operation is correctly rounded, so each platform gets the same integers.
"""

from __future__ import annotations

from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)
from fractions import Fraction
from functools import cache
from typing import Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.oracle_rules import FACTOR_ONE
from marginkeep.units import RATE_ONE, ceil_div, floor_div

PROBABILITY_MAX: Final = Fraction(9_999_999_999, 10_000_000_000)
"""Highest probability of a bound; beyond it the tail of a normal law says nothing about a price."""

EXPONENT_MAX: Final = 10
"""Largest logarithm of a factor, either sign: 22,026 times the reference, or as small a part of it."""

NANOSECONDS_A_YEAR: Final = 31_557_600 * 10**9
"""A year of 365.25 days."""

_PRECISION: Final = 50
_CONVERGED: Final = Decimal("1e-25")
_PI: Final = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


@cache
def lognormal_bounds(probability: Fraction, volatility: Fraction, drift: Fraction, horizon_ns: int) -> tuple[int, int]:
    """Return the factors between which a log-normal price stays over a horizon with a probability.

    ``exp((mu - sigma^2 / 2) * tau -/+ sigma * sqrt(tau) * z)`` with tau in years and z the standard normal quantile of
    ``(1 + p) / 2`` (Vega's 0032-PRIM). The lower factor is rounded up, the upper one down, as `apply_bounds` rounds
    prices: a price let through is within the model's bounds, never merely within those of a rounding.

    Parameters
    ----------
    probability : above 0, at most `PROBABILITY_MAX`
    volatility, drift : sigma above 0 and mu, a year
    horizon_ns : above 0

    Returns
    -------
    lower, upper : in parts of `FACTOR_ONE`

    Raises
    ------
    RulebookError : a parameter out of range, or bounds that the unmoved price would violate
    """
    _require_in_range(probability, volatility, horizon_ns)
    with localcontext(_context()):
        tau = _decimal(Fraction(horizon_ns, NANOSECONDS_A_YEAR))
        sigma = _decimal(volatility)
        centre = (_decimal(drift) - sigma * sigma * Decimal("0.5")) * tau
        reach = sigma * tau.sqrt() * _quantile(_decimal(probability))
        _require_reference_inside(centre, reach)
        lower = ((centre - reach).exp() * FACTOR_ONE).to_integral_value(ROUND_CEILING)
        upper = ((centre + reach).exp() * FACTOR_ONE).to_integral_value(ROUND_FLOOR)
        return int(lower), int(upper)


def fixed_bounds(fall: int, rise: int) -> tuple[int, int]:
    """Return the factors of a price that may fall by one share of the reference and rise by another.

    Parameters
    ----------
    fall : rate from 0 to 1
    rise : rate from 0

    Examples
    --------
    >>> fixed_bounds(100_000_000, 250_000_000)
    (900000000000000000, 1250000000000000000)
    """
    if not 0 <= fall <= RATE_ONE or rise < 0:
        raise RulebookError(f"a bound's fall is {fall} and its rise {rise} parts per 10^9: fall 0 to 10^9, rise from 0")
    part = FACTOR_ONE // RATE_ONE
    return (RATE_ONE - fall) * part, (RATE_ONE + rise) * part


def apply_bounds(reference: int, lower: int, upper: int) -> tuple[int, int]:
    """Return the lowest and the highest price in ticks that two factors allow around a reference, rounded inward."""
    return ceil_div(reference * lower, FACTOR_ONE), floor_div(reference * upper, FACTOR_ONE)


def _require_in_range(probability: Fraction, volatility: Fraction, horizon_ns: int) -> None:
    if not 0 < probability <= PROBABILITY_MAX:
        raise RulebookError(f"a bound's probability is {probability}: above 0, at most 0.9999999999")
    if volatility <= 0:
        raise RulebookError(f"a bound's volatility is {volatility}: it must be above 0")
    if horizon_ns <= 0:
        raise RulebookError(f"a bound's horizon is {horizon_ns} ns: it must be above 0")


def _require_reference_inside(centre: Decimal, reach: Decimal) -> None:
    """Refuse bounds that an unmoved price violates (a market would never re-open), and absurdly wide ones."""
    if abs(centre) > reach:
        raise RulebookError(
            f"a bound's drift less half its variance moves the price by a factor of e^{centre:.6f}, its probability "
            f"allows e^-/+{reach:.6f}: an unmoved price would be outside; raise the probability or bring the drift "
            f"nearer to half the squared volatility"
        )
    if abs(centre) + reach > EXPONENT_MAX:
        raise RulebookError(
            f"a bound reaches a factor of e^{abs(centre) + reach:.3f}, the limit is e^{EXPONENT_MAX}: "
            f"lower the volatility, the probability or the horizon"
        )


def _quantile(probability: Decimal) -> Decimal:
    """Return z such that a standard normal variable is within -/+z with a probability; the error is below 1e-35.

    Newton's method on ``integral of exp(-t^2 / 2) from 0 to z = p * sqrt(pi / 2)``. The left side is concave, so the
    steps from 0 rise to the root without passing it; the last of them leaves an error of about its square. Rounding
    adds at most the precision times exp(z^2 / 2), which is below 1e10.
    """
    target = probability * (_PI * Decimal("0.5")).sqrt()
    z, step = Decimal(0), target
    while step > _CONVERGED:
        z += step
        step = target * (z * z * Decimal("0.5")).exp() - _scaled_integral(z)
    return z + step


def _scaled_integral(z: Decimal) -> Decimal:
    """Return ``exp(z^2 / 2)`` times the integral: the sum of ``z^(2n + 1) / (1 * 3 * ... * (2n + 1))``."""
    context = _context()
    total, term, odd = z, z, 1
    while total + term != total:
        odd += 2
        term = context.divide(term * z * z, Decimal(odd))
        total += term
    return total


def _decimal(value: Fraction) -> Decimal:
    return _context().divide(Decimal(value.numerator), Decimal(value.denominator))


def _context() -> Context:
    """Return a context that states everything, so that no setting outside reaches it."""
    traps = [InvalidOperation, DivisionByZero, Overflow]
    return Context(_PRECISION, ROUND_HALF_EVEN, MIN_EMIN, MAX_EMAX, capitals=1, clamp=0, flags=[], traps=traps)
