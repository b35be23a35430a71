"""The decaying mean of trades: exact against the plain sum, and small however many trades there are."""

from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.market_prices import trades_price
from marginkeep.oracle.trade_window import TradeWindow
from marginkeep.units import RATE_ONE

SECOND = 10**9
MINUTE = 60 * SECOND


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 10**6), st.integers(1, 10**4)), max_size=30),
    st.integers(-300, 300),
    st.integers(0, RATE_ONE),
    st.integers(0, 3),
)
def test_the_window_of_trades_weighs_each_as_the_plain_sum_does(steps, later, decay, power):
    window, trades, now_ns = TradeWindow(200, decay, power), [], 10**18
    for step, price, size in steps:
        now_ns += step
        trades.append((now_ns, price, size))
        window.observe(price, size, now_ns)
    then_ns = max(now_ns, now_ns + later)  # asked for a time before the newest trade, it answers for that trade's
    assert window.value(now_ns + later) == trades_price(trades, then_ns, 200, decay, power)


def test_many_trades_take_no_more_room_than_the_slots_of_a_window():
    window = TradeWindow(MINUTE, RATE_ONE, 2)
    for number in range(20_000):
        window.observe(1_000 + number % 7, 1, number * SECOND // 100)
    assert len(window.save()) <= 258
    assert 1_000 <= window.value(200 * SECOND) <= 1_006


def test_trades_that_share_a_slot_count_as_of_its_first():
    """A slot of a 256 s window is 1 s; of 2,000 and 1,000 in it the mean is 1,500, until 256 s after the first."""
    window = TradeWindow(256 * SECOND, 0, 1)
    window.observe(2_000, 1, SECOND)
    window.observe(1_000, 1, 2 * SECOND - 1)
    assert window.save() == [[SECOND, 2, 3_000]]
    assert window.value(257 * SECOND) == 1_500
    assert window.value(257 * SECOND + 1) is None


def test_the_mean_drifts_only_with_a_decay_and_trades_of_different_age():
    for decay, drifts in [(0, False), (RATE_ONE, True)]:
        window = TradeWindow(MINUTE, decay, 1)
        assert window.next_exit_ns() == 0
        window.observe(1_000, 1, SECOND)
        assert not window.drifts()
        window.observe(2_000, 1, 3 * SECOND)
        assert window.drifts() == drifts
        exit_ns = window.next_exit_ns()
        assert exit_ns == MINUTE + SECOND + (decay < RATE_ONE)
        assert window.value(exit_ns - 1) < 2_000
        assert window.value(exit_ns) == 2_000


def test_asked_for_a_time_before_the_newest_trade_it_answers_for_that_trade():
    window = TradeWindow(100, RATE_ONE, 1)
    window.observe(1_000, 1, 0)
    window.observe(2_000, 1, 50)
    assert window.value(0) == window.value(50) == 1_666  # weights 1/2 and 1
