"""Snapshots of whole houses: they survive, stay as captured while the house goes on, and are refused when damaged."""

from __future__ import annotations

import hashlib
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import ladder_houses, oracle_houses
from tests.clearing.ladder_world import AUCTIONS, CALLS
from tests.houses import fund, opened

from marginkeep.book.valuation import Valuation
from marginkeep.clearing import (
    AddMargin,
    Clearinghouse,
    Deposit,
    PayFunding,
    RegisterLiquidator,
    ReserveOrder,
    SetPrices,
    check_conservation,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.clearing.snapshot import capture_snapshot
from marginkeep.errors import InputError
from marginkeep.lab.population import generate_population
from marginkeep.rulebook import build_tables

if TYPE_CHECKING:
    from collections.abc import Callable

MARKS = {"BTC-PERP": 500_000, "ETH-PERP": 300_000}


# Houses --------------------------------------------------------------------------------------------------------


def populated(accounts: int, seed: int = 1) -> Clearinghouse:
    """A house of a generated book, at the prices it was generated at."""
    rulebook = ladder_houses.rules()
    valuation = Valuation(build_tables(rulebook))
    for name, mark in MARKS.items():
        valuation.set_mark(valuation.tables.market_index[name], mark)
    valuation.set_price(valuation.tables.asset_index["BTC"], 5_000_000)
    population = generate_population(valuation, accounts, seed)
    house = Clearinghouse.opened_with(rulebook, population.book, population.names)
    house.apply(SetPrices(marks=MARKS, prices={"BTC": 5_000_000}))
    return house


def reserve(house: Clearinghouse, account: str, order: str, size: int = 5) -> None:
    house.apply(ReserveOrder(account=account, order=order, market="BTC-PERP", side="buy", size=size, price=500_000))


def ordering() -> Clearinghouse:
    """A house with orders, an isolated account, a position and funding."""
    house = opened()
    for name in ("ann", "bob"):
        fund(house, name, 10_000)
        for key in ("b", "a"):
            reserve(house, name, key)
    house.apply(AddMargin(account="ann", market="ETH-PERP", amount=1_000_000_000))
    ladder_houses.trade(house, "ann/ETH-PERP", "external", 50, 3_000, "ETH-PERP")
    house.apply(PayFunding(market="ETH-PERP", rate=1_000_000))
    return house


def on_the_ladder() -> Clearinghouse:
    """A house in which one account is called, another is in an auction, and somebody may bid."""
    house = ladder_houses.opened({"calls": CALLS, "auctions": AUCTIONS})
    for name, dollars in (("ann", 3_350), ("cid", 2_500), ("bob", 500_000)):
        fund(house, name, dollars)
    for name in ("ann", "cid"):
        ladder_houses.trade(house, name, "bob", 1_000, 50_000)
    house.apply(RegisterLiquidator(account="bob"))
    house.apply(ladder_houses.prices(btc=47_650))
    assert [ill.auction is None for _, ill in sorted(house.state.ill.items())] == [True, False]
    return house


def quoted() -> Clearinghouse:
    """A house with an oracle that has seen some quotes."""
    house = oracle_houses.opened(breakers={"BTC-PERP": oracle_houses.GUARDED_AT_10}, pegs={"USDC": oracle_houses.PEG})
    oracle_houses.fund(house, "ann", 10_000)
    for step, btc in enumerate((50_100, 49_000, 49_500), 1):
        house.apply(oracle_houses.quotes(oracle_houses.START + step, house, BTC=btc, ETH=3_000, USDC=0.99))
    return house


@cache
def example(make: Callable[[], Clearinghouse]) -> tuple[Clearinghouse, bytes]:
    house = make()
    return house, take_snapshot(house)


HOUSES = pytest.mark.parametrize("make", [ordering, on_the_ladder, quoted], ids=lambda make: make.__name__)


# Surviving -----------------------------------------------------------------------------------------------------


@pytest.mark.without_shadows("it compares with a restored house itself")
@pytest.mark.parametrize("accounts", [1, 60, 3_000])
def test_a_generated_population_survives_and_goes_on_alike(accounts):
    house = populated(accounts)
    other = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert take_snapshot(other) == take_snapshot(house)
    check_conservation(other)
    for share in (0.99, 0.98, 1.01):
        marks = {name: int(mark * share) for name, mark in MARKS.items()}
        for command in (
            Deposit(account=f"late {share}", asset="USD", amount=10**9),
            Deposit(account="user-000000", asset="BTC", amount=10**6),
            SetPrices(marks=marks),
        ):
            assert house.apply(command) == other.apply(command)
        assert take_snapshot(other) == take_snapshot(house)
    check_conservation(other)


@HOUSES
def test_a_snapshot_of_a_restored_house_is_the_same_snapshot(make):
    house, snapshot = example(make)
    other = restore_snapshot(house.state.rulebook, snapshot)
    assert take_snapshot(other) == snapshot
    assert other.state.orders == house.state.orders
    assert other.state.names == house.state.names
    assert other.state.open_interest == house.state.open_interest
    assert [other.state.book.read(index) for index in range(other.state.book.count)] == [
        house.state.book.read(index) for index in range(house.state.book.count)
    ]
    check_conservation(other)


def test_orders_are_listed_by_account_and_id_however_they_came():
    one, other = opened(), opened()
    for house, keys in ((one, "abc"), (other, "cab")):
        fund(house, "ann", 10_000)
        for key in keys:
            reserve(house, "ann", key)
    assert take_snapshot(one) == take_snapshot(other)
    reserve(one, "ann", "d", 5)
    reserve(other, "ann", "d", 6)
    assert take_snapshot(one) != take_snapshot(other)


# Capturing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ordering, on_the_ladder, quoted, lambda: populated(100)], ids=range(4))
def test_what_was_captured_stays_while_the_house_goes_on(make):
    house = make()
    before, finish = take_snapshot(house), capture_snapshot(house)
    # another balance changes the account's row where it stands, a new account may move all rows
    fund(house, house.state.names[2], 0.1, "BTC")
    fund(house, "late", 5_000)
    reserve(house, "late", "1")
    reserve(house, house.state.names[2], "1")
    house.apply(SetPrices(marks={"ETH-PERP": 299_000}))
    house.apply(oracle_houses.at(oracle_houses.START + 100))
    house.apply(PayFunding(market="BTC-PERP", rate=1_000_000))
    assert finish() == before != take_snapshot(house)
    assert finish() == before


@pytest.mark.without_shadows("two threads: the shadows would record half of a command")
def test_another_thread_finishes_while_the_house_goes_on():
    house = populated(3_000)
    before, finish = take_snapshot(house), capture_snapshot(house)
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.extend(finish() for _ in range(5)))
    thread.start()
    for number in range(300):
        fund(house, f"late {number}", 1)
    thread.join(60)
    assert seen == [before] * 5
    assert restore_snapshot(house.state.rulebook, before).state.book.count == 3_002


# Damage --------------------------------------------------------------------------------------------------------


def require_refused_or_whole(house: Clearinghouse, snapshot: bytes) -> None:
    """Fail unless the snapshot is refused, or gives a house that its own snapshot gives again."""
    try:
        damaged = restore_snapshot(house.state.rulebook, snapshot)
    except InputError:
        return
    again = take_snapshot(damaged)
    assert take_snapshot(restore_snapshot(house.state.rulebook, again)) == again


@HOUSES
@settings(max_examples=300)
@given(st.data())
def test_flipped_bits_are_refused_or_give_a_whole_house(make, data):
    house, snapshot = example(make)
    damaged = bytearray(snapshot)
    flips = st.lists(st.tuples(st.integers(0, len(snapshot) - 1), st.integers(1, 255)), min_size=1, max_size=3)
    for place, mask in data.draw(flips):
        damaged[place] ^= mask
    require_refused_or_whole(house, bytes(damaged))


@HOUSES
@given(st.data())
def test_a_truncated_snapshot_is_refused(make, data):
    house, snapshot = example(make)
    with pytest.raises(InputError, match="cannot be read"):
        restore_snapshot(house.state.rulebook, snapshot[: data.draw(st.integers(0, len(snapshot) - 1))])
    with pytest.raises(InputError, match="cannot be read"):
        restore_snapshot(house.state.rulebook, snapshot + data.draw(st.binary(min_size=1, max_size=9)))


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(text):
    with pytest.raises(InputError, match="cannot be read"):
        restore_snapshot(example(ordering)[0].state.rulebook, text)


def damage(path: tuple[str | int, ...], change: Callable[[Any], Any]) -> bytes:
    """The snapshot of a house with orders, one part of it changed."""
    content = msgspec.msgpack.decode(example(ordering)[1])
    part = content
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = change(part.get(path[-1]) if isinstance(part, dict) else part[path[-1]])
    return msgspec.msgpack.encode(content)


DAMAGE = {
    "an older format": (("format",), lambda _: 3, "has format 3"),
    "a name twice": (("names",), lambda names: [*names[:-1], names[0]], "the same name"),
    "a name missing": (("names",), lambda names: names[:-1], "bytes for 4 numbers"),
    "a column too short": (("book", "positions", 1), lambda column: column[:-1], "bytes for"),
    "a column too many": (("book", "balances"), lambda columns: [*columns, b""], "3 columns, not 2"),
    "counts above the rows": (("book", "accounts", 2), lambda counts: bytes([counts[0] + 1]) + counts[1:], "bytes for"),
    "a negative count": (("book", "accounts", 3), lambda counts: b"\xff" + counts[1:], "spans -1"),
    "an unknown mode": (("book", "accounts", 0), lambda modes: b"\x07" + modes[1:], "spans 0 to 7"),
    "a parent that is not there": (("book", "accounts", 1), lambda parents: b"\x09" + parents[1:], "spans -1 to 9"),
    "an unknown market": (("book", "positions", 0), lambda markets: b"\x09" + markets[1:], "spans 0 to 9"),
    "a balance of nothing": (("book", "balances", 1), lambda amounts: bytes(8) + amounts[8:], "out of order"),
    "orders out of order": (("orders", "ids"), lambda ids: ids[::-1], "orders are out of order"),
    "an order fewer": (("orders", "ids"), lambda ids: ids[1:], "bytes for 3 numbers"),
    "an order on neither side": (("orders", "is_buy"), lambda _: b"\x02\x01\x01\x01", "spans 1 to 2"),
    "an unknown part": (("house", "more"), lambda _: 1, "unknown field"),
    "a mark too few": (("house", "marks"), lambda marks: marks[1:], "marks has 3 numbers"),
    "a dust too few": (("house", "funding_dust"), lambda dust: dust[1:], "funding_dust has 3 numbers"),
    "a negative mark": (("house", "marks"), lambda marks: [-1, *marks[1:]], "cannot be read"),
    "an oracle where there is none": (("house", "oracle"), lambda _: b"[]", "do not save as"),
    "a stranger on the ladder": (("house", "called"), lambda _: [["nobody", []]], "do not exist"),
    "an asset that is not there": (("house", "ledger"), lambda rows: [["fees", 9, 1], *rows], "assets"),
    "the ledger out of order": (("house", "ledger"), lambda rows: rows[::-1], "do not save as"),
    "text for a number": (("house", "sequence"), lambda _: "7", "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(kind):
    path, change, message = DAMAGE[kind]
    with pytest.raises(InputError, match=message):
        restore_snapshot(example(ordering)[0].state.rulebook, damage(path, change))


def test_the_hash_is_that_of_the_bytes():
    house, snapshot = example(ordering)
    assert state_hash(house) == hashlib.sha256(snapshot).hexdigest()
