"""Quotes, books, halts and time: what moves the oracle, and with it the prices that accounts are valued at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.clearing.events import (
    BookObserved,
    MarketHeld,
    OracleChanged,
    PriceAnnounced,
    PricesSet,
    QuotesTaken,
)
from marginkeep.clearing.funding import follow_funding
from marginkeep.clearing.opening import Opening
from marginkeep.clearing.transaction import Transaction, refuse
from marginkeep.oracle.source_rows import INTAKES, TAKEN
from marginkeep.rulebook.oracle_rules import MARKET_STATES, OPEN
from marginkeep.units import rate_floor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.clearing.commands import Halt, ObserveBook, PublishQuotes, Quote, Resume
    from marginkeep.clearing.state import State
    from marginkeep.oracle.oracle import Movement, Oracle
    from marginkeep.rulebook import AssetTable

QUOTES_MAX: Final = 100_000
"""Most quotes of one command."""


def publish_quotes(tx: Transaction, command: PublishQuotes) -> None:
    """Take a batch of quotes in; nothing happens if any names a feed or source that the rulebook does not have.

    A quote with an impossible price or time is not refused but counted, and held against its source.
    """
    oracle = _require_oracle(tx)
    if not 0 < len(command.quotes) <= QUOTES_MAX:
        refuse("bad_quotes", f"{len(command.quotes)} quotes: give 1 to {QUOTES_MAX} in one command", bound=QUOTES_MAX)
    quotes = _columns(oracle, command.quotes)
    intake, movement = oracle.take(quotes, tx.state.now_ns)
    tx.state.now_ns = intake.now_ns
    counts = np.bincount(intake.codes, minlength=len(INTAKES)).tolist()
    ignored = {name: count for name, count in zip(INTAKES, counts, strict=True) if count and name != INTAKES[TAKEN]}
    tx.events.append(QuotesTaken(taken=counts[TAKEN], ignored=ignored))
    move(tx, movement)


def _require_oracle(tx: Transaction) -> Oracle:
    if tx.state.oracle is None:
        refuse("no_oracle", "the rulebook has no oracle: add an [oracle] table, or set prices with SetPrices")
    return tx.state.oracle


def _columns(oracle: Oracle, quotes: tuple[Quote, ...]) -> NDArray[np.int64]:
    """Return the quotes as rows of integers; refuse names that are not in the rulebook."""
    numbers = oracle.feeds.numbers
    rows = []
    for quote in quotes:
        try:
            feed, sources = numbers[quote.feed]
            source = sources[quote.source]
        except KeyError:
            _refuse_name(oracle, quote)
        rows.append((feed, source, quote.price, quote.confidence, quote.source_ns, quote.arrival_ns))
    return np.array(rows, np.int64)


def _refuse_name(oracle: Oracle, quote: Quote) -> None:
    known = oracle.feeds.numbers.get(quote.feed)
    if known is None:
        names = ", ".join(oracle.feeds.numbers)
        refuse("unknown_feed", f"feed {quote.feed!r:.80} is not in the rulebook: use one of {names}")
    names = ", ".join(known[1])
    refuse("unknown_source", f"source {quote.source!r:.80} does not quote {quote.feed}: use one of {names}")


def observe_book(tx: Transaction, command: ObserveBook) -> None:
    """Let a market's mark see its order book."""
    oracle = _require_oracle(tx)
    market = tx.market(command.market)
    line = oracle.markets.get(market.index)
    if line is None:
        refuse("no_mark", f"the mark of {market.name} is not made by the oracle: add [oracle.marks.{market.name}]")
    highest = tx.state.limits.markets[market.index].max_price
    for name in ("bid", "ask", "impact_bid", "impact_ask"):
        if not 0 <= getattr(command, name) <= highest:
            refuse(
                "bad_price", f"{name} is {getattr(command, name)} ticks: accepted are 0 to {highest}", highest=highest
            )
    at_ns = min(command.at_ns, tx.state.now_ns)
    line.mark.observe_book(command.bid, command.ask, command.impact_bid, command.impact_ask, at_ns)
    tx.events.append(BookObserved(market=market.name))
    move(tx, oracle.look_again([market.index], tx.state.now_ns))


def halt(tx: Transaction, command: Halt) -> None:
    """Hold a market, or all, at a state or worse."""
    oracle = _require_oracle(tx)
    index = _market_or_all(tx, oracle, command.market)
    oracle.hold(index, MARKET_STATES.index(command.state), tx.state.now_ns)
    tx.events.append(MarketHeld(market=command.market, state=command.state))
    move(tx, oracle.look_again(oracle.markets if index is None else [index], tx.state.now_ns))


def resume(tx: Transaction, command: Resume) -> None:
    """End an operator's hold of a market, or that of all."""
    oracle = _require_oracle(tx)
    index = _market_or_all(tx, oracle, command.market)
    oracle.release(index)
    tx.events.append(MarketHeld(market=command.market, state=MARKET_STATES[OPEN]))
    move(tx, oracle.look_again(oracle.markets if index is None else [index], tx.state.now_ns))


def _market_or_all(tx: Transaction, oracle: Oracle, name: str | None) -> int | None:
    if name is None:
        return None
    market = tx.market(name)
    if market.index not in oracle.markets:
        refuse("no_mark", f"the mark of {name} is not made by the oracle: only such markets can be held")
    return market.index


def let_time_pass(tx: Transaction) -> None:
    """Tell the oracle the house's new time."""
    if tx.state.oracle is not None:
        move(tx, tx.state.oracle.advance(tx.state.now_ns))


def move(tx: Transaction, movement: Movement) -> None:
    """Value accounts at the oracle's prices from now on, say what changed, and let funding follow."""
    state = tx.state
    assets, markets = state.tables.assets, state.tables.markets
    for index, ticks in movement.marks.items():
        state.valuation.set_mark(index, ticks)
    for index, ticks in movement.prices.items():
        state.valuation.set_price(index, ticks)
    if movement.weights:
        apply_pegs(state)
    if movement.marks or movement.prices:
        marks = {markets[index].name: ticks for index, ticks in movement.marks.items()}
        prices = {assets[index].name: ticks for index, ticks in movement.prices.items()}
        tx.events.append(PricesSet(marks=marks, prices=prices))
    tx.events += [OracleChanged(**note._asdict()) for note in movement.notes]
    for index, (ticks, at_ns) in movement.announced.items():
        tx.events.append(PriceAnnounced(asset=assets[index].name, price=ticks, at_ns=at_ns))
    tx.movement = movement
    follow_funding(tx)


def apply_pegs(state: State) -> None:
    """Give each pegged asset the collateral weight that the stage of its peg leaves it."""
    oracle = state.oracle
    assert oracle is not None
    assets = tuple(_weighted(table, oracle) for table in state.tables.assets)
    state.tables = replace(state.tables, assets=assets)
    state.valuation.tables = state.tables
    state.opening = Opening(oracle, state.valuation)


def _weighted(table: AssetTable, oracle: Oracle) -> AssetTable:
    line = oracle.assets.get(table.index)
    if line is None or line.peg is None:
        return table
    initial, call, maintenance, target = (
        rate_floor(weight, line.peg.weight(level)) for level, weight in enumerate(table.asset.weight)
    )
    return replace(table, weight=(initial, call, maintenance, target))
