"""OWASP API Security Top 10 (2023): what is tested for each item, and the tests that belong to no other file.

The list is complete or the first test says what it lacks.
"""

import asyncio
import json
import re
import socket
import time
from importlib import import_module

import pytest
from litestar import Litestar, get

from marginkeep.errors import InputError
from marginkeep.service.access.command_rules import TIME_AHEAD_MAX_NS
from marginkeep.service.application import build_application, every_route, openapi_document
from marginkeep.service.notifications.addresses import pinned_address
from marginkeep.service.running import open_context
from marginkeep.service.wire.openapi import build_document
from tests.service.conftest import VENUE, RunningService, memory_log, settings
from tests.service.stream_world import StreamClient, open_market

pytestmark = pytest.mark.without_shadows("no book is under test")

ITEMS = {
    "1 broken object level authorization": [
        "service.test_owasp_access.test_an_account_that_is_not_the_callers_is_answered_like_one_that_does_not_exist",
        "service.test_owasp_access.test_no_way_of_writing_a_foreign_account_opens_a_door",
        "service.test_owasp_access.test_a_batch_is_no_way_around_scopes_and_accounts",
        "service.test_owasp.test_a_socket_is_no_way_around_scopes_and_accounts",
        "service.test_hostile_input.test_no_way_of_writing_a_path_reaches_what_was_not_signed_or_not_the_callers",
        "service.test_notifications.test_endpoints_are_their_owners_alone",
    ],
    "2 broken authentication": [
        "service.test_owasp_access.test_no_route_answers_the_unsigned_or_the_forged",
        "service.test_authentication.test_no_single_altered_byte_is_let_in",
        "service.test_authentication.test_a_replay_is_known_to_the_end_of_the_longest_window",
        "service.test_authentication.test_a_window_or_an_idempotency_key_that_was_not_signed_is_refused",
        "service.test_signing.test_no_two_requests_have_one_text",
        "service.test_signed_sockets.test_a_socket_lives_no_longer_than_its_key",
        "service.test_floods.test_a_request_whose_window_passes_in_the_queue_is_refused_and_not_applied",
    ],
    "3 broken object property level authorization": [
        "service.test_owasp_access.test_a_field_that_nobody_knows_is_refused",
        "service.test_schemathesis.test_every_operation_keeps_what_the_document_promises",
    ],
    "4 unrestricted resource consumption": [
        "service.test_owasp_access.test_no_route_reads_a_large_body_of_a_stranger",
        "service.test_floods.test_a_key_that_floods_is_told_to_wait_and_its_own_protection_and_other_keys_are_served",
        "service.test_floods.test_a_flood_of_forgeries_fills_neither_the_memory_nor_the_journal",
        "service.test_slow_clients.test_a_head_that_drips_is_given_up",
        "service.test_slow_clients.test_a_socket_that_never_reads_is_closed_and_others_are_told",
        "service.test_hostile_input.test_a_body_that_is_not_plain_strict_json_is_refused",
    ],
    "5 broken function level authorization": [
        "service.test_owasp_access.test_the_scope_of_every_route_is_the_one_written_down",
        "service.test_owasp_access.test_a_key_with_one_scope_is_let_through_its_own_doors_alone",
        "service.test_owasp_access.test_what_only_the_venue_may_do_is_closed_to_its_users",
    ],
    "6 unrestricted access to sensitive business flows": [
        "clearing.test_auctions.test_nobody_bids_on_an_account_of_its_own",
        "clearing.test_auctions.test_nobody_bids_on_an_isolated_position_of_its_own",
        "service.test_owasp_access.test_what_changes_something_demands_an_idempotency_key",
        "service.test_owasp_access.test_protective_and_risky_calls_never_share_a_bucket",
    ],
    "7 server side request forgery": [
        "service.test_owasp.test_no_way_of_writing_an_inside_address_is_connected_to",
        "service.test_webhooks.test_a_host_with_one_address_inside_is_refused_as_a_whole",
        "service.test_webhooks.test_what_is_connected_to_is_the_address_that_was_checked_under_the_name_of_the_url",
        "service.test_webhooks.test_a_receiver_that_fails_is_tried_again_and_the_order_is_kept",
    ],
    "8 security misconfiguration": [
        "service.test_owasp.test_every_answer_has_the_security_headers_and_names_no_software",
        "service.test_owasp.test_other_origins_are_told_nothing",
        "service.test_owasp.test_a_defect_tells_nothing_of_the_inside",
        "service.test_owasp.test_other_methods_and_overrides_of_them_are_refused",
        "service.test_running.test_a_service_does_not_listen_beyond_this_machine_in_clear",
    ],
    "9 improper inventory management": [
        "service.test_owasp.test_what_is_served_is_what_is_documented",
        "service.test_schemathesis.test_the_served_document_is_the_one_under_test",
    ],
    "10 unsafe consumption of APIs": [
        "service.test_owasp.test_what_oracles_send_is_bounded",
        "service.test_hostile_input.test_a_body_that_is_not_plain_strict_json_is_refused",
    ],
}


def test_every_item_of_the_list_has_tests_that_exist():
    assert [int(item.split()[0]) for item in ITEMS] == list(range(1, 11))
    for item, tests in ITEMS.items():
        assert tests, item
        for test in tests:
            module, _, name = test.rpartition(".")
            assert hasattr(import_module(f"tests.{module}"), name), f"{item}: {test} is gone"


@pytest.fixture(scope="module")
def service():
    service = RunningService(open_context(settings(), log=memory_log()))
    open_market(service, "ann", "victim")
    service.key("ann", ["read", "trade", "transfer"], ["ann"])
    service.key("reader", ["read"], ["ann"])
    yield service
    service.stop()


# 1 -------------------------------------------------------------------------------------------------------------------

ORDER = {"market": "BTC-PERP", "order": "o", "side": "buy", "size": "0.001", "price": "50000"}


def test_a_socket_is_no_way_around_scopes_and_accounts(service):
    """The operations of the stream against the rules of the routes."""
    mine, reader = StreamClient(service, "ann"), StreamClient(service, "reader")
    before = service.context.durable.head.sequence
    theirs, absent = ({"account": name, **ORDER} for name in ("victim", "n0body"))
    refusals = []
    for order in (theirs, absent):
        answers = [
            mine.ask(op="check", order=order),
            mine.ask(op="command", key="x", command={"type": "ReserveOrder", **order})["result"],
            mine.ask(op="commands", commands=[{"key": "y", "command": {"type": "ReserveOrder", **order}}])["results"][
                0
            ],
            mine.ask(op="subscribe", channels=["accounts"], accounts=[order["account"]]),
        ]
        refusals.append([(one.get("code", one.get("status")), one.get("detail", one.get("reason"))) for one in answers])
    assert refusals[0] == refusals[1]
    assert {code for code, _ in refusals[0]} == {"not_found"}
    deposit = {"type": "Deposit", "account": "ann", "asset": "USD", "amount": "1"}
    assert mine.ask(op="command", key="d", command=deposit)["result"]["status"] == "forbidden"
    assert reader.ask(op="check", order={"account": "ann", **ORDER})["code"] == "forbidden"
    reserve = {"type": "ReserveOrder", "account": "ann", **ORDER}
    assert reader.ask(op="command", key="r", command=reserve)["result"]["status"] == "forbidden"
    assert service.context.durable.head.sequence == before
    mine.close()
    reader.close()


# 7 -------------------------------------------------------------------------------------------------------------------

INSIDE = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0x7f.0.0.1/",
    "https://0/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25lo]/",
    "https://[fd00::1]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://192.168.1.1:8443/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://localhost/",
    "https://127。0。0。1/",
    "https://①②⑦.⓪.⓪.①/",
]


@pytest.mark.parametrize("url", INSIDE, ids=ascii)
def test_no_way_of_writing_an_inside_address_is_connected_to(service, url):
    """Numbers in every base, IPv4 in the clothes of IPv6, other scripts: what counts is the address that comes out."""
    with pytest.raises(InputError, match=r"public|no address"):
        asyncio.run(pinned_address(url, allow_private=False))
    endpoint = {"owner": "ann", "kind": "webhook", "target": url, "preferences": {}}
    made = service.call("POST", "/v1/notifications/endpoints", endpoint, key="ann")
    if made.status_code == 201:  # a name is looked up when it is connected to, not before
        tried = service.call("POST", f"/v1/notifications/endpoints/{made.json()['id']}/test", key="ann")
        assert not tried.json()["delivered"], tried.text
        service.call("DELETE", f"/v1/notifications/endpoints/{made.json()['id']}", key="ann")


# 8 -------------------------------------------------------------------------------------------------------------------

SOFTWARE = re.compile(r"uvicorn|litestar|httptools|llhttp|websockets|python|traceback|/site-packages|\.py\b", re.I)
ANSWERS = [
    ("GET", "/v1/live"),
    ("GET", "/v1/openapi.json"),
    ("GET", "/nowhere"),
    ("PUT", "/v1/orders"),
    ("POST", "/v1/orders"),
    ("GET", "/v1/accounts/ann"),
    ("OPTIONS", "/v1/orders"),
    ("HEAD", "/v1/live"),
]


@pytest.mark.parametrize(("method", "path"), ANSWERS, ids=lambda text: text)
def test_every_answer_has_the_security_headers_and_names_no_software(service, method, path):
    answer = service.http.request(method, path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert not SOFTWARE.search(str(answer.headers))
    if path != "/v1/openapi.json":
        assert not SOFTWARE.search(answer.text)


def raw_answer(service, text):
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(text)
        received = b""
        while block := raw.recv(65_536):
            received += block
    return received.decode("latin-1")


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03hello\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\n\r\n",
    "method": b"FROB / HTTP/1.1\r\nHost: h\r\n\r\n",
    "target": b"GET /v1/\xff HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    "fragment": b"GET #x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    "upgrade": b"GET /v1/stream HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "upgrade elsewhere": b"GET /v1/live HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "upgrade to h2c": b"GET /v1/live HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_the_server_itself_refuses_names_no_software(service, text):
    answer = raw_answer(service, text)
    assert not SOFTWARE.search(answer), answer
    assert "<html" not in answer.lower()
    assert "\nserver:" not in answer.lower()
    assert service.http.get("/v1/live").status_code == 200


def test_other_origins_are_told_nothing(service):
    stated = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in ANSWERS:
        headers = service.http.request(method, path, headers=stated).headers
        assert not [name for name in headers if name.startswith("access-control")]


def test_other_methods_and_overrides_of_them_are_refused(service):
    for method in ("TRACE", "CONNECT", "PROPFIND", "PATCH", "PUT", "DELETE"):
        head = "Host: h\r\nX-Secret: mirror\r\nConnection: close\r\n\r\n"
        answer = raw_answer(service, f"{method} /v1/keys/self HTTP/1.1\r\n{head}".encode())
        assert answer.split(" ")[1] in ("400", "404", "405"), answer
        assert "mirror" not in answer
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        answer = service.call("GET", "/v1/proposals", headers={name: "POST"})
        assert (answer.status_code, "proposals" in answer.json()) == (200, True)
    answer = service.call("GET", "/v1/keys/self?_method=DELETE", headers={"X-Original-URL": "/v1/keys"})
    assert answer.json()["id"] == VENUE


@get("/v1/defect", opt={"scope": None})
async def defect() -> None:
    """Fail as a defect would."""
    raise KeyError("a secret of the inside")


@get("/v1/odd", opt={"scope": None})
async def odd() -> object:
    """Return what cannot be encoded."""
    return object()


def test_a_defect_tells_nothing_of_the_inside(monkeypatch):
    context = open_context(settings(), log=memory_log())

    def built(given):
        return build_application(given, routes=[defect, odd])

    monkeypatch.setattr("marginkeep.service.server.build_application", built)
    service = RunningService(context)
    try:
        for path in ("/v1/defect", "/v1/odd"):
            answer = service.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (500, "defect")
            assert answer.headers["content-type"] == "application/problem+json"
            assert "secret" not in answer.text
            assert not SOFTWARE.search(answer.text)
        assert service.http.get("/v1/live").status_code == 200
    finally:
        service.stop()


# 9 -------------------------------------------------------------------------------------------------------------------


def test_what_is_served_is_what_is_documented():
    """Every route has its version in its path and is in the document, which has nothing else."""
    app = Litestar(route_handlers=[*every_route(), openapi_document], openapi_config=None)
    served = {
        (method, route.path_format)
        for route in app.routes
        if hasattr(route, "route_handler_map")
        for method in route.route_handler_map
        if method != "OPTIONS"
    }
    paths = json.loads(build_document(every_route(), 1_000))["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert served - documented == {("GET", "/v1/openapi.json")}
    assert documented - served == set()
    assert all(path.startswith("/v1/") for _, path in served)


# 10 ------------------------------------------------------------------------------------------------------------------


def test_what_oracles_send_is_bounded(service):
    """Prices of zero and less, of more than can be held, of nowhere; times ahead, which would end every deadline."""
    now_ns = time.time_ns()
    hostile = [
        ("/v1/prices", {"marks": {"BTC-PERP": price}})
        for price in ("0", "-1", "0.00000001", "9" * 30, "1e5", "NaN", "", "50000.05")
    ]
    hostile += [
        ("/v1/prices", {"marks": {"NOWHERE": "1"}}),
        ("/v1/prices", {"prices": {"USD": "0"}}),
        ("/v1/funding", {"market": "BTC-PERP", "rate": "9" * 20}),
        ("/v1/time", {"now_ns": now_ns + TIME_AHEAD_MAX_NS + 10**9}),
        ("/v1/time", {"now_ns": 2**63}),
        ("/v1/time", {"now_ns": -1}),
        ("/v1/order-books", {"market": "BTC-PERP", "bid": "2", "ask": "1", "at_ns": now_ns + 10**12}),
    ]
    before = service.call("GET", "/v1/markets").json()
    for path, body in hostile:
        answer = service.call("POST", path, body)
        assert answer.status_code in (400, 422), f"{path} {body}: {answer.text[:200]}"
    client = StreamClient(service, VENUE)
    ahead = {"type": "AdvanceTime", "now_ns": now_ns + 10**12}
    assert client.ask(op="command", key="t1", command=ahead)["result"]["status"] == "bad_request"
    client.close()
    batch = {"commands": [{"key": "t2", "command": ahead}]}
    assert service.call("POST", "/v1/batch", batch).status_code == 400
    after = service.call("GET", "/v1/markets").json()
    assert [one["mark"] for one in after["markets"]] == [one["mark"] for one in before["markets"]]
    assert service.context.state.now_ns < now_ns + TIME_AHEAD_MAX_NS
