"""A command that is only tried: it changes nothing, and says what would be answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import houses, ladder_houses, oracle_houses

from marginkeep.clearing import take_snapshot
from marginkeep.clearing.clearinghouse import CHECKABLE
from marginkeep.clearing.commands import (
    AddMargin,
    ChangeMode,
    Command,
    Deposit,
    RemoveMargin,
    ReserveOrder,
    SetPrices,
    Trade,
    Transfer,
    Withdraw,
)
from marginkeep.clearing.events import OrderReserved, Rejected

NAMES = st.sampled_from(["ann", "bob", "ann/BTC-PERP", "nobody", "external", ""])
MARKETS = st.sampled_from(["BTC-PERP", "ETH-PERP", "none"])
ASSETS = st.sampled_from(["USD", "BTC", "none"])
AMOUNTS = st.sampled_from([-1, 0, 1, 10**6, 10**9, 10**10, 2**62, 2**80])
PRICES = st.sampled_from([0, 300_000, 480_000, 500_000, 520_000])
SIDES = st.sampled_from(["buy", "sell"])

TRIED = st.one_of(
    st.builds(
        ReserveOrder, account=NAMES, order=st.sampled_from("12"), market=MARKETS, side=SIDES, size=AMOUNTS, price=PRICES
    ),
    st.builds(Withdraw, account=NAMES, asset=ASSETS, amount=AMOUNTS),
    st.builds(Transfer, source=NAMES, target=NAMES, asset=ASSETS, amount=AMOUNTS),
    st.builds(AddMargin, account=NAMES, market=MARKETS, amount=AMOUNTS),
    st.builds(RemoveMargin, account=NAMES, market=MARKETS, amount=AMOUNTS),
    st.builds(ChangeMode, account=NAMES, market=MARKETS, mode=st.sampled_from(["cross", "isolated"]), margin=AMOUNTS),
)


def plain_house():
    return houses.opened()


def oracle_house():
    return oracle_houses.opened()


def ladder_house():
    return ladder_houses.opened()


def settled(make):
    """A house in which ann has a position, an order and an isolated position, and bob has money."""
    house = make()
    for name in ("ann", "bob"):
        house.apply(Deposit(account=name, asset="USD", amount=10**10))
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=100, price=500_000))
    house.apply(ReserveOrder(account="ann", order="0", market="BTC-PERP", side="sell", size=50, price=510_000))
    house.apply(AddMargin(account="bob", market="BTC-PERP", amount=10**9))
    return house


MAKERS = {"plain": plain_house, "oracle": oracle_house, "ladder": ladder_house}


@pytest.mark.without_shadows("each example replays its commands on a house of its own")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@given(commands=st.lists(TRIED, min_size=1, max_size=6))
def test_trying_a_command_changes_no_byte_of_the_state_and_says_what_doing_it_says(make, commands):
    house = settled(make)
    for command in commands:
        before = take_snapshot(house)
        tried = house.check(command)
        assert take_snapshot(house) == before
        done = house.apply(command)
        assert done[: len(tried)] == tried


def test_every_kind_of_command_that_may_be_tried_is_tried_above():
    tried = {ReserveOrder, Withdraw, Transfer, AddMargin, RemoveMargin, ChangeMode}
    assert set(CHECKABLE) == tried


@pytest.mark.parametrize(
    "kind",
    sorted(set(Command.__subclasses__()) - set(CHECKABLE), key=lambda kind: kind.__name__),
    ids=lambda k: k.__name__,
)
def test_no_other_command_can_be_tried(kind):
    house = houses.opened()
    before = take_snapshot(house)
    (event,) = house.check(kind(**dict.fromkeys(kind.__struct_fields__)))
    assert (type(event), event.code) == (Rejected, "not_checkable")
    assert take_snapshot(house) == before


def test_an_order_that_passes_the_check_is_still_open_to_be_placed():
    house = houses.opened()
    houses.fund(house, "ann", 5_000)
    order = ReserveOrder(account="ann", order="1", market="BTC-PERP", side="buy", size=100, price=500_000)
    (first,), (second,) = house.check(order), house.check(order)
    assert isinstance(first, OrderReserved)
    assert first == second
    assert house.apply(order) == (first,)


def test_the_next_records_number_does_not_move():
    house = houses.opened()
    sequence = house.state.sequence
    house.check(Withdraw(account="ann", asset="USD", amount=1))
    assert house.state.sequence == sequence
    house.apply(SetPrices(marks={"BTC-PERP": 500_001}))
    assert house.state.sequence == sequence + 1
