"""Which auctions may run at once: caps on the value on offer, in all and by market, and the order of those that wait.

Caps keep a cascade from offering more than liquidators can carry. None of them can stop an auction for ever: where
nothing runs, the first in the queue may start whatever its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marginkeep.rulebook.ladder_rules import AuctionRules


class Waiting(NamedTuple):
    """An account that waits for its auction: who has been ill longest is first, then the lower index.

    `values` are (market, value) pairs of its legs, in reporting units.
    """

    ill_since_ns: int
    account: int
    values: tuple[tuple[int, int], ...]

    @property
    def value(self) -> int:
        """Value of all its legs."""
        return sum(value for _, value in self.values)


@dataclass(frozen=True, slots=True)
class Running:
    """Value on offer now, in all and by market."""

    total: int
    by_market: dict[int, int]

    def plus(self, values: Iterable[tuple[int, int]]) -> Running:
        """Return the values with another portfolio's added."""
        by_market = dict(self.by_market)
        total = self.total
        for market, value in values:
            by_market[market] = by_market.get(market, 0) + value
            total += value
        return Running(total, by_market)


def may_start(
    value: int,
    market_values: Mapping[int, int],
    running_total: int,
    running_by_market: Mapping[int, int],
    rules: AuctionRules,
) -> bool:
    """Tell whether a portfolio fits under the caps beside those on offer; it fits wherever nothing is on offer."""
    if running_total and running_total + value > rules.most_debt:
        return False
    return all(
        not running_by_market.get(market, 0) or running_by_market[market] + own <= rules.most_debt_of_market
        for market, own in market_values.items()
    )


def next_to_start(waiting: Iterable[Waiting], running: Running, rules: AuctionRules) -> list[int]:
    """Return the accounts whose auctions start now, in order.

    Nobody overtakes in a market that an earlier account waits for, nor anybody while an earlier account waits for
    room in all: else small portfolios could keep a large one waiting for ever.
    """
    started: list[int] = []
    awaited: dict[int, bool] = {}
    for row in sorted(waiting):
        if running.total and running.total + row.value > rules.most_debt:
            break
        own = dict(row.values)
        is_behind = any(market in awaited for market in own)
        if is_behind or not may_start(row.value, own, running.total, running.by_market, rules):
            awaited.update(dict.fromkeys(own, True))
            continue
        running = running.plus(row.values)
        started.append(row.account)
    return started
