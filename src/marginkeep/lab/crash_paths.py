"""Log price paths of a synthetic crash: the leading market's, and those of the markets that follow it.

The leading market (Bitcoin, as a rule) moves along a fixed shape plus bridged, heavy-tailed noise. The noise
cannot promise a figure, so a draw is kept only when its measured figures lie in the archetype's ranges, and drawn
again otherwise: the ranges hold for every seed. A follower takes its share of the common path, adds noise of its
own, and is stretched to fall by exactly its own depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.errors import InvariantViolation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.lab.crash_archetypes import Archetype, CrashRanges, PathPlan

    Floats = NDArray[np.float64]

MINUTES_PER_YEAR: Final = 525_600
_MOST_DRAWS: Final = 5_000
_TAIL_FREEDOM: Final = 4.0  # Student-t: the daily losses of large coins have a tail index near 3
_HALVING_MINUTES: Final = 40.0  # volatility halves within an hour of the low
_OWN_DIFFUSION: Final = (0.50, 0.05)  # variance of a market's own drift over the common one: calm, stressed
_OWN_REVERSAL: Final = (0.04, 0.50)  # the same for its own level noise, which turns back within minutes
_FLASH_SHAPE: Final = ((-2, 0.3), (-1, 0.65), (0, 1.0), (1, 0.75), (2, 0.5), (3, 0.35), (4, 0.2), (5, 0.1))


@dataclass(frozen=True, slots=True)
class LeaderPath:
    """The leading market: logs of price over start price, float64[T]; `minute_scale` is one minute's usual move."""

    close: Floats
    high: Floats
    low: Floats
    minute_scale: Floats
    depth: float
    fall_start: int
    trough: int


@dataclass(frozen=True, slots=True)
class MarketPaths:
    """All markets: logs of price over start price, float64[T, S]; `minute_scale` is one minute's usual move."""

    close: Floats
    high: Floats
    low: Floats
    minute_scale: Floats


def draw_leader(rng: np.random.Generator, archetype: Archetype, minutes: int) -> LeaderPath:
    """Draw paths until one has all its figures inside the archetype's ranges.

    Raises
    ------
    InvariantViolation : no path fitted; the archetype's plan and ranges contradict each other
    """
    for _ in range(_MOST_DRAWS):
        path = _draw_path(rng, archetype, minutes)
        figures = _figures(path, archetype.ranges)
        if all(least <= value <= most for value, (least, most) in figures):
            return path
    raise InvariantViolation(f"no {archetype.name} path of {minutes} minutes fitted in {_MOST_DRAWS} draws")


def follow(
    rng: np.random.Generator,
    leader: LeaderPath,
    depths: Floats,
    calm_volatilities: Floats,
    flash_depth: float,
) -> MarketPaths:
    """Put the followers beside the leading market; venue effects come later.

    Parameters
    ----------
    depths : float64[S - 1], fall of each follower as a fraction, met exactly
    calm_volatilities : float64[S - 1], before the crash, as multiples of the leading market's
    flash_depth : extra log fall of the first follower around its low; 0 for none
    """
    beta = _beta(leader, np.log1p(-depths) / np.log1p(-leader.depth), calm_volatilities)
    scale = beta * leader.minute_scale[:, None]
    common = np.diff(leader.close, prepend=0.0)[:, None] * beta
    close = np.cumsum(common + _own_diffusion(rng, leader, scale), axis=0) + _own_reversal(rng, leader, scale)
    high, low = _bridge_extremes(rng, close, scale)
    flash = _flash(low, flash_depth)
    stretch = (-np.log1p(-depths) - np.max(flash, axis=0)) / _peak_to_trough(high, low)
    return MarketPaths(
        close=np.column_stack((leader.close, stretch * close - flash)),
        high=np.column_stack((leader.high, stretch * high - flash)),
        low=np.column_stack((leader.low, stretch * low - flash)),
        minute_scale=np.column_stack((leader.minute_scale, stretch * scale)),
    )


def _bridge_extremes(rng: np.random.Generator, close: Floats, minute_scale: Floats) -> tuple[Floats, Floats]:
    """Draw each minute's highest and lowest log price from the law of a Brownian bridge; arrays [T] or [T, S]."""
    opened = np.concatenate((np.zeros_like(close[:1]), close[:-1]))
    span = (close - opened) ** 2
    up, down = -2.0 * np.log(1.0 - rng.random((2, *close.shape)))
    high = (opened + close + np.sqrt(span + minute_scale**2 * up)) / 2
    low = (opened + close - np.sqrt(span + minute_scale**2 * down)) / 2
    return high, low


def _peak_to_trough(high: Floats, low: Floats) -> Floats:
    """Return the largest log fall from a running highest price, per market; arrays [T] or [T, S]."""
    fall: Floats = np.max(np.maximum.accumulate(high, axis=0) - low, axis=0)
    return fall


def _heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return Student-t draws of variance one."""
    draws: Floats = rng.standard_t(_TAIL_FREEDOM, shape) * np.sqrt((_TAIL_FREEDOM - 2) / _TAIL_FREEDOM)
    return draws


def _draw_path(rng: np.random.Generator, archetype: Archetype, minutes: int) -> LeaderPath:
    """Draw one path, then stretch its logs so that the fall from peak to trough is exactly the drawn depth."""
    depth = rng.uniform(*archetype.ranges.depth)
    log_depth = -np.log1p(-depth)
    plan = archetype.plan(rng, minutes, log_depth)
    shape = log_depth * _shape(rng, plan, minutes)
    noise_scale = _volatility(plan, minutes) / np.sqrt(MINUTES_PER_YEAR)
    close = shape + _bridged(noise_scale * _heavy_tailed(rng, (minutes,)), noise_scale, plan)
    high, low = _bridge_extremes(rng, close, noise_scale)
    stretch = log_depth / float(_peak_to_trough(high, low))
    minute_scale = np.hypot(noise_scale, _smoothed(np.diff(shape, prepend=0.0)))
    return LeaderPath(
        close=stretch * close,
        high=stretch * high,
        low=stretch * low,
        minute_scale=stretch * minute_scale,
        depth=depth,
        fall_start=plan.fall_start,
        trough=int(np.argmin(low)),
    )


def _shape(rng: np.random.Generator, plan: PathPlan, minutes: int) -> Floats:
    """Join the anchors by smooth steps; inside a shock let a share of the fall come in jumps."""
    rows = np.arange(minutes)
    anchor_rows = np.array([row for row, _ in plan.anchors])
    levels = np.array([level for _, level in plan.anchors])
    segment = np.clip(np.searchsorted(anchor_rows, rows, side="right") - 1, 0, len(levels) - 2)
    along = (rows - anchor_rows[segment]) / np.diff(anchor_rows)[segment]
    shape: Floats = levels[segment] + np.diff(levels)[segment] * along**2 * (3 - 2 * along)
    for shock in plan.shocks:
        inside = slice(shock.first, shock.last + 1)
        fall = shape[shock.last] - shape[shock.first]
        steps = shape[shock.first] + fall * _staircase(rng, shock.last - shock.first + 1, shock.jumps)
        shape[inside] += shock.jump_share * (steps - shape[inside])
    return shape


def _staircase(rng: np.random.Generator, length: int, jumps: int) -> Floats:
    """Return a rise from 0 to 1 in jumps at random rows: waves of liquidations."""
    rows = rng.integers(max(1, length // 10), length - length // 10, jumps)
    rises = np.zeros(length)
    np.add.at(rises, rows, rng.uniform(0.5, 1.0, jumps))
    stairs: Floats = np.cumsum(rises) / np.sum(rises)
    return stairs


def _volatility(plan: PathPlan, minutes: int) -> Floats:
    """Return the noise, annualised, float64[minutes]: calm, then the fall, with a slow decay after each shock."""
    rows = np.arange(minutes, dtype=np.float64)
    level = np.where(rows < plan.fall_start, plan.calm_volatility, plan.fall_volatility)
    for shock in plan.shocks:
        waited = np.maximum(rows - shock.last, 0.0)
        aftermath = shock.volatility / (1 + waited / _HALVING_MINUTES)
        level = np.where(rows >= shock.first, np.maximum(level, aftermath), level)
    return level


def _bridged(steps: Floats, scale: Floats, plan: PathPlan) -> Floats:
    """Sum noise steps and bend the sum to zero at every anchor, in the clock of its variance."""
    walk, clock = np.cumsum(steps), np.cumsum(scale**2)
    rows = [row for row, _ in plan.anchors]
    return walk - np.interp(clock, clock[rows], walk[rows])


def _smoothed(steps: Floats) -> Floats:
    """Return the root mean square of the neighbouring eleven steps."""
    return np.sqrt(np.convolve(steps**2, np.full(11, 1 / 11), mode="same"))


def _figures(path: LeaderPath, ranges: CrashRanges) -> list[tuple[float, tuple[float, float]]]:
    """Measure the path, each figure beside its bounds; the depth is exact by construction."""
    squares = np.diff(path.close[4::5]) ** 2 * (MINUTES_PER_YEAR / 5)
    before = squares[: (path.fall_start - 60) // 5 - 1]
    hours = np.convolve(squares, np.full(12, 1 / 12), mode="valid")
    rebound = np.max(path.high[path.trough : path.trough + 61]) - path.low[path.trough]
    opened = np.concatenate(([0.0], path.close[:-1]))
    figures = [
        (_worst_drop(path, 60), ranges.drop_1h),
        (_worst_drop(path, 5), ranges.drop_5m),
        (float(-np.expm1(np.min(path.low - opened))), ranges.drop_1m),
        (float(np.sqrt(np.mean(before))), ranges.volatility_before),
        (float(np.sqrt(np.max(hours))), ranges.volatility_peak_hour),
        (float(np.expm1(rebound) * (1 - path.depth) / path.depth), ranges.retraced),
    ]
    if len(path.close) >= 1440:  # a shorter window has no day to measure
        figures.append((float(np.sqrt(np.mean(squares))), ranges.volatility_during))
    return figures


def _worst_drop(path: LeaderPath, minutes: int) -> float:
    """Return the worst fall from the highest high of the trailing minutes, as a fraction of the price."""
    padded = np.concatenate((np.full(minutes - 1, -np.inf), path.high))
    highest = np.lib.stride_tricks.sliding_window_view(padded, minutes).max(axis=1)
    return float(-np.expm1(np.min(path.low - highest)))


def _stress(leader: LeaderPath, full_at: float) -> Floats:
    """Return 0 in calm to 1 where minutes move `full_at` times as much or more, float64[T, 1]."""
    calm = np.median(leader.minute_scale[: leader.fall_start])
    stress: Floats = np.clip((leader.minute_scale / calm - 1) / (full_at - 1), 0.0, 1.0)[:, None]
    return stress


def _between(bounds: tuple[float, float], stress: Floats) -> Floats:
    return bounds[0] + (bounds[1] - bounds[0]) * stress


def _beta(leader: LeaderPath, crash_beta: Floats, calm_volatilities: Floats) -> Floats:
    """Return each market's answer to the common move: its calm volatility first, its depth in the crash."""
    calm_beta = calm_volatilities / np.sqrt(1 + _OWN_DIFFUSION[0])
    beta: Floats = calm_beta + (crash_beta - calm_beta) * _stress(leader, full_at=3.0)
    return beta


def _own_diffusion(rng: np.random.Generator, leader: LeaderPath, scale: Floats) -> Floats:
    share = np.sqrt(_between(_OWN_DIFFUSION, _stress(leader, full_at=3.0)))
    return share * scale * _heavy_tailed(rng, scale.shape)


def _own_reversal(rng: np.random.Generator, leader: LeaderPath, scale: Floats) -> Floats:
    share = np.sqrt(_between(_OWN_REVERSAL, _stress(leader, full_at=6.0)))
    fresh = share * scale * rng.standard_normal(scale.shape)
    return fresh + 0.3 * np.concatenate((np.zeros_like(fresh[:1]), fresh[:-1]))


def _flash(low: Floats, depth: float) -> Floats:
    """Return the extra fall of the first follower around its lowest minute, logs, float64[T, S - 1]."""
    flash = np.zeros_like(low)
    if depth and low.shape[1]:
        trough = int(np.argmin(low[:, 0]))
        for offset, share in _FLASH_SHAPE:
            flash[min(trough + offset, len(low) - 1), 0] = share * depth
    return flash
