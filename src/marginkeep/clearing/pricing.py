"""Prices, funding and time: what moves every account at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.clearing.events import FundingPaid, PricesSet, TimeAdvanced
from marginkeep.clearing.funding import index_bound, move_index
from marginkeep.clearing.gates import require_action
from marginkeep.clearing.quoting import let_time_pass
from marginkeep.clearing.transaction import Transaction, refuse
from marginkeep.rulebook.funding_rules import FUNDING_RATE_MAX
from marginkeep.units import INT64_SAFE, ceil_div

if TYPE_CHECKING:
    from marginkeep.clearing.commands import AdvanceTime, PayFunding, SetPrices


def set_prices(tx: Transaction, command: SetPrices) -> None:
    """Check every price first, then set them all."""
    if not command.marks and not command.prices:
        refuse("no_price", "the command names no price: give marks or prices")
    marks = {tx.market(name).index: ticks for name, ticks in command.marks.items()}
    prices = {tx.asset(name).index: ticks for name, ticks in command.prices.items()}
    _refuse_oracle_fed(tx, marks, prices)
    limits = tx.state.limits
    for index, ticks in marks.items():
        bounds = limits.markets[index]
        _require_price(tx.state.tables.markets[index].name, ticks, bounds.min_price, bounds.max_price)
    for index, ticks in prices.items():
        _require_price(tx.state.tables.assets[index].name, ticks, 1, limits.assets[index].max_price)
    for index, ticks in marks.items():
        tx.state.valuation.set_mark(index, ticks)
    for index, ticks in prices.items():
        tx.state.valuation.set_price(index, ticks)
    tx.events.append(PricesSet(marks=dict(command.marks), prices=dict(command.prices)))


def _refuse_oracle_fed(tx: Transaction, marks: dict[int, int], prices: dict[int, int]) -> None:
    """Refuse to set by hand what the oracle makes out of quotes."""
    oracle = tx.state.oracle
    if oracle is None:
        return
    names = [oracle.markets[index].name for index in marks if index in oracle.markets]
    names += [oracle.assets[index].name for index in prices if index in oracle.assets]
    if names:
        refuse("oracle_fed", f"{', '.join(names)} is priced by the oracle: publish quotes instead")


def _require_price(name: str, ticks: int, lowest: int, highest: int) -> None:
    if not lowest <= ticks <= highest:
        refuse(
            "bad_price",
            f"price of {name} is {ticks} ticks: accepted are {lowest} to {highest}; "
            f"raise max_price in the rulebook if the price is right",
            lowest=lowest,
            highest=highest,
        )


def pay_funding(tx: Transaction, command: PayFunding) -> None:
    """Move a market's cumulative funding index by rate * value of a lot at mark; longs pay when the rate is positive.

    The index counts 10^-9 settle units a lot and is rounded once, for everybody alike, so that what longs pay is what
    shorts receive; each account's own payment is rounded against it when it is booked.
    """
    market = tx.marked_market(command.market)
    require_action(tx, "fund", market, f"funding of {market.name}")
    if abs(command.rate) > FUNDING_RATE_MAX:
        refuse(
            "bad_rate",
            f"funding rate is {command.rate} of 10^9 a payment: the bound is {FUNDING_RATE_MAX}",
            bound=FUNDING_RATE_MAX,
        )
    valuation = tx.state.valuation
    x, y = valuation.market_x[market.index], valuation.market_y[market.index]
    paid = ceil_div(abs(command.rate) * x, y)
    paid = paid if command.rate > 0 else -paid
    index, of_shorts = valuation.funding[market.index] + paid, valuation.funding_short[market.index] + paid
    bound = index_bound(tx.state, market)
    if max(abs(index), abs(of_shorts)) > bound:
        refuse("limit", f"the funding index of {market.name} would be {index}, beyond its bound {bound}", bound=bound)
    move_index(tx, market, paid)
    if tx.state.oracle is not None and market.index in tx.state.oracle.markets:
        tx.state.oracle.markets[market.index].mark.observe_funding(command.rate, tx.state.now_ns)
    tx.events.append(FundingPaid(market=market.name, rate=command.rate, paid=paid, index=index))


def advance_time(tx: Transaction, command: AdvanceTime) -> None:
    """Set the time; it may stand still but never goes back."""
    if not tx.state.now_ns <= command.now_ns <= INT64_SAFE:
        refuse(
            "bad_time",
            f"time {command.now_ns} is before the present {tx.state.now_ns}: time never goes back",
            now_ns=tx.state.now_ns,
        )
    tx.state.now_ns = command.now_ns
    tx.events.append(TimeAdvanced(now_ns=command.now_ns))
    let_time_pass(tx)
