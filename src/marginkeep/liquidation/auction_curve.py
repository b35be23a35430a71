"""The discount of a Dutch auction: it grows with time and with illness, never beyond its cap.

Discounts are rates of the mark, rounded down: what a bidder gains is a payout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_floor

if TYPE_CHECKING:
    from marginkeep.rulebook.ladder_rules import AuctionRules

_POWER_ONE: Final = 10**36
"""The 1 of powers. 27 digits below a rate's last keep the power of more steps from ever exceeding that of fewer."""


def discount(rules: AuctionRules, elapsed_ns: int, factor: int) -> int:
    """Return `min(most, time part + illness * max(0, 1 - h))`, a rate rounded down.

    It does not fall as time passes or as the health factor falls. What heals bounds it besides: see `incentive`.

    Parameters
    ----------
    elapsed_ns : time since the auction began, at least 0
    factor : health factor `h`, collateral / requirement as a rate; below 0 for an account in debt
    """
    illness = rate_floor(rules.illness, max(0, RATE_ONE - factor))
    return min(rules.most, time_part(rules, elapsed_ns) + illness)


def time_part(rules: AuctionRules, elapsed_ns: int) -> int:
    """Return the part of the discount that time alone gives, between `start` and `most`."""
    if rules.curve == "exponential":
        return _approached(rules, elapsed_ns)
    span = rules.most - rules.start
    passed = min(elapsed_ns, rules.duration_ns)
    if rules.curve == "stairstep" and passed < rules.duration_ns:
        passed -= passed % rules.step_ns
    return rules.start + floor_div(span * passed, rules.duration_ns)


def _approached(rules: AuctionRules, elapsed_ns: int) -> int:
    """Return the exponential curve: exact powers at whole steps, straight lines between them."""
    steps, part_ns = divmod(elapsed_ns, rules.step_ns)
    here, after = _power(rules.cut, steps), _power(rules.cut, steps + 1)
    left = here * (rules.step_ns - part_ns) + after * part_ns
    return rules.most - ceil_div((rules.most - rules.start) * left, rules.step_ns * _POWER_ONE)


def _power(cut: int, steps: int) -> int:
    """Return `(cut / 10^9) ^ steps` in parts of 10^36, each product rounded up, by squaring.

    Rounding adds at most about `2 * steps` parts. One step more takes at least 10^18 parts away while the power is
    above 10^-9 (cut being at least a rate step below 1), so the result falls with every step as long as a discount
    can show it; below 10^-9 the distance left is less than one rate step, which rounding up keeps at one.
    """
    result, square = _POWER_ONE, cut * (_POWER_ONE // RATE_ONE)
    while steps:
        if steps & 1:
            result = ceil_div(result * square, _POWER_ONE)
        square = ceil_div(square * square, _POWER_ONE)
        steps >>= 1
    return result
