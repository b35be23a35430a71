"""Who is let in: forged, replayed, stale, altered and confused signatures, slow and large bodies, floods, sockets."""

import asyncio
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.client.signing import HmacKey, sign_request
from marginkeep.errors import InputError
from marginkeep.service.access.addresses import group_of, is_within, read_networks
from marginkeep.service.access.authentication import AuthenticationMiddleware
from marginkeep.service.access.key_store import KeyStore
from marginkeep.service.access.keys import encode_key
from marginkeep.service.access.nonces import NonceCache
from marginkeep.service.access.scopes import Scope
from marginkeep.service.access.sealing import Seal
from marginkeep.service.access.signatures import RefusedSignIn, SignatureDesk, read_headers
from marginkeep.service.operations.settings import AccessSettings
from marginkeep.service.wire.problems import Problem
from tests.service.access_world import api_key, memory_log, private_key, running

pytestmark = pytest.mark.without_shadows("no command of these tests changes a book")

NOW_NS = 1_800_000_000 * 10**9
TARGET = "/v1/accounts/ann?b=2&a=1"
BODY = b'{"amount": "5"}'
SECRET = b"s" * 32


class Desk:
    """A desk whose time stands still until it is moved, with an Ed25519 and an HMAC key."""

    def __init__(self, **changes):
        self.now_ns = NOW_NS
        settings = AccessSettings(**changes)
        log, seal = memory_log(), Seal(b"x" * 32)
        log.acquire()
        self.keys = KeyStore(log, None, lambda: self.now_ns, seal)
        sealed = api_key("mac", algorithm="hmac-sha256", public=b"", sealed=seal.seal("mac", SECRET), now_ns=NOW_NS)
        late = api_key("late", now_ns=NOW_NS - 10, expires_ns=NOW_NS - 1)
        for key in (api_key("ann", now_ns=NOW_NS), api_key("bob", now_ns=NOW_NS), sealed, late):
            log.put_document("key", key.id, encode_key(key))
        self.keys.load()
        self.nonces = NonceCache(settings.window_ms_max * 10**6)
        self.desk = SignatureDesk(self.keys, self.nonces, settings, lambda: self.now_ns)

    def admit(self, headers, method="POST", target=TARGET, body=BODY, address="127.0.0.1"):
        return self.desk.admit(read_headers(headers), method, target, body, address)

    def signed(self, credential, **changes):
        return sign_request(credential, "POST", TARGET, BODY, **{"clock": lambda: self.now_ns, **changes})

    def refusal(self, headers, **request):
        with pytest.raises(RefusedSignIn) as refused:
            self.admit(headers, **request)
        return refused.value


@pytest.mark.parametrize("credential", [private_key("ann"), HmacKey("mac", SECRET)], ids=["ed25519", "hmac"])
def test_a_rightly_signed_request_is_let_in(credential):
    desk = Desk()
    caller = desk.admit(desk.signed(credential))
    assert (caller.key, caller.address) == (credential.key, "127.0.0.1")


def test_an_unknown_key_an_expired_one_a_foreign_one_and_a_bad_signature_are_answered_alike():
    desk = Desk()
    good = desk.signed(private_key("ann"))
    cases = {
        "unknown key": desk.signed(private_key("nobody")),
        "expired key": desk.signed(private_key("late")),
        "signature": {**desk.signed(private_key("bob")), "Marginkeep-Key": "ann"},
    }
    cases["signature "] = {**good, "Marginkeep-Signature": "AAAA"}
    cases["signature  "] = {**good, "Marginkeep-Signature": "not base64"}
    refusals = {reason: desk.refusal(headers) for reason, headers in cases.items()}
    assert [refused.reason for refused in refusals.values()] == [reason.strip() for reason in refusals]
    assert len({json.dumps(refused.document()) for refused in refusals.values()}) == 1


@pytest.mark.parametrize(
    "change",
    [{"method": "PUT"}, {"target": "/v1/accounts/bob?b=2&a=1"}, {"target": TARGET + "&c=3"}, {"body": BODY + b" "}],
    ids=["method", "path", "query", "body"],
)
def test_a_signature_is_for_one_request_alone(change):
    desk = Desk()
    assert desk.refusal(desk.signed(private_key("ann")), **change).reason == "signature"


@given(
    st.sampled_from(["method", "target", "body", "Marginkeep-Nonce", "Marginkeep-Timestamp", "Marginkeep-Signature"]),
    st.integers(0, 200),
    st.integers(1, 127),
)
def test_no_single_altered_byte_is_let_in(what, place, change):
    desk = Desk()
    headers = desk.signed(private_key("ann"), nonce=lambda: "nonce-00000001")
    request = {"method": "POST", "target": "/v1/accounts/ann?a=1&b=2", "body": BODY}
    changed = request if what in request else headers
    raw = bytearray(changed[what] if what == "body" else changed[what].encode())
    raw[place % len(raw)] ^= change
    changed[what] = bytes(raw) if what == "body" else raw.decode("latin-1")
    if what == "method" and changed["method"].upper() == "POST":
        return
    with pytest.raises(Problem):
        desk.admit(headers, **request)


def test_one_algorithm_is_never_taken_for_the_other():
    desk = Desk()
    # The classic confusion: the public key, which everybody may know, used as the secret of an HMAC.
    confused = HmacKey("ann", private_key("ann").public)
    assert desk.refusal(desk.signed(confused)).reason == "signature"
    other_way = private_key("mac")
    assert desk.refusal(desk.signed(other_way)).reason == "signature"


def test_a_request_is_let_in_once():
    desk = Desk()
    headers = desk.signed(private_key("ann"))
    desk.admit(headers)
    again = desk.refusal(headers)
    assert (again.code, again.reason, again.known) == ("expired", "replayed", "ann")
    # Another key may use the same nonce.
    desk.admit(desk.signed(private_key("bob"), nonce=lambda: headers["Marginkeep-Nonce"]))


def test_a_window_or_an_idempotency_key_that_was_not_signed_is_refused():
    desk = Desk()
    headers = desk.signed(private_key("ann"), idempotency_key="withdrawal 7", window_ms=250)
    for change in ({"Marginkeep-Window": "60000"}, {"Idempotency-Key": "withdrawal 8"}):
        assert desk.refusal({**headers, **change}).reason == "signature"
    for name in ("Marginkeep-Window", "Idempotency-Key"):
        assert desk.refusal({one: text for one, text in headers.items() if one != name}).reason == "signature"
    split = {**headers, "Idempotency-Key": "withdrawal 7\n250", "Marginkeep-Window": ""}
    assert desk.refusal(split).reason == "headers"
    assert desk.admit(headers).until_ns == NOW_NS + 250 * 10**6


def test_a_replay_is_known_to_the_end_of_the_longest_window():
    desk = Desk()
    headers = desk.signed(private_key("ann"), window_ms=60_000)
    desk.admit(headers)
    for seconds in (1, 30, 60):
        desk.now_ns = NOW_NS + seconds * 10**9
        desk.admit(desk.signed(private_key("bob")))
        assert desk.refusal(headers).reason == "replayed"
    desk.now_ns = NOW_NS + 62 * 10**9
    assert desk.refusal({**headers, "Marginkeep-Window": "60000"}).reason == "time"


@pytest.mark.parametrize(
    ("age_us", "window", "accepted"),
    [
        (5_000_000, None, True),
        (5_000_001, None, False),
        (250_000, 250, True),
        (250_001, 250, False),
        (60_000_000, 60_000, True),
        (60_000_001, 99_999, False),
        (-999_999, None, True),
        (-1_000_000, None, False),
    ],
)
def test_a_request_is_neither_too_old_nor_from_the_future(age_us, window, accepted):
    desk = Desk()
    headers = desk.signed(private_key("ann"), clock=lambda: NOW_NS - age_us * 1_000, window_ms=window)
    if accepted:
        desk.admit(headers)
    else:
        assert desk.refusal(headers).code == "expired"


def test_the_time_tells_a_stranger_nothing_about_a_key():
    desk = Desk()
    late = {"clock": lambda: NOW_NS - 10**12}
    known = desk.refusal(desk.signed(private_key("ann"), **late))
    assert known.document() == desk.refusal(desk.signed(private_key("nobody"), **late)).document()


@pytest.mark.parametrize(
    "change",
    [
        {"Marginkeep-Nonce": "short"},
        {"Marginkeep-Nonce": "has a space"},
        {"Marginkeep-Timestamp": "-5"},
        {"Marginkeep-Timestamp": "１２３"},
        {"Marginkeep-Window": "1e9"},
        {"Marginkeep-Key": ""},
        {"Marginkeep-Key": "k" * 65},
    ],
    ids=str,
)
def test_headers_of_another_form_are_refused(change):
    desk = Desk()
    assert desk.refusal({**desk.signed(private_key("ann")), **change}).reason == "headers"


def test_a_key_is_used_from_its_addresses_alone():
    desk = Desk()
    refused = desk.refusal(desk.signed(private_key("ann")), address="192.0.2.1")
    assert (refused.code, refused.reason) == ("forbidden", "address")
    assert desk.refusal(desk.signed(private_key("ann")), address="").reason == "address"


def test_addresses_are_read_strictly_and_ipv4_in_ipv6_clothing_is_ipv4():
    networks = read_networks(["192.0.2.0/24", "2001:db8::/32"])
    assert is_within("::ffff:192.0.2.9", networks)
    assert not is_within("192.0.3.1", networks)
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff") != group_of("2001:db8:0:1::1")
    for text in ("0.0.0.0/0", "::/0", "192.0.2.1/24", "here"):
        with pytest.raises(InputError, match=text.split("/")[0]):
            read_networks([text])


def test_the_memory_for_nonces_is_bounded_and_full_means_refused():
    cache = NonceCache(10, total_max=3, per_key_max=2)
    cache.add("a", "1", 0)
    cache.add("a", "2", 0)
    assert not cache.has_room("a", 0)
    assert cache.has_room("b", 0)
    cache.add("b", "1", 0)
    assert not cache.has_room("c", 0)
    later = 10 + 10**9 + 1
    assert cache.has_room("a", later)
    assert (len(cache), cache.seen("a", "1")) == (0, False)


# Over a real socket ------------------------------------------------------------------------------------------------

ANN = private_key("ann")


@pytest.fixture(scope="module")
def world():
    with running(api_key("ann"), api_key("oracle", Scope.ORACLE_PUBLISH), api_key("gone", revoked_ns=1)) as world:
        yield world


def test_a_signed_request_is_answered_and_told_its_limits(world):
    answer = world.send(ANN, "GET", "/v1/keys/self")
    assert (answer.status_code, answer.json()["id"]) == (200, "ann")
    assert int(answer.headers["ratelimit-limit"]) > int(answer.headers["ratelimit-remaining"]) > 0


def test_refusals_are_problem_documents(world):
    answers = {
        "unsigned": world.send(None, "GET", "/v1/keys/self"),
        "unknown": world.send(private_key("nobody"), "GET", "/v1/keys/self"),
        "revoked": world.send(private_key("gone"), "GET", "/v1/keys/self"),
        "scope": world.send(private_key("oracle"), "GET", "/v1/keys/self"),
        "stale": world.send(ANN, "GET", "/v1/keys/self", clock=lambda: 10**18),
    }
    stated = {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()}
    assert stated == {
        "unsigned": (401, "unauthenticated"),
        "unknown": (401, "unauthenticated"),
        "revoked": (401, "unauthenticated"),
        "scope": (403, "forbidden"),
        "stale": (401, "expired"),
    }
    assert answers["unknown"].content == answers["revoked"].content
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}


def test_the_body_that_is_signed_is_the_body_that_is_read(world):
    content = b'{"public": "", "person": "x", "accounts": ["x"]}'
    headers = sign_request(ANN, "POST", "/v1/keys", content, clock=world.clock)
    altered = world.client.post("/v1/keys", content=content.replace(b'"x"]', b'"y"]'), headers=headers)
    assert (altered.status_code, altered.json()["code"]) == (401, "unauthenticated")


def test_percent_signs_and_queries_are_signed_as_sent(world):
    for path in ("/v1/keys/self?b=%2F&a=%20x", "/v1/keys/sel%66"):
        assert world.send(ANN, "GET", path).status_code == 200


def test_a_header_sent_twice_is_refused(world):
    headers = sign_request(ANN, "GET", "/v1/keys/self", clock=world.clock)
    twice = [*headers.items(), ("Marginkeep-Key", "ann")]
    answer = world.client.get("/v1/keys/self", headers=twice)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def raw_exchange(world, *parts):
    with socket.create_connection(("127.0.0.1", world.port), timeout=20) as raw:
        for part in parts:
            raw.sendall(part)
        received = b""
        while block := raw.recv(65_536):
            received += block
    return received


HEAD = b"POST /v1/keys HTTP/1.1\r\nHost: h\r\n"


def test_a_body_that_says_it_is_too_large_is_not_read(world):
    answer = raw_exchange(world, HEAD, b"Content-Length: 65537\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_a_body_that_does_not_say_how_large_it_is_is_read_to_the_bound_alone(world):
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    answer = raw_exchange(world, HEAD, b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_drips_is_given_up(world):
    sent = []

    async def drip():
        if not sent:
            sent.append("a part of it")
            return {"type": "http.request", "body": b"abc", "more_body": True}
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    door = AuthenticationMiddleware(None, world.context.parts["access"], body_max=64, body_seconds=0.02)
    asyncio.run(door({"type": "http", "method": "POST", "headers": []}, drip, send))
    assert sent[1]["status"] == 408
    assert (b"connection", b"close") in sent[1]["headers"]


def test_failures_of_an_address_are_limited_and_rightly_signed_requests_still_pass():
    with running(api_key("ann")) as world:
        codes = [world.send(private_key("nobody"), "GET", "/v1/keys/self").status_code for _ in range(150)]
        assert codes.count(401) >= 100
        assert codes[-1] == 429
        wrong = world.send(private_key("bob"), "GET", "/v1/keys/self")
        assert wrong.status_code == 429
        assert int(wrong.headers["retry-after"]) >= 1
        assert world.send(ANN, "GET", "/v1/keys/self").status_code == 200
        total = world.context.parts["access"].sign_ins.total
    # The first refusal is noted at once, all others together when the service stops.
    notes = world.notes("SignInRefused")
    assert len(notes) == 2
    assert sum(row["count"] for _, body, _ in notes for row in body["refusals"]) == total == 151
    record, body, personal = notes[0]
    assert personal == {"addresses": ["127.0.0.1"]}
    assert b"127.0.0.1" not in record.body
    assert body["refusals"][0]["reason"] == "unknown key"


def test_a_key_that_spends_too_much_is_told_when_to_come_back():
    with running(api_key("ann"), requests_per_second=1, burst=3) as world:
        answers = [world.send(ANN, "GET", "/v1/keys/self") for _ in range(5)]
        assert [answer.status_code for answer in answers][:3] == [200, 200, 200]
        assert answers[-1].status_code == 429
        assert answers[-1].json()["code"] == "too_many_requests"
        assert answers[-1].headers["retry-after"] == "1"
        # Another bucket of the same key is full.
        assert world.context.parts["access"].limits.look("ann", "safety", world.clock()) == 3
