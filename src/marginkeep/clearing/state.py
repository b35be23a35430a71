"""Everything the clearinghouse knows. It changes only by committing a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from marginkeep.book.account import SYSTEM, Account
from marginkeep.book.columns import AMOUNT, ASSET, COST, MARKET, SIZE, Book, totals_by
from marginkeep.book.limits import prove_limits
from marginkeep.book.scan import WATCH_FROM
from marginkeep.book.valuation import Valuation
from marginkeep.clearing.opening import Opening
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.rulebook import Rulebook, build_tables, rulebook_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.book.limits import Limits
    from marginkeep.book.watch import Watch
    from marginkeep.clearing.auction_room import AuctionRoom
    from marginkeep.clearing.funding_rates import FundingMachine
    from marginkeep.clearing.ill import Ill
    from marginkeep.liquidation.insurance import Fund
    from marginkeep.oracle.oracle import Oracle
    from marginkeep.rulebook import Tables
    from marginkeep.rulebook.limit_rules import PositionRules

EXTERNAL: Final = "external"
"""Counterparty of users who watch only their own account."""

LIQUIDATOR: Final = "liquidator"
"""Takes over what is liquidated, and its share of penalties."""

OUTSIDE: Final = "outside"
"""Ledger account: the world; its balance is withdrawals minus deposits."""

FEES: Final = "fees"
INSURANCE_FUND: Final = "insurance_fund"
BAD_DEBT: Final = "bad_debt"
"""Ledger account: minus what accounts lost beyond their collateral and nobody has paid for yet."""

RESERVED_NAMES: Final = (OUTSIDE, FEES, INSURANCE_FUND, BAD_DEBT)
"""Ledger accounts that no user's account may be named after; the prefixes below contain ':', which none may."""

SETTLEMENT: Final = "settlement:"
"""Prefix: one ledger account a market, the mirror of its open costs (balance = -sum of costs)."""

FUNDING: Final = "funding:"
"""Prefix: one ledger account a market, between those who paid funding and those not yet paid."""

FUND: Final = "fund:"
"""Prefix: one ledger account for each insurance fund of a pool of markets; the last fund is `INSURANCE_FUND`."""


class Order(msgspec.Struct, frozen=True, gc=False):
    """What is left of an open order: `cost` is that of its complete fill at its price, in settle units."""

    market: int
    is_buy: bool
    size: int
    price: int
    cost: int


class State:
    """The fold of all commands so far.

    Attributes
    ----------
    book, names, index : accounts as columns; name by index and index by name
    valuation : prices and funding indices
    ledger : (ledger account, asset) -> balance; accounts' own balances are in the book
    orders : account -> order id -> what is left of it
    open_interest : lots that longs hold, by market, which are those that shorts hold; the sum of what the book holds
    funding_machines : market -> what makes its funding, where the rulebook has rules for it; in order of the markets
    position_rules : market -> limits of positions, where the rulebook has some
    funding_dust : 10^-9 parts that rounding of funding kept back, by market
    funds : ledger account -> what that insurance fund has paid today, for funds that have paid
    moved : markets whose funding index a loss has moved and whose holders must be looked at; empty between commands
    oracle : makes prices out of quotes, where the rulebook has oracle rules
    opening : measures accounts for opening at the oracle's prices; derived from the rest
    ill : account -> where it stands on the ladder, for accounts that are not healthy
    auction_room : who may begin an auction within the present command; derived from the rest
    liquidators : accounts that may bid in auctions
    closed_lots : market -> start of an interval, and the lots that forced closes took in it
    served : index of the account on the ladder that was served last: budgets are shared in rotation from there
    called : account -> names whose price or state keeps it from being liquidated though it is below maintenance
    halted : why only risk-reducing commands are accepted; empty in normal times
    watch : triggers of all accounts, once the book is large; derived from the rest, so not part of the state
    watch_from : accounts from which the watch is kept
    """

    __slots__ = (
        "_owners",
        "auction_room",
        "book",
        "called",
        "closed_lots",
        "funding_dust",
        "funding_machines",
        "funds",
        "halted",
        "ill",
        "index",
        "ledger",
        "limits",
        "liquidators",
        "moved",
        "names",
        "now_ns",
        "open_interest",
        "opening",
        "oracle",
        "orders",
        "position_rules",
        "rulebook",
        "rulebook_hash",
        "sequence",
        "served",
        "tables",
        "valuation",
        "watch",
        "watch_from",
    )

    def __init__(self, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self.rulebook_hash = rulebook_hash(rulebook)
        self.tables = build_tables(rulebook)
        self.limits = prove_limits(self.tables)
        self.valuation = Valuation(self.tables)
        self.book = Book()
        self.names: list[str] = []
        self._owners: dict[str, list[int]] | None = None
        self.index: dict[str, int] = {}
        self.ledger: dict[tuple[str, int], int] = {}
        self.orders: dict[int, dict[str, Order]] = {}
        self.funding_dust = [0] * len(self.tables.markets)
        self.open_interest = [0] * len(self.tables.markets)
        self.funds: dict[str, Fund] = {}
        self.moved: list[int] = []
        self.now_ns = 0
        self.sequence = 0
        self.served = -1
        self.halted = ""
        self.oracle = make_oracle(self.tables, self.limits)
        self.funding_machines = make_funding_machines(self.tables)
        self.position_rules = rules_of_positions(self.tables)
        self.opening = Opening(self.oracle, self.valuation) if self.oracle else None
        self.called: dict[str, tuple[str, ...]] = {}
        self.ill: dict[str, Ill] = {}
        self.liquidators: set[str] = set()
        self.auction_room: AuctionRoom | None = None
        self.closed_lots: dict[int, tuple[int, int]] = {}
        self.watch: Watch | None = None
        self.watch_from = WATCH_FROM

    @classmethod
    def empty(cls, rulebook: Rulebook) -> State:
        """Return a state with only the two system accounts."""
        state = cls(rulebook)
        for name in (EXTERNAL, LIQUIDATOR):
            state.add_account(name, Account(mode=SYSTEM))
        return state

    @classmethod
    def opened_with(cls, rulebook: Rulebook, book: Book, names: Sequence[str]) -> State:
        """Return a state that starts from a given book, whose sizes sum to zero in every market.

        The ledger is opened to match: deposits are what the balances sum to, settlement accounts mirror open costs.
        """
        state = cls(rulebook)
        state.book = book
        state.names = list(names)
        state.index = {name: index for index, name in enumerate(state.names)}
        state.open_ledger()
        state.count_open_interest()
        return state

    def open_ledger(self) -> None:
        """Set the ledger accounts that balance the book as it stands."""
        for asset, total in self.balance_totals().items():
            self.ledger[OUTSIDE, asset] = self.ledger.get((OUTSIDE, asset), 0) - total
        for market, cost in self.cost_totals().items():
            table = self.tables.markets[market]
            self.ledger[SETTLEMENT + table.name, table.settle] = -cost
            key = (OUTSIDE, table.settle)
            self.ledger[key] = self.ledger.get(key, 0) + cost

    def count_open_interest(self) -> None:
        """Count what longs hold in each market; from then on every fill keeps it."""
        rows = self.book.position_rows()
        self.open_interest = totals_by(rows[:, MARKET], np.maximum(rows[:, SIZE], 0), len(self.tables.markets))

    def add_account(self, name: str, account: Account) -> int:
        """Add an account under a new name and return its index."""
        index = self.book.add(account)
        self.names.append(name)
        self.index[name] = index
        if self._owners is not None:
            self._owners.setdefault(owner_of(name), []).append(index)
        return index

    def accounts_of(self, owner: str) -> list[int]:
        """Return the indices of an owner's accounts, rising; who owns what is derived when first asked for."""
        if self._owners is None:
            self._owners = {}
            for index, name in enumerate(self.names):
                self._owners.setdefault(owner_of(name), []).append(index)
        return self._owners.get(owner, [])

    def balance_totals(self) -> dict[int, int]:
        """Return asset -> sum over all accounts' balances."""
        rows = self.book.balance_rows()
        return _nonzero(totals_by(rows[:, ASSET], rows[:, AMOUNT], len(self.tables.assets)))

    def cost_totals(self) -> dict[int, int]:
        """Return market -> sum over all accounts' open costs."""
        return self._position_totals(COST)

    def size_totals(self) -> dict[int, int]:
        """Return market -> sum over all accounts' sizes; always 0, so always empty."""
        return self._position_totals(SIZE)

    def _position_totals(self, column: int) -> dict[int, int]:
        rows = self.book.position_rows()
        return _nonzero(totals_by(rows[:, MARKET], rows[:, column], len(self.tables.markets)))


def make_oracle(tables: Tables, limits: Limits) -> Oracle | None:
    """Return the oracle that a rulebook asks for, bounded by what the books can hold."""
    if tables.rulebook.oracle is None:
        return None
    from marginkeep.oracle.oracle import Oracle

    markets = [(limit.min_price, limit.max_price) for limit in limits.markets]
    return Oracle(tables, markets, [(1, limit.max_price) for limit in limits.assets])


def make_funding_machines(tables: Tables) -> dict[int, FundingMachine]:
    """Return a machine for each market that the rulebook has funding rules for, by index, rising."""
    rules = {tables.market_index[one.market]: one for one in tables.rulebook.funding}
    if not rules:
        return {}
    from marginkeep.clearing.funding_rates import FundingMachine

    return {index: FundingMachine(rules[index]) for index in sorted(rules)}


def rules_of_positions(tables: Tables) -> dict[int, PositionRules]:
    """Return the limits of positions by market index."""
    return {tables.market_index[one.market]: one for one in tables.rulebook.limits}


def _nonzero(totals: list[int]) -> dict[int, int]:
    return {index: total for index, total in enumerate(totals) if total}
