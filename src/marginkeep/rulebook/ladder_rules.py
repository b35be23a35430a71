"""What the rulebook says about ill accounts: calls, soft and partial liquidation, auctions, and who bears a loss.

Times are nanoseconds, rates parts per 10^9, amounts smallest units of the reporting asset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

HEALTHY: Final = 0
CALLED: Final = 1
SOFT: Final = 2
PARTIAL: Final = 3
AUCTION: Final = 4
BANKRUPT: Final = 5
CLOSED: Final = 6
RUNGS: Final = ("healthy", "called", "soft", "partial", "auction", "bankrupt", "closed")
"""Where on the ladder an account stands, healthiest first."""

Curve = Literal["linear", "stairstep", "exponential"]
DeleveragingPolicy = Literal["queue", "pro_rata", "risk_aware", "portfolio_aware"]


@dataclass(frozen=True, slots=True)
class CallRules:
    """Margin calls.

    Attributes
    ----------
    deadline_ns : time to cure a call before forced reduction begins
    reminders_ns : how long before the deadline the owner is reminded, latest last
    volatility, probability : within the deadline a price moves by no more than a log-normal model with this yearly
        volatility allows at this probability: the loader checks that call and maintenance lie at least so far apart
    move : that move, a rate; computed by the loader
    """

    deadline_ns: int
    reminders_ns: tuple[int, ...]
    volatility: int
    probability: int
    move: int


@dataclass(frozen=True, slots=True)
class SoftRules:
    """Paced reduction.

    Attributes
    ----------
    step_ns : time between two steps
    duration_ns : after this long the whole shortfall is due
    initial_share : share of the shortfall that is due at once
    penalty : penalty of soft steps, a rate of the value closed
    hard_factor : below this health factor (a rate) an account is not paced but reduced at once
    """

    step_ns: int
    duration_ns: int
    initial_share: int
    penalty: int
    hard_factor: int


@dataclass(frozen=True, slots=True)
class AuctionRules:
    """Dutch auctions of slices of a portfolio.

    The discount on the mark is, at time t since the start and health factor h,
    `b(h, t) = min(most, time part + illness * max(0, 1 - h))`, and never more than what heals.

    Attributes
    ----------
    below_factor : an account below this health factor (a rate) is auctioned instead of reduced
    curve : ``linear`` from `start` to `most` over `duration_ns`; ``stairstep`` the same in steps of `step_ns`;
        ``exponential``: the distance to `most` shrinks by the factor `cut` every `step_ns`
    restarts : how often an auction without a bid begins anew before the house takes over
    tip, chip : what the first bidder of an auction is paid besides, flat and as a share of the value taken
    most_debt, most_debt_of_market : most value in auctions at once, in all and in one market; the others wait
    """

    below_factor: int
    curve: Curve
    start: int
    most: int
    illness: int
    duration_ns: int
    step_ns: int
    cut: int
    restarts: int
    tip: int
    chip: int
    most_debt: int
    most_debt_of_market: int


@dataclass(frozen=True, slots=True)
class FundRules:
    """An insurance fund of a pool of markets; the fund without markets is the last, for all.

    Attributes
    ----------
    most_an_event, most_a_day : most it pays for one account, and in one UTC day
    """

    name: str
    markets: tuple[str, ...]
    most_an_event: int
    most_a_day: int


@dataclass(frozen=True, slots=True)
class ImpactRules:
    """What closing much at once costs in one market.

    Attributes
    ----------
    depth : lots that move the price by `impact`; closing more costs in proportion
    impact : a rate
    share : most lots closed in one interval, as a share of `depth`
    interval_ns : length of that interval
    """

    market: str
    depth: int
    impact: int
    share: int
    interval_ns: int


@dataclass(frozen=True, slots=True)
class LadderRules:
    """All rungs; None leaves one out.

    Attributes
    ----------
    dust : a position worth less than this after a step is closed whole
    house_share : share of penalties that the house keeps; the rest is split between liquidator and fund
    policy : how deleveraging chooses among winners
    socialise : a loss that nobody bears is spread over the ``side`` that won, or over the whole ``market``
    """

    calls: CallRules | None
    soft: SoftRules | None
    auctions: AuctionRules | None
    funds: tuple[FundRules, ...]
    impacts: tuple[ImpactRules, ...]
    dust: int
    house_share: int
    policy: DeleveragingPolicy | None
    socialise: Literal["side", "market"] | None
