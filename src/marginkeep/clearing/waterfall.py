"""Who pays what an emptied account still owes: the insurance funds first, then with a ladder those who won.

What nobody pays is bad debt. While it is open, nobody takes money of that asset out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.book.health import equity
from marginkeep.clearing.booking import reporting
from marginkeep.clearing.funds import funds_held, pay, plan_payments
from marginkeep.clearing.loss_events import LossCovered
from marginkeep.clearing.losses import losses_of
from marginkeep.clearing.socialise import socialise
from marginkeep.clearing.state import BAD_DEBT, INSURANCE_FUND, LIQUIDATOR
from marginkeep.clearing.transaction import refuse
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.ladder_rules import AUCTION, BANKRUPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.book.account import Account
    from marginkeep.clearing.events import Posting
    from marginkeep.clearing.funds import Payment
    from marginkeep.clearing.losses import Loss
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.rulebook import AssetTable


class Covered(NamedTuple):
    """Who bears an emptied account's debt, in reporting units, each rounded up."""

    fund_paid: int
    bad_debt: int
    socialised: int


def cover(tx: Transaction, name: str, lost: Mapping[int, Loss] | None = None) -> Covered:
    """Let the funds pay what an emptied account owes, spread the rest, record what is left as bad debt.

    Nothing happens while the account still has a position, or a holding that can be sold. A holding that never had a
    price, or is worth less than one reporting unit, does not delay it.

    Parameters
    ----------
    lost : by market, what it lost and on which side; where left out, what this transaction has closed
    """
    account = tx.account(name)
    debts = {asset: -amount for asset, amount in sorted(account.balances.items()) if amount < 0}
    if not debts or not _is_emptied(tx, account):
        return Covered(0, 0, 0)
    lost = losses_of(tx, name) if lost is None else lost
    earlier = tx.take_postings()
    payments = plan_payments(tx, debts, lost)
    for payment in payments:
        pay(tx, name, payment)
    own, socialised, bad_debt = list(tx.take_postings()), 0, 0
    for asset in debts:
        rest = -account.balances[asset]
        borne = socialise(tx, name, asset, rest, lost) if rest else 0
        tx.post(asset, BAD_DEBT, name, rest - borne, "shortfall nobody paid")
        own += tx.take_postings()
        socialised -= reporting(tx.state, asset, -borne)
        bad_debt -= reporting(tx.state, asset, borne - rest)
    covered = Covered(sum(payment.worth for payment in payments), bad_debt, socialised)
    owed = -sum(reporting(tx.state, asset, -amount) for asset, amount in debts.items())
    tx.events.append(_explain(name, owed, covered, payments, own))
    tx.postings = list(earlier)
    return covered


def _explain(name: str, owed: int, covered: Covered, payments: list[Payment], postings: list[Posting]) -> LossCovered:
    worth: dict[str, int] = {}
    for payment in payments:
        worth[payment.fund] = worth.get(payment.fund, 0) + payment.worth
    return LossCovered(
        account=name,
        owed=owed,
        fund_paid=covered.fund_paid,
        socialised=covered.socialised,
        bad_debt=covered.bad_debt,
        funds=worth,
        postings=tuple(postings),
    )


def _is_emptied(tx: Transaction, account: Account) -> bool:
    held = [(asset, amount) for asset, amount in account.balances.items() if amount > 0]
    has_positions = any(position.size for position in account.positions.values())
    return not has_positions and not any(reporting(tx.state, asset, amount) for asset, amount in held)


def require_no_shortfall(tx: Transaction, asset: AssetTable, what: str) -> None:
    """Refuse to let money of an asset go while a loss is open that others may have to bear.

    That is so, where the rulebook socialises losses, while bad debt in the asset is unpaid, and while accounts that
    are in an auction or bankrupt owe more than all funds hold.
    """
    ladder = tx.state.rulebook.ladder
    if ladder is None or ladder.socialise is None:
        return
    unpaid = -tx.ledger_balance(BAD_DEBT, asset.index)
    if unpaid > 0:
        refuse("shortfall_open", f"{what} waits: {unpaid} units of {asset.name} were lost and not paid", unpaid=unpaid)
    owed = _owed_by_the_ill(tx)
    held = funds_held(tx) if owed else 0
    if owed > held:
        reason = f"{what} waits: insolvent accounts owe {owed} reporting units and the funds hold {held}"
        refuse("shortfall_open", reason, owed=owed, held=held)


def _owed_by_the_ill(tx: Transaction) -> int:
    """Return what accounts in an auction, and bankrupt ones that wait for a price, owe in all, in reporting units."""
    names = [name for name, ill in tx.state.ill.items() if ill.rung in (AUCTION, BANKRUPT)]
    return sum(max(0, -equity(tx.look(name), tx.state.valuation)) for name in names)


def cover_shortfall(tx: Transaction, name: str) -> tuple[int, int]:
    """Let the fund pay what an empty account owes, record the rest as bad debt; return both in reporting units.

    The fund pays in the asset owed, and where it has too little of that, by buying it from the liquidator at its price
    with the reporting asset.
    """
    account = tx.account(name)
    if any(p.size for p in account.positions.values()) or any(b > 0 for b in account.balances.values()):
        return 0, 0
    paid_total = bad_total = 0
    for asset, balance in sorted(account.balances.items()):
        if balance >= 0:
            continue
        paid = min(-balance, max(0, tx.ledger_balance(INSURANCE_FUND, asset)))
        tx.post(asset, INSURANCE_FUND, name, paid, "shortfall paid by the fund")
        paid += _buy_for_fund(tx, name, asset, -balance - paid)
        tx.post(asset, BAD_DEBT, name, -balance - paid, "shortfall nobody paid")
        paid_total -= reporting(tx.state, asset, -paid)
        bad_total -= reporting(tx.state, asset, balance + paid)
    return paid_total, bad_total


def _buy_for_fund(tx: Transaction, name: str, asset: int, owed: int) -> int:
    """Pay up to `owed` of an asset out of the fund's reporting asset; return how much of it was paid."""
    reporting, valuation = tx.state.tables.reporting, tx.state.valuation
    fund = max(0, tx.ledger_balance(INSURANCE_FUND, reporting))
    if owed <= 0 or asset == reporting or not fund or not valuation.prices[asset]:
        return 0
    bought = min(owed, convert_floor(fund, valuation.asset_y[asset], valuation.asset_x[asset]))
    price = -convert_floor(-bought, valuation.asset_x[asset], valuation.asset_y[asset])
    if price > fund:
        return 0
    tx.post(reporting, INSURANCE_FUND, LIQUIDATOR, price, "asset bought by the fund")
    tx.post(asset, LIQUIDATOR, name, bought, "shortfall paid by the fund")
    return bought
