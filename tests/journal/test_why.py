"""Explanations add up to the unit, say what the engine said, and are refused where there is nothing to explain."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book.health import equity
from marginkeep.clearing import (
    AddMargin,
    Deposit,
    Liquidated,
    RegisterLiquidator,
    SetPrices,
    Trade,
    Withdraw,
    decode_command,
)
from marginkeep.clearing.commands import AdvanceTime, Bid
from marginkeep.clearing.event_codec import decode_events
from marginkeep.clearing.events import AuctionBid, AuctionOpened, MarginCalled, Rejected
from marginkeep.clearing.loss_events import Deleveraged, LossSocialised
from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.durable import DurableHouse, Request
from marginkeep.journal.memory_log import MemoryLog, MemoryStore
from marginkeep.journal.record import Genesis
from marginkeep.journal.recovery import open_genesis
from marginkeep.journal.why import explain, find_decision
from marginkeep.units import RATE_ONE, format_units
from tests.clearing.ladder_world import AUCTIONS, CALLS, FULL, LADDERS, World
from tests.journal.houses import ticking
from tests.ladder_houses import prices, rules_text, usd

pytestmark = pytest.mark.without_shadows("the same commands are replayed by what is tested")

BTC = "BTC-PERP"
SECOND = 10**9


def journal(ladder):
    """A house with a journal in memory, under the rules of the ladder tests."""
    store = MemoryStore()
    MemoryLog(store).create(Genesis(name="test.example/why", rules=rules_text(ladder), created_ns=1))
    return DurableHouse.open(MemoryLog(store), clock=ticking())


def apply(durable, *commands, actor="local"):
    """Apply commands one after another and return the events of the last."""
    for command in commands:
        (outcome,) = durable.submit([Request(command=command, actor=actor)])
    return outcome.events


def deposits(amounts):
    return [Deposit(account=name, asset="USD", amount=usd(amount)) for name, amount in amounts.items()]


def trade(buyer, seller, lots, price):
    return Trade(market=BTC, buyer=buyer, seller=seller, size=lots, price=round(price * 10))


def busy(seed, ladder, length=120):
    """A journal of traders who fall ill."""
    durable, world = journal(ladder), World(seed, adopts=False)

    class Recorder:
        state = durable.house.state

        @staticmethod
        def apply(command):
            return apply(durable, command)

    apply(durable, prices(world.btc, world.eth))
    world.begin(Recorder)
    for _ in range(length):
        apply(durable, world.command(durable.house))
    return durable


def equity_before(log, account, until):
    """What an account is worth at the prices after a record, holding what it held before: an independent replay."""
    house = open_genesis(log.genesis())
    for record in log.read(0, until - 1):
        house.apply(decode_command(record.body))
    index = house.state.index.get(account)
    held = None if index is None else house.state.book.read(index)
    (record,) = log.read(until - 1, until)
    house.apply(decode_command(record.body))
    return 0 if held is None else equity(held, house.state.valuation)


def named_in(event):
    """The accounts that an event names."""
    if hasattr(event, "buyer"):
        return [event.buyer.account, event.seller.account]
    return [event.account] if hasattr(event, "account") else []


@given(seed=st.integers(0, 10**6), ladder=st.sampled_from(LADDERS))
@settings(max_examples=12)
def test_opening_and_steps_add_up_to_the_equity_of_an_independent_replay(seed, ladder):
    log = busy(seed, ladder).log
    concerned = [
        (record.sequence, name) for record in log.read() for e in decode_events(record.events) for name in named_in(e)
    ]
    for sequence, account in concerned[-1:] + concerned[:: max(1, len(concerned) // 4)]:
        found = explain(log, account, sequence)
        assert found.opening + sum(step.amount for step in found.walk) == found.equity
        assert found.opening + sum(found.sums.values()) == found.equity
        assert found.equity == equity_before(log, account, sequence)


def first_liquidations(record):
    """The first liquidation of each account in a record of new prices, before which nothing else was done to it."""
    events = decode_events(record.events)
    if b'"SetPrices"' not in record.body or any(isinstance(event, Deleveraged) for event in events):
        return []
    first = {}
    for event in events:
        if isinstance(event, Liquidated):
            first.setdefault(event.account, event)
    return list(first.values())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_statement_says_the_collateral_and_requirement_of_the_liquidation(seed):
    log = busy(seed, LADDERS[2], length=150).log
    chosen = [(record.sequence, event) for record in log.read() for event in first_liquidations(record)][:4]
    assert chosen
    for sequence, event in chosen:
        stated = explain(log, event.account, sequence).statement
        assert stated.collateral == format_units(event.collateral, 6)
        assert stated.maintenance_margin == format_units(event.requirement, 6)


def test_a_loss_spread_after_a_liquidation_is_not_in_its_statement():
    durable = journal({"policy": "none", "socialise": "side"})
    apply(durable, prices(50_000, 3_000), *deposits({"tim": 300, "ann": 5_000, "s0": 100_000}))
    apply(durable, trade("ann", "s0", 1_000, 50_000), trade("s0", "tim", 5, 50_000))
    apply(durable, Trade(market="ETH-PERP", buyer="tim", seller="s0", size=28, price=300_000))
    events = apply(durable, prices(44_000, 1_845))
    sold = next(event for event in events if isinstance(event, Liquidated) and event.account == "tim")
    assert any(isinstance(event, LossSocialised) for event in events[events.index(sold) :])
    stated = explain(durable.log, "tim", durable.head.sequence).statement
    assert stated.collateral == format_units(sold.collateral, 6)


def ruined(ladder):
    """Ann's long ruined against two shorts by a fall that she cannot pay."""
    durable = journal(ladder)
    apply(durable, prices(50_000, 3_000), *deposits({"ann": 5_000, "s0": 100_000, "s1": 100_000, "liz": 90_000}))
    apply(durable, trade("ann", "s0", 1_000, 50_000), trade("ann", "s1", 500, 50_000))
    return durable


def test_a_liquidation_is_the_weightiest_decision_and_is_found_by_the_account_alone():
    durable = journal(None)
    apply(durable, prices(50_000, 3_000), *deposits({"ann": 600, "bob": 10_000}), trade("ann", "bob", 100, 50_000))
    events = apply(durable, prices(44_400, 3_000))
    apply(durable, Deposit(account="ann", asset="USD", amount=1), Withdraw(account="ann", asset="USD", amount=usd(999)))
    found = explain(durable.log, "ann")
    assert found.sequence == find_decision(durable.log, "ann") == 5
    (sold,) = [event for event in found.events if isinstance(event, Liquidated)]
    assert sold in events
    assert found.sums == {"deposit": usd(600), "price of BTC-PERP": -usd(560)}
    assert (found.opening, found.equity, found.since) == (0, usd(40), 1)
    (price,) = found.prices
    assert (price.name, price.price, price.set_by, price.age_ns) == (BTC, "44400", 5, 0)
    assert found.terms is durable.house.state.rulebook or found.rulebook == durable.house.state.rulebook_hash


def test_a_refused_command_is_explained_to_the_account_that_it_named_alone():
    durable = journal(None)
    apply(durable, *deposits({"ann": 100, "bob": 100}))
    apply(durable, Withdraw(account="ann", asset="USD", amount=usd(101)))
    found = explain(durable.log, "ann")
    (event,) = found.events
    assert isinstance(event, Rejected)
    assert (found.command, event.code, found.equity) == ("Withdraw", "insufficient_balance", usd(100))
    with pytest.raises(InputError, match="does not concern 'bob'"):
        explain(durable.log, "bob", found.sequence)


def test_a_margin_call_is_explained_with_what_cures_it():
    durable = journal({"calls": CALLS})
    apply(durable, prices(50_000, 3_000), *deposits({"ann": 6_000, "bob": 90_000}), trade("ann", "bob", 1_000, 50_000))
    events = apply(durable, AdvanceTime(now_ns=SECOND), prices(45_000, 3_000))
    (call,) = [event for event in events if isinstance(event, MarginCalled)]
    found = explain(durable.log, "ann")
    assert call in found.events
    assert found.statement.status == "margin_call"
    assert found.equity == usd(1_000)


def test_a_deleveraged_winner_is_told_what_it_gave_up():
    durable = ruined({"policy": "pro_rata", "socialise": "side"})
    apply(durable, prices(46_000, 3_000))
    found = explain(durable.log, "s0")
    assert any(isinstance(event, Deleveraged) for event in found.events)
    assert found.statement.positions[0].size == "-1"
    apply(durable, Deposit(account="s0", asset="USD", amount=1))
    later = explain(durable.log, "s0", durable.head.sequence)
    assert later.opening + sum(step.amount for step in later.walk) == later.equity
    assert "price of BTC-PERP" in later.sums


def test_whoever_bears_a_loss_of_others_finds_it_in_the_walk():
    durable = ruined({"policy": "none", "socialise": "side"})
    events = apply(durable, prices(46_000, 3_000))
    (spread,) = [event for event in events if isinstance(event, LossSocialised)]
    found = explain(durable.log, "s0", durable.head.sequence)
    assert [event for event in found.events if isinstance(event, LossSocialised)] == [spread]
    apply(durable, Deposit(account="s0", asset="USD", amount=1))
    later = explain(durable.log, "s0", durable.head.sequence)
    cost = -(-1_000 * spread.index_move // RATE_ONE)
    assert later.sums["socialised loss in BTC-PERP"] == -cost
    assert "funding of BTC-PERP" not in later.sums
    assert later.opening + sum(later.sums.values()) == later.equity
    with pytest.raises(InputError, match="does not concern 'liz'"):
        explain(durable.log, "liz", durable.head.sequence - 1)


def test_a_bid_is_explained_to_both_sides():
    durable = journal({"auctions": {**AUCTIONS, "below_factor": "0.9", "most": "0.02"}})
    apply(durable, prices(50_000, 3_000), *deposits({"ann": 5_000, "liz": 900_000, "bob": 90_000}))
    apply(durable, RegisterLiquidator(account="liz"), trade("ann", "bob", 1_000, 50_000))
    apply(durable, AdvanceTime(now_ns=SECOND))
    events = apply(durable, prices(45_250, 3_000))
    assert any(isinstance(event, AuctionOpened) for event in events)
    assert isinstance(explain(durable.log, "ann").events[-1], AuctionOpened)
    apply(durable, AdvanceTime(now_ns=11 * SECOND))
    events = apply(durable, Bid(account="ann", liquidator="liz", fraction=RATE_ONE // 2))
    assert any(isinstance(event, AuctionBid) for event in events)
    for name in ("ann", "liz"):
        found = explain(durable.log, name)
        assert found.command == "Bid"
        assert any(isinstance(event, AuctionBid) for event in found.events)


def test_an_isolated_account_has_a_walk_of_its_own():
    durable = journal(None)
    apply(durable, prices(50_000, 3_000), *deposits({"ann": 5_000, "bob": 90_000}))
    apply(durable, AddMargin(account="ann", market=BTC, amount=usd(600)))
    apply(durable, trade("ann/BTC-PERP", "bob", 100, 50_000), prices(44_400, 3_000))
    found = explain(durable.log, "ann/BTC-PERP")
    assert found.statement.mode == "isolated"
    assert found.equity == usd(40)
    assert set(found.sums.values()) == {usd(600), -usd(560)}
    with pytest.raises(InputError, match="nothing was decided about 'ann'"):
        explain(durable.log, "ann")


def test_a_record_about_many_accounts_needs_a_name_and_one_about_one_does_not():
    durable = journal(None)
    apply(durable, prices(50_000, 3_000), *deposits({"ann": 600, "cat": 600, "bob": 90_000}))
    apply(durable, trade("ann", "bob", 100, 50_000), trade("cat", "bob", 50, 50_000), prices(44_400, 3_000))
    assert explain(durable.log, sequence=durable.head.sequence).account == "ann"
    apply(durable, *deposits({"dog": 600, "eel": 600}))
    apply(durable, trade("dog", "bob", 100, 44_400), trade("eel", "bob", 100, 44_400), prices(38_700, 3_000))
    with pytest.raises(InputError, match=r"decided about 3 accounts \(ann, dog, eel\): name one"):
        explain(durable.log, sequence=durable.head.sequence)
    with pytest.raises(InputError, match=r"decided about 0 accounts \(nobody\)"):
        explain(durable.log, sequence=1)


def test_what_is_not_there_is_named():
    durable = journal(None)
    apply(durable, *deposits({"ann": 600}))
    durable.submit([Request(note={"type": "word"})])
    with pytest.raises(InputError, match="nothing was decided about 'zed'"):
        explain(durable.log, "zed")
    with pytest.raises(InputError, match="has no record 9: it keeps 1 to 2"):
        explain(durable.log, "ann", 9)
    with pytest.raises(InputError, match="record 2 is a note"):
        explain(durable.log, "ann", 2)


def snapshotted(durable):
    durable.begin_snapshot().write(durable.log)


def test_from_a_snapshot_the_walk_is_shorter_and_ends_at_the_same_equity():
    durable = busy(7, FULL, length=60)
    snapshotted(durable)
    at = durable.head.sequence
    apply(durable, Deposit(account="user0", asset="USD", amount=5))
    whole = explain(durable.log, "user0", durable.head.sequence)
    short = explain(durable.log, "user0", durable.head.sequence, from_snapshot=True)
    assert (whole.since, short.since) == (1, at + 1)
    assert short.equity == whole.equity == short.opening + sum(step.amount for step in short.walk)
    assert msgspec.json.encode(short.events) == msgspec.json.encode(whole.events)
    assert short.statement == whole.statement


def test_what_takes_too_long_is_refused_before_anything_is_replayed():
    durable = busy(7, None, length=40)
    sequence = durable.head.sequence
    apply(durable, Deposit(account="user0", asset="USD", amount=5))
    with pytest.raises(InputError, match=f"record {sequence + 1} is {sequence + 1} records after the newest snapshot"):
        explain(durable.log, "user0", sequence + 1, from_snapshot=True, most=10)
    snapshotted(durable)
    apply(durable, Withdraw(account="user0", asset="USD", amount=2**60))
    assert explain(durable.log, "user0", from_snapshot=True, most=10).since == sequence + 2


def test_a_compacted_journal_is_explained_from_its_oldest_snapshot():
    durable = ruined(None)
    snapshotted(durable)
    start = durable.head.sequence
    apply(durable, prices(46_000, 3_000))
    durable.log.delete_until(start)
    found = explain(durable.log, "ann")
    assert (found.since, found.opening) == (start + 1, usd(5_000))
    assert found.opening + sum(found.sums.values()) == found.equity == -usd(1_000)
    with pytest.raises(InputError, match=f"has no record {start}: it keeps {start + 1} to {start + 1}"):
        explain(durable.log, "ann", start)


def test_an_answer_that_the_engine_does_not_give_is_not_explained():
    durable = ruined(None)
    apply(durable, prices(46_000, 3_000))
    store = durable.log.store
    record = store.records[2]
    store.records[2] = msgspec.structs.replace(record, events=record.events.replace(b"deposit", b"present"))
    with pytest.raises(JournalCorrupt, match="record 2 is answered differently"):
        explain(durable.log, "ann")


def test_prices_are_told_with_the_record_and_the_key_that_set_them():
    durable = journal(None)
    apply(durable, SetPrices(marks={BTC: 500_000}), actor="feeder")
    apply(durable, *deposits({"ann": 600, "bob": 90_000}), trade("ann", "bob", 100, 50_000))
    apply(durable, Withdraw(account="ann", asset="USD", amount=usd(590)))
    (price,) = explain(durable.log, "ann").prices
    assert (price.set_by, price.actor) == (1, "feeder")
    assert price.age_ns > 0
