"""The books and the watch checked in full, on a copy, while the house goes on: a contradiction halts everything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from marginkeep.book.scan import below
from marginkeep.clearing import check_conservation, restore_snapshot
from marginkeep.clearing.snapshot import capture_snapshot
from marginkeep.errors import InputError, InvariantViolation
from marginkeep.rulebook.model import CALL, MAINTENANCE
from marginkeep.service.operations.pulse import BackgroundTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marginkeep.clearing import Clearinghouse
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.context import ServiceContext

REST_SHARE: Final = 20
"""A check is followed by a rest of at least this many times its own length."""

_log = structlog.get_logger("marginkeep.self_check")


class Copy(NamedTuple):
    """What is checked.

    Attributes
    ----------
    sequence : of the last record it takes in
    finish : makes the snapshot's bytes
    interest : open interest as it is kept, which a restored house counts anew
    statuses : of the accounts, as the watch has them; None where nobody watches, or where it is known to be wrong
    """

    sequence: int
    rulebook: Rulebook
    finish: Callable[[], bytes]
    interest: Sequence[int]
    statuses: Any


def copy_for_check(house: Clearinghouse, sequence: int) -> Copy:
    """Copy the state, between two commands."""
    state = house.state
    watched = state.watch is not None and not state.halted
    statuses = state.watch.statuses[: state.book.count].copy() if state.watch is not None and watched else None
    return Copy(sequence, state.rulebook, capture_snapshot(house), tuple(state.open_interest), statuses)


def contradiction_in(copy: Copy) -> str:
    """Return what is wrong with a copy, empty = nothing; for a thread."""
    try:
        house = restore_snapshot(copy.rulebook, copy.finish())
        check_conservation(house)
    except InputError as error:
        return f"the state cannot be restored from its own snapshot: {error}"
    except InvariantViolation as error:
        return str(error)
    if list(copy.interest) != house.state.open_interest:
        return f"open interest is {house.state.open_interest}, kept as {list(copy.interest)}"
    return "" if copy.statuses is None else _watch_against_scan(house, copy.statuses)


def _watch_against_scan(house: Clearinghouse, statuses: Any) -> str:
    """Compare the watch with the separate full scan that is its reference."""
    from marginkeep.book.watch_budget import BREACHED, CALLED, HEALTHY

    state = house.state
    truth = dict.fromkeys(below(state.book, state.valuation, CALL), CALLED)
    truth.update(dict.fromkeys(below(state.book, state.valuation, MAINTENANCE), BREACHED))
    for index, status in enumerate(statuses.tolist()):
        if status != truth.get(index, HEALTHY):
            return (
                f"the watch has account {state.names[index]!r} as {status}, a full scan as "
                f"{truth.get(index, HEALTHY)} (0 healthy, 1 called, 2 breached)"
            )
    return ""


class SelfCheck(BackgroundTask):
    """Checks at an interval, and halts the writer where something is wrong.

    Attributes
    ----------
    sequence : last record that a check has found in order; 0 = none has yet
    found : what was wrong; empty = nothing
    """

    def __init__(self, context: ServiceContext, seconds: float) -> None:
        super().__init__()
        self._context, self._seconds = context, seconds
        self.sequence, self.found = 0, ""

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        rest = self._seconds
        while not self.found:
            await asyncio.sleep(rest)
            began = loop.time()
            try:
                await self.check()
            except Exception as error:
                _log.error("the self-check could not be made", error=repr(error), exc_info=error)
            rest = max(self._seconds, REST_SHARE * (loop.time() - began))

    async def check(self) -> str:
        """Check once, halt where that is due, and return what is wrong; empty = nothing."""
        context = self._context
        copy = copy_for_check(context.house, context.durable.head.sequence)
        self.found = await asyncio.to_thread(contradiction_in, copy)
        if self.found:
            context.writer.halt(InvariantViolation(f"the self-check at record {copy.sequence}: {self.found}"))
        else:
            self.sequence = copy.sequence
        return self.found
