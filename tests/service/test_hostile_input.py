"""Bodies, paths, names and headers with a second meaning, or with none, are refused, and nothing happens."""

import gzip
import json
import time

import pytest

from marginkeep.client.signing import sign_request
from marginkeep.service.running import open_context
from tests.service.conftest import VENUE, RunningService, memory_log, settings
from tests.service.raw_http import everything, opened
from tests.service.stream_world import StreamClient, open_market

pytestmark = pytest.mark.without_shadows("what is refused is under test, not the house")

ORDER = '{"account": "ann", "market": "BTC-PERP", "order": "o", "side": "buy", "size": "1", "price": %s}'
BODIES = {
    "deep lists": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000,
    "deep field": (ORDER % ("[" * 20_000 + "]" * 20_000)).encode(),
    "NaN": (ORDER % "NaN").encode(),
    "Infinity": (ORDER % "-Infinity").encode(),
    "number": (ORDER % "50000").encode(),
    "huge number": (ORDER % ("9" * 60_000)).encode(),
    "huge exponent": (ORDER % "1e999999999").encode(),
    "huge decimal": (ORDER % f'"{"9" * 60_000}"').encode(),
    "exponent": (ORDER % '"1e5"').encode(),
    "other digits": (ORDER % '"\u0661\u0662"').encode(),
    "wide digits": (ORDER % '"\uff11\uff12"').encode(),
    "line end": (ORDER % '"50000\\n"').encode(),
    "underscore": (ORDER % '"50_000"').encode(),
    "plus": (ORDER % '"+50000"').encode(),
    "space": (ORDER % '" 50000"').encode(),
    "invalid UTF-8": (ORDER % '"1"').encode().replace(b"ann", b"\xff\xfe"),
    "lone surrogate": (ORDER % '"1"').replace("ann", "\\ud800").encode(),
    "UTF-16": (ORDER % '"1"').encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + (ORDER % '"1"').encode(),
    "two documents": (ORDER % '"1"').encode() * 2,
    "trailing text": (ORDER % '"1"').encode() + b"x",
    "empty": b"",
    "null": b"null",
    "gzip": gzip.compress((ORDER % '"1"').encode()),
}


@pytest.fixture(scope="module")
def venue():
    service = RunningService(open_context(settings(), log=memory_log()))
    open_market(service, "ann")
    yield service
    service.stop()


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders/check", "/v1/batch", "/v1/what-if"])
def test_a_body_that_is_not_plain_strict_json_is_refused(venue, path, body):
    before = venue.context.durable.head.sequence
    answer = venue.call("POST", path, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text[:300]
    assert len(answer.content) < 4_096
    assert venue.context.durable.head.sequence == before


def test_the_same_bodies_are_refused_on_a_socket_which_stays_open(venue):
    client = StreamClient(venue, VENUE)
    for body in BODIES.values():
        try:
            client.socket.send(b'{"op":"check","id":1,"order":'.decode() + body.decode() + "}")
        except UnicodeDecodeError:
            client.socket.send(body)
        answer = client.take()
        assert answer.get("code", answer.get("result", {}).get("status")) == "bad_request", (body[:100], answer)
    assert client.ask(op="ping")["type"] == "pong"
    client.close()


def test_a_field_that_comes_twice_counts_once_and_is_signed_as_it_is_sent(venue):
    """The last one counts, everywhere: there is one decoder, so no two parts of the service read different things."""
    twice = (ORDER % '"50000", "price": "1"').encode()
    answer = venue.call("POST", "/v1/orders/check", content=twice)
    assert answer.status_code in (200, 400, 422)


def test_a_body_that_is_compressed_is_refused_before_it_grows(venue):
    bomb = gzip.compress(b" " * 50_000_000)
    answer = venue.call("POST", "/v1/orders", content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code in (400, 413), answer.text
    assert answer.json()["code"] in ("bad_request", "too_large")


# Names and paths -----------------------------------------------------------------------------------------------------

TARGETS = [
    "/v1/accounts/ann/../../keys",
    "/v1/accounts/%2e%2e/keys",
    "/v1/accounts/ann%2F..%2F..%2Fkeys",
    "/v1//accounts//ann",
    "//v1/accounts/ann",
    "/v1/accounts/ann;admin=1",
    "/v1/accounts/%61nn%00",
    "/v1/accounts/%25%36%31nn",
    "/v1/accounts/ann%0d%0aX-Evil:%201",
    "/v1/accounts/%ff%fe",
    "/v1/accounts/%",
    "/v1/accounts/%zz",
    "/v1/accounts/..%5c..%5ckeys",
    "/v1/accounts/%e2%80%ae",
    "/v1/accounts/ａｎｎ".encode().decode("latin-1"),
    "/V1/ACCOUNTS/ANN",
    "/v1/accounts/ann/",
    "/v1/keys/../accounts/ann",
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.encode("latin-1").hex()[:60])
def test_no_way_of_writing_a_path_reaches_what_was_not_signed_or_not_the_callers(venue, target):
    venue.key("bob", ["read", "risk.admin"], ["bob"])
    raw = opened(venue)
    signed = sign_request(venue._keys["bob"], "GET", target, clock=time.time_ns)
    head = "".join(f"{name}: {text}\r\n" for name, text in signed.items())
    raw.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{head}\r\n".encode("latin-1"))
    answer = everything(raw)
    status = int(answer.split(b" ")[1])
    assert status in (400, 401, 404), answer[:300]
    assert b"x-evil" not in answer.lower().partition(b"\r\n\r\n")[0]
    assert b"999" not in answer.partition(b"\r\n\r\n")[2], "something of the account is told"


def test_an_encoded_path_means_to_the_signature_what_it_means_to_the_router(venue):
    """Signed is what is sent; whoever signs one spelling cannot be made to have asked for another."""
    signed = sign_request(venue._keys[VENUE], "GET", "/v1/accounts/ann", clock=time.time_ns)
    spelt = venue.http.get("/v1/accounts/%61nn", headers=signed)
    assert spelt.status_code == 401
    assert venue.call("GET", "/v1/accounts/%61nn").status_code == 200


@pytest.mark.parametrize("name", ["Äñn", "安", "a\u202eb", "a b", "a\u0000b", "a\r\nb", "a\tb", "𝒶nn", "*"], ids=ascii)
def test_an_account_may_be_called_anything_printable_and_nothing_else(venue, name):
    body = {"account": name, "asset": "USD", "amount": "1"}
    answer = venue.call("POST", "/v1/deposits", body)
    assert answer.status_code in (200, 400, 422), answer.text
    if not name.isprintable():
        assert answer.status_code != 200, answer.text


@pytest.mark.parametrize("text", [b"a\tb", b"\xc3\xa9", b"a" * 129, b"\x7f", b"\x80"], ids=lambda text: text[:4].hex())
@pytest.mark.parametrize("header", ["Correlation-Id", "Idempotency-Key"])
def test_headers_that_are_recorded_are_printable(venue, header, text):
    before = venue.context.durable.head.sequence
    body = json.dumps({"account": "ann", "asset": "USD", "amount": "1"}).encode()
    stated = {"Idempotency-Key": f"h-{text.hex()[:20]}"} | {header: text.decode("latin-1")}
    signed = sign_request(
        venue._keys[VENUE],
        "POST",
        "/v1/deposits",
        body,
        clock=time.time_ns,
        idempotency_key=stated["Idempotency-Key"],
    )
    stated = {name: value.encode("latin-1") for name, value in (stated | signed).items()}
    answer = venue.http.post("/v1/deposits", content=body, headers=stated)
    assert answer.status_code == 400, answer.text
    assert venue.context.durable.head.sequence == before
