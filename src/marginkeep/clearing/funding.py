"""Funding that the house makes itself: whatever moves the oracle also pays what is due, and samples the premium.

Nothing here is refused: the oracle has moved already. A payment at a price that may not be used stays due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.book.limits import payoff_at
from marginkeep.clearing.events import FundingPaid
from marginkeep.clearing.funding_formulas import FundingDue, index_move
from marginkeep.clearing.funding_rates import Booked
from marginkeep.clearing.state import EXTERNAL, LIQUIDATOR
from marginkeep.oracle.market_prices import premium
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from marginkeep.clearing.funding_rates import FundingMachine
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.oracle.lines import MarketLine
    from marginkeep.rulebook import MarketTable

PREMIUM_MAX: Final = 1_000 * RATE_ONE
"""Highest premium of a market whose rules bound it no further."""


def follow_funding(tx: Transaction) -> None:
    """Pay what is due, or book what has accrued, then take a sample: market by market, in their order."""
    state, now_ns = tx.state, tx.state.now_ns
    for index, machine in state.funding_machines.items():
        market, line = state.tables.markets[index], _line(state, index)
        usable = _may_fund(state, market, line)
        if usable and machine.is_due(now_ns):
            _pay(tx, market, machine, line)
        elif usable and machine.accrues(now_ns):
            _accrue(tx, market, machine, line)
        _sample(state, market, machine, line if usable else None)


def move_index(tx: Transaction, market: MarketTable, paid: int) -> None:
    """Let longs pay `paid` to shorts, 10^-9 settle units a lot; everybody who holds the market has to be looked at."""
    valuation = tx.state.valuation
    valuation.funding[market.index] += paid
    valuation.funding_short[market.index] += paid
    tx.funded.append(market.index)


def index_bound(state: State, market: MarketTable) -> int:
    """Return half the highest value of a lot: then funding never booked is a term within bounds, as the value is."""
    limits = state.limits.markets[market.index]
    x, y = payoff_at(market, limits.max_price if market.sign > 0 else limits.min_price)
    return RATE_ONE * x // (2 * y)


def _line(state: State, index: int) -> MarketLine:
    assert state.oracle is not None, "funding rules need the market's mark in the oracle: the loader sees to it"
    return state.oracle.markets[index]


def _may_fund(state: State, market: MarketTable, line: MarketLine) -> bool:
    """Tell whether mark and index may be funded at; if not, they are not sampled either."""
    priced = state.valuation.marks[market.index] and state.valuation.prices[market.settle] and line.source.price
    return bool(priced) and not line.obstacle("fund")


def _pay(tx: Transaction, market: MarketTable, machine: FundingMachine, line: MarketLine) -> None:
    """Book a payment, less what has been booked of it as it accrued."""
    booked, now_ns = machine.booked, tx.state.now_ns
    due = machine.pay(now_ns)
    _book(tx, market, due._replace(rate=due.rate - booked.rate), _move(tx, market, machine, line, due) - booked.move)
    line.mark.observe_funding(due.rate, now_ns)


def _accrue(tx: Transaction, market: MarketTable, machine: FundingMachine, line: MarketLine) -> None:
    """Book what has accrued of the next payment since it was last booked; what it is expected to be may have fallen."""
    booked, now_ns = machine.booked, tx.state.now_ns
    due = machine.accrued(now_ns)
    move = _move(tx, market, machine, line, due) - booked.move
    if move:
        move = _book(tx, market, due._replace(rate=due.rate - booked.rate), move, accrued=True)
        booked = Booked(due.rate, booked.move + move)
    machine.book(booked, now_ns)


def _move(tx: Transaction, market: MarketTable, machine: FundingMachine, line: MarketLine, due: FundingDue) -> int:
    price = line.source.price if machine.rules.paid_on == "index" else tx.state.valuation.marks[market.index]
    return index_move(due, market, price)


def _book(tx: Transaction, market: MarketTable, due: FundingDue, move: int, accrued: bool = False) -> int:
    """Move the index, as far as its bound allows, and say why; return by how much."""
    paid = _within_bound(tx.state, market, move)
    if paid:
        move_index(tx, market, paid)
    tx.events.append(
        FundingPaid(
            market=market.name,
            rate=due.rate,
            paid=paid,
            index=tx.state.valuation.funding[market.index],
            premium=due.premium,
            interest=due.interest,
            pull=due.pull,
            uncapped=due.uncapped,
            accrued=accrued,
        )
    )
    return paid


def _within_bound(state: State, market: MarketTable, move: int) -> int:
    """Cut a move so that neither side's index passes its bound."""
    bound, valuation = index_bound(state, market), state.valuation
    indices = (valuation.funding[market.index], valuation.funding_short[market.index])
    return max(min(0, -bound - min(indices)), min(move, max(0, bound - max(indices))))


def _sample(state: State, market: MarketTable, machine: FundingMachine, line: MarketLine | None) -> None:
    """Take in what is known now; without a line whose prices may be used, nothing is."""
    now_ns = state.now_ns
    if machine.takes_prices:
        mark = state.valuation.marks[market.index] if line else None
        machine.sample_prices(mark, line.source.price if line else None, now_ns)
    else:
        machine.sample(_premium(line, machine.rules.stale_after_ns, now_ns) if line else None, now_ns)
    if machine.rules.imbalance_slope:
        machine.sample_balance(_users_net(state, market.index), state.open_interest[market.index], now_ns)


def _premium(line: MarketLine, stale_after_ns: int, now_ns: int) -> int | None:
    """Return how far the book's impact prices are from the index; None without a fresh book that has one of them."""
    seen = line.mark.impact_prices
    if seen is None or now_ns - seen[2] > stale_after_ns or not (seen[0] or seen[1]):
        return None
    bids, asks = ([(price, 1)] if price else [] for price in seen[:2])
    return premium(bids, asks, line.source.price, 0, PREMIUM_MAX)


def _users_net(state: State, market: int) -> int:
    """Return the net position of all users in lots: all sizes sum to zero, so minus that of the system's accounts."""
    held = (state.book.read(state.index[name]) for name in (EXTERNAL, LIQUIDATOR) if name in state.index)
    return -sum(account.positions[market].size for account in held if market in account.positions)
