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
"""Basis and touch are shown to their averages, and what drifts is looked at again, at most this often."""

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
        "_sides", "_touch", "_windows", "clocks",
    )  # fmt: skip

    def __init__(self, components: tuple[MarkComponent, ...]) -> None:
        numbered = tuple(enumerate(components))
        self._components = components
        self._averages = {n: MovingAverage(one.window_ns) for n, one in numbered if _is_averaged(one)}
        self._means = {n: _span(one.window_ns) for n, one in numbered if one.kind == "mean_basis"}
        self._windows = {
            n: TradeWindow(one.window_ns, one.decay, one.power) for n, one in numbered if one.kind == "trades"
        }
        feeds = [(n, one.feed) for n, one in numbered if one.kind == "feed" and one.feed is not None]
        self._feeds = tuple((n, FEEDS + place, name) for place, (n, name) in enumerate(feeds))
        self._basis = self._sampled("basis", "mean_basis")
        self._touch = self._sampled("touch")
        self._sides = (0, 0, 0, 0)
        self._mid: int | None = None
        self._last = 0
        self._funding_rate = 0
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
        """Take over the index and the other feeds as they are now, and sample basis and touch where asked for."""
        clocks = self.clocks
        clocks[INDEX] = now_ns
        for number, clock, name in self._feeds:
            found = feeds(name)
            if found is None:
                clocks[clock] = None
            else:
                self._feed_prices[number], clocks[clock] = found
        mid, mid_ns = self._mid, clocks[MID]
        if mid is None or mid_ns is None:
            return
        if self._basis.is_used and mid - index != self._basis.value:
            self._basis.show(mid - index, mid_ns, now_ns)
        if self._touch.is_used:
            self._touch.show(self._touch_now(mid), mid_ns, now_ns)

    @property
    def impact_prices(self) -> tuple[int, int, int] | None:
        """Impact bid and impact ask, 0 = not that much there, and the time of the book; None before the first book."""
        book_ns = self.clocks[BOOK]
        return None if book_ns is None else (self._sides[2], self._sides[3], book_ns)

    def clock(self, number: int) -> int:
        """Return which clock tells the age of a component."""
        if number in self._averages:
            return MID
        places = {feed: place for feed, place, _ in self._feeds}
        return places.get(number, _CLOCK_OF.get(self._components[number].kind, FEEDS))

    def tolerance_ns(self, number: int) -> int:
        """Return how old a component's newest input may be; a funding holds until the next one should have come."""
        component = self._components[number]
        return component.stale_after_ns + (component.window_ns if component.kind == "funding" else 0)

    def reader(self, number: int) -> Reader:
        """Return the function of (number, index, now) that states a component's price once its clock is set.

        `others` has none: it is made from what these state.
        """
        readers: dict[ComponentKind, Reader] = {
            "index": self._index_price,
            "basis": self._basis_price,
            "mean_basis": self._mean_basis_price,
            "funding": self._funding_price,
            "mid": self._mid_price,
            "touch": self._mean_touch_price if number in self._averages else self._touch_price,
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
            drifts = price - index != self._basis.value or self._is_new_basis(index)
        elif component.kind == "mean_basis":
            drifts = priced_ns - self._basis.at_ns < component.window_ns or self._is_new_basis(index)
        elif component.kind == "touch" and number in self._averages:
            drifts = price != self._touch.value or self._is_new_touch()
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
        sampled = [self._basis.save(), self._touch.save()]
        states = [part.save() for part in self._parts()]
        return [inputs, sampled, states, list(self.clocks)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state of the same components."""
        inputs, sampled, states, clocks = saved
        sides, self._mid, self._last, self._funding_rate, prices = inputs
        self._sides, self._feed_prices, self.clocks = tuple(sides), list(prices), list(clocks)
        self._basis.restore(sampled[0])
        self._touch.restore(sampled[1])
        for part, state in zip(self._parts(), states, strict=True):
            part.restore(state)

    def _parts(self) -> list[MovingAverage | TimeWeighted | TradeWindow]:
        """Return what has a state of its own, in the order of a snapshot."""
        return [*self._averages.values(), *self._means.values(), *self._windows.values()]

    def _sampled(self, *kinds: ComponentKind) -> _Sampled:
        """Return what shows its value to the averages of components of these kinds."""
        numbered: list[tuple[int, MovingAverage | TimeWeighted]] = [*self._averages.items(), *self._means.items()]
        shown = [(average, self._components[number]) for number, average in numbered]
        return _Sampled([(average, component) for average, component in shown if component.kind in kinds])

    def _is_new_basis(self, index: int) -> bool:
        return self._mid is not None and self._mid - index != self._basis.value

    def _is_new_touch(self) -> bool:
        return self._mid is not None and self._touch_now(self._mid) != self._touch.value

    def _index_price(self, number: int, index: int, now_ns: int) -> int | None:
        return index

    def _basis_price(self, number: int, index: int, now_ns: int) -> int | None:
        basis = self._averages[number].value(now_ns)
        return None if basis is None else index + basis

    def _mean_basis_price(self, number: int, index: int, now_ns: int) -> int | None:
        if self._basis.value is None:
            return None
        basis = self._means[number].average_floor(now_ns - self._components[number].window_ns, now_ns)
        return index + (self._basis.value if basis is None else basis)  # the first sample has not lasted any time yet

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
        return None if self._mid is None else self._touch_now(self._mid)

    def _mean_touch_price(self, number: int, index: int, now_ns: int) -> int | None:
        return self._averages[number].value(now_ns)

    def _touch_now(self, mid: int) -> int:
        """Return the last trade moved between best bid and best ask: the median of the three; of two it is the mid."""
        if self.clocks[TRADE] is None:
            return mid
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


class _Sampled:
    """A value shown to its averages when it is new: at most once each `SAMPLE_NS`, and never out of a stale book.

    Attributes
    ----------
    is_used : whether there is an average to show it to
    value, at_ns : what was last shown, and when; None = nothing yet
    """

    __slots__ = ("_shown", "_tolerance_ns", "at_ns", "is_used", "value")

    def __init__(self, shown: list[tuple[MovingAverage | TimeWeighted, MarkComponent]]) -> None:
        self._shown = shown
        self._tolerance_ns = max((component.stale_after_ns for _, component in shown), default=0)
        self.is_used = bool(shown)
        self.value: int | None = None
        self.at_ns = 0

    def show(self, value: int, book_ns: int, now_ns: int) -> None:
        """Show a value, unless it is the last one, its book is stale, or the last one is younger than `SAMPLE_NS`."""
        if value == self.value or now_ns - book_ns > self._tolerance_ns:
            return
        if self.value is not None and now_ns - self.at_ns < SAMPLE_NS:
            return
        self.value, self.at_ns = value, now_ns
        for average, component in self._shown:
            average.observe(value, now_ns)
            if isinstance(average, TimeWeighted):
                average.forget_before(now_ns - component.window_ns)

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self.value, self.at_ns]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        self.value, self.at_ns = saved


def _is_averaged(component: MarkComponent) -> bool:
    """Tell whether a component is a moving average."""
    return component.kind == "basis" or (component.kind == "touch" and component.window_ns > 0)


def _span(window_ns: int) -> TimeWeighted:
    """Return an empty mean with room for a sample each `SAMPLE_NS` of the window, and the one that began before it."""
    return TimeWeighted(points_max=window_ns // SAMPLE_NS + 3)
