"""Where an account has lost what it cannot pay: that decides which fund answers, and who bears the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.clearing.booking import reporting
from marginkeep.clearing.events import Liquidated
from marginkeep.clearing.loss_events import Deleveraged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction


class Loss(NamedTuple):
    """What was lost in one market, above 0, in reporting units rounded up, and on which side."""

    amount: int
    was_long: bool


class ClosedLots(NamedTuple):
    """A forced close: lots the account traded (negative = a long was sold), settle units realised, and their value."""

    market: int
    size: int
    realised: int
    value: int


def losses_of(tx: Transaction, name: str) -> dict[int, Loss]:
    """Return by market what an account has lost by the forced closes of this transaction."""
    return sum_losses(tx.state, _closes(tx, name))


def sum_losses(state: State, closes: Iterable[ClosedLots]) -> dict[int, Loss]:
    """Return the losses that closes have realised, by market, rising.

    Where none has realised a loss, the account has been ruined by something else, such as funding: then its closes
    share by their value.
    """
    realised: dict[int, int] = {}
    values: dict[int, int] = {}
    sides: dict[int, bool] = {}
    for close in closes:
        realised[close.market] = realised.get(close.market, 0) + close.realised
        values[close.market] = values.get(close.market, 0) + close.value
        sides[close.market] = close.size < 0
    amounts = {market: -gained for market, gained in realised.items() if gained < 0} or values
    losses = {}
    for market, amount in sorted(amounts.items()):
        worth = -reporting(state, state.tables.markets[market].settle, -amount)
        if worth > 0:
            losses[market] = Loss(worth, sides[market])
    return losses


def _closes(tx: Transaction, name: str) -> Iterable[ClosedLots]:
    markets = tx.state.tables.market_index
    for event in tx.events:
        if isinstance(event, Liquidated) and event.account == name:
            for step in event.steps:
                if step.what == "close":
                    yield ClosedLots(markets[step.name], step.size, step.realised, step.value)
        elif isinstance(event, Deleveraged) and event.account == name:
            yield ClosedLots(markets[event.market], event.size, event.realised, event.value)
