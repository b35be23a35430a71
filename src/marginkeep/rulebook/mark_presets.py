"""Documented constructions of mark prices, as tuples of components; what is stale is left out of all of them.

Averages are kept by half-life here. A venue that weights by exp(-age / T) has a half-life of T * ln 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.rulebook.durations import HOUR, MINUTE, SECOND
from marginkeep.rulebook.oracle_rules import MarkComponent
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    Components = tuple[MarkComponent, ...]

STALE_AFTER_NS: Final = MINUTE
"""What an input may be aged in every construction that does not state it."""

HALF_LIFE_NS: Final = 150 * SECOND
"""Half-life of the basis in the house's own construction."""

HALF_LIFE_OF_150_S: Final = 103_972_077_084
HALF_LIFE_OF_30_S: Final = 20_794_415_417
"""150 s and 30 s times ln 2, to the nearest nanosecond."""

MEAN_WINDOW_NS: Final = 30 * SECOND
FUNDING_INTERVAL_NS: Final = 8 * HOUR
TRADES_WINDOW_NS: Final = MINUTE


def house(stale_after_ns: int = STALE_AFTER_NS) -> Components:
    """Return what a mark is the median of unless the rulebook says otherwise: index, index with basis, mid."""
    return (
        MarkComponent("index", 1, stale_after_ns),
        MarkComponent("basis", 1, stale_after_ns, window_ns=HALF_LIFE_NS),
        MarkComponent("mid", 1, stale_after_ns),
    )


def index_alone(stale_after_ns: int = STALE_AFTER_NS) -> Components:
    """Return a mark that is the index: for markets without a book of their own."""
    return (MarkComponent("index", 1, stale_after_ns),)


def hyperliquid(perpetuals: str | None = None, stale_after_ns: int = STALE_AFTER_NS) -> Components:
    """Return Hyperliquid's median: index plus 150 s average of mid - index; bid, ask, last; outside perpetuals.

    Its average weights by exp(-age / 150 s). A fourth component, the average of bid, ask, last that weights by
    exp(-age / 30 s), counts while fewer than three others are there; the venue says when exactly two are.

    Parameters
    ----------
    perpetuals : the feed of the median mid of other venues' perpetuals; None leaves it out
    """
    outside = () if perpetuals is None else (MarkComponent("feed", 1, stale_after_ns, feed=perpetuals),)
    return (
        MarkComponent("basis", 1, stale_after_ns, window_ns=HALF_LIFE_OF_150_S),
        MarkComponent("touch", 1, stale_after_ns),
        *outside,
        MarkComponent("touch", 1, stale_after_ns, window_ns=HALF_LIFE_OF_30_S, reserve=True),
    )


def binance(funding_interval_ns: int = FUNDING_INTERVAL_NS, stale_after_ns: int = STALE_AFTER_NS) -> Components:
    """Return Binance's median for perpetuals: index with funding still to come, index plus mean basis, last trade.

    The mean is over 30 s, as since September 2025; it was over a minute and over 2.5 minutes before.
    """
    return (
        MarkComponent("funding", 1, stale_after_ns, window_ns=funding_interval_ns),
        MarkComponent("mean_basis", 1, stale_after_ns, window_ns=MEAN_WINDOW_NS),
        MarkComponent("last", 1, stale_after_ns),
    )


def vega(
    feeds: Sequence[str],
    weights: Sequence[int] | None = None,
    stale_after_ns: Sequence[int] | None = None,
    window_ns: int = TRADES_WINDOW_NS,
    decay: int = RATE_ONE,
    power: int = 1,
    others: bool = False,
) -> Components:
    """Return Vega's composite (0089-COMP): decaying mean of trades, impact price, feeds; weighted mean or median.

    Parameters
    ----------
    weights, stale_after_ns : of trades, impact, each feed and the median of the others. Weight 0 leaves it out, but
        what the median of the others is made of stays while that has a weight
    window_ns, decay, power : of the trades
    others : count the median of the others as well
    """
    count = 2 + len(feeds) + others
    weights = weights or (1,) * count
    tolerances = stale_after_ns or (STALE_AFTER_NS,) * count
    all_of_them = (
        MarkComponent("trades", weights[0], tolerances[0], window_ns=window_ns, decay=decay, power=power),
        MarkComponent("impact", weights[1], tolerances[1]),
        *(MarkComponent("feed", weights[n], tolerances[n], feed=feed) for n, feed in enumerate(feeds, start=2)),
    )
    if others and weights[-1]:
        return (*all_of_them, MarkComponent("others", weights[-1], tolerances[-1]))
    return tuple(component for component in all_of_them if component.weight)
