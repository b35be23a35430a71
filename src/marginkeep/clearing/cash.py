"""Money in, out and between accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.account import CROSS, ISOLATED, Account
from marginkeep.clearing.events import BalanceMoved, ModeChanged
from marginkeep.clearing.funds import ledger_of, receive
from marginkeep.clearing.gates import require_action, require_withdrawable
from marginkeep.clearing.loss_events import BadDebtRepaid
from marginkeep.clearing.state import INSURANCE_FUND, OUTSIDE, RESERVED_NAMES
from marginkeep.clearing.transaction import Transaction, refuse
from marginkeep.clearing.waterfall import require_no_shortfall

if TYPE_CHECKING:
    from marginkeep.clearing.commands import (
        AddMargin,
        ChangeMode,
        Deposit,
        RemoveMargin,
        TopUpFund,
        Transfer,
        Withdraw,
    )
    from marginkeep.rulebook import AssetTable, MarketTable


def deposit(tx: Transaction, command: Deposit) -> None:
    """Book a deposit, opening the account if it is new."""
    asset = tx.asset(command.asset)
    _require_positive(command.amount)
    if not tx.has_account(command.account):
        if "/" in command.account or ":" in command.account:
            refuse("bad_name", f"account name {command.account!r} contains '/' or ':', which name sub-accounts")
        if command.account in RESERVED_NAMES:
            refuse("bad_name", f"{command.account!r} names a ledger account: choose another")
        tx.open_account(command.account, Account(mode=CROSS))
    if tx.user_account(command.account).mode == ISOLATED:
        refuse("isolated_account", f"{command.account!r} is isolated: add margin to it from its owner")
    _move(tx, "deposit", asset, OUTSIDE, command.account, command.amount)


def withdraw(tx: Transaction, command: Withdraw) -> None:
    """Book a withdrawal, if initial margin holds without it."""
    asset = tx.asset(command.asset)
    if tx.user_account(command.account).mode == ISOLATED:
        refuse("isolated_account", f"{command.account!r} is isolated: return its margin to its owner first")
    require_no_shortfall(tx, asset, "the withdrawal")
    _take(tx, "withdrawal", asset, command.account, OUTSIDE, command.amount)


def transfer(tx: Transaction, command: Transfer) -> None:
    """Move an amount between two cross accounts."""
    asset = tx.asset(command.asset)
    if command.source == command.target:
        refuse("same_account", f"source and target are both {command.source!r}")
    for name in (command.source, command.target):
        if tx.user_account(name).mode == ISOLATED:
            refuse("isolated_account", f"{name!r} is isolated: use add_margin or remove_margin")
    require_no_shortfall(tx, asset, "the transfer")
    _take(tx, "transfer", asset, command.source, command.target, command.amount)


def add_margin(tx: Transaction, command: AddMargin) -> None:
    """Assign collateral to an isolated position."""
    market = tx.market(command.market)
    child = tx.open_isolated(command.account, market)
    _take(tx, "margin added", _settle(tx, market), command.account, child, command.amount)


def remove_margin(tx: Transaction, command: RemoveMargin) -> None:
    """Return collateral of an isolated position to its owner."""
    market = tx.market(command.market)
    child = f"{command.account}/{market.name}"
    tx.user_account(command.account)
    _take(tx, "margin removed", _settle(tx, market), child, command.account, command.amount)


def top_up_fund(tx: Transaction, command: TopUpFund) -> None:
    """Bring money into an insurance fund; where the rulebook has a ladder, it repays open bad debt first."""
    _require_positive(command.amount)
    asset, fund = tx.asset(command.asset), _fund_named(tx, command.fund)
    if tx.state.rulebook.ladder is None:
        _move(tx, "fund top-up", asset, OUTSIDE, fund, command.amount)
        return
    repaid = receive(tx, asset.index, OUTSIDE, fund, command.amount, "fund top-up")
    _tell_moved(tx, "fund top-up", asset, OUTSIDE, fund, command.amount)
    if repaid:
        tx.events.append(BadDebtRepaid(asset=asset.name, fund=fund, amount=repaid))


def _fund_named(tx: Transaction, name: str | None) -> str:
    """Return a fund's ledger account; the last fund where none is named."""
    ladder = tx.state.rulebook.ladder
    for rules in ladder.funds if ladder else ():
        if rules.name == name:
            return ledger_of(rules)
    if name is not None:
        refuse("unknown_fund", f"fund {name!r} is not in the rulebook's ladder: leave it out for the last fund")
    return INSURANCE_FUND


def change_mode(tx: Transaction, command: ChangeMode) -> None:
    """Move a position, its orders and its margin between cross and isolated."""
    market = tx.marked_market(command.market)
    what = f"changing {market.name} to {command.mode}"
    require_action(tx, "withdraw", market, what)
    child = tx.open_isolated(command.account, market)
    if command.mode == "isolated":
        require_withdrawable(tx, command.account, what)
        _isolate(tx, command, market, child)
    else:
        _merge(tx, command, market, child)
    for name in (command.account, child):
        tx.require_solvent(name, what, "withdraw")
    tx.events.append(
        ModeChanged(
            account=command.account,
            market=market.name,
            mode=command.mode,
            margin=command.margin,
            postings=tx.take_postings(),
        )
    )


def _isolate(tx: Transaction, command: ChangeMode, market: MarketTable, child: str) -> None:
    if command.margin < 0:
        refuse("bad_amount", f"margin is {command.margin}: it must not be negative")
    if market.index in tx.account(child).positions:
        refuse("position_exists", f"{child} already holds a position: close or merge it first")
    if tx.account(command.account).balances.get(market.settle, 0) < command.margin:
        held = tx.account(command.account).balances.get(market.settle, 0)
        refuse("insufficient_balance", f"{command.account} holds {held} units, margin is {command.margin}", held=held)
    _move_position(tx, market, command.account, child)
    tx.post(market.settle, command.account, child, command.margin, "margin added")


def _merge(tx: Transaction, command: ChangeMode, market: MarketTable, child: str) -> None:
    if market.index in tx.account(command.account).positions:
        refuse("position_exists", f"{command.account} holds a cross position in {market.name}: close it first")
    if command.margin:
        refuse("bad_amount", "margin must be 0: merging returns all margin to the owner")
    _move_position(tx, market, child, command.account)
    for asset, amount in sorted(tx.account(child).balances.items()):
        tx.post(asset, child, command.account, amount, "margin removed")


def _move_position(tx: Transaction, market: MarketTable, source: str, target: str) -> None:
    if market.index not in tx.account(source).positions:
        refuse("no_position", f"{source} has neither position nor orders in {market.name}")
    for name in (source, target):
        tx.remember(name)
    orders = {key: order for key, order in tx.open_orders(source).items() if order.market == market.index}
    for key in orders:
        tx.set_order(source, key, None)
    position = tx.position(source, market)
    del tx.account(source).positions[market.index]
    tx.account(target).positions[market.index] = position
    for key, order in orders.items():
        if tx.order(target, key) is not None:
            refuse("duplicate_order", f"{target} already has an order {key!r}: release one of them first")
        tx.set_order(target, key, order)


def _settle(tx: Transaction, market: MarketTable) -> AssetTable:
    return tx.state.tables.assets[market.settle]


def _take(tx: Transaction, what: str, asset: AssetTable, source: str, target: str, amount: int) -> None:
    """Move an amount out of an account that must hold it and stay above its initial requirement."""
    _require_positive(amount)
    held = tx.user_account(source).balances.get(asset.index, 0)
    if held < amount:
        refuse(
            "insufficient_balance",
            f"{source} holds {held} units of {asset.name}, {amount - held} fewer than the {what} of {amount}",
            held=held,
            missing=amount - held,
        )
    require_withdrawable(tx, source, what)
    _move(tx, what, asset, source, target, amount)
    tx.require_solvent(source, what, "withdraw")


def _move(tx: Transaction, what: str, asset: AssetTable, source: str, target: str, amount: int) -> None:
    tx.post(asset.index, source, target, amount, what)
    _tell_moved(tx, what, asset, source, target, amount)


def _tell_moved(tx: Transaction, what: str, asset: AssetTable, source: str, target: str, amount: int) -> None:
    tx.events.append(
        BalanceMoved(
            what=what,
            asset=asset.name,
            amount=amount,
            source=source,
            target=target,
            postings=tx.take_postings(),
        )
    )


def _require_positive(amount: int) -> None:
    if amount <= 0:
        refuse("bad_amount", f"amount is {amount}: it must be above 0")
