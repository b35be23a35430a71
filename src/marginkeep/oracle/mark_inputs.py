"""What a mark is made from: book, trades, funding and basis of its market, and what each component reads in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.averages import MovingAverage
from marginkeep.oracle.time_weighted import TimeWeighted
from marginkeep.oracle.trade_window import TradeWindow
from marginkeep.units import RATE_ONE, floor_div

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.rulebook.oracle_rules import ComponentKind, MarkComponent

    Feeds = Callable[[str], tuple[int, int] | None]
    Reader = Callable[[int, int, int], int | None]

SAMPLE_NS: Final = 1_000_000_000
"""The basis is observed, and what drifts is looked at again, at most this often."""

INDEX, BOOK, MID, TRADE, FUNDING, FEEDS = range(6)
"""Whose time is at which place of the clocks; those of other feeds follow from `FEEDS` on."""

_CLOCK_OF: Final[dict[ComponentKind, int]] = {
    "index": INDEX,
    "basis": MID,
    "mean_basis": MID,
    "funding": FUNDING,
    "mid": BOOK,
    "touch": BOOK,
    "impact": BOOK,
    "last": TRADE,
    "trades": TRADE,
}


class MarkInputs:
    """The inputs of one mark, each with the time of its newest.

    Inputs come in order of time: one older than the last of its kind is late and changes nothing; at the same instant
    the later one replaces the earlier.

    Attributes
    ----------
    clocks : time of the newest input, by `INDEX`, `BOOK`, ...; None = none yet
    """

    __slots__ = (
        "_averages", "_basis", "_components", "_feed_prices", "_feeds", "_funding_rate", "_last", "_means", "_mid",
        "_mid_tolerance", "_sampled_ns", "_sides", "_windows", "clocks",
    )  # fmt: skip

    def __init__(self, components: tuple[MarkComponent, ...]) -> None:
        numbered = tuple(enumerate(components))
        self._components = components
        self._averages = {n: MovingAverage(one.window_ns) for n, one in numbered if one.kind == "basis"}
        self._means = {n: _span(one.window_ns) for n, one in numbered if one.kind == "mean_basis"}
        self._windows = {
            n: TradeWindow(one.window_ns, one.decay, one.power) for n, one in numbered if one.kind == "trades"
        }
        feeds = [(n, one.feed) for n, one in numbered if one.kind == "feed" and one.feed is not None]
        self._feeds = tuple((n, FEEDS + place, name) for place, (n, name) in enumerate(feeds))
        basis = [components[n].stale_after_ns for n in (*self._averages, *self._means)]
        self._mid_tolerance = max(basis, default=-1)
        self._sides = (0, 0, 0, 0)
        self._mid: int | None = None
        self._last = 0
        self._funding_rate = 0
        self._basis: int | None = None
        self._sampled_ns = 0
        self._feed_prices = [0] * len(components)
        self.clocks: list[int | None] = [None] * (FEEDS + len(feeds))

    def observe_book(self, bid: int, ask: int, impact_bid: int, impact_ask: int, at_ns: int) -> None:
        """Take over the book; see `Mark.observe_book`."""
        newest = self.clocks[BOOK]
        if (newest is not None and at_ns < newest) or bid > ask > 0 or (bid <= 0 and ask <= 0):
            return
        self._sides = (bid, ask, impact_bid, impact_ask)
        self.clocks[BOOK] = at_ns
        self._mid = None
        if bid > 0 and ask > 0:
            self._mid = (bid + ask) // 2
            self.clocks[MID] = at_ns

    def observe_trade(self, price: int, size: int, at_ns: int) -> None:
        """Take over a trade; see `Mark.observe_trade`."""
        newest = self.clocks[TRADE]
        if (newest is not None and at_ns < newest) or price <= 0 or size <= 0:
            return
        self._last = price
        self.clocks[TRADE] = at_ns
        for window in self._windows.values():
            window.observe(price, size, at_ns)

    def observe_funding(self, rate: int, paid_at_ns: int) -> None:
        """Take over the last funding; see `Mark.observe_funding`."""
        newest = self.clocks[FUNDING]
        if newest is None or paid_at_ns >= newest:
            self._funding_rate = rate
            self.clocks[FUNDING] = paid_at_ns

    def look(self, index: int, feeds: Feeds, now_ns: int) -> None:
        """Take over the index and the other feeds as they are now, and sample the basis where one is asked for."""
        clocks = self.clocks
        clocks[INDEX] = now_ns
        for number, clock, name in self._feeds:
            found = feeds(name)
            if found is None:
                clocks[clock] = None
            else:
                self._feed_prices[number], clocks[clock] = found
        if self._mid_tolerance >= 0 and self._is_unsampled(index):
            self._sample(index, now_ns)

    def clock(self, number: int) -> int:
        """Return which clock tells the age of a component."""
        places = {feed: place for feed, place, _ in self._feeds}
        return places.get(number, _CLOCK_OF.get(self._components[number].kind, FEEDS))

    def tolerance_ns(self, number: int) -> int:
        """Return how old a component's newest input may be; a funding holds until the next one should have come."""
        component = self._components[number]
        return component.stale_after_ns + (component.window_ns if component.kind == "funding" else 0)

    def reader(self, number: int) -> Reader:
        """Return the function of (number, index, now) that states a component's price once its clock is set."""
        readers: dict[ComponentKind, Reader] = {
            "index": self._index_price,
            "basis": self._basis_price,
            "mean_basis": self._mean_basis_price,
            "funding": self._funding_price,
            "mid": self._mid_price,
            "touch": self._touch_price,
            "impact": self._impact_price,
            "last": self._last_price,
            "trades": self._trades_price,
            "feed": self._feed_price,
        }
        return readers[self._components[number].kind]

    def moves_ns(self, number: int, price: int, index: int, priced_ns: int) -> int:
        """Return when a component that stated `price` at `priced_ns` may state another with no new input, 0 = never."""
        component = self._components[number]
        drifts, exit_ns = False, 0
        if component.kind == "basis":
            drifts = price - index != self._basis or self._is_unsampled(index)
        elif component.kind == "mean_basis":
            drifts = priced_ns - self._sampled_ns < component.window_ns or self._is_unsampled(index)
        elif component.kind == "funding":
            drifts = self._funding_rate != 0 and self._until_funding(number, priced_ns) > 0
        elif component.kind == "trades":
            drifts, exit_ns = self._windows[number].drifts(), self._windows[number].next_exit_ns()
        if drifts:
            return min(priced_ns + SAMPLE_NS, exit_ns or priced_ns + SAMPLE_NS)
        return exit_ns

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        inputs = [list(self._sides), self._mid, self._last, self._funding_rate, list(self._feed_prices)]
        sampled = [self._basis, self._sampled_ns]
        states = [part.save() for part in self._parts()]
        return [inputs, sampled, states, list(self.clocks)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state of the same components."""
        inputs, sampled, states, clocks = saved
        sides, self._mid, self._last, self._funding_rate, prices = inputs
        self._sides, self._feed_prices, self.clocks = tuple(sides), list(prices), list(clocks)
        self._basis, self._sampled_ns = sampled
        for part, state in zip(self._parts(), states, strict=True):
            part.restore(state)

    def _parts(self) -> list[MovingAverage | TimeWeighted | TradeWindow]:
        """Return what has a state of its own, in the order of a snapshot."""
        return [*self._averages.values(), *self._means.values(), *self._windows.values()]

    def _is_unsampled(self, index: int) -> bool:
        return self._mid is not None and self._mid - index != self._basis

    def _sample(self, index: int, now_ns: int) -> None:
        """Show a new basis to the averages, unless the book is stale or the last sample is younger than `SAMPLE_NS`."""
        mid, mid_ns = self._mid, self.clocks[MID]
        if mid is None or mid_ns is None or now_ns - mid_ns > self._mid_tolerance:
            return
        if self._basis is not None and now_ns - self._sampled_ns < SAMPLE_NS:
            return
        self._basis, self._sampled_ns = mid - index, now_ns
        for average in self._averages.values():
            average.observe(mid - index, now_ns)
        for number, mean in self._means.items():
            mean.observe(mid - index, now_ns)
            mean.forget_before(now_ns - self._components[number].window_ns)

    def _index_price(self, number: int, index: int, now_ns: int) -> int | None:
        return index

    def _basis_price(self, number: int, index: int, now_ns: int) -> int | None:
        basis = self._averages[number].value(now_ns)
        return None if basis is None else index + basis

    def _mean_basis_price(self, number: int, index: int, now_ns: int) -> int | None:
        if self._basis is None:
            return None
        basis = self._means[number].average_floor(now_ns - self._components[number].window_ns, now_ns)
        return index + (self._basis if basis is None else basis)  # the first sample has not lasted any time yet

    def _funding_price(self, number: int, index: int, now_ns: int) -> int | None:
        whole = RATE_ONE * self._components[number].window_ns
        return floor_div(index * (whole + self._funding_rate * self._until_funding(number, now_ns)), whole)

    def _until_funding(self, number: int, now_ns: int) -> int:
        """Return the time to the next funding: 0 when overdue, at most one interval."""
        interval_ns = self._components[number].window_ns
        return max(0, min(interval_ns, (self.clocks[FUNDING] or 0) + interval_ns - now_ns))

    def _mid_price(self, number: int, index: int, now_ns: int) -> int | None:
        return self._mid

    def _touch_price(self, number: int, index: int, now_ns: int) -> int | None:
        """Return the last trade moved between best bid and best ask: the median of the three."""
        if self._mid is None or self.clocks[TRADE] is None:
            return self._mid
        bid, ask, last = self._sides[0], self._sides[1], self._last
        return bid if last < bid else min(last, ask)

    def _impact_price(self, number: int, index: int, now_ns: int) -> int | None:
        bid, ask = self._sides[2], self._sides[3]
        return (bid + ask) // 2 if self._mid is not None and bid > 0 and ask > 0 else None

    def _last_price(self, number: int, index: int, now_ns: int) -> int | None:
        return self._last

    def _trades_price(self, number: int, index: int, now_ns: int) -> int | None:
        return self._windows[number].value(now_ns)

    def _feed_price(self, number: int, index: int, now_ns: int) -> int | None:
        return self._feed_prices[number]


def _span(window_ns: int) -> TimeWeighted:
    """Return an empty mean with room for a sample each `SAMPLE_NS` of the window, and the one that began before it."""
    return TimeWeighted(points_max=window_ns // SAMPLE_NS + 3)
