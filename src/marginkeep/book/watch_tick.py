"""What happens to accounts whose triggers a price has passed: exact health, a verdict, new budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.book import columns as c
from marginkeep.book import kernels as k
from marginkeep.book.account import SYSTEM
from marginkeep.book.watch_budget import (
    BREACHED,
    CALLED,
    DEFICIT,
    HEALTHY,
    SLACK,
    measure_account,
    set_triggers,
)
from marginkeep.book.watch_limits import DENOMINATOR, NUMERATOR
from marginkeep.book.watch_lists import (
    CHANGED,
    DOWN,
    FREE_COUNT,
    JUDGED,
    NEAREST_DOWN,
    NEAREST_UP,
    PENDING,
    SETTLED,
    UP,
    collect,
    drop_nodes,
)
from marginkeep.compiled import lending_kernel

if TYPE_CHECKING:
    from marginkeep.book.watch_lists import Rows

RESULT_DONE, RESULT_NO_NODES, RESULT_MANY, RESULT_TOO_MANY = range(4)

WARMED: Final = 64
"""Accounts whose rows are brought into the cache together."""

NODES_NEEDED: Final = 4 * 256
"""Free nodes that must be at hand before an account is budgeted: two ends for each of its terms, twice over."""


@lending_kernel()
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


@lending_kernel()
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


@lending_kernel()
def collect_passed(
    nodes: Any, heads: Any, variables: Rows, prices: Rows, marks: Any, pending: Any, counters: Rows, most: int
) -> bool:
    """Add the accounts of all triggers that current prices are beyond; False when there are too many to go on."""
    for variable in range(len(prices)):
        price = prices[variable]
        if price < variables[variable, NEAREST_DOWN] and not collect(
            nodes, heads, variables, variable, DOWN, price, marks, pending, counters, most
        ):
            return False
        if price > variables[variable, NEAREST_UP] and not collect(
            nodes, heads, variables, variable, UP, price, marks, pending, counters, most
        ):
            return False
    return True


@lending_kernel()
def judge(
    accounts: Rows,
    positions: Rows,
    balances: Rows,
    account: int,
    call_markets: Rows,
    call_tiers: Rows,
    call_assets: Rows,
    markets: Rows,
    tiers: Rows,
    assets: Rows,
) -> tuple[int, int, int]:
    """Return (status, slack, deficit): health at call if healthy, at maintenance else; what is lacking at call."""
    if accounts[account, c.MODE] == SYSTEM:
        return HEALTHY, 0, 0
    held, owed = measure_account(accounts, positions, balances, account, call_markets, call_tiers, call_assets)
    if held >= owed:
        return HEALTHY, held - owed, 0
    deficit = owed - held
    held, owed = measure_account(accounts, positions, balances, account, markets, tiers, assets)
    return (CALLED if held >= owed else BREACHED), held - owed, deficit


@lending_kernel()
def _give_triggers(
    accounts: Rows,
    positions: Rows,
    balances: Rows,
    account: int,
    status: int,
    call_markets: Rows,
    call_tiers: Rows,
    call_assets: Rows,
    markets: Rows,
    tiers: Rows,
    assets: Rows,
    payoffs: Rows,
    coins: Rows,
    reporting: int,
    prices: Rows,
    volatility: Any,
    nodes: Any,
    heads: Any,
    variables: Rows,
    first_nodes: Any,
    counters: Rows,
    weights: Any,
    room: Rows,
    shares: Rows,
) -> None:
    """Set an account's triggers at the levels that its status asks for: slack at one, way back up at the other."""
    if status == HEALTHY:
        set_triggers(
            accounts, positions, balances, account, status, call_markets, call_tiers, call_assets,
            call_markets, call_tiers, call_assets, payoffs, coins, reporting, prices, volatility,
            nodes, heads, variables, first_nodes, counters, weights, room, shares,
        )  # fmt: skip
    elif status == CALLED:
        set_triggers(
            accounts, positions, balances, account, status, markets, tiers, assets,
            call_markets, call_tiers, call_assets, payoffs, coins, reporting, prices, volatility,
            nodes, heads, variables, first_nodes, counters, weights, room, shares,
        )  # fmt: skip
    else:
        shares[DEFICIT] = -shares[SLACK]
        set_triggers(
            accounts, positions, balances, account, status, markets, tiers, assets,
            markets, tiers, assets, payoffs, coins, reporting, prices, volatility,
            nodes, heads, variables, first_nodes, counters, weights, room, shares,
        )  # fmt: skip


@lending_kernel()
def settle_pending(
    book: Any,
    levels: Any,
    terms: Any,
    prices: Rows,
    volatility: Any,
    lists: Any,
    work: Any,
    owned: Any,
    keep: int,
) -> bool:
    """Judge pending accounts exactly and give them new triggers, the oldest first, until `keep` are left.

    Oldest first, because an account just passed in a falling market is likely to be passed again at the next tick.

    Parameters
    ----------
    owned : (statuses, marks, pending, changed), one entry an account; `changed` gains those whose status is another
        one now, and those found breached

    Returns
    -------
    False if nodes ran out: give more and call again
    """
    accounts, positions, balances = book
    (call_markets, call_tiers, call_assets), (markets, tiers, assets) = levels
    payoffs, coins, reporting = terms
    nodes, heads, variables, first_nodes, counters = lists
    weights, room, shares = work
    statuses, marks, pending, changed = owned
    count = counters[PENDING]
    settled = 0
    while settled < count - keep and counters[FREE_COUNT] >= NODES_NEEDED:
        account = pending[settled]
        settled += 1
        marks[account] = 0
        drop_nodes(nodes, heads, variables, first_nodes, counters, account)
        if accounts[account, c.MODE] == SYSTEM:
            continue
        counters[SETTLED] += 1
        status, shares[SLACK], shares[DEFICIT] = judge(
            accounts, positions, balances, account, call_markets, call_tiers, call_assets, markets, tiers, assets
        )
        if status != statuses[account] or status == BREACHED:
            changed[counters[CHANGED]] = account
            counters[CHANGED] += 1
            statuses[account] = status
        _give_triggers(
            accounts, positions, balances, account, status, call_markets, call_tiers, call_assets,
            markets, tiers, assets, payoffs, coins, reporting, prices, volatility,
            nodes, heads, variables, first_nodes, counters, weights, room, shares,
        )  # fmt: skip
    for place in range(settled, count):
        pending[place - settled] = pending[place]
    counters[PENDING] = count - settled
    return bool(counters[PENDING] <= keep)


@lending_kernel()
def _warm(accounts: Rows, positions: Rows, balances: Rows, listed: Any, begin: int, end: int) -> int:
    """Read a little of each account's rows: waits for memory overlap here, where judging waits for each in turn."""
    warmth = 0
    for place in range(begin, end):
        warmth += accounts[listed[place], c.POSITION_START]
    for place in range(begin, end):
        account = listed[place]
        start, count = accounts[account, c.POSITION_START], accounts[account, c.POSITION_COUNT]
        for slot in range(start, start + min(count, 8)):
            warmth += positions[slot, c.SIZE]
        if accounts[account, c.BALANCE_COUNT]:
            warmth += balances[accounts[account, c.BALANCE_START], c.AMOUNT]
    return warmth


@lending_kernel()
def judge_listed(book: Any, levels: Any, counters: Rows, owned: Any, listed: Any, count: int) -> int:
    """Judge the first `count` of some accounts exactly, and leave their triggers: much cheaper than new ones.

    The number returned means nothing; it keeps the compiler from leaving `_warm` out.
    """
    accounts, positions, balances = book
    (call_markets, call_tiers, call_assets), (markets, tiers, assets) = levels
    statuses, _, _, changed = owned
    warmth = 0
    for place in range(count):
        if place % WARMED == 0:
            warmth += _warm(accounts, positions, balances, listed, place, min(count, place + WARMED))
        account = listed[place]
        status, _, _ = judge(
            accounts, positions, balances, account, call_markets, call_tiers, call_assets, markets, tiers, assets
        )
        if status != statuses[account] or status == BREACHED:
            changed[counters[CHANGED]] = account
            counters[CHANGED] += 1
            statuses[account] = status
    counters[JUDGED] += count
    return warmth


@lending_kernel()
def renew(
    book: Any,
    levels: Any,
    terms: Any,
    prices: Rows,
    volatility: Any,
    lists: Any,
    work: Any,
    owned: Any,
    listed: Any,
) -> bool:
    """Judge some accounts anew in one call; those not pending get new triggers at once, before any that are.

    Parameters
    ----------
    listed : int32[accounts], each account once; left changed

    Returns
    -------
    False if nodes ran out: give more and settle all but those that were pending before
    """
    counters = lists[4]
    _, marks, pending, _ = owned
    refresh(levels, terms, prices)
    count = counters[PENDING]
    first = 0
    for account in listed:
        first += marks[account] == 0
    for place in range(count - 1, -1, -1):
        pending[place + first] = pending[place]
    first = judged = 0
    for account in listed:
        if marks[account] == 0:
            pending[first] = account
            first += 1
        else:
            listed[judged] = account
            judged += 1
    for place in range(first):
        marks[pending[place]] = 1
    counters[PENDING] = count + first
    judge_listed(book, levels, counters, owned, listed, judged)
    return bool(settle_pending(book, levels, terms, prices, volatility, lists, work, owned, count))


@lending_kernel()
def react(
    book: Any,
    levels: Any,
    terms: Any,
    prices: Rows,
    volatility: Any,
    lists: Any,
    work: Any,
    owned: Any,
    most_collected: int,
    most_judged: int,
    most_settled: int,
) -> int:
    """Do a whole tick in one call: refresh, collect, and, if they are few, judge and settle; return a `RESULT_...`.

    More pending accounts than `most_settled` are all judged, and only the oldest of them get new triggers.
    """
    nodes, heads, variables, _, counters = lists
    _, marks, pending, _ = owned
    counters[CHANGED] = 0
    refresh(levels, terms, prices)
    most = counters[PENDING] + most_collected
    if not collect_passed(nodes, heads, variables, prices, marks, pending, counters, most):
        return RESULT_TOO_MANY
    if counters[PENDING] > most_judged:
        return RESULT_MANY
    keep = max(0, counters[PENDING] - most_settled)
    if keep:
        judge_listed(book, levels, counters, owned, pending, counters[PENDING])
    done = settle_pending(book, levels, terms, prices, volatility, lists, work, owned, keep)
    return RESULT_DONE if done else RESULT_NO_NODES


@lending_kernel()
def judge_all(book: Any, begin: int, end: int, levels: Any, statuses: Any) -> None:
    """Judge accounts [begin, end) exactly into `statuses[begin:end]`; triggers are not touched."""
    accounts, positions, balances = book
    (call_markets, call_tiers, call_assets), (markets, tiers, assets) = levels
    for account in range(begin, end):
        statuses[account] = judge(
            accounts, positions, balances, account, call_markets, call_tiers, call_assets, markets, tiers, assets
        )[0]
