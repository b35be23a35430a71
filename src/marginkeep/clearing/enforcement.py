"""Finding who is below maintenance and booking what the liquidation floor has planned for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.health import measure
from marginkeep.book.scan import below
from marginkeep.clearing.calls import call_at_latest, call_early, call_if_blocked, forget_healed
from marginkeep.clearing.commands import AdoptRulebook, PayFunding
from marginkeep.clearing.events import Event, Halted, Liquidated, LiquidationStep, OrderReleased
from marginkeep.clearing.gates import guarded_names, is_ill_at_best, liquidation_gate, spend_budget, waiting_names
from marginkeep.clearing.state import BAD_DEBT, INSURANCE_FUND, LIQUIDATOR, State
from marginkeep.clearing.transaction import Transaction
from marginkeep.errors import InvariantViolation
from marginkeep.liquidation import Close, Sale, plan_reduction
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.model import MAINTENANCE, TARGET
from marginkeep.units import rate_floor

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.book.watch import Watch
    from marginkeep.clearing.commands import Command
    from marginkeep.margin.solvency import Measure
    from marginkeep.oracle.oracle import Movement
    from marginkeep.oracle.price_seen import PriceSeen


def enforce(state: State, command: Command, movement: Movement | None = None) -> tuple[Event, ...]:
    """Liquidate every account that the new prices, funding, rules or states have brought below maintenance.

    In account order, each in a transaction of its own. Small books are scanned; large ones have a watch, which finds
    the same accounts at the cost of what changed and checks itself against an exact evaluation as it goes. An account
    whose prices may not be liquidated at is called instead, and tried again when they may; so is one that only the
    latest prices, which liquidation may not use yet, put below maintenance.
    """
    events: list[Event] = []
    breached = _find_breached(state, command, movement)
    forget_healed(state, list(state.called))
    for index in breached:
        events.extend(liquidate(state, state.names[index]))
    events.extend(call_at_latest(state))
    if movement is not None and movement.announced:
        events.extend(call_early(state, movement.announced))
    if state.watch is None:
        return tuple(events)
    liquidated = [state.index[event.account] for event in events if isinstance(event, Liquidated)]
    if liquidated:
        state.watch.update([state.index[LIQUIDATOR], *liquidated])
    return (*events, *_check_itself(state, state.watch))


def _find_breached(state: State, command: Command, movement: Movement | None) -> list[int]:
    """Return the indices of accounts below maintenance that may have to be liquidated now, rising."""
    if state.watch is None:
        if state.book.count < state.watch_from:
            return below(state.book, state.valuation, MAINTENANCE)
        from marginkeep.book.watch import Watch

        state.watch = Watch(state.book, state.valuation)
        return state.watch.breached()
    if isinstance(command, PayFunding):
        breached = state.watch.funding_moved(state.tables.market_index[command.market]).breached
    elif isinstance(command, AdoptRulebook):
        breached = state.watch.adopt(state.valuation).breached
    else:
        breached = state.watch.tick_valuation().breached
        if movement is not None and movement.weights:  # after the prices: other rules look at whom they concern alone
            breached = [*breached, *state.watch.adopt(state.valuation).breached]
    unhealed = state.watch.take_unhealed()
    return sorted({*breached, *unhealed, *_called_to_retry(state, movement)})


def _called_to_retry(state: State, movement: Movement | None) -> list[int]:
    """Return the accounts that could not be liquidated, and now perhaps can.

    A gate has moved, budget may be left, or the latest price of a line in doubt may have moved.
    """
    if not state.called:
        return []
    if movement is None or movement.gates:
        return [state.index[name] for name in state.called]
    renewed = guarded_names(state) | waiting_names(state)
    return [state.index[name] for name, blocked in state.called.items() if any(item in renewed for item in blocked)]


def _check_itself(state: State, watch: Watch) -> tuple[Event, ...]:
    """Compare the next accounts with an exact evaluation; a contradiction halts whatever adds risk."""
    if state.halted:
        return ()
    report = watch.audit_slice()
    if not report:
        return ()
    state.halted = report
    return (Halted(report=report),)


def liquidate(state: State, name: str) -> tuple[Event, ...]:
    """Reduce one account to its target level, cover what it cannot pay, and explain it in one event."""
    tx = Transaction(state)
    account = tx.account(name)
    before = measure(account, state.valuation, MAINTENANCE)
    if before.health >= 0:
        return ()  # healed since it was noted: by a deposit, or by what another liquidation has left
    health_target = measure(account, state.valuation, TARGET).health
    marks = {state.tables.markets[i].name: state.valuation.marks[i] for i in sorted(account.positions)}
    gate = liquidation_gate(state, account)
    if gate.blocked and not is_ill_at_best(state, account):
        call_if_blocked(tx, name)
        return tx.commit()
    _release_orders(tx, name)
    plan = plan_reduction(account, state.valuation, gate.allowance)
    steps = tuple(_book_close(tx, name, s) if isinstance(s, Close) else _book_sale(tx, name, s) for s in plan.steps)
    _require_as_planned(tx.account(name), plan.after, name)
    fund_paid, bad_debt = _cover_shortfall(tx, name)
    for step in plan.steps:
        if isinstance(step, Close):
            spend_budget(state, step.market, abs(step.size))
    if steps or fund_paid or bad_debt:
        tx.events.append(_explain(tx, name, before, health_target, marks, steps, fund_paid, bad_debt, gate.prices))
    # Without any step there was nothing to sell at a price that may be used: it stays below until there is.
    if state.oracle is not None or state.called:
        call_if_blocked(tx, name)
    return tx.commit()


def _release_orders(tx: Transaction, name: str) -> None:
    for key in tx.open_orders(name):
        tx.set_order(name, key, None)
        tx.events.append(OrderReleased(account=name, order=key, reason="liquidation"))


def _book_close(tx: Transaction, name: str, step: Close) -> LiquidationStep:
    """Trade the position to the liquidator at the planned price and take the penalty."""
    market = tx.state.tables.markets[step.market]
    taken = tx.fill(name, market, step.size, step.price)
    given = tx.fill(LIQUIDATOR, market, -step.size, step.price)
    tx.post_dust(market, taken.cost + given.cost)
    _share_penalty(tx, name, market.settle, step.penalty, market.market.liquidation.liquidator_share)
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


def _book_sale(tx: Transaction, name: str, step: Sale) -> LiquidationStep:
    """Swap a holding for the owed asset with the liquidator and take the penalty."""
    assets = tx.state.tables.assets
    tx.post(step.asset, name, LIQUIDATOR, step.amount, "collateral sold")
    tx.post(step.owed, LIQUIDATOR, name, step.proceeds, "debt repaid")
    share = assets[step.asset].asset.liquidation.liquidator_share
    _share_penalty(tx, name, step.owed, step.penalty, share)
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


def _share_penalty(tx: Transaction, name: str, asset: int, penalty: int, share: int) -> None:
    reward = rate_floor(penalty, share)
    tx.post(asset, name, LIQUIDATOR, reward, "liquidator's share of the penalty")
    tx.post(asset, name, INSURANCE_FUND, penalty - reward, "fund's share of the penalty")


def _require_as_planned(booked: Account, planned: Account, name: str) -> None:
    """Halt if the books differ from the plan: both ran the same rules, so a difference is a defect."""
    held = {index: p for index, p in booked.positions.items() if not p.is_empty}
    expected = {index: p for index, p in planned.positions.items() if not p.is_empty}
    if held != expected or booked.balances != planned.balances:
        raise InvariantViolation(f"liquidation of {name} booked {booked}, planned {planned}")


def _cover_shortfall(tx: Transaction, name: str) -> tuple[int, int]:
    """Let the fund pay what an empty account owes, record the rest as bad debt; return both in reporting units.

    The fund pays in the asset owed, and where it has too little of that, by buying it from the liquidator at its price
    with the reporting asset.
    """
    account = tx.account(name)
    if any(p.size for p in account.positions.values()) or any(b > 0 for b in account.balances.values()):
        return 0, 0
    paid_total = bad_total = 0
    for asset, balance in sorted(account.balances.items()):
        if balance >= 0:
            continue
        paid = min(-balance, max(0, tx.ledger_balance(INSURANCE_FUND, asset)))
        tx.post(asset, INSURANCE_FUND, name, paid, "shortfall paid by the fund")
        paid += _buy_for_fund(tx, name, asset, -balance - paid)
        tx.post(asset, BAD_DEBT, name, -balance - paid, "shortfall nobody paid")
        paid_total -= _reporting(tx.state, asset, -paid)
        bad_total -= _reporting(tx.state, asset, balance + paid)
    return paid_total, bad_total


def _buy_for_fund(tx: Transaction, name: str, asset: int, owed: int) -> int:
    """Pay up to `owed` of an asset out of the fund's reporting asset; return how much of it was paid."""
    reporting, valuation = tx.state.tables.reporting, tx.state.valuation
    fund = max(0, tx.ledger_balance(INSURANCE_FUND, reporting))
    if owed <= 0 or asset == reporting or not fund or not valuation.prices[asset]:
        return 0
    bought = min(owed, convert_floor(fund, valuation.asset_y[asset], valuation.asset_x[asset]))
    price = -convert_floor(-bought, valuation.asset_x[asset], valuation.asset_y[asset])
    if price > fund:
        return 0
    tx.post(reporting, INSURANCE_FUND, LIQUIDATOR, price, "asset bought by the fund")
    tx.post(asset, LIQUIDATOR, name, bought, "shortfall paid by the fund")
    return bought


def _reporting(state: State, asset: int, amount: int) -> int:
    return convert_floor(amount, state.valuation.asset_x[asset], state.valuation.asset_y[asset])


def _explain(
    tx: Transaction,
    name: str,
    before: Measure,
    health_target: int,
    marks: dict[str, int],
    steps: tuple[LiquidationStep, ...],
    fund_paid: int,
    bad_debt: int,
    prices: tuple[PriceSeen, ...],
) -> Liquidated:
    index = tx.state.tables.asset_index
    return Liquidated(
        account=name,
        collateral=before.collateral,
        requirement=before.requirement,
        health_target=health_target,
        health_after=measure(tx.account(name), tx.state.valuation, TARGET).health,
        notional=sum(_reporting(tx.state, index[step.asset], step.value) for step in steps),
        penalty=sum(_reporting(tx.state, index[step.asset], step.penalty) for step in steps),
        fund_paid=fund_paid,
        bad_debt=bad_debt,
        marks=marks,
        steps=steps,
        rulebook=tx.state.rulebook_hash,
        prices=prices,
        postings=tx.take_postings(),
    )
