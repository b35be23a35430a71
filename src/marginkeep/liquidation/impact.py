"""What closing much at once costs, and how much of a market may be closed in one interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.units import RATE_ONE, ceil_div, rate_ceil, rate_floor

if TYPE_CHECKING:
    from marginkeep.rulebook import LiquidationTerms
    from marginkeep.rulebook.ladder_rules import ImpactRules


def cost_rate(lots: int, terms: LiquidationTerms, impact: ImpactRules | None) -> int:
    """Return how far from the mark a forced trade is made, a rate rounded up: slippage + impact * lots / depth.

    Parameters
    ----------
    lots : closed in the present interval, this trade included, so that splitting a close does not make it cheaper
    impact : None for a market whose depth the rulebook does not state
    """
    if impact is None:
        return terms.slippage
    return terms.slippage + ceil_div(impact.impact * lots, impact.depth)


def slipped(mark: int, lots: int, terms: LiquidationTerms, impact: ImpactRules | None, selling: bool) -> int:
    """Return the price of a forced trade in ticks, rounded against the account, at least 1.

    All lots are made at this one price, that of the last of them.
    """
    rate = cost_rate(lots, terms, impact)
    if selling:
        return max(1, rate_floor(mark, max(0, RATE_ONE - rate)))
    return rate_ceil(mark, RATE_ONE + rate)


def most_lots(impact: ImpactRules | None, closed: int = 0) -> int | None:
    """Return the lots that may still be closed in the present interval, None where there is no bound.

    Parameters
    ----------
    closed : lots closed in this interval, by all accounts
    """
    if impact is None:
        return None
    return max(0, rate_floor(impact.depth, impact.share) - closed)


def interval_began_ns(impact: ImpactRules, now_ns: int) -> int:
    """Return when the present interval began: intervals follow each other from time 0, whoever closes what."""
    return now_ns - now_ns % impact.interval_ns
