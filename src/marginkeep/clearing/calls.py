"""Margin calls where liquidation must wait, and early ones for prices that have been announced.

Maintenance is computed at prices that liquidation may use. Calls look further: at the latest prices too, so that while
a market is halted, or its price in doubt, whoever it will liquidate afterwards can top up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.health import measure
from marginkeep.book.scan import below
from marginkeep.clearing.events import Event, MarginCalled
from marginkeep.clearing.gates import liquidation_gate
from marginkeep.rulebook.model import MAINTENANCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marginkeep.book.valuation import Valuation
    from marginkeep.clearing.gates import Seen
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction


def call_if_blocked(tx: Transaction, name: str) -> None:
    """Call an account that is still below maintenance because a price or a state keeps the rest from being sold.

    Called once for the same obstacles; when they change, again.
    """
    state, account = tx.state, tx.account(name)
    left = measure(account, state.valuation, MAINTENANCE)
    gate = liquidation_gate(state, account) if left.health < 0 else None
    if gate is None or not gate.blocked:
        state.called.pop(name, None)
        return
    if state.called.get(name) == gate.blocked:
        return
    state.called[name] = gate.blocked
    because = f"it is below maintenance and liquidation waits ({_reasons(gate)}): top it up by the amount missing"
    tx.events.append(MarginCalled(account=name, missing=-left.health, because=because, prices=gate.prices))


def _reasons(gate: Seen) -> str:
    return "; ".join(f"{seen.name}: {seen.blocked}" for seen in gate.prices if seen.blocked)


def latest_prices(state: State) -> Valuation | None:
    """Return the prices that calls look at: the latest where liquidation may not use it; None where nothing waits."""
    markets, assets = state.oracle.waiting() if state.oracle is not None else ([], [])
    if not markets and not assets:
        return None
    latest = state.valuation.copy()
    for market in markets:
        latest.set_mark(market.index, market.latest)
    for asset in assets:
        latest.set_price(asset.index, asset.latest)
    return latest


def call_at_latest(state: State) -> tuple[Event, ...]:
    """Call every account, once, that only the latest prices put below maintenance, in account order."""
    latest = latest_prices(state)
    if latest is None:
        return ()
    assert state.oracle is not None
    markets, assets = state.oracle.waiting()
    waiting = tuple(line.name for line in (*markets, *assets))
    events = []
    for index in below(state.book, latest, MAINTENANCE):
        name, account = state.names[index], state.book.read(index)
        if name in state.called or measure(account, state.valuation, MAINTENANCE).health < 0:
            continue
        gate = liquidation_gate(state, account)
        state.called[name] = gate.blocked or waiting  # held by none of them: what a position settles in
        events.append(
            MarginCalled(
                account=name,
                missing=-measure(account, latest, MAINTENANCE).health,
                because=f"it is below maintenance at the latest prices, which liquidation may not use yet "
                f"({_reasons(gate)}): top it up by the amount missing",
                prices=gate.prices,
            )
        )
    return tuple(events)


def forget_healed(state: State, names: Iterable[str]) -> None:
    """Forget the calls of those accounts that are back above maintenance, so that another fall is another call."""
    latest = latest_prices(state)
    for name in names:
        account = state.book.read(state.index[name])
        healthy = measure(account, state.valuation, MAINTENANCE).health >= 0
        if healthy and (latest is None or measure(account, latest, MAINTENANCE).health >= 0):
            del state.called[name]


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
