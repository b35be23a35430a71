"""`marginkeep why` speaks in whole units, prints everything as JSON, and proves what it says."""

from __future__ import annotations

import json

import msgspec
import pytest
from click.testing import CliRunner
from tests.journal.houses import RULES, RULES_TEXT, ticking

from marginkeep.clearing import Deposit, SetPrices, Trade, Withdraw
from marginkeep.clearing import events as e
from marginkeep.clearing import loss_events as loss
from marginkeep.cli import command
from marginkeep.cli.event_words import sentences
from marginkeep.journal.checkpoint import Signer
from marginkeep.journal.durable import DurableHouse, Request
from marginkeep.journal.proofs import check_proof, read_proof
from marginkeep.journal.record import Genesis
from marginkeep.journal.sqlite_log import SqliteLog
from marginkeep.oracle.price_seen import PriceSeen
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.events import wire_event

pytestmark = pytest.mark.without_shadows("what is explained is a journal of its own")

SIGNER = Signer("test.example/why", b"w" * 32)


@pytest.fixture
def place(tmp_path):
    """A journal in which ann and [b]ill are sold, and bob is refused."""
    path = tmp_path / "why.db"
    log = SqliteLog(path)
    log.create(Genesis(name="test.example/why", rules=RULES_TEXT, created_ns=1))
    durable = DurableHouse.open(log, clock=ticking(), signer=SIGNER)
    market = "BTC-PERP"
    commands = [
        SetPrices(marks={market: 500_000}),
        *(Deposit(account=name, asset="USD", amount=10**9) for name in ("ann", "bob", "[b]ill")),
        Trade(market=market, buyer="ann", seller="bob", size=500, price=500_000),
        Withdraw(account="bob", asset="USD", amount=10**10),
        SetPrices(marks={market: 482_000}),
        Trade(market=market, buyer="[b]ill", seller="bob", size=500, price=482_000),
        SetPrices(marks={market: 464_000}),
    ]
    for one in commands:
        durable.submit([Request(command=one, actor="desk")])
    durable.seal()
    durable.close()
    return str(path)


def why(*words):
    return CliRunner().invoke(command, ["why", *words], catch_exceptions=False)


def test_a_liquidation_is_told_in_whole_units_with_the_walk_that_led_there(place):
    said = why("ann", "--journal", place)
    assert said.exit_code == 0
    for line in (
        "Why ann was liquidated",
        ": SetPrices by desk, under rulebook ",
        "  price of BTC-PERP        -900\n",
        "  fee                       -12.5\n",
        "  when this was decided      87.5\n",
        "  BTC-PERP  48200  set by record 7 (desk), just then",
        "ann was liquidated on the partial rung: collateral 87.5 USD, requirement 241 USD, health at target -274 USD",
        "closed 0.5 BTC-PERP at 48103.6 (mark 48200): realised -948.2 USD, penalty 39.3 USD",
        "liquidatable: 153.5 USD short of the maintenance requirement",
    ):
        assert line in said.output
    assert "ticks" not in said.output


def test_the_number_of_hashes_is_that_of_the_proof(place):
    table = json.loads(why("7", "--journal", place, "--json").output)
    count = len(table["proof"]["path"])
    assert count > 0
    assert f"it is under a signed checkpoint, by {count} hashes" in why("7", "--journal", place).output
    proof = read_proof(json.dumps(table["proof"]).encode())
    assert check_proof(proof, SIGNER.vkey).size >= 7
    assert proof.sequence == table["sequence"] == 7


def test_json_holds_every_step_and_adds_up(place):
    table = json.loads(why("ann", "--journal", place, "--json").output)
    assert (table["account"], table["actor"], table["command"], table["unproved"]) == ("ann", "desk", "SetPrices", "")
    assert table["sums"] == {"deposit": "1000", "price of BTC-PERP": "-900", "fee": "-12.5"}
    assert [step["amount"] for step in table["walk"]] == ["1000", "-12.5", "-900"]
    assert (table["opening"], table["equity"]) == ("0", "87.5")
    (event,) = table["events"]
    assert (event["type"], event["collateral"], event["steps"][0]["price"]) == ("Liquidated", "87.5", "48103.6")
    assert table["statement"]["maintenance_margin"] == "241"
    assert table["prices"][0]["set_by"] == 7


def test_a_refusal_is_told_with_its_code_and_numbers(place):
    said = why("bob", "--journal", place)
    assert "Why bob was refused" in said.output
    reason = "bob holds 995 USD, 9005 USD less than the withdrawal of 10000 USD"
    assert f"Withdraw was refused, insufficient_balance: {reason}" in said.output


def test_a_refusal_may_be_named_by_its_record_alone(place):
    assert "Why bob was refused" in why("6", "--journal", place).output


def test_square_brackets_in_a_name_are_no_markup(place):
    said = why("[b]ill", "--journal", place)
    assert "Why [b]ill was liquidated" in said.output
    assert "[b]ill was liquidated" in said.output


def test_what_cannot_be_explained_is_said_in_one_sentence(place):
    for words, expected in (
        (("zed",), "nothing was decided about 'zed'"),
        (("99",), "has no record 99: it keeps 1 to 9"),
        (("ann", "--at", "3"), "does not concern 'ann'"),
    ):
        said = CliRunner().invoke(command, ["why", *words, "--journal", place])
        assert said.exit_code != 0
        assert expected in said.output + str(said.exception)


EXAMPLES = {int: 7, str: "BTC-PERP", bool: True}
ASSETS = ("asset", "reward_asset")


def example(kind, name=""):
    """A value of a type, made of the smallest parts that the example rulebook has names for."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = [one for one in msgspec.structs.fields(kind) if one.name != "postings"]
        return kind(**{one.name: example(one.type, one.name) for one in fields})
    origin, args = getattr(kind, "__origin__", None), getattr(kind, "__args__", ())
    if origin is tuple:
        return (example(args[0], name),)
    if origin is dict:
        return {("USD" if name == "prices" else "BTC-PERP"): example(args[1])}
    if args:
        return example(args[0], name)
    return "USD" if name in ASSETS else EXAMPLES[kind]


@pytest.mark.parametrize(
    "kind", sorted(e.Event.__subclasses__(), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__
)
def test_every_event_reads_as_sentences(kind):
    event = example(kind)
    lines = sentences(wire_event(event, units_of(RULES)), "USD")
    assert lines
    for line in lines:
        assert line.strip()
        assert "{" not in line
        assert "None" not in line
        assert "PriceSeen" not in line


def test_what_stood_in_the_way_is_told():
    seen = PriceSeen("BTC-PERP", 500_000, 460_000, "divergent", "open", (), "liquidation: its price is divergent")
    call = e.MarginCalled(account="ann", missing=5 * 10**6, because="its price is in doubt", prices=(seen,))
    lines = sentences(wire_event(call, units_of(RULES)), "USD")
    assert lines == [
        "MARGIN CALL for ann: 5 USD missing, to be cured before prices allow liquidation",
        "called because its price is in doubt",
        "BTC-PERP at 50000 stood in the way: liquidation: its price is divergent",
    ]


def test_a_winner_reads_its_own_fill_alone():
    fills = tuple(
        loss.DeleveragedFill(account=name, size=3, haircut=10**6, realised=2 * 10**6) for name in ("s0", "s1")
    )
    event = loss.Deleveraged(
        account="ann", market="BTC-PERP", size=-6, value=1, realised=1, price=466_667, mark=460_000, policy="queue",
        wanted=6, needed=1, taken=1, over=0, under=0, fills=fills,
    )  # fmt: skip
    lines = sentences(wire_event(event, units_of(RULES)), "USD", "s1")
    assert lines == [
        "0.006 BTC-PERP of ann were closed against winners at 46666.7 (mark 46000), chosen by queue",
        "s1 traded 0.003, gave up 1 USD against the mark, and realised 2",
    ]


def test_the_cures_of_a_margin_call_are_told_with_its_deadline():
    call = e.MarginCalled(
        account="ann",
        missing=5 * 10**6,
        because="it is below its call level",
        prices=(),
        deadline_ns=1_700_000_000 * 10**9,
        deposits=(e.DepositAsked("USD", 5 * 10**6, 5 * 10**6),),
        closes=(e.CloseAsked("BTC-PERP", -500, 500_000, 10**6),),
    )
    assert sentences(wire_event(call, units_of(RULES)), "USD") == [
        "MARGIN CALL for ann: 5 USD missing, to be cured by 2023-11-14 22:13:20 UTC",
        "cured by a deposit of 5 USD",
        "or by selling 0.5 BTC-PERP at 50000, for a fee of 1 USD",
    ]


def test_an_event_that_a_newer_service_tells_is_passed_over():
    assert sentences({"type": "SomethingNew", "account": "ann"}, "USD") == []
