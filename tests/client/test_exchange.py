"""What happens around one call, driven by hand: no network, no clock, no chance."""

import base64
from decimal import Decimal
from itertools import count

import msgspec
import pytest

from marginkeep.client import commands, queries
from marginkeep.client.answers import Answer
from marginkeep.client.errors import (
    BadRequest,
    ClientError,
    Conflict,
    Defect,
    KeyReused,
    NotAllowed,
    NotFound,
    Refused,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
    error_of,
)
from marginkeep.client.exchange import LONGEST_WAIT_SECONDS, Conduct, Reply, Send, Signer, Wait, exchange
from marginkeep.client.signing import IDEMPOTENCY, NONCE, SIGNATURE, Credentials, Ed25519Key, canonical_text
from marginkeep.errors import InputError, PrecisionError
from marginkeep.service.wire.problems import PROBLEMS

KEY = Ed25519Key("me", b"k" * 32)
DONE = Reply(200, {}, msgspec.json.encode({"sequence": 7, "recorded_ns": 9, "repeated": False, "events": []}))


def conduct(**changes):
    numbers, keys = count(1), count(1)
    stated = {
        "retries": 3,
        "chance": lambda: 0.0,
        "clock": lambda: 10**18,
        "random": lambda size: next(numbers).to_bytes(size, "big"),
        "new_key": lambda: f"key-{next(keys)}",
    }
    return Conduct(**{**stated, **changes})


def problem(status, code, **more):
    return Reply(status, {}, msgspec.json.encode({"status": status, "code": code, "detail": "why", **more}))


def drive(call, *replies, **changes):
    """Return (answer or error, requests, waits)."""
    chosen = conduct(**changes)
    steps = exchange(call, Signer("http://127.0.0.1:1", KEY, chosen), chosen)
    given, left, sent, waits = None, list(replies), [], []
    while True:
        try:
            step = steps.send(given)
        except StopIteration as done:
            return done.value, sent, waits
        except ClientError as error:
            return error, sent, waits
        if isinstance(step, Wait):
            waits.append(step.seconds)
            given = None
        else:
            assert isinstance(step, Send)
            sent.append(step)
            given = left.pop(0)


DEPOSIT = commands.deposit("ann", "USD", "1.5")


def test_a_command_is_sent_once_and_answered():
    answer, (sent,), waits = drive(DEPOSIT, DONE)
    assert answer == Answer(sequence=7, recorded_ns=9, repeated=False, events=())
    assert (sent.method, sent.target, sent.headers[IDEMPOTENCY], waits) == ("POST", "/v1/deposits", "key-1", [])
    stated = {"type": "Deposit", "account": "ann", "asset": "USD", "amount": "1.5"}
    assert msgspec.json.decode(sent.body) == stated


TEMPORARY = [
    Reply(trouble="refused"),
    problem(503, "overloaded"),
    problem(503, "halted"),
    problem(429, "too_many_requests"),
    problem(409, "in_progress"),
    problem(408, "too_slow"),
    Reply(503, {}, b"<html>of a proxy</html>"),
]


@pytest.mark.parametrize("reply", TEMPORARY, ids=range(len(TEMPORARY)))
def test_what_may_pass_is_tried_again_with_the_same_key_and_a_new_signature(reply):
    answer, sent, waits = drive(DEPOSIT, reply, reply, DONE)
    assert answer.sequence == 7
    assert [one.headers[IDEMPOTENCY] for one in sent] == ["key-1"] * 3
    assert len({one.headers[NONCE] for one in sent}) == len({one.headers[SIGNATURE] for one in sent}) == 3
    for one in sent:
        stated = ("me", "POST", "/v1/deposits", 10**15, one.headers[NONCE], one.body)
        text = canonical_text(*stated, idempotency_key="key-1")
        assert base64.b64decode(one.headers[SIGNATURE]) == KEY.sign(text)
    assert waits == [0.05, 0.1]


def test_waits_grow_are_spread_and_end():
    for chance, factor in ((0.0, 0.5), (0.999, 1.0)):
        _, sent, waits = drive(DEPOSIT, *[Reply(trouble="gone")] * 9, chance=lambda chance=chance: chance, retries=8)
        assert len(sent) == 9
        bounds = [min(0.1 * 2**n, LONGEST_WAIT_SECONDS) * factor for n in range(8)]
        assert waits == pytest.approx(bounds, rel=0.01)


def test_when_all_attempts_fail_the_error_has_the_key_that_asks_again():
    error, sent, _ = drive(DEPOSIT, *[Reply(trouble="gone")] * 4)
    assert isinstance(error, Unreachable)
    assert (error.key, len(sent)) == ("key-1", 4)


def test_the_service_says_how_long_to_wait():
    _, _, waits = drive(DEPOSIT, problem(429, "too_many_requests", retry_after=3), DONE)
    assert waits == [3]
    _, _, waits = drive(DEPOSIT, Reply(503, {"retry-after": "2"}, b""), DONE)
    assert waits == [2]


def test_a_wait_that_is_too_long_is_left_to_the_caller():
    error, sent, waits = drive(DEPOSIT, problem(429, "too_many_requests", retry_after=3600))
    assert isinstance(error, TooMany)
    assert (error.retry_after, len(sent), waits) == (3600, 1, [])


def test_a_refusal_is_final_and_has_its_numbers():
    numbers = {"missing": "12.5"}
    reply = problem(422, "rejected", refusal="insufficient_margin", numbers=numbers, sequence=8)
    error, sent, _ = drive(DEPOSIT, reply)
    assert isinstance(error, Refused)
    assert (error.refusal, error.numbers, error.sequence, len(sent)) == ("insufficient_margin", numbers, 8, 1)


def test_every_code_of_the_service_has_its_exception():
    expected = {
        "bad_request": BadRequest,
        "unauthenticated": Unauthenticated,
        "expired": Unauthenticated,
        "forbidden": NotAllowed,
        "not_found": NotFound,
        "method_not_allowed": BadRequest,
        "too_slow": Unavailable,
        "in_progress": Conflict,
        "conflict": Conflict,
        "too_large": BadRequest,
        "key_reused": KeyReused,
        "rejected": Refused,
        "key_missing": BadRequest,
        "too_many_requests": TooMany,
        "overloaded": Unavailable,
        "halted": Unavailable,
        "defect": Defect,
    }
    found = {code: type(error_of({"status": status, "code": code})) for code, (status, _) in PROBLEMS.items()}
    assert found == expected


def test_an_answer_that_cannot_be_read_says_so_and_keeps_the_key():
    for body in (b"", b"[]", b"\xff", b'{"sequence": "x"}', b'{"events": [{"type": "OrderReleased"}]}'):
        error, _, _ = drive(DEPOSIT, Reply(200, {}, body))
        assert isinstance(error, UnreadableAnswer), body
        assert error.key == "key-1"


def test_what_the_client_does_not_know_is_passed_over():
    event = {"type": "NewKind", "of": "tomorrow"}
    known = {"type": "OrderReleased", "account": "a", "order": "1", "reason": "filled", "more": 1}
    body = {"sequence": 7, "recorded_ns": 9, "repeated": False, "events": [event, known], "more": {}}
    answer, _, _ = drive(DEPOSIT, Reply(200, {}, msgspec.json.encode(body)))
    assert (answer.events[0].type, answer.events[0].raw) == ("NewKind", event)
    assert (answer.events[1].order, answer.events[1].raw) == ("1", known)


def test_a_question_has_no_key_and_no_body():
    _, (sent,), _ = drive(
        queries.events(5, account="a/b"), Reply(200, {}, b'{"records":[],"after":5,"last":5,"first":1}')
    )
    assert (sent.method, sent.target, sent.body) == ("GET", "/v1/events?account=a%2Fb&after=5", b"")
    assert IDEMPOTENCY not in sent.headers


@pytest.mark.parametrize("amount", [1.5, True, "1e5", "", "nan", "1_0", "٣", " 1", None, Decimal("NaN")], ids=repr)
def test_floats_and_what_is_no_plain_decimal_are_refused_before_anything_is_sent(amount):
    with pytest.raises(PrecisionError, match="amount"):
        commands.deposit("ann", "USD", amount)


@pytest.mark.parametrize(
    ("amount", "text"), [("1.50", "1.50"), (3, "3"), (Decimal("1E+3"), "1000"), (Decimal("-0.1"), "-0.1")]
)
def test_decimals_and_whole_numbers_are_sent_as_plain_text(amount, text):
    assert commands.deposit("ann", "USD", amount).body["amount"] == text


@pytest.mark.parametrize("key", ["", "k" * 129, "a\nb", "ключ", " k"], ids=["empty", "long", "line", "script", "space"])
def test_a_key_that_no_header_can_carry_is_refused(key):
    with pytest.raises(InputError, match="key"):
        drive(commands.deposit("ann", "USD", "1", key=key), DONE)


@pytest.mark.parametrize("address", ["", "127.0.0.1:8470", "ftp://x", "http://x/prefix"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(InputError, match="address"):
        Signer(address, KEY, Conduct())


def test_credentials_say_where_the_service_is():
    stated = Credentials(key="me", algorithm="ed25519", secret=base64.b64encode(b"k" * 32).decode(), url="http://h:1")
    assert Signer(None, stated, Conduct()).address == "http://h:1"
    assert Signer("https://other", stated, Conduct()).stream_address == "wss://other"


def test_names_in_paths_are_encoded():
    assert queries.account("a b/BTC-PERP").target == "/v1/accounts/a%20b"
    assert queries.market("A/B?").target == "/v1/markets/A%2FB%3F"
