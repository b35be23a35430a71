"""Clients that drip, never end, never read or lie about lengths: each is bounded, and others are served."""

import json
import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from marginkeep.client.signing import sign_request
from marginkeep.service.http_transport import HEAD_BYTES_MAX
from marginkeep.service.operations.settings import ServerSettings, Settings, StreamSettings
from tests.service.conftest import VENUE, settings
from tests.service.raw_http import BOUND_S, everything, exchanged, opened, problem_in
from tests.service.stream_world import StreamClient, open_market

pytestmark = pytest.mark.without_shadows("the clients are under test, not the house")

PATIENCE = 0.4
HASTY = settings(patience_seconds=PATIENCE, connections_max=60)


@pytest.fixture
def hasty(start_service):
    """A service that has little patience and few connections."""
    return start_service(HASTY)


def is_served(service):
    assert service.call("GET", "/v1/keys/self").status_code == 200


# Slowness ------------------------------------------------------------------------------------------------------------


def drip(raw, text, until):
    """Send a byte at a time, each as soon as the service could have noticed the last, until it hangs up."""
    raw.settimeout(0.05)
    for number in range(until):
        try:
            raw.sendall(text[number % len(text) :][:1])
            if block := raw.recv(65_536):
                raw.settimeout(BOUND_S)
                return block + everything(raw)
            return b""
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            return b""
    raise AssertionError("the service has listened for ever")


def test_a_head_that_drips_is_given_up(hasty):
    answer = drip(opened(hasty), b"GET /v1/time HTTP/1.1\r\nHost: h\r\n" + b"X-Slow: loris\r\n" * 100, 400)
    assert problem_in(answer) == "too_slow"
    is_served(hasty)


def test_line_ends_do_not_keep_a_connection_that_asks_nothing(hasty):
    assert drip(opened(hasty), b"\r\n", 400) == b""


def test_a_connection_that_says_nothing_is_closed(hasty):
    began = time.monotonic()
    assert everything(opened(hasty)) == b""
    assert PATIENCE / 2 < time.monotonic() - began < BOUND_S


def test_a_connection_that_drips_after_its_first_request_is_closed(hasty):
    raw = opened(hasty)
    raw.sendall(b"GET /v1/live HTTP/1.1\r\nHost: h\r\n\r\n")
    assert raw.recv(65_536).startswith(b"HTTP/1.1 200")
    drip(raw, b"\r\n", 400)


def test_a_body_that_does_not_come_is_given_up(hasty):
    answer = exchanged(hasty, b"POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
    assert problem_in(answer) == "too_slow"
    assert b"connection: close" in answer.lower()


def test_a_body_that_nobody_reads_does_not_keep_its_connection(hasty):
    raw = opened(hasty)
    raw.sendall(b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
    assert raw.recv(65_536).startswith(b"HTTP/1.1 404")
    drip(raw, b"x", 400)


def test_a_half_closed_connection_is_answered_and_closed(hasty):
    raw = opened(hasty)
    raw.sendall(b"GET /v1/live HTTP/1.1\r\nHost: h\r\n\r\n")
    raw.shutdown(socket.SHUT_WR)
    assert everything(raw).startswith(b"HTTP/1.1 200")


def test_a_client_that_takes_no_answer_is_cut_off(hasty):
    raw = opened(hasty, receive_buffer=4_096)
    request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: h\r\n\r\n"
    for _ in range(60):
        raw.sendall(request)
    until = time.monotonic() + BOUND_S
    while connections_of(hasty) and time.monotonic() < until:
        is_gone = hasty.on_loop(nothing())
        assert is_gone is None
    assert connections_of(hasty) == 0, "it is kept for ever"
    raw.close()


async def nothing():
    """Take a turn of the loop."""


def connections_of(service):
    return len(service._server.server_state.connections)


def test_idle_connections_give_way_to_those_that_ask(start_service):
    service = start_service(settings(connections_max=60))
    idle = [opened(service) for _ in range(200)]
    for _ in range(5):
        is_served(service)
        assert exchanged(service, b"GET /v1/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
    assert connections_of(service) <= 60
    for raw in idle:
        raw.close()


def test_beyond_the_bound_of_busy_connections_the_answer_is_503(start_service):
    service = start_service(settings(connections_max=8))
    busy = hold(service, 8)
    answer = exchanged(service)
    assert problem_in(answer) == "overloaded"
    assert b"retry-after: 1" in answer
    for raw in busy:
        raw.close()
    is_served(service)


def hold(service, count):
    """Open connections that are at work, and keep them so."""
    half = b"POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{"
    busy = [opened(service) for _ in range(count)]
    for raw in busy:
        raw.sendall(half)
    until = time.monotonic() + BOUND_S
    while service.on_loop(busy_of(service)) < count and time.monotonic() < until:
        pass
    return busy


def test_one_address_cannot_take_every_connection(start_service):
    service = start_service(settings(connections_per_address=6))
    busy = hold(service, 6)
    answer = exchanged(service)
    assert problem_in(answer) == "too_many_requests"
    assert b"retry-after: 1" in answer
    other = opened(service, source="127.0.0.2")
    other.sendall(b"GET /v1/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert everything(other).startswith(b"HTTP/1.1 200"), "another address is served"
    for raw in busy:
        raw.close()
    is_served(service)


def test_idle_connections_of_an_address_give_way_to_its_own(start_service):
    service = start_service(settings(connections_per_address=6))
    idle = [opened(service) for _ in range(20)]
    is_served(service)
    assert connections_of(service) <= 7
    for raw in idle:
        raw.close()


def test_behind_a_proxy_whose_address_is_one_for_all_it_is_not_counted(start_service):
    service = start_service(settings(connections_per_address=2, behind_tls=True))
    busy = hold(service, 6)
    is_served(service)
    for raw in busy:
        raw.close()


async def busy_of(service):
    return sum(not one.is_idle for one in service._server.server_state.connections)


# Sockets -------------------------------------------------------------------------------------------------------------


def test_a_socket_that_does_not_sign_in_is_closed(hasty):
    with connect(hasty.url.replace("http", "ws") + "/v1/stream", open_timeout=BOUND_S) as quiet:
        with pytest.raises(ConnectionClosed):
            quiet.recv(BOUND_S)
        assert quiet.close_code == 4408


def test_a_socket_that_sends_a_byte_at_a_time_hurts_nobody(start_service):
    service = start_service()
    head = "".join(f"{name}: {text}\r\n" for name, text in upgrade_headers(service).items())
    raw = opened(service)
    raw.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: h\r\n{head}\r\n".encode())
    assert b" 101 " in raw.recv(65_536)
    message = b'{"op":"ping","id":1}'
    frame = bytes([0x81, 0x80 | len(message), 0, 0, 0, 0]) + message
    for number in range(len(frame)):
        raw.sendall(frame[number : number + 1])
        is_served(service)
    assert b'"pong"' in raw.recv(65_536)
    raw.close()


def upgrade_headers(service):
    signed = sign_request(service._keys[VENUE], "GET", "/v1/stream", clock=time.time_ns)
    stated = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    return {**stated, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **signed}


def test_a_socket_that_never_reads_is_closed_and_others_are_told(start_service):
    server, stream = ServerSettings(port=0, tick_seconds=0), StreamSettings(stalled_seconds=1.0)
    service = start_service(Settings(server=server, stream=stream))
    open_market(service, "ann")
    head = "".join(f"{name}: {text}\r\n" for name, text in upgrade_headers(service).items())
    deaf = opened(service, receive_buffer=4_096)
    deaf.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: h\r\n{head}\r\n".encode())
    order = {"account": "ann", "market": "BTC-PERP", "order": "o", "side": "buy", "size": "0.001", "price": "50000"}
    message = json.dumps({"op": "check", "id": 1, "orders": [order] * 200}).encode()
    frame = bytes([0x81, 0x80 | 126]) + len(message).to_bytes(2, "big") + bytes(4) + message
    other = StreamClient(service, VENUE)
    assert other.ask(op="ping")["type"] == "pong"
    send_until_refused(deaf, memoryview(frame * 2_000))
    until = time.monotonic() + BOUND_S
    while service.context.parts["stream"].connections > 1 and time.monotonic() < until:
        assert other.ask(op="ping")["type"] == "pong"
    assert service.context.parts["stream"].connections == 1
    other.close()
    deaf.close()


def send_until_refused(raw, content):
    """Send and never read, until the service has closed."""
    raw.settimeout(0.1)
    sent, until = 0, time.monotonic() + BOUND_S
    while sent < len(content) and time.monotonic() < until:
        try:
            sent += raw.send(content[sent : sent + 65_536])
        except TimeoutError:
            continue
        except OSError:
            return


# Sizes and forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bomb",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(5_000)),
        b"X: " + b"y" * (2 * HEAD_BYTES_MAX),
        b"X: " + b"y" * 1_000_000,
    ],
    ids=["many", "long", "endless"],
)
def test_a_bomb_of_headers_is_refused(hasty, bomb):
    answer = exchanged(hasty, b"GET /v1/time HTTP/1.1\r\nHost: h\r\n", bomb, b"\r\n\r\n")
    assert answer == b"" or problem_in(answer) == "too_large"
    is_served(hasty)


def test_a_target_without_end_is_refused(hasty):
    answer = exchanged(hasty, b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n")
    assert answer == b"" or problem_in(answer) == "too_large"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length: 0x10\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"X : y\r\n",
        b"X: a\0b\r\n",
        b" folded: x\r\n",
        b"NoColon\r\n",
    ],
    ids=["both", "two", "negative", "huge", "hex", "coded", "space", "nul", "folded", "colon"],
)
def test_a_head_with_two_meanings_is_refused(hasty, head):
    answer = exchanged(hasty, b"POST /v1/orders HTTP/1.1\r\nHost: h\r\n" + head + b"\r\nhello")
    assert answer.split(b" ")[1] in (b"400", b"413"), answer
    assert problem_in(answer) in ("bad_request", "too_large")
    for word in (b"uvicorn", b"httptools", b"llhttp", b"Python", b"<html", b"litestar"):
        assert word.lower() not in answer.lower()


def test_a_body_shorter_than_it_says_is_not_read(hasty):
    raw = opened(hasty)
    raw.sendall(b"POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{}")
    raw.shutdown(socket.SHUT_WR)
    answer = everything(raw)
    assert answer == b"" or problem_in(answer) == "too_slow"


def test_chunks_without_end_are_cut_off(hasty):
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    answer = exchanged(hasty, b"POST /v1/orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", chunk * 50)
    assert answer == b"" or problem_in(answer) == "too_large"
    is_served(hasty)
