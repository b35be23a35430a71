"""Durations and instants as text: exact both ways, and refused in words."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import PrecisionError
from marginkeep.rulebook.durations import (
    DAY,
    DURATION_MAX,
    HOUR,
    MINUTE,
    SECOND,
    format_duration,
    format_seconds,
    format_time,
    parse_duration,
    parse_time,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_SECOND = int((datetime(2200, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH).total_seconds())


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", 30 * SECOND),
        ("500ms", SECOND // 2),
        ("250us", 250_000),
        ("7ns", 7),
        ("10m", 10 * MINUTE),
        ("1h", HOUR),
        ("1.5h", 90 * MINUTE),
        ("0.000000001s", 1),
        ("7d", 7 * DAY),
        ("3650d", DURATION_MAX),
        ("0s", 0),
        ("0d", 0),
    ],
)
def test_a_duration_is_read_exactly(text, length):
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "-1s", "+1s", "1 s", "1S", "1h30m", "1e3s", ".5s", "5.s", "1w", "1s\n", "٣s", 30, None, True],
)
def test_what_is_not_a_number_with_a_unit_is_refused_with_an_example(text):
    with pytest.raises(PrecisionError, match=r'max_age is .*give a number with its unit \(.*as "30s"'):
        parse_duration(text, "max_age")


@pytest.mark.parametrize("text", ["0.5ns", "1.0000000001s", "0.1us0"[:-1] + "x"])
def test_a_duration_finer_than_a_nanosecond_or_of_another_unit_is_refused(text):
    with pytest.raises(PrecisionError):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3650.000000000000001d", "3651d", "9999999999999999999d"])
def test_a_duration_above_ten_years_is_refused_with_the_bound(text):
    with pytest.raises(PrecisionError, match=r"at most 3650d|whole number of nanoseconds"):
        parse_duration(text)


@given(st.integers(0, DURATION_MAX))
def test_every_duration_is_written_so_that_it_is_read_back(length):
    assert parse_duration(format_duration(length)) == length
    assert parse_duration(format_seconds(length)) == length


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0s"), (60 * SECOND, "1m"), (90 * SECOND, "90s"), (36 * HOUR, "36h"), (SECOND + 1, "1000000001ns")],
)
def test_a_duration_is_written_in_the_largest_unit_that_leaves_a_whole_number(length, text):
    assert format_duration(length) == text


@given(st.integers(0, LAST_SECOND))
def test_an_instant_agrees_with_the_calendar_both_ways(seconds):
    text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert format_time(seconds * SECOND) == text
    assert parse_time(text) == seconds * SECOND


@pytest.mark.parametrize(
    "day",
    ["1972-02-29", "2000-02-29", "2024-02-29", "2100-02-28", "2100-03-01", "1999-12-31", "2000-01-01", "2200-12-31"],
)
def test_the_edges_of_months_and_leap_years_are_read_and_written(day):
    text = f"{day}T12:34:56Z"
    assert parse_time(text) == (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1) * 1_000
    assert format_time(parse_time(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2201-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        datetime(2026, 1, 1, tzinfo=UTC),
        None,
    ],
)
def test_what_is_no_utc_time_of_the_calendar_is_refused_with_an_example(text):
    with pytest.raises(PrecisionError, match=r'since is .*give a UTC time .*as in "2026-01-01T00:00:00Z"'):
        parse_time(text, "since")
