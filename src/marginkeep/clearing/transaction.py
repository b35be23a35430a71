"""One command in the making: changes are staged on copies, then committed together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from marginkeep.book.account import ISOLATED, NO_PARENT, SYSTEM, Account, Position
from marginkeep.book.fills import Fill, book_funding, fill_position
from marginkeep.book.health import measure
from marginkeep.book.limits import TERMS_MAX
from marginkeep.clearing.events import AccountOpened, Event, Posting
from marginkeep.clearing.state import FEES, FUNDING, INSURANCE_FUND, SETTLEMENT, Order, State
from marginkeep.margin.solvency import Measure, does_not_worsen
from marginkeep.rulebook.model import INITIAL, MAINTENANCE
from marginkeep.units import INT64_SAFE, RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.oracle.oracle import Movement
    from marginkeep.oracle.price_seen import PriceSeen
    from marginkeep.rulebook import AssetTable, MarketTable


class Refusal(Exception):
    """Ends a transaction without effect; never leaves the clearing floor."""

    def __init__(self, code: str, reason: str, prices: tuple[PriceSeen, ...] = (), **numbers: int) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.prices = prices
        self.numbers = numbers


def refuse(code: str, reason: str, prices: tuple[PriceSeen, ...] = (), **numbers: int) -> NoReturn:
    """End the transaction without effect."""
    raise Refusal(code, reason, prices, **numbers)


class Transaction:
    """Copies of what a command touches, and the postings it has made so far.

    Attributes
    ----------
    movement : what the oracle has changed, where the command moved it
    funded : markets whose funding index it has moved

    Parameters
    ----------
    shared : accounts that many transactions in a row change, such as the liquidator's in a crash: they are changed in
        place, and whoever shares them writes them at the end. Nothing that may be refused may touch them
    """

    __slots__ = (
        "_accounts",
        "_dust",
        "_interest",
        "_ledger",
        "_orders",
        "_remembered",
        "_shared",
        "events",
        "funded",
        "movement",
        "opened",
        "postings",
        "state",
    )

    def __init__(self, state: State, shared: Mapping[str, Account] | None = None) -> None:
        self.state = state
        self._shared = shared or {}
        self.events: list[Event] = []
        self.postings: list[Posting] = []
        self.opened: list[str] = []
        self.movement: Movement | None = None
        self.funded: list[int] = []
        self._accounts: dict[str, Account] = {}
        self._remembered: set[str] = set()
        self._ledger: dict[tuple[str, int], int] = {}
        self._orders: dict[tuple[str, str], Order | None] = {}
        self._dust: dict[int, int] = {}
        self._interest: dict[int, int] = {}

    # Looking up ------------------------------------------------------------------------------------------------

    def account(self, name: str) -> Account:
        """Return the staged copy of an account; refuse an unknown name."""
        account = self._accounts.get(name) or self._shared.get(name)
        if account is None:
            index = self.state.index.get(name)
            if index is None:
                refuse("unknown_account", f"account {name!r} does not exist: deposit into it first")
            account = self._accounts[name] = self.state.book.read(index)
        return account

    def look(self, name: str) -> Account:
        """Return an existing account as staged, to be read only: it does not become part of the transaction."""
        return self._accounts.get(name) or self.state.book.read(self.state.index[name])

    def user_account(self, name: str) -> Account:
        """Return the staged copy of an account that people own; refuse system accounts."""
        account = self.account(name)
        if account.mode == SYSTEM:
            refuse("system_account", f"{name!r} is a system account: it has no owner to act for it")
        return account

    def has_account(self, name: str) -> bool:
        """Tell whether an account exists or was opened in this transaction."""
        return name in self._accounts or name in self.state.index

    def open_account(self, name: str, account: Account) -> Account:
        """Stage a new account."""
        self._accounts[name] = account
        self.opened.append(name)
        mode = "isolated" if account.mode == ISOLATED else "cross"
        self.events.append(AccountOpened(account=name, mode=mode))
        return account

    def open_isolated(self, owner: str, market: MarketTable) -> str:
        """Return the name of an owner's isolated account of a market, opening it if it is new."""
        if self.user_account(owner).mode == ISOLATED:
            refuse("isolated_account", f"{owner!r} is itself isolated: name its owner")
        name = f"{owner}/{market.name}"
        if not self.has_account(name):
            parent = self.state.index.get(owner, NO_PARENT)
            self.open_account(name, Account(mode=ISOLATED, parent=parent))
        return name

    def asset(self, name: str) -> AssetTable:
        """Return an asset's table; refuse an unknown name."""
        index = self.state.tables.asset_index.get(name)
        if index is None:
            refuse("unknown_asset", f"asset {name!r} is not in the rulebook")
        return self.state.tables.assets[index]

    def market(self, name: str) -> MarketTable:
        """Return a market's table; refuse an unknown name."""
        index = self.state.tables.market_index.get(name)
        if index is None:
            refuse("unknown_market", f"market {name!r} is not in the rulebook")
        return self.state.tables.markets[index]

    def marked_market(self, name: str) -> MarketTable:
        """Return a market's table; refuse one that cannot be valued yet."""
        market = self.market(name)
        valuation = self.state.valuation
        if not valuation.marks[market.index]:
            refuse("no_price", f"market {name} has no mark price yet: set one first")
        if not valuation.prices[market.settle]:
            refuse("no_price", f"asset {market.market.settle}, in which {name} settles, has no price yet")
        return market

    # Money -----------------------------------------------------------------------------------------------------

    def post(self, asset: int, source: str, target: str, amount: int, reason: str) -> None:
        """Move an amount (negative = the other way) between two accounts or ledger accounts."""
        if amount == 0:
            return
        if amount < 0:
            source, target, amount = target, source, -amount
        self._add(source, asset, -amount)
        self._add(target, asset, amount)
        self.postings.append(Posting(self.state.tables.assets[asset].name, source, target, amount, reason))

    def _add(self, name: str, asset: int, amount: int) -> None:
        account = self._accounts.get(name) or self._shared.get(name)
        if account is None:
            if name not in self.state.index:
                self._add_to_ledger(name, asset, amount)
                return
            account = self.account(name)
        balance = account.balances.get(asset, 0) + amount
        bound = self.state.limits.assets[asset].max_balance
        if abs(balance) > (INT64_SAFE if account.mode == SYSTEM else bound):
            refuse("limit", f"{name} would hold {balance} units, beyond max_balance {bound}", bound=bound)
        account.balances[asset] = balance

    def _add_to_ledger(self, name: str, asset: int, amount: int) -> None:
        key = (name, asset)
        balance = self._ledger.get(key)
        balance = (self.state.ledger.get(key, 0) if balance is None else balance) + amount
        if abs(balance) > INT64_SAFE:
            refuse("limit", f"{name} would hold {balance} units, beyond the bound", bound=INT64_SAFE)
        self._ledger[key] = balance

    def ledger_balance(self, name: str, asset: int) -> int:
        """Return a ledger account's balance as staged."""
        return self._ledger.get((name, asset), self.state.ledger.get((name, asset), 0))

    # Positions -------------------------------------------------------------------------------------------------

    def position(self, name: str, market: MarketTable) -> Position:
        """Return the staged position of an account in a market, with funding booked up to now."""
        account = self.account(name)
        position = account.positions.get(market.index)
        index = self.state.valuation.funding_index(market.index, position.size if position else 0)
        if position is None:
            if account.mode != SYSTEM and len(account.positions) + len(account.balances) >= TERMS_MAX:
                refuse("limit", f"{name} has {TERMS_MAX} positions and balances, the most allowed", bound=TERMS_MAX)
            position = account.positions[market.index] = Position(funding_entry=index)
        self._settle_funding(name, market, position, index)
        return position

    def _settle_funding(self, name: str, market: MarketTable, position: Position, index: int) -> None:
        if position.funding_entry == index:
            return
        paid, dust = book_funding(position, index)
        self.post(market.settle, FUNDING + market.name, name, paid, "funding")
        self.keep_funding_dust(market, dust)

    @property
    def has_booked_funding(self) -> bool:
        """Whether a position's funding was booked, and with it what the account is worth rounded anew."""
        return bool(self._dust)

    def keep_funding_dust(self, market: MarketTable, dust: int) -> None:
        """Keep 10^-9 parts that rounding has left in a market's funding account; whole units go to the fund."""
        total = self._dust.get(market.index, self.state.funding_dust[market.index]) + dust
        whole = total // RATE_ONE
        self._dust[market.index] = total - whole * RATE_ONE
        self.post(market.settle, FUNDING + market.name, INSURANCE_FUND, whole, "rounding of funding")

    def fill(self, name: str, market: MarketTable, size: int, price: int) -> Fill:
        """Trade `size` lots for an account: position, cost, realised profit; fees are the caller's."""
        position = self.position(name, market)
        before = position.size
        fill = fill_position(market, position, size, price)
        # From here on it follows the index of the side it is on now; funding has just been booked on the other.
        position.funding_entry = self.state.valuation.funding_index(market.index, position.size)
        longs = (position.size if position.size > 0 else 0) - (before if before > 0 else 0)
        if longs:
            self._interest[market.index] = self._interest.get(market.index, 0) + longs
        if fill.realised:
            self.post(market.settle, SETTLEMENT + market.name, name, fill.realised, "realised profit")
        return fill

    def open_interest(self, market: int) -> int:
        """Return a market's open interest in lots, as staged."""
        return self.state.open_interest[market] + self._interest.get(market, 0)

    def post_dust(self, market: MarketTable, dust: int) -> None:
        """Give what rounding both costs of a trade up has left to the insurance fund."""
        if dust:
            self.post(market.settle, SETTLEMENT + market.name, INSURANCE_FUND, dust, "rounding of a trade")

    def charge_fee(self, name: str, market: MarketTable, fee: int) -> None:
        """Take a fee (negative = pay a rebate)."""
        self.post(market.settle, name, FEES, fee, "fee")

    # Orders ----------------------------------------------------------------------------------------------------

    def order(self, account: str, order: str) -> Order | None:
        """Return what is left of an open order, as staged."""
        key = (account, order)
        if key in self._orders:
            return self._orders[key]
        return self.state.orders.get(self.state.index.get(account, NO_PARENT), {}).get(order)

    def open_orders(self, account: str) -> dict[str, Order]:
        """Return an account's open orders by id, as staged, in the order of their ids: a restart must not change it."""
        orders = dict(self.state.orders.get(self.state.index.get(account, NO_PARENT), {}))
        for (name, key), order in self._orders.items():
            if name == account:
                orders.pop(key, None)
                if order is not None:
                    orders[key] = order
        return dict(sorted(orders.items()))

    def count_orders(self, account: str) -> int:
        """Return how many open orders an account has, as staged."""
        if self._orders:
            return len(self.open_orders(account))
        return len(self.state.orders.get(self.state.index.get(account, NO_PARENT), ()))

    def set_order(self, account: str, key: str, order: Order | None) -> None:
        """Replace what is left of an order, and the reserve in its position with it."""
        before = self.order(account, key)
        for sign, item in ((-1, before), (1, order)):
            if item is None:
                continue
            position = self.account(account).positions.setdefault(
                item.market, Position(funding_entry=self.state.valuation.funding[item.market])
            )
            if item.is_buy:
                position.bid_size += sign * item.size
                position.bid_cost += sign * item.cost
            else:
                position.ask_size += sign * item.size
                position.ask_cost += sign * item.cost
        self._orders[account, key] = order

    # Solvency --------------------------------------------------------------------------------------------------

    def remember(self, name: str) -> None:
        """Note that an account may pass `require_solvent` by not getting worse than the book has it now."""
        self.account(name)
        self._remembered.add(name)

    def before(self, name: str) -> Account:
        """Return an account as it was before the transaction, to be read only; an empty one if it was opened in it."""
        index = self.state.index.get(name)
        return Account() if index is None else self.state.book.read(index)

    def initial(self, name: str, action: str = "open") -> Measure:
        """Measure an account as staged at the initial level, see `measure_initial`."""
        return self.measure_initial(self.account(name), action)

    def measure_initial(self, account: Account, action: str = "open") -> Measure:
        """Measure at the initial level: at the worse of mark and stable price, where an oracle has one.

        Where the rulebook scales initial margin with open interest, that after the transaction counts.
        """
        state = self.state
        if state.opening is None:
            measured = measure(account, state.valuation, INITIAL)
        else:
            measured = state.opening.measure(account, action)
        if not state.position_rules or account.mode == SYSTEM:
            return measured
        from marginkeep.clearing.interest_margin import interest_requirement

        added = interest_requirement(self, account)
        return Measure(measured.collateral, measured.requirement + added) if added else measured

    def worse_prices(self, name: str, action: str = "open") -> tuple[PriceSeen, ...]:
        """Return the evidence of prices that make initial margin dearer than they make maintenance."""
        if self.state.opening is None:
            return ()
        return self.state.opening.evidence(self.account(name), action, self.state.now_ns)

    def require_solvent(self, name: str, what: str, action: str = "open") -> int:
        """Refuse unless initial margin holds, or the account is not made worse; return the free initial health.

        Parameters
        ----------
        action : whose row of the rulebook says which prices count: ``open`` or ``withdraw``
        """
        account = self.account(name)
        initial = self.initial(name, action)
        if account.mode == SYSTEM or (initial.health >= 0 and not self.state.halted):
            return initial.health
        if name in self._remembered and self._does_not_worsen(name):
            return initial.health
        self.refuse_if_halted(what)
        refuse(
            "insufficient_margin",
            f"{what} would leave {name} {-initial.health} units short of its initial requirement: "
            f"deposit at least that, or make it smaller",
            self.worse_prices(name, action),
            missing=-initial.health,
            collateral=initial.collateral,
            requirement=initial.requirement,
        )

    def _does_not_worsen(self, name: str) -> bool:
        """Tell whether an account is no worse at maintenance than before; rarely asked, so measured only then."""
        valuation = self.state.valuation
        before = measure(self.before(name), valuation, MAINTENANCE)
        return does_not_worsen(before, measure(self.account(name), valuation, MAINTENANCE))

    def refuse_if_halted(self, what: str) -> None:
        """Refuse a command that adds risk while the clearinghouse is halted."""
        if self.state.halted:
            refuse("halted", f"{what} adds risk, and risk may only be reduced: {self.state.halted}")

    # The end ---------------------------------------------------------------------------------------------------

    def take_postings(self) -> tuple[Posting, ...]:
        """Return the postings made since the last call, for the event that explains them."""
        postings = tuple(self.postings)
        self.postings = []
        return postings

    def touched(self) -> list[int]:
        """Return the indices of the accounts it has changed, rising; to be asked after `commit`."""
        return sorted(self.state.index[name] for name in self._accounts)

    def commit(self) -> tuple[Event, ...]:
        """Write every staged change and return the events."""
        state = self.state
        for name in self.opened:
            state.add_account(name, self._accounts[name])
        for name, account in self._accounts.items():
            state.book.write(state.index[name], account)
        state.ledger.update(self._ledger)
        for market, lots in self._interest.items():
            state.open_interest[market] += lots
        for market, dust in self._dust.items():
            state.funding_dust[market] = dust
        for (name, key), order in self._orders.items():
            orders = state.orders.setdefault(state.index[name], {})
            orders.pop(key, None)
            if order is not None:
                orders[key] = order
            elif not orders:
                del state.orders[state.index[name]]
        return tuple(self.events)
