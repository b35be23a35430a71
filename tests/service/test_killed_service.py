"""A service under load is killed at any moment and started again: nothing acknowledged is lost, nothing done twice."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from marginkeep.journal.checkpoint import Signer
from tests.journal import crashes
from tests.journal.postgres_servers import free_port, postgres_server  # noqa: F401  (a fixture)
from tests.journal.test_postgres_failover import pair  # noqa: F401  (a fixture)
from tests.service.doomed_service import EXIT_TROUBLE, Nursery
from tests.service.killed_world import BOUND_SECONDS, Clients, finished, killed_at_random, port_of, require_sound

pytestmark = pytest.mark.without_shadows("thousands of commands, all of them replayed at the end")

KILLS = 15
KILLS_POSTGRES = 4
WRITES = sorted(random.Random(8).sample(range(4, 400), 7))


@pytest.fixture
def nursery(tmp_path):
    made = Nursery(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shimmed(tmp_path):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("kills at the n-th write need Linux and a C compiler: install gcc")
    shim = tmp_path / "shim.so"
    source = Path(crashes.HERE) / "crash_shim.c"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    made = Nursery(tmp_path, shim)
    yield made
    made.close()


def vkey(folder):
    return Signer.load(folder / "sign.key", "marginkeep").vkey


@pytest.mark.parametrize("seed", [1])
def test_a_service_killed_at_random_under_load_loses_nothing_and_repeats_nothing(nursery, tmp_path, seed):
    clients = Clients(free_port(), https=3, sockets=2, length=240)
    place = str(tmp_path / "house.db")
    asyncio.run(killed_at_random(nursery, place, clients, KILLS, seed))
    require_sound(place, clients, vkey(tmp_path))


def test_a_service_killed_at_a_write_of_its_journal_loses_nothing_and_repeats_nothing(shimmed, tmp_path):
    clients = Clients(free_port(), https=2, sockets=1, length=200)
    place = str(tmp_path / "house.db")

    async def run():
        async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
            load = group.create_task(clients.run())
            for write in WRITES:
                await asyncio.to_thread(shimmed.start, place, port_of(clients), write=write)
                assert await asyncio.to_thread(shimmed.wait) == -signal.SIGKILL, shimmed.logged()
            await finished(shimmed, place, clients, load)

    asyncio.run(run())
    require_sound(place, clients, vkey(tmp_path))


# PostgreSQL ----------------------------------------------------------------------------------------------------------


def place_on(server):
    return f"postgresql://postgres@127.0.0.1:{server.port}/postgres?sslmode=disable&gssencmode=disable&schema=served"


def test_a_service_on_postgresql_killed_at_random_loses_nothing(nursery, tmp_path, postgres_server):  # noqa: F811
    clients = Clients(free_port(), https=2, sockets=1, length=100)
    place = place_on(postgres_server)
    try:
        asyncio.run(killed_at_random(nursery, place, clients, KILLS_POSTGRES, 3))
        require_sound(place, clients, vkey(tmp_path))
    finally:
        postgres_server.execute("DROP SCHEMA IF EXISTS served CASCADE")


def test_a_primary_killed_under_a_service_ends_it_and_the_standby_has_all_that_was_answered(
    nursery,
    tmp_path,
    pair,  # noqa: F811
):
    primary, standby = pair
    clients = Clients(free_port(), https=2, sockets=1, length=150)

    async def run():
        async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
            load = group.create_task(clients.run())
            assert await asyncio.to_thread(nursery.start, place_on(primary), port_of(clients)) is not None
            await clients.reached(clients.expected // 3)
            primary.kill()
            code = await asyncio.to_thread(nursery.wait)
            assert code == EXIT_TROUBLE, f"it does not end by itself ({code}): {nursery.logged()}"
            await asyncio.to_thread(standby.promote)
            await finished(nursery, place_on(standby), clients, load)

    asyncio.run(run())
    require_sound(place_on(standby), clients, vkey(tmp_path))
