"""Where the prices in force come from: which record set each, and what sources stood behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from marginkeep.oracle.price_seen import PriceSeen, SourceSeen
from marginkeep.rulebook.grid import exact_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.book.account import Account
    from marginkeep.clearing.events import Event
    from marginkeep.clearing.state import State
    from marginkeep.journal.record import Record


class PriceUsed(msgspec.Struct, frozen=True, kw_only=True):
    """A price behind a decision.

    Attributes
    ----------
    price : as people write it
    set_by, actor : the record that set it, 0 = it was there when the walk began, and who sent that
    age_ns : how long before the decision that was, by the writer's clock
    sources : where an oracle makes it, how its sources stood
    """

    name: str
    price: str
    set_by: int
    actor: str
    age_ns: int
    quality: str = ""
    state: str = ""
    sources: tuple[SourceSeen, ...] = ()
    blocked: str = ""


class PriceOrigins:
    """Remembers which record set each price."""

    def __init__(self, state: State) -> None:
        self._marks, self._prices = list(state.valuation.marks), list(state.valuation.prices)
        self._set: dict[str, tuple[int, str, int]] = {}

    def note(self, record: Record, state: State) -> None:
        """Note what a record that has just been applied has set."""
        marks, prices = state.valuation.marks, state.valuation.prices
        if marks == self._marks and prices == self._prices:
            return
        origin = (record.sequence, record.actor, record.recorded_ns)
        for index, ticks in enumerate(marks):
            if index >= len(self._marks) or ticks != self._marks[index]:
                self._set[state.tables.markets[index].name] = origin
        for index, ticks in enumerate(prices):
            if index >= len(self._prices) or ticks != self._prices[index]:
                self._set[state.tables.assets[index].name] = origin
        self._marks, self._prices = list(marks), list(prices)

    def used(self, record: Record, held: Account | None, state: State, events: Sequence[Event]) -> list[PriceUsed]:
        """Return the prices of everything an account holds, with the evidence that the events carry."""
        seen = {one.name: one for event in events for one in getattr(event, "prices", ()) if isinstance(one, PriceSeen)}
        found = []
        for index in sorted(held.positions) if held else ():
            market = state.tables.markets[index]
            price = exact_text(state.valuation.marks[index] * market.market.tick)
            found.append(self._used(record, market.name, price, seen.get(market.name)))
        for index in sorted(held.balances) if held else ():
            if index != state.tables.reporting:
                asset = state.tables.assets[index]
                price = exact_text(state.valuation.prices[index] * asset.asset.tick)
                found.append(self._used(record, asset.name, price, seen.get(asset.name)))
        return found

    def _used(self, record: Record, name: str, price: str, seen: PriceSeen | None) -> PriceUsed:
        set_by, actor, at = self._set.get(name, (0, "", record.recorded_ns))
        plain = PriceUsed(name=name, price=price, set_by=set_by, actor=actor, age_ns=record.recorded_ns - at)
        if seen is None:
            return plain
        return msgspec.structs.replace(
            plain, quality=seen.quality, state=seen.state, sources=seen.sources, blocked=seen.blocked
        )
