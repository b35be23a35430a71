"""Rules and price paths for the breakers' tests, and what a breaker should see, written from the definition alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from marginkeep.oracle.breakers import Breaker
from marginkeep.rulebook.lognormal import apply_bounds, fixed_bounds
from marginkeep.rulebook.oracle_rules import (
    GUARDED,
    MARKET_HALTED,
    OPEN,
    REDUCE_ONLY,
    BreakerRules,
    BreakerTrigger,
)

SECOND = 10**9
MINUTE = 60 * SECOND
PERCENT = 10_000_000


def trigger(horizon_s: int, percent: int, state: int, duration_s: int) -> BreakerTrigger:
    share = percent * PERCENT
    return BreakerTrigger(horizon_s * SECOND, *fixed_bounds(share, share), state, duration_s * SECOND)


# Half a second: a horizon that is no whole number of its buckets.
QUICK = replace(trigger(60, 5, REDUCE_ONLY, 60), horizon_ns=60 * SECOND + SECOND // 2)
MIDDLE = trigger(600, 10, GUARDED, 120)
SLOW = trigger(3_600, 20, MARKET_HALTED, 300)
TRIGGERS = (QUICK, MIDDLE, SLOW)
RULES = BreakerRules(TRIGGERS, 0, SECOND)

GAPS = st.one_of(st.integers(0, 3 * SECOND), st.integers(0, 3 * MINUTE), st.integers(0, 120 * MINUTE))
PRICES = st.one_of(st.integers(9_600, 10_400), st.integers(5_000, 20_000))
PATHS = st.lists(st.tuples(GAPS, PRICES), min_size=1, max_size=60)


def bucket(one: BreakerTrigger) -> int:
    return min(one.horizon_ns, max(SECOND, -(-one.horizon_ns // 64)))


def settling(one: BreakerTrigger) -> int:
    """Return how long after the last change of a price a trigger may still see a move."""
    return one.horizon_ns + 2 * bucket(one)


OPEN_AGAIN = (
    max(settling(one) for one in TRIGGERS)
    + max(max(one.duration_ns, bucket(one)) for one in TRIGGERS)
    + QUICK.duration_ns
    + MIDDLE.duration_ns
)


def timed(path: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Turn gaps into times."""
    now_ns, out = 10**18, []
    for gap, price in path:
        now_ns += gap
        out.append((now_ns, price))
    return out


def walked(path: list[tuple[int, int]], rules: BreakerRules = RULES) -> Breaker:
    breaker = Breaker(rules)
    for now_ns, price in timed(path):
        breaker.observe(price, now_ns)
    return breaker


def steady(breaker: Breaker, price: int, start_ns: int, end_ns: int, step_ns: int = SECOND) -> None:
    for now_ns in range(start_ns, end_ns, step_ns):
        breaker.observe(price, now_ns)


def opened(price: int = 10_000) -> Breaker:
    """Return a breaker that has seen one price for two hours, up to 7,199 s."""
    breaker = Breaker(RULES)
    steady(breaker, price, 0, 7_200 * SECOND)
    assert breaker.state == OPEN
    return breaker


def reference(one: BreakerTrigger, seen: list[tuple[int, int]], now_ns: int) -> int:
    """Return a trigger's reference from the whole past: slow, and written from the definition alone."""
    width = bucket(one)
    first = seen[0][0] // width
    wanted = max((now_ns - one.horizon_ns) // width, first)
    if wanted == now_ns // width:
        return seen[0][1]
    inside = [price for at_ns, price in seen if at_ns // width == wanted]
    if inside:
        return sum(inside) // len(inside)
    return [price for at_ns, price in seen if at_ns // width < wanted][-1]


def violated(seen: list[tuple[int, int]], price: int, now_ns: int) -> list[BreakerTrigger]:
    found = []
    for one in TRIGGERS:
        lowest, highest = apply_bounds(reference(one, seen, now_ns), one.lower, one.upper)
        if not lowest <= price <= highest:
            found.append(one)
    return found
