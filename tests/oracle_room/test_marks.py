"""The mark price in progress: what counts, what is left out, and what moves it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.oracle.composite import median
from marginkeep.oracle.market_prices import touch_price
from marginkeep.oracle.marks import Mark
from marginkeep.rulebook.oracle_rules import MarkComponent, MarkRules
from marginkeep.units import RATE_ONE

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def component(kind, weight=1, stale_after=MINUTE, **terms):
    return MarkComponent(kind, weight, stale_after, **terms)


def mark_of(*components, method="median", band=0):
    return Mark(MarkRules("BTC-PERP", "BTC", method, components, band))


def no_feeds(name):
    return None


def three(band=0):
    """Median of index, mid and last trade, with a book of 990 at 1,010 and a trade of 1,005 at time 0."""
    mark = mark_of(component("index"), component("mid"), component("last"), band=band)
    mark.observe_book(995, 1_005, 990, 1_010, 0)
    mark.observe_trade(1_005, 1, 0)
    return mark


def whys(mark):
    return [one.why_not.partition(":")[0] for one in mark.last_components]


@pytest.mark.parametrize("wild", [1, 10, 100_500, 10**15])
def test_a_wild_last_trade_of_one_lot_does_not_move_the_mark_beyond_the_other_two(wild):
    mark = three()
    mark.observe_trade(wild, 1, 1)
    assert 998 <= mark.price(998, no_feeds, 1) <= 1_000


def test_nothing_there_is_no_price():
    mark = mark_of(component("mid"), component("last"))
    assert mark.price(1_000, no_feeds, 0) is None
    assert whys(mark) == ["no input", "no input"]
    assert mark.due_ns(0) == 0


def test_a_stale_book_is_left_out_and_one_exactly_at_the_tolerance_is_not():
    mark = mark_of(component("mid"), component("last", stale_after=HOUR))
    mark.observe_trade(2_000, 1, 0)
    mark.observe_book(995, 1_005, 0, 0, 0)
    assert mark.price(1_000, no_feeds, MINUTE) == 1_500
    assert mark.due_ns(MINUTE) == MINUTE + 1
    assert mark.price(1_000, no_feeds, MINUTE + 1) == 2_000
    assert mark.last_components[0] == ("mid", None, MINUTE + 1, f"stale: older than {MINUTE} ns")
    assert mark.last_components[1] == ("last", 2_000, MINUTE + 1, "")


def test_a_book_from_the_future_is_young_not_stale():
    """The sign of staleness, the other way round."""
    mark = mark_of(component("mid"))
    mark.observe_book(995, 1_005, 0, 0, HOUR)
    assert mark.price(1_000, no_feeds, 0) == 1_000
    assert mark.last_components[0].age_ns == 0


def test_a_stale_book_takes_touch_impact_and_basis_with_it_but_not_the_last_trade():
    kinds = ("touch", "impact", "basis", "mean_basis", "last", "index")
    windows = {"basis": MINUTE, "mean_basis": MINUTE}
    mark = mark_of(*(component(kind, window_ns=windows.get(kind, 0)) for kind in kinds))
    mark.observe_book(995, 1_005, 990, 1_010, 0)
    mark.observe_trade(1_005, 1, 0)
    mark.price(1_000, no_feeds, 0)
    assert whys(mark) == [""] * 6
    mark.observe_trade(1_005, 1, HOUR)
    mark.price(1_000, no_feeds, HOUR)
    assert whys(mark) == ["stale", "stale", "stale", "stale", "", ""]


@pytest.mark.parametrize(("bid", "ask"), [(1_006, 1_005), (0, 0)])
def test_a_crossed_or_an_empty_book_leaves_the_one_before_ageing(bid, ask):
    mark = mark_of(component("mid"))
    mark.observe_book(995, 1_005, 0, 0, 0)
    mark.observe_book(bid, ask, 0, 0, MINUTE)
    assert mark.price(1_000, no_feeds, MINUTE) == 1_000
    assert mark.price(1_000, no_feeds, MINUTE + 1) is None


@pytest.mark.parametrize(("bid", "ask"), [(995, 0), (0, 1_005)])
def test_a_book_without_a_side_has_no_mid_at_once_but_keeps_its_average_basis(bid, ask):
    mark = mark_of(component("mid"), component("touch"), component("impact"), component("basis", window_ns=MINUTE))
    mark.observe_book(1_095, 1_105, 1_090, 1_110, 0)
    mark.observe_trade(1_105, 1, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_100
    mark.observe_book(bid, ask, bid, ask, SECOND)
    assert mark.price(1_000, no_feeds, MINUTE) == 1_100
    assert [one.price for one in mark.last_components] == [None, None, None, 1_100]
    assert whys(mark)[:3] == ["the book lacks a side", "the book lacks a side", "the book lacks depth"]
    assert mark.price(1_000, no_feeds, MINUTE + 1) is None


def test_a_locked_book_is_a_book():
    mark = mark_of(component("mid"))
    mark.observe_book(1_000, 1_000, 0, 0, 0)
    assert mark.price(900, no_feeds, 0) == 1_000


def test_inputs_older_than_the_last_change_nothing_and_the_later_of_a_tie_counts():
    mark = mark_of(component("mid"), component("last"), component("funding", window_ns=HOUR))
    mark.observe_book(995, 1_005, 0, 0, 5)
    mark.observe_trade(1_000, 1, 5)
    mark.observe_funding(0, 5)
    saved = mark.save()
    mark.observe_book(1, 2, 0, 0, 4)
    mark.observe_trade(1, 1, 4)
    mark.observe_funding(RATE_ONE, 4)
    mark.observe_trade(0, 1, 6)
    mark.observe_trade(1, 0, 6)
    assert mark.save() == saved
    mark.observe_book(1_095, 1_105, 0, 0, 5)
    mark.observe_trade(1_200, 1, 5)
    mark.observe_funding(RATE_ONE // 10, 5)
    mark.price(1_000, no_feeds, 5)
    assert [one.price for one in mark.last_components] == [1_100, 1_200, 1_100]


def test_a_reserve_component_counts_only_while_fewer_than_three_others_do():
    reserve = component("basis", window_ns=MINUTE, reserve=True)
    mark = mark_of(component("index"), component("mid", stale_after=HOUR), component("last"), reserve)
    mark.observe_book(1_095, 1_105, 0, 0, 0)
    mark.observe_trade(5_000, 1, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_100
    assert whys(mark) == ["", "", "", "in reserve"]
    mark.observe_book(1_097, 1_107, 0, 0, MINUTE + 1)
    assert mark.price(1_000, no_feeds, MINUTE + 1) == 1_100  # median of 1,000, 1,102 and 1,000 + 100
    assert whys(mark) == ["", "", "stale", ""]
    mark.observe_trade(5_000, 1, MINUTE + 2)
    assert mark.price(1_000, no_feeds, MINUTE + 2) == 1_102
    assert whys(mark) == ["", "", "", "in reserve"]


def test_a_weighted_mark_gives_the_weight_of_what_is_missing_to_the_others():
    mark = mark_of(component("index", 3), component("mid", 1), component("last", 4), method="weighted")
    mark.observe_book(1_995, 2_005, 0, 0, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_250


def test_another_feed_counts_by_its_own_time():
    mark = mark_of(component("feed", feed="PERPS"), component("feed", feed="NONE"))
    assert mark.price(1_000, {"PERPS": (1_234, 7)}.get, MINUTE + 7) == 1_234
    assert mark.price(1_000, {"PERPS": (1_234, 7)}.get, MINUTE + 8) is None
    assert mark.last_components[1] == ("feed", None, None, "no input")
    mark.price(1_000, {"PERPS": (1_234, HOUR)}.get, HOUR)
    assert mark.price(1_000, no_feeds, HOUR) is None


def test_funding_still_to_come_is_in_the_price_and_runs_out():
    mark = mark_of(component("funding", window_ns=8 * HOUR))
    mark.observe_funding(RATE_ONE // 1_000, 0)
    assert mark.price(100_000, no_feeds, 0) == 100_100
    assert mark.price(100_000, no_feeds, 2 * HOUR) == 100_075
    assert mark.due_ns(2 * HOUR) == 2 * HOUR + SECOND
    assert mark.price(100_000, no_feeds, 8 * HOUR + 1) == 100_000
    assert mark.due_ns(8 * HOUR + 1) == 8 * HOUR + MINUTE + 1
    assert mark.price(100_000, no_feeds, 8 * HOUR + MINUTE + 1) is None


def test_funding_of_nothing_is_the_index_and_does_not_drift():
    mark = mark_of(component("funding", window_ns=8 * HOUR))
    mark.observe_funding(0, 0)
    assert mark.price(100_000, no_feeds, 0) == 100_000
    assert mark.due_ns(0) == 8 * HOUR + MINUTE + 1


def test_a_component_that_would_be_negative_is_left_out():
    mark = mark_of(component("funding", window_ns=HOUR), component("mid"))
    mark.observe_funding(-2 * RATE_ONE, 0)
    mark.observe_book(995, 1_005, 0, 0, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_000
    assert whys(mark) == ["its price is not above 0", ""]


def test_the_basis_moves_half_way_in_a_half_life_and_a_flash_of_the_book_hardly_moves_it():
    mark = mark_of(component("basis", stale_after=HOUR, window_ns=MINUTE))
    mark.observe_book(1_095, 1_105, 0, 0, 0)
    assert mark.price(1_000, no_feeds, 0) == 1_100
    mark.observe_book(1_295, 1_305, 0, 0, SECOND)
    assert mark.price(1_000, no_feeds, SECOND) == 1_100
    assert mark.due_ns(SECOND) == 2 * SECOND
    assert mark.price(1_000, no_feeds, SECOND + MINUTE) == 1_200
    mark.observe_book(9_995, 10_005, 0, 0, SECOND + MINUTE)
    assert mark.price(1_000, no_feeds, SECOND + MINUTE) == 1_200


@pytest.mark.parametrize("kind", ["basis", "mean_basis"])
def test_a_basis_that_has_settled_is_due_again_when_the_book_moves_within_a_second(kind):
    mark = mark_of(component(kind, stale_after=HOUR, window_ns=1))
    mark.observe_book(1_095, 1_105, 0, 0, 0)
    mark.price(1_000, no_feeds, 2)
    assert mark.due_ns(2) == (HOUR + 1 if kind == "basis" else 2 + SECOND)
    mark.price(1_000, no_feeds, 3)
    assert mark.due_ns(3) == HOUR + 1
    mark.observe_book(1_295, 1_305, 0, 0, 4)
    mark.price(1_000, no_feeds, 4)
    assert mark.due_ns(4) == 4 + SECOND
    mark.price(1_000, no_feeds, 4 + SECOND)
    assert mark.price(1_000, no_feeds, 4 + 2 * SECOND) == 1_300


def test_the_basis_is_observed_at_most_once_a_second_and_what_was_missed_is_due():
    mark = mark_of(component("mean_basis", stale_after=HOUR, window_ns=MINUTE))
    mark.observe_book(1_095, 1_105, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    mark.observe_book(1_295, 1_305, 0, 0, 1)
    mark.price(1_000, no_feeds, 1)
    assert mark.due_ns(1) == SECOND + 1
    mark.price(1_000, no_feeds, 2 * SECOND)
    assert mark.price(1_000, no_feeds, 4 * SECOND) == 1_200  # 2 s of 100, 2 s of 300
    assert mark.price(1_000, no_feeds, 63 * SECOND) == 1_300
    assert mark.due_ns(63 * SECOND) == HOUR + 2


def test_the_basis_learns_nothing_from_a_stale_book():
    """The index alone falls by half an hour after the book's last word: that is no basis of 600."""
    mark = mark_of(component("basis", window_ns=HOUR), component("index"))
    mark.observe_book(1_095, 1_105, 0, 0, 0)
    mark.price(1_000, no_feeds, 0)
    mark.price(500, no_feeds, HOUR // 2)
    mark.observe_book(595, 605, 0, 0, HOUR)
    mark.price(500, no_feeds, HOUR)
    assert mark.last_components[0].price == 600


def test_trades_leave_the_window_when_they_are_due():
    mark = mark_of(component("trades", stale_after=HOUR, window_ns=MINUTE), component("index"))
    mark.observe_trade(2_000, 3, 0)
    mark.observe_trade(1_000, 1, SECOND)
    assert mark.price(1_500, no_feeds, MINUTE) == 1_625  # median of 1,750 and the index
    assert mark.due_ns(MINUTE) == MINUTE + 1
    assert mark.price(1_500, no_feeds, MINUTE + 1) == 1_250
    assert mark.due_ns(MINUTE + 1) == MINUTE + SECOND + 1
    assert mark.price(1_500, no_feeds, MINUTE + SECOND + 1) == 1_500
    assert whys(mark)[0] == "no trade in the window"


def test_a_time_that_has_passed_unseen_is_due_now():
    mark = three()
    mark.price(1_000, no_feeds, 0)
    assert mark.due_ns(HOUR) == HOUR


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.none() | st.integers(1, 3 * 10**6))
def test_the_touch_is_the_median_of_bid_ask_and_last(bid, spread, last):
    mark = mark_of(component("touch"))
    mark.observe_book(bid, bid + spread, 0, 0, 0)
    if last:
        mark.observe_trade(last, 1, 0)
    assert mark.price(1, no_feeds, 0) == touch_price(bid, bid + spread, last)


PRICE = st.integers(0, 3_000)
STEP = st.integers(-SECOND, 2 * MINUTE) | st.sampled_from([0, 1, SECOND, MINUTE, MINUTE + 1])
INPUTS = st.one_of(
    st.tuples(st.just("book"), PRICE, PRICE, PRICE, PRICE),
    st.tuples(st.just("trade"), PRICE, st.integers(0, 50)),
    st.tuples(st.just("funding"), st.integers(-RATE_ONE, RATE_ONE)),
    st.tuples(st.just("price"), st.integers(1, 3_000)),
)
STEPS = st.lists(st.tuples(STEP, INPUTS), max_size=30)
STEADY = ("index", "mid", "touch", "impact", "last", "feed", "trades")
KINDS = (*STEADY, "basis", "mean_basis", "funding")


@st.composite
def components_of(draw, kinds=KINDS, decay=RATE_ONE):
    def one(kind):
        windowed = kind in {"basis", "mean_basis", "funding", "trades"}
        return component(
            kind,
            weight=draw(st.integers(1, 5)),
            stale_after=draw(st.sampled_from([SECOND, MINUTE, HOUR])),
            window_ns=draw(st.sampled_from([SECOND, MINUTE, 10 * MINUTE])) if windowed else 0,
            feed="F" if kind == "feed" else None,
            decay=draw(st.integers(0, decay)) if kind == "trades" else 0,
            power=draw(st.integers(1, 3)),
            reserve=draw(st.booleans()),
        )

    return tuple(one(kind) for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6)))


def feed_at(name, now_ns):
    return (1 + now_ns // SECOND % 2_000, now_ns // MINUTE * MINUTE) if now_ns % 3 else None


def apply(mark, now_ns, what, *numbers):
    if what == "book":
        mark.observe_book(*numbers, now_ns)
    elif what == "trade":
        mark.observe_trade(*numbers, now_ns)
    elif what == "funding":
        mark.observe_funding(*numbers, now_ns)
    else:
        return mark.price(*numbers, lambda name: feed_at(name, now_ns), now_ns)
    return None


def run(mark, steps, now_ns=HOUR):
    """Apply steps, each some time after the one before; return the time reached and what was answered."""
    answers = []
    for step, (what, *numbers) in steps:
        now_ns += step
        answers.append((apply(mark, now_ns, what, *numbers), mark.last_components, mark.due_ns(now_ns)))
    return now_ns, answers


METHOD = st.sampled_from(["median", "weighted"])


@given(components_of(), METHOD, STEPS, STEPS)
def test_a_restored_mark_goes_on_as_if_it_had_never_stopped(components, method, before, after):
    going, other = mark_of(*components, method=method), mark_of(*components, method=method)
    now_ns, _ = run(going, before)
    saved = json.loads(json.dumps(going.save()))
    other.restore(saved)
    assert other.save() == saved
    assert run(other, after, now_ns) == run(going, after, now_ns)
    assert other.save() == going.save()


@given(components_of(), METHOD, STEPS, st.integers(1, 10**6), st.integers(1, RATE_ONE))
def test_the_band_holds_for_any_input(components, method, steps, index, band):
    mark = mark_of(*components, method=method, band=band)
    now_ns, _ = run(mark, steps)
    price = mark.price(index, lambda name: feed_at(name, now_ns), now_ns)
    assert price is None or abs(price - index) * RATE_ONE <= index * band


@given(components_of(), STEPS, st.integers(1, 3_000))
def test_the_mark_is_the_median_of_what_it_says_it_used(components, steps, index):
    mark = mark_of(*components)
    now_ns, _ = run(mark, steps)
    price = mark.price(index, lambda name: feed_at(name, now_ns), now_ns)
    said = [one.price for one in mark.last_components]
    assert price == median(said)
    there = [one for one in said if one is not None]
    assert price is None or min(there) <= price <= max(there)
    assert all((one.price is None) == bool(one.why_not) for one in mark.last_components)
    others = [one for one, rules in zip(mark.last_components, components, strict=True) if not rules.reserve]
    assert sum(one.price is not None for one in others) < 3 or len(there) <= len(others)


@given(components_of(), METHOD, STEPS, st.randoms(use_true_random=False))
def test_the_order_of_components_does_not_matter(components, method, steps, random):
    shuffled = list(components)
    random.shuffle(shuffled)
    _, answers = run(mark_of(*components, method=method), steps)
    _, others = run(mark_of(*shuffled, method=method), steps)
    assert [(price, due) for price, _, due in answers] == [(price, due) for price, _, due in others]


@given(
    components_of(kinds=[kind for kind in STEADY if kind != "feed"], decay=0),
    METHOD,
    STEPS,
    st.integers(1, 3_000),
    st.integers(0, 2 * HOUR),
)
def test_nothing_that_keeps_still_moves_before_it_is_due(components, method, steps, index, later):
    mark = mark_of(*components, method=method)
    now_ns, _ = run(mark, steps)
    price = mark.price(index, no_feeds, now_ns)
    due = mark.due_ns(now_ns)
    then = min(now_ns + later, due - 1) if due else now_ns + later
    assert due == 0 or due > now_ns
    assert mark.price(index, no_feeds, then) == price
