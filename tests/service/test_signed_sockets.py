"""Signing in on a WebSocket: by the headers of its upgrade, or by its first message; and losing the key on the way."""

import json
import time
from base64 import b64decode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from marginkeep.client.signing import canonical_text, login_message, sign_request
from marginkeep.service.access.scopes import Scope
from tests.service.access_world import api_key, private_key, running

pytestmark = pytest.mark.without_shadows("no command of these tests changes a book")

ANN = private_key("ann")


@pytest.fixture(scope="module")
def world():
    with running(api_key("ann"), api_key("oracle", Scope.ORACLE_PUBLISH)) as world:
        yield world


STREAM = "/v1/stream"


def opened(world, **options):
    return connect(f"ws://127.0.0.1:{world.port}{STREAM}", open_timeout=20, close_timeout=5, **options)


def test_a_socket_is_opened_with_signed_headers(world):
    headers = sign_request(ANN, "GET", STREAM, clock=world.clock)
    with opened(world, additional_headers=headers) as stream:
        stream.ping().wait(20)
    with pytest.raises(InvalidStatus) as refused:
        opened(world, additional_headers=headers)
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["code"] == "expired"


def test_a_socket_is_opened_with_a_first_message(world):
    with opened(world) as stream:
        stream.send(login_message(ANN, STREAM, clock=world.clock))
        stream.ping().wait(20)


@pytest.mark.parametrize(
    "message",
    ['{"login": {}}', "nothing", '{"login": {}, "more": 1}', "x" * 5_000, b"\x00"],
    ids=["empty", "no JSON", "more", "long", "bytes"],
)
def test_a_first_message_that_does_not_sign_in_closes_the_socket(world, message):
    with opened(world) as stream:
        stream.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(20)
    assert closed.value.rcvd.code in (4401, 4413)


def code_at_the_end(stream):
    """The code with which a socket is closed, after whatever it still says."""
    for _ in range(100):
        try:
            stream.recv(5)
        except ConnectionClosed as closed:
            return closed.rcvd.code
    return None


def test_a_socket_lives_no_longer_than_its_key():
    with running(api_key("ann"), api_key("admin", Scope.RISK_ADMIN)) as world:
        with opened(world) as stream:
            stream.send(login_message(ANN, STREAM, clock=world.clock))
            stream.ping().wait(20)
            revoked = world.send(private_key("admin"), "POST", "/v1/keys/ann/revoke", key="r1")
            assert revoked.status_code == 200
            stream.send("{}")
            assert code_at_the_end(stream) == 4401
        assert world.send(ANN, "GET", "/v1/keys/self").status_code == 401


def test_the_canonical_text_of_a_login_is_that_of_a_get_without_body():
    message = json.loads(login_message(ANN, STREAM, clock=time.time_ns, nonce=lambda: "nonce-01"))
    stated = message["login"]
    text = canonical_text("ann", "GET", STREAM, int(stated["Marginkeep-Timestamp"]), "nonce-01", b"")
    assert b64decode(stated["Marginkeep-Signature"]) == ANN.sign(text)


def test_a_socket_needs_the_scope_of_its_route(world):
    headers = sign_request(private_key("oracle"), "GET", STREAM, clock=world.clock)
    with pytest.raises(InvalidStatus) as refused:
        opened(world, additional_headers=headers)
    assert refused.value.response.status_code == 403
    with opened(world) as stream:
        stream.send(login_message(private_key("oracle"), STREAM, clock=world.clock))
        assert code_at_the_end(stream) == 4403
