"""The homes of a journal. A test that takes `command_log_factory` runs once for each."""

from __future__ import annotations

import pytest

from marginkeep.journal.memory_log import MemoryLog, MemoryStore
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.postgres_servers import postgres_home, postgres_server  # noqa: F401  (fixtures)


def memory_home(request):
    store = MemoryStore()
    return lambda: MemoryLog(store)


def sqlite_home(request):
    path = request.getfixturevalue("tmp_path") / "house.journal"
    return lambda: SqliteLog(path)


def postgres_journal_home(request):
    return request.getfixturevalue("postgres_home")


HOMES = {"memory": memory_home, "sqlite": sqlite_home, "postgres": postgres_journal_home}
"""By name: what takes the fixture request and returns a callable that opens one and the same empty store anew."""


@pytest.fixture(params=list(HOMES))
def command_log_factory(request):
    """A callable; each call is another opening of one store, which holds no journal at first."""
    open_one = HOMES[request.param](request)
    opened = []

    def factory():
        opened.append(open_one())
        return opened[-1]

    yield factory
    for log in opened:
        log.close()
