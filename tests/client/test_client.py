"""The blocking client and its twin, before a real service."""

import asyncio
import inspect
import subprocess
import sys

import msgspec
import pytest

from marginkeep.clearing import events as core_events
from marginkeep.clearing import loss_events
from marginkeep.client import AsyncClient, Client, commands, queries, rule_changes, views
from marginkeep.client import venue_views as seen_venue
from marginkeep.client.errors import KeyReused, NotAllowed, NotFound, Refused, Unreachable
from marginkeep.client.events import KINDS, OrderReserved, Traded
from marginkeep.client.exchange import Conduct
from marginkeep.service.access.command_rules import RULES
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries import account_pages, account_views, event_pages, market_views, venue_views
from marginkeep.service.routes import accounts as routes_accounts
from marginkeep.service.routes import events as routes_events
from marginkeep.service.routes import markets as routes_markets
from marginkeep.service.routes import operations as routes_operations
from marginkeep.service.wire.event_schemas import SHAPES
from tests.service.conftest import VENUE

MARKET = "BTC-PERP"


def calls_of(module):
    """The functions of a module that build calls, by name."""
    found = inspect.getmembers(module, inspect.isfunction)
    return {name: one for name, one in found if _builds(name, one)}


def _builds(name, function):
    return not name.startswith("_") and str(function.__annotations__.get("return", "")).startswith("Call[")


def test_both_clients_have_a_method_for_every_call_with_the_same_parameters():
    builders = {**calls_of(commands), **calls_of(queries), **calls_of(rule_changes)}
    assert len(builders) > 40
    for name, build in builders.items():
        for kind in (Client, AsyncClient):
            method = getattr(kind, name).__get__(object(), kind)
            assert method.__doc__ is not None
            if name != "batch":
                shown, built = inspect.signature(method), inspect.signature(build)
                assert shown.parameters == built.parameters, name
                assert f"Call[{shown.return_annotation}]" == built.return_annotation, name


def test_every_command_of_the_service_has_its_call_at_its_path():
    kinds = {kind.__name__: rule.path for kind, rule in RULES.items()}
    assert {kind: f"/v1/{path}" for kind, path in commands._PATHS.items()} == kinds


def test_every_event_that_is_typed_here_has_the_members_that_the_service_sends():
    shapes = {kind.__name__: {one.name for one in msgspec.structs.fields(shape)} for kind, shape in SHAPES.items()}
    for name, kind in KINDS.items():
        assert hasattr(core_events, name) or hasattr(loss_events, name)
        stated = {one.name for one in msgspec.structs.fields(kind)} - {"type", "raw"}
        assert stated <= shapes[name], name


def _is_view(one):
    return inspect.isclass(one) and issubclass(one, views.View)


def test_every_view_has_members_that_the_service_sends():
    rooms = (account_pages, account_views, event_pages, market_views, routes_accounts, routes_events, routes_markets)
    rooms += (routes_operations, venue_views)
    kinds = {name: kind for room in rooms for name, kind in inspect.getmembers(room, inspect.isclass)}
    renamed = {"RulebookView": "RulesInForce", "ServiceTime": "Time", "AuctionLeg": "LegView"}
    checked = 0
    seen = {**dict(inspect.getmembers(views, _is_view)), **dict(inspect.getmembers(seen_venue, _is_view))}
    for name, kind in seen.items():
        there = kinds.get(renamed.get(name, name))
        if there is not None and hasattr(there, "__struct_fields__"):
            assert set(kind.__struct_fields__) <= set(there.__struct_fields__), name
            checked += 1
    assert checked > 20


def test_the_client_needs_no_engine():
    code = (
        "import sys, marginkeep.client.blocking, marginkeep.client.awaiting;"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('marginkeep.')};"
        "assert rooms == {'client', 'errors'}, rooms;"
        "assert not {'numpy', 'numba', 'litestar'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_commands_are_answered_with_typed_events(client):
    answer = client.order("ann", "1", MARKET, "buy", "0.1", "50000")
    (event,) = answer.events
    assert isinstance(event, OrderReserved)
    assert (event.order, event.free) == ("1", "9897.5")
    (_, traded) = client.trade(MARKET, "ann", "bob", "0.1", "50000", buyer_order="1").events
    assert isinstance(traded, Traded)
    assert (traded.size, traded.buyer.account, traded.buyer.size) == ("0.1", "ann", "0.1")


def test_a_retry_with_the_key_is_answered_what_was_recorded(client):
    first = client.withdraw("ann", "USD", "1", key="w")
    again = client.withdraw("ann", "USD", "1", key="w")
    assert (again.sequence, again.repeated) == (first.sequence, True)
    with pytest.raises(KeyReused):
        client.withdraw("ann", "USD", "2", key="w")


def test_a_refusal_is_an_exception_with_numbers_in_whole_units(client):
    with pytest.raises(Refused) as caught:
        client.order("ann", "1", MARKET, "buy", "100", "50000")
    assert caught.value.refusal == "insufficient_margin"
    assert caught.value.numbers["collateral"] == "10000"
    assert caught.value.sequence > 0


def test_a_check_changes_nothing(client):
    before = client.status().sequence
    assert client.check_order("ann", MARKET, "buy", "0.1", "50000").free == "9897.5"
    verdicts = client.check_orders(
        [commands.check_order("ann", MARKET, "buy", size, "50000") for size in ("0.1", "100")]
    )
    assert [one.status for one in verdicts] == ["accepted", "rejected"]
    assert verdicts[1].refusal == "insufficient_margin"
    assert client.status().sequence == before


def test_a_batch_has_an_answer_for_each_and_keys_for_all(client):
    results = client.batch(
        [
            commands.order("ann", "1", MARKET, "buy", "0.1", "50000"),
            commands.order("ann", "2", MARKET, "buy", "100", "50000"),
            commands.release("ann", "1", key="r"),
        ]
    )
    assert [one.status for one in results] == ["accepted", "rejected", "accepted"]
    assert isinstance(results[1].error(), Refused)
    with pytest.raises(Refused):
        results[1].answer()
    assert results[2].answer().events[0].reason == "released"
    assert client.release("ann", "1", key="r").repeated


def test_others_accounts_and_missing_scopes_are_told_apart(running_service, client):
    mine = running_service.key("ann's", (Scope.READ, Scope.TRADE), ("ann",))
    with Client(running_service.url, mine) as owner:
        assert owner.own_key().accounts == ["ann"]
        with pytest.raises(NotFound):
            owner.account("bob")
        with pytest.raises(NotAllowed):
            owner.deposit("ann", "USD", "1")


def test_every_question_is_read(client):
    client.trade(MARKET, "ann", "bob", "0.1", "50000")
    client.order("ann", "1", MARKET, "buy", "0.1", "49000")
    client.add_margin("bob", MARKET, "100")
    ann = client.account("ann").named("ann")
    assert (ann.positions[0].size, ann.positions[0].side, ann.orders[0].price) == ("0.1", "long", "49000")
    assert {one.account for one in client.account("bob").accounts} == {"bob", f"bob/{MARKET}"}
    assert client.positions("ann").positions[0].position.mark == "50000"
    assert client.orders("ann").orders[0].order == "1"
    assert client.health("ann").accounts[0].rung == "healthy"
    page = client.accounts(limit=1)
    assert page.next is not None
    assert client.accounts(page.next, limit=1).rows[0].account != page.rows[0].account
    assert client.market(MARKET).market.mark == "50000"
    assert [one.market for one in client.markets().markets] == [MARKET, "ETH-PERP"]
    assert client.assets().reporting == "USD"
    assert client.oracle().feeds == []
    assert client.funds().bad_debt is not None
    assert client.auctions().auctions == []
    assert "BTC-PERP" in client.rulebook().rules
    assert client.events(after=1, limit=2).records[0].events[0].type == "PricesSet"
    assert client.proof(2).hash
    assert client.time().server_ns > 0
    assert client.proposals().proposals == []


def test_a_what_if_tries_prices_and_commands(client):
    tried = client.what_if("ann", prices={MARKET: "40000"}, changes=[commands.deposit("ann", "USD", "5")])
    assert [one["status"] for one in tried.results] == ["accepted"]
    assert (tried.before[0].equity, tried.after[0].equity) == ("10000", "10005")


def test_rules_are_proposed(client):
    detail = client.propose(client.rulebook().rules.replace("0.0005", "0.0006"))
    assert detail.proposal.status == "proposed"
    assert detail.changes
    assert client.proposal(detail.proposal.id).dry_run["summary"]
    assert client.withdraw_proposal(detail.proposal.id).proposal.status == "withdrawn"


def test_a_service_that_is_not_there_is_tried_a_bounded_number_of_times():
    waits = []
    client = Client("http://127.0.0.1:9", _credential(), conduct=Conduct(retries=2), sleep=waits.append)
    with pytest.raises(Unreachable) as caught:
        client.deposit("ann", "USD", "1")
    assert len(waits) == 2
    assert caught.value.key


def _credential():
    from marginkeep.client.signing import Ed25519Key

    return Ed25519Key("nobody", b"n" * 32)


def test_the_asynchronous_twin_does_the_same(running_service, client):
    async def work():
        async with AsyncClient(running_service.url, running_service._keys[VENUE]) as twin:
            first = await twin.withdraw("ann", "USD", "1", key="w")
            with pytest.raises(Refused):
                await twin.order("ann", "1", MARKET, "buy", "100", "50000")
            (result,) = await twin.batch([commands.withdraw("ann", "USD", "1", key="w")])
            return first, result, await twin.account("ann")

    first, result, account = asyncio.run(work())
    assert (result.repeated, result.sequence) == (True, first.sequence)
    assert account.named("ann").equity == "9999"
