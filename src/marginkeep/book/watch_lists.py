"""Triggers in price buckets: intrusive doubly linked lists, one array of buckets a variable and side.

A *variable* is a price: marks by market index first, then asset prices by asset index. A *node* is one trigger of one
account: the account need not be looked at while the variable's price is not beyond it (`DOWN`: price >= trigger, `UP`:
price <= trigger). Nodes of one variable and side are kept in buckets of about 0.3 % of price. `nearest` holds, for each
variable and side, the trigger nearest to the price, or the edge of the bucket behind which the next may lie; so a tick
that stays inside costs two comparisons a variable.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.compiled import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

DOWN: Final = 0
UP: Final = 1
NOTHING: Final = -1

NODE: Final = np.dtype(
    [
        ("trigger", np.int64),
        ("next", np.int32),
        ("previous", np.int32),
        ("account", np.int32),
        ("sibling", np.int32),
        ("variable", np.int32),
        ("side", np.int32),
    ]
)
"""One trigger, 32 bytes: its bucket's neighbours, its account, and the account's next node."""

SPARE_SHARE: Final = 64
"""One node in this many is spare at first: memory that nobody has touched yet, where growing copies all nodes."""

NEAREST_DOWN, NEAREST_UP, CURSOR_DOWN, CURSOR_UP, BASE_DOWN, BASE_UP = range(6)
VARIABLE_WIDTH: Final = 6
"""Columns of `variables`: nearest trigger, its bucket and the first bucket of the array, by side."""

BUCKET_BITS: Final = 8
FREE, FREE_COUNT, FRESH, PENDING, CHANGED, SETTLED, JUDGED = range(7)
"""Slots of `counters`: first freed node, number of free nodes, first node never used; accounts whose triggers have
been passed and are not set anew, accounts whose status changed, how many accounts have been given new triggers and how
many only judged since the beginning."""


@kernel()
def bucket_of(price: int) -> Any:
    """Return the bucket of a price in ticks: rising with the price, 2^8 buckets for each doubling.

    The float only sorts prices into buckets: it is monotone, and triggers are compared as integers.
    """
    mantissa, exponent = math.frexp(float(price))
    return (exponent << BUCKET_BITS) + int((mantissa - 0.5) * (2 << BUCKET_BITS))


def buckets_for(highest: int) -> int:
    """Return how many buckets prices from 1 to `highest` need."""
    return (math.frexp(float(highest))[1] + 1) << BUCKET_BITS


@kernel()
def lower_edge(bucket: int) -> int:
    """Return a price no higher than any price of the bucket and above every price of the bucket below."""
    exponent = bucket >> BUCKET_BITS
    part = bucket - (exponent << BUCKET_BITS)
    edge = math.ceil(math.ldexp(0.5 + part / (2 << BUCKET_BITS), exponent))
    while edge > 1 and bucket_of(edge - 1) >= bucket:
        edge -= 1
    return edge


@kernel()
def insert(nodes: Any, heads: Any, variables: Rows, node: int) -> None:
    """File a node under its trigger, and move the nearest trigger if this one is nearer."""
    variable, side, trigger = nodes[node].variable, nodes[node].side, nodes[node].trigger
    bucket = bucket_of(trigger)
    slot = variables[variable, BASE_DOWN + side] + bucket
    first = heads[slot]
    nodes[node].next = first
    nodes[node].previous = NOTHING
    if first != NOTHING:
        nodes[first].previous = node
    heads[slot] = node
    if side == DOWN:
        if trigger > variables[variable, NEAREST_DOWN]:
            variables[variable, NEAREST_DOWN] = trigger
            variables[variable, CURSOR_DOWN] = max(bucket, variables[variable, CURSOR_DOWN])
    elif trigger < variables[variable, NEAREST_UP]:
        variables[variable, NEAREST_UP] = trigger
        variables[variable, CURSOR_UP] = min(bucket, variables[variable, CURSOR_UP])


@kernel()
def unlink(nodes: Any, heads: Any, variables: Rows, node: int) -> None:
    """Take a node out of its bucket; a nearest trigger left behind only makes one look in vain."""
    following, previous = nodes[node].next, nodes[node].previous
    if following != NOTHING:
        nodes[following].previous = previous
    if previous != NOTHING:
        nodes[previous].next = following
    else:
        heads[variables[nodes[node].variable, BASE_DOWN + nodes[node].side] + bucket_of(nodes[node].trigger)] = (
            following
        )


@kernel()
def drop_nodes(nodes: Any, heads: Any, variables: Rows, first_nodes: Any, counters: Rows, account: int) -> None:
    """Take all of an account's nodes out and put them on the free list."""
    node = first_nodes[account]
    while node != NOTHING:
        sibling = nodes[node].sibling
        unlink(nodes, heads, variables, node)
        nodes[node].next = counters[FREE]
        counters[FREE] = node
        counters[FREE_COUNT] += 1
        node = sibling
    first_nodes[account] = NOTHING


@kernel()
def add_node(
    nodes: Any,
    heads: Any,
    variables: Rows,
    first_nodes: Any,
    counters: Rows,
    account: int,
    variable: int,
    side: int,
    trigger: int,
) -> None:
    """Give an account a trigger; the caller has made sure that a node is free."""
    node = counters[FREE]
    if node == NOTHING:
        node = counters[FRESH]
        counters[FRESH] += 1
    else:
        counters[FREE] = nodes[node].next
    counters[FREE_COUNT] -= 1
    nodes[node].trigger = trigger
    nodes[node].account = account
    nodes[node].variable = variable
    nodes[node].side = side
    nodes[node].sibling = first_nodes[account]
    first_nodes[account] = node
    insert(nodes, heads, variables, node)


@kernel()
def collect(
    nodes: Any,
    heads: Any,
    variables: Rows,
    variable: int,
    side: int,
    price: int,
    marks: Any,
    pending: Any,
    counters: Rows,
    most: int,
) -> Any:
    """Add the accounts of all triggers of one side that a price is beyond, and find the next nearest trigger.

    Parameters
    ----------
    marks : uint8[accounts], 1 for accounts already in `pending`
    pending : int32[accounts]; `counters[PENDING]` of its entries are in use
    most : give up when there are more; then False is returned, and all triggers must be forgotten
    """
    step = 1 if side == UP else -1
    bucket = variables[variable, CURSOR_DOWN + side]
    last = bucket_of(price)
    best = lower_edge(last) if side == DOWN else lower_edge(last + 1) - 1
    count = counters[PENDING]
    while (last - bucket) * step >= 0 and count <= most:
        node = heads[variables[variable, BASE_DOWN + side] + bucket]
        while node != NOTHING:
            trigger = nodes[node].trigger
            if (price - trigger) * step > 0:
                account = nodes[node].account
                if not marks[account]:
                    marks[account] = 1
                    pending[count] = account
                    count += 1
            elif (best - trigger) * step > 0:
                best = trigger
            node = nodes[node].next
        bucket += step
    counters[PENDING] = count
    variables[variable, NEAREST_DOWN + side] = best
    variables[variable, CURSOR_DOWN + side] = last
    return count <= most


@kernel()
def collect_all(
    nodes: Any, heads: Any, variables: Rows, variable: int, buckets: int, marks: Any, pending: Any, counters: Rows
) -> None:
    """Add every account that has a trigger on a variable, on either side."""
    for side in range(2):
        base = variables[variable, BASE_DOWN + side]
        for slot in range(base, base + buckets):
            node = heads[slot]
            while node != NOTHING:
                account = nodes[node].account
                if not marks[account]:
                    marks[account] = 1
                    pending[counters[PENDING]] = account
                    counters[PENDING] += 1
                node = nodes[node].next


@kernel()
def reset_lists(nodes: Any, heads: Any, variables: Rows, first_nodes: Any, counters: Rows, farthest: Rows) -> None:
    """Forget every trigger: no node in use, all buckets empty."""
    heads[:] = NOTHING
    first_nodes[:] = NOTHING
    counters[FREE] = NOTHING
    counters[FRESH] = 0
    counters[FREE_COUNT] = len(nodes)
    variables[:, NEAREST_DOWN] = 0
    variables[:, NEAREST_UP] = farthest
    variables[:, CURSOR_DOWN] = 0
    variables[:, CURSOR_UP] = 1 << 30
