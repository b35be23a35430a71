"""The whole state as canonical bytes: its hash says whether two clearinghouses are the same, its text restores one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from marginkeep.book.account import Account, Position
from marginkeep.clearing.clearinghouse import Clearinghouse
from marginkeep.clearing.ill import restore_ill
from marginkeep.clearing.quoting import apply_pegs
from marginkeep.clearing.state import Order, State
from marginkeep.errors import InputError
from marginkeep.liquidation.insurance import Fund

if TYPE_CHECKING:
    from marginkeep.rulebook import Rulebook

FORMAT = 3


def take_snapshot(house: Clearinghouse) -> bytes:
    """Return the state as MessagePack in one canonical order, independent of memory layout and history."""
    state = house.state
    valuation = state.valuation
    return msgspec.msgpack.encode(
        {
            "format": FORMAT,
            "rulebook": state.rulebook_hash,
            "sequence": state.sequence,
            "served": state.served,
            "now_ns": state.now_ns,
            "halted": state.halted,
            "marks": valuation.marks,
            "prices": valuation.prices,
            "funding": valuation.funding,
            "funding_short": valuation.funding_short,
            "funding_dust": state.funding_dust,
            # As JSON: sums of price times time do not fit the 64 bits of a MessagePack integer.
            "oracle": None if state.oracle is None else msgspec.json.encode(state.oracle.save()),
            "funding_machines": msgspec.json.encode(
                [[index, machine.save()] for index, machine in state.funding_machines.items()]
            ),
            "ill": [[name, ill.save()] for name, ill in sorted(state.ill.items())],
            "liquidators": sorted(state.liquidators),
            "closed_lots": [[market, *closed] for market, closed in sorted(state.closed_lots.items())],
            "funds": [[name, *fund.save()] for name, fund in sorted(state.funds.items())],
            "called": [[name, list(blocked)] for name, blocked in sorted(state.called.items())],
            "accounts": [_account_row(state, index) for index in range(state.book.count)],
            "ledger": [[name, asset, amount] for (name, asset), amount in sorted(state.ledger.items()) if amount],
            "orders": [
                [account, key, order.market, order.is_buy, order.size, order.price, order.cost]
                for account, orders in sorted(state.orders.items())
                for key, order in sorted(orders.items())
            ],
        }
    )


def _account_row(state: State, index: int) -> list[Any]:
    account = state.book.read(index)
    positions = [
        [market, p.size, p.cost, p.funding_entry, p.bid_size, p.bid_cost, p.ask_size, p.ask_cost]
        for market, p in sorted(account.positions.items())
    ]
    balances = sorted((asset, amount) for asset, amount in account.balances.items() if amount)
    return [state.names[index], account.mode, account.parent, balances, positions]


def state_hash(house: Clearinghouse) -> str:
    """Return the SHA-256 of the snapshot, as hexadecimal."""
    return hashlib.sha256(take_snapshot(house)).hexdigest()


def restore_snapshot(rulebook: Rulebook, snapshot: bytes) -> Clearinghouse:
    """Return a clearinghouse in the state that the snapshot holds.

    Raises
    ------
    InputError : damaged, of another format, or taken under another rulebook
    """
    try:
        content = msgspec.msgpack.decode(snapshot)
        version, rules = content["format"], content["rulebook"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise InputError(f"the snapshot cannot be read ({error}): take another from the journal") from error
    if version != FORMAT:
        raise InputError(f"the snapshot has format {version}, this version reads {FORMAT}: replay the journal instead")
    house = Clearinghouse(rulebook)
    if rules != house.state.rulebook_hash:
        raise InputError(
            f"the snapshot was taken under rulebook {rules[:12]}, not {house.state.rulebook_hash[:12]}: use that one"
        )
    house.state = _state_from(rulebook, content)
    return house


def _state_from(rulebook: Rulebook, content: dict[str, Any]) -> State:
    state = State(rulebook)
    state.sequence, state.now_ns, state.halted = content["sequence"], content["now_ns"], content["halted"]
    for index, ticks in enumerate(content["marks"]):
        state.valuation.set_mark(index, ticks)
    for index, ticks in enumerate(content["prices"]):
        state.valuation.set_price(index, ticks)
    state.valuation.funding[:] = content["funding"]
    state.valuation.funding_short[:] = content["funding_short"]
    state.funding_dust = list(content["funding_dust"])
    if state.oracle is not None:
        state.oracle.restore(msgspec.json.decode(content["oracle"]))
        apply_pegs(state)
    for index, saved in msgspec.json.decode(content["funding_machines"]):
        state.funding_machines[index].restore(saved)
    state.liquidators = set(content["liquidators"])
    state.ill = {name: restore_ill(saved) for name, saved in content["ill"]}
    state.closed_lots = {market: (began_ns, lots) for market, began_ns, lots in content["closed_lots"]}
    state.served = content["served"]
    for name, *paid in content["funds"]:
        state.funds[name] = Fund()
        state.funds[name].restore(paid)
    state.called = {name: tuple(blocked) for name, blocked in content["called"]}
    for name, mode, parent, balances, positions in content["accounts"]:
        held = {row[0]: Position(*row[1:]) for row in positions}
        state.add_account(name, Account(mode, parent, dict(balances), held))
    state.count_open_interest()
    state.ledger = {(name, asset): amount for name, asset, amount in content["ledger"]}
    for account, key, *order in content["orders"]:
        state.orders.setdefault(account, {})[key] = Order(*order)
    return state
