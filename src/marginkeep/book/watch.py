"""The watch: which accounts are below call or maintenance after each tick, at the cost of what changed.

See `docs/watch.md` for the method and its proof. The full exact scan (`marginkeep.book.scan`) is its reference: tests
compare the two on every tick, and in production a slice of accounts is compared after each tick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep import units
from marginkeep.book import kernels as k
from marginkeep.book.limits import TERMS_MAX, prove_limits
from marginkeep.book.watch_budget import BREACHED, CALLED, HEALTHY
from marginkeep.book.watch_lists import (
    BASE_DOWN,
    BASE_UP,
    NEAREST_DOWN,
    NEAREST_UP,
    NODE,
    NOTHING,
    VARIABLE_WIDTH,
    buckets_for,
    collect_all,
)
from marginkeep.book.watch_tick import (
    NODES_NEEDED,
    audit,
    collect_passed,
    judge_all,
    passes_any,
    refresh,
    reset_lists,
    settle_accounts,
)
from marginkeep.errors import InvariantViolation
from marginkeep.rulebook.model import CALL, MAINTENANCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.book.columns import Book, Rows
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import MarketTable

AUDIT_SLICE: Final = 64
"""Accounts compared with an exact evaluation after each tick."""

MASS_SHARE: Final = 64
"""When more than one account in this many must be looked at in one tick, a full scan is cheaper than new budgets."""

REBUILD_SHARE: Final = 128
"""After a full scan, one account in this many gets its triggers back with each tick."""


@dataclass(slots=True)
class WatchCounters:
    """What the watch has done; `useful` counts re-evaluations that changed an account's status."""

    ticks: int = 0
    quiet_ticks: int = 0
    evaluated: int = 0
    useful: int = 0
    full_scans: int = 0
    audited: int = 0
    audit_position: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Accounts whose status changed in a tick, by index, rising."""

    breached: list[int]
    called: list[int]
    cured: list[int]


class Watch:
    """Triggers for every account of a book.

    Attributes
    ----------
    statuses : uint8[accounts], `HEALTHY`, `CALLED` (below call) or `BREACHED` (below maintenance)
    """

    def __init__(self, book: Book, valuation: Valuation) -> None:
        self._book = book
        self._valuation = valuation
        self.counters = WatchCounters()
        self._make_tables()
        self._make_lists()
        self._make_room(book.count)
        self._unwatched_from = 0
        self.watch_all()

    # Building --------------------------------------------------------------------------------------------------

    def _make_tables(self) -> None:
        tables = self._valuation.tables
        limits = prove_limits(tables)
        rows = [
            (m.numerator, m.denominator, bound.min_price, bound.max_price, _jumps(m), _is_steep(m))
            for m, bound in zip(tables.markets, limits.markets, strict=True)
        ]
        payoffs = np.array(rows, np.int64).reshape(-1, 6)
        coins = np.array(
            [
                (a.numerator, a.denominator, 1, bound.max_price)
                for a, bound in zip(tables.assets, limits.assets, strict=True)
            ],
            np.int64,
        )
        self._terms = (payoffs, coins, tables.reporting)
        self._levels = tuple(tuple(k.level_columns(self._valuation, level)) for level in (CALL, MAINTENANCE))
        for markets, _, _ in self._levels:
            markets[:, k.PLAIN_BELOW] = 0
        highest = np.concatenate([payoffs[:, 3], coins[:, 3]])
        self._buckets = np.array([buckets_for(int(price)) for price in highest], np.int64)
        self._farthest = highest
        self._prices = np.zeros(len(highest), np.int64)
        self._volatility = np.ones(len(highest))
        self._set_prices_from_valuation()

    def _make_lists(self) -> None:
        count = len(self._prices)
        self._variables = np.zeros((count, VARIABLE_WIDTH), np.int64)
        starts = np.concatenate([[0], np.cumsum(2 * self._buckets)])
        self._variables[:, BASE_DOWN] = starts[:-1]
        self._variables[:, BASE_UP] = starts[:-1] + self._buckets
        self._heads = np.full(int(starts[-1]), NOTHING, np.int32)
        nodes = int(self._book.accounts[: self._book.count, 3].sum()) + NODES_NEEDED
        self._nodes = np.zeros(nodes, NODE)
        self._counters = np.zeros(2, np.int64)
        size = 2 * TERMS_MAX
        self._scratch = (np.zeros(size), *(np.zeros(size, np.int64) for _ in range(4)))

    def _make_room(self, accounts: int) -> None:
        """Make the columns that have one entry an account as long as the book, and forget every trigger."""
        self._first_nodes = np.full(accounts, NOTHING, np.int32)
        self.statuses = np.zeros(accounts, np.uint8)
        self._marks = np.zeros(accounts, np.uint8)
        self._found = np.zeros(accounts, np.int32)
        reset_lists(*self._lists(), self._farthest)

    def _lists(self) -> tuple[Any, ...]:
        return self._nodes, self._heads, self._variables, self._first_nodes, self._counters

    def _rows(self) -> tuple[Rows, Rows, Rows]:
        return self._book.accounts, self._book.positions.rows, self._book.balances.rows

    @property
    def nbytes(self) -> int:
        """Bytes held on top of the book."""
        arrays = (*self._lists(), self.statuses, self._marks, self._found, self._prices, self._volatility)
        return sum(array.nbytes for array in arrays)

    def watch_all(self) -> None:
        """Judge every account and give each its triggers."""
        reset_lists(*self._lists(), self._farthest)
        self._found[:] = np.arange(len(self._found))
        self._settle(len(self._found))
        self._unwatched_from = len(self._found)

    # Ticks -----------------------------------------------------------------------------------------------------

    def _set_prices_from_valuation(self) -> None:
        valuation = self._valuation
        prices = [*valuation.marks, *valuation.prices]
        self._prices[:] = prices
        self._refresh()

    def _refresh(self) -> None:
        for markets, _, _ in self._levels:
            markets[:, k.FUNDING_INDEX] = self._valuation.funding
        refresh(self._levels, self._terms, self._prices)

    def move(self, variable: int, price: int) -> bool:
        """Take one new price in; tell whether it is beyond a trigger (then `look` must follow)."""
        self._prices[variable] = price
        row = self._variables[variable]
        return bool(price < row[NEAREST_DOWN] or price > row[NEAREST_UP])

    def move_all(self, prices: Rows) -> bool:
        """Take new prices of all variables in; tell whether any is beyond a trigger (then `look` must follow)."""
        return bool(passes_any(self._variables, self._prices, prices))

    def tick(self, prices: Rows) -> Changes:
        """Take new prices of all variables in and return whose status changed."""
        self.counters.ticks += 1
        if not self.move_all(prices) and self._unwatched_from == len(self._found):
            self.counters.quiet_ticks += 1
            return _NO_CHANGES
        return self.look()

    def look(self) -> Changes:
        """Evaluate the accounts whose triggers have been passed, exactly, and give them new ones."""
        self._refresh()
        if self._unwatched_from < len(self._found):
            return self._scan_and_rebuild()
        count = collect_passed(self._lists(), self._prices, self._marks, self._found)
        if count > max(MASS_SHARE, len(self._found) // MASS_SHARE):
            self._marks[:] = 0
            self._forget_triggers()
            return self._scan_and_rebuild()
        return self._settle_found(count)

    def _settle_found(self, count: int) -> Changes:
        accounts = self._found[:count].astype(np.int64)
        accounts.sort()
        self._found[:count] = accounts
        self._marks[accounts] = 0
        before = self.statuses[accounts]
        self._settle(count)
        self.counters.evaluated += count
        return self._changes(accounts, before)

    def _settle(self, count: int) -> None:
        """Judge `found[:count]` and budget them, growing the store of nodes whenever it runs out."""
        done = 0
        while done < count:
            done = settle_accounts(
                self._rows(),
                *(self._found, done, count, self._levels, self._terms, self._prices, self._volatility),
                *(self._lists(), self._scratch, self.statuses),
            )
            if done < count:
                self._grow_nodes()

    def _changes(self, accounts: Rows, before: Any) -> Changes:
        after = self.statuses[accounts]
        changed = after != before
        self.counters.useful += int(changed.sum())
        return Changes(
            breached=accounts[after == BREACHED].tolist(),
            called=accounts[changed & (after == CALLED)].tolist(),
            cured=accounts[changed & (after == HEALTHY)].tolist(),
        )

    # Mass moves ------------------------------------------------------------------------------------------------

    def _forget_triggers(self) -> None:
        reset_lists(*self._lists(), self._farthest)
        self._unwatched_from = 0

    def _scan_and_rebuild(self) -> Changes:
        """Judge everybody by a full scan, and give the next part of the accounts its triggers back."""
        self.counters.full_scans += 1
        self.counters.evaluated += len(self.statuses)
        before = self.statuses.copy()
        collateral, requirement = self._scan(CALL)
        called = collateral < requirement
        collateral, requirement = self._scan(MAINTENANCE)
        self.statuses[:] = np.where(collateral < requirement, BREACHED, np.where(called, CALLED, HEALTHY))
        begin = self._unwatched_from
        end = min(len(self._found), begin + max(1_000, len(self._found) // REBUILD_SHARE))
        self._marks[:] = 0
        touched = collect_passed(self._lists(), self._prices, self._marks, self._found)
        self._marks[:] = 0
        again = self._found[:touched]
        chosen = np.concatenate([again, np.arange(begin, end, dtype=np.int32)])
        self._found[: len(chosen)] = chosen
        self._settle(len(chosen))
        self._unwatched_from = end
        return self._changes(np.arange(len(self.statuses)), before)

    def _scan(self, level: int) -> tuple[Rows, Rows]:
        return k.measure_all(self._book, self._valuation, level)

    # Changes to accounts, rules, funding -----------------------------------------------------------------------

    def update(self, accounts: Iterable[int]) -> None:
        """Judge accounts that a command has changed and give them new triggers; new accounts are taken in."""
        if self._book.count > len(self._first_nodes):
            self._take_in_new_accounts()
        self._refresh()
        for account in accounts:
            self._found[0] = account
            self._settle(1)

    def _take_in_new_accounts(self) -> None:
        old, new = len(self._first_nodes), self._book.count
        room = max(new, old + old // 4 + 16)
        for name, fill in (("_first_nodes", NOTHING), ("_marks", 0), ("_found", 0), ("statuses", HEALTHY)):
            array = getattr(self, name)
            grown = np.full(room, fill, array.dtype)
            grown[:old] = array
            setattr(self, name, grown)

    def funding_moved(self, market: int) -> Changes:
        """Judge everybody who holds a market anew after its funding index has moved."""
        return self.reexamine([market])

    def reexamine(self, variables: Iterable[int]) -> Changes:
        """Judge every account that has a trigger on one of these variables anew."""
        self._refresh()
        count = 0
        for variable in variables:
            nodes, heads, table, _, _ = self._lists()
            count = collect_all(
                nodes, heads, table, variable, int(self._buckets[variable]), self._marks, self._found, count
            )
        return self._settle_found(count)

    def _grow_nodes(self) -> None:
        old = len(self._nodes)
        nodes = np.zeros(old + max(4 * NODES_NEEDED, old // 16), NODE)
        nodes[:old] = self._nodes
        nodes["next"][old:] = np.arange(old + 1, len(nodes) + 1)
        nodes["next"][-1] = self._counters[0]
        self._counters[0] = old
        self._counters[1] += len(nodes) - old
        self._nodes = nodes

    # Self-check ------------------------------------------------------------------------------------------------

    def audit_slice(self, accounts: int = AUDIT_SLICE) -> None:
        """Compare the next few accounts with an exact evaluation.

        Raises
        ------
        InvariantViolation : naming the account, what the watch believed and what is true
        """
        count = self._book.count
        begin = self.counters.audit_position if self.counters.audit_position < count else 0
        end = min(count, begin + accounts)
        self._refresh()
        wrong = audit(self._rows(), begin, end, self._levels, self.statuses)
        if wrong != NOTHING:
            raise InvariantViolation(self._describe(wrong))
        self.counters.audited += end - begin
        self.counters.audit_position = end

    def _describe(self, account: int) -> str:
        from marginkeep.book.health import measure

        read = self._book.read(account)
        call, maintenance = (measure(read, self._valuation, level) for level in (CALL, MAINTENANCE))
        return (
            f"the watch has account {account} as {int(self.statuses[account])} (0 healthy, 1 called, 2 breached), "
            f"but its health is {call.health} at call and {maintenance.health} at maintenance: {read}"
        )

    def true_statuses(self) -> Any:
        """Return what a full exact scan says, uint8[accounts]: the reference for tests."""
        statuses = np.zeros(len(self.statuses), np.uint8)
        self._refresh()
        judge_all(self._rows(), self._book.count, self._levels, statuses)
        return statuses


_NO_CHANGES: Final = Changes([], [], [])


def _jumps(market: MarketTable) -> bool:
    return market.market.tier_kind == "whole_position" and not market.by_size and len(market.tiers[CALL]) > 1


def _is_steep(market: MarketTable) -> bool:
    return any(row[2] >= units.RATE_ONE for level in (CALL, MAINTENANCE) for row in market.tiers[level])
