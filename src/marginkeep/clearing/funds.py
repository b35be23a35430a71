"""The insurance funds: one of each pool of markets and the last, for all; what they take in and what they pay.

Each is a ledger account. The last is `INSURANCE_FUND`, whether or not the rulebook bounds what it pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.clearing.state import BAD_DEBT, FUND, INSURANCE_FUND, LIQUIDATOR
from marginkeep.liquidation.insurance import Fund, answering_funds
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.ladder_rules import FundRules
from marginkeep.units import INT64_SAFE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.clearing.losses import Loss
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.rulebook import Rulebook

_UNBOUNDED: Final = FundRules("", (), INT64_SAFE, INT64_SAFE)


class Payment(NamedTuple):
    """What one fund pays of a debt.

    Attributes
    ----------
    fund : its ledger account
    asset : that is owed
    in_kind, bought : units of that asset, held, and bought from the liquidator for `price` reporting units
    worth : of all of it, in reporting units rounded up: what counts toward the fund's caps
    """

    fund: str
    asset: int
    in_kind: int
    bought: int
    price: int
    worth: int

    @property
    def amount(self) -> int:
        """Units of the asset in all."""
        return self.in_kind + self.bought


def ledger_of(rules: FundRules) -> str:
    """Return a fund's ledger account."""
    return FUND + rules.name if rules.markets else INSURANCE_FUND


def fund_of_market(rulebook: Rulebook, market: str | None) -> str:
    """Return the ledger account of the fund of a market's pool; the last where it has none."""
    funds = rulebook.ladder.funds if rulebook.ladder else ()
    return next((ledger_of(rules) for rules in funds if market in rules.markets), INSURANCE_FUND)


def funds_held(tx: Transaction) -> int:
    """Return what all funds hold of the reporting asset."""
    ladder, reporting_asset = tx.state.rulebook.ladder, tx.state.tables.reporting
    ledgers = dict.fromkeys([INSURANCE_FUND, *(ledger_of(rules) for rules in (ladder.funds if ladder else ()))])
    return sum(max(0, tx.ledger_balance(name, reporting_asset)) for name in ledgers)


def receive(tx: Transaction, asset: int, source: str, fund: str, amount: int, reason: str) -> int:
    """Let a fund take in new money, of which open bad debt in the same asset is repaid first; return what that took.

    What a fund held before is not touched: its caps have said how much of that a loss may take.
    """
    tx.post(asset, source, fund, amount, reason)
    repaid = max(0, min(amount, -tx.ledger_balance(BAD_DEBT, asset)))
    tx.post(asset, fund, BAD_DEBT, repaid, "bad debt repaid")
    return repaid


def plan_payments(tx: Transaction, debts: Mapping[int, int], lost: Mapping[int, Loss]) -> list[Payment]:
    """Return what the funds pay of an account's debts: that of its pool first, then the last, each within its caps.

    A fund pays in the asset owed, and where it has too little of that, by buying it from the liquidator at its price
    with the reporting asset.

    Parameters
    ----------
    debts : by asset, units above 0
    lost : decides the pool
    """
    state, payments = tx.state, []
    spent: dict[tuple[str, int], int] = {}
    rooms = {ledger: _room(state, ledger, rules) for ledger, rules in _answering(state, lost)}
    for asset, debt in sorted(debts.items()):
        owed = debt
        for ledger, room in list(rooms.items()):
            payment = _payment(tx, ledger, asset, owed, room, spent)
            if payment.amount:
                owed -= payment.amount
                rooms[ledger] -= payment.worth
                payments.append(payment)
    return payments


def _answering(state: State, lost: Mapping[int, Loss]) -> list[tuple[str, FundRules]]:
    ladder = state.rulebook.ladder
    rules = ladder.funds if ladder else ()
    names = {state.tables.markets[market].name: loss.amount for market, loss in lost.items()}
    found = [(ledger_of(rules[index]), rules[index]) for index in answering_funds(rules, names)]
    if not any(ledger == INSURANCE_FUND for ledger, _ in found):
        found.append((INSURANCE_FUND, _UNBOUNDED))
    return found


def _room(state: State, ledger: str, rules: FundRules) -> int:
    """Return what a fund's caps leave for this event."""
    return state.funds.get(ledger, Fund()).payable(rules, INT64_SAFE, INT64_SAFE, state.now_ns)


def _payment(
    tx: Transaction, fund: str, asset: int, owed: int, room: int, spent: dict[tuple[str, int], int]
) -> Payment:
    """Return what a fund pays of one debt, and note in `spent` what that takes of its balances."""
    state, valuation = tx.state, tx.state.valuation
    x, y, money = valuation.asset_x[asset], valuation.asset_y[asset], state.tables.reporting

    def held(what: int) -> int:
        return max(0, tx.ledger_balance(fund, what) - spent.get((fund, what), 0))

    in_kind = min(owed, held(asset))
    if x:  # an asset that never had a price counts nothing, toward caps too
        in_kind = min(in_kind, convert_floor(room, y, x))
    worth = -convert_floor(-in_kind, x, y)
    bought = price = 0
    if x and asset != money:
        budget = min(room - worth, held(money))
        bought = min(owed - in_kind, convert_floor(max(0, budget), y, x))
        price = -convert_floor(-bought, x, y)
    spent[fund, asset] = spent.get((fund, asset), 0) + in_kind
    spent[fund, money] = spent.get((fund, money), 0) + price
    return Payment(fund, asset, in_kind, bought, price, worth + price)


def pay(tx: Transaction, name: str, payment: Payment) -> None:
    """Book a payment to an account and count it toward the fund's caps."""
    tx.post(payment.asset, payment.fund, name, payment.in_kind, "shortfall paid by the fund")
    tx.post(tx.state.tables.reporting, payment.fund, LIQUIDATOR, payment.price, "asset bought by the fund")
    tx.post(payment.asset, LIQUIDATOR, name, payment.bought, "shortfall paid by the fund")
    tx.state.funds.setdefault(payment.fund, Fund()).note_paid(payment.worth, tx.state.now_ns)


def retire_funds(tx: Transaction, rulebook: Rulebook) -> None:
    """Hand what funds hold that new rules do not know to the last fund, and forget what they have paid."""
    ladder = rulebook.ladder
    kept = {INSURANCE_FUND, *(ledger_of(rules) for rules in (ladder.funds if ladder else ()))}
    for (name, asset), amount in sorted(tx.state.ledger.items()):
        if name.startswith(FUND) and name not in kept:
            tx.post(asset, name, INSURANCE_FUND, amount, "fund retired")
    tx.state.funds = {name: fund for name, fund in tx.state.funds.items() if name in kept}
