"""Synthetic crashes: minute prices of several markets on three simulated venues, from a seed.

One jump diffusion moves every market, so correlation is high at five minutes. What differs between markets turns
back within minutes, so correlation at one minute falls inside the cascade. Deep wicks hit one venue of a market
only: they vanish from the consolidated price, the median of the three venues.

Calibrated to published figures of crashes between 2020 and 2025; symbols are real, every price is invented.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.errors import InputError
from marginkeep.lab.crash_archetypes import ARCHETYPES, Archetype
from marginkeep.lab.crash_paths import LeaderPath, MarketPaths, draw_leader, follow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

VENUES: Final = 3
FIRST_MINUTE_NS: Final = 1_894_665_600 * 10**9
"""2030-01-15T00:00:00Z, an invented date: nobody mistakes the prices for a record."""

_MINUTE_NS: Final = 60 * 10**9
_DIGITS: Final = 7  # coarse enough to swallow the last-bit differences of exp and log between processors
_POWERS_OF_TEN: Final = tuple(float(f"1e{exponent}") for exponent in range(23))  # exact doubles up to 1e22
_VENUE_NOISE: Final = 0.15  # a venue's distance from the fair price, in minute moves
_WICK_SHAPE: Final = ((-1, 0.25), (0, 1.0), (1, 0.45), (2, 0.2), (3, 0.08))  # minute from its low, share of its log
_VOLUME_SPIKE: Final = (28.0, 80.0)  # wildest minutes over the calm ones, before noise


@dataclass(frozen=True, slots=True)
class CrashMarket:
    """One market of a synthetic crash.

    Attributes
    ----------
    symbol : in the ccxt style, ``"BTC/USDT:USDT"``
    start_price : quote units, 1e-6 to 1e7
    sensitivity : 0 falls by the archetype's smallest multiple of the leading market's fall, 1 by its largest;
        not used on the leading (first) market
    calm_volatility : before the crash, as a multiple of the leading market's; 0.2 to 5, not used on the first
    wick_depth : how far below the median the worst single-venue wick reaches in a flash cascade; 0 to 0.9
    minute_turnover : median turnover of a calm minute, quote units
    fails : True for a name that falls by 70 to 95 % where the archetype has failing names (the grind)
    """

    symbol: str
    start_price: float
    sensitivity: float = 0.5
    calm_volatility: float = 1.5
    wick_depth: float = 0.4
    minute_turnover: float = 1e6
    fails: bool = False

    def __post_init__(self) -> None:
        if not self.symbol:
            raise InputError('a market has an empty symbol: name it, for example "BTC/USDT:USDT"')
        for name, low, high in (
            ("start_price", 1e-6, 1e7),
            ("sensitivity", 0.0, 1.0),
            ("calm_volatility", 0.2, 5.0),
            ("wick_depth", 0.0, 0.9),
            ("minute_turnover", 1e-6, 1e12),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{self.symbol}: {name} is {value!r}: give a number from {low:g} to {high:g}")


DEFAULT_MARKETS: Final = (
    CrashMarket("BTC/USDT:USDT", 100_000.0, 0.0, 1.0, 0.02, 2e7),
    CrashMarket("ETH/USDT:USDT", 4_000.0, 0.05, 1.35, 0.06, 1e7),
    CrashMarket("SOL/USDT:USDT", 200.0, 0.25, 1.7, 0.2, 4e6),
    CrashMarket("XRP/USDT:USDT", 2.5, 0.35, 1.5, 0.3, 2e6),
    CrashMarket("DOGE/USDT:USDT", 0.25, 0.6, 1.7, 0.4, 1.5e6),
    CrashMarket("LINK/USDT:USDT", 20.0, 0.45, 1.6, 0.52, 5e5),
    CrashMarket("AVAX/USDT:USDT", 30.0, 0.7, 1.8, 0.58, 4e5),
    CrashMarket("DOT/USDT:USDT", 5.0, 0.8, 1.7, 0.62, 3e5),
)


@dataclass(frozen=True, slots=True)
class SyntheticCrash:
    """A made-up crash: T minutes, S markets, 3 venues. Arrays are read-only; prices have seven significant digits.

    Attributes
    ----------
    archetype, seed : what gives this crash again
    symbols : S names; the first leads
    times_ns : int64[T], UTC, when each minute opens
    open, high, low, close : float64[T, S], consolidated price, quote units: `close` is the median of the venues,
        `open` the previous close; single-venue wicks are not in it
    volume : float64[T, S], base units, all venues
    venue_close, venue_low : float64[T, S, 3], quote units, with the wicks
    wick_venue : int64[S], the venue that has the market's wicks
    fall_start, trough : rows where the crash begins and where the leading market is lowest
    """

    archetype: str
    seed: int
    symbols: tuple[str, ...]
    times_ns: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    venue_close: Floats
    venue_low: Floats
    wick_venue: NDArray[np.int64]
    fall_start: int
    trough: int


def synthesise_crash(
    seed: int,
    *,
    archetype: str = "flash_cascade",
    minutes: int | None = None,
    markets: tuple[CrashMarket, ...] = DEFAULT_MARKETS,
) -> SyntheticCrash:
    """Make up a crash; the same arguments give the same arrays.

    Across processors `exp` differs in its last bit: rounding hides it, but for about one value in 10^8.

    Parameters
    ----------
    seed : whole number, 0 or more
    archetype : one of ``flash_cascade``, ``two_leg_exhaustion``, ``grind``, ``overnight_gap``
    minutes : length of the window; None for the archetype's usual one (a day; three days for the grind)
    markets : the first one leads, the others fall by a multiple of its fall

    Raises
    ------
    InputError : an argument outside its bounds; the message names the bounds

    Examples
    --------
    >>> crash = synthesise_crash(7)
    >>> crash.close.shape
    (1440, 8)
    """
    kind = _checked_archetype(archetype)
    length = _checked_minutes(kind, kind.minutes if minutes is None else minutes)
    _check_markets(markets)
    rng = np.random.Generator(np.random.PCG64(_checked_seed(seed)))
    leader = draw_leader(rng, kind, length)
    followers = markets[1:]
    depths = np.array([_follower_depth(rng, kind, leader.depth, market) for market in followers])
    calm_volatilities = np.array([market.calm_volatility for market in followers])
    fair = follow(rng, leader, depths, calm_volatilities, kind.flash_depth)
    wick_venue = rng.integers(0, VENUES, len(markets))
    wick_logs = _draw_wicks(rng, kind, leader, markets)
    start = np.array([market.start_price for market in markets])
    prices = _venue_prices(rng, fair, start, wick_venue, wick_logs)
    volume = _draw_volume(rng, leader, markets)
    arrays = (*prices, volume, wick_venue, FIRST_MINUTE_NS + _MINUTE_NS * np.arange(length, dtype=np.int64))
    for array in arrays:
        array.flags.writeable = False
    opened, high, low, close, venue_close, venue_low = prices
    return SyntheticCrash(
        archetype=kind.name,
        seed=seed,
        symbols=tuple(market.symbol for market in markets),
        times_ns=arrays[-1],
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        venue_close=venue_close,
        venue_low=venue_low,
        wick_venue=wick_venue,
        fall_start=leader.fall_start,
        trough=leader.trough,
    )


def _follower_depth(rng: np.random.Generator, kind: Archetype, leader_depth: float, market: CrashMarket) -> float:
    """Return the fall of a market as a fraction, a little jittered inside the archetype's multiplier."""
    if market.fails and kind.failing_depth is not None:
        return rng.uniform(*kind.failing_depth)
    place = 0.05 + 0.9 * market.sensitivity + rng.uniform(-0.03, 0.03)
    least, most = kind.multiplier
    return leader_depth * (least + (most - least) * place)


def _draw_wicks(
    rng: np.random.Generator, kind: Archetype, leader: LeaderPath, markets: tuple[CrashMarket, ...]
) -> Floats:
    """Return how far the wick venue is below the fair price, logs, float64[T, S]: one deep wick, few lesser ones."""
    wicks = np.zeros((len(leader.close), len(markets)))
    for column, market in enumerate(markets):
        deepest = min(0.9, kind.wick_scale * market.wick_depth * rng.uniform(0.92, 1.08))
        depths = [deepest, *(deepest * rng.uniform(0.2, 0.6, rng.integers(0, 4)))]
        rows = leader.trough + np.array([rng.integers(-4, 6), *rng.integers(-15, 20, len(depths) - 1)])
        for row, depth in zip(rows, depths, strict=True):
            for offset, share in _WICK_SHAPE:
                at = min(int(row) + offset, len(wicks) - 1)
                wicks[at, column] = max(wicks[at, column], -share * math.log1p(-depth))
    return wicks


def _venue_prices(
    rng: np.random.Generator, fair: MarketPaths, start: Floats, wick_venue: NDArray[np.int64], wicks: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Return open, high, low, close [T, S] and venue close, venue low [T, S, 3], rounded, quote units.

    The venues are shifted so that their median is the fair price: what the paths promise, the median keeps.
    """
    on_venue = wicks[:, :, None] * (np.arange(VENUES) == wick_venue[:, None])
    noise = _VENUE_NOISE * fair.minute_scale[:, :, None] * rng.standard_normal(on_venue.shape)
    noise -= np.median(noise - on_venue, axis=2, keepdims=True)
    reach = rng.uniform(1.0, 1.06, wicks.shape)[:, :, None]  # a wick's low lies below its close
    venue_close = _rounded(start[:, None] * np.exp(fair.close[:, :, None] + noise - on_venue))
    venue_low = _rounded(start[:, None] * np.exp(fair.low[:, :, None] + noise - reach * on_venue))
    venue_low[1:] = np.minimum(venue_low[1:], venue_close[:-1])
    close = np.median(venue_close, axis=2)
    opened = np.concatenate((_rounded(start)[None, :], close[:-1]))
    high = np.maximum(_rounded(start * np.exp(fair.high)), np.maximum(opened, close))
    low = np.minimum(_rounded(start * np.exp(fair.low)), np.minimum(opened, close))
    return opened, high, low, close, venue_close, venue_low


def _draw_volume(rng: np.random.Generator, leader: LeaderPath, markets: tuple[CrashMarket, ...]) -> Floats:
    """Return base units traded, float64[T, S]: a power of the minute's usual move, from calm to the spike."""
    calm = np.median(leader.minute_scale)
    wildness = leader.minute_scale / calm
    power = math.log(rng.uniform(*_VOLUME_SPIKE)) / math.log(np.max(wildness))
    multiple = wildness[:, None] ** power * np.exp(0.3 * rng.standard_normal((len(wildness), len(markets))))
    calm_volume = np.array([market.minute_turnover / market.start_price for market in markets])
    return _rounded(calm_volume * multiple)


def _rounded(values: Floats) -> Floats:
    """Round positive numbers to seven significant digits, so that processors agree."""
    decimals = np.clip(_DIGITS - 1 - np.floor(np.log10(values)).astype(np.int64), 0, len(_POWERS_OF_TEN) - 1)
    factor = np.array(_POWERS_OF_TEN)[decimals]
    rounded: Floats = np.round(values * factor) / factor
    return rounded


def _checked_archetype(name: str) -> Archetype:
    kind = ARCHETYPES.get(name)
    if kind is None:
        raise InputError(f"unknown archetype {name!r}: use one of {', '.join(ARCHETYPES)}")
    return kind


def _checked_minutes(kind: Archetype, minutes: int) -> int:
    if isinstance(minutes, bool) or not isinstance(minutes, int):
        raise InputError(f"minutes is {minutes!r}: give a whole number of minutes")
    if not kind.shortest <= minutes <= kind.longest:
        raise InputError(
            f"minutes is {minutes}: a {kind.name} takes {kind.shortest} to {kind.longest} minutes, "
            f"usually {kind.minutes}"
        )
    return minutes


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is {seed!r}: give a whole number, 0 or more")
    return seed


def _check_markets(markets: tuple[CrashMarket, ...]) -> None:
    if not markets:
        raise InputError("markets is empty: give at least one CrashMarket, the leading one first")
    symbols = [market.symbol for market in markets]
    for symbol in symbols:
        if symbols.count(symbol) > 1:
            raise InputError(f"the symbol {symbol} is given {symbols.count(symbol)} times: give each market once")
