"""The whole state as canonical bytes: its hash says whether two clearinghouses are the same, its text restores one.

A snapshot is one MessagePack map: `format`, `rulebook` (its hash), `house` (everything but the accounts), `names`,
`book` and `orders` as columns (see `snapshot_columns`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from marginkeep.clearing.clearinghouse import Clearinghouse
from marginkeep.clearing.ill import restore_ill
from marginkeep.clearing.quoting import apply_pegs
from marginkeep.clearing.snapshot_columns import BookColumns, book_of, columns_of, copy_book
from marginkeep.clearing.snapshot_orders import OrderColumns, copy_orders, order_columns, orders_of
from marginkeep.clearing.state import State
from marginkeep.errors import InputError
from marginkeep.liquidation.insurance import Fund

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.rulebook import Rulebook

FORMAT: Final = 4

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Ticks = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Header(msgspec.Struct):
    format: int
    rulebook: str


class _Snapshot(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    rulebook: str
    house: msgspec.Raw
    names: list[str]
    book: BookColumns
    orders: OrderColumns


class _House(msgspec.Struct, forbid_unknown_fields=True):
    """Everything but the accounts and their orders; what is by name is sorted by name."""

    sequence: _Int64
    served: _Int64
    now_ns: _Int64
    halted: str
    marks: list[_Ticks]
    prices: list[_Ticks]
    funding: list[_Int64]
    funding_short: list[_Int64]
    funding_dust: list[_Int64]
    # As JSON: sums of price times time do not fit the 64 bits of a MessagePack integer.
    oracle: bytes | None
    funding_machines: bytes
    ill: list[tuple[str, list[Any]]]
    liquidators: list[str]
    closed_lots: list[tuple[int, int, int]]
    funds: list[tuple[str, list[int]]]
    called: list[tuple[str, list[str]]]
    ledger: list[tuple[str, int, _Int64]]


def take_snapshot(house: Clearinghouse) -> bytes:
    """Return the state as MessagePack in one canonical order, independent of memory layout and history."""
    return capture_snapshot(house)()


def capture_snapshot(house: Clearinghouse) -> Callable[[], bytes]:
    """Copy what may change, and return what makes the snapshot of it: the house may go on, another thread finish.

    The copy costs about 80 bytes a position and is freed with the function returned.
    """
    state = house.state
    rules, standing = state.rulebook_hash, msgspec.Raw(msgspec.msgpack.encode(_standing_of(state)))
    names, book, orders = state.names.copy(), copy_book(state.book), copy_orders(state.orders)

    def finish() -> bytes:
        content = _Snapshot(FORMAT, rules, standing, names, columns_of(book), order_columns(orders))
        return msgspec.msgpack.encode(content)

    return finish


def state_hash(house: Clearinghouse) -> str:
    """Return the SHA-256 of the snapshot, as hexadecimal."""
    return hashlib.sha256(take_snapshot(house)).hexdigest()


def _standing_of(state: State) -> _House:
    valuation = state.valuation
    machines = [[index, machine.save()] for index, machine in state.funding_machines.items()]
    return _House(
        sequence=state.sequence,
        served=state.served,
        now_ns=state.now_ns,
        halted=state.halted,
        marks=valuation.marks,
        prices=valuation.prices,
        funding=valuation.funding,
        funding_short=valuation.funding_short,
        funding_dust=state.funding_dust,
        oracle=None if state.oracle is None else msgspec.json.encode(state.oracle.save()),
        funding_machines=msgspec.json.encode(machines),
        ill=[(name, ill.save()) for name, ill in sorted(state.ill.items())],
        liquidators=sorted(state.liquidators),
        closed_lots=[(market, *closed) for market, closed in sorted(state.closed_lots.items())],
        funds=[(name, fund.save()) for name, fund in sorted(state.funds.items())],
        called=[(name, list(blocked)) for name, blocked in sorted(state.called.items())],
        ledger=[(name, asset, amount) for (name, asset), amount in sorted(state.ledger.items()) if amount],
    )


# Restoring -----------------------------------------------------------------------------------------------------


def restore_snapshot(rulebook: Rulebook, snapshot: bytes) -> Clearinghouse:
    """Return a clearinghouse in the state that the snapshot holds.

    What can be read is not thereby what was written: compare the hash of the bytes where it is known.

    Raises
    ------
    InputError : damaged, of another format, or taken under another rulebook
    """
    state = State(rulebook)
    try:
        header = msgspec.msgpack.decode(snapshot, type=_Header)
        _check_header(header, state.rulebook_hash)
        content = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        standing = msgspec.msgpack.decode(content.house, type=_House)
        _check_lengths(state, standing)
        _restore_accounts(state, content)
        _restore_prices(state, standing)
        _restore_standing(state, standing)
        # A part that saves itself as something else was not what it had saved.
        if _standing_of(state) != standing:
            raise InputError("the snapshot is damaged: its parts do not save as they were saved: use another")
    except InputError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(f"the snapshot cannot be read ({error}): take another from the journal") from error
    house = Clearinghouse.__new__(Clearinghouse)
    house.state = state
    return house


def _check_header(header: _Header, rules: str) -> None:
    version = header.format
    if version != FORMAT:
        raise InputError(f"the snapshot has format {version}, this version reads {FORMAT}: replay the journal instead")
    if header.rulebook != rules:
        raise InputError(
            f"the snapshot was taken under rulebook {header.rulebook[:12]}, not {rules[:12]}: use that one"
        )


def _restore_accounts(state: State, content: _Snapshot) -> None:
    markets, assets = len(state.tables.markets), len(state.tables.assets)
    names = content.names
    state.book = book_of(content.book, len(names), markets, assets)
    state.names = names
    state.index = dict(zip(names, range(len(names)), strict=True))
    if len(state.index) != len(names):
        raise InputError("the snapshot is damaged: two accounts have the same name: use another")
    state.orders = orders_of(content.orders, len(names), markets)
    state.count_open_interest()


def _check_lengths(state: State, standing: _House) -> None:
    markets, assets = len(state.tables.markets), len(state.tables.assets)
    expected = {
        "marks": markets,
        "prices": assets,
        "funding": markets,
        "funding_short": markets,
        "funding_dust": markets,
    }
    for attribute, count in expected.items():
        given = len(getattr(standing, attribute))
        if given != count:
            raise InputError(f"the snapshot is damaged: {attribute} has {given} numbers, not {count}: use another")
    for name, asset, _ in standing.ledger:
        if not 0 <= asset < assets:
            raise InputError(
                f"the snapshot is damaged: {name} holds asset {asset}, assets end at {assets - 1}: use another"
            )


def _restore_prices(state: State, standing: _House) -> None:
    """Take over prices, funding and what makes them."""
    valuation = state.valuation
    for index, ticks in enumerate(standing.marks):
        valuation.set_mark(index, ticks)
    for index, ticks in enumerate(standing.prices):
        valuation.set_price(index, ticks)
    valuation.funding[:] = standing.funding
    valuation.funding_short[:] = standing.funding_short
    state.funding_dust = list(standing.funding_dust)
    if state.oracle is not None:
        state.oracle.restore(msgspec.json.decode(standing.oracle or b""))
        apply_pegs(state)
    for index, saved in msgspec.json.decode(standing.funding_machines):
        state.funding_machines[index].restore(saved)


def _restore_standing(state: State, standing: _House) -> None:
    """Take over who stands where: on the ladder, in auctions, in funds and in the ledger."""
    state.sequence, state.served = standing.sequence, standing.served
    state.now_ns, state.halted = standing.now_ns, standing.halted
    state.liquidators = set(standing.liquidators)
    state.ill = {name: restore_ill(saved) for name, saved in standing.ill}
    state.closed_lots = {market: (began_ns, lots) for market, began_ns, lots in standing.closed_lots}
    for name, paid in standing.funds:
        state.funds[name] = Fund()
        state.funds[name].restore(paid)
    state.called = {name: tuple(blocked) for name, blocked in standing.called}
    state.ledger = {(name, asset): amount for name, asset, amount in standing.ledger}
    known = state.index.keys()
    if not (state.ill.keys() <= known and state.called.keys() <= known):
        raise InputError("the snapshot is damaged: accounts that do not exist are called or on the ladder: use another")
