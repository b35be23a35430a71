"""What the rulebook says about prices: sources, feeds, marks, which quality which action accepts, breakers, pegs.

Times are nanoseconds, rates parts per 10^9, prices ticks of the feed, market or asset they belong to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from fractions import Fraction

    from marginkeep.rulebook.model import LevelRates

VALID: Final = 0
STALE: Final = 1
UNCERTAIN: Final = 2
DIVERGENT: Final = 3
VOLATILE: Final = 4
TOO_FEW_SOURCES: Final = 5
HALTED: Final = 6
QUALITIES: Final = ("valid", "stale", "uncertain", "divergent", "volatile", "too_few_sources", "halted")
"""What a price may be, best first; several may apply at once: an action must accept each, people are shown the last."""

ACTIONS: Final = ("open", "reduce", "withdraw", "call", "soft", "liquidate", "auction", "settle", "fund")
"""What somebody may want to do with a price."""

OPEN: Final = 0
REDUCE_ONLY: Final = 1
GUARDED: Final = 2
MARKET_HALTED: Final = 3
MARKET_STATES: Final = ("open", "reduce_only", "guarded", "halted")
"""Market states, freest first: reduce_only refuses new risk, guarded also withdrawals and bounds liquidation."""

SOURCES_MAX: Final = 16
WEIGHT_MAX: Final = 1_000
FEED_PRICE_MAX: Final = 2**48
"""Sixteen sources of weight 1,000 at this price sum to 2^62: no intermediate of an aggregation leaves int64."""

FACTOR_ONE: Final = 10**18
"""Bounds of a breaker are multiples of the reference price in parts of this."""

Aggregate = Literal["weighted_median", "trimmed_mean", "median_of_medians"]
ComponentKind = Literal[
    "index", "basis", "mean_basis", "funding", "mid", "touch", "impact", "last", "trades", "feed", "others"
]


@dataclass(frozen=True, slots=True)
class SourceRules:
    """Who quotes a feed.

    Attributes
    ----------
    weight : whole number from 1 to `WEIGHT_MAX`
    rank : 0 = first choice; the next rank is used only while too few of the earlier ones are fresh
    group : sources of one group count as one in ``median_of_medians``
    stale_after_ns : a quote older than this is left out
    """

    name: str
    weight: int
    rank: int
    group: str
    stale_after_ns: int


@dataclass(frozen=True, slots=True)
class ScoreRules:
    """How a source loses and regains trust.

    Attributes
    ----------
    late_after_ns : a quote that arrives this long after its source time counts as bad, and so does an outlier
    memory : one quote changes the share of bad ones by 1 / memory of the way
    quarantine_above, return_below : shares of bad quotes at which a source is left out, and comes back
    quarantine_ns : the shortest quarantine
    """

    late_after_ns: int
    memory: int
    quarantine_above: int
    return_below: int
    quarantine_ns: int


@dataclass(frozen=True, slots=True)
class GrowthCap:
    """A ceiling for a ratio that only yield can raise: `ratio` at `since_ns` plus `yearly` of it a year of 365 days.

    `ratio` is in the feed's own ticks. Only the upper side is capped.
    """

    ratio: int
    since_ns: int
    yearly: int


@dataclass(frozen=True, slots=True)
class JumpLimit:
    """Clamp a price to `ratio` (rate >= 1) of the last one within `window_ns`, and ask a fee for the jump."""

    ratio: int
    window_ns: int


@dataclass(frozen=True, slots=True)
class FeedRules:
    """One index price and everything that guards it.

    Attributes
    ----------
    tick : smallest step of its price, in the reporting asset (or of its ratio, with `base`)
    aggregate : how the sources' prices become one
    trim : ``trimmed_mean`` leaves out this share of the sources at each end
    min_sources : fewer than these: ``too_few_sources``
    max_age_ns : the newest quote is older than this: ``stale``
    max_ahead_ns : a source time further ahead of arrival than this is refused
    outlier_band : a price further than this from the centre of all is not used
    max_confidence : confidence above this share of the price: ``uncertain``
    max_dispersion : used prices further apart than this share of the price: ``divergent``
    volatile_band : further than this from its own moving average: ``volatile``; 0 = never
    average_half_life_ns : half-life of that moving average
    frozen_after_ns : a price unchanged for this long while the index moved by more than `outlier_band` is left out
    base : the feed is a ratio to this other feed; its price is their product
    delay_ns : the price is published this much later, and announced meanwhile; 0 = at once
    """

    name: str
    tick: Fraction
    sources: tuple[SourceRules, ...]
    aggregate: Aggregate
    trim: int
    min_sources: int
    max_age_ns: int
    max_ahead_ns: int
    outlier_band: int
    max_confidence: int
    max_dispersion: int
    volatile_band: int
    average_half_life_ns: int
    frozen_after_ns: int
    score: ScoreRules
    base: str | None = None
    delay_ns: int = 0
    growth_cap: GrowthCap | None = None
    jump_limit: JumpLimit | None = None


@dataclass(frozen=True, slots=True)
class StableRules:
    """The slow price that opening risk is also measured at.

    Attributes
    ----------
    per_second : most it moves a second, as a share of itself, where it agrees with its delayed self
    delayed_per_hour : most its delayed self moves an hour
    """

    per_second: int
    delayed_per_hour: int


@dataclass(frozen=True, slots=True)
class MarkComponent:
    """One ingredient of a mark price.

    Attributes
    ----------
    kind : ``index``; ``basis`` (index + moving average of mid - index, by half-life); ``mean_basis`` (the same with a
        plain mean over a window); ``funding`` (index with the funding still to come); ``mid``; ``touch`` (median of
        best bid, best ask and last trade, or by half-life its moving average); ``impact`` (mean of the impact prices);
        ``last``; ``trades`` (decaying mean of own trades over a window); ``feed`` (another feed); ``others`` (median
        of the other components that are there; at most one)
    weight : for ``weighted``; 0 = counts for ``others`` only
    stale_after_ns : left out when its newest input is older; for ``funding``, when the next payment is that overdue
    window_ns : half-life, window or funding interval, by kind; 0 where it has none, and for ``touch`` as it is now
    feed : for ``feed``
    decay, power : for ``trades``: weight 1 - decay * (age / window) ^ power
    reserve : used only when fewer than three others are there
    """

    kind: ComponentKind
    weight: int
    stale_after_ns: int
    window_ns: int = 0
    feed: str | None = None
    decay: int = 0
    power: int = 1
    reserve: bool = False


@dataclass(frozen=True, slots=True)
class MarkRules:
    """How a market's mark price is made.

    Attributes
    ----------
    index : the feed it follows
    band : the mark is kept within this share of the index; 0 = anywhere
    """

    market: str
    index: str
    method: Literal["median", "weighted"]
    components: tuple[MarkComponent, ...]
    band: int


@dataclass(frozen=True, slots=True)
class BreakerTrigger:
    """A move over one horizon that changes a market's state.

    Attributes
    ----------
    lower, upper : the bounds as multiples of the reference price, in parts of `FACTOR_ONE`
    state : what the market becomes, index into `MARKET_STATES`
    duration_ns : how long at least; each further breach starts it anew
    """

    horizon_ns: int
    lower: int
    upper: int
    state: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """Circuit breakers of one market.

    Attributes
    ----------
    triggers : by horizon, rising
    liquidation_share, liquidation_interval_ns : while guarded, at most this share of open interest is liquidated in
        one interval
    """

    triggers: tuple[BreakerTrigger, ...]
    liquidation_share: int
    liquidation_interval_ns: int


@dataclass(frozen=True, slots=True)
class VenueBreaker:
    """When at least `markets` markets are in `state` or worse, all are; 0 markets = never."""

    markets: int
    state: int


@dataclass(frozen=True, slots=True)
class PegStage:
    """One stage of a peg that does not hold.

    Attributes
    ----------
    deviation : from this distance to the peg on
    after_ns : kept up for this long
    weight : factor on the asset's collateral weight, per level
    """

    name: str
    deviation: int
    after_ns: int
    weight: LevelRates
    opens: bool


@dataclass(frozen=True, slots=True)
class PegRules:
    """What an asset should be worth, and what happens when it is not.

    Attributes
    ----------
    target : ticks of the asset
    dispersion : sources further apart than this count as the first stage's deviation; 0 = never
    return_after_ns : how long a milder stage must hold before the asset returns to it
    stages : mildest first
    """

    asset: str
    target: int
    dispersion: int
    return_after_ns: int
    stages: tuple[PegStage, ...]


@dataclass(frozen=True, slots=True)
class OracleRules:
    """All of it.

    Attributes
    ----------
    feeds, marks, breakers, pegs : by feed, market, market and asset
    accepts : per action, in the order of `ACTIONS`, the qualities it accepts as bits (1 << quality)
    """

    feeds: tuple[FeedRules, ...]
    marks: tuple[MarkRules, ...]
    breakers: tuple[tuple[str, BreakerRules], ...]
    venue: VenueBreaker
    pegs: tuple[PegRules, ...]
    stable: StableRules | None
    accepts: tuple[int, ...]

    def accepted(self, action: str, flags: int) -> bool:
        """Tell whether an action may use a price to which these qualities apply, given as bits (1 << quality)."""
        return flags & ~self.accepts[ACTIONS.index(action)] == 0
