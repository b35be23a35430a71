"""Liquidation and bankruptcy prices: where one position's mark brings the account's health or equity to zero.

Everything else is held at mark (cross positions too), so each is a root of a piecewise linear function of the
position's notional N = |size| * x / y, which for an inverse market falls as the price rises. The function is solved
segment by segment in exact fractions, never with the entry price's tier: tiers are those at the root itself.
These prices are for people; the engine itself liquidates by integer health at the mark.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from marginkeep.book.health import equity, measure, position_terms, unrealised_profit
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.model import MAINTENANCE
from marginkeep.rulebook.tables import tier_at
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from marginkeep.book.account import Account, Position
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import MarketTable


class Segment(NamedTuple):
    """Health as `base + slope * N` for `start` <= N < `end` (end None: unbounded), in settle units."""

    start: Fraction
    end: Fraction | None
    base: Fraction
    slope: Fraction

    def at(self, point: Fraction) -> Fraction:
        """Return the health at a notional of this segment."""
        return self.base + self.slope * point


def liquidation_price(account: Account, market: MarketTable, valuation: Valuation) -> Fraction | None:
    """Return the mark, in ticks, at which the account's maintenance health is zero; None where there is none.

    The crossing nearest to the mark on the losing side, else the nearest on the other; for an account already below
    maintenance, the nearest one on the winning side: the price that would heal it.
    """
    position = account.positions[market.index]
    if not valuation.asset_x[market.settle]:
        return None
    others = _others_health(account, market, position, valuation)
    segments = _segments(market, position, others, valuation)
    here = _notional(market, position, Fraction(valuation.marks[market.index]))
    return _price(market, position, _nearest_crossing(segments, here))


def bankruptcy_price(account: Account, market: MarketTable, valuation: Valuation) -> Fraction | None:
    """Return the mark, in ticks, at which the account's equity is zero; None where there is none."""
    position = account.positions[market.index]
    if not valuation.asset_x[market.settle]:
        return None
    rate = _settle_rate(market, valuation)
    x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
    own = convert_floor(unrealised_profit(market, position, valuation), x, y)
    others = (equity(account, valuation) - own) / rate
    direction = 1 if (position.size > 0) == (market.sign > 0) else -1
    root = (position.cost - _funding(market, position, valuation) - others) / direction
    return _price(market, position, root)


def _settle_rate(market: MarketTable, valuation: Valuation) -> Fraction:
    return Fraction(valuation.asset_x[market.settle], valuation.asset_y[market.settle])


def _others_health(account: Account, market: MarketTable, position: Position, valuation: Valuation) -> Fraction:
    """Return the health of all else at maintenance, in settle units."""
    x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
    terms = position_terms(market, position, valuation, MAINTENANCE)
    own = convert_floor(terms.counted, x, y) + convert_floor(-terms.requirement, x, y)
    return (measure(account, valuation, MAINTENANCE).health - own) / Fraction(x, y)


def _funding(market: MarketTable, position: Position, valuation: Valuation) -> Fraction:
    moved = valuation.funding_index(market.index, position.size) - position.funding_entry
    return Fraction(-position.size * moved, RATE_ONE)


def _segments(market: MarketTable, position: Position, others: Fraction, valuation: Valuation) -> list[Segment]:
    """Return health as a piecewise linear function of the notional, from 0 up."""
    direction = 1 if (position.size > 0) == (market.sign > 0) else -1
    offset = _funding(market, position, valuation) - position.cost
    even = -offset / direction
    weight = Fraction(market.profit_weight[MAINTENANCE], RATE_ONE)
    starts = sorted({Fraction(0), *_tier_floors(market), *([even] if even > 0 and weight != 1 else [])})
    segments = []
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else None
        inside = (start + end) / 2 if end is not None else start + 1
        counted = weight if offset + direction * inside > 0 else Fraction(1)
        rate, constant = _requirement_line(market, position, start)
        base = others + counted * offset - constant
        segments.append(Segment(start, end, base, counted * direction - rate))
    return segments


def _tier_floors(market: MarketTable) -> list[Fraction]:
    return [] if market.by_size else [Fraction(row[0]) for row in market.tiers[MAINTENANCE]]


def _requirement_line(market: MarketTable, position: Position, start: Fraction) -> tuple[Fraction, Fraction]:
    """Return (rate, constant) of the unrounded requirement = constant + rate * N on the segment from `start`."""
    rows = market.tiers[MAINTENANCE]
    if market.by_size:
        lots = abs(position.size)
        _, offset, rate, whole, part = tier_at(rows, lots)
        weighed = whole + Fraction(part + (lots - offset) * rate, RATE_ONE)
        return weighed / lots, Fraction(0)
    _, offset, rate, whole, part = tier_at(rows, start.numerator // start.denominator)
    return Fraction(rate, RATE_ONE), whole + Fraction(part - offset * rate, RATE_ONE)


def _nearest_crossing(segments: list[Segment], here: Fraction) -> Fraction | None:
    """Return the notional at which health changes sign, nearest to `here` on the side that matters.

    That side is where health falls, for an unhealthy account where it rises: told by the slope at the mark, since a
    rate above 1 makes even a long position lose as the price rises. Where that side has none, the nearest on the other
    side counts: a whole-position tier, or profit that is not counted, can sink an account by a move in its favour.
    """
    crossings = [point for segment in segments if (point := _root(segment)) is not None]
    crossings += [
        above.start
        for below, above in pairwise(segments)
        if (below.at(above.start) >= 0) != (above.at(above.start) >= 0)
    ]
    local = next(segment for segment in reversed(segments) if segment.start <= here)
    rising = 1 if local.slope > 0 else -1
    side = -rising if local.at(here) >= 0 else rising
    beyond = [point for point in crossings if (point - here) * side >= 0]
    return min(beyond or crossings, key=lambda point: abs(point - here), default=None)


def _root(segment: Segment) -> Fraction | None:
    if segment.slope == 0:
        return None
    point = -segment.base / segment.slope
    inside = point >= segment.start and (segment.end is None or point < segment.end)
    return point if inside else None


def _notional(market: MarketTable, position: Position, price: Fraction) -> Fraction:
    factor = Fraction(market.numerator * abs(position.size), market.denominator)
    return factor * price if market.sign > 0 else factor / price


def _price(market: MarketTable, position: Position, root: Fraction | None) -> Fraction | None:
    if root is None or root <= 0:
        return None
    factor = Fraction(market.numerator * abs(position.size), market.denominator)
    return root / factor if market.sign > 0 else factor / root
