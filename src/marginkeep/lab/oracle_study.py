"""What a policy of publishing prices costs, and whom it harms: replays on published instead of true prices.

Every policy meets the same book and the same true prices. What it is compared with is the run in which every tick is
published; its harm is what differs from that run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import floor
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.book.limits import payoff_at
from marginkeep.lab.replay import Replay
from marginkeep.units import INT64_SAFE, rate_floor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from marginkeep.clearing import Clearinghouse, Liquidated
    from marginkeep.clearing.events import LiquidationStep
    from marginkeep.lab.opening import PricePath
    from marginkeep.oracle.update_policy import UpdatePolicy

BASIS_POINTS: Final = 10_000
TAIL: Final = 99
"""The percentile that is shown of how late liquidations are."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyRun:
    """One policy's cost and harm; amounts count the reporting asset's smallest unit, times are nanoseconds.

    Attributes
    ----------
    policy : None for the run that publishes every tick
    updates : prices published, the first of each feed included
    worst_error_bp, mean_error_bp : distance of the published from the true price over ticks and feeds, basis points
    liquidated : accounts
    late_ns : int64, rising: for each account liquidated here and with every tick published, how much later; 0 for one
        that is liquidated at the same time or earlier
    censored_ns : int64: for each account that only the run with every tick liquidates, from then to the last tick
    early, extra : accounts liquidated earlier here, and only here
    bad_debt, fund_paid : what nobody paid, and what the insurance fund paid
    taken_over : what forced trades were better than the true price for the account: the loss of who took them over
    """

    policy: UpdatePolicy | None
    updates: int
    worst_error_bp: float
    mean_error_bp: float
    liquidated: int
    late_ns: NDArray[np.int64]
    censored_ns: NDArray[np.int64]
    early: int
    extra: int
    bad_debt: int
    fund_paid: int
    taken_over: int

    @property
    def shortfall(self) -> int:
        """What the collateral of liquidated accounts did not cover, whoever paid for it."""
        return self.bad_debt + self.fund_paid

    @property
    def late(self) -> int:
        """How many accounts are liquidated later than with every tick published."""
        return int(np.count_nonzero(self.late_ns))

    @property
    def never(self) -> int:
        """How many accounts that every tick would have liquidated are not liquidated here."""
        return len(self.censored_ns)

    def late_percentile(self, percent: int) -> int:
        """Return the smallest lateness that at least this share of `late_ns` does not exceed; 0 for none."""
        if not len(self.late_ns):
            return 0
        return int(self.late_ns[max(0, -(-percent * len(self.late_ns) // 100) - 1)])

    @property
    def mean_late_ns(self) -> float:
        """Mean lateness, in which an account never liquidated counts as late until the last tick."""
        counted = len(self.late_ns) + len(self.censored_ns)
        return float(self.late_ns.sum() + self.censored_ns.sum()) / counted if counted else 0.0


class TrueToMarket(Replay):
    """A replay on published prices that also weighs each forced trade against the true ones."""

    def __init__(self, house: Clearinghouse, published: PricePath, true: PricePath) -> None:
        super().__init__(house, published)
        self._marks = dict(zip(true.markets, true.mark_ticks.T, strict=True))
        self._prices = dict(zip(true.assets, true.asset_ticks.T, strict=True))
        self.taken_over = 0

    def note(self, tick: int, event: Liquidated) -> None:
        """Count a liquidation, and what its forced trades took over below the true price."""
        super().note(tick, event)
        self.taken_over += sum(self._overpaid(tick, step) for step in event.steps)

    def _overpaid(self, tick: int, step: LiquidationStep) -> int:
        """Return by how much the forced price was worse than the true one for who took over, reporting units, or 0.

        The forced price includes slippage, the liquidator's margin: only what exceeds that is lost.
        """
        valuation = self.house.state.valuation
        tables = valuation.tables
        if step.what == "sell":
            asset = tables.assets[tables.asset_index[step.name]]
            unit = Fraction(asset.numerator, asset.denominator)
            true = self._prices.get(step.name)
            return 0 if true is None else max(0, floor(step.size * (step.price - int(true[tick])) * unit))
        market = tables.markets[tables.market_index[step.name]]
        forced, fair = (Fraction(*payoff_at(market, at)) for at in (step.price, int(self._marks[step.name][tick])))
        settle = Fraction(valuation.asset_x[market.settle], valuation.asset_y[market.settle])
        return max(0, floor(market.sign * step.size * (fair - forced) * settle))


def publications(prices: NDArray[np.int64], times_ns: NDArray[np.int64], policy: UpdatePolicy) -> NDArray[np.bool_]:
    """Tell which prices are published, for many feeds at once: exactly those that a `Publisher` for each publishes.

    Parameters
    ----------
    prices : int64[T, M], ticks, at least 1, one column a feed
    times_ns : int64[T], never falling

    Returns
    -------
    bool[T, M]
    """
    chosen = np.zeros(prices.shape, np.bool_)
    chosen[:1] = True
    if not chosen.size:
        return chosen
    published, since = prices[0].copy(), np.full(prices.shape[1], times_ns[0])
    allowed = _allowed(published, policy)
    heartbeat = min(policy.heartbeat_ns, INT64_SAFE)
    for tick in range(1, len(prices)):
        due = (np.abs(prices[tick] - published) > allowed) | (times_ns[tick] - since >= heartbeat)
        if due.any():
            chosen[tick] = due
            published[due], since[due] = prices[tick, due], times_ns[tick]
            allowed[due] = _allowed(published[due], policy)
    return chosen


def _allowed(published: NDArray[np.int64], policy: UpdatePolicy) -> NDArray[np.int64]:
    """Return how many ticks a price may move unpublished; int64[M]."""
    return np.array([rate_floor(price, policy.deviation) for price in published.tolist()], np.int64)


def published_path(path: PricePath, policy: UpdatePolicy) -> tuple[PricePath, int]:
    """Return the path of the prices last published, each market and asset on its own, and the number of updates."""
    updates = 0
    held = []
    for prices in (path.mark_ticks, path.asset_ticks):
        chosen = publications(prices, path.times_ns, policy)
        updates += int(np.count_nonzero(chosen))
        rows = np.maximum.accumulate(np.where(chosen, np.arange(len(prices))[:, None], 0), axis=0)
        held.append(np.take_along_axis(prices, rows, axis=0))
    return replace(path, mark_ticks=held[0], asset_ticks=held[1]), updates


def run_study(
    path: PricePath,
    open_house: Callable[[], Clearinghouse],
    policies: Sequence[UpdatePolicy],
    progress: Callable[[int], None] = lambda done: None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[PolicyRun, ...]:
    """Replay every policy over the same book; the first result is that of publishing every tick.

    Parameters
    ----------
    path : true prices
    open_house : returns the same clearinghouse at the path's first prices, anew at each call
    progress : is told how many ticks are done, of (1 + number of policies) times the path's
    stopped : is asked before each tick; what is returned then is every policy that was finished
    """
    runs: list[PolicyRun] = []
    without: dict[str, int] = {}
    for number, policy in enumerate((None, *policies)):
        published, updates = (path, path.mark_ticks.size + path.asset_ticks.size)
        if policy is not None:
            published, updates = published_path(path, policy)
        before = number * len(path.times_ns)
        replay = TrueToMarket(open_house(), published, path)
        replay.run(partial(_advance, progress, before), stopped)
        if replay.done < len(path.times_ns):
            break
        first = {name: story.first_time_ns for name, story in replay.stories.items()}
        without = without if runs else first
        runs.append(_measured(policy, updates, replay, path, without))
    return tuple(runs)


def _advance(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def _measured(
    policy: UpdatePolicy | None, updates: int, replay: TrueToMarket, true: PricePath, every_tick: dict[str, int]
) -> PolicyRun:
    """Return the figures of a finished replay; `every_tick` is when each account is liquidated on true prices."""
    here = {name: story.first_time_ns for name, story in replay.stories.items()}
    shifts = np.array([here[name] - at for name, at in every_tick.items() if name in here], np.int64)
    last = int(true.times_ns[-1])
    censored = np.array([last - at for name, at in every_tick.items() if name not in here], np.int64)
    error = _errors_bp(replay.path, true)
    return PolicyRun(
        policy=policy,
        updates=updates,
        worst_error_bp=float(error.max(initial=0.0)),
        mean_error_bp=float(error.mean()) if error.size else 0.0,
        liquidated=len(here),
        late_ns=np.sort(np.maximum(shifts, 0)),
        censored_ns=censored,
        early=int(np.count_nonzero(shifts < 0)),
        extra=len(here.keys() - every_tick.keys()),
        bad_debt=int(replay.bad_debt[-1]),
        fund_paid=replay.fund_paid,
        taken_over=replay.taken_over,
    )


def _errors_bp(published: PricePath, true: PricePath) -> NDArray[np.float64]:
    """Return the distance from the true price in basis points; float64[T, feeds], for figures and pictures only."""
    held = np.concatenate([published.mark_ticks, published.asset_ticks], axis=1)
    exact = np.concatenate([true.mark_ticks, true.asset_ticks], axis=1)
    error: NDArray[np.float64] = np.abs(held - exact) / exact * BASIS_POINTS
    return error
