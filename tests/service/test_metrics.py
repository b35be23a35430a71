"""Metrics, the request log, and who may read them."""

from __future__ import annotations

import io
import json

import pytest
import structlog
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from marginkeep.clearing import AdvanceTime, Deposit, SetPrices, Trade, Withdraw
from marginkeep.errors import InputError, JournalStalled
from marginkeep.journal.durable import Request
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.logs import configure_logs
from marginkeep.service.operations.observing import Observer
from marginkeep.service.operations.request_log import RequestLog
from marginkeep.service.operations.settings import LogSettings
from marginkeep.service.routes.metrics import read_token
from tests.service.conftest import settings

TOKEN = "0123456789abcdef0123456789abcdef"


def scraped(service) -> dict[tuple[str, frozenset], float]:
    """Every sample by its name and labels."""
    answer = service.http.get("/v1/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def sample(samples, name, **labels) -> float:
    return samples[f"marginkeep_{name}", frozenset(labels.items())]


def test_commands_are_counted_by_type_and_outcome_and_refusals_by_code(running_service):
    before = scraped(running_service)
    deposit = Request(command=Deposit(account="ann", asset="USD", amount=10**9), actor="t", key="once")
    other = Request(command=Deposit(account="ann", asset="USD", amount=1), actor="t", key="once")
    refused = Request(command=Withdraw(account="bob", asset="USD", amount=1), actor="t")
    running_service.on_loop(running_service.context.writer.submit([deposit, refused]))
    running_service.on_loop(running_service.context.writer.submit([deposit, other]))
    after = scraped(running_service)
    assert sample(after, "commands_total", command="Deposit", outcome="accepted") == 1
    assert sample(after, "commands_total", command="Deposit", outcome="repeated") == 1
    assert sample(after, "commands_total", command="Deposit", outcome="key_reused") == 1
    assert sample(after, "commands_total", command="Withdraw", outcome="rejected") == 1
    assert sample(after, "refusals_total", code="unknown_account") == 1
    assert sample(after, "events_total", event="AccountOpened") == 1
    assert sample(after, "records_total") - sample(before, "records_total") == 2
    assert sample(after, "batch_requests_sum") - sample(before, "batch_requests_sum") == 4
    for stage in ("apply", "commit", "command"):
        assert sample(after, f"{stage}_seconds_count") - sample(before, f"{stage}_seconds_count") == 2


def test_gauges_show_the_house_as_it_is(running_service):
    running_service.apply(Deposit(account="ann", asset="USD", amount=10**9), AdvanceTime(now_ns=5 * 10**9))
    samples = scraped(running_service)
    head = running_service.context.durable.head
    assert sample(samples, "sequence") == sample(samples, "durable_sequence") == head.sequence
    assert sample(samples, "accounts") == len(running_service.context.state.names)
    assert sample(samples, "house_time_seconds") == 5
    assert sample(samples, "halted") == sample(samples, "journal_trouble") == 0
    assert sample(samples, "queue_requests_max") == running_service.context.writer.queue_max
    assert sample(samples, "open_interest", market="BTC-PERP") == 0
    assert sample(samples, "ill_accounts", rung="called") == 0
    assert samples["process_resident_memory_bytes", frozenset()] > 10**6


def test_open_interest_and_marks_are_in_whole_units(running_service):
    deposits = [Deposit(account=name, asset="USD", amount=10**12) for name in ("ann", "bob")]
    trade = Trade(market="BTC-PERP", buyer="ann", seller="bob", size=100, price=500_000)
    running_service.apply(SetPrices(marks={"BTC-PERP": 500_000}), *deposits, trade)
    samples = scraped(running_service)
    market = running_service.context.rulebook.markets["BTC-PERP"]
    assert sample(samples, "events_total", event="Traded") == 1
    assert sample(samples, "open_interest", market="BTC-PERP") == 100 * float(market.lot)
    assert sample(samples, "mark_price", market="BTC-PERP") == 500_000 * float(market.tick)


def test_a_halt_and_a_journal_in_trouble_are_seen(running_service):
    context = running_service.context
    context.state.halted = "a contradiction"
    assert sample(scraped(running_service), "halted") == 1
    context.state.halted = ""
    head = context.durable.head
    context.durable.trouble = JournalStalled("the disk is full")
    context.durable.head = structs.replace(head, sequence=head.sequence + 1)  # applied, and never durable
    try:
        assert sample(scraped(running_service), "journal_trouble") == 1
    finally:
        context.durable.trouble, context.durable.head = None, head


def test_requests_are_counted_by_declared_route_and_strangers_cannot_make_new_series(running_service):
    for path in ("/v1/nowhere", "/v1/nowhere-else", "/v1/accounts"):
        running_service.http.get(path)
    samples = scraped(running_service)
    routes = {dict(labels)["route"] for name, labels in samples if name == "marginkeep_requests_total"}
    assert "unmatched" in routes
    assert not any("nowhere" in route for route in routes)
    unmatched = [dict(labels) for name, labels in samples if name == "marginkeep_requests_total"]
    assert {one["method"] for one in unmatched if one["route"] == "unmatched"} == {"-"}


def test_a_refused_signature_is_counted(running_service):
    running_service.http.get("/v1/status", headers={"Marginkeep-Key": "nobody"})
    assert sample(scraped(running_service), "sign_ins_refused_total") == 1


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_a_request_that_a_proxy_sends_on_may_not_read_metrics(running_service, header):
    answer = running_service.http.get("/v1/metrics", headers={header: "192.0.2.7"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_behind_a_proxy_metrics_take_the_token_or_a_key_with_audit_read(start_service, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    service = start_service(settings(behind_tls=True, metrics_token=str(file)))
    assert service.http.get("/v1/metrics").status_code == 401
    assert service.http.get("/v1/metrics", headers={"Authorization": f"Bearer {TOKEN[:-1]}x"}).status_code == 401
    assert service.http.get("/v1/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert service.call("GET", "/v1/metrics").status_code == 200
    service.key("trader", (Scope.READ, Scope.TRADE), ("ann",))
    service.key("auditor-of-one", (Scope.AUDIT_READ,), ("ann",))
    assert service.call("GET", "/v1/metrics", key="trader").status_code == 403
    assert service.call("GET", "/v1/metrics", key="auditor-of-one").status_code == 403


def test_a_token_that_is_too_short_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text("short")
    with pytest.raises(InputError, match="32 or more"):
        read_token(str(file))
    with pytest.raises(InputError, match="cannot be read"):
        read_token(str(tmp_path / "nothing"))


# The log -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def log_lines():
    """A callable that gives what was logged so far, as objects."""
    stream = io.StringIO()
    configure_logs(LogSettings(format="json"), lambda: 1_700_000_000_123_456_789, stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def test_a_request_is_one_line_without_body_or_signature(log_lines, start_service):
    service = start_service()
    document = {"account": "ann", "asset": "USD", "amount": "31337"}
    service.call("POST", "/v1/deposits", document, headers={"Correlation-Id": "order-7"})
    line = next(one for one in log_lines() if one.get("route") == "/v1/deposits")
    assert line["event"] == "request"
    assert line["at"] == "2023-11-14T22:13:20.123456+00:00"
    assert (line["key"], line["method"], line["status"], line["correlation"]) == ("venue", "POST", 200, "order-7")
    assert line["sequence"] == service.context.durable.head.sequence
    assert line["ms"] > 0
    assert set(line) == {*("at", "level", "event", "key", "method", "route", "status", "ms", "sequence", "correlation")}
    assert "31337" not in json.dumps(log_lines())


def test_what_is_turned_away_at_the_door_is_logged_too(log_lines, start_service):
    service = start_service()
    service.http.get("/v1/status")
    service.http.get("/v1/../etc/passwd")
    found = [(one["route"], one["status"], one["key"]) for one in log_lines() if one["event"] == "request"]
    assert ("/v1/status", 401, "") in found
    assert ("unmatched", 404, "") in found


def test_secrets_are_left_out_whoever_logs_them(log_lines):
    structlog.get_logger().warning("careless", secret="hunter2", signature="abc", body=b"{}", fine=1)
    (line,) = log_lines()
    assert line["fine"] == 1
    assert not {"secret", "signature", "body"} & set(line)


def test_a_level_keeps_lesser_lines_out():
    stream = io.StringIO()
    configure_logs(LogSettings(format="json", level="warning"), lambda: 0, stream)
    structlog.get_logger().info("small talk")
    structlog.get_logger().warning("look")
    structlog.reset_defaults()
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["look"]


def test_the_log_of_requests_can_be_turned_off(log_lines):
    import asyncio

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def send(message):
        pass

    scope = {"type": "http", "method": "GET", "headers": []}
    asyncio.run(RequestLog(application, Observer(), writes=False)(scope, None, send))
    assert log_lines() == []
    asyncio.run(RequestLog(application, Observer(), writes=True, ticks=iter((1.0, 1.25)).__next__)(scope, None, send))
    assert [(one["ms"], one["status"]) for one in log_lines()] == [(250.0, 204)]
