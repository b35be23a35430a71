"""What is PostgreSQL's own: fencing by lock and head, durability of the server, its errors, secrets, damage."""

from __future__ import annotations

import threading

import psycopg
import pytest

from marginkeep.errors import FencedOut, InputError, JournalStalled
from marginkeep.journal.checking import checked
from marginkeep.journal.command_log import Head
from marginkeep.journal.postgres_log import PostgresLog
from marginkeep.journal.record import genesis_hash
from tests.journal import postgres_servers
from tests.journal.postgres_servers import PostgresServer, new_folder, wait_for
from tests.journal.records import GENESIS, begin, extend


@pytest.fixture
def log(postgres_home):
    log = postgres_home()
    yield log
    log.close()


@pytest.fixture
def second(postgres_home):
    second = postgres_home()
    yield second
    second.close()


@pytest.fixture
def own_server(request):
    """A server of the test's own, with settings from the marker's parameters."""
    server = PostgresServer(new_folder(), **getattr(request, "param", {}))
    try:
        yield server.init().start()
    finally:
        server.remove()


def writer_pid(server, schema):
    """Return the server's process for the session that holds an advisory lock and has written to a schema."""
    found = server.execute(
        "SELECT DISTINCT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    )
    assert len(found) == 1, f"one writer expected: {schema}, {found}"
    return found[0][0]


def test_where_there_is_no_postgresql_its_tests_say_what_to_install(monkeypatch):
    monkeypatch.setattr(postgres_servers, "find_binaries", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="install the package postgresql"):
        postgres_servers.require_binaries()


# Fencing ------------------------------------------------------------------------------------------------------------


def test_a_writer_whose_session_was_ended_is_fenced_out(log, second, postgres_server, postgres_home):
    head = extend(log, begin(log), 2)
    postgres_server.execute("SELECT pg_terminate_backend(%s)", (writer_pid(postgres_server, postgres_home.schema),))
    taken = second.acquire()
    assert taken == Head(2, 2, head.hash)
    with pytest.raises(FencedOut, match=r"record 2 of epoch 2, this writer's is record 2 of epoch 1"):
        extend(log, head, 1)
    extend(second, taken, 1)


def test_a_writer_whose_session_was_ended_and_not_replaced_is_stalled_until_it_acquires_anew(
    log, postgres_server, postgres_home
):
    head = extend(log, begin(log), 2)
    postgres_server.execute("SELECT pg_terminate_backend(%s)", (writer_pid(postgres_server, postgres_home.schema),))
    with pytest.raises(JournalStalled, match="could not be written"):
        extend(log, head, 1)
    with pytest.raises(JournalStalled, match="an earlier write failed"):
        extend(log, head, 1)
    taken = log.acquire()
    assert taken == Head(2, 2, head.hash)
    extend(log, taken, 1)


def test_after_a_take_over_a_third_writer_is_refused_although_the_first_has_gone(log, second, postgres_home):
    begin(log)
    head = second.acquire(take_over=True)
    log.close()
    third = postgres_home()
    with pytest.raises(FencedOut, match="epoch 2 is connected"):
        third.acquire()
    extend(second, head, 1)
    third.close()


def test_a_take_over_waits_for_the_transaction_in_progress_and_counts_it(log, second, postgres_server, postgres_home):
    """The zombie's commit either comes before the new epoch, and is seen by it, or never."""
    extend(log, begin(log), 1)
    taken = []
    with psycopg.connect(postgres_server.dsn, options=f"-csearch_path={postgres_home.schema}") as zombie:
        zombie.execute("UPDATE head SET sequence = sequence")
        taker = threading.Thread(target=lambda: taken.append(second.acquire(take_over=True)))
        taker.start()
        for _ in wait_for("the taker to wait"):
            if postgres_server.execute("SELECT 1 FROM pg_locks WHERE NOT granted"):
                break
        assert taken == []
    taker.join(30)
    assert [head.epoch for head in taken] == [2]


def test_documents_are_stored_while_a_batch_is_being_written(postgres_server, postgres_home):
    log = postgres_home(postgres_server.dsn + " options='-c lock_timeout=5s'")
    begin(log)
    with psycopg.connect(postgres_server.dsn, options=f"-csearch_path={postgres_home.schema}") as batch:
        batch.execute("UPDATE head SET sequence = sequence")
        log.put_document("key", "name", b"body")
    assert log.documents("key") == {"name": b"body"}
    log.close()


# The server must keep what it acknowledges ----------------------------------------------------------------------------


@pytest.mark.parametrize("own_server", [{"fsync": "off"}], indirect=True, ids=["fsync=off"])
def test_a_server_without_fsync_is_refused(own_server):
    log = PostgresLog(own_server.dsn)
    with pytest.raises(InputError, match="fsync=off and would lose acknowledged commands"):
        log.create(GENESIS)


@pytest.mark.parametrize(
    ("own_server", "expected"),
    [({"synchronous_commit": weak}, strong) for weak, strong in
     (("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply"))],
    indirect=["own_server"], ids=["off", "local", "remote_write", "remote_apply"],
)  # fmt: skip
def test_a_weak_synchronous_commit_is_strengthened_and_a_strong_one_is_kept(own_server, expected):
    log = PostgresLog(own_server.dsn)
    begin(log)
    assert log.durability == f"fsync=on, synchronous_commit={expected}, synchronous_standby_names=''"
    log.close()


def test_a_commit_that_no_longer_waits_for_its_standby_is_not_acknowledged(own_server):
    log = PostgresLog(own_server.dsn)
    head = begin(log)
    own_server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    own_server.execute("SELECT pg_reload_conf()")
    raised = []

    def append():
        try:
            extend(log, head, 1)
        except JournalStalled as error:
            raised.append(str(error))

    writer = threading.Thread(target=append)
    writer.start()
    for _ in wait_for("the commit to wait for a standby"):
        waiting = own_server.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        if waiting:
            break
    assert raised == []
    own_server.execute("SELECT pg_cancel_backend(%s)", waiting[0])
    writer.join(30)
    assert len(raised) == 1
    assert "the standby may lack it" in raised[0]


def test_a_server_stopped_during_a_commit_stalls_the_journal(own_server):
    """The commit waits for a standby that never comes; the server is killed meanwhile."""
    log = PostgresLog(own_server.dsn)
    head = extend(log, begin(log), 1)
    own_server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    own_server.execute("SELECT pg_reload_conf()")
    raised = []

    def append():
        with pytest.raises(JournalStalled) as caught:
            extend(log, head, 1)
        raised.append(caught)

    writer = threading.Thread(target=append)
    writer.start()
    for _ in wait_for("the commit to wait for a standby"):
        if own_server.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
            break
    own_server.kill()
    writer.join(30)
    assert len(raised) == 1
    with pytest.raises(JournalStalled, match="cannot be reached"):
        log.head()
    with pytest.raises(JournalStalled):
        log.acquire()
    own_server.start()
    own_server.execute("ALTER SYSTEM RESET synchronous_standby_names")
    own_server.execute("SELECT pg_reload_conf()")
    taken = log.acquire()
    assert taken.epoch == 2
    assert taken.sequence in (1, 2), "the outcome was unknown; now it is decided"
    assert len(list(checked(log.read(), Head(0, 0, genesis_hash(GENESIS)), taken))) == taken.sequence
    extend(log, taken, 1)
    log.close()


def test_a_full_disk_stalls_the_journal_and_leaves_nothing_half_written(own_server):
    """The server may write no file beyond 6 MiB, more than its own log's 4: the kernel refuses as on a full disk."""
    own_server.stop()
    own_server.start(file_bytes_max=6 * 2**20)
    log = PostgresLog(own_server.dsn)
    durable = [begin(log)]
    with pytest.raises(JournalStalled, match="could not extend file"):
        fill(log, durable)
    assert log.head() == durable[-1]
    assert len(list(checked(log.read(), Head(0, 0, genesis_hash(GENESIS)), durable[-1]))) == durable[-1].sequence > 0
    with pytest.raises(JournalStalled, match="an earlier write failed"):
        extend(log, durable[-1], 1)
    own_server.stop()
    own_server.start()
    taken = log.acquire()
    assert (taken.sequence, taken.hash) == (durable[-1].sequence, durable[-1].hash)
    extend(log, taken, 1_000, size=1_500)
    log.close()


def fill(log, durable):
    for _ in range(40):
        durable.append(extend(log, durable[-1], 200, size=1_500))


# Reading -------------------------------------------------------------------------------------------------------------


def test_a_reader_whose_connection_broke_reads_on(log, postgres_server):
    head = begin(log)
    extend(log, head, 5)
    reader = PostgresLog(postgres_server.dsn, schema=log._schema)
    assert reader.first() == 1
    postgres_server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'marginkeep'"
    )
    assert [record.sequence for record in reader.read()] == [1, 2, 3, 4, 5]
    reader.close()


# Errors and secrets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["", "House", "a-b", 'a"; DROP SCHEMA public; --', "1st", "x" * 64])
def test_a_schema_that_is_no_plain_name_is_refused(schema):
    with pytest.raises(InputError, match="lower-case letters"):
        PostgresLog("dbname=x", schema=schema)


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://desk:hunter2@127.0.0.1:1/house", "host=127.0.0.1 port=1 user=desk password=hunter2 dbname=house"],
    ids=["address", "words"],
)
def test_neither_the_place_nor_a_message_shows_the_password(dsn):
    log = PostgresLog(dsn)
    assert log.place == "postgresql://127.0.0.1:1/house schema marginkeep"
    with pytest.raises(JournalStalled, match="cannot be reached") as caught:
        log.head()
    assert "hunter2" not in str(caught.value) + repr(log) + repr(caught.value.__cause__)


@pytest.mark.parametrize("dsn", ["hunter2", "postgresql://desk:hunter2@[::1/house", "host=x hunter2"])
def test_a_connection_string_that_cannot_be_read_is_not_repeated(dsn):
    with pytest.raises(InputError, match="cannot be read") as caught:
        PostgresLog(dsn)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_user_who_may_not_create_is_told_so(postgres_server, postgres_home):
    postgres_server.execute("CREATE ROLE guest LOGIN")
    guest = postgres_home(postgres_server.dsn.replace("user=postgres", "user=guest"))
    with pytest.raises(InputError, match="permission denied"):
        guest.create(GENESIS)
    guest.close()
    postgres_server.execute("DROP ROLE guest")


def test_tables_of_another_version_are_refused(log, postgres_server, postgres_home):
    log.create(GENESIS)
    postgres_server.execute(f"UPDATE {postgres_home.schema}.genesis SET layout = 2")
    with pytest.raises(InputError, match="tables of version 2, this program reads version 1"):
        log.genesis()
