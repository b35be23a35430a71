"""Booking what the liquidation floor has planned: closes and sales to the liquidator, penalties, the explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.account import Account
from marginkeep.book.health import measure
from marginkeep.clearing.events import Liquidated, LiquidationStep, OrderReleased
from marginkeep.clearing.funds import fund_of_market, receive
from marginkeep.clearing.state import FEES, INSURANCE_FUND, LIQUIDATOR, State
from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.incentive import penalty_split
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.model import TARGET

if TYPE_CHECKING:
    from marginkeep.book.valuation import Valuation
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.liquidation import Close, Sale
    from marginkeep.liquidation.batch_plans import Planned
    from marginkeep.margin.solvency import Measure
    from marginkeep.oracle.price_seen import PriceSeen


def release_orders(tx: Transaction, name: str) -> None:
    """Release every open order of an account that is about to be liquidated."""
    for key in tx.open_orders(name):
        tx.set_order(name, key, None)
        tx.events.append(OrderReleased(account=name, order=key, reason="liquidation"))


def book_close(tx: Transaction, name: str, step: Close) -> LiquidationStep:
    """Trade the position to the liquidator at the planned price and take the penalty."""
    market = tx.state.tables.markets[step.market]
    taken = tx.fill(name, market, step.size, step.price)
    given = tx.fill(LIQUIDATOR, market, -step.size, step.price)
    tx.post_dust(market, taken.cost + given.cost)
    share = market.market.liquidation.liquidator_share
    share_penalty(tx, name, market.settle, step.penalty, share, market.name)
    return LiquidationStep(
        what="close",
        name=market.name,
        size=step.size,
        price=step.price,
        asset=market.market.settle,
        value=step.value,
        realised=step.realised,
        penalty=step.penalty,
        mark=tx.state.valuation.marks[market.index],
    )


def book_planned(tx: Transaction, name: str, planned: Planned) -> tuple[LiquidationStep, ...]:
    """Book the closes that the kernel has planned; halt if the books differ from what it expects."""
    steps = tuple([book_close(tx, name, step) for step in planned.steps])
    if not planned.is_booked(tx.account(name)):
        raise InvariantViolation(f"liquidation of {name} booked {tx.account(name)}, planned {planned}")
    return steps


def book_sale(tx: Transaction, name: str, step: Sale) -> LiquidationStep:
    """Swap a holding for the owed asset with the liquidator and take the penalty."""
    assets = tx.state.tables.assets
    tx.post(step.asset, name, LIQUIDATOR, step.amount, "collateral sold")
    tx.post(step.owed, LIQUIDATOR, name, step.proceeds, "debt repaid")
    share = assets[step.asset].asset.liquidation.liquidator_share
    share_penalty(tx, name, step.owed, step.penalty, share)
    return LiquidationStep(
        what="sell",
        name=assets[step.asset].name,
        size=step.amount,
        price=step.price,
        asset=assets[step.owed].name,
        value=step.proceeds,
        realised=0,
        penalty=step.penalty,
        mark=tx.state.valuation.prices[step.asset],
    )


def share_penalty(tx: Transaction, name: str, asset: int, penalty: int, share: int, market: str | None = None) -> None:
    """Split a penalty among the liquidator, the insurance fund and, where the ladder says so, the house.

    With a ladder the fund is that of the market's pool, the last one for sold holdings, and repays open bad debt first.
    """
    if not penalty:
        return
    ladder = tx.state.rulebook.ladder
    reward, fund, house = penalty_split(penalty, share, ladder.house_share if ladder else 0)
    tx.post(asset, name, LIQUIDATOR, reward, "liquidator's share of the penalty")
    if ladder is None:
        tx.post(asset, name, INSURANCE_FUND, fund, "fund's share of the penalty")
    else:
        receive(tx, asset, name, fund_of_market(tx.state.rulebook, market), fund, "fund's share of the penalty")
    tx.post(asset, name, FEES, house, "house's share of the penalty")


def require_as_planned(booked: Account, planned: Account, name: str) -> None:
    """Halt if the books differ from the plan: both ran the same rules, so a difference is a defect."""
    held = {index: p for index, p in booked.positions.items() if not p.is_empty}
    expected = {index: p for index, p in planned.positions.items() if not p.is_empty}
    if held != expected or _not_zero(booked.balances) != _not_zero(planned.balances):
        raise InvariantViolation(f"liquidation of {name} booked {booked}, planned {planned}")


def _not_zero(balances: dict[int, int]) -> dict[int, int]:
    """Leave out amounts of nothing: a plan may name an asset in which nothing was won or lost, the books post none."""
    return {asset: amount for asset, amount in balances.items() if amount}


def reporting(state: State, asset: int, amount: int) -> int:
    """Return an amount of an asset in reporting units, rounded down."""
    return convert_floor(amount, state.valuation.asset_x[asset], state.valuation.asset_y[asset])


def _health_left(account: Account, valuation: Valuation) -> int:
    """Return health at target; positions that have just been closed are not looked at."""
    held = {index: position for index, position in account.positions.items() if not position.is_empty}
    return measure(Account(account.mode, account.parent, account.balances, held), valuation, TARGET).health


def _worth_of(state: State, steps: tuple[LiquidationStep, ...]) -> tuple[int, int]:
    """Return what steps closed or sold, and their penalties, in reporting units."""
    notional = penalty = 0
    for step in steps:
        asset = state.tables.asset_index[step.asset]
        notional += reporting(state, asset, step.value)
        penalty += reporting(state, asset, step.penalty)
    return notional, penalty


def explain(
    tx: Transaction,
    name: str,
    before: Measure,
    health_target: int,
    marks: dict[str, int],
    steps: tuple[LiquidationStep, ...],
    fund_paid: int,
    bad_debt: int,
    prices: tuple[PriceSeen, ...],
    rung: str = "partial",
    health_after: int | None = None,
) -> Liquidated:
    """Return the event that explains a liquidation: what was seen, what was done, what was left.

    Parameters
    ----------
    health_after : at target, where it is known
    """
    if health_after is None:
        health_after = _health_left(tx.account(name), tx.state.valuation)
    notional, penalty = _worth_of(tx.state, steps)
    return Liquidated(
        account=name,
        collateral=before.collateral,
        requirement=before.requirement,
        health_target=health_target,
        health_after=health_after,
        notional=notional,
        penalty=penalty,
        fund_paid=fund_paid,
        bad_debt=bad_debt,
        marks=marks,
        steps=steps,
        rulebook=tx.state.rulebook_hash,
        prices=prices,
        rung=rung,
        postings=tx.take_postings(),
    )
