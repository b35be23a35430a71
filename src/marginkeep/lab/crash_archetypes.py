"""The kinds of crash the generator knows: what each may do, in figures, and the shape of its fall.

The ranges come from published candles of crashes between 2020 and 2025. Left out: a stablecoin depeg (its
collateral leg needs another model), lows that cluster at round prices, and funding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


@dataclass(frozen=True, slots=True)
class CrashRanges:
    """Bounds (low, high) of the leading market's figures, as fractions of one.

    Attributes
    ----------
    depth : fall from the running highest price to the lowest
    drop_1h, drop_5m, drop_1m : worst fall inside so many minutes; for one minute from its open to its low
    volatility_before, volatility_during, volatility_peak_hour : of 5-minute returns, annualised
    retraced : share of the fall won back within an hour of the low
    """

    depth: tuple[float, float]
    drop_1h: tuple[float, float]
    drop_5m: tuple[float, float]
    drop_1m: tuple[float, float]
    volatility_before: tuple[float, float]
    volatility_during: tuple[float, float]
    volatility_peak_hour: tuple[float, float]
    retraced: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shock:
    """A stretch of forced selling: rows [first, last], its noise, and its jumps with their share of the fall."""

    first: int
    last: int
    volatility: float
    jumps: int
    jump_share: float


@dataclass(frozen=True, slots=True)
class PathPlan:
    """The shape of one crash: anchors (row, share of the depth) joined smoothly, and its volatilities."""

    anchors: tuple[tuple[int, float], ...]
    shocks: tuple[Shock, ...]
    calm_volatility: float
    fall_volatility: float

    @property
    def fall_start(self) -> int:
        """Row at which the crash begins: the second anchor of every plan."""
        return self.anchors[1][0]


@dataclass(frozen=True, slots=True)
class Archetype:
    """A kind of crash.

    Attributes
    ----------
    minutes, shortest, longest : usual length of the window, and its bounds
    ranges : what the leading market does
    multiplier : fall of another market divided by the fall of the leading one, (low, high)
    wick_scale : factor on the depth of single-venue wicks
    flash_depth : extra, quickly repaired log fall of the second market alone; 0 for none
    failing_depth : fall of a market that fails, (low, high); None where no market fails
    plan : draws the shape for a window of so many minutes and a log depth
    """

    name: str
    minutes: int
    shortest: int
    longest: int
    ranges: CrashRanges
    multiplier: tuple[float, float]
    wick_scale: float
    flash_depth: float
    failing_depth: tuple[float, float] | None
    plan: Callable[[np.random.Generator, int, float], PathPlan]


def _plan_flash_cascade(rng: np.random.Generator, minutes: int, log_depth: float) -> PathPlan:
    """Fall for 10 to 30 minutes, longer when deeper, and win half of it back within the hour."""
    first = int(minutes * rng.uniform(0.48, 0.56))
    last = first + round(log_depth / rng.uniform(0.010, 0.012))
    anchors = (
        (0, 0.0),
        (first - 30, 0.0),
        (first, -rng.uniform(0.05, 0.12)),
        (last, -1.0),
        (last + 50, -rng.uniform(0.35, 0.5)),
        (minutes - 1, -rng.uniform(0.3, 0.55)),
    )
    shock = Shock(first, last, rng.uniform(5.5, 8.0), jumps=4, jump_share=0.5)
    calm = rng.uniform(0.45, 1.2)
    return PathPlan(anchors, (shock,), calm, fall_volatility=1.3 * calm)


def _plan_two_leg_exhaustion(rng: np.random.Generator, minutes: int, log_depth: float) -> PathPlan:
    """Fall in 80 minutes, recover in part, fall again 14 hours after the first leg began."""
    first = int(minutes * rng.uniform(0.12, 0.16))
    second = first + 840
    anchors = (
        (0, 0.0),
        (first, 0.0),
        (first + 80, -rng.uniform(0.40, 0.46)),
        (first + 240, -rng.uniform(0.27, 0.34)),
        (second, -rng.uniform(0.60, 0.68)),
        (second + 90, -1.0),
        (second + 140, -rng.uniform(0.55, 0.68)),
        (minutes - 1, -rng.uniform(0.55, 0.70)),
    )
    shocks = (
        Shock(first, first + 80, 10.5, jumps=5, jump_share=0.5),
        Shock(second, second + 90, 13.0, jumps=5, jump_share=0.5),
    )
    return PathPlan(anchors, shocks, calm_volatility=0.72, fall_volatility=2.0)


def _plan_grind(rng: np.random.Generator, minutes: int, log_depth: float) -> PathPlan:
    """Sink for days with pauses; the last leg takes 7 to 12 % in an hour or so."""
    last = int(minutes * rng.uniform(0.80, 0.88))
    leg = rng.uniform(0.06, 0.08) / log_depth
    anchors = (
        (0, 0.0),
        (int(minutes * 0.12), 0.0),
        (int(minutes * rng.uniform(0.30, 0.36)), -rng.uniform(0.32, 0.40)),
        (int(minutes * rng.uniform(0.42, 0.48)), -rng.uniform(0.24, 0.30)),
        (int(minutes * rng.uniform(0.60, 0.66)), -rng.uniform(0.55, 0.62)),
        (last - 60, -(1 - leg)),
        (last, -1.0),
        (last + 60, -1 + 0.6 * leg),
        (minutes - 1, -rng.uniform(0.75, 0.85)),
    )
    shock = Shock(last - 60, last, rng.uniform(4.0, 5.5), jumps=3, jump_share=0.35)
    fall_volatility = rng.uniform(1.5, 2.1)
    return PathPlan(anchors, (shock,), calm_volatility=0.35 * fall_volatility, fall_volatility=fall_volatility)


def _plan_overnight_gap(rng: np.random.Generator, minutes: int, log_depth: float) -> PathPlan:
    """Sink through a thin night for about 18 hours; the last hour takes half of the fall."""
    first = int(minutes * 0.10)
    last = first + int(minutes * rng.uniform(0.72, 0.77))
    anchors = (
        (0, 0.0),
        (first, 0.0),
        (first + int(minutes * 0.35), -rng.uniform(0.22, 0.32)),
        (last - 75, -rng.uniform(0.52, 0.60)),
        (last, -1.0),
        (last + 50, -rng.uniform(0.65, 0.75)),
        (minutes - 1, -rng.uniform(0.55, 0.75)),
    )
    shock = Shock(last - 75, last, 4.5, jumps=2, jump_share=0.5)
    return PathPlan(anchors, (shock,), calm_volatility=0.65, fall_volatility=1.6)


ARCHETYPES: Final[dict[str, Archetype]] = {
    archetype.name: archetype
    for archetype in (
        Archetype(
            name="flash_cascade",
            minutes=1440,
            shortest=240,
            longest=1440,
            ranges=CrashRanges(
                depth=(0.16, 0.31),
                drop_1h=(0.15, 0.30),
                drop_5m=(0.08, 0.12),
                drop_1m=(0.04, 0.06),
                volatility_before=(0.35, 1.5),
                volatility_during=(2.0, 5.0),
                volatility_peak_hour=(9.5, 20.0),
                retraced=(0.45, 0.75),
            ),
            multiplier=(1.5, 2.5),
            wick_scale=1.0,
            flash_depth=0.0,
            failing_depth=None,
            plan=_plan_flash_cascade,
        ),
        Archetype(
            name="two_leg_exhaustion",
            minutes=1440,
            shortest=1320,
            longest=1440,
            ranges=CrashRanges(
                depth=(0.50, 0.55),
                drop_1h=(0.21, 0.30),
                drop_5m=(0.11, 0.20),
                drop_1m=(0.05, 0.095),
                volatility_before=(0.45, 0.90),
                volatility_during=(3.9, 5.5),
                volatility_peak_hour=(13.5, 19.0),
                retraced=(0.25, 0.50),
            ),
            multiplier=(1.0, 1.2),
            wick_scale=0.3,
            flash_depth=0.0,
            failing_depth=None,
            plan=_plan_two_leg_exhaustion,
        ),
        Archetype(
            name="grind",
            minutes=4320,
            shortest=2880,
            longest=11_520,
            ranges=CrashRanges(
                depth=(0.22, 0.41),
                drop_1h=(0.07, 0.12),
                drop_5m=(0.025, 0.06),
                drop_1m=(0.01, 0.035),
                volatility_before=(0.40, 0.65),
                volatility_during=(1.45, 1.70),
                volatility_peak_hour=(4.0, 6.0),
                retraced=(0.05, 0.30),
            ),
            multiplier=(1.2, 1.8),
            wick_scale=0.15,
            flash_depth=0.0,
            failing_depth=(0.70, 0.95),
            plan=_plan_grind,
        ),
        Archetype(
            name="overnight_gap",
            minutes=1440,
            shortest=1200,
            longest=1440,
            ranges=CrashRanges(
                depth=(0.18, 0.22),
                drop_1h=(0.08, 0.12),
                drop_5m=(0.04, 0.06),
                drop_1m=(0.02, 0.04),
                volatility_before=(0.40, 0.75),
                volatility_during=(1.6, 2.0),
                volatility_peak_hour=(4.0, 6.0),
                retraced=(0.20, 0.45),
            ),
            multiplier=(1.2, 1.5),
            wick_scale=0.4,
            flash_depth=0.13,
            failing_depth=None,
            plan=_plan_overnight_gap,
        ),
    )
}
