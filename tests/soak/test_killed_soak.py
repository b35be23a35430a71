"""The writer's simulation and the killed service with ever new seeds; a failure prints its seed."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.journal.postgres_servers import free_port
from tests.service.doomed_service import Nursery
from tests.service.killed_world import Clients, killed_at_random, require_sound
from tests.service.writer_world import FAULTS, World

pytestmark = pytest.mark.without_shadows("thousands of houses, each replayed at its end")

MINUTES_LEAST = 1.0
SHARE = 4
KILLS = 40


def test_writers_of_ever_new_seeds_lose_nobody(request, capsys):
    minutes = request.config.getoption("--soak-minutes", default=0.2)
    end = time.monotonic() + 60 * minutes / SHARE
    seed, acknowledged = 10_000, 0
    while time.monotonic() < end:
        world = World(seed)
        try:
            asyncio.run(world.run())
        except BaseException:
            with capsys.disabled():
                print(f"soak: seed {seed}, fault {world.fault}", flush=True)
            raise
        acknowledged += len(world.acknowledged)
        seed += 1
    with capsys.disabled():
        print(f"\nsoak: seeds 10000 to {seed - 1}, {acknowledged:,} commands acknowledged and kept", flush=True)
    assert seed > 10_000 + len(FAULTS)


def test_services_killed_with_ever_new_seeds_lose_nothing(request, tmp_path, capsys):
    minutes = request.config.getoption("--soak-minutes", default=0.2)
    if minutes < MINUTES_LEAST:
        pytest.skip(f"a round of {KILLS} kills takes half a minute: --soak-minutes {MINUTES_LEAST:g} or more")
    end = time.monotonic() + 60 * minutes / SHARE
    seed = 100
    while time.monotonic() < end:
        folder = tmp_path / str(seed)
        folder.mkdir()
        nursery, place = Nursery(folder), str(folder / "house.db")
        try:
            clients = Clients(free_port(), https=4, sockets=4, length=600)
            asyncio.run(killed_at_random(nursery, place, clients, KILLS, seed))
        finally:
            nursery.close()
        require_sound(place, clients)
        with capsys.disabled():
            print(f"soak: seed {seed}, {KILLS} kills, {len(clients.told):,} answers, none lost", flush=True)
        seed += 1
