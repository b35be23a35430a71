"""Opening a service by its settings, and running it until it is told to stop. It may be killed at any time."""

from __future__ import annotations

import gc
import ipaddress
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from marginkeep.errors import InputError
from marginkeep.journal.checkpoint import Signer, make_key
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.group_commit import GroupCommit
from marginkeep.journal.opening import POSTGRES, open_log
from marginkeep.journal.record import Genesis
from marginkeep.rulebook import load_rulebook
from marginkeep.service.context import ServiceContext
from marginkeep.service.feed import Feed
from marginkeep.service.operations.pulse import Snapshots, Ticker
from marginkeep.service.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.journal.command_log import CommandLog
    from marginkeep.service.operations.settings import ServerSettings, Settings

MEMORY: Final = "memory"
KEY_ENDING: Final = ".key"

_log = structlog.get_logger("marginkeep.service")


def run(
    settings: Settings,
    *,
    clock: Callable[[], int] = time.time_ns,
    take_over: bool = False,
    log: CommandLog | None = None,
    prepare: Callable[[ServiceContext], None] | None = None,
    listening: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: then refuse what is new, finish what is queued, and seal the journal.

    Parameters
    ----------
    take_over : become the writer although another seems to be alive
    log : the journal, where it is not to be found by the settings
    prepare : is given the service before it starts, and may add parts
    listening : told the address once connections are accepted
    progress : told (records replayed, records to replay) while the journal is recovered; None = the log is

    Raises
    ------
    InputError : the settings are not safe, a file is missing, or the address is taken
    JournalError : the journal cannot be opened, or was in trouble when the service ended
    """
    from marginkeep.service.server import serve, server_for

    require_safe(settings.server)
    context = open_context(settings, clock=clock, take_over=take_over, log=log, progress=progress)
    # What has been built stays: the collector would walk a whole book again and again and find nothing to free.
    gc.collect()
    gc.freeze()
    try:
        if prepare is not None:
            prepare(context)
        serve(server_for(context, listening), context)
    finally:
        close_context(context)
    context.durable.require_usable()


def require_safe(server: ServerSettings) -> None:
    """Refuse to listen beyond this machine without TLS.

    Raises
    ------
    InputError : naming the settings that would do
    """
    if bool(server.certificate) != bool(server.certificate_key):
        raise InputError("server.certificate and server.certificate_key belong together: give both or neither")
    if _is_loopback(server.host) or server.behind_tls or server.certificate:
        return
    raise InputError(
        f"server.host is {server.host!r}, which others can reach, and nothing would be encrypted: give "
        f"server.certificate and server.certificate_key, or set server.behind_tls where a proxy does it"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_context(
    settings: Settings,
    *,
    clock: Callable[[], int] = time.time_ns,
    take_over: bool = False,
    log: CommandLog | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ServiceContext:
    """Open or create the journal, bring the house to where it ends, and put the service together; nothing runs yet.

    Parameters
    ----------
    log : the journal, where it is not to be found by the settings
    progress : told (records replayed, records to replay); None = the log is

    Raises
    ------
    InputError : a new journal needs `rules`, and they must be readable
    JournalError : the journal cannot be opened
    """
    log = _open_log(settings.journal.place) if log is None else log
    try:
        if log.genesis() is None:
            log.create(_genesis(settings, clock))
        signer = _signer(settings, log)
        house = DurableHouse.open(
            log, clock=clock, signer=signer, take_over=take_over, progress=progress or _tell_progress
        )
    except BaseException:
        log.close()
        raise
    for warning in house.recovered.warnings:
        _log.error("the journal was recovered with a loss", warning=warning)
    feed = Feed(house.durable.sequence)
    writer = Writer(GroupCommit(house), feed, settings.server.queue_max, clock)
    context = ServiceContext(settings, house, writer, feed, clock, log)
    try:
        _furnish(context)
    except BaseException:
        close_context(context)
        raise
    return context


def _furnish(context: ServiceContext) -> None:
    """Put the parts into a service."""
    from marginkeep.service.access.access import open_access
    from marginkeep.service.notifications.room import Notifications
    from marginkeep.service.operations.halting import Halting
    from marginkeep.service.operations.metrics import Metrics
    from marginkeep.service.operations.retaining import Retaining
    from marginkeep.service.operations.self_check import SelfCheck
    from marginkeep.service.stream.hub import StreamHub

    settings = context.settings
    context.parts["halting"] = Halting(context)
    open_access(context)
    context.parts["stream"] = StreamHub(context)
    context.parts["notifications"] = Notifications(context)
    if settings.server.tick_seconds > 0:
        context.parts["ticker"] = Ticker(context.writer, context.clock, settings.server.tick_seconds)
    if settings.journal.snapshot_records > 0:
        newest = max(((label.sequence, label.taken_ns) for label in context.log.snapshots()), default=(0, 0))
        records = settings.journal.snapshot_records
        context.parts["snapshots"] = Snapshots(context.writer, context.feed, records, *newest, context.clock)
    if settings.journal.keep_hours > 0:
        context.parts["retaining"] = Retaining(context, settings.journal.keep_hours)
    if settings.server.self_check_seconds > 0:
        context.parts["self_check"] = SelfCheck(context, settings.server.self_check_seconds)
    context.parts["metrics"] = context.writer.observer = Metrics(context)


def close_context(context: ServiceContext) -> None:
    """Seal the journal with a last checkpoint and a snapshot, where it is in order, and give it back.

    May be called twice.
    """
    try:
        context.writer.commits.close()
        if context.durable.trouble is None:
            context.durable.seal()
            _take_last_snapshot(context)
    finally:
        context.durable.close()


# Leaves --------------------------------------------------------------------------------------------------------------


def _take_last_snapshot(context: ServiceContext) -> None:
    """Let the next start be a quick one; without it, it only takes longer."""
    part, durable = context.parts.get("snapshots"), context.durable
    if part is None or part.last >= durable.durable.sequence:
        return
    part.last = durable.durable.sequence
    try:
        durable.begin_snapshot().write(context.log)
    except Exception as error:
        _log.error("the last snapshot could not be taken", sequence=part.last, error=str(error))


def _open_log(place: str) -> CommandLog:
    if place == MEMORY:
        from marginkeep.journal.memory_log import MemoryLog

        return MemoryLog()
    return open_log(place)


def _genesis(settings: Settings, clock: Callable[[], int]) -> Genesis:
    """Return what a new journal starts from."""
    if not settings.rules:
        raise InputError(
            f"{settings.journal.place} holds no journal yet, and rules is empty: name the rulebook file to begin with "
            "(--rules FILE)"
        )
    path = Path(settings.rules)
    load_rulebook(path)
    return Genesis(name=settings.name, rules=path.read_text(encoding="utf-8-sig"), created_ns=clock())


def _signer(settings: Settings, log: CommandLog) -> Signer | None:
    """Return what signs checkpoints; a journal in memory has nothing to prove to anybody later."""
    genesis = log.genesis()
    assert genesis is not None
    place, stated = log.place, settings.journal.signing_key
    if not stated and place == MEMORY:
        return None
    if not stated and place.startswith(POSTGRES):
        raise InputError(
            "journal.signing_key is empty: name the file of the key that signs checkpoints, which "
            "`marginkeep journal init --key` has made"
        )
    path = Path(stated) if stated else Path(place).with_suffix(KEY_ENDING)
    if not path.exists():
        make_key(path, genesis.name)
        _log.info("a key to sign checkpoints was made", path=str(path))
    return Signer.load(path, genesis.name)


def _tell_progress(done: int, total: int) -> None:
    _log.info("the journal is replayed", done=done, total=total)
