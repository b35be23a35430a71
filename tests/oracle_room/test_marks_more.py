"""The mark price in progress: the average of the touch, and the median of the other components."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.composite import median
from marginkeep.oracle.market_prices import touch_price
from marginkeep.oracle.time_weighted import TimeWeighted
from tests.oracle_room.test_marks import (
    HOUR,
    METHOD,
    MINUTE,
    SECOND,
    STEPS,
    component,
    feed_at,
    mark_of,
    no_feeds,
    run,
    whys,
)


def average_touch(**terms):
    return component("touch", **{"stale_after": HOUR, "window_ns": MINUTE, **terms})


def others(**terms):
    return component("others", **terms)


def prices(mark):
    return [one.price for one in mark.last_components]


def test_the_average_touch_moves_half_way_in_a_half_life_wherever_the_index_is():
    mark = mark_of(average_touch())
    mark.observe_book(990, 1_010, 0, 0, 0)
    assert mark.price(500, no_feeds, 0) == 1_000
    mark.observe_book(1_190, 1_210, 0, 0, SECOND)
    assert mark.price(700, no_feeds, SECOND) == 1_000
    assert mark.due_ns(SECOND) == 2 * SECOND
    assert mark.price(900, no_feeds, SECOND + MINUTE) == 1_100
    assert mark.price(900, no_feeds, SECOND + 2 * MINUTE) == 1_150


def test_a_trade_moves_the_average_touch_no_further_than_the_touch():
    mark = mark_of(average_touch())
    mark.observe_book(990, 1_110, 0, 0, 0)
    mark.observe_trade(1_000, 1, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_000
    mark.observe_trade(10**6, 1, SECOND)
    mark.price(1_000, no_feeds, SECOND)
    assert mark.price(1_000, no_feeds, SECOND + MINUTE) == 1_055


@pytest.mark.parametrize("last", [900, 1_000, 1_100, None])
def test_a_touch_without_a_window_is_where_the_touch_is(last):
    mark = mark_of(average_touch(window_ns=0))
    mark.observe_book(790, 810, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    mark.observe_book(990, 1_010, 0, 0, 1)
    if last:
        mark.observe_trade(last, 1, 1)
    assert mark.price(1_000, no_feeds, 1) == touch_price(990, 1_010, last)
    assert mark.due_ns(1) == HOUR + 2


def test_the_touch_is_sampled_at_most_once_a_second_and_what_was_missed_is_due():
    mark = mark_of(average_touch())
    mark.observe_book(990, 1_010, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    mark.observe_book(1_190, 1_210, 0, 0, 1)
    mark.price(1_000, no_feeds, 1)
    assert mark.due_ns(1) == SECOND + 1
    mark.price(1_000, no_feeds, SECOND - 1)
    mark.price(1_000, no_feeds, SECOND)
    assert mark.price(1_000, no_feeds, SECOND + MINUTE) == 1_100


def test_samples_of_the_touch_leave_those_of_the_basis_where_they_are():
    """A trade moves the touch at 2 s; the basis is sampled at 2.5 s all the same, and half way there after a minute."""
    mark = mark_of(component("basis", stale_after=HOUR, window_ns=MINUTE), average_touch(reserve=True))
    mark.observe_book(1_000, 1_200, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    mark.observe_trade(1_150, 1, 2 * SECOND)
    mark.price(1_000, no_feeds, 2 * SECOND)
    mark.observe_book(1_200, 1_400, 0, 0, 5 * SECOND // 2)
    mark.price(1_000, no_feeds, 5 * SECOND // 2)
    mark.price(1_000, no_feeds, 5 * SECOND // 2 + MINUTE)
    assert prices(mark)[0] == 1_200


def test_an_average_touch_that_has_settled_is_due_when_stale_and_again_when_the_touch_moves():
    mark = mark_of(average_touch(window_ns=1))
    mark.observe_book(990, 1_110, 0, 0, 0)
    mark.price(1_000, no_feeds, 2)
    assert mark.due_ns(2) == HOUR + 1
    mark.observe_trade(1_100, 1, 3)
    mark.price(1_000, no_feeds, 3)
    assert mark.due_ns(3) == 3 + SECOND
    mark.price(1_000, no_feeds, 3 + SECOND)
    assert mark.price(1_000, no_feeds, 3 + 2 * SECOND) == 1_100
    assert mark.due_ns(3 + 2 * SECOND) == HOUR + 1


def test_the_average_touch_learns_nothing_from_a_stale_book():
    """Moved by the trade at 2 minutes it would be half way to 1,110 at 3 minutes."""
    mark = mark_of(average_touch(stale_after=MINUTE))
    mark.observe_book(990, 1_110, 0, 0, 0)
    mark.observe_trade(1_000, 1, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_000
    mark.observe_trade(1_110, 1, 2 * MINUTE)
    assert mark.price(1_000, no_feeds, 2 * MINUTE) is None
    assert whys(mark) == ["stale"]
    mark.observe_book(990, 1_110, 0, 0, 3 * MINUTE)
    assert mark.price(1_000, no_feeds, 3 * MINUTE) == 1_000


@pytest.mark.parametrize(("bid", "ask"), [(995, 0), (0, 1_005), (1_006, 1_005)])
def test_without_a_side_of_the_book_the_average_touch_stays_until_the_last_whole_book_is_stale(bid, ask):
    mark = mark_of(component("touch"), average_touch(stale_after=MINUTE))
    mark.observe_book(1_095, 1_105, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    mark.observe_book(bid, ask, 0, 0, SECOND)
    assert mark.price(1_000, no_feeds, MINUTE) == 1_100
    assert prices(mark) == [1_100 if bid > ask > 0 else None, 1_100]
    assert mark.price(1_000, no_feeds, MINUTE + 1) is None


def test_an_average_touch_of_a_book_that_never_had_both_sides_is_not_there():
    mark = mark_of(average_touch())
    mark.observe_book(995, 0, 0, 0, 0)
    assert mark.price(1_000, no_feeds, 0) is None
    assert whys(mark) == ["no input"]
    mark.observe_book(995, 1_005, 0, 0, 1)
    mark.observe_book(995, 0, 0, 0, 2)
    assert mark.price(1_000, no_feeds, 2) is None
    assert whys(mark) == ["the book lacks a side"]


def test_a_restored_mark_remembers_average_and_sample_of_the_touch():
    """Sampled at 0, and not again at half a second."""
    mark, other = mark_of(average_touch()), mark_of(average_touch())
    mark.observe_book(990, 1_010, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    other.restore(json.loads(json.dumps(mark.save())))
    other.observe_book(1_190, 1_210, 0, 0, SECOND // 2)
    assert other.price(1_000, no_feeds, SECOND // 2) == 1_000
    assert other.price(1_000, no_feeds, SECOND) == 1_000
    assert other.price(1_000, no_feeds, SECOND + MINUTE) == 1_100


@given(st.dictionaries(st.integers(0, 60), st.integers(-100, 100), max_size=15), st.integers(0, 60), st.integers(0, 60))
def test_the_floor_of_an_average_is_that_of_the_exact_one(points, start, end):
    path = TimeWeighted()
    for at_ns, price in points.items():
        path.observe(price, at_ns)
    exact = path.average(start, end, [(20, 30)])
    assert path.average_floor(start, end, [(20, 30)]) == (None if exact is None else math.floor(exact))


def index_mid_last(*more, method="median", mid=1_010, last=1_100):
    """Index, mid, last trade and the median of the others; the book and the trade are of time 0."""
    mark = mark_of(component("index"), component("mid"), component("last"), others(), *more, method=method)
    mark.observe_book(mid, mid, 0, 0, 0)
    if last:
        mark.observe_trade(last, 1, 0)
    return mark


def test_the_median_of_the_others_is_a_price_among_them():
    """Of three the middle one; by weights 250 + 252 + 275 + 252, each share rounded down."""
    mark = index_mid_last()
    assert mark.price(1_000, no_feeds, 0) == 1_010
    assert prices(mark) == [1_000, 1_010, 1_100, 1_010]
    assert index_mid_last(method="weighted").price(1_000, no_feeds, 0) == 1_029


def test_the_median_of_two_others_is_the_floor_of_their_mean():
    mark = index_mid_last(mid=1_005, last=None)
    assert mark.price(1_000, no_feeds, 0) == 1_002
    assert prices(mark) == [1_000, 1_005, None, 1_002]


def test_the_median_of_the_others_does_not_count_its_own_last_price():
    """With it, the median of 1,000, 2,000 and 1,002 would be 1,002."""
    mark = index_mid_last(mid=1_005, last=None)
    mark.price(1_000, no_feeds, 0)
    mark.observe_book(2_000, 2_000, 0, 0, 1)
    mark.price(1_000, no_feeds, 1)
    assert prices(mark)[3] == 1_500


def test_the_median_of_the_others_may_come_first_and_is_still_computed_last():
    mark = mark_of(others(), component("mid"), component("last"))
    mark.observe_book(1_000, 1_000, 0, 0, 0)
    mark.observe_trade(1_100, 1, 0)
    mark.price(1, no_feeds, 0)
    assert prices(mark) == [1_050, 1_000, 1_100]


def test_the_median_of_the_others_is_as_old_as_the_newest_of_them():
    mark = mark_of(component("mid"), component("last", stale_after=HOUR), others(stale_after=10 * SECOND))
    mark.observe_book(1_000, 1_000, 0, 0, 0)
    mark.observe_trade(1_100, 1, 5 * SECOND)
    mark.price(1_000, no_feeds, 15 * SECOND)
    assert mark.last_components[2] == ("others", 1_050, 10 * SECOND, "")
    assert mark.due_ns(15 * SECOND) == 15 * SECOND + 1
    mark.price(1_000, no_feeds, 15 * SECOND + 1)
    assert mark.last_components[2] == ("others", None, 10 * SECOND + 1, f"stale: older than {10 * SECOND} ns")
    assert prices(mark)[:2] == [1_000, 1_100]


def test_a_component_that_is_left_out_does_not_make_the_median_of_the_others_younger():
    mark = mark_of(component("mid"), component("last", stale_after=SECOND), others(stale_after=10 * SECOND))
    mark.observe_book(1_000, 1_000, 0, 0, 0)
    mark.observe_trade(1_100, 1, 9 * SECOND)
    mark.price(1_000, no_feeds, 10 * SECOND)
    assert mark.last_components[2] == ("others", 1_050, SECOND, "")
    mark.price(1_000, no_feeds, 10 * SECOND + 1)
    assert mark.last_components[2] == ("others", None, 10 * SECOND + 1, f"stale: older than {10 * SECOND} ns")


def test_without_others_there_is_no_median_of_them():
    mark = mark_of(component("mid"), others())
    assert mark.price(1_000, no_feeds, 0) is None
    assert mark.last_components[1] == ("others", None, None, "no input")
    mark.observe_book(1_000, 1_000, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    assert mark.price(1_000, no_feeds, HOUR) is None
    assert mark.last_components[1] == ("others", None, None, "no input")


def test_beside_an_index_the_median_of_the_others_never_grows_old():
    mark = mark_of(component("index"), others(stale_after=1))
    assert mark.price(1_000, no_feeds, HOUR) == 1_000
    assert mark.due_ns(HOUR) == 0


def test_the_median_of_the_others_counts_a_reserve_only_when_it_is_used():
    """Of 1,000, 1,010 and 1,100 it is 1,010, with a reserve of 9,000 it would be 1,055."""
    mark = index_mid_last(component("feed", feed="F", reserve=True))
    feeds = {"F": (9_000, 0)}.get
    mark.price(1_000, feeds, 0)
    assert prices(mark) == [1_000, 1_010, 1_100, 1_010, None]
    mark = index_mid_last(component("feed", feed="F", reserve=True), last=None)
    mark.price(1_000, feeds, 0)
    assert prices(mark) == [1_000, 1_010, None, 1_010, 9_000]


def test_an_unused_reserve_does_not_make_the_median_of_the_others_younger():
    three = (component("mid"), component("last"), component("trades", window_ns=HOUR))
    mark = mark_of(*three, others(), component("feed", feed="F", reserve=True))
    mark.observe_book(1_000, 1_000, 0, 0, 0)
    mark.observe_trade(1_000, 1, 0)
    mark.price(1_000, {"F": (9_000, SECOND)}.get, SECOND)
    assert mark.last_components[3].age_ns == SECOND


KINDS = ("index", "mid", "impact", "last", "feed", "trades", "basis", "touch", "touch")
TERM = st.sampled_from([SECOND, MINUTE, HOUR])


@st.composite
def components_with_others(draw):
    """Up to five components, touches with and without a window among them, and the median of the others anywhere."""

    def one(kind):
        window = draw(TERM) if kind in {"trades", "basis"} or (kind == "touch" and draw(st.booleans())) else 0
        terms = {"weight": draw(st.integers(1, 5)), "stale_after": draw(TERM), "reserve": draw(st.booleans())}
        return component(kind, window_ns=window, feed="F" if kind == "feed" else None, **terms)

    row = [one(kind) for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))]
    row.insert(draw(st.integers(0, len(row))), others(weight=draw(st.integers(1, 5)), stale_after=draw(TERM)))
    return tuple(row)


@given(components_with_others(), METHOD, STEPS, STEPS)
def test_a_restored_mark_goes_on_as_if_it_had_never_stopped(components, method, before, after):
    going, other = mark_of(*components, method=method), mark_of(*components, method=method)
    now_ns, _ = run(going, before)
    saved = json.loads(json.dumps(going.save()))
    other.restore(saved)
    assert other.save() == saved
    assert run(other, after, now_ns) == run(going, after, now_ns)
    assert other.save() == going.save()


@given(components_with_others(), METHOD, STEPS, st.randoms(use_true_random=False))
def test_the_order_of_components_does_not_matter(components, method, steps, random):
    shuffled = list(components)
    random.shuffle(shuffled)
    _, answers = run(mark_of(*components, method=method), steps)
    _, other = run(mark_of(*shuffled, method=method), steps)
    assert [(price, due) for price, _, due in answers] == [(price, due) for price, _, due in other]


@given(components_with_others(), METHOD, STEPS, st.integers(1, 3_000))
def test_the_median_of_the_others_is_that_of_what_they_say_or_is_stale(components, method, steps, index):
    mark = mark_of(*components, method=method)
    now_ns, _ = run(mark, steps)
    mark.price(index, lambda name: feed_at(name, now_ns), now_ns)
    rest = [one.price for one in mark.last_components if one.kind != "others"]
    said = next(one for one in mark.last_components if one.kind == "others")
    assert said.price == median(rest) or said.why_not.startswith("stale")
    assert (said.price is None) == bool(said.why_not)


@given(components_with_others(), METHOD, STEPS, st.integers(1, 3_000), st.integers(0, 2 * HOUR))
def test_nothing_that_has_no_window_moves_before_it_is_due(components, method, steps, index, later):
    mark = mark_of(*(one for one in components if one.window_ns == 0), method=method)
    now_ns, _ = run(mark, steps)
    price = mark.price(index, no_feeds, now_ns)
    due = mark.due_ns(now_ns)
    then = min(now_ns + later, due - 1) if due else now_ns + later
    assert due == 0 or due > now_ns
    assert mark.price(index, no_feeds, then) == price
