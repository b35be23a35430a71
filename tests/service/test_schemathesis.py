"""The served OpenAPI document, put to the test against the service that serves it: every operation, every check.

Cases come from the document alone; each is signed at the last moment, over the bytes that are sent.
"""

import json
import time
from itertools import count

import pytest
import schemathesis
import schemathesis.checks
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from marginkeep.client.signing import IDEMPOTENCY, KEY, sign_request
from marginkeep.journal.record import TEXT_MAX
from marginkeep.service.access.rate_limits import RateLimits
from marginkeep.service.application import every_route
from marginkeep.service.operations.settings import (
    AccessSettings,
    JournalSettings,
    LogSettings,
    ServerSettings,
    Settings,
)
from marginkeep.service.running import open_context
from marginkeep.service.wire.openapi import build_document
from tests.service.conftest import VENUE, RunningService, memory_log
from tests.service.stream_world import lever, open_market

pytestmark = pytest.mark.without_shadows("thousands of commands, most of them refused")

WAIT_SECONDS = 20
EXAMPLES = 6
UNLIMITED = AccessSettings(requests_per_second=10**9, burst=10**9)
DOCUMENT = json.loads(build_document(every_route(), ServerSettings().page_max))


@pytest.fixture(scope="module")
def service():
    stated = Settings(
        journal=JournalSettings(snapshot_records=0),
        server=ServerSettings(port=0, tick_seconds=0),
        access=UNLIMITED,
        logs=LogSettings(requests=False),
    )
    context = open_context(stated, log=memory_log())
    context.parts["access"]._failures = RateLimits(10**9, 10**9)
    service = RunningService(context)
    open_market(service, "ann", "maker")
    lever(service, "bob", "maker")
    yield service
    service.stop()


class LastMoment:
    """Signs a prepared request where its key is the one that was given to it; others go out as they are."""

    def __init__(self, service):
        self._credential = service._keys[VENUE]
        self._numbers = count(1)

    def __call__(self, request):
        if request.headers.get(KEY) != VENUE:
            return request
        stated = request.headers.get(IDEMPOTENCY, "")
        if 0 < len(stated) <= TEXT_MAX:
            stated = f"{next(self._numbers)}-{stated}"[:TEXT_MAX].rstrip()
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        target = request.path_url
        signed = sign_request(
            self._credential, request.method, target, body, clock=time.time_ns, idempotency_key=stated
        )
        request.headers.update(signed)
        return request


schema = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.seed = 1
schema.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "404", "409", "422"]

NOT_STATED = {
    "GET /v1/accounts": "`after` is a token of this service's making",
    "GET /v1/auctions": "the same",
    "GET /v1/proofs/consistency": "checkpoints must exist, and the old one be the smaller",
    "GET /v1/ccxt/fetch_positions": "a key for several accounts must name one",
    "GET /v1/ccxt/fetch_balance": "the same",
    "GET /v1/ccxt/fetch_margin_modes": "the same",
    "GET /v1/why": "`sequence` must be that of a record",
    "POST /v1/batch": "numbers are multiples of steps that the rulebook states",
    "POST /v1/funding": "the same",
    "POST /v1/bids": "the same",
    "POST /v1/time": "times may not lie ahead",
    "POST /v1/quotes": "the same",
    "POST /v1/order-books": "the same",
    "POST /v1/keys": "accounts and addresses have a grammar of their own",
    "POST /v1/notifications/endpoints": "what a venue can send is its own affair",
    "POST /v1/proposals": "a rulebook has a grammar of its own",
    "POST /v1/what-if": "the same",
}
"""Operations that refuse, as bad requests, what no schema can tell from good ones."""


@schema.hook
def map_body(context, body):
    """Write 54126.0 as 54126: it is an integer to a schema, and rightly none to a strict decoder."""
    if isinstance(body, dict):
        return {name: map_body(context, member) for name, member in body.items()}
    if isinstance(body, list):
        return [map_body(context, member) for member in body]
    return int(body) if isinstance(body, float) and body.is_integer() else body


def test_the_served_document_is_the_one_under_test(service):
    assert service.http.get("/v1/openapi.json").json() == DOCUMENT


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_keeps_what_the_document_promises(case, service):
    known = [positive_data_acceptance] if case.operation.label in NOT_STATED else []
    case.call_and_validate(
        excluded_checks=known,
        base_url=service.url,
        headers={KEY: VENUE},
        auth=LastMoment(service),
        timeout=WAIT_SECONDS,
    )
