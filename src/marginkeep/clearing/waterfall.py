"""Who pays what an emptied account still owes: the insurance fund first, and what it cannot pay is bad debt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.clearing.booking import reporting
from marginkeep.clearing.state import BAD_DEBT, INSURANCE_FUND, LIQUIDATOR
from marginkeep.margin.tiered import convert_floor

if TYPE_CHECKING:
    from marginkeep.clearing.transaction import Transaction


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
