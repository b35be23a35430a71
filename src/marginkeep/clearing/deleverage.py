"""Deleveraging of a bankrupt account: its positions are closed against winners where the funds may not pay its loss.

It comes before anything is closed with the liquidator. Winners bear what the funds do not: each leg is closed at the
price at which the account's loss is just what the funds will pay, and what no winner can take goes the ordinary way.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from marginkeep.book.account import SYSTEM
from marginkeep.book.fills import book_funding, cost_of, fill_position
from marginkeep.book.health import equity
from marginkeep.book.limits import payoff_at
from marginkeep.clearing.booking import reporting
from marginkeep.clearing.funds import plan_payments
from marginkeep.clearing.gates import liquidation_gate, spend_budget
from marginkeep.clearing.loss_events import Deleveraged, DeleveragedFill
from marginkeep.clearing.losses import ClosedLots, sum_losses
from marginkeep.clearing.winners import winners_of
from marginkeep.errors import InputError
from marginkeep.liquidation import Close, plan_reduction
from marginkeep.liquidation import deleveraging as floor
from marginkeep.liquidation.deleveraging_prices import allotments
from marginkeep.margin.tiered import convert_floor, signed_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.liquidation.deleveraging import Winners
    from marginkeep.rulebook import MarketTable
    from marginkeep.rulebook.ladder_rules import DeleveragingPolicy


class _Leg(NamedTuple):
    """A bankrupt position: what of the loss falls on it (<= 0, reporting units), its price, the lots to be closed."""

    market: MarketTable
    size: int
    share: int
    price: int
    lots: int


def deleverage(tx: Transaction, name: str) -> tuple[Deleveraged, ...]:
    """Close the positions of a bankrupt account against winners, and return an event for each market.

    Nothing happens where the rulebook names no policy, the account is not bankrupt, the funds will pay, or a price or
    state keeps some of it from being liquidated now. Open orders of the account must have been released before.
    """
    ladder, account = tx.state.rulebook.ladder, tx.account(name)
    if ladder is None or ladder.policy is None or equity(account, tx.state.valuation) >= 0:
        return ()
    gate = liquidation_gate(tx.state, account)
    left = None if gate.blocked else _equity_to_allot(tx, name)
    if left is None:
        return ()
    done = []
    for index, share in sorted(allotments(account, tx.state.valuation, left).items()):
        market, size = tx.state.tables.markets[index], account.positions[index].size
        price = _price(tx.state, market, size, share)
        if price is not None:
            most = gate.allowance.lots.get(index, abs(size))
            leg = _Leg(market, size, share, price, min(abs(size), most))
            event = _close(tx, name, leg, ladder.policy)
            done += [event] if event else []
    tx.events.extend(done)
    return tuple(done)


def _equity_to_allot(tx: Transaction, name: str) -> int | None:
    """Return what winners must bear, as a negative equity at mark; None where the funds will pay everything.

    The ordinary way is planned on a copy: what it would leave owed includes the slippage of closing, which a close
    against winners saves, and that of selling holdings, which it does not.
    """
    valuation = tx.state.valuation
    plan = plan_reduction(tx.account(name), valuation)
    closes = [step for step in plan.steps if isinstance(step, Close)]
    debts = {asset: -amount for asset, amount in plan.after.balances.items() if amount < 0}
    lost = sum_losses(tx.state, (ClosedLots(c.market, c.size, c.realised, c.value) for c in closes))
    payments = plan_payments(tx, debts, lost)
    paid = {asset: sum(p.amount for p in payments if p.asset == asset) for asset in debts}
    if paid == debts:
        return None
    owed = sum(-reporting(tx.state, asset, -amount) for asset, amount in debts.items())
    return min(0, sum(p.worth for p in payments) + _slipped(tx.state, closes) - owed)


def _slipped(state: State, closes: list[Close]) -> int:
    """Return what closes lose against the mark, in reporting units."""
    valuation, total = state.valuation, 0
    for step in closes:
        market = state.tables.markets[step.market]
        x, y = valuation.market_x[market.index], valuation.market_y[market.index]
        lost = cost_of(market, step.size, step.price) - signed_value(step.size, market.sign, x, y)
        total += reporting(state, market.settle, lost)
    return total


def _price(state: State, market: MarketTable, size: int, share: int) -> int | None:
    """Return the price in ticks at which a leg costs its share of the loss, within the limits of the market's prices.

    None where no price is low enough for a short, or what the market settles in has no price.
    """
    x, y = state.valuation.asset_x[market.settle], state.valuation.asset_y[market.settle]
    if not x:
        return None
    price = floor.bankruptcy_price(market, size, state.valuation.marks[market.index], share * y // x)
    limits = state.limits.markets[market.index]
    return None if price is None else min(max(price, limits.min_price), limits.max_price)


def _close(tx: Transaction, name: str, leg: _Leg, policy: DeleveragingPolicy) -> Deleveraged | None:
    """Close one leg against the winners that the policy chooses; None where there is none who could bear it."""
    state = tx.state
    staged = {index: tx.look(state.names[index]) for index in tx.touched()}
    winners = winners_of(state.book, state.valuation, leg.market, leg.size < 0, staged)
    chosen = _choose(tx, winners, leg, policy)
    closed = int(chosen.sum())
    if not closed:
        return None
    side = -1 if leg.size > 0 else 1
    own = tx.fill(name, leg.market, side * closed, leg.price)
    cost, gains = own.cost, {}
    for row in np.flatnonzero(chosen).tolist():
        winner = state.names[int(winners.accounts[row])]
        fill = tx.fill(winner, leg.market, -side * int(chosen[row]), leg.price)
        cost += fill.cost
        gains[row] = fill.realised
    tx.post_dust(leg.market, cost)
    spend_budget(state, leg.market.index, closed)
    figures = _audit(state, winners, chosen, leg)
    return Deleveraged(
        account=name,
        market=leg.market.name,
        size=side * closed,
        value=abs(own.cost),
        realised=own.realised,
        price=leg.price,
        mark=state.valuation.marks[leg.market.index],
        policy=policy,
        wanted=leg.lots,
        needed=figures.needed,
        taken=figures.taken,
        over=figures.over,
        under=figures.under,
        fills=tuple(
            DeleveragedFill(state.names[int(winners.accounts[row])], -side * int(chosen[row]), haircut, realised)
            for (row, realised), haircut in zip(gains.items(), figures.haircuts.tolist(), strict=True)
        ),
        postings=tx.take_postings(),
    )


def _choose(tx: Transaction, winners: Winners, leg: _Leg, policy: DeleveragingPolicy) -> NDArray[np.int64]:
    """Return the lots to be closed of each winner: by the policy, among those whom it leaves above zero."""
    valuation, settle = tx.state.valuation, leg.market.settle
    spare = 2 - 2 * convert_floor(-1, valuation.asset_x[settle], valuation.asset_y[settle])
    able = floor.Winners(
        winners.accounts,
        winners.sizes,
        winners.profits,
        winners.equities - spare,  # rounding of a fill costs no more than this
        winners.notionals,
        winners.relief,
    )
    chosen = floor.allocate(policy, winners, leg.lots, floor.overlaps(able, _haircut(tx.state, leg)))
    for row in np.flatnonzero(chosen).tolist():
        if not _fits(tx, int(winners.accounts[row]), leg, int(chosen[row])):
            chosen[row] = 0
    return chosen


def _fits(tx: Transaction, winner: int, leg: _Leg, lots: int) -> bool:
    """Tell whether a winner's balance stays within its bound: nothing may be refused here."""
    state, market = tx.state, leg.market
    account = tx.look(state.names[winner])
    position = account.positions[market.index].copy()
    paid, _ = book_funding(position, state.valuation.funding_index(market.index, position.size))
    fill = fill_position(market, position, lots if leg.size > 0 else -lots, leg.price)
    balance = account.balances.get(market.settle, 0) + paid
    return max(abs(balance), abs(balance + fill.realised)) <= state.limits.assets[market.settle].max_balance


def _settle_price(state: State, market: MarketTable) -> Fraction:
    return Fraction(state.valuation.asset_x[market.settle], state.valuation.asset_y[market.settle])


def _haircut(state: State, leg: _Leg) -> Fraction:
    """Return what a winner gives up for each lot, in reporting units."""
    mark, market = state.valuation.marks[leg.market.index], leg.market
    return floor.haircut_per_lot(market, leg.size < 0, mark, leg.price, _settle_price(state, market))


def _audit(state: State, winners: Winners, chosen: NDArray[np.int64], leg: _Leg) -> floor.Audit:
    worth = Fraction(*payoff_at(leg.market, state.valuation.marks[leg.market.index]))
    return floor.audit(
        [
            floor.Deleveraged(
                wanted=leg.lots,
                accounts=winners.accounts,
                lots=chosen,
                needed_per_lot=Fraction(-leg.share, abs(leg.size)),
                taken_per_lot=_haircut(state, leg),
                notional_per_lot=worth * _settle_price(state, leg.market),
            )
        ]
    )


def queue_place(state: State, account: str, market: str) -> int:
    """Return an account's place in the queue of a market's winners as 1 to 5 lights; 5 = among the first to be closed.

    Nothing changes by asking.

    Raises
    ------
    InputError : the rulebook deleverages nobody, or the account is unknown, the system's, or holds no such position
    """
    ladder = state.rulebook.ladder
    if ladder is None or ladder.policy is None:
        raise InputError("the rulebook has no ladder with a policy of deleveraging: there is no queue")
    if account not in state.index or market not in state.tables.market_index:
        raise InputError(f"account {account!r} or market {market!r} is unknown: name an existing one")
    index, table = state.index[account], state.tables.markets[state.tables.market_index[market]]
    held = state.book.read(index)
    position = held.positions.get(table.index)
    if held.mode == SYSTEM or position is None or not position.size:
        raise InputError(f"account {account!r} has no position in {market} that could be deleveraged")
    winners = winners_of(state.book, state.valuation, table, position.size > 0, {})
    shown = floor.lights(ladder.policy, winners)
    return int(shown[np.searchsorted(winners.accounts, index)])
