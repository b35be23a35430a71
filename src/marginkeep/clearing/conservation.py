"""The invariants of the books, checked in full: money is neither made nor lost, and every trade has two sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.clearing.state import SETTLEMENT
from marginkeep.errors import InvariantViolation

if TYPE_CHECKING:
    from marginkeep.clearing.clearinghouse import Clearinghouse


def check_conservation(house: Clearinghouse) -> None:
    """Halt unless the books balance to the unit.

    All balances of an asset sum to zero with the outside world's; sizes sum to zero in every market; each settlement
    account mirrors its market's open costs; what positions reserve equals their open orders.

    Raises
    ------
    InvariantViolation : naming the asset, market or account and the difference
    """
    state = house.state
    totals = state.balance_totals()
    for (_, asset), amount in state.ledger.items():
        totals[asset] = totals.get(asset, 0) + amount
    for asset, total in totals.items():
        _require_zero(total, f"all balances of {state.tables.assets[asset].name}")
    for market, size in state.size_totals().items():
        _require_zero(size, f"all sizes in {state.tables.markets[market].name}")
    costs = state.cost_totals()
    for table in state.tables.markets:
        mirrored = state.ledger.get((SETTLEMENT + table.name, table.settle), 0)
        _require_zero(mirrored + costs.get(table.index, 0), f"settlement and open costs of {table.name}")
    counted = list(state.open_interest)
    state.count_open_interest()
    if counted != state.open_interest:
        raise InvariantViolation(f"open interest is {state.open_interest}, kept as {counted}")
    _check_reserves(house)


def _check_reserves(house: Clearinghouse) -> None:
    state = house.state
    for index in range(state.book.count):
        reserved: dict[int, list[int]] = {}
        for order in state.orders.get(index, {}).values():
            sums = reserved.setdefault(order.market, [0, 0, 0, 0])
            first = 0 if order.is_buy else 2
            sums[first] += order.size
            sums[first + 1] += order.cost
        for market, p in state.book.read(index).positions.items():
            expected = reserved.pop(market, [0, 0, 0, 0])
            if [p.bid_size, p.bid_cost, p.ask_size, p.ask_cost] != expected:
                raise InvariantViolation(f"reserve of {state.names[index]} in market {market} is not its orders'")
        if reserved:
            raise InvariantViolation(f"orders of {state.names[index]} reserve nothing")


def _require_zero(total: int, what: str) -> None:
    if total != 0:
        raise InvariantViolation(f"{what} sum to {total}, not 0: stop and keep the journal")
