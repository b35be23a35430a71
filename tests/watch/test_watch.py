import numpy as np
import pytest

from marginkeep.book import columns as c
from marginkeep.book import watch_budget, watch_limits, watch_lists
from marginkeep.book.columns import Book
from marginkeep.book.valuation import Valuation
from marginkeep.book.watch import BREACHED, CALLED, HEALTHY, Watch
from marginkeep.book.watch_lists import bucket_of, lower_edge
from marginkeep.rulebook import build_tables, read_rulebook
from tests.watch.worlds import World, run_world

ACCOUNTS = 5_000
STEPS = 260


@pytest.mark.parametrize("seed", range(8))
def test_the_watch_equals_a_full_rescan_after_every_step_of_a_seeded_world(seed):
    compared = run_world(seed, ACCOUNTS, STEPS)
    assert 8 * compared >= 10**7


def test_the_worlds_reach_every_status_and_every_way_back():
    world = World(1, 2_000)
    seen = set()
    for kind in ("wild", "gap", "wild", "back", "extreme", "back", "calm") * 8:
        before = world.watch.statuses.copy()
        world.tick(kind)
        seen |= set(zip(before.tolist(), world.watch.statuses.tolist(), strict=True))
    assert {(HEALTHY, CALLED), (CALLED, BREACHED), (BREACHED, HEALTHY), (CALLED, HEALTHY), (HEALTHY, BREACHED)} <= seen


def test_a_quiet_tick_looks_at_nobody():
    world = World(2, 2_000)
    world.tick("calm")
    evaluated, quiet = world.watch.evaluated, world.watch.counters.quiet_ticks
    world.watch.tick_valuation()
    assert world.watch.evaluated == evaluated
    assert world.watch.counters.quiet_ticks == quiet + 1


def test_calm_ticks_evaluate_a_small_part_of_the_accounts():
    world = World(3, 5_000)
    world.tick("calm")
    before = world.watch.evaluated
    for _ in range(20):
        world.tick("calm")
    assert 0 < (world.watch.evaluated - before) / 20 < 5_000 / 5


def test_when_everything_moves_at_once_the_rest_is_judged_until_it_has_triggers_again():
    world = World(4, 60_000)
    world.tick("gap")
    assert world.watch.pending > 50_000
    for _ in range(15):
        before = world.watch.pending
        assert world.missed() == []
        world.tick("edge")
        assert world.watch.pending < before or before == 0
    assert world.watch.counters.full_scans > 0


def test_the_audit_finds_a_status_that_is_wrong_and_says_whose():
    world = World(5, 500)
    assert world.watch.audit_slice(500) == ""
    healthy = int(np.nonzero(world.watch.statuses[2:] == HEALTHY)[0][0]) + 2
    world.watch.statuses[healthy] = BREACHED
    assert f"account {healthy}" in world.watch.audit_slice(500)


def test_nodes_are_reused_and_never_leak():
    world = World(6, 1_000)
    for _ in range(30):
        world.tick("wild")
        world.change_accounts(50)
    nodes, _, _, first_nodes, counters = world.watch._lists()
    in_use = 0
    for first in first_nodes.tolist():
        node = first
        while node != -1:
            in_use += 1
            node = nodes[node]["sibling"]
    assert in_use + counters[watch_lists.FREE_COUNT] == len(nodes)


def test_a_closed_position_leaves_no_trigger_behind():
    world = World(7, 200)
    index = int(np.nonzero(world.book.accounts[:, c.POSITION_COUNT])[0][5])
    account = world.book.read(index)
    account.positions.clear()
    account.balances = {0: 10**9}
    world.book.write(index, account)
    world.watch.update([index])
    assert world.watch._first_nodes[index] == -1


def test_new_accounts_are_taken_in():
    world = World(8, 300)
    added = [world.book.add(world.book.read(index)) for index in range(2, 150)]
    world.watch.update(added)
    for kind in ("wild", "gap", "back"):
        world.tick(kind)
        assert world.missed() == []


def test_a_filed_interval_has_the_account_judged_when_a_price_leaves_it():
    world = World(11, 300)
    healthy = int(np.nonzero(world.watch.statuses[2:] == HEALTHY)[0][0]) + 2
    market = world.tables.market_index["LIN"]
    mark = world.valuation.marks[market]
    for leave in (mark + 11, mark - 11):
        world.valuation.set_mark(market, mark)
        world.watch.tick_valuation()
        world.watch.file_interval(healthy, market, mark - 10, mark + 10)
        for price, judged in ((mark + 10, 0), (mark - 10, 0), (leave, 1)):
            before = world.watch.evaluated
            world.valuation.set_mark(market, price)
            world.watch.tick_valuation()
            assert world.watch.evaluated - before >= judged
            if not judged:
                assert world.watch._first_nodes[healthy] != -1
        assert world.missed() == []


def test_a_first_price_is_noticed_by_those_who_hold_the_asset():
    world = World(9, 300)
    world.valuation.prices[1] = 0
    world.valuation.asset_x[1] = 0
    world.watch = Watch(world.book, world.valuation)
    world.tick("calm")
    assert world.missed() == []


@pytest.mark.parametrize("price", [1, 2, 3, 255, 256, 257, 511, 10**6 - 1, 10**6, 2**40 - 1, 2**40, 2**52 + 1])
def test_buckets_rise_with_the_price_and_edges_bound_them(price):
    assert bucket_of(price) <= bucket_of(price + 1)
    edge = lower_edge(bucket_of(price))
    assert edge <= price
    assert edge == 1 or bucket_of(edge - 1) < bucket_of(price)


def test_without_the_units_kept_back_for_rounding_an_interval_would_not_be_safe():
    """Rounded terms are concave only up to a few units: some dip below both ends of an interval proved at its ends."""
    deepest = 0
    for size in range(-40, 41):
        for cost_share in (0, 1, 2):
            deepest = max(deepest, deepest_dip(size, cost_share))
    assert 1 <= deepest < watch_budget.ROUNDING


def deepest_dip(size: int, cost: int) -> int:
    """Return how far a tiny position's worth lies below the lower of two prices around it, at most."""
    markets, tiers, payoffs = tiny_market()
    worths = [watch_limits.worth(size, -cost, 0, price, markets, tiers, payoffs) for price in range(1, 120)]
    return max(
        min(worths[begin], worths[end]) - min(worths[begin : end + 1])
        for begin in range(0, 100, 3)
        for end in range(begin + 2, begin + 15)
    )


def tiny_market() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a market in which a lot is worth a fraction of the smallest unit and profit is weighed."""
    tiers = [{"floor": "0", "initial": "0.9", "call": "0.8", "maintenance": "0.7"}]
    market = {
        "settle": "USD",
        "lot": "0.01",
        "tick": "0.1",
        "max_price": "1000",
        "tiers": tiers,
        "profit_weight": {"initial": "0.3", "maintenance": "0.37"},
    }
    tables = build_tables(read_rulebook({"assets": {"USD": {"decimals": 2}}, "markets": {"TINY": market}}))
    valuation = Valuation(tables)
    valuation.set_mark(0, 10)
    watch = Watch(Book(), valuation)
    markets, rows, _ = watch._levels[0]
    return markets, rows, watch._terms[0]
