"""Finding who is below maintenance and booking what the liquidation floor has planned for them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from marginkeep.book.health import measure
from marginkeep.book.scan import below
from marginkeep.clearing.booking import book_close, book_planned, book_sale, explain, release_orders, require_as_planned
from marginkeep.clearing.calls import call_at_latest, call_early, call_if_blocked, forget_healed
from marginkeep.clearing.commands import AdoptRulebook, PayFunding
from marginkeep.clearing.events import Event, Halted, Liquidated
from marginkeep.clearing.gates import guarded_names, is_ill_at_best, liquidation_gate, spend_budget, waiting_names
from marginkeep.clearing.state import LIQUIDATOR, State
from marginkeep.clearing.transaction import Transaction
from marginkeep.clearing.waterfall import cover_shortfall
from marginkeep.liquidation import Close, plan_reduction
from marginkeep.rulebook.model import MAINTENANCE, TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from marginkeep.book.account import Account
    from marginkeep.book.watch import Watch
    from marginkeep.clearing.commands import Command
    from marginkeep.clearing.events import LiquidationStep
    from marginkeep.liquidation import Allowance
    from marginkeep.liquidation.batch_plans import BatchPlans, Planned
    from marginkeep.oracle.oracle import Movement


BATCH_FROM: Final = 256
"""Accounts below maintenance from which they are planned together: the kernel takes seconds to compile once."""


def enforce(
    state: State, command: Command, movement: Movement | None = None, funded: Sequence[int] = ()
) -> tuple[Event, ...]:
    """Liquidate every account that the new prices, funding, rules or states have brought below maintenance.

    In account order, each in a transaction of its own. Small books are scanned; large ones have a watch, which finds
    the same accounts at the cost of what changed and checks itself against an exact evaluation as it goes. An account
    whose prices may not be liquidated at is called instead, and tried again when they may; so is one that only the
    latest prices, which liquidation may not use yet, put below maintenance.

    Parameters
    ----------
    funded : markets whose funding index has moved
    """
    if state.rulebook.ladder is not None:
        return _climb(state, command, movement, funded)
    events: list[Event] = []
    breached = _find_breached(state, command, movement, funded)
    forget_healed(state, list(state.called))
    if breached:
        plans = _plan_ahead(state, breached)
        with shared_liquidator(state) as shared:
            for index in breached:
                events.extend(liquidate(state, state.names[index], shared, plans.of(index) if plans else None))
    events.extend(call_at_latest(state))
    if movement is not None and movement.announced:
        events.extend(call_early(state, movement.announced))
    if state.watch is None:
        return tuple(events)
    liquidated = [state.index[event.account] for event in events if isinstance(event, Liquidated)]
    if liquidated:
        state.watch.update([state.index[LIQUIDATOR], *liquidated])
    return (*events, *_check_itself(state, state.watch))


def _climb(state: State, command: Command, movement: Movement | None, funded: Sequence[int]) -> tuple[Event, ...]:
    """Do the same where the rulebook has a ladder: everybody concerned is attended."""
    from marginkeep.clearing.attendance import attend_all

    forget_healed(state, list(state.called))
    events = [*attend_all(state, command, movement, funded), *call_at_latest(state)]
    if movement is not None and movement.announced:
        events.extend(call_early(state, movement.announced))
    return (*events, *(() if state.watch is None else _check_itself(state, state.watch)))


def _find_breached(state: State, command: Command, movement: Movement | None, funded: Sequence[int]) -> list[int]:
    """Return the indices of accounts below maintenance that may have to be liquidated now, rising."""
    if state.watch is None:
        if state.book.count < state.watch_from:
            return below(state.book, state.valuation, MAINTENANCE)
        from marginkeep.book.watch import Watch

        state.watch = Watch(state.book, state.valuation)
        return state.watch.breached()
    breached: list[int] = []
    if isinstance(command, AdoptRulebook):
        state.watch.adopt(state.valuation)
        breached = state.watch.breached()  # those whom only the old rules did not liquidate at once, too
    elif not isinstance(command, PayFunding):
        breached = state.watch.tick_valuation().breached
    for market in funded:
        breached = [*breached, *state.watch.funding_moved(market).breached]
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


@contextmanager
def shared_liquidator(state: State) -> Iterator[dict[str, Account]]:
    """Keep the liquidator's account out of the book while many are liquidated to it: it may hold every market."""
    index = state.index[LIQUIDATOR]
    shared = {LIQUIDATOR: state.book.read(index)}
    yield shared
    state.book.write(index, shared[LIQUIDATOR])


def _plan_ahead(state: State, breached: list[int]) -> BatchPlans | None:
    """Plan all reductions at once where there are many: one liquidation changes nothing that another depends on."""
    if len(breached) < BATCH_FROM:
        return None
    from marginkeep.liquidation.batch_plans import BatchPlans

    return BatchPlans(state.book, state.valuation, breached)


def liquidate(
    state: State, name: str, shared: Mapping[str, Account], planned: Planned | None = None
) -> tuple[Event, ...]:
    """Reduce one account to its target level, cover what it cannot pay, and explain it in one event.

    Parameters
    ----------
    planned : its measure and its closes at present prices, where they are known and it may be closed without bounds
    """
    tx = Transaction(state, shared)
    account = tx.account(name)
    before = planned.before if planned else measure(account, state.valuation, MAINTENANCE)
    if before.health >= 0:
        return ()  # healed since it was noted: by a deposit, or by what another liquidation has left
    health_target = planned.health_target if planned else measure(account, state.valuation, TARGET).health
    markets, latest = state.tables.markets, state.valuation.marks
    marks = {markets[index].name: latest[index] for index in sorted(account.positions)}
    gate = liquidation_gate(state, account)
    if gate.blocked and not is_ill_at_best(state, account):
        call_if_blocked(tx, name)
        return tx.commit()
    release_orders(tx, name)
    if planned is None or not gate.allowance.is_everything:
        planned = None
        steps = _reduce(tx, name, gate.allowance)
    else:
        steps = book_planned(tx, name, planned)
    fund_paid, bad_debt = cover_shortfall(tx, name)
    if steps or fund_paid or bad_debt:
        health_after = planned.health_after if planned and not (fund_paid or bad_debt) else None
        event = explain(
            tx, name, before, health_target, marks, steps, fund_paid, bad_debt, gate.prices, health_after=health_after
        )
        tx.events.append(event)
    # Without any step there was nothing to sell at a price that may be used: it stays below until there is.
    if state.oracle is not None or state.called:
        call_if_blocked(tx, name)
    return tx.commit()


def _reduce(tx: Transaction, name: str, allowance: Allowance) -> tuple[LiquidationStep, ...]:
    """Plan and book the reduction of one account, as far as it is allowed."""
    state = tx.state
    plan = plan_reduction(tx.account(name), state.valuation, allowance)
    steps = tuple(book_close(tx, name, s) if isinstance(s, Close) else book_sale(tx, name, s) for s in plan.steps)
    require_as_planned(tx.account(name), plan.after, name)
    for step in plan.steps:
        if isinstance(step, Close):
            spend_budget(state, step.market, abs(step.size))
    return steps
