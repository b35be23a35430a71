"""What the house acts on: one line an asset with its price, one a market with its mark, each with its guards.

A line keeps three prices. `latest` is the newest, whatever its quality. `trusted` is the last one that liquidation
accepts: maintenance is computed at it. Between the stable price and these lie the prices for opening: a long counts at
the lowest, a short at the highest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.breakers import Breaker
from marginkeep.oracle.feed_price import VALID_BIT
from marginkeep.oracle.liquidation_budget import LiquidationBudget
from marginkeep.oracle.marks import Mark
from marginkeep.oracle.peg import PegWatch
from marginkeep.oracle.stable_price import StablePrice
from marginkeep.rulebook.oracle_rules import (
    ACTIONS,
    GUARDED,
    HALTED,
    MARKET_HALTED,
    MARKET_STATES,
    OPEN,
    QUALITIES,
    REDUCE_ONLY,
    TOO_FEW_SOURCES,
    BreakerRules,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction

    from marginkeep.oracle.feed_price import FeedPrice
    from marginkeep.rulebook.oracle_rules import MarkRules, OracleRules, PegRules

_LIQUIDATE: Final = ACTIONS.index("liquidate")
_NO_TRIGGERS: Final = BreakerRules((), 0, 1)

REFUSED_FROM: Final = {"open": REDUCE_ONLY, "withdraw": GUARDED, "call": MARKET_HALTED + 1}
"""Market state from which an action is refused; those not named are refused in a halted market."""


class Converter:
    """Ticks of a feed to ticks of a market or asset, rounded down."""

    __slots__ = ("_denominator", "_numerator", "feed")

    def __init__(self, feed: FeedPrice, tick: Fraction) -> None:
        factor = feed.unit / tick
        self.feed = feed
        self._numerator, self._denominator = factor.numerator, factor.denominator

    def ticks(self, price: int) -> int:
        """Convert one price."""
        return price * self._numerator // self._denominator

    @property
    def price(self) -> int:
        """The feed's price now."""
        return self.feed.ticks * self._numerator // self._denominator


class Line:
    """What an asset's and a market's line have in common.

    Attributes
    ----------
    index : of the asset or market in the rulebook's tables
    bounds : lowest and highest price that the books can hold; a price beyond halts the line
    flags : the qualities that apply to `latest`, as bits
    """

    __slots__ = ("_accepts", "_stable_rules", "bounds", "flags", "index", "latest", "name", "source", "stable",
                 "trusted")  # fmt: skip

    def __init__(self, name: str, index: int, source: Converter, rules: OracleRules, bounds: tuple[int, int]) -> None:
        self.name = name
        self.bounds = bounds
        self.index = index
        self.source = source
        self._stable_rules = rules.stable
        self.stable = StablePrice(rules.stable) if rules.stable else None
        self._accepts = rules.accepts
        self.latest = 0
        self.trusted = 0
        self.flags = 1 << TOO_FEW_SOURCES

    @property
    def quality(self) -> str:
        """The worst of the qualities that apply, by name."""
        return QUALITIES[self.flags.bit_length() - 1]

    @property
    def state_name(self) -> str:
        """Market state or peg stage, for people."""
        return ""

    def accepts(self, action: str) -> bool:
        """Tell whether the rulebook lets an action use a price of the present quality."""
        return self.flags & ~self._accepts[ACTIONS.index(action)] == 0

    def obstacle(self, action: str) -> str:
        """Return why an action may not use this line now; empty when it may."""
        if self.accepts(action):
            return ""
        row = self._accepts[ACTIONS.index(action)]
        accepted = ", ".join(name for bit, name in enumerate(QUALITIES) if row >> bit & 1)
        return f"its price is {self.quality}, {action} accepts {accepted or 'none'}"

    @property
    def waits(self) -> bool:
        """Whether the latest price is one that margin calls may name but liquidation may not use yet."""
        if self.latest in (0, self.trusted):
            return False
        return not self.obstacle("call") and bool(self.obstacle("liquidate"))

    def take(self, price: int) -> None:
        """Take over the latest price; one that the books cannot hold stays out, and nothing may be done at it."""
        if self.bounds[0] <= price <= self.bounds[1]:
            self.latest = price
        else:
            self.flags = self.flags & ~VALID_BIT | 1 << HALTED

    def follow(self, now_ns: int, is_sweep: bool) -> None:
        """Let the stable price follow; it believes valid prices only."""
        if self.stable is not None and self.latest and self.flags == VALID_BIT and (is_sweep or not self.stable.value):
            self.stable.update(self.latest, now_ns)

    def opening_prices(self, action: str = "open") -> tuple[int, int]:
        """Return the lowest and the highest of the trusted, latest and stable price, for opening or withdrawing."""
        prices = [price for price in (self.trusted, self.latest, self.stable.value if self.stable else 0) if price]
        return (min(prices), max(prices)) if prices else (0, 0)

    def carry_over(self, old: Line) -> None:
        """Take over what the line of an earlier rulebook knows; what belongs to changed rules begins anew."""
        self.latest, self.trusted, self.flags = old.latest, old.trusted, old.flags
        if not self.bounds[0] <= self.latest <= self.bounds[1]:
            self.latest = self.trusted
        if self.stable is not None and old.stable is not None and self._stable_rules == old._stable_rules:
            self.stable.restore(old.stable.save())

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self.latest, self.trusted, self.flags, self.stable.save() if self.stable else None]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        self.latest, self.trusted, self.flags, stable = saved[:4]
        if self.stable is not None and stable is not None:
            self.stable.restore(stable)


class AssetLine(Line):
    """An asset's price and its peg."""

    __slots__ = ("peg",)

    def __init__(
        self,
        name: str,
        index: int,
        source: Converter,
        rules: OracleRules,
        bounds: tuple[int, int],
        peg: PegRules | None,
    ) -> None:
        super().__init__(name, index, source, rules, bounds)
        self.peg = PegWatch(peg) if peg else None

    @property
    def state_name(self) -> str:
        """Stage of the peg."""
        return self.peg.stage_name if self.peg else ""

    def update(self, now_ns: int, is_sweep: bool) -> bool:
        """Take the feed's price over; tell whether the peg's stage changed.

        A price that is not valid is never credited upward: what accounts hold is worth no more than it was.
        """
        self.flags = self.source.feed.flags
        if self.source.feed.ticks:
            self.take(self.source.price)  # too small for one tick is 0, which the books cannot hold
        if self.latest and self.flags & ~self._accepts[_LIQUIDATE] == 0:
            credited = self.flags == VALID_BIT or not self.trusted or self.latest < self.trusted
            self.trusted = self.latest if credited else self.trusted
        self.follow(now_ns, is_sweep)
        if self.peg is None or not self.latest:
            return False
        return self.peg.observe(self.latest, self.source.feed.dispersion, now_ns)

    def obstacle(self, action: str) -> str:
        """Return why an action may not use this asset now: for its price's quality, or because its peg is lost."""
        if action == "open" and self.peg is not None and not self.peg.opens:
            return f"its peg is {self.peg.stage_name}: {self.peg.why}"
        return super().obstacle(action)

    def opening_prices(self, action: str = "open") -> tuple[int, int]:
        """Return lowest and highest price for an action; at a price it does not accept, holdings count nothing."""
        low, high = super().opening_prices(action)
        return (low if self.accepts(action) else 0), high

    def carry_over(self, old: Line) -> None:
        """Take over what an earlier rulebook's line knows; a peg with changed stages is watched anew."""
        super().carry_over(old)
        peg = old.peg if isinstance(old, AssetLine) else None
        if self.peg is not None and peg is not None and self.peg.rules == peg.rules:
            self.peg.restore(peg.save())

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [*super().save(), self.peg.save() if self.peg else None]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        super().restore(saved)
        if self.peg is not None and saved[4] is not None:
            self.peg.restore(saved[4])


class MarketLine(Line):
    """A market's mark, its breaker, and what may be liquidated while it is guarded.

    Attributes
    ----------
    state : the market's state: the worst of its own breaker's, its operator's and the venue's
    """

    __slots__ = ("_feeds", "_mark_rules", "breaker", "breaker_rules", "budget", "mark", "state")

    def __init__(
        self,
        index: int,
        source: Converter,
        rules: OracleRules,
        bounds: tuple[int, int],
        mark: MarkRules,
        feeds: Mapping[str, Converter],
        breaker: BreakerRules | None,
    ) -> None:
        super().__init__(mark.market, index, source, rules, bounds)
        self._mark_rules = mark
        self.mark = Mark(mark)
        self.breaker_rules = breaker or _NO_TRIGGERS
        self.breaker = Breaker(self.breaker_rules)
        self.budget = LiquidationBudget()
        self.state = OPEN
        self._feeds: Callable[[str], tuple[int, int] | None] = _reader(feeds)

    @property
    def state_name(self) -> str:
        """State of the market."""
        return MARKET_STATES[self.state]

    @property
    def why(self) -> str:
        """Why the market is not open: its own breaker and operator, or the venue; empty while it is."""
        if self.state > self.breaker.state:
            return f"the whole venue is {self.state_name}: enough markets are, or its operator holds it there"
        return self.breaker.why

    def update(self, now_ns: int, is_sweep: bool) -> bool:
        """Compose the mark; tell whether the breaker's state changed."""
        feed = self.source.feed
        index = self.source.price
        self.flags = feed.flags
        mark = self.mark.price(index, self._feeds, now_ns) if index else None
        if mark is None:
            self.flags = self.flags & ~VALID_BIT | 1 << TOO_FEW_SOURCES
        else:
            self.take(mark)
        changed = self.breaker.observe(self.latest, now_ns) if self.latest else False
        self.follow(now_ns, is_sweep)
        return changed

    def settle(self, venue: int) -> bool:
        """Take the venue's state in, halt the price of a halted market, and trust what may be trusted.

        Returns
        -------
        True when the market's state changed. `update` must have come before, or `flags` be of an open market.
        """
        before = self.state
        self.state = max(self.breaker.state, venue)
        if self.state == MARKET_HALTED:
            self.flags = self.flags & ~VALID_BIT | 1 << HALTED
        if self.latest and self.flags & ~self._accepts[_LIQUIDATE] == 0:
            self.trusted = self.latest
        return self.state != before

    def obstacle(self, action: str) -> str:
        """Return why an action may not be done in this market now: for its state, or its price's quality."""
        if self.state >= REFUSED_FROM.get(action, MARKET_HALTED):
            return f"it is {self.state_name}: {self.why}"
        return super().obstacle(action)

    def carry_over(self, old: Line) -> None:
        """Take over what an earlier rulebook's line knows; an operator's hold stays whatever rules have changed."""
        super().carry_over(old)
        if not isinstance(old, MarketLine):
            return
        self.state = old.state
        if self._mark_rules == old._mark_rules:
            self.mark.restore(old.mark.save())
        if self.breaker_rules == old.breaker_rules:
            self.breaker.restore(old.breaker.save())
            self.budget.restore(old.budget.save())
        elif old.breaker.manual:
            self.breaker.hold(old.breaker.manual, old.breaker.manual_since_ns)

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [*super().save(), self.state, self.mark.save(), self.breaker.save(), self.budget.save()]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        super().restore(saved)
        self.state = saved[4]
        for part, state in zip((self.mark, self.breaker, self.budget), saved[5:], strict=True):
            part.restore(state)  # type: ignore[attr-defined]


def _reader(feeds: Mapping[str, Converter]) -> Callable[[str], tuple[int, int] | None]:
    def read(name: str) -> tuple[int, int] | None:
        converter = feeds[name]
        price = converter.price
        return (price, converter.feed.newest_ns) if price else None

    return read
