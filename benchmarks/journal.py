"""Durable commands a second, and how long a restart takes. Every batch is synchronised to the disk before it counts."""

from __future__ import annotations

import gc
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Figure, once
from benchmarks.journal_house import genesis_of, open_house, requests_of
from benchmarks.journal_million import busy_requests, million_house
from benchmarks.journal_postgres import postgres_log
from marginkeep.clearing.snapshot import restore_snapshot
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.group_commit import GroupCommit
from marginkeep.journal.sqlite_log import SqliteLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.clearing import Clearinghouse
    from marginkeep.journal.command_log import CommandLog
    from marginkeep.journal.durable import Request
    from marginkeep.journal.record import Genesis

ACCOUNTS: Final = 10_000
BATCH: Final = 1_024
PART: Final = 20 * BATCH
PARTS: Final = 4
REPLAYED: Final = 100_000
MILLION: Final = 10**6
THOUSAND: Final = 1_000
RESTART_PART: Final = 20
"""Thousands of records in a part: as for the rates above, the best part counts, for a neighbour can only slow one."""


def measure_journal() -> list[Figure]:
    """Measure both databases and the restart."""
    return [*measure_commands(), *measure_restart()]


def measure_commands() -> list[Figure]:
    """Measure the usual mix on a book of 10,000 accounts with the watch, an idempotency key on every command."""
    house, rules = open_house(ACCOUNTS)
    requests = list(islice(requests_of(house), PART * PARTS))
    genesis = genesis_of(house, rules)
    alone = applied_alone(house, genesis, requests)
    with tempfile.TemporaryDirectory(prefix="marginkeep-bench-") as folder:
        path = Path(folder, "journal.db")
        durable, spent = durable_rates(SqliteLog(path), genesis, requests)
        size = path.stat().st_size / len(requests)
    figures = [
        Figure("durable commands, SQLite, group commit", durable, "/s", 20_000),
        Figure("of them a second of the processor", spent, "/s"),
        Figure("the same commands without a journal", alone, "/s"),
        Figure("what the journal leaves of that speed", durable / alone * 100, "%"),
        Figure("bytes a record takes", size, "B"),
    ]
    with postgres_log() as log:
        if log is not None:
            durable, _ = durable_rates(log, genesis, requests)
            figures.append(Figure("durable commands, PostgreSQL, group commit", durable, "/s"))
    return figures


def applied_alone(house: Clearinghouse, genesis: Genesis, requests: Sequence[Request]) -> float:
    """Return how many commands a second the same house applies with nothing written."""
    copy = restore_snapshot(house.state.rulebook, genesis.opening)
    rates = []
    for start in range(0, len(requests), PART):
        began = time.perf_counter()
        for request in requests[start : start + PART]:
            copy.apply(request.command)
        rates.append(PART / (time.perf_counter() - began))
    return max(rates)


def durable_rates(log: CommandLog, genesis: Genesis, requests: Sequence[Request]) -> tuple[float, float]:
    """Return the best part's commands a second, first applied to last durable, and a second of the processor."""
    log.create(genesis)
    house = DurableHouse.open(log)
    commits = GroupCommit(house)
    rates = []
    for start in range(0, len(requests), PART):
        part = requests[start : start + PART]
        began, spent = time.perf_counter(), time.process_time()
        waiting = [commits.submit(part[at : at + BATCH]) for at in range(0, PART, BATCH)]
        for future in waiting:
            future.result()
        rates.append((PART / (time.perf_counter() - began), PART / (time.process_time() - spent)))
    commits.close()
    house.close()
    return max(rates)


def measure_restart() -> list[Figure]:
    """Measure opening a journal over a million accounts with five positions each: the snapshot, then the records."""
    house, rules = million_house()
    genesis = genesis_of(house, rules)
    del house
    with tempfile.TemporaryDirectory(prefix="marginkeep-bench-") as folder:
        path = Path(folder, "journal.db")
        _fill(path, genesis)
        del genesis
        gc.collect()
        house_of: list[DurableHouse] = []
        ticks = [time.perf_counter()]
        opened = once(lambda: house_of.append(_open(path, ticks)))
        house_of.pop().close()
    parts = [
        (last - first) / RESTART_PART
        for first, last in zip(ticks[1::RESTART_PART], ticks[1 + RESTART_PART :: RESTART_PART], strict=False)
    ]
    best, each = min(parts), (ticks[-1] - ticks[1]) / (len(ticks) - 2)
    return [
        Figure("restart from a snapshot of 1 M accounts x 5 positions", ticks[1] - ticks[0] - each, "s", 5, False),
        Figure(f"restart with {REPLAYED:,} commands after the snapshot", opened, "s"),
        Figure("of which 10^6 commands, scaled from the best part", best * MILLION / THOUSAND, "s", 30, False),
        Figure("the same, scaled from all of them", each * MILLION / THOUSAND, "s"),
    ]


def _fill(path: Path, genesis: Genesis) -> None:
    """Make a journal with a snapshot, and commands after it."""
    house = DurableHouse.open(_created(path, genesis))
    house.submit(busy_requests(house.house, 1_000, seed=2))
    house.begin_snapshot().write(house.log)
    requests = busy_requests(house.house, REPLAYED)
    for start in range(0, REPLAYED, BATCH):
        house.submit(requests[start : start + BATCH])
    house.close()


def _created(path: Path, genesis: Genesis) -> CommandLog:
    log = SqliteLog(path)
    log.create(genesis)
    return log


def _open(path: Path, ticks: list[float]) -> DurableHouse:
    """Open a journal, noting the time after every thousand records."""
    return DurableHouse.open(SqliteLog(path), progress=lambda _, __: ticks.append(time.perf_counter()))
