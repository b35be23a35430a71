"""Margin calls where liquidation must wait, and early ones for prices that have been announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.health import measure
from marginkeep.book.scan import below
from marginkeep.clearing.events import Event, MarginCalled
from marginkeep.clearing.gates import liquidation_gate
from marginkeep.rulebook.model import MAINTENANCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.clearing.gates import OpenInterest
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction


def call_if_blocked(tx: Transaction, name: str, interest: OpenInterest) -> None:
    """Call an account that is still below maintenance because a price or a state keeps the rest from being sold.

    Called once for the same obstacles; when they change, again.
    """
    state, account = tx.state, tx.account(name)
    left = measure(account, state.valuation, MAINTENANCE)
    gate = liquidation_gate(state, account, interest) if left.health < 0 else None
    if gate is None or not gate.blocked:
        state.called.pop(name, None)
        return
    if state.called.get(name) == gate.blocked:
        return
    state.called[name] = gate.blocked
    reasons = "; ".join(f"{seen.name}: {seen.blocked}" for seen in gate.prices if seen.blocked)
    tx.events.append(
        MarginCalled(
            account=name,
            missing=-left.health,
            because=f"it is below maintenance and liquidation waits ({reasons}): top it up by the amount missing",
            prices=gate.prices,
        )
    )


def call_early(state: State, announced: Mapping[int, tuple[int, int]]) -> tuple[Event, ...]:
    """Call every account that is healthy now and will not be at the prices announced, in account order."""
    coming = state.valuation.copy()
    for asset, (ticks, _) in announced.items():
        coming.set_price(asset, ticks)
    now = set(below(state.book, state.valuation, MAINTENANCE))
    names = ", ".join(
        f"{state.tables.assets[asset].name} at {ticks} ticks from {at_ns} ns on"
        for asset, (ticks, at_ns) in announced.items()
    )
    assert state.oracle is not None
    prices = tuple(state.oracle.evidence.seen(state.oracle.assets[asset], state.now_ns) for asset in announced)
    return tuple(
        MarginCalled(
            account=state.names[index],
            missing=-measure(state.book.read(index), coming, MAINTENANCE).health,
            because=f"it will be below maintenance at the prices announced ({names}): top it up before then",
            prices=prices,
        )
        for index in below(state.book, coming, MAINTENANCE)
        if index not in now
    )
