"""What follows when nothing more may be accepted: the state goes back to what is durable, or the service ends.

A service that was fenced out ends at once, and so does one that has lost the server of its journal, or whose journal
cannot even be read: its supervisor starts it anew, and clients retry by key. One whose own disk has failed, whose
server's disk is full, or whose self-check has found a contradiction, stays up to be read until somebody has looked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from marginkeep.errors import FencedOut, InvariantViolation, JournalFull, JournalStalled, MarginkeepError
from marginkeep.journal.recovery import restore
from marginkeep.service.operations.pulse import BackgroundTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.journal.command_log import CommandLog
    from marginkeep.service.context import ServiceContext

_RETRY: Final = "retry in a moment, with the same idempotency key"
_log = structlog.get_logger("marginkeep.halting")


def words_for_callers(trouble: MarginkeepError, log: CommandLog) -> str:
    """Return why nothing more is accepted, without what is the operator's alone."""
    if isinstance(trouble, FencedOut):
        return f"another service has taken the journal over, and this one ends: {_RETRY}"
    if isinstance(trouble, InvariantViolation):
        return "the self-check has found a contradiction, and nothing new is accepted: tell the operator"
    if log.is_remote and isinstance(trouble, JournalFull):
        return "nothing new is accepted: the disk of the journal's server is full: tell the operator"
    if log.is_remote:
        return f"the journal's server could not be written to, and this service starts anew: {_RETRY}"
    return f"nothing new is accepted: {str(trouble).replace(log.place, 'the journal')}"


def word_for(trouble: MarginkeepError) -> str:
    """Return the same in one word."""
    if isinstance(trouble, FencedOut):
        return "fenced_out"
    return "self_check" if isinstance(trouble, InvariantViolation) else "journal"


class Halting(BackgroundTask):
    """Waits for trouble, which comes once.

    Attributes
    ----------
    end : ends the service in order; set by whoever runs it
    """

    def __init__(self, context: ServiceContext) -> None:
        super().__init__()
        self._context = context
        self.end: Callable[[], None] = lambda: None

    async def _run(self) -> None:
        context = self._context
        while context.durable.trouble is None:
            await context.feed.published()
        trouble = context.durable.trouble
        _log.critical("nothing more is accepted", why=word_for(trouble), error=str(trouble))
        if self._is_cured_by_a_restart(trouble) or not await self._can_be_read():
            _log.critical("the service ends", why=word_for(trouble))
            self.end()

    def _is_cured_by_a_restart(self, trouble: MarginkeepError) -> bool:
        if isinstance(trouble, FencedOut):
            return True
        if isinstance(trouble, JournalFull):
            return False
        return isinstance(trouble, JournalStalled) and self._context.log.is_remote

    async def _can_be_read(self) -> bool:
        """Bring the house back to what is durable, where more was applied; tell whether it may be shown."""
        context, durable = self._context, self._context.durable
        await context.writer.idle()
        if durable.head == durable.durable:
            return True
        try:
            durable.rewind(await asyncio.to_thread(restore, context.log, durable.durable))
        except Exception as error:
            _log.critical("the journal cannot be read", error=repr(error))
            return False
        context.feed.publish(())
        _log.warning("the state is what is durable", sequence=durable.durable.sequence)
        return True
