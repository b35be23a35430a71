"""What happens to accounts whose triggers a price has passed: exact health, a verdict, new budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from numba import njit

from marginkeep.book import columns as c
from marginkeep.book import kernels as k
from marginkeep.book.account import SYSTEM
from marginkeep.book.watch_budget import (
    BREACHED,
    CALL_LEVEL,
    CALLED,
    DENOMINATOR,
    HEALTHY,
    MAINTENANCE_LEVEL,
    NUMERATOR,
    measure_account,
    set_triggers,
)
from marginkeep.book.watch_lists import (
    DOWN,
    FREE_COUNT,
    NEAREST_DOWN,
    NEAREST_UP,
    NOTHING,
    UP,
    collect,
    drop_nodes,
)

if TYPE_CHECKING:
    from marginkeep.book.watch_lists import Rows

NODES_NEEDED: Final = 4 * 256
"""Free nodes that must be at hand before an account is budgeted: two ends for each of its terms, twice over."""


@njit(cache=True, error_model="numpy")
def passes_any(variables: Rows, prices: Rows, incoming: Rows) -> bool:
    """Take new prices in; tell whether any of them is beyond the nearest trigger of its variable.

    Parameters
    ----------
    incoming : int64[variables], ticks; 0 where no price has arrived
    """
    passed = False
    for variable in range(len(prices)):
        price = incoming[variable]
        prices[variable] = price
        passed = passed or price < variables[variable, NEAREST_DOWN] or price > variables[variable, NEAREST_UP]
    return passed


@njit(cache=True, error_model="numpy")
def refresh(levels: Any, terms: Any, prices: Rows) -> None:
    """Bring the columns that depend on prices up to date, at both levels."""
    payoffs, coins, _ = terms
    for level in range(2):
        markets, _, assets = levels[level]
        for asset in range(len(assets)):
            assets[asset, 0] = prices[len(markets) + asset] * coins[asset, NUMERATOR]
        for number in range(len(markets)):
            price = prices[number]
            if markets[number, k.SIGN] > 0:
                markets[number, k.X] = price * payoffs[number, NUMERATOR]
            else:
                markets[number, k.Y] = max(1, price) * payoffs[number, DENOMINATOR]
            markets[number, k.SETTLE_X] = assets[markets[number, k.SETTLE_ASSET], 0]


@njit(cache=True, error_model="numpy")
def collect_passed(lists: Any, prices: Rows, marks: Any, found: Any) -> int:
    """Note the accounts of all triggers that current prices are beyond; return how many."""
    nodes, heads, variables, _, _ = lists
    count = 0
    for variable in range(len(prices)):
        price = prices[variable]
        if price < variables[variable, NEAREST_DOWN]:
            count = collect(nodes, heads, variables, variable, DOWN, price, marks, found, count)
        if price > variables[variable, NEAREST_UP]:
            count = collect(nodes, heads, variables, variable, UP, price, marks, found, count)
    return count


@njit(cache=True, error_model="numpy")
def judge(book: Any, account: int, levels: Any) -> tuple[int, int, int]:
    """Return (status, slack, deficit): health at call if healthy, at maintenance else; what is lacking at call."""
    if book[0][account, c.MODE] == SYSTEM:
        return HEALTHY, 0, 0
    held, owed = measure_account(book, account, levels[CALL_LEVEL])
    if held >= owed:
        return HEALTHY, held - owed, 0
    deficit = owed - held
    held, owed = measure_account(book, account, levels[MAINTENANCE_LEVEL])
    return (CALLED if held >= owed else BREACHED), held - owed, deficit


@njit(cache=True, error_model="numpy")
def settle_accounts(
    book: Any,
    found: Any,
    begin: int,
    end: int,
    levels: Any,
    terms: Any,
    prices: Rows,
    volatility: Any,
    lists: Any,
    scratch: Any,
    statuses: Any,
) -> int:
    """Judge accounts `found[begin:end]` exactly and give them new triggers.

    A breached account has no slack, so any move of its prices brings it back here until it is healed. Returns the
    place at which it stopped for want of free nodes, or `end`.
    """
    nodes, heads, variables, first_nodes, counters = lists
    for place in range(begin, end):
        if counters[FREE_COUNT] < NODES_NEEDED:
            return place
        account = found[place]
        drop_nodes(nodes, heads, variables, first_nodes, counters, account)
        status, slack, deficit = judge(book, account, levels)
        statuses[account] = status
        if book[0][account, c.MODE] != SYSTEM:
            set_triggers(book, account, status, slack, deficit, levels, terms, prices, volatility, lists, scratch)
    return end


@njit(cache=True, error_model="numpy")
def audit(book: Any, begin: int, end: int, levels: Any, statuses: Any) -> int:
    """Compare accounts [begin, end) with an exact evaluation; return the first that differs, or -1."""
    for account in range(begin, end):
        status, _, _ = judge(book, account, levels)
        if status != statuses[account]:
            return account
    return NOTHING


@njit(cache=True, error_model="numpy")
def judge_all(book: Any, count: int, levels: Any, statuses: Any) -> None:
    """Judge every account by a full exact scan; triggers are not touched."""
    for account in range(count):
        statuses[account] = judge(book, account, levels)[0]


@njit(cache=True)
def reset_lists(nodes: Any, heads: Any, variables: Rows, first_nodes: Any, counters: Rows, farthest: Rows) -> None:
    """Forget every trigger: all nodes free, all buckets empty."""
    heads[:] = NOTHING
    first_nodes[:] = NOTHING
    for node in range(len(nodes)):
        nodes[node].next = node + 1 if node + 1 < len(nodes) else NOTHING
    counters[0] = 0
    counters[FREE_COUNT] = len(nodes)
    variables[:, NEAREST_DOWN] = 0
    variables[:, NEAREST_UP] = farthest
    variables[:, 2] = 0
    variables[:, 3] = 1 << 30
