"""Margin calls: issued once, with the exact cures and a deadline; what cures them, and what their expiry begins."""

from __future__ import annotations

import pytest
from tests.clearing.ladder_world import CALLS, SECOND, SOFT, watched
from tests.ladder_houses import fund, kinds, only, opened, position, prices, rules_text, trade, usd

from marginkeep.clearing import (
    AdoptRulebook,
    AdvanceTime,
    Clearinghouse,
    Deposit,
    Liquidated,
    MarginCalled,
    Rejected,
    Trade,
    ladder,
)
from marginkeep.clearing.commands import ReserveOrder
from marginkeep.clearing.events import CallCured, CallReminded, RungChanged
from marginkeep.rulebook.ladder_rules import CALLED, RUNGS

LADDER = {"calls": CALLS, "soft": SOFT}
START = 1_000
DEADLINE = START + 600
CALLED_AT = 48_960
"""Ann is 1 BTC long at 50,000 with 2,500 USD: called below 48,969, ill below 47,980, at her target above 49,479."""


def at(house: Clearinghouse, seconds: float):
    """Advance the house's time."""
    return house.apply(AdvanceTime(now_ns=round(seconds * SECOND)))


def house_of_ann(rungs: dict | None = LADDER, **changes) -> Clearinghouse:
    """Ann long, Bob short; Bob is rich."""
    house = opened(rungs, **changes)
    at(house, START)
    fund(house, "ann", 2_500)
    fund(house, "bob", 500_000)
    trade(house, "ann", "bob", 1_000, 50_000)
    return house


def called(rungs: dict | None = LADDER, **changes) -> tuple[Clearinghouse, MarginCalled]:
    """The house after the fall that calls her."""
    house = house_of_ann(rungs, **changes)
    (call,) = only(house.apply(prices(CALLED_AT)), MarginCalled)
    return house, call


def rung_of(house: Clearinghouse, name: str = "ann") -> str:
    return RUNGS[house.state.ill[name].rung] if name in house.state.ill else "healthy"


def test_a_call_is_issued_once_below_the_call_level_with_its_deadline():
    house = house_of_ann()
    assert not only(house.apply(prices(48_970)), MarginCalled)
    (call,) = only(house.apply(prices(CALLED_AT)), MarginCalled)
    assert (call.account, call.deadline_ns) == ("ann", DEADLINE * SECOND)
    assert call.missing == usd(0.04 * CALLED_AT - 1_460)
    for seconds, price in ((1_010, 48_900), (1_020, 48_950), (1_030, 48_800)):
        at(house, seconds)
        assert not only(house.apply(prices(price)), MarginCalled)
    assert position(house, "ann", "BTC-PERP").size == 1_000


def test_the_deposit_asked_for_cures_and_one_unit_less_does_not():
    for less, after in ((0, "healthy"), (1, "called")):
        house, call = called()
        asked = {deposit.asset: deposit.amount for deposit in call.deposits}
        events = house.apply(Deposit(account="ann", asset="USD", amount=asked["USD"] - less))
        assert rung_of(house) == after
        assert len(only(events, CallCured)) == 1 - less
    assert asked["USD"] == call.missing


def test_the_deposit_asked_for_in_another_asset_cures_and_one_unit_less_does_not():
    for less, after in ((0, "healthy"), (1, "called")):
        house, call = called()
        asked = {deposit.asset: deposit.amount for deposit in call.deposits}
        house.apply(Deposit(account="ann", asset="BTC", amount=asked["BTC"] - less))
        assert rung_of(house) == after


def test_the_close_asked_for_cures_and_one_lot_less_does_not():
    for less, after in ((0, "healthy"), (1, "called")):
        house, call = called()
        (close,) = call.closes
        assert close.size < 0
        size = -close.size - less
        events = house.apply(Trade(market="BTC-PERP", buyer="bob", seller="ann", size=size, price=close.price))
        assert rung_of(house) == after
        assert len(only(events, CallCured)) == 1 - less


def test_a_price_cures_a_call_at_the_target_and_not_before():
    house, _ = called()
    assert not only(house.apply(prices(49_470)), CallCured)
    assert rung_of(house) == "called"
    assert not only(house.apply(prices(48_950)), MarginCalled)
    (cured,) = only(house.apply(prices(49_480)), CallCured)
    assert (cured.account, rung_of(house)) == ("ann", "healthy")
    (again,) = only(house.apply(prices(CALLED_AT)), MarginCalled)
    assert again.account == "ann"


def test_reminders_come_at_their_times_and_not_earlier():
    house, _ = called()
    assert not at(house, DEADLINE - 300.001)[1:]
    (first,) = only(at(house, DEADLINE - 300), CallReminded)
    assert first.deadline_ns == DEADLINE * SECOND
    assert not at(house, DEADLINE - 60.001)[1:]
    assert len(only(at(house, DEADLINE - 60), CallReminded)) == 1
    assert not at(house, DEADLINE - 0.001)[1:]


def test_reminders_that_come_due_together_are_one():
    house, _ = called()
    assert len(only(at(house, DEADLINE - 10), CallReminded)) == 1
    assert not at(house, DEADLINE - 5)[1:]


def test_a_cured_call_neither_reminds_nor_expires():
    house, call = called()
    house.apply(Deposit(account="ann", asset="USD", amount=call.missing))
    assert kinds(at(house, DEADLINE + 1_000)) == ["TimeAdvanced"]
    assert position(house, "ann", "BTC-PERP").size == 1_000


@pytest.mark.parametrize(("rungs", "rung"), [(LADDER, "soft"), ({"calls": CALLS}, "partial")])
def test_a_call_that_expires_begins_forced_reduction(rungs, rung):
    house, _ = called(rungs)
    at(house, DEADLINE - 0.001)
    assert rung_of(house) == "called"
    events = at(house, DEADLINE)
    change = only(events, RungChanged)[0]
    assert (change.before, change.after) == ("called", rung)
    assert only(events, Liquidated)[0].rung == rung


def test_a_fall_below_maintenance_does_not_wait_for_the_deadline():
    house, _ = called()
    events = house.apply(prices(47_970))
    assert [change.after for change in only(events, RungChanged)] == ["soft"]


def test_new_risk_is_refused_while_called_and_less_risk_is_not():
    house, _ = called()
    (refused,) = house.apply(
        ReserveOrder(account="ann", order="1", market="BTC-PERP", side="buy", size=1, price=489_600)
    )
    assert isinstance(refused, Rejected)
    (refused,) = house.apply(Trade(market="BTC-PERP", buyer="ann", seller="bob", size=1, price=489_600))
    assert isinstance(refused, Rejected)
    (reduced,) = house.apply(Trade(market="BTC-PERP", buyer="bob", seller="ann", size=1, price=489_600))
    assert not isinstance(reduced, Rejected)
    (order,) = house.apply(
        ReserveOrder(account="ann", order="1", market="BTC-PERP", side="sell", size=5, price=489_600)
    )
    assert not isinstance(order, Rejected)


def test_without_a_calls_table_nobody_is_called():
    house = house_of_ann({"soft": SOFT})
    assert not only(house.apply(prices(CALLED_AT)), MarginCalled)
    assert not house.state.ill
    assert [change.after for change in only(house.apply(prices(47_970)), RungChanged)] == ["soft"]


def test_the_call_discloses_what_soft_liquidation_costs():
    _, call = called()
    assert 0 < call.soft_cost < call.soft_cost_high
    _, plain = called({"calls": CALLS})
    assert (plain.soft_cost, plain.soft_cost_high) == (0, 0)


@pytest.mark.without_shadows
def test_a_watch_spares_called_accounts_the_exact_evaluation(monkeypatch):
    """The figure is of evaluations, not of time: 200 are called, and a tick that moves nobody measures nobody."""
    house = watched(opened(LADDER))
    fund(house, "bob", 50_000_000)
    for number in range(200):
        fund(house, f"ann{number}", 2_500)
        trade(house, f"ann{number}", "bob", 1_000, 50_000)
    assert len(only(house.apply(prices(CALLED_AT)), MarginCalled)) == 200
    seen = []
    plain = ladder.standing_of
    monkeypatch.setattr(ladder, "standing_of", lambda *given: seen.append(given) or plain(*given))
    house.apply(prices(CALLED_AT - 10))
    assert not seen
    house.apply(prices(CALLED_AT + 100))
    assert {house.state.ill[f"ann{number}"].rung for number in range(200)} == {CALLED}
    assert not seen


def test_a_watch_calls_those_whom_the_old_rules_did_not_call():
    for house in (house_of_ann(None), watched(house_of_ann(None))):
        house.apply(prices(CALLED_AT))
        assert not house.state.ill
        (call,) = only(house.apply(AdoptRulebook(rules=rules_text(LADDER))), MarginCalled)
        assert call.account == "ann"
