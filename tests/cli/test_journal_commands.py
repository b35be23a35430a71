"""`marginkeep journal`, `verify`, `keys` and `serve --explain`: what a venue's engineer meets, wrong input included."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner
from tests.journal.houses import GENESIS, RULES_PATH, deposit, ticking

from marginkeep.cli import command
from marginkeep.cli.client_lines import on_grid
from marginkeep.errors import InputError, JournalCorrupt, JournalError
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.sqlite_log import SqliteLog

MARGINKEEP = (sys.executable, "-c", "from marginkeep.cli import main; main()")


def said(*words, code=0):
    done = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def refused(*words):
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def place(tmp_path):
    place = tmp_path / "house.db"
    said("journal", "init", place, "--rules", RULES_PATH)
    return place


def test_an_empty_journal_has_no_numbers_to_count(place):
    told = said("journal", "stats", place)
    assert "none yet" in told
    assert "1 to 0" not in told
    assert said("journal", "compact", place).startswith("nothing deleted (")


@pytest.mark.parametrize("hours", ["nan", "inf", "-1"])
def test_hours_that_are_no_bound_are_refused(place, hours):
    assert f"--keep-hours is {float(hours)}" in refused("journal", "compact", place, "--keep-hours", hours)


def test_records_that_are_not_there_are_not_erased(place):
    assert "has no record 7: it keeps 1 to 0; nothing was erased" in refused("journal", "erase", place, "7")


@pytest.mark.parametrize("words", [("journal", "stats"), ("verify",), ("journal", "export", "{place}", "out.jsonl")])
def test_a_folder_is_no_journal(tmp_path, words):
    words = [str(tmp_path) if word == "{place}" else word for word in words]
    asked = words if str(tmp_path) in words else [*words, tmp_path]
    assert "is a folder: name a journal" in refused(*asked)


def test_a_file_that_is_something_else_is_not_verified(tmp_path):
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as database:
        database.execute("create table something (id)")
    database.close()
    assert "another programme's SQLite file" in refused("verify", foreign)
    assert "is not an SQLite file" in refused("verify", RULES_PATH)


def test_a_damaged_journal_is_for_the_verifier_to_tell(place):
    with sqlite3.connect(place) as database:
        database.execute("update genesis set rules = rules || ' '")
    database.close()
    told = said("verify", place, code=1)
    assert "FAIL" in told
    assert "NOT SOUND" in told


def test_a_journal_out_of_reach_is_not_called_unsound():
    words = ["verify", "postgresql://127.0.0.1:1/house?connect_timeout=2"]
    with pytest.raises(JournalError, match="cannot be reached"):
        CliRunner().invoke(command, words, catch_exceptions=False)


def test_only_a_verifying_key_verifies(place, tmp_path):
    assert "is the signing key, which is secret" in refused("verify", place, "--key", tmp_path / "house.key")
    assert "--key is no verifying key" in refused("verify", place, "--key", "a+b+c")


def test_a_signing_key_that_is_none_is_refused_before_a_journal_is_made(tmp_path):
    key, place = tmp_path / "bad.key", tmp_path / "house.db"
    key.touch(mode=0o600)
    key.write_text("garbage")
    assert "holds no key" in refused("journal", "init", place, "--rules", RULES_PATH, "--key", key)
    assert not place.exists()


def test_a_record_that_cannot_be_read_is_named_as_damage(tmp_path):
    place = tmp_path / "damaged.db"
    log = SqliteLog(place)
    log.create(GENESIS)
    house = DurableHouse.open(log, clock=ticking())
    house.submit([deposit("ann"), deposit("bob")])
    house.close()
    with sqlite3.connect(place) as database:
        database.execute("update records set body = cast(replace(cast(body as text), 'Deposit', 'Dxposit') as blob)")
    database.close()
    with pytest.raises(JournalCorrupt, match="see `marginkeep verify`"):
        CliRunner().invoke(command, ["why", "ann", "--at", "2", "--journal", str(place)], catch_exceptions=False)


def test_a_key_that_is_not_there_is_not_revoked(place):
    assert "holds no key 'zzz'" in refused("keys", "revoke", "--journal", place, "zzz")


def test_what_a_replay_derives_is_not_said_to_be_left_out(place):
    assert "only --replay" in said("verify", place)
    told = said("verify", place, "--replay")
    assert "only --replay" not in told
    assert told.endswith("all as recorded\n")


def test_a_key_that_must_be_bound_is_refused_with_the_option_that_binds_it(place, tmp_path):
    made = ("keys", "create", "--journal", place, "--person", "p", "--account", "a", "-o", tmp_path / "p.toml")
    assert "--address 127.0.0.1/32 is this machine" in refused(*made, "--scope", "transfer")


def test_a_key_for_a_journal_that_is_not_there_yet_says_so(tmp_path):
    absent, credentials = tmp_path / "absent.db", tmp_path / "p.toml"
    told = said("keys", "create", "--journal", absent, "--person", "p", "--account", "a", "-o", credentials)
    assert f"{absent} is not there yet" in told


def test_an_explained_setting_names_the_option_that_it_came_from(place):
    told = said("serve", "--journal", place, "--explain")
    assert "--journal" in told
    assert "--place" not in told


def test_output_that_nobody_reads_any_more_ends_in_silence(place):
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait(30)
    done = subprocess.run(
        [*MARGINKEEP, "journal", "stats", str(place), "--json"],
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    reader.stdin.close()
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("price", "tick", "up", "shown"),
    [
        ("96356.391836734693877551", "0.1", True, "96356.4"),
        ("96356.391836734693877551", "0.1", False, "96356.3"),
        ("96356.391836734693877551", "0.5", True, "96356.5"),
        ("96356", "0.5", True, "96356"),
        ("0.000012345", "0.00001", False, "0.00001"),
        ("1.5", "", True, "1.5"),
    ],
)
def test_a_price_is_shown_on_its_market_s_grid_against_the_account(price, tick, up, shown):
    assert on_grid(price, tick, up=up) == shown


HEAVY = ("apprise", "cryptography", "httpx", "litestar", "prometheus_client", "psycopg", "structlog", "uvicorn")


@pytest.mark.parametrize(
    "words", [["--help"], ["health", str(RULES_PATH.parent / "alice.toml")]], ids=["help", "health"]
)
def test_a_command_that_needs_no_service_imports_none(words):
    script = (
        "import sys\n"
        "from marginkeep.cli import command\n"
        f"command.main({words!r}, standalone_mode=False)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"
