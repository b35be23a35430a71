"""Seeded traders on a house with every rung: whatever they ask for, the invariants hold after every command."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.clearing.ladder_world import World, check_all, new_house, watched
from tests.ladder_houses import kinds

from marginkeep.clearing import check_conservation, state_hash
from marginkeep.clearing.events import RungChanged

STEPS = 220
SEEDS = range(6)


def run(seed: int, steps: int = STEPS, **options) -> Counter:
    """Run one world; return what happened."""
    house, world, seen = new_house(), World(seed, **options), Counter()
    world.begin(house)
    for _ in range(steps):
        events = house.apply(world.command(house))
        check_conservation(house)
        check_all(house, events)
        seen.update(kinds(events))
        seen.update(event.after for event in events if isinstance(event, RungChanged))
    assert not house.state.halted
    return seen


@pytest.mark.parametrize("seed", SEEDS)
def test_books_balance_and_rungs_are_legal_in_a_seeded_world(seed):
    assert run(seed)["Traded"] > 0


def test_the_worlds_reach_every_rung():
    seen = sum((run(seed, 120, adopts=False) for seed in range(20, 26)), Counter())
    rungs = ("healthy", "soft", "partial", "auction", "bankrupt", "closed")
    assert all(seen[rung] for rung in rungs), seen
    events = ("MarginCalled", "CallCured", "Liquidated", "AuctionOpened", "AuctionBid", "LossCovered", "Withdraw")
    assert all(seen[event] for event in events[:-1]), seen


@pytest.mark.parametrize("seed", [40, 41, 42, 43])
def test_a_house_with_a_watch_does_the_same(seed):
    plain, kept = new_house(), watched(new_house())
    world = World(seed)
    for house, one in ((plain, World(seed)), (kept, World(seed))):
        one.begin(house)
    world.begin(new_house())
    for _ in range(STEPS):
        command = world.command(plain)
        assert plain.apply(command) == kept.apply(command)
        assert state_hash(plain) == state_hash(kept)
        assert not kept.state.halted
    assert kept.state.watch is not None
