"""Comparisons of collateral and requirement: who is liquidatable, who is riskier, which change may pass.

All of it is integer cross-multiplication: no ratio is formed, so no rounding can decide an account's fate.
"""

from __future__ import annotations

from typing import NamedTuple


class Measure(NamedTuple):
    """Collateral and requirement of one account at one level, in reporting units."""

    collateral: int
    requirement: int

    @property
    def health(self) -> int:
        """Collateral beyond the requirement; negative = breached."""
        return self.collateral - self.requirement


def is_breached(measure: Measure) -> bool:
    """Tell whether the level is breached: strictly less collateral than required; exactly enough is safe."""
    return measure.health < 0


def compare_risk(first: Measure, second: Measure) -> int:
    """Return 1 if the first account is riskier, -1 if the second is, 0 if neither.

    The lower ratio of collateral to requirement is riskier; at equal ratios the larger requirement; with nothing
    required on either side the smaller collateral. An account that requires nothing is safer than one that does,
    unless it is in debt.
    """
    left = first.collateral * second.requirement
    right = second.collateral * first.requirement
    if left != right:
        return 1 if left < right else -1
    if first.requirement != second.requirement:
        return 1 if first.requirement > second.requirement else -1
    return (first.collateral < second.collateral) - (first.collateral > second.collateral)


def does_not_worsen(before: Measure, after: Measure) -> bool:
    """Tell whether an account that lacks initial margin may still pass from one state to another.

    It may if its maintenance requirement does not rise and its ratio of collateral to requirement does not fall.
    With no requirement on either side there is no ratio: then its collateral must strictly rise.
    """
    if before.requirement == 0 or after.requirement == 0:
        nothing_required = before.requirement == 0 and after.requirement == 0
        return nothing_required and after.collateral > before.collateral
    if after.requirement > before.requirement:
        return False
    return after.collateral * before.requirement >= before.collateral * after.requirement
