"""The watch: which accounts are below call or maintenance after each tick, at the cost of what changed.

See `docs/watch.md` for the method and its proof. The full exact scan (`marginkeep.book.scan`) is its reference: tests
compare the two on every tick, and in production a slice of accounts is compared after each tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.book import kernels as k
from marginkeep.book.columns import POSITION_COUNT
from marginkeep.book.limits import TERMS_MAX
from marginkeep.book.watch_budget import BREACHED, CALLED, HEALTHY, file_interval
from marginkeep.book.watch_limits import HIGHEST
from marginkeep.book.watch_lists import (
    BASE_DOWN,
    BASE_UP,
    CHANGED,
    FREE_COUNT,
    JUDGED,
    NEAREST_DOWN,
    NEAREST_UP,
    NODE,
    NOTHING,
    PENDING,
    SETTLED,
    SPARE_SHARE,
    VARIABLE_WIDTH,
    buckets_for,
    collect_all,
    reset_lists,
)
from marginkeep.book.watch_report import Changes, WatchCounters, contradiction
from marginkeep.book.watch_tables import changed_variables, watch_tables
from marginkeep.book.watch_tick import (
    NODES_NEEDED,
    RESULT_DONE,
    RESULT_NO_NODES,
    RESULT_TOO_MANY,
    judge_all,
    passes_any,
    react,
    refresh,
    renew,
    settle_pending,
)
from marginkeep.rulebook.model import CALL, MAINTENANCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.book.columns import Book, Rows
    from marginkeep.book.valuation import Valuation

AUDIT_SLICE: Final = 64
"""Accounts compared with an exact evaluation after each tick."""

SETTLED_SHARE: Final = 384
"""One account in this many gets new triggers in one tick when more are pending; the others are judged every tick."""

SETTLED_LEAST: Final = 1_000

COLLECTED_SHARE: Final = 16
"""When the triggers of more than one account in this many are passed at once, all triggers are forgotten."""

COLLECTED_LEAST: Final = 5_000

SCANNED_SHARE: Final = 4
"""When more than one account in this many is pending, a full scan judges everybody at less cost."""

NOTED_MAX: Final = 1_000
"""Accounts that are judged later together: one by one, most of the time goes into calling the kernel."""

_NO_CHANGES: Final = Changes([], [], [])


class Watch:
    """Triggers for every account of a book."""

    def __init__(self, book: Book, valuation: Valuation) -> None:
        self._book = book
        self._valuation = valuation
        self.counters = WatchCounters()
        self._make_tables()
        self._make_lists()
        self._make_room(book.count)
        self._unpriced = bool((self._prices == 0).any())
        self._unhealed: list[int] = []
        self._noted: set[int] = set()
        self.watch_all()

    # Building --------------------------------------------------------------------------------------------------

    def _make_tables(self) -> None:
        self._levels, self._terms = watch_tables(self._valuation)
        payoffs, coins, _ = self._terms
        self._farthest = np.concatenate([payoffs[:, HIGHEST], coins[:, HIGHEST]])
        self._buckets = np.array([buckets_for(int(price)) for price in self._farthest], np.int64)
        self._prices = np.zeros(len(self._farthest), np.int64)
        self._volatility = np.ones(len(self._farthest))
        self._prices[:] = [*self._valuation.marks, *self._valuation.prices]
        self._refresh()

    def _make_lists(self) -> None:
        count = len(self._prices)
        self._variables = np.zeros((count, VARIABLE_WIDTH), np.int64)
        starts = np.concatenate([[0], np.cumsum(2 * self._buckets)])
        self._variables[:, BASE_DOWN] = starts[:-1]
        self._variables[:, BASE_UP] = starts[:-1] + self._buckets
        self._heads = np.full(int(starts[-1]), NOTHING, np.int32)
        positions = int(self._book.accounts[: self._book.count, POSITION_COUNT].sum())
        self._nodes = np.zeros(positions + positions // SPARE_SHARE + 2 * NODES_NEEDED, NODE)
        self._counters = np.zeros(7, np.int64)
        self._work = (np.zeros(2 * TERMS_MAX), np.zeros((4, 2 * TERMS_MAX), np.int64), np.zeros(10, np.int64))

    def _make_room(self, accounts: int) -> None:
        """Make the columns that have one entry an account."""
        self._first_nodes = np.full(accounts, NOTHING, np.int32)
        self._statuses = np.zeros(accounts, np.uint8)
        self._truth = np.zeros(accounts, np.uint8)
        self._marks = np.zeros(accounts, np.uint8)
        self._pending = np.zeros(accounts, np.int32)
        self._changed = np.zeros(2 * accounts + 16, np.int32)  # judged and settled in one tick: an account counts twice

    def _lists(self) -> tuple[Any, ...]:
        return self._nodes, self._heads, self._variables, self._first_nodes, self._counters

    def _owned(self) -> tuple[Any, ...]:
        return self._statuses, self._marks, self._pending, self._changed

    def _rows(self) -> tuple[Rows, Rows, Rows]:
        return self._book.accounts, self._book.positions.rows, self._book.balances.rows

    def _everything(self) -> tuple[Any, ...]:
        return (
            *(self._rows(), self._levels, self._terms, self._prices, self._volatility),
            *(self._lists(), self._work, self._owned()),
        )

    @property
    def statuses(self) -> Any:
        """One of `HEALTHY`, `CALLED` (below call) and `BREACHED` (below maintenance) for each account, uint8."""
        self._take_noted()
        return self._statuses

    @property
    def nbytes(self) -> int:
        """Bytes held on top of the book."""
        arrays = (*self._lists(), *self._owned(), self._truth, self._prices, self._volatility)
        return sum(array.nbytes for array in arrays)

    @property
    def evaluated(self) -> int:
        """How often an account's exact health has been computed so far."""
        return int(self._counters[SETTLED] + self._counters[JUDGED])

    @property
    def pending(self) -> int:
        """How many accounts are judged every tick because they have no valid triggers now."""
        return int(self._counters[PENDING])

    def watch_all(self) -> Changes:
        """Judge every account and give each its triggers."""
        self._refresh()
        self._forget_triggers()
        self._counters[CHANGED] = 0
        self._settle(0)
        return self._changes()

    def _forget_triggers(self) -> None:
        """Let every account be pending."""
        reset_lists(*self._lists(), self._farthest)
        count = self._book.count
        self._marks[:count] = 1
        self._pending[:count] = np.arange(count)
        self._counters[PENDING] = count

    # Ticks -----------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
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
        self._take_noted()
        self.counters.ticks += 1
        if self._unpriced and bool(((self._prices == 0) & (prices > 0)).any()):
            self.move_all(prices)
            return self._first_prices()
        if not self.move_all(prices) and not self._counters[PENDING]:
            self.counters.quiet_ticks += 1
            return _NO_CHANGES
        return self.look()

    def tick_valuation(self) -> Changes:
        """Take the valuation's prices in and return whose status changed."""
        return self.tick(np.array([*self._valuation.marks, *self._valuation.prices], np.int64))

    def breached(self) -> list[int]:
        """Return every account below maintenance, rising."""
        return self.ill(include_called=False)

    def is_called(self, account: int) -> bool:
        """Tell whether an account was below call, and not below maintenance, when it was last judged."""
        return bool(self.statuses[account] == CALLED)

    def is_breached(self, account: int) -> bool:
        """Tell whether an account was below maintenance when it was last judged; noted ones are judged anew anyway."""
        return account < len(self._statuses) and bool(self._statuses[account] == BREACHED)

    def ill(self, include_called: bool) -> list[int]:
        """Return every account below maintenance, or below call too, rising."""
        least = CALLED if include_called else BREACHED
        found: list[int] = np.nonzero(self.statuses[: self._book.count] >= least)[0].tolist()
        return found

    def take_unhealed(self) -> list[int]:
        """Return accounts that a command, or a liquidation that could sell nothing, has left below maintenance."""
        self._take_noted()
        unhealed, self._unhealed = self._unhealed, []
        return unhealed

    def look(self) -> Changes:
        """Evaluate the accounts whose triggers have been passed, exactly, and give them new ones."""
        count = self._book.count
        settled = max(SETTLED_LEAST, count // SETTLED_SHARE)
        collected = max(COLLECTED_LEAST, count // COLLECTED_SHARE)
        result = react(*self._everything(), collected, max(settled, count // SCANNED_SHARE), settled)
        if result == RESULT_NO_NODES:
            self._settle(max(0, self.pending - settled))
        elif result != RESULT_DONE:
            if result == RESULT_TOO_MANY:
                self._forget_triggers()
            self._scan()
            self._settle(max(0, self.pending - settled) if result != RESULT_TOO_MANY else self.pending)
        return self._changes()

    def _scan(self) -> None:
        """Judge everybody by the scan that is the watch's reference."""
        count = self._book.count
        self.counters.full_scans += 1
        self._counters[JUDGED] += count
        collateral, requirement = k.measure_all(self._book, self._valuation, CALL)
        called = collateral < requirement
        collateral, requirement = k.measure_all(self._book, self._valuation, MAINTENANCE)
        truth = np.where(collateral < requirement, BREACHED, np.where(called, CALLED, HEALTHY))
        found = np.nonzero((truth != self._statuses[:count]) | (truth == BREACHED))[0]
        self._changed[: len(found)] = found
        self._counters[CHANGED] = len(found)
        self._statuses[:count] = truth

    def _settle(self, keep: int) -> None:
        """Give pending accounts new triggers until `keep` are left, growing the store of nodes whenever it runs out."""
        while not settle_pending(*self._everything(), keep):
            self._grow_nodes()

    def _changes(self) -> Changes:
        """Return whose status changed since the last call, each account once, in order."""
        count = int(self._counters[CHANGED])
        if count == 0:
            return _NO_CHANGES
        accounts = np.unique(self._changed[:count])
        self._counters[CHANGED] = 0
        self.counters.useful += len(accounts)
        statuses = self._statuses[accounts]
        return Changes(*(accounts[statuses == status].tolist() for status in (BREACHED, CALLED, HEALTHY)))

    def _first_prices(self) -> Changes:
        """Begin anew: accounts had no triggers on variables that had no price, and these no pair to value them by."""
        self._make_tables()
        self._unpriced = bool((self._prices == 0).any())
        return self.watch_all()

    # Changes to accounts, rules, funding -----------------------------------------------------------------------

    def note(self, accounts: Iterable[int]) -> None:
        """Do as `update`, but later: before the next price, or when somebody asks."""
        self._noted.update(accounts)
        if len(self._noted) >= NOTED_MAX:
            self._take_noted()

    def _take_noted(self) -> None:
        if self._noted:
            noted, self._noted = sorted(self._noted), set()
            self.update(noted)

    def update(self, accounts: Iterable[int]) -> Changes:
        """Judge accounts that a command has changed and give them new triggers; new accounts are taken in."""
        if self._book.count > len(self._first_nodes):
            self._take_in_new_accounts()
        pending = self.pending
        if not renew(*self._everything(), np.fromiter(accounts, np.int32)):
            self._settle(pending)
        changes = self._changes()
        self._unhealed += changes.breached
        return changes

    def _take_in_new_accounts(self) -> None:
        old, new = len(self._first_nodes), self._book.count
        room = max(new, old + old // 4 + 16)
        for name in ("_first_nodes", "_statuses", "_truth", "_marks", "_pending", "_changed"):
            array = getattr(self, name)
            grown = np.full(
                2 * room + 16 if name == "_changed" else room, NOTHING if name == "_first_nodes" else 0, array.dtype
            )
            grown[: len(array)] = array
            setattr(self, name, grown)

    def file_interval(self, account: int, variable: int, low: int, high: int) -> None:
        """Have an account judged anew as soon as a price leaves [low, high], besides its own triggers.

        This is how accounts whose health is not a sum of terms concave in one price join (options, scenario margin):
        whoever can bound their health from below on an interval of each variable files these intervals after each
        verdict. They last until the account is judged again.

        Parameters
        ----------
        variable : a market's index, or the number of markets plus an asset's index
        low, high : ticks, both included
        """
        if self._counters[FREE_COUNT] < NODES_NEEDED:
            self._grow_nodes()
        file_interval(low, high, 0, int(self._farthest[variable]), *self._lists(), account, variable)

    def funding_moved(self, market: int) -> Changes:
        """Judge everybody who holds a market anew after its funding index has moved."""
        self._take_noted()
        for markets, _, _ in self._levels:
            markets[market, k.LONG_INDEX] = self._valuation.funding[market]
            markets[market, k.SHORT_INDEX] = self._valuation.funding_short[market]
        return self.reexamine([market])

    def adopt(self, valuation: Valuation) -> Changes:
        """Take other rules in: accounts that hold a changed market or asset are judged anew, the others keep theirs."""
        self._take_noted()
        old_levels, old_terms = self._levels, self._terms
        self._valuation = valuation
        self._make_tables()
        self._unpriced = bool((self._prices == 0).any())
        touched = changed_variables(old_levels, old_terms, self._levels, self._terms)
        if touched is None:
            self._make_lists()
            return self.watch_all()
        return self.reexamine(touched)

    def reexamine(self, variables: Iterable[int]) -> Changes:
        """Judge every account that has a trigger on one of these variables anew, and all that are pending."""
        self._refresh()
        nodes, heads, table, _, counters = self._lists()
        for variable in variables:
            buckets = int(self._buckets[variable])
            collect_all(nodes, heads, table, variable, buckets, self._marks, self._pending, counters)
        self._settle(0)
        return self._changes()

    def _grow_nodes(self) -> None:
        old = len(self._nodes)
        nodes = np.zeros(old + max(4 * NODES_NEEDED, old // 16), NODE)
        nodes[:old] = self._nodes
        self._counters[FREE_COUNT] += len(nodes) - old
        self._nodes = nodes

    # Self-check ------------------------------------------------------------------------------------------------

    def audit_slice(self, accounts: int = AUDIT_SLICE) -> str:
        """Compare the next few accounts with an exact evaluation; return what is wrong, or nothing."""
        self._take_noted()
        count = self._book.count
        begin = self.counters.audit_position if self.counters.audit_position < count else 0
        end = min(count, begin + accounts)
        self._refresh()
        judge_all(self._rows(), begin, end, self._levels, self._truth)
        self.counters.audited += end - begin
        self.counters.audit_position = end
        if self._truth[begin:end].tobytes() == self._statuses[begin:end].tobytes():
            return ""
        account = begin + int(np.argmax(self._truth[begin:end] != self._statuses[begin:end]))
        return contradiction(self._book, self._valuation, account, int(self._statuses[account]))

    def true_statuses(self) -> Any:
        """Return what a full exact scan says, uint8[accounts]: the reference for tests."""
        self._take_noted()
        self._refresh()
        judge_all(self._rows(), 0, self._book.count, self._levels, self._truth)
        return self._truth
