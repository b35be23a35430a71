"""Who trades in the demonstration: the account "you", a market maker, a crowd on leverage, and bots that bid."""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from random import Random
from typing import Final

import msgspec

from marginkeep.clearing import Bid, Command, Deposit, Trade, Withdraw, open_auctions
from marginkeep.clearing.state import State
from marginkeep.rulebook.ladder_rules import CALLED, RUNGS
from marginkeep.rulebook.model import INITIAL
from marginkeep.service.demo.rules import START_PRICES
from marginkeep.units import RATE_ONE

YOU: Final = "you"
MAKER: Final = "maker"
BOTS: Final = ("bot-amber", "bot-blue")
USD: Final = "USD"
DOLLAR: Final = 10**6
MARKETS: Final = tuple(f"{asset}-PERP" for asset in START_PRICES)

_EQUITY_MEDIAN: Final = 3_000.0
_EQUITY_SIGMA: Final = 1.2
_LONG_SHARE: Final = 0.7
_MARGINS: Final = (1.04, 3.5)
"""Equity as multiples of the initial requirement: the first is as much leverage as the rules allow."""

YOUR_MARKET: Final = "BTC-PERP"
YOUR_LOTS: Final = 1_000
YOUR_MARGIN: Final = 1.12
_CURES: Final = 0.02
"""Chance, each step, that somebody who is called brings money."""

_BOT_COSTS: Final = (RATE_ONE * 4 // 1_000, RATE_ONE * 9 // 1_000)
"""A discount below this does not pay a bot."""

_BIDS_A_STEP: Final = 4
_ORDERS_A_STEP: Final = 4


class Person(msgspec.Struct, frozen=True):
    """One trader's habits.

    Attributes
    ----------
    lots : signed size of the position that is opened
    margin : equity at opening, as a multiple of the initial requirement
    """

    name: str
    market: str
    lots: int
    margin: float


def make_people(state: State, count: int, random: Random) -> list[Person]:
    """Return "you" and a crowd."""
    people = [Person(YOU, YOUR_MARKET, YOUR_LOTS, YOUR_MARGIN)]
    for number in range(count):
        market = random.choices(MARKETS, (5, 3, 2))[0]
        margin = random.uniform(*_MARGINS) if random.random() < 0.6 else random.uniform(_MARGINS[0], 1.3)
        equity = min(random.lognormvariate(log(_EQUITY_MEDIAN), _EQUITY_SIGMA), 1_000_000)
        lots = max(1, int(equity * DOLLAR / margin / _requirement(state, market, 1)))
        people.append(Person(f"trader-{number:04d}", market, lots if random.random() < _LONG_SHARE else -lots, margin))
    return people


def enter(state: State, person: Person) -> list[Command]:
    """Return what a person does to have its usual position: bring or take money for the margin, then trade."""
    wanted = int(_requirement(state, person.market, abs(person.lots)) * person.margin)
    missing = wanted - _balance(state, person.name)
    money: list[Command] = []
    if missing > 0:
        money = [Deposit(account=person.name, asset=USD, amount=missing)]
    elif missing < 0:
        money = [Withdraw(account=person.name, asset=USD, amount=-missing)]
    lacking = person.lots - _position(state, person)
    return [*money, _trade(state, person.name, person.market, lacking)] if lacking else money


def leave(state: State, person: Person) -> Iterator[Command]:
    """Yield the trade by which somebody who is healthy closes a position."""
    size = _position(state, person)
    if size and is_healthy(state, person.name):
        yield _trade(state, person.name, person.market, -size)


def has_no_position(state: State, name: str) -> bool:
    """Tell whether an account holds nothing and owes nothing, so that it may begin anew."""
    index = state.index.get(name)
    if index is None:
        return True
    account = state.book.read(index)
    return is_healthy(state, name) and not any(position.size for position in account.positions.values())


def is_healthy(state: State, name: str) -> bool:
    """Tell whether an account is not on the ladder, or done with it."""
    ill = state.ill.get(name)
    return ill is None or RUNGS[ill.rung] == "closed"


def cures(state: State, people: dict[str, Person], random: Random) -> Iterator[Command]:
    """Yield the deposits of those who are called and act; "you" are left to yourself."""
    for name, ill in state.ill.items():
        if ill.rung == CALLED and name in people and name != YOU and random.random() < _CURES:
            person = people[name]
            amount = _requirement(state, person.market, abs(person.lots)) // 2
            yield Deposit(account=name, asset=USD, amount=amount)


def bids(state: State, random: Random) -> Iterator[Command]:
    """Yield the bots' bids on auctions whose discount pays them."""
    for auction in open_auctions(state)[:_BIDS_A_STEP]:
        number = random.randrange(len(BOTS))
        cost = _BOT_COSTS[number]
        if auction.fraction and auction.discount > cost:
            yield Bid(account=auction.account, liquidator=BOTS[number], fraction=auction.fraction, least_discount=cost)


def fills(state: State) -> Iterator[Command]:
    """Yield the maker's trades with orders of yours that the mark has reached."""
    index = state.index.get(YOU)
    for order_id, order in list(state.orders.get(index, {}).items())[:_ORDERS_A_STEP] if index is not None else ():
        mark = state.valuation.marks[order.market]
        market = state.tables.markets[order.market].name
        if order.price >= mark if order.is_buy else order.price <= mark:
            yield _trade(state, YOU, market, order.size if order.is_buy else -order.size, order_id)


def _trade(state: State, name: str, market: str, lots: int, order: str | None = None) -> Trade:
    """Return a trade with the maker at the mark."""
    price = state.valuation.marks[state.tables.market_index[market]]
    if lots > 0:
        return Trade(market=market, buyer=name, seller=MAKER, size=lots, price=price, buyer_order=order)
    return Trade(market=market, buyer=MAKER, seller=name, size=-lots, price=price, taker="seller", seller_order=order)


def _position(state: State, person: Person) -> int:
    index = state.index.get(person.name)
    positions = {} if index is None else state.book.read(index).positions
    position = positions.get(state.tables.market_index[person.market])
    return position.size if position is not None else 0


def _requirement(state: State, market: str, lots: int) -> int:
    """Return the initial requirement of a position at the mark, in smallest units."""
    table = state.tables.markets[state.tables.market_index[market]]
    value = lots * state.valuation.marks[table.index] * table.market.lot * table.market.tick * DOLLAR
    return int(value * table.tiers[INITIAL][0][2] / RATE_ONE)


def _balance(state: State, name: str) -> int:
    index = state.index.get(name)
    return state.book.read(index).balances.get(state.tables.reporting, 0) if index is not None else 0
