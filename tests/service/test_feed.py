"""The ring of recent entries: bounded in number and in bytes, and nothing in between is ever missing."""

import pytest

from marginkeep.service.feed import Entry, Feed

pytestmark = pytest.mark.without_shadows("no command is applied")


def entries(first, last, size=1):
    return [
        Entry(sequence=number, recorded_ns=number, actor="a", correlation="", events=(), size=size)
        for number in range(first, last + 1)
    ]


def numbers(found):
    return [entry.sequence for entry in found]


def test_what_came_after_is_told_in_order_and_in_pages():
    feed = Feed(10)
    feed.publish(entries(11, 20))
    assert numbers(feed.since(10, 4)) == [11, 12, 13, 14]
    assert numbers(feed.since(18)) == [19, 20]
    assert feed.since(20) == []


def test_entries_beyond_the_number_go_oldest_first():
    feed = Feed(0, entries_max=3)
    feed.publish(entries(1, 5))
    assert (feed.first, feed.last) == (3, 5)
    assert feed.since(1) is None
    assert numbers(feed.since(2)) == [3, 4, 5]


def test_entries_beyond_the_bytes_go_though_they_are_few():
    feed = Feed(0, bytes_max=100)
    feed.publish(entries(1, 4, size=30))
    assert feed.first == 2
    feed.publish(entries(5, 5, size=90))
    assert numbers(feed.since(feed.first - 1)) == [5]


def test_the_newest_entry_is_kept_however_large_it_is():
    feed = Feed(0, bytes_max=100)
    feed.publish(entries(1, 1, size=10**9))
    assert numbers(feed.since(0)) == [1]
    feed.publish(entries(2, 2, size=1))
    assert feed.since(0) is None
    assert numbers(feed.since(1)) == [2]


def test_an_entry_out_of_order_is_a_defect():
    feed = Feed(0)
    with pytest.raises(AssertionError, match="entry 2 follows 0"):
        feed.publish(entries(2, 2))
