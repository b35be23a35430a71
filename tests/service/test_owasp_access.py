"""OWASP API Top 10 (2023), what concerns access: items 1, 2, 3 and 5 for every route there is, parts of 4 and 6.

The routes come from the application itself, so a new one is tested, and must state its scope, from the day it exists.
"""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from marginkeep.clearing import AdvanceTime, Deposit, ObserveBook, PublishQuotes, SetPrices
from marginkeep.journal.durable import Request
from marginkeep.service.access.command_rules import RULES
from marginkeep.service.access.rate_limits import Bucket
from marginkeep.service.access.scopes import Scope
from marginkeep.service.application import every_route, openapi_document
from marginkeep.service.wire.commands import WIRE
from tests.service.access_world import api_key, private_key, running

pytestmark = pytest.mark.without_shadows("no command of these tests is accepted")

SNAPSHOT = Path(__file__).with_name("scopes.txt")
MUTATING = {"POST", "PUT", "PATCH", "DELETE"}
OWNERS = {"owner", "account"}
"""Path parameters that name an account."""

BODY_OWNERS = {"account", "source", "liquidator"}
"""Fields of bodies that name an account for which the caller must act."""

ABSENT = "n0body"
THEIRS = "victim"
ALL = private_key("all")
MINE = private_key("mine")


def operations():
    """Every operation of the application: method, path template and what the handler states of itself."""
    app = Litestar(route_handlers=[*every_route(), openapi_document], openapi_config=None)
    found = []
    for route in app.routes:
        if hasattr(route, "route_handler_map"):
            found += [
                (method, route.path, handler)
                for method, (handler, _) in route.route_handler_map.items()
                if method != "OPTIONS"
            ]
        else:
            found.append(("WEBSOCKET", route.path, route.route_handler))
    return sorted(found, key=lambda one: (one[1], one[0]))


OPERATIONS = operations()
HTTP = [one for one in OPERATIONS if one[0] != "WEBSOCKET"]


def name_of(operation):
    return f"{operation[0]} {operation[1]}"


def scope_of(handler):
    scope = handler.opt.get("scope", "CLOSED")
    return "public" if scope is None else str(getattr(scope, "value", scope))


def line_of(method, path, handler):
    mutates = "mutates" if handler.opt.get("mutates") else "-"
    return f"{method} {path} {scope_of(handler)} {handler.opt.get('bucket', '-')} {mutates}"


def write_scopes():
    SNAPSHOT.write_text("".join(f"{line_of(*operation)}\n" for operation in OPERATIONS))


# 5: function level --------------------------------------------------------------------------------------------------


def test_the_scope_of_every_route_is_the_one_written_down():
    """A changed line here is a change of who may do what: look at it twice, then write the file anew.

    python -c "from tests.service.test_owasp_access import write_scopes; write_scopes()"
    """
    lines = [line_of(*operation) for operation in OPERATIONS]
    assert lines == SNAPSHOT.read_text().splitlines()


@pytest.mark.parametrize(("method", "path", "handler"), OPERATIONS, ids=map(name_of, OPERATIONS))
def test_every_route_states_its_scope_and_its_bucket(method, path, handler):
    scope = handler.opt.get("scope", "CLOSED")
    assert scope is None or isinstance(scope, Scope), "a route states its scope; None makes it public"
    assert scope is None or handler.opt.get("bucket") in Bucket.__args__
    if scope is None:
        assert method == "GET", "what everybody may do changes nothing"


@pytest.fixture(scope="module")
def world():
    keys = [api_key(f"has-{scope.value}", scope) for scope in Scope]
    everything = api_key("all", *Scope)
    mine = api_key("mine", *Scope, accounts=("mine",))
    with running(everything, mine, *keys, prepare=open_accounts, burst=1_000_000) as world:
        yield world


def open_accounts(context):
    deposits = [Deposit(account=account, asset="USD", amount=10**12) for account in ("mine", THEIRS)]
    context.durable.submit([Request(command=SetPrices(marks={"BTC-PERP": 500_000}))])
    context.durable.submit([Request(command=deposit) for deposit in deposits])
    context.feed.last = context.durable.durable.sequence


def filled(path, owner):
    """A path with its parameters filled in; every account in it is the given one."""
    parts = []
    for part in path.split("/"):
        if not part.startswith("{"):
            parts.append(part)
            continue
        name, _, kind = part.strip("{}").partition(":")
        parts.append(owner if name in OWNERS else "1" if kind == "int" else "BTC-PERP" if name == "market" else "x1")
    return "/".join(parts)


@pytest.mark.parametrize("scope", Scope, ids=str)
def test_a_key_with_one_scope_is_let_through_its_own_doors_alone(world, scope):
    for method, path, handler in HTTP:
        wanted = handler.opt.get("scope")
        if wanted is None:
            continue
        answer = world.send(
            private_key(f"has-{scope.value}"), method, filled(path, ABSENT), {}, key=f"f-{scope}-{path}"
        )
        refused = answer.status_code == 403 and answer.json().get("scope") == wanted.value
        assert refused == (wanted != scope), f"{method} {path}: {answer.status_code} {answer.text[:200]}"


# 2: authentication --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "handler"), HTTP, ids=map(name_of, HTTP))
def test_no_route_answers_the_unsigned_or_the_forged(world, method, path, handler):
    if handler.opt["scope"] is None:
        return
    target = filled(path, THEIRS)
    forged = world.send(ALL, method, target, {}, headers={"Marginkeep-Nonce": "another-nonce"}, key="k")
    unsigned = world.send(None, method, target, {}, key="k")
    assert {forged.status_code, unsigned.status_code} <= {401, 429}


# 1: object level ----------------------------------------------------------------------------------------------------


def fields_of(handler):
    """The fields of the body that a route reads."""
    kind = handler.opt.get("body")
    return msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()


def is_bound(operation):
    """Tell whether a user's key reaches accounts by a route: by its path, or by a field of its body."""
    _, path, handler = operation
    named = any(f"{{{name}" in path for name in OWNERS) or any(f.encode_name in BODY_OWNERS for f in fields_of(handler))
    return named and not handler.opt.get("venue_only") and handler.opt["scope"] is not Scope.RISK_ADMIN


BY_ACCOUNT = [one for one in HTTP if is_bound(one)]


def body_for(fields, owner):
    """A body that a route can read, with the given account wherever one is named."""
    return {field.encode_name: value_for(field, owner) for field in fields if is_sent(field)}


def is_sent(field):
    return field.required or field.encode_name in BODY_OWNERS


def value_for(field, owner):
    known = {"asset": "USD", "market": "BTC-PERP", "side": "buy", "mode": "isolated", "order": "o1", "size": "0.001"}
    return owner if field.encode_name in BODY_OWNERS | {"target"} else known.get(field.encode_name, "1")


def without_names(answer, *names):
    text = answer.text
    for name in names:
        text = text.replace(name, "?")
    document = json.loads(text)
    return {name: document[name] for name in ("status", "code", "detail", "title", "type")}


@pytest.mark.parametrize(("method", "path", "handler"), BY_ACCOUNT, ids=map(name_of, BY_ACCOUNT))
def test_an_account_that_is_not_the_callers_is_answered_like_one_that_does_not_exist(world, method, path, handler):
    answers = [
        world.send(
            MINE,
            method,
            filled(path, owner),
            body_for(fields_of(handler), owner),
            key=f"o-{owner}-{method}{path}"[:120],
        )
        for owner in (THEIRS, ABSENT)
    ]
    assert [answer.status_code for answer in answers] == [404, 404], answers[0].text
    assert without_names(answers[0], THEIRS) == without_names(answers[1], ABSENT)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10**6),
    st.sampled_from(["victim", "victim.bot", "mine2", "MINE", "mine ", "*", "mine%2Fx/../victim", "%2A", "victim%00"])
    | st.text("abmine.*", min_size=1, max_size=6),
)
def test_no_way_of_writing_a_foreign_account_opens_a_door(world, choice, owner):
    """A property over routes and accounts: whatever is asked of a foreign account is never done or shown."""
    if not BY_ACCOUNT:
        pytest.fail("no route names an account")
    if owner.partition(".")[0] == "mine" or not owner.strip("."):
        return  # the caller's own, or a step in the path that the client takes itself
    method, path, handler = BY_ACCOUNT[choice % len(BY_ACCOUNT)]
    answer = world.send(
        MINE, method, filled(path, owner), body_for(fields_of(handler), owner), key=f"p-{choice}-{len(owner)}"
    )
    assert answer.status_code in {400, 404, 405, 422}, f"{method} {path} for {owner}: {answer.text[:200]}"
    if answer.status_code == 422:
        assert answer.json()["code"] == "key_reused"


@pytest.mark.parametrize("command", sorted(RULES, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_a_batch_is_no_way_around_scopes_and_accounts(world, command):
    rule, fields = RULES[command], msgspec.structs.fields(WIRE[command])
    body = {"type": command.__name__, **body_for(fields, THEIRS), **GROUPS.get(command, {})}
    batch = {"commands": [{"key": f"b-{command.__name__}", "command": body}]}
    answers = [
        world.send(key, "POST", "/v1/batch", batch, key=f"b-{command.__name__}")
        for key in (private_key("has-read"), MINE)
    ]
    assert (answers[0].status_code, answers[0].json()["code"]) == (403, "forbidden")
    if rule.accounts or rule.venue_only:
        assert answers[1].status_code == (403 if rule.venue_only else 404), answers[1].text


GROUPS = {
    PublishQuotes: {"quotes": []},
    AdvanceTime: {"now_ns": 1},
    ObserveBook: {"at_ns": 1},
}


@pytest.mark.parametrize("operation", [one for one in HTTP if one[2].opt.get("venue_only")], ids=name_of)
def test_what_only_the_venue_may_do_is_closed_to_its_users(world, operation):
    method, path, handler = operation
    answer = world.send(MINE, method, path, body_for(fields_of(handler), "mine"), key=f"v-{path}")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


# 3: property level --------------------------------------------------------------------------------------------------

WITH_BODY = [one for one in HTTP if isinstance(one[2].opt.get("body"), type)]


@pytest.mark.parametrize(("method", "path", "handler"), WITH_BODY, ids=map(name_of, WITH_BODY))
def test_a_field_that_nobody_knows_is_refused(world, method, path, handler):
    body = {**body_for(fields_of(handler), "mine"), "is_admin": True}
    answer = world.send(ALL, method, filled(path, "mine"), body, key=f"u-{path}"[:120])
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text[:300]


# 4 and 6: resources and flows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "handler"), HTTP, ids=map(name_of, HTTP))
def test_no_route_reads_a_large_body_of_a_stranger(world, method, path, handler):
    answer = world.client.request(method, filled(path, ABSENT), content=b"x" * 65_537)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_what_changes_something_demands_an_idempotency_key(world):
    marked = [one for one in HTTP if one[2].opt.get("mutates")]
    assert marked
    for method, path, _ in marked:
        answer = world.send(ALL, method, filled(path, "mine"), {})
        assert answer.json()["code"] == "key_missing", f"{method} {path}"


def test_protective_and_risky_calls_never_share_a_bucket():
    by_bucket = {}
    for _, path, handler in HTTP:
        by_bucket.setdefault(handler.opt.get("bucket"), set()).add(path)
    assert by_bucket["safety"]
    assert by_bucket["risk"]
    assert any("margin" in path or "deposit" in path for path in by_bucket["safety"])
    assert not any("deposit" in path for path in by_bucket["risk"])
