"""A limit order book with price-time priority: what a matching engine needs, and nothing of margin."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BUY = "buy"


@dataclass
class Order:
    """A limit order; `size` is what is left of it."""

    number: str
    account: str
    market: str
    side: str
    size: Decimal
    price: Decimal


@dataclass(frozen=True)
class Match:
    """A trade between an order that came and one that was there, at the price of the latter."""

    taker: Order
    maker: Order
    size: Decimal
    price: Decimal

    @property
    def buyer(self) -> Order:
        """The order that buys."""
        return self.taker if self.taker.side == BUY else self.maker

    @property
    def seller(self) -> Order:
        """The order that sells."""
        return self.maker if self.taker.side == BUY else self.taker


@dataclass
class OrderBook:
    """One market's resting orders: best price first, and among equal prices the oldest first."""

    orders: dict[str, Order] = field(default_factory=dict)
    _sides: dict[str, list[tuple[Decimal, int, str]]] = field(default_factory=lambda: {"buy": [], "sell": []})
    _arrivals: Iterator[int] = field(default_factory=count)

    def add(self, taker: Order) -> list[Match]:
        """Match an order as far as prices cross; what is left of it rests. Nobody trades with himself."""
        matches = []
        while taker.size > 0:
            maker = self._best(taker)
            if maker is None:
                break
            if maker.account == taker.account:
                taker.size = Decimal(0)
                return matches
            size = min(taker.size, maker.size)
            matches.append(Match(taker, maker, size, maker.price))
            taker.size -= size
            maker.size -= size
            if not maker.size:
                self.remove(maker.number)
        if taker.size > 0:
            self._rest(taker)
        return matches

    def remove(self, number: str) -> Order | None:
        """Take an order out; None where it does not rest here."""
        order = self.orders.pop(number, None)
        if order is not None:
            side = self._sides[order.side]
            side[:] = [row for row in side if row[2] != number]
        return order

    def of_account(self, account: str) -> list[Order]:
        """Return an account's resting orders."""
        return [order for order in self.orders.values() if order.account == account]

    def _rest(self, order: Order) -> None:
        self.orders[order.number] = order
        rank = -order.price if order.side == BUY else order.price
        insort(self._sides[order.side], (rank, next(self._arrivals), order.number))

    def _best(self, taker: Order) -> Order | None:
        """Return the resting order that a newcomer trades with next."""
        other = self._sides["sell" if taker.side == BUY else "buy"]
        if not other:
            return None
        maker = self.orders[other[0][2]]
        crosses = maker.price <= taker.price if taker.side == BUY else maker.price >= taker.price
        return maker if crosses else None
