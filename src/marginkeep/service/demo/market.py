"""A live simulated market as commands: first the opening, then step after step, seeded."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from marginkeep.clearing import Command, Deposit, PublishQuotes, Quote, RegisterLiquidator, TopUpFund
from marginkeep.clearing.state import State
from marginkeep.service.demo.people import (
    BOTS,
    DOLLAR,
    MAKER,
    USD,
    YOU,
    bids,
    cures,
    enter,
    fills,
    has_no_position,
    is_healthy,
    leave,
    make_people,
)
from marginkeep.service.demo.prices import STEPS_A_SECOND, PriceWalk
from marginkeep.service.demo.rules import SOURCES, START_PRICES

COMMANDS_A_STEP: Final = 24
"""The market never sends more at once, so that nobody else has to wait for it."""

_NEWCOMERS: Final = 3
"""Traders looked at in each step; those without a position begin anew."""

_LEAVES: Final = 0.3
"""Chance, each step, that somebody takes what there is and begins anew later, with as little margin as before."""

_YOUR_REST: Final = 20 * STEPS_A_SECOND
"""Steps that "you" rest after a forced reduction, healthy again, before the position is what it was."""

_TRANSIT_NS: Final = 3 * 10**6
_WEALTH: Final = 10**9 * DOLLAR
_BOT_WEALTH: Final = 5 * 10**6 * DOLLAR
_FUND: Final = 10**6 * DOLLAR


class DemoMarket:
    """Prices, people and what they do.

    Parameters
    ----------
    accounts : how many, beside "you", the maker and the bots
    """

    def __init__(self, accounts: int, seed: int) -> None:
        self._accounts = accounts
        self._random = Random(seed)  # noqa: S311 - a simulation
        self._walk = PriceWalk(START_PRICES, self._random)
        self._last_ns = 0
        self._was_reduced = False
        self._rested = 0

    def open(self, state: State, now_ns: int) -> Iterator[list[Command]]:
        """Yield batches that open the market; each is to be applied before the next is asked for."""
        yield [self._quotes(state, now_ns)]
        if MAKER not in state.index:
            yield [Deposit(account=MAKER, asset=USD, amount=_WEALTH), TopUpFund(asset=USD, amount=_FUND)]
            yield [
                one
                for bot in BOTS
                for one in (Deposit(account=bot, asset=USD, amount=_BOT_WEALTH), RegisterLiquidator(account=bot))
            ]
        self._people = {one.name: one for one in make_people(state, self._accounts, self._random)}
        self._names = list(self._people)
        batch: list[Command] = []
        for person in self._people.values():
            if has_no_position(state, person.name):
                batch += enter(state, person)
            if len(batch) >= COMMANDS_A_STEP:
                yield batch
                batch = []
        if batch:
            yield batch

    def step(self, state: State, now_ns: int) -> list[Command]:
        """Return what happens now: prices first, then what people do."""
        commands: list[Command] = [self._quotes(state, now_ns), *fills(state), *bids(state, self._random)]
        commands += cures(state, self._people, self._random)
        commands += self._comers_and_goers(state)
        return commands[:COMMANDS_A_STEP]

    def note_reduction(self) -> None:
        """Learn that "you" were reduced by force; what you do yourself stands."""
        self._was_reduced = True

    def _quotes(self, state: State, now_ns: int) -> PublishQuotes:
        """Return every source's prices; the house's time never goes back."""
        self._last_ns = now_ns = max(now_ns, self._last_ns + 1, state.now_ns)
        quotes = []
        for asset, price in self._walk.step().items():
            tick = float(state.tables.markets[state.tables.market_index[f"{asset}-PERP"]].market.tick)
            for source in SOURCES:
                ticks = round(self._walk.quoted(price) / tick)
                quotes.append(
                    Quote(source=source, feed=asset, price=ticks, source_ns=now_ns - _TRANSIT_NS, arrival_ns=now_ns)
                )
        return PublishQuotes(quotes=tuple(quotes))

    def _comers_and_goers(self, state: State) -> Iterator[Command]:
        if self._names and self._random.random() < _LEAVES:
            name = self._random.choice(self._names)
            if name != YOU:
                yield from leave(state, self._people[name])
        for name in self._random.sample(self._names, min(_NEWCOMERS, len(self._names))):
            if name != YOU and has_no_position(state, name):
                yield from enter(state, self._people[name])
        if self._was_reduced:
            yield from self._return(state)

    def _return(self, state: State) -> Iterator[Command]:
        """Yield what brings "you" back where liquidation began."""
        self._rested = self._rested + 1 if is_healthy(state, YOU) else 0
        if self._rested > _YOUR_REST:
            self._was_reduced, self._rested = False, 0
            yield from enter(state, self._people[YOU])
