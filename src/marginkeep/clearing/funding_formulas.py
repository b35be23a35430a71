"""From averages to a funding rate: interest, damping, the pull of an unbalanced book, caps, share of a period.

Rounding is toward zero throughout: a rate is one figure for payers and receivers, so it favours neither.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from marginkeep.book.limits import payoff_at
from marginkeep.units import RATE_ONE, floor_div, rate_floor

if TYPE_CHECKING:
    from marginkeep.rulebook import MarketTable
    from marginkeep.rulebook.funding_rules import FundingRules


class FundingDue(NamedTuple):
    """What one payment takes from longs, negative from shorts, and how it came about; rates in 10^-9.

    Attributes
    ----------
    rate : of the value at the price that funding is paid on
    payment : where it is paid on the average index: 10^-9 ticks for each unit of the contract; else None
    premium : the average premium of the time since the last payment; None = nothing was known of it, nothing is paid
    interest : what the interest part adds to it, for a period
    pull : what the users' imbalance adds, for a period
    uncapped : the rate of a period that all this makes, before any cap
    """

    rate: int
    payment: int | None
    premium: int | None
    interest: int
    pull: int
    uncapped: int


def toward_zero(numerator: int, denominator: int) -> int:
    """Return the quotient rounded toward zero; denominator above 0."""
    quotient = floor_div(abs(numerator), denominator)
    return quotient if numerator >= 0 else -quotient


def nothing_due(rules: FundingRules) -> FundingDue:
    """Return the payment of a time in which no premium was known."""
    return FundingDue(0, 0 if rules.paid_on == "average" else None, None, 0, 0, 0)


def interest_of_period(rules: FundingRules) -> Fraction:
    """Return the interest rate of one period, exactly, in 10^-9."""
    return Fraction(rules.interest * rules.period_ns, rules.interest_period_ns)


def imbalance_pull(rules: FundingRules, imbalance: Fraction) -> int:
    """Return the rate that an unbalanced book adds, within its bound.

    Parameters
    ----------
    imbalance : net position of all users over open interest, from -1 to 1. Sizes of all accounts sum to zero, so this
        counts users only: net position = minus that of the system's accounts (external, liquidator). In a book of
        users alone it is 0
    """
    pull = _round(rules.imbalance_slope * imbalance)
    return _clamp(pull, -rules.imbalance_most, rules.imbalance_most)


def premium_due(rules: FundingRules, premium: Fraction, imbalance: Fraction, coverage: Fraction) -> FundingDue:
    """Return the payment for an average premium.

    ``rate = clamp((P + interest part + pull) * coverage * scale, +-most of a period) * interval / period``, within the
    bounds of one payment.

    Parameters
    ----------
    premium : in 10^-9
    imbalance : average of it, see `imbalance_pull`
    coverage : share of the time in which there was a premium
    """
    average = to_step(premium, rules.step)
    interest = to_step(interest_of_period(rules), rules.step)
    added = interest if rules.damping is None else _clamp(interest - average, *rules.damping)
    pull = imbalance_pull(rules, imbalance)
    rate = _round((average + added + pull) * _factor(rules, coverage))
    most = rules.most_rate
    capped = rate if most is None else _clamp(rate, -most, most)
    paid = _clamp(toward_zero(capped * rules.interval_ns, rules.period_ns), rules.lowest, rules.highest)
    return FundingDue(paid, None, average, added, pull, rate)


def prices_due(rules: FundingRules, mark: int, index: int, imbalance: Fraction, coverage: Fraction) -> FundingDue:
    """Return the payment for the time-weighted averages of mark and index, in ticks (Vega 0053-PERP, Drift v2).

    ``g = (F - S + interest part + pull * S) * coverage * scale``, bounded in ticks, times interval / period; its rate
    is g / S, and where a bound of one payment cuts that, g is the bound times S.
    """
    if index <= 0:
        return nothing_due(rules)
    distance, added, pull = mark - index, _interest_ticks(rules, mark, index), imbalance_pull(rules, imbalance)
    whole = (distance + added + Fraction(pull * index, RATE_ONE)) * _factor(rules, coverage)
    most = _most_ticks(rules, index)
    capped = whole if most is None else max(Fraction(-most), min(whole, Fraction(most)))
    ticks = _bounded(rules, capped * Fraction(rules.interval_ns, rules.period_ns), index)
    return FundingDue(
        rate=_rate_of(ticks, index),
        payment=_payment(rules, ticks) if rules.paid_on == "average" else None,
        premium=_rate_of(Fraction(distance), index),
        interest=_rate_of(added, index),
        pull=pull,
        uncapped=_rate_of(whole, index),
    )


def index_move(due: FundingDue, market: MarketTable, price: int) -> int:
    """Return by how much a payment moves the market's cumulative index, in 10^-9 settle units a lot.

    Parameters
    ----------
    price : what it is paid on, mark or index in ticks; not used where it is paid on the average
    """
    if due.payment is not None:
        return toward_zero(due.payment * market.numerator, market.denominator)
    x, y = payoff_at(market, price)
    return toward_zero(due.rate * x, y)


def to_step(rate: Fraction, step: int) -> int:
    """Round a rate toward zero to a multiple of `step`."""
    return toward_zero(rate.numerator, rate.denominator * step) * step


def _interest_ticks(rules: FundingRules, mark: int, index: int) -> Fraction:
    """Return the interest part in ticks: rounded down where it is added as it is, as Drift's index / 5000."""
    interest = interest_of_period(rules)
    if rules.damping is None or not interest:
        return Fraction(floor_div(index * interest.numerator, interest.denominator * RATE_ONE))
    lower, upper = (Fraction(bound * index, RATE_ONE) for bound in rules.damping)
    return max(lower, min(index + index * interest * Fraction(1, RATE_ONE) - mark, upper))


def _most_ticks(rules: FundingRules, index: int) -> int | None:
    """Return the bound of a period's payment in whole ticks."""
    bounds = [floor_div(index, rules.cap_divisor)] if rules.cap_divisor else []
    if rules.most_rate is not None:
        bounds.append(rate_floor(index, rules.most_rate))
    return min(bounds, default=None)


def _bounded(rules: FundingRules, ticks: Fraction, index: int) -> Fraction:
    lowest, highest = (Fraction(bound * index, RATE_ONE) for bound in (rules.lowest, rules.highest))
    return max(lowest, min(ticks, highest))


def _payment(rules: FundingRules, ticks: Fraction) -> int:
    return _round(ticks) * RATE_ONE if rules.whole_ticks else _round(ticks * RATE_ONE)


def _factor(rules: FundingRules, coverage: Fraction) -> Fraction:
    return Fraction(rules.scale, RATE_ONE) * (coverage if rules.by_coverage else 1)


def _rate_of(ticks: Fraction, index: int) -> int:
    return toward_zero(ticks.numerator * RATE_ONE, ticks.denominator * index)


def _round(value: Fraction) -> int:
    return toward_zero(value.numerator, value.denominator)


def _clamp(value: int, lowest: int, highest: int) -> int:
    return max(lowest, min(value, highest))
