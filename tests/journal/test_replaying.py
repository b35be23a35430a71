"""A journal made again decision by decision, and the command that does it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from marginkeep.cli import command
from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.opening import open_log
from marginkeep.journal.record import make_record
from marginkeep.journal.replaying import first_difference, replay_journal
from marginkeep.journal.sqlite_log import SqliteLog
from tests.journal.houses import new_store, opened, script
from tests.verify.journals import ANOTHER, SIGNER, built, changed

pytestmark = pytest.mark.without_shadows("replaying is what these tests are about")


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    return built(tmp_path_factory.mktemp("replay") / "house.journal", 300, snapshots=(100, 200))


@pytest.fixture
def house():
    """A house in memory with two snapshots and 120 records."""
    made = opened(new_store())
    for start in range(0, 120, 40):
        made.submit(script(120)[start : start + 40])
        made.begin_snapshot().write(made.log)
    return made


def rewritten(log, sequence, **fields):
    """Replace a record by one that differs, with a hash in order; its successors still name the old one."""
    old = log.store.records[sequence]
    kept = ("sequence", "epoch", "recorded_ns", "previous", "body", "events", "kind", "actor", "key")
    log.store.records[sequence] = make_record(**{**{name: getattr(old, name) for name in kept}, **fields})


def test_every_decision_is_derived_again_and_every_snapshot_compared(house):
    report = replay_journal(house.log)
    assert report.ok
    assert (report.after, report.last, report.commands, report.snapshots) == (0, 120, 120, 3)


def test_a_compacted_journal_is_replayed_from_its_oldest_snapshot(house):
    house.log.delete_until(40)
    report = replay_journal(house.log)
    assert report.ok
    assert (report.after, report.last, report.commands, report.snapshots) == (40, 120, 80, 3)
    house.log.delete_until(100)
    for label in house.log.snapshots():
        house.log.store.labels.pop(label.sequence)
    with pytest.raises(JournalCorrupt, match="no snapshot covers them"):
        replay_journal(house.log)


def test_another_answer_is_shown_with_the_place_where_it_differs(house):
    record = next(one for one in house.log.read() if b'"Traded"' in one.events)
    events = json.loads(record.events)
    events[0]["buyer"]["fee"] += 1
    rewritten(house.log, record.sequence, events=json.dumps(events, separators=(",", ":")).encode())
    report = replay_journal(house.log)
    assert (report.found, report.differences[0].sequence) == (1, record.sequence)
    difference = report.differences[0]
    assert difference.where == "events[0].buyer.fee"
    assert int(difference.recorded) == int(difference.derived) + 1


def test_another_command_is_betrayed_by_its_answer_and_by_the_state(house):
    record = next(one for one in house.log.read(20) if b'"Deposit"' in one.body)
    body = json.loads(record.body)
    body["amount"] += 1
    rewritten(house.log, record.sequence, body=json.dumps(body).encode())
    report = replay_journal(house.log)
    assert report.differences[0].sequence == record.sequence
    assert any(one.where == "state hash" for one in report.differences)


def test_what_is_no_command_or_missing_is_named_and_the_rest_goes_on(house):
    rewritten(house.log, 50, body=b'{"type":"Nonsense"}')
    del house.log.store.records[110]
    report = replay_journal(house.log, most=1)
    assert (report.differences[0].sequence, report.differences[0].where) == (50, "body")
    assert report.found > 1
    assert report.last == 120


def test_other_spelling_of_the_same_answer_is_a_difference(house):
    record = next(iter(house.log.read(30, 31)))
    rewritten(house.log, 31, events=record.events.replace(b":", b": ", 1))
    assert replay_journal(house.log).differences[0].derived == "other spelling"


def test_a_stop_leaves_a_report_of_what_was_done(house):
    asked = iter(range(1000))
    report = replay_journal(house.log, stopped=lambda: next(asked) >= 30)
    assert (report.interrupted, report.ok, report.last, report.found) == (True, False, 30, 0)


def test_the_first_difference_of_two_values_is_found():
    assert first_difference("e", {"a": [1, 2]}, {"a": [1, 3]}) == ("e.a[1]", "2", "3")
    assert first_difference("e", {"a": 1}, {"a": 1, "b": None}) is None
    assert first_difference("e", {"a": 1}, {"a": 1, "b": 2}) == ("e.b", "null", "2")
    assert first_difference("e", [1], [1, 2]) == ("e", "[1]", "[1, 2]")


def test_a_place_names_its_kind_of_journal(journal, tmp_path):
    log = open_log(str(journal), read_only=True)
    assert isinstance(log, SqliteLog)
    log.close()
    with pytest.raises(InputError, match="is an export"):
        open_log("house.jsonl.gz")
    with pytest.raises(InputError, match="does not exist"):
        open_log(str(tmp_path / "nothing"), read_only=True)
    assert "schema other" in open_log("postgresql://user:secret@127.0.0.1:1/db?schema=other").place


def run(*arguments):
    return CliRunner().invoke(command, ["verify", *map(str, arguments)])


def test_the_command_verifies_and_replays(journal, tmp_path):
    key = tmp_path / "house.vkey"
    key.write_text(SIGNER.vkey)
    result = run(journal, "--key", key, "--replay")
    assert result.exit_code == 0, result.output
    assert "300 commands derived again from the genesis to record 301, 2 snapshots compared" in result.output
    assert "all as recorded" in result.output
    told = json.loads(run(journal, "--key", SIGNER.vkey, "--replay", "--json").output)
    assert (told["ok"], told["replay"]["ok"], told["replay"]["commands"]) == (True, True, 300)
    assert json.loads(run(journal, "--json").output)["checks"]["signatures"]["unchecked"] == 7


def test_the_command_exits_with_one_when_something_is_found(journal, tmp_path):
    assert run(journal, "--key", ANOTHER.vkey).exit_code == 1
    path = changed(journal, tmp_path / "j", "UPDATE records SET events = ? WHERE sequence = 20", b"[]")
    result = run(path, "--replay")
    assert result.exit_code == 1
    assert "found: record 20: its hash is" in result.output
    assert "differs: record 20, events:" in result.output


def test_the_command_refuses_what_it_cannot_read(journal, tmp_path):
    for arguments in (
        [tmp_path / "nothing"],
        ["house.jsonl", "--replay"],
        [journal, "--key", tmp_path / "nothing"],
        [journal, "--key", "a+b+c"],
    ):
        assert isinstance(run(*arguments).exception, InputError)


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    path = tmp_path / "noise.journal"
    path.write_bytes(b"no database at all" * 1000)
    refused = run(path, "--replay", "--json").exception
    assert isinstance(refused, InputError)
    assert "is not an SQLite file" in str(refused)
