"""Whatever is read from outside, every decoder gives what it states or raises what it states, and nothing else."""

import contextlib
import json
import sqlite3

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marginkeep.client.signing import Credentials
from marginkeep.errors import InputError, JournalError, MarginkeepError
from marginkeep.journal.checking import checked
from marginkeep.journal.checkpoint import parse_note, parse_vkey, verify_note
from marginkeep.journal.command_log import Head
from marginkeep.journal.durable import DurableHouse
from marginkeep.journal.proofs import Proof
from marginkeep.journal.record import genesis_hash
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep.service.access.signatures import RefusedSignIn, read_headers
from marginkeep.service.notifications.addresses import check_url
from marginkeep.service.notifications.templates import FIELDS, check_template, fill
from marginkeep.service.stream.messages import decode_operation
from marginkeep.service.wire.bodies import decode_body
from marginkeep.service.wire.commands import DirectWireCommand, WireCommand
from marginkeep.service.wire.problems import Problem
from tests.journal.houses import GENESIS, RULES, deposit

pytestmark = pytest.mark.without_shadows("nothing is applied")

_IDENTITIES = [
    "type",
    "op",
    "id",
    "key",
    "account",
    "asset",
    "market",
    "order",
    "side",
    "channels",
    "accounts",
    "after",
]
_NUMBERS = ["amount", "size", "price", "marks", "prices", "rate", "now_ns", "at_ns"]
NAMES = st.text(max_size=5) | st.sampled_from([*_IDENTITIES, *_NUMBERS, "command", "commands", "orders", "quotes"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["BTC-PERP", "USD", "ann", "1.5", "-1", "1e9", "0" * 70, "buy", "subscribe", "ping"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=12,
)
TYPES = st.sampled_from([kind.__struct_config__.tag for kind in DirectWireCommand.__args__])
COMMANDS = st.tuples(st.dictionaries(NAMES, JSON, max_size=8), TYPES).map(lambda both: both[0] | {"type": both[1]})
OPS = st.sampled_from(["subscribe", "unsubscribe", "ping", "command", "commands", "check"])
OPERATIONS = st.tuples(st.dictionaries(NAMES, JSON | COMMANDS, max_size=6), OPS).map(
    lambda both: both[0] | {"op": both[1]}
)
TEXTS = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
MUCH = settings(max_examples=300, deadline=None)

_commands = msgspec.json.Decoder(DirectWireCommand)
RULEBOOK = RULES


@MUCH
@given(TEXTS | COMMANDS.map(lambda value: json.dumps(value).encode()))
@example(b'{"type":"Deposit","account":"ann","asset":"USD","amount":"' + b"9" * 60 + b'"}')
@example(b'{"type":"SetPrices","marks":{"BTC-PERP":"1' + b"0" * 29 + b'"}}')
@example(b"[" * 100_000)
def test_a_command_is_read_or_refused(body):
    refused = ""
    try:
        wire = decode_body(_commands, body)
        assert isinstance(wire, WireCommand)
        wire.to_command(RULEBOOK)
    except Problem as problem:
        refused = problem.code
    assert refused in ("", "bad_request", "rejected")


@MUCH
@given(TEXTS | OPERATIONS.map(lambda value: json.dumps(value).encode()))
@example(b'{"op":"check","orders":' + b"[" * 100_000)
def test_a_message_of_a_stream_is_read_or_refused(message):
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # answered as bad requests
        decode_operation(message)


HEADERS = ["Marginkeep-Key", "Marginkeep-Timestamp", "Marginkeep-Nonce", "Marginkeep-Signature", "Marginkeep-Window"]


@MUCH
@given(st.dictionaries(st.sampled_from([*HEADERS, "Idempotency-Key"]), st.text(max_size=30) | st.text("0123456789=")))
def test_signing_headers_are_read_or_refused(headers):
    try:
        stated = read_headers(headers)
    except RefusedSignIn:
        return
    assert not {"\n", "\r"} & set(stated.key + stated.nonce + stated.window + stated.idempotency_key)


@settings(max_examples=150, deadline=None)
@given(content=TEXTS, ending=st.sampled_from([".json", ".toml"]))
def test_a_credentials_file_is_read_or_refused(tmp_path_factory, content, ending):
    path = tmp_path_factory.getbasetemp() / f"credentials{ending}"
    path.write_bytes(content)
    path.chmod(0o600)
    with contextlib.suppress(InputError):
        Credentials.load(path).credential()


NOTE = "test.example/journal\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u2014 test.example/journal AAAAAAAA\n"


@st.composite
def mangled(draw, text):
    """A text with a piece taken out, doubled or replaced."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 8)))
    return text[:start] + draw(st.text(max_size=6) | st.just(text[start:end] * 2)) + text[end:]


@MUCH
@given(mangled(NOTE) | st.text(max_size=80), mangled("test.example/journal+00000000+AQ==") | st.text(max_size=40))
@example("a\n" + "9" * 5_000 + "\nAAAA\n\n", "")
def test_a_checkpoint_and_its_key_are_read_or_refused(note, vkey):
    for read in (parse_note, lambda text: verify_note(text, vkey), lambda _: parse_vkey(vkey)):
        with contextlib.suppress(MarginkeepError):
            read(note)


@MUCH
@given(st.dictionaries(st.sampled_from(Proof.__struct_fields__), JSON) | JSON)
def test_a_proof_is_read_or_refused(members):
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        msgspec.json.decode(json.dumps(members), type=Proof)


@MUCH
@given(st.text(max_size=60).map(lambda text: f"https://{text}") | st.text(max_size=60))
@example("https://[")
@example("https://a:99999/")
@example("https://[::1%]/")
def test_a_webhook_address_is_read_or_refused(url):
    with contextlib.suppress(InputError):
        check_url(url, allow_private=False)


@MUCH
@given(st.text("{}$%.[]()'\"_ablse:!rs0<>", max_size=40))
@example("{account.__class__}")
@example("${account}")
def test_a_template_is_filled_or_refused_and_evaluates_nothing(text):
    try:
        check_template(text)
    except InputError:
        return
    filled = fill(text, dict.fromkeys(FIELDS, "<1>"))
    assert filled == text or "$" in text


# Rows of a database that somebody has changed -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A journal of six records, as bytes."""
    path = tmp_path_factory.mktemp("fuzz") / "journal.db"
    log = SqliteLog(path)
    log.create(GENESIS)
    house = DurableHouse.open(log, clock=lambda: 5)
    house.submit([deposit("ann", key=f"k{number}") for number in range(6)])
    records = list(log.read())
    house.close()
    log.close()
    return path.read_bytes(), records


VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40) | st.text(max_size=20) | st.floats()


@settings(max_examples=120, deadline=None)
@given(data=st.data(), value=VALUES, row=st.integers(0, 5))
def test_a_changed_row_is_named_and_nothing_else_happens(journal, tmp_path_factory, data, value, row):
    """A column of a record holds anything whatever: reading says what is wrong, or reads the same record."""
    path = tmp_path_factory.getbasetemp() / "changed.db"
    content, records = journal
    path.write_bytes(content)
    db = sqlite3.connect(path)
    columns = [name for _, name, *_ in db.execute("PRAGMA table_info(records)")]
    column = data.draw(st.sampled_from(columns))
    try:
        with db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            db.execute(f"UPDATE OR IGNORE records SET {column} = ? WHERE rowid = ?", (value, row + 1))
    except (sqlite3.Error, UnicodeEncodeError):
        return
    finally:
        db.close()
    try:
        log = SqliteLog(path, read_only=True)
        try:
            start = Head(0, 0, genesis_hash(GENESIS))
            assert list(checked(log.read(), start, log.head())) == records, "another record was read without a word"
        finally:
            log.close()
    except JournalError:
        pass


@settings(max_examples=60, deadline=None)
@given(data=st.data(), value=VALUES, table=st.sampled_from(["head", "genesis", "checkpoints", "tiles", "documents"]))
def test_a_journal_with_anything_changed_is_opened_or_refused(journal, tmp_path_factory, data, value, table):
    path = tmp_path_factory.getbasetemp() / "opened.db"
    path.write_bytes(journal[0])
    db = sqlite3.connect(path)
    columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    column = data.draw(st.sampled_from(columns))
    try:
        with db:
            db.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
    except (sqlite3.Error, UnicodeEncodeError):
        return
    finally:
        db.close()
    log = SqliteLog(path)
    with contextlib.closing(log), contextlib.suppress(MarginkeepError):
        DurableHouse.open(log, clock=lambda: 6)
