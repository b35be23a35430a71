"""Refusals reach people in whole units: no smallest units, lots, ticks or parts of 10^9 go over the wire."""

from __future__ import annotations

import re

import pytest

from marginkeep.clearing import Clearinghouse, SetPrices
from marginkeep.clearing import commands as core
from marginkeep.clearing.events import Rejected
from marginkeep.service.queries.event_pages import told_of
from marginkeep.service.stream.channels import Narrowing, Viewer
from marginkeep.service.stream.hub import read_entries
from marginkeep.service.wire.amounts import Units, units_of
from marginkeep.service.wire.events import wire_event
from marginkeep.service.wire.refusal_words import PHRASES, refusal_words
from tests import houses, oracle_houses
from tests.simulation.test_random_commands import World

RULES = houses.rules()
UNITS = Units(RULES)
COUNTED = re.compile(r"[0-9] (reporting )?(units|lots|ticks)\b|of 10\^9")
"""A count that nobody but the core thinks in."""


def refused_in(commands, house=None):
    """Apply commands and return each refusal, with its command, as it goes over the wire."""
    house = house or houses.opened()
    for command in commands:
        for event in house.apply(command):
            if isinstance(event, Rejected):
                yield event, command, wire_event(event, units_of(house.state.rulebook), command)


@pytest.mark.parametrize("seed", range(6))
def test_no_refusal_of_a_seeded_world_tells_a_raw_amount(seed):
    world, codes = World(seed), set()
    for event, command, wire in refused_in(world.command() for _ in range(250)):
        codes.add(event.code)
        assert not COUNTED.search(wire["reason"]), (event.reason, wire["reason"])
        for name, number in event.numbers.items():
            if isinstance(wire["numbers"][name], str):
                assert (
                    not re.search(rf"(?<![0-9.]){number}(?![0-9.])", wire["reason"])
                    or str(number) == (wire["numbers"][name])
                ), (command, wire)
    assert {"insufficient_margin", "insufficient_balance"} <= codes


MARKET = "BTC-PERP"
DEPOSIT = core.Deposit(account="ann", asset="USD", amount=10**9)
SCRIPT = (
    DEPOSIT,
    core.Deposit(account="ann", asset="USD", amount=-1_500_000),
    core.Withdraw(account="ann", asset="USD", amount=2 * 10**9),
    core.AddMargin(account="ann", market="BTC-INV", amount=-(10**8)),
    core.ChangeMode(account="ann", market=MARKET, mode="isolated", margin=2 * 10**9),
    core.ReserveOrder(account="ann", order="1", market=MARKET, side="buy", size=-5, price=500_000),
    core.ReserveOrder(account="ann", order="1", market=MARKET, side="buy", size=5, price=500_000_000),
    core.ReserveOrder(account="ann", order="1", market=MARKET, side="buy", size=5_000, price=500_000),
    core.Trade(market=MARKET, buyer="ann", seller="external", size=5_000, price=500_000),
    SetPrices(prices={"BTC": 5_000_000_000}),
    core.PayFunding(market=MARKET, rate=10**9),
    core.TopUpFund(asset="USD", amount=0),
)


LEFT_SHORT = (
    "the trade in BTC-PERP would leave ann 8625 USD short of its initial requirement: deposit at least that, or make "
    "it smaller"
)


def test_each_sentence_names_amounts_contracts_prices_and_rates():
    assert [wire["reason"] for _, _, wire in refused_in(SCRIPT)] == [
        "amount is -1.5 USD: it must be above 0",
        "ann holds 1000 USD, 1000 USD less than the withdrawal of 2000 USD",
        "amount is -1 BTC: it must be above 0",
        "ann holds 1000 USD, margin is 2000 USD",
        "size is -0.005: it must be above 0",
        "price is 50000000: BTC-PERP accepts 0.1 to 1000000",
        "order '1' needs 8625 USD more than ann has free: deposit at least that, or make the order smaller",
        LEFT_SHORT,
        "price of BTC is 50000000: accepted are 0.01 to 200000; raise max_price in the rulebook if the price is right",
        "funding rate is 1 a payment: the bound is 0.25",
        "amount is 0 USD: it must be above 0",
    ]


def test_numbers_of_prices_set_by_hand_are_in_the_ticks_of_what_was_refused():
    ((_, _, wire),) = refused_in([SetPrices(prices={"BTC": 5_000_000_000})])
    assert wire["numbers"] == {"lowest": "0.01", "highest": "200000"}


def rejected(code, reason, **numbers):
    return Rejected(command="", code=code, reason=reason, numbers=numbers)


ORDER = core.ReserveOrder(account="ann", order="1", market=MARKET, side="buy", size=1, price=1)
SAID = (
    ("position_limit", "BTC-PERP: ann would reach 1500 lots, open orders included; the limit is 1000: make it smaller",
     "BTC-PERP: ann would reach 1.5, open orders included; the limit is 1: make it smaller"),
    ("position_limit", "ann would reach 1500 lots in BTC-PERP, open orders included; the limit is 1000",
     "ann would reach 1.5 in BTC-PERP, open orders included; the limit is 1"),
    ("group_limit", "BTC-PERP: the accounts of ann would together reach 1500 lots on one side; the limit is 1000: x",
     "BTC-PERP: the accounts of ann would together reach 1.5 on one side; the limit is 1: x"),
    ("interest_limit", "BTC-PERP: open interest of BTC-PERP would reach 1500 lots; the limit is 1000: make it smaller",
     "BTC-PERP: open interest of BTC-PERP would reach 1.5; the limit is 1: make it smaller"),
    ("overfill", "order '1' of ann has 500 lots left, the trade has 1500",
     "order '1' of ann has 0.5 left, the trade has 1.5"),
    ("shortfall_open", "withdrawal waits: 1500000 units of USD were lost and not paid",
     "withdrawal waits: 1.5 USD were lost and not paid"),
    ("shortfall_open", "withdrawal waits: insolvent accounts owe 1500000 reporting units and the funds hold 500000",
     "withdrawal waits: insolvent accounts owe 1.5 USD and the funds hold 0.5 USD"),
    ("discount_too_low", "the discount is 10000000 parts of 10^9, and 20000000 was asked for: wait, or ask for less",
     "the discount is 0.01, and 0.02 was asked for: wait, or ask for less"),
    ("bad_fraction", "fraction is 0 parts of 10^9: it must be above 0", "fraction is 0: it must be above 0"),
    ("limit", "ann would hold 1500000 units, beyond max_balance 500000",
     "ann would hold 1.5 USD, beyond max_balance 0.5 USD"),
    ("limit", "the funding index of BTC-PERP would be 5000000001, beyond its bound 5000000000",
     "the funding index of BTC-PERP would be 0.000005000000001, beyond its bound 0.000005"),
    ("limit", "ann has 512 open orders, the most allowed", "ann has 512 open orders, the most allowed"),
    ("bad_price", "bid is 500000001 ticks: accepted are 0 to 10000000",
     "bid is 50000000.1: accepted are 0 to 1000000"),
    ("rulebook", "BTC-PERP: a position of 1500 lots is open", "BTC-PERP: a position of 1.5 is open"),
    ("rulebook", "BTC-PERP: the mark of 500000 ticks is outside the new limits",
     "BTC-PERP: the mark of 50000 is outside the new limits"),
    ("rulebook", "USD: a balance of 1500000 units is held", "USD: a balance of 1.5 USD is held"),
    ("unknown_order", "ann has no open order '5 lots': it was filled or released",
     "ann has no open order '5 lots': it was filled or released"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "core_says", "people_read"), SAID, ids=[f"{one[0]}-{n}" for n, one in enumerate(SAID)]
)
def test_a_sentence_of_the_core_is_told_in_whole_units(code, core_says, people_read):
    assert refusal_words(rejected(code, core_says), UNITS, ORDER) == people_read


def test_every_code_with_a_count_in_its_sentence_is_known():
    """The sentences above and those of the core agree: every phrase is found in one of them."""
    told = {code for code, _, _ in SAID} | {event.code for event, _, _ in refused_in(SCRIPT)}
    assert set(PHRASES) <= told


def test_what_has_no_unit_stays_as_the_core_says_it():
    said = "ann would hold 1500000 units, beyond max_balance 500000"
    assert refusal_words(rejected("limit", said), UNITS, None) == said
    gone = "NOPE: a position of 1500 lots is open"
    assert refusal_words(rejected("rulebook", gone), UNITS, None) == gone


def test_an_oracle_fed_house_tells_the_bounds_of_a_book_in_prices():
    house = Clearinghouse(oracle_houses.rules())
    command = core.ObserveBook(market=MARKET, bid=10**14, ask=10**14, at_ns=1)
    ((_, _, wire),) = refused_in([command], house)
    assert wire["reason"].startswith("bid is 10000000000000: accepted are 0 to ")


# On the wire -------------------------------------------------------------------------------------------------------


WITHDRAWAL = {"account": "ann", "asset": "USD", "amount": "2000"}
SHORT = "ann holds 1000 USD, 1000 USD less than the withdrawal of 2000 USD"


@pytest.fixture
def house(running_service):
    running_service.apply(DEPOSIT)
    return running_service


def test_a_problem_a_batch_and_the_events_say_the_same_sentence(house):
    problem = house.call("POST", "/v1/withdrawals", WITHDRAWAL).json()
    assert (problem["detail"], problem["numbers"]) == (SHORT, {"held": "1000", "missing": "1000"})
    items = {"commands": [{"key": "b-1", "command": {"type": "Withdraw", **WITHDRAWAL}}]}
    (result,) = house.call("POST", "/v1/batch", items, idempotency="").json()["results"]
    assert (result["status"], result["reason"]) == ("rejected", SHORT)
    told = house.call("GET", f"/v1/events?after={problem['sequence'] - 1}").json()
    events = [event for record in told["records"] for event in record["events"] if event["type"] == "Rejected"]
    assert [(event["reason"], event["numbers"]["held"]) for event in events] == [(SHORT, "1000")] * 2


def test_a_refusal_that_is_read_from_the_journal_is_told_in_the_units_of_its_command(house):
    sequence = house.call("POST", "/v1/withdrawals", WITHDRAWAL).json()["sequence"]
    (record,) = house.context.log.read(sequence - 1, sequence)
    (entry,) = read_entries(house.context.log, sequence - 1, sequence)
    assert entry.command == told_of(record).command == core.Withdraw(account="ann", asset="USD", amount=2 * 10**9)
    said = house.call("GET", f"/v1/records/{sequence}").json()["events"][0]
    assert (said["reason"], said["numbers"]["missing"]) == (SHORT, "1000")


def test_a_refusal_in_a_stream_is_told_in_the_units_of_its_command(house):
    sequence = house.call("POST", "/v1/withdrawals", WITHDRAWAL).json()["sequence"]
    hub = house.context.parts["stream"]
    (bulletin,) = house.on_loop(hub.page(sequence - 1))
    told = b"".join(bulletin.fragments("events", Viewer("venue", frozenset(), sees_all=True), Narrowing()))
    assert SHORT.encode() in told
