"""The ladder: who is ill goes from rung to rung, by its health and by time, until it is healed or closed.

Each account that is not healthy has a standing (`Ill`). Attending it moves it to the rung where it belongs and does
what that rung does, again and again until it stays: a price may jump past several rungs at once. Every command that
moves prices or time attends all who are newly ill, whose time has come, or who are in forced reduction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from marginkeep.clearing.booking import book_close, book_sale, explain, release_orders, require_as_planned
from marginkeep.clearing.calls import call_if_blocked
from marginkeep.clearing.events import RungChanged
from marginkeep.clearing.gates import is_ill_at_best, liquidation_gate, spend_budget
from marginkeep.clearing.ill import Ill
from marginkeep.clearing.margin_calls import cancel_call, issue_call, remind
from marginkeep.clearing.pacing import bounded, note_closed, soft_step
from marginkeep.clearing.transaction import Transaction
from marginkeep.errors import InvariantViolation
from marginkeep.liquidation import Close, plan_reduction
from marginkeep.liquidation.incentive import heals, settled_measure
from marginkeep.liquidation.rungs import health_factor, next_rung, standing_of
from marginkeep.liquidation.soft import due_share, next_step_ns
from marginkeep.rulebook.ladder_rules import AUCTION, BANKRUPT, CALLED, CLOSED, HEALTHY, PARTIAL, RUNGS, SOFT
from marginkeep.rulebook.model import MAINTENANCE

if TYPE_CHECKING:
    from marginkeep.clearing.events import Event, LiquidationStep
    from marginkeep.clearing.state import State
    from marginkeep.liquidation import Allowance, Sale
    from marginkeep.liquidation.rungs import Standing
    from marginkeep.oracle.price_seen import PriceSeen
    from marginkeep.rulebook.ladder_rules import LadderRules

ROUNDS_MAX = 2 * len(RUNGS)
"""An account that changes its rung more often within one command runs in circles: a defect."""

_ACTIONS = {SOFT: "soft", AUCTION: "auction"}
"""What the rulebook's table of actions calls a rung; the others liquidate."""


def attend(state: State, name: str) -> tuple[tuple[Event, ...], list[int]]:
    """Move one account to the rung where it belongs and do what it asks; return events and the accounts touched."""
    ladder = state.rulebook.ladder
    assert ladder is not None
    tx = Transaction(state)
    ill = state.ill.get(name)
    known = ill is not None
    ill = ill or Ill(HEALTHY, state.now_ns)
    for _ in range(ROUNDS_MAX):
        standing = standing_of(tx.account(name), state.valuation)
        factor = health_factor(standing.maintenance)
        rung = next_rung(ill.rung, standing, factor, ladder, state.now_ns, ill.deadline_ns)
        entered = rung != ill.rung
        if entered:
            _enter(tx, name, ill, rung)
        if not _act(tx, name, ill, standing, ladder, entered):
            break
    else:
        raise InvariantViolation(f"{name} was moved {ROUNDS_MAX} times in one command and is still {RUNGS[ill.rung]}")
    if ill.rung in (HEALTHY, CLOSED):
        state.ill.pop(name, None)
        state.called.pop(name, None)
    elif known or ill.rung:
        state.ill[name] = ill
    return tx.commit(), tx.touched()


def _enter(tx: Transaction, name: str, ill: Ill, rung: int) -> None:
    """Begin another rung; what belonged to the old one is forgotten."""
    if ill.rung == CALLED and rung == HEALTHY:
        cancel_call(tx, name)
    if rung != CALLED:
        before, after = RUNGS[ill.rung], RUNGS[rung]
        tx.events.append(RungChanged(account=name, before=before, after=after))
    ill.rung, ill.since_ns, ill.due_ns, ill.reduced, ill.auction = rung, tx.state.now_ns, 0, 0, None
    if rung != CALLED:
        ill.deadline_ns, ill.reminded = None, 0


def _act(tx: Transaction, name: str, ill: Ill, standing: Standing, ladder: LadderRules, entered: bool) -> bool:
    """Do what a rung asks; tell whether the account must be looked at again."""
    now_ns = tx.state.now_ns
    is_due = 0 < ill.due_ns <= now_ns
    if ill.rung == CALLED:
        if entered:
            issue_call(tx, name, ill, ladder)
        elif is_due and ladder.calls is not None:
            remind(tx, name, ill, ladder.calls)
        return False
    if ill.rung == SOFT:
        return (entered or is_due) and _soften(tx, name, ill, ladder)
    if ill.rung == PARTIAL:
        return _force(tx, name, ill, None)
    if ill.rung == AUCTION:
        return _auction(tx, name, ill, standing, is_due)
    if ill.rung == BANKRUPT:
        return _bear(tx, name, ill)
    return False


def _soften(tx: Transaction, name: str, ill: Ill, ladder: LadderRules) -> bool:
    """Take a soft step: the share that is due by now, beyond what has been done.

    Where slippage alone costs more than a step heals, pacing makes it worse: then all of it is due at once.
    """
    rules, valuation = ladder.soft, tx.state.valuation
    assert rules is not None
    due = due_share(rules, ill.since_ns, tx.state.now_ns)
    ill.due_ns = next_step_ns(rules, ill.since_ns, tx.state.now_ns) or tx.state.now_ns + rules.step_ns
    before = settled_measure(tx.account(name), valuation, MAINTENANCE)
    if not _force(tx, name, ill, due):
        return False
    ill.reduced = due
    if not heals(before, settled_measure(tx.account(name), valuation, MAINTENANCE)):
        _enter(tx, name, ill, PARTIAL)
    return True


def _auction(tx: Transaction, name: str, ill: Ill, standing: Standing, is_due: bool) -> bool:
    """Begin an auction, or end one whose time is over: then the house takes the rest."""
    from marginkeep.clearing import auctioning

    if ill.auction is None:
        auctioning.begin(tx, name, ill, standing)
        return False
    if not is_due or auctioning.expire(tx, name, ill) != "house":
        return False
    return _force(tx, name, ill, None)


def _bear(tx: Transaction, name: str, ill: Ill) -> bool:
    """Close a bankrupt account: winners and the liquidator take its positions, the waterfall bears what it owes."""
    from marginkeep.clearing.deleverage import deleverage
    from marginkeep.clearing.waterfall import cover

    gate = liquidation_gate(tx.state, tx.account(name))
    if gate.blocked:
        call_if_blocked(tx, name)
        return False
    before = tx.account(name).copy()
    release_orders(tx, name)
    deleverage(tx, name)
    _force(tx, name, ill, None, whole=True)
    cover(tx, name)
    return tx.account(name) != before


def _force(tx: Transaction, name: str, ill: Ill, soft_due: int | None, whole: bool = False) -> bool:
    """Reduce an account as far as prices and budgets allow; tell whether anything was done.

    Parameters
    ----------
    soft_due : the share of the reduction that is due; None = all of it
    whole : budgets do not bound it: its owner can lose nothing more, others can
    """
    state, account = tx.state, tx.account(name)
    standing = standing_of(account, state.valuation)
    gate = liquidation_gate(state, account, _ACTIONS.get(ill.rung, "liquidate"))
    if gate.blocked and not is_ill_at_best(state, account):
        call_if_blocked(tx, name)
        return False
    release_orders(tx, name)
    allowance = replace(gate.allowance, heals=True)
    allowance, _, renews_ns = (allowance, (), 0) if whole else bounded(state, account, allowance)
    if soft_due is not None:
        allowance = _softened(tx, name, ill, allowance, soft_due)
    steps = _book(tx, name, allowance, standing, gate.prices, RUNGS[ill.rung])
    if renews_ns and not steps:
        ill.due_ns = renews_ns
    if state.oracle is not None or state.called:
        call_if_blocked(tx, name)
    return bool(steps)


def _softened(tx: Transaction, name: str, ill: Ill, allowance: Allowance, due: int) -> Allowance:
    """Bound an allowance to a soft step, at the penalty of the soft rung."""
    ladder = tx.state.rulebook.ladder
    assert ladder is not None
    assert ladder.soft is not None
    paced = replace(allowance, penalty=ladder.soft.penalty)
    return soft_step(tx.state, tx.account(name), paced, due, ill.reduced)


def _book(
    tx: Transaction, name: str, allowance: Allowance, standing: Standing, prices: tuple[PriceSeen, ...], rung: str
) -> int:
    """Plan and book a reduction, and explain it; return how many steps it took."""
    state, account = tx.state, tx.account(name)
    marks = {state.tables.markets[i].name: state.valuation.marks[i] for i in sorted(account.positions)}
    plan = plan_reduction(account, state.valuation, allowance)
    steps = tuple(_book_step(tx, name, step) for step in plan.steps)
    require_as_planned(tx.account(name), plan.after, name)
    for step in plan.steps:
        if isinstance(step, Close):
            spend_budget(state, step.market, abs(step.size))
            note_closed(state, step.market, abs(step.size))
    if steps:
        event = explain(tx, name, standing.maintenance, standing.target.health, marks, steps, 0, 0, prices, rung)
        tx.events.append(event)
    return len(steps)


def _book_step(tx: Transaction, name: str, step: Close | Sale) -> LiquidationStep:
    """Book one step; halt if it takes a penalty and does not leave the account with a better health factor.

    A step without a penalty may harm where slippage alone costs more than it heals: then the account goes on, step by
    step, to be closed.
    """
    valuation = tx.state.valuation
    before = settled_measure(tx.account(name), valuation, MAINTENANCE)
    booked = book_close(tx, name, step) if isinstance(step, Close) else book_sale(tx, name, step)
    if step.penalty:
        after = settled_measure(tx.account(name), valuation, MAINTENANCE)
        if not heals(before, after):
            raise InvariantViolation(f"{step} took the settled measure of {name} from {before} to {after}")
    return booked
