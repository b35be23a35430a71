"""The writer under clients that come and go, batches that fail and snapshots that are given up, in seeded orders."""

from __future__ import annotations

import asyncio

import pytest

from tests.service.writer_world import FAULTS, World

pytestmark = pytest.mark.without_shadows("thousands of commands in hundreds of houses, each replayed at the end")

ROUNDS = 4
SEEDS_EACH = 10


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", range(ROUNDS))
def test_every_client_is_answered_once_durable_or_refused_whatever_fails(fault, part):
    acknowledged = cancelled = 0
    refused: set[str] = set()
    for number in range(SEEDS_EACH):
        seed = (part * SEEDS_EACH + number) * len(FAULTS) + FAULTS.index(fault)
        world = World(seed)
        asyncio.run(world.run())
        acknowledged += len(world.acknowledged)
        refused |= set(world.refused)
        cancelled += len(world.cancelled)
    assert acknowledged > 20, "something must have been answered before the fault"
    assert "halted" in refused <= {"halted", "overloaded"}
    assert cancelled > 0


def test_recorded_times_never_fall_though_the_clock_does():
    world = World(0)
    asyncio.run(world.run())
    times = [record.recorded_ns for _, record in sorted(world.store.records.items())]
    assert times == sorted(times)
    assert len(times) > 20
