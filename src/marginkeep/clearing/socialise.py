"""A loss that no fund pays, spread over open positions by one step of a cumulative index: the cost is that of one.

The holders pay as they pay funding: when their position is next booked, and in their equity at once. So nobody escapes
by withdrawing, and nobody is visited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.clearing.funding import index_bound
from marginkeep.clearing.loss_events import LossSocialised
from marginkeep.clearing.state import FUNDING
from marginkeep.units import RATE_ONE, ceil_div, floor_div

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.clearing.losses import Loss
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.rulebook import MarketTable


def socialise(tx: Transaction, name: str, asset: int, owed: int, lost: Mapping[int, Loss]) -> int:
    """Spread a debt over the markets in which an account lost, and return how much of it is borne.

    Only markets that settle in the asset owed can bear it, each in proportion to what the account lost there. What
    finds no open interest, or would move an index beyond its bound, is not borne.

    Parameters
    ----------
    owed : units of the asset, above 0
    """
    ladder = tx.state.rulebook.ladder
    if ladder is None or ladder.socialise is None:
        return 0
    markets = tx.state.tables.markets
    bearing = {market: loss for market, loss in sorted(lost.items()) if markets[market].settle == asset}
    weight = sum(loss.amount for loss in bearing.values())
    borne = 0
    for index, loss in bearing.items():
        part = floor_div(owed * loss.amount, weight)  # of what is left, so that the parts sum to the whole
        owed, weight = owed - part, weight - loss.amount
        side = "both" if ladder.socialise == "market" else "short" if loss.was_long else "long"
        borne += _spread(tx, name, markets[index], side, part)
    return borne


def _spread(tx: Transaction, name: str, market: MarketTable, side: str, owed: int) -> int:
    """Spread part of a debt over one market's holders on a side, or both, and return how much they bear."""
    lots = tx.open_interest(market.index) * (2 if side == "both" else 1)
    amount = min(owed, floor_div(_room(tx, market, side) * lots, RATE_ONE))
    if amount <= 0:
        return 0
    move = ceil_div(amount * RATE_ONE, lots)
    valuation = tx.state.valuation
    if side != "short":
        valuation.funding[market.index] += move
    if side != "long":
        valuation.funding_short[market.index] -= move
    if market.index not in tx.state.moved:
        tx.state.moved.append(market.index)
    tx.post(market.settle, FUNDING + market.name, name, amount, "shortfall borne by holders")
    tx.keep_funding_dust(market, move * lots - amount * RATE_ONE)
    tx.events.append(
        LossSocialised(
            account=name,
            market=market.name,
            side=side,
            amount=amount,
            index_move=move,
            lots=lots,
            postings=tx.take_postings(),
        )
    )
    return amount


def _room(tx: Transaction, market: MarketTable, side: str) -> int:
    """Return how far the index of a side, or of both, may still move against its holders."""
    bound, valuation = index_bound(tx.state, market), tx.state.valuation
    of_longs = bound - valuation.funding[market.index]
    of_shorts = bound + valuation.funding_short[market.index]
    return {"long": of_longs, "short": of_shorts, "both": min(of_longs, of_shorts)}[side]
