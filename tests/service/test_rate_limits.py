import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.service.access.rate_limits import RateLimits

SECOND = 10**9
steps = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 8)), max_size=40)


@given(st.integers(1, 50), st.integers(1, 20), steps)
def test_no_more_than_the_burst_and_what_flows_in_is_ever_granted(rate, burst, asked):
    limits, now_ns, granted = RateLimits(rate, burst), 0, 0
    for pause_ns, weight in asked:
        now_ns += pause_ns
        if limits.spend("ann", "risk", weight, now_ns).granted:
            granted += min(weight, burst)
        assert granted * SECOND <= burst * SECOND + now_ns * rate


@given(st.integers(1, 50), st.integers(1, 20), steps)
def test_whoever_waits_as_long_as_told_is_granted(rate, burst, asked):
    limits, now_ns = RateLimits(rate, burst), 0
    for pause_ns, weight in asked:
        now_ns += pause_ns
        spent = limits.spend("ann", "risk", weight, now_ns)
        if not spent.granted:
            assert spent.retry_seconds > 0
            now_ns += spent.retry_seconds * SECOND
            assert limits.spend("ann", "risk", weight, now_ns).granted


def test_a_refused_request_costs_nothing():
    limits = RateLimits(1, 4)
    assert limits.spend("ann", "risk", 3, 0).granted
    assert not limits.spend("ann", "risk", 2, 0).granted
    assert limits.spend("ann", "risk", 1, 0).granted


def test_new_risk_never_uses_up_what_protects():
    limits = RateLimits(10, 20)
    while limits.spend("ann", "risk", 1, 0).granted:
        pass
    assert limits.spend("ann", "safety", 20, 0).granted
    assert limits.spend("bob", "risk", 20, 0).granted


def test_a_weight_above_the_burst_waits_for_a_full_bucket():
    limits = RateLimits(2, 10)
    assert limits.spend("ann", "risk", 1_000, 0).granted
    refused = limits.spend("ann", "risk", 1_000, SECOND)
    assert (refused.granted, refused.remaining, refused.retry_seconds) == (False, 2, 4)


def test_time_that_goes_back_gives_nothing_and_takes_nothing():
    limits = RateLimits(1, 2)
    limits.spend("ann", "risk", 1, 10 * SECOND)
    assert limits.spend("ann", "risk", 1, 0).remaining == 0


def test_headers_state_what_is_left_and_when_to_come_back():
    limits = RateLimits(2, 4)
    assert dict(limits.spend("ann", "risk", 3, 0).headers()) == {
        b"ratelimit-limit": b"4",
        b"ratelimit-remaining": b"1",
        b"ratelimit-reset": b"2",
    }
    assert dict(limits.spend("ann", "risk", 2, 0).headers())[b"retry-after"] == b"1"


@pytest.mark.parametrize("strangers", [10, 1_000])
def test_the_memory_is_bounded_and_forgets_who_came_longest_ago(strangers):
    limits = RateLimits(1, 1, buckets_max=8)
    for number in range(strangers):
        limits.spend(str(number), "risk", 1, 0)
    assert len(limits) == 8
    assert limits.look(str(strangers - 1), "risk", 0) == 0
    assert limits.look("0", "risk", 0) == 1
