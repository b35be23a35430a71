"""Open orders as canonical columns: by account, and by id within an account."""

from __future__ import annotations

from itertools import chain, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from marginkeep.clearing.snapshot_columns import INT64_BOUNDS, pack, unpack
from marginkeep.clearing.state import Order
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIELDS = attrgetter("market", "is_buy", "size", "price", "cost")


class OrderColumns(msgspec.Struct, forbid_unknown_fields=True):
    """Orders' columns as bytes, and their ids."""

    accounts: bytes
    ids: list[str]
    markets: bytes
    is_buy: bytes
    sizes: bytes
    prices: bytes
    costs: bytes


class OrdersCopy(NamedTuple):
    """All open orders as they stood at one moment; an order itself never changes."""

    accounts: list[int]
    counts: list[int]
    ids: list[str]
    orders: list[Order]


def copy_orders(orders: Mapping[int, Mapping[str, Order]]) -> OrdersCopy:
    """Return the orders, independent of the tables they stand in; flat, since a table an account would be slow."""
    tables = list(orders.values())
    return OrdersCopy(
        list(orders),
        [len(table) for table in tables],
        list(chain.from_iterable(tables)),
        list(chain.from_iterable(table.values() for table in tables)),
    )


def order_columns(copy: OrdersCopy) -> OrderColumns:
    """Return the canonical columns of open orders."""
    if not copy.ids:
        return OrderColumns(b"", [], b"", b"", b"", b"", b"")
    owners = chain.from_iterable([account] * count for account, count in zip(copy.accounts, copy.counts, strict=True))
    # ids differ within an account, so that no comparison reaches the order
    rows = sorted(zip(owners, copy.ids, copy.orders, strict=True))
    fields = zip(*(_FIELDS(order) for _, _, order in rows), strict=True)
    markets, is_buy, sizes, prices, costs = map(pack, fields)
    accounts, ids = pack([row[0] for row in rows]), [row[1] for row in rows]
    return OrderColumns(accounts, ids, markets, is_buy, sizes, prices, costs)


def orders_of(columns: OrderColumns, accounts: int, markets: int) -> dict[int, dict[str, Order]]:
    """Return the orders that columns describe.

    Raises
    ------
    InputError : counts that do not add up, numbers out of bounds, or orders out of order
    """
    count = len(columns.ids)
    owners = unpack(columns.accounts, count, "accounts of orders", 0, accounts - 1).tolist()
    rows = zip(
        unpack(columns.markets, count, "markets of orders", 0, markets - 1).tolist(),
        map(bool, unpack(columns.is_buy, count, "sides of orders", 0, 1).tolist()),
        *(
            unpack(column, count, what, *INT64_BOUNDS).tolist()
            for column, what in ((columns.sizes, "sizes"), (columns.prices, "prices"), (columns.costs, "costs"))
        ),
        strict=True,
    )
    keys = list(zip(owners, columns.ids, strict=True))
    if any(key >= following for key, following in pairwise(keys)):
        raise InputError("the snapshot is damaged: orders are out of order or twice there: use another")
    orders: dict[int, dict[str, Order]] = {}
    for (owner, key), row in zip(keys, rows, strict=True):
        orders.setdefault(owner, {})[key] = Order(*row)
    return orders
