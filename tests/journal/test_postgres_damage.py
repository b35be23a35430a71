"""Rows of a PostgreSQL journal changed by hand: what is read is checked, and what is wrong is named."""

from __future__ import annotations

import pytest

from marginkeep.errors import JournalCorrupt
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import Head
from tests.journal.records import begin, extend

SWAP = """
UPDATE {0}.records AS one
SET body = other.body, events = other.events, key = 'k' || one.key, hash = other.hash, previous = other.previous
FROM {0}.records AS other WHERE (one.sequence, other.sequence) IN ((7, 8), (8, 7))
"""

DAMAGES = {
    "a flipped byte in a body": (
        "UPDATE {}.records SET body = set_byte(body, 20, get_byte(body, 20) # 1) WHERE sequence = 7",
        "record 7 does not have the hash",
    ),
    "a flipped byte in a hash": (
        "UPDATE {}.records SET hash = set_byte(hash, 0, get_byte(hash, 0) # 128) WHERE sequence = 7",
        "record 7 does not have the hash",
    ),
    "another actor": ("UPDATE {}.records SET actor = 'mallory' WHERE sequence = 7", "record 7 does not have the hash"),
    "two records swapped": (
        SWAP,
        "record 7 follows hash",
    ),
    "a record deleted": ("DELETE FROM {}.records WHERE sequence = 7", "after record 6 comes 8"),
    "a record renumbered": ("UPDATE {}.records SET sequence = 99 WHERE sequence = 7", "after record 6 comes 8"),
    "the last record deleted": ("DELETE FROM {}.records WHERE sequence = 12", "the records end with 11"),
}


@pytest.fixture
def log(postgres_home):
    log = postgres_home()
    yield log
    log.close()


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_row_damaged_by_hand_is_named(log, postgres_server, postgres_home, damage):
    start = begin(log)
    head = extend(log, start, 12)
    statement, message = DAMAGES[damage]
    postgres_server.execute(statement.format(postgres_home.schema))
    with pytest.raises(JournalCorrupt, match=message):
        list(checked(log.read(), Head(0, 0, start.hash), head))


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM {}.records WHERE sequence = 12",
        "DELETE FROM {}.records",
        "UPDATE {}.records SET hash = 'x' WHERE sequence = 12",
        "UPDATE {}.head SET sequence = 11",
        "UPDATE {}.head SET hash = 'x'",
        "DELETE FROM {}.head",
    ],
)
def test_a_head_that_is_not_the_last_record_stops_the_next_writer(log, postgres_server, postgres_home, damage):
    extend(log, begin(log), 12)
    log.close()
    postgres_server.execute(damage.format(postgres_home.schema))
    with pytest.raises(JournalCorrupt):
        log.acquire()


def test_a_record_beyond_the_head_is_not_written_over(log, postgres_server, postgres_home):
    head = extend(log, begin(log), 2)
    schema = postgres_home.schema
    postgres_server.execute(f"CREATE TABLE {schema}.copy AS SELECT * FROM {schema}.records WHERE sequence = 2")
    postgres_server.execute(f"UPDATE {schema}.copy SET sequence = 3, key = 'other'")
    postgres_server.execute(f"INSERT INTO {schema}.records SELECT * FROM {schema}.copy")
    with pytest.raises(JournalCorrupt, match=r"\(sequence\)=\(3\) already exists"):
        extend(log, head, 1)
