"""A journal in SQLite whose process is killed, loses power or cannot write, at every call that changes its files."""

from __future__ import annotations

import errno

import pytest

from tests.journal.crash_runs import COMMANDS, GROUP
from tests.journal.crashes import CrashRoom

pytestmark = pytest.mark.without_shadows("thousands of recoveries, each compared with an undisturbed run")

SHARES = 4
"""Each sweep over all calls is cut into as many tests, for machines with several cores."""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = CrashRoom(tmp_path_factory.mktemp("crashes"))
    yield room
    room.close()


@pytest.fixture(scope="module")
def whole(room):
    """An undisturbed run of each kind: how many calls it makes, what it leaves, its last word."""
    return {run: room.undisturbed(run) for run in ("records", "house")}


def sweep(room, whole, run, mode, steps, **order):
    """Crash at each of the calls and check what is left; return how the runs ended."""
    ends = []
    for at in steps:
        told = room.crash(run, mode, at, seed=at, **order)
        room.require_nothing_lost(run, told, whole[run])
        ends.append(told["ended"])
    return ends


@pytest.mark.parametrize("share", range(SHARES))
def test_a_house_killed_at_any_write_loses_nothing_and_repeats_nothing(room, whole, share):
    steps = range(1 + share, whole["house"][0] + 1, SHARES)
    assert len(steps) > 100
    assert set(sweep(room, whole, "house", "kill", steps)) == {"killed"}


@pytest.mark.parametrize("share", range(SHARES))
def test_a_power_cut_at_any_write_loses_only_what_was_not_acknowledged(room, whole, share):
    steps = range(1 + share, whole["records"][0] + 1, SHARES)
    assert len(steps) > 100
    assert set(sweep(room, whole, "records", "power cut", steps)) == {"killed"}


def test_a_write_torn_in_half_by_a_kill_is_as_if_it_had_not_been(room, whole):
    steps = range(1, whole["records"][0] + 1, 5)
    assert set(sweep(room, whole, "records", "torn", steps)) == {"killed"}


def test_a_crash_during_the_recovery_from_a_crash_loses_nothing(room, whole):
    calls = whole["records"][0]
    for at in range(calls // 3, calls, calls // 10):
        told = room.crash("records", "power cut", at, seed=at)
        for again in range(1, 40, 6):
            later = room.go_on("records", "power cut", again, seed=again)
            told["acknowledged"] += later["acknowledged"]
        room.require_nothing_lost("records", told, whole["records"])


def test_a_short_write_is_completed(room, whole):
    steps = range(1, whole["records"][0] + 1, 9)
    assert set(sweep(room, whole, "records", "short", steps)) == {"done"}


@pytest.mark.parametrize(
    ("error", "words"), [(errno.ENOSPC, "room"), (errno.EIO, "check the disk")], ids=["full", "broken"]
)
def test_a_disk_that_fails_stops_the_journal_which_says_so(room, whole, error, words):
    calls = whole["house"][0]
    for at in range(1, calls + 1, 9):
        told = room.crash("house", "fail", at, error=error)
        if told["acknowledged"][-1:] != [COMMANDS]:
            assert told["ended"].startswith(("JournalStalled: ", "JournalFull: ")), told
            assert words in told["ended"]
        room.require_nothing_lost("house", told, whole["house"])


def test_one_failed_sync_stops_the_journal_though_the_next_would_succeed(room, whole):
    stopped = 0
    for at in range(1, whole["records"][0] + 1, 5):
        told = room.crash("records", "sync fails once", at)
        if told["ended"] != "done":
            assert told["ended"].startswith("JournalStalled: ")
            stopped += 1
        room.require_nothing_lost("records", told, whole["records"])
    assert stopped > COMMANDS // GROUP


def test_pages_lost_by_a_failed_sync_are_written_anew_before_anything_builds_on_them(room, whole):
    """The next process finds the pages in the kernel's memory; only a power cut shows that the disk lacks them."""
    calls, built_on = whole["records"][0], 0
    for at in range(1, calls - 100, 11):
        for later in (8, 20, 25, 80):  # while the bytes are written anew, while they are carried over, and after
            told = room.crash("records", "lose sync", at)
            assert told["ended"].startswith(("JournalStalled: ", "JournalFull: ")), told
            more = room.go_on("records", "power cut", later, seed=at)
            built_on += len(more["acknowledged"])
            told["acknowledged"] += more["acknowledged"]
            room.require_nothing_lost("records", told, whole["records"])
    assert built_on > 10, "something was acknowledged between the failed sync and the power cut"
