"""The mark price of one market: what those components say that still count, composed and kept near the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from marginkeep.oracle.composite import age, clamp, fresh, median, weighted
from marginkeep.oracle.mark_inputs import MarkInputs

if TYPE_CHECKING:
    from marginkeep.oracle.mark_inputs import Feeds, Reader
    from marginkeep.rulebook.oracle_rules import ComponentKind, MarkRules

    Plan = tuple[tuple[int, int, int, Reader], ...]

ENOUGH: Final = 3
"""A reserve component is used while fewer others than this are there."""

_EMPTY: Final[dict[ComponentKind, str]] = {
    "mid": "the book lacks a side",
    "touch": "the book lacks a side",
    "impact": "the book lacks depth",
    "trades": "no trade in the window",
}


class ComponentPrice(NamedTuple):
    """What one component said when the mark was last asked for.

    Attributes
    ----------
    price : ticks of the market; None when left out
    age_ns : age of its newest input then; None when there was none
    why_not : why it is left out, empty when it is not
    """

    kind: ComponentKind
    price: int | None
    age_ns: int | None
    why_not: str


class Mark:
    """A market's mark price in progress. All prices are ticks of the market, all times the venue's own.

    Inputs come in order of time: one older than the last of its kind is late and changes nothing; at the same instant
    the later one replaces the earlier. Besides composing, `price` shows the index to the averages of the basis: it is
    a step like the observations, and a replay must take it at the same places. The others only look.
    """

    __slots__ = (
        "_ageless",
        "_components",
        "_first",
        "_index",
        "_inputs",
        "_others",
        "_priced_ns",
        "_prices",
        "_reserve",
        "_rules",
        "_times",
        "_weights",
    )

    def __init__(self, rules: MarkRules) -> None:
        self._rules = rules
        self._components = rules.components
        self._weights = tuple(component.weight for component in rules.components)
        self._inputs = MarkInputs(rules.components)
        self._first = self._plan(reserve=False)
        self._reserve = self._plan(reserve=True)
        kinds = [component.kind for component in rules.components]
        self._others = kinds.index("others") if "others" in kinds else None
        has_index = any(one.kind == "index" and not one.reserve for one in rules.components)
        self._ageless = tuple(kind == "index" or (kind == "others" and has_index) for kind in kinds)
        self._index = 0
        self._priced_ns: int | None = None
        self._prices: list[int | None] = [None] * len(rules.components)
        self._times: list[int | None] = [None] * len(rules.components)

    def observe_book(self, bid: int, ask: int, impact_bid: int, impact_ask: int, at_ns: int) -> None:
        """Take over the book.

        A book that is crossed (bid above ask) or empty says nothing: the one before stays, and goes on ageing. A book
        that lacks one side says that there is no mid: `mid` and `touch` are left out at once, and the basis keeps its
        average until the last mid is stale. A locked book (bid = ask) is a book.

        Parameters
        ----------
        bid, ask : best prices; 0 = side missing
        impact_bid, impact_ask : mean prices of selling and buying the impact size; 0 = not that much there
        """
        self._inputs.observe_book(bid, ask, impact_bid, impact_ask, at_ns)

    def observe_trade(self, price: int, size: int, at_ns: int) -> None:
        """Take over a trade of the market; one without price or size is ignored.

        Parameters
        ----------
        size : lots, positive whoever bought
        """
        self._inputs.observe_trade(price, size, at_ns)

    def observe_funding(self, rate: int, paid_at_ns: int) -> None:
        """Take over the last funding: its rate for a whole interval, and when it was paid.

        It holds for the interval that follows, and goes stale `stale_after_ns` after the next one should have come.
        """
        self._inputs.observe_funding(rate, paid_at_ns)

    def price(self, index: int, feeds: Feeds, now_ns: int) -> int | None:
        """Compose the mark; None when no component has a price, and the caller keeps the old mark.

        Parameters
        ----------
        index : the index price, positive; whether it is stale is its own quality, and not judged here
        feeds : price and time of the newest input of another feed, None when it has none
        """
        self._index = index
        self._priced_ns = now_ns
        self._inputs.look(index, feeds, now_ns)
        there = self._read(self._first, index, now_ns)
        if self._reserve:
            self._read_reserve(there, index, now_ns)
        if self._others is not None:
            self._read_others(self._others, now_ns)
        rules = self._rules
        mark = median(self._prices) if rules.method == "median" else weighted(self._prices, self._weights)
        if not mark:
            return None
        return clamp(mark, index, rules.band) if rules.band else mark

    @property
    def impact_prices(self) -> tuple[int, int, int] | None:
        """Impact bid and impact ask, 0 = not that much there, and the time of the book; None before the first book."""
        return self._inputs.impact_prices

    @property
    def last_components(self) -> tuple[ComponentPrice, ...]:
        """What each component said at the last call of `price`, in the order of the rules; made when asked for."""
        return tuple(self._explain(number) for number in range(len(self._components)))

    def due_ns(self, now_ns: int) -> int:
        """Return the earliest time at which time alone may change the mark, 0 = never; as of the last `price`.

        That is when a component that was used goes stale, or a trade leaves its window. What moves all the time counts
        as due `SAMPLE_NS` after the last `price`: an average on its way to the basis, a basis still to be sampled,
        funding still to be paid, trades that decay at different ages. A time already past is returned as `now_ns`.
        """
        if self._priced_ns is None:
            return 0
        due = 0
        for number in range(len(self._components)):
            price, at_ns = self._prices[number], self._times[number]
            if price is None or at_ns is None or self._ageless[number]:
                continue
            stale_ns = at_ns + self._inputs.tolerance_ns(number) + 1
            moves_ns = self._inputs.moves_ns(number, price, self._index, self._priced_ns) or stale_ns
            due = min(due or stale_ns, stale_ns, moves_ns)
        return max(due, now_ns) if due else 0

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self._inputs.save(), self._index, self._priced_ns, list(self._prices), list(self._times)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state of a mark with the same rules."""
        inputs, self._index, self._priced_ns, prices, times = saved
        self._inputs.restore(inputs)
        self._prices, self._times = list(prices), list(times)

    def _plan(self, reserve: bool) -> Plan:
        """Return number, clock, tolerance and reader of the components that are, or are not, reserves."""
        return tuple(
            (number, self._inputs.clock(number), self._inputs.tolerance_ns(number), self._inputs.reader(number))
            for number, component in enumerate(self._components)
            if component.reserve is reserve and component.kind != "others"
        )

    def _read(self, plan: Plan, index: int, now_ns: int) -> int:
        """Let the fresh components of a plan state their prices; return how many have one above 0."""
        prices, times, clocks, there = self._prices, self._times, self._inputs.clocks, 0
        for number, clock, tolerance_ns, read in plan:
            at_ns = times[number] = clocks[clock]
            price = None
            if at_ns is not None and now_ns - at_ns <= tolerance_ns:  # `fresh`, without the call
                price = read(number, index, now_ns)
            if price is not None and price > 0:
                prices[number] = price
                there += 1
            else:
                prices[number] = None
        return there

    def _read_reserve(self, there: int, index: int, now_ns: int) -> None:
        if there < ENOUGH:
            self._read(self._reserve, index, now_ns)
            return
        for number, clock, _, _ in self._reserve:
            self._prices[number], self._times[number] = None, self._inputs.clocks[clock]

    def _read_others(self, number: int, now_ns: int) -> None:
        """Set the median of the prices that are there; it is as old as the newest input behind them."""
        prices, times = self._prices, self._times
        prices[number] = None
        inputs = [at_ns for at_ns, price in zip(times, prices, strict=True) if at_ns is not None and price is not None]
        newest = times[number] = max(inputs, default=None)
        if newest is not None and fresh(newest, self._inputs.tolerance_ns(number), now_ns):
            prices[number] = median(prices)

    def _explain(self, number: int) -> ComponentPrice:
        kind, price = self._components[number].kind, self._prices[number]
        at_ns, priced_ns = self._times[number], self._priced_ns
        if priced_ns is None or at_ns is None:
            return ComponentPrice(kind, None, None, "no input")
        why_not = "" if price is not None else self._why_not(number, at_ns, priced_ns)
        return ComponentPrice(kind, price, age(at_ns, priced_ns), why_not)

    def _why_not(self, number: int, at_ns: int, priced_ns: int) -> str:
        component, tolerance_ns = self._components[number], self._inputs.tolerance_ns(number)
        if not fresh(at_ns, tolerance_ns, priced_ns):
            return f"stale: older than {tolerance_ns} ns"
        others = sum(self._prices[number] is not None for number, *_ in self._first)
        if component.reserve and others >= ENOUGH:
            return f"in reserve: {others} others are there"
        return _EMPTY.get(component.kind, "its price is not above 0")
