import asyncio
import threading

import pytest
from litestar import get

from marginkeep.clearing.commands import AdvanceTime, Deposit
from marginkeep.errors import InputError, JournalStalled
from marginkeep.journal.durable import Request
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.service.access.scopes import Scope
from marginkeep.service.application import build_application, every_route
from marginkeep.service.wire.problems import Problem
from tests.journal.houses import GENESIS
from tests.service.conftest import WAIT_SECONDS

DEPOSIT = {"account": "ann", "asset": "USD", "amount": "10"}


def deposit(amount=10**9):
    return Request(command=Deposit(account="ann", asset="USD", amount=amount))


# Saying no -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/schema", 404, "not_found"),
        ("POST", "/v1/%00", 404, "not_found"),
        ("PUT", "/v1/orders", 405, "method_not_allowed"),
        ("POST", "/v1/live", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_answered_with_a_problem(running_service, method, path, status, code):
    answer = running_service.call(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "code", "detail"}


def test_a_body_that_is_too_large_is_not_read(running_service):
    answer = running_service.call("POST", "/v1/orders", content=b"x" * 65_537)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@get("/v1/broken", opt={"scope": Scope.READ})
async def broken() -> None:
    raise ValueError("the secret inside")


@get("/v1/stalled", opt={"scope": Scope.READ})
async def stalled() -> None:
    raise JournalStalled("/var/lib/secret.db: disk full")


@get("/v1/wrong", opt={"scope": Scope.READ})
async def wrong() -> None:
    raise InputError("give 1 to 3")


@pytest.fixture
def faulty(start_service, monkeypatch):
    """A service with routes that fail."""
    monkeypatch.setattr(
        "marginkeep.service.server.build_application",
        lambda context: build_application(context, routes=[broken, stalled, wrong]),
    )
    return start_service()


def test_a_defect_is_answered_without_a_word_of_what_is_inside(faulty):
    answer = faulty.call("GET", "/v1/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "defect")
    assert "secret" not in answer.text
    assert "ValueError" not in answer.text


def test_trouble_with_the_journal_is_the_operators_and_wrong_input_the_callers(faulty):
    trouble, wrong_input = faulty.call("GET", "/v1/stalled"), faulty.call("GET", "/v1/wrong")
    assert (trouble.status_code, trouble.json()["code"]) == (503, "halted")
    assert "secret" not in trouble.text
    assert (wrong_input.status_code, wrong_input.json()["detail"]) == (400, "give 1 to 3")


@pytest.mark.parametrize("path", ["/v1/live", "/v1/nothing", "/v1/orders"])
def test_every_answer_has_the_security_headers(running_service, path):
    headers = running_service.call("GET", path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in headers


def test_no_other_site_may_read_answers(running_service):
    answer = running_service.call("GET", "/v1/live", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_path_tells_all_its_methods_whichever_rooms_they_are_in(running_service):
    told = running_service.call("OPTIONS", "/v1/time", key=None).headers["allow"]
    assert told == "GET, OPTIONS, POST"
    refused = running_service.call("PUT", "/v1/time").headers["allow"]
    assert set(refused.split(", ")) == {"GET", "OPTIONS", "POST"}


# The document ----------------------------------------------------------------------------------------------------


def test_the_document_describes_every_route_with_bodies_answers_and_problems(running_service):
    document = running_service.call("GET", "/v1/openapi.json", key=None).json()
    assert document["openapi"].startswith("3.1")
    paths = {str(path).replace(":str", "").replace(":int", "") for route in every_route() for path in route.paths}
    assert {path for path in paths if path != "/v1/stream"} <= set(document["paths"])
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["responses"]["4XX"]["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
            }


def test_every_reference_in_the_document_leads_somewhere(running_service):
    document = running_service.call("GET", "/v1/openapi.json", key=None).json()
    schemas = document["components"]["schemas"]
    todo, seen = [document], set()
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str):
                seen.add(reference.rpartition("/")[2])
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    assert seen <= set(schemas)


def test_a_commands_own_route_needs_no_type_and_a_batch_does(running_service):
    schemas = running_service.call("GET", "/v1/openapi.json", key=None).json()["components"]["schemas"]
    assert "type" in schemas["Withdraw"]["required"]
    assert "type" not in schemas["WithdrawBody"]["required"]


# How it stands ---------------------------------------------------------------------------------------------------


def test_life_readiness_and_time_are_told_to_everybody(running_service):
    assert running_service.call("GET", "/v1/live", key=None).json() == {"status": "live"}
    assert running_service.call("GET", "/v1/ready", key=None).json() == {"status": "ready"}
    running_service.apply(AdvanceTime(now_ns=7))
    told = running_service.call("GET", "/v1/time", key=None).json()
    assert told["house_ns"] == 7
    assert told["server_ns"] > 10**18


def test_the_venue_is_told_where_the_journal_is_and_users_are_not(running_service):
    running_service.key("ann's", (Scope.READ,), ("ann",))
    running_service.apply(Deposit(account="ann", asset="USD", amount=1))
    full = running_service.call("GET", "/v1/status").json()
    told = running_service.call("GET", "/v1/status", key="ann's").json()
    assert (full["place"], told["place"]) == ("memory", "")
    assert full["sequence"] == full["durable"] == running_service.context.durable.durable.sequence
    assert (full["halted"], full["trouble"]) == ("", "")
    assert running_service.call("GET", "/v1/status", key=None).status_code == 401


def test_a_halted_house_is_not_ready(running_service):
    async def halt():
        running_service.context.state.halted = "the books differ by 3 units"

    running_service.on_loop(halt())
    answer = running_service.call("GET", "/v1/ready", key=None)
    assert (answer.status_code, answer.json()["why"]) == (503, "halted")
    assert "3 units" not in answer.text


# Durable before told ---------------------------------------------------------------------------------------------


class GatedLog(MemoryLog):
    """A journal whose writes wait at a gate, and fail where it is told to."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.error = None

    def append(self, batch):
        assert self.gate.wait(WAIT_SECONDS)
        if self.error is not None:
            raise self.error
        super().append(batch)


@pytest.fixture
def gated(start_service):
    log = GatedLog()
    log.create(GENESIS)
    return start_service(log=log), log


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


def test_nothing_is_told_before_it_is_durable(gated):
    service, log = gated

    async def read_in_flight():
        log.gate.clear()
        writer = service.context.writer
        told = [asyncio.create_task(writer.submit((deposit(),)))]
        await turns()
        assert service.context.durable.head.sequence > service.context.durable.durable.sequence
        told.append(asyncio.create_task(writer.settled()))
        await turns()
        waiting = [task.done() for task in told]
        log.gate.set()
        await asyncio.gather(*told)
        return waiting

    assert service.on_loop(read_in_flight()) == [False, False]


def test_who_waits_for_a_batch_that_fails_is_told_and_nothing_more_is_accepted(gated):
    service, log = gated

    async def fail_in_flight():
        log.gate.clear()
        writer = service.context.writer
        told = [asyncio.create_task(writer.submit((deposit(),)))]
        await turns()
        told.append(asyncio.create_task(writer.settled()))
        await turns()
        log.error = JournalStalled("memory: disk full")
        log.gate.set()
        return await asyncio.wait_for(asyncio.gather(*told, return_exceptions=True), WAIT_SECONDS)

    assert [(type(one), one.code) for one in service.on_loop(fail_in_flight())] == [(Problem, "halted")] * 2
    later = service.call("POST", "/v1/deposits", DEPOSIT)
    assert (later.status_code, later.json()["code"]) == (503, "halted")
    ready = service.call("GET", "/v1/ready", key=None)
    assert (ready.status_code, ready.json()["why"]) == (503, "journal")
