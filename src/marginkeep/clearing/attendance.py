"""Who has to be attended on the ladder after a command, in which order, and attending them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.health import measure
from marginkeep.book.scan import below
from marginkeep.clearing.commands import AdoptRulebook, PayFunding
from marginkeep.clearing.events import Liquidated
from marginkeep.clearing.ladder import attend
from marginkeep.clearing.state import LIQUIDATOR
from marginkeep.rulebook.ladder_rules import CALLED
from marginkeep.rulebook.model import CALL, MAINTENANCE, TARGET

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from marginkeep.clearing.commands import Command
    from marginkeep.clearing.events import Event
    from marginkeep.clearing.state import State
    from marginkeep.oracle.oracle import Movement


def attend_all(
    state: State, command: Command, movement: Movement | None, funded: Sequence[int] = ()
) -> tuple[Event, ...]:
    """Attend everybody whom a command that moved prices, funding, rules or time may concern."""
    concerned = _concerned(state, command, movement, funded)
    resting = _merely_called(state, concerned)
    return attend_these(state, [state.names[index] for index in _in_turn(state, concerned)], resting)


def attend_these(state: State, names: Iterable[str], resting: Container[int] = ()) -> tuple[Event, ...]:
    """Attend accounts in the order given, then those whom that has made ill: who bears a loss, who was deleveraged.

    At most one round more than there are markets; whoever is made ill by the last is attended with the next command.

    Parameters
    ----------
    resting : those for whom there is nothing to be done as they are: passed over, unless their turn comes after
        another's has changed them
    """
    events: list[Event] = []
    turn = list(names)
    for _ in range(1 + len(state.tables.markets)):
        touched: set[int] = set()
        for name in turn:
            index = state.index[name]
            if index in resting and index not in touched and not state.moved:
                continue
            answered, changed = attend(state, name)
            events.extend(answered)
            if answered:
                touched.update(changed)
            if any(isinstance(event, Liquidated) for event in answered):  # who was only called has used no budget
                state.served = index
        turn = _made_ill(state, touched) if touched else []
        if not turn:
            break
    if turn and state.watch is not None:
        state.watch.update([state.index[name] for name in turn])  # it keeps them for the next command
    return tuple(events)


def _made_ill(state: State, touched: set[int]) -> list[str]:
    """Tell the watch what a round has changed; return who is ill now and has no standing yet, in account order.

    Whoever has a standing is attended by itself, with the next command that moves prices or time.
    """
    moved, state.moved = state.moved, []
    found: set[int] = set()
    if state.watch is None:
        ill = below(state.book, state.valuation, _level(state)) if moved else sorted(touched)
        found.update(i for i in ill if i in touched or not set(moved).isdisjoint(state.book.read(i).positions))
        found = {i for i in found if measure(state.book.read(i), state.valuation, _level(state)).health < 0}
    else:
        changes = [state.watch.funding_moved(market) for market in moved]
        changes.append(state.watch.update(sorted({state.index[LIQUIDATOR], *touched})))
        state.watch.take_unhealed()
        for change in changes:
            found.update(change.breached, change.called if _level(state) == CALL else ())
    return [state.names[index] for index in sorted(found) if state.names[index] not in state.ill]


def has_due(state: State) -> bool:
    """Tell whether the time of somebody on the ladder has come."""
    now_ns = state.now_ns
    return any(
        (0 < ill.due_ns <= now_ns) or (ill.deadline_ns is not None and ill.deadline_ns <= now_ns)
        for ill in state.ill.values()
    )


def _concerned(state: State, command: Command, movement: Movement | None, funded: Sequence[int]) -> set[int]:
    """Return who is below call, and who stands on the ladder and may have to move."""
    found = _newly_ill(state, command, movement, funded, _level(state))
    return found | {state.index[name] for name in state.ill}


def _level(state: State) -> int:
    """Return the level below which an account has to be attended."""
    return CALL if state.rulebook.ladder is not None and state.rulebook.ladder.calls is not None else MAINTENANCE


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
    found: set[int] = set()
    if isinstance(command, AdoptRulebook):
        changes.append(watch.adopt(state.valuation))
        found.update(watch.ill(include_called=level == CALL))  # those whom only the old rules did not call, too
    elif not isinstance(command, PayFunding):
        changes.append(watch.tick_valuation())
    changes += [watch.funding_moved(market) for market in funded]
    if movement is not None and movement.weights:
        changes.append(watch.adopt(state.valuation))
    found.update(watch.take_unhealed())
    for change in changes:
        found.update(change.breached, change.called if level == CALL else ())
    return found


def _in_turn(state: State, found: set[int]) -> list[int]:
    """Order accounts so that the one after the last that was served comes first: budgets are shared in rotation."""
    rising = sorted(found)
    later = [index for index in rising if index > state.served]
    return [*later, *rising[: len(rising) - len(later)]]


def _merely_called(state: State, found: set[int]) -> set[int]:
    """Return those whose call neither is due nor is cured: below call, or above it and still below the target.

    Nothing but a price, a date or another's turn moves them; without a watch to ask, everybody is looked at.
    """
    if state.watch is None:
        return set()
    running = [index for index in sorted(found) if _runs_on(state, index)]
    below_call = {index for index in running if state.watch.is_called(index)}
    above = [index for index in running if not state.watch.statuses[index]]
    if not above:
        return below_call
    from marginkeep.book.kernels import measure_listed

    collateral, requirement = measure_listed(state.book, state.valuation, TARGET, above)
    return below_call | {above[row] for row in (collateral < requirement).nonzero()[0].tolist()}


def _runs_on(state: State, index: int) -> bool:
    """Tell whether an account is called, and no time of its call has come."""
    ill = state.ill.get(state.names[index])
    if ill is None or ill.rung != CALLED:
        return False
    return not (0 < ill.due_ns <= state.now_ns or (ill.deadline_ns or 0) <= state.now_ns)
