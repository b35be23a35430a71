"""Who has to be attended on the ladder after a command, in which order, and attending them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.scan import below
from marginkeep.clearing.commands import AdoptRulebook, PayFunding
from marginkeep.clearing.ladder import attend
from marginkeep.clearing.state import LIQUIDATOR
from marginkeep.rulebook.ladder_rules import CALLED
from marginkeep.rulebook.model import CALL, MAINTENANCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from marginkeep.clearing.commands import Command
    from marginkeep.clearing.events import Event
    from marginkeep.clearing.state import State
    from marginkeep.oracle.oracle import Movement


def attend_all(
    state: State, command: Command, movement: Movement | None, funded: Sequence[int] = ()
) -> tuple[Event, ...]:
    """Attend everybody whom a command that moved prices, funding, rules or time may concern."""
    concerned = _in_turn(state, _concerned(state, command, movement, funded))
    return attend_these(state, [state.names[index] for index in concerned])


def attend_these(state: State, names: Iterable[str]) -> tuple[Event, ...]:
    """Attend accounts in the order given, and tell the watch whom that has touched."""
    events: list[Event] = []
    touched: set[int] = set()
    for name in names:
        answered, changed = attend(state, name)
        events.extend(answered)
        if answered:
            touched.update(changed)
            state.served = state.index[name]
    if state.watch is not None and touched:
        state.watch.update(sorted({state.index[LIQUIDATOR], *touched}))
        state.watch.take_unhealed()  # whoever is still below has a standing, which is attended by itself
    return tuple(events)


def has_due(state: State) -> bool:
    """Tell whether the time of somebody on the ladder has come."""
    now_ns = state.now_ns
    return any(
        (0 < ill.due_ns <= now_ns) or (ill.deadline_ns is not None and ill.deadline_ns <= now_ns)
        for ill in state.ill.values()
    )


def _concerned(state: State, command: Command, movement: Movement | None, funded: Sequence[int]) -> set[int]:
    """Return who is below call, and who stands on the ladder and may have to move."""
    level = CALL if state.rulebook.ladder is not None and state.rulebook.ladder.calls is not None else MAINTENANCE
    found = _newly_ill(state, command, movement, funded, level)
    return found | {state.index[name] for name in state.ill}


def _newly_ill(
    state: State, command: Command, movement: Movement | None, funded: Sequence[int], level: int
) -> set[int]:
    if state.watch is None:
        if state.book.count < state.watch_from:
            return set(below(state.book, state.valuation, level))
        from marginkeep.book.watch import Watch

        state.watch = Watch(state.book, state.valuation)
        return set(state.watch.ill(include_called=level == CALL))
    watch = state.watch
    changes = []
    if isinstance(command, AdoptRulebook):
        changes.append(watch.adopt(state.valuation))
    elif not isinstance(command, PayFunding):
        changes.append(watch.tick_valuation())
    changes += [watch.funding_moved(market) for market in funded]
    if movement is not None and movement.weights:
        changes.append(watch.adopt(state.valuation))
    found = {*watch.take_unhealed()}
    for change in changes:
        found.update(change.breached, change.called if level == CALL else ())
    return found


def _in_turn(state: State, found: set[int]) -> list[int]:
    """Order accounts so that the one after the last that was served comes first: budgets are shared in rotation.

    Those whose call merely runs are left out: nothing but a price or a date moves them, and both are looked at here.
    """
    rising = sorted(found)
    later = [index for index in rising if index > state.served]
    return [index for index in (*later, *rising[: len(rising) - len(later)]) if _may_move(state, index)]


def _may_move(state: State, index: int) -> bool:
    ill = state.ill.get(state.names[index])
    if ill is None or ill.rung != CALLED or state.watch is None:
        return True
    is_due = 0 < ill.due_ns <= state.now_ns or (ill.deadline_ns or 0) <= state.now_ns
    return is_due or not state.watch.is_called(index)
