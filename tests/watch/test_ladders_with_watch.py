"""Ladders of every kind, adopted and given up in a running house: with a watch, with a scan, and restored meanwhile."""

from __future__ import annotations

import msgspec
import pytest

from marginkeep.clearing import restore_snapshot, take_snapshot
from tests.clearing.ladder_world import World, new_house

COMMANDS, SNAPSHOT_EVERY = 240, 12


def begun(seed: int, watch_from: int):
    house = new_house()
    house.state.watch_from = watch_from
    World(seed).begin(house)
    return house


def restored(house):
    again = restore_snapshot(house.state.rulebook, take_snapshot(house))
    again.state.watch_from = 0
    return again


@pytest.mark.without_shadows("three houses are compared with one another, after every command")
@pytest.mark.parametrize("seed", range(60))
def test_rules_that_change_often_give_the_same_events_with_watch_with_scan_and_after_a_restart(seed):
    watched, scanned = begun(seed, 0), begun(seed, 10**9)
    again = restored(watched)
    world = World(seed)
    for step in range(COMMANDS):
        command = world.adopt() if world.random.random() < 0.04 else world.command(watched)
        answers = [msgspec.json.encode(house.apply(command)) for house in (watched, scanned, again)]
        assert answers[0] == answers[1] == answers[2], f"seed {seed}, step {step}: {command}"
        if step % SNAPSHOT_EVERY == 0:
            again = restored(watched)
    assert watched.state.watch is not None
