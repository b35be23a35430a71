"""Margin calls with a deadline: issued with the exact cures, reminded, cancelled when they are cured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.clearing.booking import reporting
from marginkeep.clearing.events import CallCured, CallReminded, CloseAsked, DepositAsked, MarginCalled
from marginkeep.clearing.pacing import impacts_of
from marginkeep.liquidation import Allowance, Close, plan_reduction
from marginkeep.liquidation.cures import find_cures, missing_health
from marginkeep.liquidation.reduction import slippage_of
from marginkeep.liquidation.soft import SoftCost, soft_cost

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.clearing.ill import Ill
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.rulebook.ladder_rules import CallRules, LadderRules


def issue_call(tx: Transaction, name: str, ill: Ill, ladder: LadderRules) -> None:
    """Call an account: what it lacks, what cures it, until when, and what waiting is expected to cost."""
    rules = ladder.calls
    assert rules is not None
    state, account = tx.state, tx.account(name)
    ill.deadline_ns = state.now_ns + rules.deadline_ns
    ill.due_ns = _next_due(rules, ill)
    cures = find_cures(account, state.valuation)
    assets, markets = state.tables.assets, state.tables.markets
    cost = _cost_of_waiting(state, account, ladder)
    tx.events.append(
        MarginCalled(
            account=name,
            missing=-missing_health(account, state.valuation),
            because="it is below its call level: any one of the deposits or closes named cures it",
            prices=(),
            deadline_ns=ill.deadline_ns,
            deposits=tuple(DepositAsked(assets[cure.asset].name, cure.amount, cure.value) for cure in cures.deposits),
            closes=tuple(CloseAsked(markets[c.market].name, c.size, c.price, c.cost) for c in cures.closes),
            soft_cost=cost.expected if cost else 0,
            soft_cost_high=cost.high if cost else 0,
        )
    )


def remind(tx: Transaction, name: str, ill: Ill, rules: CallRules) -> None:
    """Remind the owner of a call whose deadline comes near: once, where several reminders have come due together."""
    ill.due_ns = _next_due(rules, ill)
    while 0 < ill.due_ns <= tx.state.now_ns and ill.reminded < len(rules.reminders_ns):
        ill.reminded += 1
        ill.due_ns = _next_due(rules, ill)
    assert ill.deadline_ns is not None
    missing = -missing_health(tx.account(name), tx.state.valuation)
    tx.events.append(CallReminded(account=name, missing=missing, deadline_ns=ill.deadline_ns))


def cancel_call(tx: Transaction, name: str) -> None:
    """Tell the owner that the call is cured."""
    tx.events.append(CallCured(account=name))


def _next_due(rules: CallRules, ill: Ill) -> int:
    """Return the time of the next reminder, or the deadline."""
    assert ill.deadline_ns is not None
    if ill.reminded < len(rules.reminders_ns):
        return ill.deadline_ns - rules.reminders_ns[ill.reminded]
    return ill.deadline_ns


def _cost_of_waiting(state: State, account: Account, ladder: LadderRules) -> SoftCost | None:
    """Return what soft liquidation of what is missing now is expected to cost; None where there is no soft rung."""
    if ladder.soft is None or ladder.calls is None:
        return None
    allowance = Allowance(impacts=impacts_of(state))
    value = slippage = 0
    for step in plan_reduction(account, state.valuation, allowance).steps:
        if isinstance(step, Close):
            market = state.tables.markets[step.market]
            value += reporting(state, market.settle, step.value)
            slippage = max(slippage, slippage_of(market, abs(step.size), allowance))
    return soft_cost(ladder.soft, value, slippage, ladder.calls.volatility)
