"""Four eyes, a time lock, and a dry run that is repeated: how the rules of a running house change."""

import json

import pytest

from marginkeep.clearing import Deposit, SetPrices, Trade, state_hash
from marginkeep.clearing.snapshot import capture_snapshot
from marginkeep.journal.durable import Request
from marginkeep.rulebook import read_rulebook, rulebook_hash
from marginkeep.rulebook.reading import parse_text
from marginkeep.service.access.dry_run import try_rules
from marginkeep.service.access.scopes import Scope
from tests.service.access_world import api_key, private_key, rules, running

pytestmark = pytest.mark.without_shadows("the house is the service's; adopting rulebooks is tested in clearing")

ANN, BOB, CAT = (private_key(name) for name in ("ann", "bob", "cat"))
ADMIN = Scope.RISK_ADMIN
TIGHT = rules("second", initial="0.2", maintenance="0.1")
LOOSE = rules("second", initial="0.04", maintenance="0.01")
LOCK_S = 3_600


def usd(whole):
    return whole * 10**6


def people(context):
    """Three accounts: `thin` and `thick` hold a position of 1 BTC at 50,000, `rich` is the other side."""
    commands = [SetPrices(marks={"BTC-PERP": 500_000})]
    commands += [
        Deposit(account=account, asset="USD", amount=usd(whole))
        for account, whole in (("thin", 2_000), ("thick", 20_000), ("rich", 1_000_000))
    ]
    commands += [
        Trade(market="BTC-PERP", buyer=account, seller="rich", size=1_000, price=500_000)
        for account in ("thin", "thick")
    ]
    for outcome in context.durable.submit([Request(command=command) for command in commands]):
        assert outcome.events[0].__class__.__name__ != "Rejected", outcome.events
    context.feed.last = context.durable.durable.sequence


@pytest.fixture
def world():
    keys = (
        api_key("ann", ADMIN, person="Ann Smith"),
        api_key("ann2", ADMIN, person=" ann SMITH"),
        api_key("bob", ADMIN, person="Bob Jones"),
        api_key("cat", ADMIN, person="Cat Black"),
        api_key("reader"),
    )
    with running(*keys, prepare=people, time_lock_seconds=LOCK_S) as world:
        yield world


def proposed(world, text=TIGHT, by=ANN, key="p1"):
    answer = world.send(by, "POST", "/v1/proposals", {"rules": text}, key=key)
    assert answer.status_code == 200, answer.text
    return answer.json()


def act(world, by, proposal, what, document=None, key=None):
    body = {} if what == "approve" and document is None else document
    path = f"/v1/proposals/{proposal['proposal']['id']}/{what}"
    return world.send(by, "POST", path, body, key=key or f"{by.key}-{what}-{world.clock.ahead_ns}")


def test_a_proposal_says_what_changes_and_who_becomes_liquidatable(world):
    proposal = proposed(world)
    stated = proposal["dry_run"]
    assert stated["summary"].startswith("1 account becomes liquidatable (together 3")
    assert stated["liquidatable"]["count"] == 1
    assert [one["account"] for one in stated["liquidatable"]["worst"]] == ["thin"]
    # 10 % of 50,000 is asked; 2,000 less a fee of 25 is there.
    assert stated["liquidatable"]["worst"][0]["missing"] == "3025"
    assert stated["events"]["Liquidated"] == 1
    paths = {change["path"]: (change["before"], change["after"]) for change in proposal["changes"]}
    assert paths["markets.BTC-PERP.tiers[0].maintenance"] == ("0.01", "0.1")
    assert proposal["proposal"]["status"] == "proposed"


def test_a_dry_run_leaves_the_house_as_it_was(world):
    before = state_hash(world.context.house)
    proposed(world)
    assert state_hash(world.context.house) == before


def test_a_change_comes_into_force_after_a_second_person_and_the_lock(world):
    proposal = proposed(world)
    early = act(world, BOB, proposal, "activate")
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    approved = act(world, BOB, proposal, "approve").json()["proposal"]
    assert approved["activates_ns"] - approved["approved_ns"] == LOCK_S * 10**9
    world.clock.advance(LOCK_S - 60)
    locked = act(world, CAT, proposal, "activate")
    assert (locked.status_code, 1 <= locked.json()["retry_after"] <= 60) == (409, True)
    world.clock.advance(60)
    activated = act(world, CAT, proposal, "activate")
    assert activated.json()["proposal"]["status"] == "activated"
    assert world.context.state.rulebook_hash == rulebook_hash(read_rulebook(parse_text(TIGHT, ".toml", "r")))
    record = next(world.context.log.read(activated.json()["proposal"]["sequence"] - 1))
    assert (record.kind, record.actor) == ("command", "cat")
    # Once more changes nothing.
    again = act(world, CAT, proposal, "activate", key="again")
    assert again.json()["proposal"]["sequence"] == record.sequence


@pytest.mark.parametrize("name", ["ann", "ann2"])
def test_whoever_proposed_may_not_approve_whatever_key_is_used(world, name):
    refused = act(world, private_key(name), proposed(world), "approve")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_nobody_else_may_even_look(world):
    reader = private_key("reader")
    assert world.send(reader, "GET", "/v1/proposals").status_code == 403
    assert world.send(reader, "POST", "/v1/proposals", {"rules": TIGHT}, key="x").status_code == 403


def test_an_approval_is_for_as_many_accounts_as_the_approver_saw(world):
    proposal = proposed(world, LOOSE)
    assert proposal["dry_run"]["liquidatable"]["count"] == 0
    act(world, BOB, proposal, "approve")
    second = proposed(world, key="p2")
    refused = act(world, BOB, second, "approve", {"liquidatable_max": 0})
    assert refused.json()["proposal"]["liquidatable_max"] == 0
    world.clock.advance(LOCK_S)
    more = act(world, CAT, second, "activate")
    assert (more.status_code, more.json()["liquidatable"]) == (409, 1)
    # Approved anew, by a person who accepts it; the lock begins anew too.
    act(world, CAT, second, "approve", {"liquidatable_max": 1})
    assert act(world, BOB, second, "activate", key="early").status_code == 409
    world.clock.advance(LOCK_S)
    assert act(world, BOB, second, "activate", key="late").json()["proposal"]["status"] == "activated"
    # The first one was compared with rules that are no longer in force.
    stale = act(world, BOB, proposal, "activate", key="stale")
    assert "propose it anew" in stale.json()["detail"]


def test_an_approval_sent_again_does_not_begin_the_lock_anew(world):
    proposal = proposed(world)
    first = act(world, BOB, proposal, "approve", key="same").json()["proposal"]
    world.clock.advance(60)
    assert act(world, BOB, proposal, "approve", key="same").json()["proposal"] == first
    assert act(world, BOB, proposal, "approve", key="other").json()["proposal"]["approved_ns"] > first["approved_ns"]


def test_a_proposal_sent_again_is_the_same_one(world):
    first = proposed(world)
    assert proposed(world) == first
    reused = world.send(ANN, "POST", "/v1/proposals", {"rules": LOOSE}, key="p1")
    assert (reused.status_code, reused.json()["code"]) == (422, "key_reused")


def test_a_withdrawn_proposal_stays_withdrawn(world):
    proposal = proposed(world)
    act(world, BOB, proposal, "approve")
    assert act(world, BOB, proposal, "withdraw").json()["proposal"]["status"] == "withdrawn"
    world.clock.advance(LOCK_S)
    assert act(world, CAT, proposal, "activate").status_code == 409


def test_a_proposal_dies_with_the_key_that_made_it(world):
    proposal = proposed(world)
    act(world, BOB, proposal, "approve")
    world.send(CAT, "POST", "/v1/keys/ann/revoke", key="r")
    world.clock.advance(LOCK_S)
    assert "revoked" in act(world, CAT, proposal, "activate").json()["detail"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "TOML"),
        (rules("first"), "no parameter differs"),
        (rules("x").replace("BTC-PERP", "ETH-PERP"), "must keep their order"),
        (rules("x").replace('tick = "0.1"', 'tick = "0.5"'), "may not change"),
        (rules("x").replace('max_price = "1000000"', 'max_price = "40000"'), "outside the new limits"),
    ],
    ids=["no TOML", "same", "removed", "unit", "limit"],
)
def test_rules_that_cannot_come_into_force_are_refused_when_proposed(world, text, why):
    refused = world.send(ANN, "POST", "/v1/proposals", {"rules": text}, key="bad")
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    assert why in refused.json()["detail"]


def test_a_rulebook_may_be_larger_than_other_bodies_for_those_who_may_propose(world):
    text = TIGHT + "# " + "x" * 100_000
    assert world.send(ANN, "POST", "/v1/proposals", {"rules": text}, key="large").status_code == 200
    for stranger in (private_key("reader"), private_key("nobody")):
        assert world.send(stranger, "POST", "/v1/proposals", {"rules": text}, key="large").status_code == 413


def test_every_step_is_in_the_chain_and_survives_a_restart(world):
    proposal = proposed(world)
    act(world, BOB, proposal, "approve")
    world.clock.advance(LOCK_S)
    act(world, CAT, proposal, "activate")
    withdrawn = proposed(world, LOOSE, key="p2")
    act(world, BOB, withdrawn, "withdraw")
    for kind, actor in (
        ("ProposalMade", "ann"),
        ("ProposalApproved", "bob"),
        ("ProposalActivated", "cat"),
        ("ProposalWithdrawn", "bob"),
    ):
        record, body, _ = world.notes(kind)[0]
        assert (record.actor, body["rules_sha256"] != "") == (actor, True)
    activated = world.notes("ProposalActivated")[0][0]
    assert json.loads(next(world.context.log.read(activated.causation - 1)).body)["type"] == "AdoptRulebook"
    from marginkeep.service.access.proposals import Proposals

    restored = Proposals(world.context, world.context.parts["keys"])
    assert restored.every() == world.context.parts["proposals"].every()
    assert [one.status for one in restored.every()] == ["activated", "withdrawn"]


def test_rules_adopted_just_before_a_crash_are_found_to_be_in_force(world):
    """The record is durable and the document was not written: the next activation sees it and only writes it down."""
    from msgspec import structs

    proposal = proposed(world)
    act(world, BOB, proposal, "approve")
    world.clock.advance(LOCK_S)
    act(world, CAT, proposal, "activate")
    room = world.context.parts["proposals"]
    (known,) = room.every()
    room._proposals[known.id] = structs.replace(known, status="approved", sequence=0)
    again = act(world, BOB, proposal, "activate")
    assert again.json()["proposal"]["status"] == "activated"
    adopted = [r for r in world.context.log.read() if b'"AdoptRulebook"' in r.body]
    assert len(adopted) == 1


def test_stored_rules_that_are_not_those_approved_are_not_activated(world):
    from msgspec import structs

    proposal = proposed(world, LOOSE)
    act(world, BOB, proposal, "approve")
    world.clock.advance(LOCK_S)
    room = world.context.parts["proposals"]
    (known,) = room.every()
    room._proposals[known.id] = structs.replace(known, rules=TIGHT)
    assert "not those that were approved" in act(world, CAT, proposal, "activate").json()["detail"]


def test_a_dry_run_agrees_with_what_the_house_then_does(world):
    house = world.context.house
    dry_run = try_rules(capture_snapshot(house), house.state.rulebook, TIGHT, 0)
    proposal = proposed(world)
    act(world, BOB, proposal, "approve")
    world.clock.advance(LOCK_S)
    sequence = act(world, CAT, proposal, "activate").json()["proposal"]["sequence"]
    events = json.loads(next(world.context.log.read(sequence - 1)).events)
    kinds = [event["type"] for event in events]
    assert dry_run.events == {kind: kinds.count(kind) for kind in sorted(set(kinds))}
