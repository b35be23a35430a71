"""Old records taken away beside the running service, in small steps between batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from marginkeep.journal.command_log import TILE_WIDTH
from marginkeep.journal.retention import KEYS_KEPT_NS, Retention, compact, plan_retention
from marginkeep.service.notifications.endpoints import CURSOR
from marginkeep.service.operations.pulse import BackgroundTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.service.context import ServiceContext

HOUR_NS: Final = 3600 * 10**9
LOOK_SECONDS: Final = 600.0
"""How often it is asked what may go."""

_log = structlog.get_logger("marginkeep.retention")


class _Cursor(msgspec.Struct):
    sequence: int


class Retaining(BackgroundTask):
    """Deletes what is older than is kept, under every snapshot, and delivered to every endpoint.

    Parameters
    ----------
    hours : keep what is younger; keys are honoured for a day, so this is the least
    """

    def __init__(self, context: ServiceContext, hours: float) -> None:
        super().__init__()
        self._context = context
        self._keep_ns = max(int(hours * HOUR_NS), KEYS_KEPT_NS)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.compact()
            except Exception as error:
                _log.error("old records could not be deleted", error=str(error))

    async def compact(self) -> Retention:
        """Delete what may go now, and return what that was."""
        room = self._context.parts.get("notifications")
        starts = {name: one.endpoint.start for name, one in room.deliveries.items()} if room is not None else {}
        plan = await asyncio.to_thread(self._plan, starts)
        if plan.until >= plan.first:
            steps = compact(self._context.log, plan)
            await asyncio.wrap_future(self._context.writer.commits.between_batches(steps))
            _log.info("old records were deleted", first=plan.first, until=plan.until, why=plan.why)
        return plan

    def _plan(self, starts: Mapping[str, int]) -> Retention:
        """Plan, and keep what an endpoint has not been told: counted from its saved cursor, which a restart reads."""
        log = self._context.log
        plan = plan_retention(log, self._context.clock(), self._keep_ns)
        saved = log.documents(CURSOR) if starts else {}
        for name, start in starts.items():
            told = msgspec.json.decode(saved[name], type=_Cursor).sequence if name in saved else start
            if told < plan.until:
                until = max(told - told % TILE_WIDTH, plan.first - 1)
                plan = Retention(plan.first, until, f"endpoint {name} has been told up to record {told}")
        return plan
