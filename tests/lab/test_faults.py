"""Faults as text, and what they do to quotes."""

from itertools import pairwise

import numpy as np
import pytest
from tests.drills import columns_of, made_up, quoted, rows_between

from marginkeep.errors import InputError
from marginkeep.lab.faults import FORMS, apply_faults, default_faults, parse_fault
from marginkeep.rulebook.durations import MINUTE, SECOND


@pytest.fixture(scope="module")
def quotes():
    return quoted(made_up())[2]


def faulted(quotes, text):
    """The quotes with one fault, the fault, its rows and the rows around it."""
    fault = parse_fault(text, quotes)
    return apply_faults(quotes, [fault]), fault, rows_between(quotes, fault)


def same_outside(before, after, rows, columns):
    """Tell whether nothing changed but in these rows and columns."""
    untouched = np.ones(before.prices.shape, bool)
    untouched[np.ix_(rows, columns)] = False
    return all(
        np.array_equal(getattr(before, name)[untouched], getattr(after, name)[untouched])
        for name in ("prices", "source_ns", "arrival_ns", "quoted")
    )


def test_a_frozen_source_repeats_its_last_price_under_new_times(quotes):
    after, fault, rows = faulted(quotes, "freeze:alpha@+30m+10m")
    columns = columns_of(quotes, "alpha")
    assert len(rows) == 10
    assert (after.prices[np.ix_(rows, columns)] == quotes.prices[rows[0] - 1, columns]).all()
    assert np.array_equal(after.source_ns, quotes.source_ns)
    assert same_outside(quotes, after, rows, columns)
    assert fault.words == "alpha frozen"


def test_a_source_frozen_from_the_start_repeats_its_first_price(quotes):
    after, _, rows = faulted(quotes, "freeze:alpha@+0s+10m")
    columns = columns_of(quotes, "alpha")
    assert (after.prices[np.ix_(rows, columns)] == quotes.prices[0, columns]).all()


def test_a_scaled_price_is_multiplied_exactly(quotes):
    for text, factor in (("scale:bravo*10@+30m+10m", 10), ("scale:bravo*0.01@+30m+10m", 0.01)):
        after, _, rows = faulted(quotes, text)
        columns = columns_of(quotes, "bravo")
        found = after.prices[np.ix_(rows, columns)]
        assert np.array_equal(found, np.floor(quotes.prices[np.ix_(rows, columns)] * factor + 1e-9).astype(int))
        assert same_outside(quotes, after, rows, columns)


def test_a_silent_source_has_no_quotes_and_the_others_have(quotes):
    after, _, rows = faulted(quotes, "silence:alpha,charlie@+30m+10m")
    said = {quote.source for row in rows.tolist() for quote in after.batch(row)}
    assert said == {"bravo"}
    assert {quote.source for quote in after.batch(int(rows[-1]) + 1)} == {"alpha", "bravo", "charlie"}


def test_a_swap_shows_each_feed_the_number_of_the_other(quotes):
    after, fault, rows = faulted(quotes, "swap:alpha:BTC<->ETH@+30m+10m")
    btc, eth = (quotes.lines.index((feed, "alpha")) for feed in ("BTC", "ETH"))
    ratio = float(quotes.units[eth] / quotes.units[btc])
    assert np.allclose(after.prices[rows, btc] / (quotes.prices[rows, eth] * ratio), 1, rtol=1e-3)
    assert np.allclose(after.prices[rows, eth] * ratio / quotes.prices[rows, btc], 1, rtol=1e-3)
    assert same_outside(quotes, after, rows, [btc, eth])
    assert fault.words == "alpha swaps BTC and ETH"


def test_a_zero_print_of_one_feed_leaves_the_others_alone(quotes):
    after, fault, rows = faulted(quotes, "zero:alpha/BTC@+30m+10m")
    columns = columns_of(quotes, "alpha", "BTC")
    assert len(columns) == 1
    assert (after.prices[rows, columns[0]] == 0).all()
    assert same_outside(quotes, after, rows, columns)
    assert fault.words == "alpha in BTC at zero"


def test_a_late_source_says_what_was_true_then_and_dates_it_honestly(quotes):
    after, _, rows = faulted(quotes, "late:alpha+90s@+30m+10m")
    columns = columns_of(quotes, "alpha")
    assert np.array_equal(after.prices[np.ix_(rows, columns)], quotes.prices[np.ix_(rows - 2, columns)])
    assert (quotes.source_ns - after.source_ns)[np.ix_(rows, columns)].min() == 90 * SECOND
    assert (quotes.source_ns - after.source_ns).max() == 90 * SECOND
    assert np.array_equal(after.arrival_ns, quotes.arrival_ns)


def test_a_late_source_never_says_what_is_not_yet_true(quotes):
    after, _, rows = faulted(quotes, "late:alpha+30s@+30m+10m")
    columns = columns_of(quotes, "alpha")
    assert np.array_equal(after.prices[np.ix_(rows, columns)], quotes.prices[np.ix_(rows - 1, columns)])


def test_a_clock_ahead_dates_true_prices_into_the_future(quotes):
    after, _, rows = faulted(quotes, "ahead:alpha+30s@+30m+10m")
    columns = columns_of(quotes, "alpha")
    assert ((after.source_ns - quotes.source_ns)[np.ix_(rows, columns)] == 30 * SECOND).all()
    assert np.array_equal(after.prices, quotes.prices)


def test_faults_are_applied_one_on_top_of_the_other(quotes):
    texts = ("freeze:alpha@+30m+10m", "scale:alpha*10@+35m+10m")
    after = apply_faults(quotes, [parse_fault(text, quotes) for text in texts])
    columns = columns_of(quotes, "alpha")
    middle = rows_between(quotes, parse_fault("zero:alpha@+36m+1m", quotes))[0]
    assert np.array_equal(after.prices[middle, columns], 10 * quotes.prices[30 - 1, columns])


def test_times_are_utc_or_since_the_start(quotes):
    from marginkeep.rulebook.durations import format_time

    relative = parse_fault("zero:alpha@+30m+10m", quotes)
    text = format_time(relative.start_ns)
    for written in (text, text[:-1], text[:-4]):
        assert parse_fault(f"zero:alpha@{written}+10m", quotes).start_ns == relative.start_ns
    assert relative.start_ns == int(quotes.times_ns[0]) + 30 * MINUTE
    assert relative.end_ns - relative.start_ns == 10 * MINUTE


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_examples_are_read(quotes, form):
    assert parse_fault(form.replace("+1h+", "+30m+"), quotes).text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("melt:alpha@+30m+10m", "begin with one of freeze, scale"),
        ("freeze", "begin with one of"),
        ("freeze:alpha", "end with @ and when"),
        ("freeze:alpha@12:30+10m", "end with @ and when"),
        ("freeze:alpha@+30m", "end with @ and when"),
        ("freeze:alpha@+30m+0s", "there is no tick"),
        ("freeze:alpha@+1d+10m", "there is no tick"),
        ("freeze:alpha@2021-13-19T12:50+10m", "UTC time"),
        ("freeze:alpha@+30m+5000d", "at most"),
        ("freeze:zulu@+30m+10m", "no source 'zulu', use one of alpha, bravo, charlie"),
        ("freeze:@+30m+10m", "no source ''"),
        ("freeze:alpha/GOLD@+30m+10m", "no feed 'GOLD'"),
        ("scale:alpha@+30m+10m", r"scale:alpha\*10"),
        ("scale:alpha*0@+30m+10m", "above 0"),
        ("scale:alpha*1000001@+30m+10m", "above 0 and to 1,000,000"),
        ("swap:alpha@+30m+10m", "swap:alpha:BTC<->ETH"),
        ("swap:alpha:BTC<->GOLD@+30m+10m", "no feed 'GOLD'"),
        ("swap:alpha:BTC<->BTC@+30m+10m", "two different feeds"),
        ("swap:alpha/BTC:BTC<->ETH@+30m+10m", "leave out /BTC"),
        ("late:alpha@+30m+10m", "late:alpha"),
        ("ahead:alpha+1.0000000001s@+30m+10m", "whole number of nanoseconds"),
    ],
)
def test_what_cannot_be_a_fault_is_refused_with_the_cure(quotes, text, words):
    with pytest.raises(InputError, match=words) as refusal:
        parse_fault(text, quotes)
    assert text in str(refusal.value)


@pytest.mark.parametrize("sources", [1, 2, 3, 5])
def test_the_default_faults_can_be_read_and_follow_one_another(sources):
    quotes = quoted(made_up(), sources)[2]
    faults = [parse_fault(text, quotes) for text in default_faults(quotes)]
    assert [fault.kind for fault in faults] == ["freeze", "scale", "silence"]
    assert len(faults[2].sources) == max(1, sources - 1)
    for one, other in pairwise(faults):
        assert one.end_ns == other.start_ns


def test_the_default_faults_lie_in_the_fall(quotes):
    faults = [parse_fault(text, quotes) for text in default_faults(quotes)]
    level = (quotes.prices / quotes.prices[0]).mean(axis=1)
    rows = np.searchsorted(quotes.times_ns, [faults[0].start_ns, faults[-1].end_ns])
    assert level[rows[1]] - level[rows[0]] < 0.9 * (level.min() - level.max()) / 2
