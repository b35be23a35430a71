"""What cures an account that is called: the exact deposits and the exact closes, each alone, cheapest first.

A cure restores both the call and the target level, so that the account does not hang between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.book.fills import book_funding, cost_of, fill_position
from marginkeep.book.health import measure
from marginkeep.liquidation.sizing import smallest_sufficient
from marginkeep.margin.tiered import convert_floor
from marginkeep.rulebook.model import CALL, TARGET
from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_ceil

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import AssetTable, MarketTable


class DepositCure(NamedTuple):
    """Deposit `amount` smallest units of an asset, worth `value` reporting units, rounded up."""

    asset: int
    amount: int
    value: int


class CloseCure(NamedTuple):
    """Trade `size` lots against a position (negative = sell) at the mark, for a taker fee of `cost` reporting units."""

    market: int
    size: int
    price: int
    cost: int


class Cures(NamedTuple):
    """Each of them is enough alone; empty where nothing needs a cure, or nothing of the kind cures."""

    deposits: tuple[DepositCure, ...]
    closes: tuple[CloseCure, ...]


def find_cures(account: Account, valuation: Valuation) -> Cures:
    """Return what restores an account to its call and target levels at present prices, cheapest first.

    Deposits are ordered by their value, closes by their cost; among equals, by asset and market.
    """
    if missing_health(account, valuation) >= 0:
        return Cures((), ())
    deposits = [deposit_cure(account, table, valuation) for table in valuation.tables.assets]
    closes = [close_cure(account, valuation.tables.markets[index], valuation) for index in sorted(account.positions)]
    return Cures(
        tuple(sorted((cure for cure in deposits if cure), key=lambda cure: (cure.value, cure.asset))),
        tuple(sorted((cure for cure in closes if cure), key=lambda cure: (cure.cost, cure.market))),
    )


def missing_health(account: Account, valuation: Valuation) -> int:
    """Return the lower of the healths at the call and at the target level, in reporting units; negative = ill."""
    return min(measure(account, valuation, CALL).health, measure(account, valuation, TARGET).health)


def deposit_cure(account: Account, table: AssetTable, valuation: Valuation) -> DepositCure | None:
    """Return the smallest deposit of an asset that cures, None where no amount of it does.

    An asset that counts for nothing as collateral can still cure one who owes it.
    """
    shortfall = -missing_health(account, valuation)
    if shortfall <= 0 or not valuation.prices[table.index]:
        return None
    largest = _more_than_enough(account, table, shortfall, valuation)

    def health_after(amount: int) -> int:
        return missing_health(with_deposit(account, table.index, amount), valuation)

    if largest == 0 or health_after(largest) < 0:
        return None
    amount = smallest_sufficient(largest, health_after)
    x, y = valuation.asset_x[table.index], valuation.asset_y[table.index]
    return DepositCure(table.index, amount, ceil_div(amount * x, y))


def with_deposit(account: Account, asset: int, amount: int) -> Account:
    """Return a copy of an account with so much more of an asset."""
    changed = account.copy()
    changed.balances[asset] = changed.balances.get(asset, 0) + amount
    return changed


def _more_than_enough(account: Account, table: AssetTable, shortfall: int, valuation: Valuation) -> int:
    """Return a deposit that repays the debt in an asset and then counts for the shortfall, if it counts at all."""
    debt = max(0, -account.balances.get(table.index, 0))
    weight = min(table.weight[CALL], table.weight[TARGET])
    if weight == 0:
        return debt
    worth = ceil_div(shortfall * RATE_ONE, weight)
    return debt + ceil_div(worth * valuation.asset_y[table.index], valuation.asset_x[table.index])


def close_cure(account: Account, market: MarketTable, valuation: Valuation) -> CloseCure | None:
    """Return the smallest close of one position that cures, None where there is none.

    One lot less does not cure. Nor does any smaller size, where both levels' rates are above the taker fee: below it
    a close costs more than it releases.
    """
    position = account.positions.get(market.index)
    if position is None or not position.size or missing_health(account, valuation) >= 0:
        return None
    held, side = abs(position.size), -1 if position.size > 0 else 1

    def health_after(lots: int) -> int:
        return missing_health(with_close(account, market, side * lots, valuation), valuation)

    lots = smallest_sufficient(held, health_after, _stops(account, market, valuation))
    if health_after(lots) < 0:
        return None
    mark = valuation.marks[market.index]
    fee = rate_ceil(abs(cost_of(market, side * lots, mark)), market.market.taker_fee)
    cost = -convert_floor(-fee, valuation.asset_x[market.settle], valuation.asset_y[market.settle])
    return CloseCure(market.index, side * lots, mark, cost)


def with_close(account: Account, market: MarketTable, size: int, valuation: Valuation) -> Account:
    """Return a copy of an account that has traded `size` lots at the mark and paid the taker fee and its funding."""
    changed = account.copy()
    if not size:
        return changed
    position = changed.positions[market.index]
    paid, _ = book_funding(position, valuation.funding_index(market.index, position.size))
    fill = fill_position(market, position, size, valuation.marks[market.index])
    fee = rate_ceil(abs(fill.cost), market.market.taker_fee)
    balance = changed.balances.get(market.settle, 0) + paid + fill.realised - fee
    changed.balances[market.settle] = balance
    return changed


def _stops(account: Account, market: MarketTable, valuation: Valuation) -> list[int]:
    """Return the lots whose closing changes the course of health, rising.

    The first, which books all funding; those that leave a position just below a tier's floor; and those at which the
    realised profit or loss has paid the debt in the settle asset or spent the holding.
    """
    held = abs(account.positions[market.index].size)
    x, y = valuation.market_x[market.index], valuation.market_y[market.index]
    floors = sorted({row[0] for level in (CALL, TARGET) for row in market.tiers[level] if row[0]}, reverse=True)
    kept = [floor - 1 if market.by_size else (floor - 1) * y // x for floor in floors]
    stops = {held - lots for lots in kept if 0 < lots < held}
    return sorted(stops | {1} | set(_turn(account, market, held, valuation)))


def _turn(account: Account, market: MarketTable, held: int, valuation: Valuation) -> tuple[int, ...]:
    """Return the lots just before and after which the settle balance changes its sign, none where it keeps it.

    The balance moves in a straight line but for rounding, so two lots to either side are stops as well.
    """
    side = -1 if account.positions[market.index].size > 0 else 1
    first, last = (
        with_close(account, market, side * lots, valuation).balances.get(market.settle, 0) for lots in (1, held)
    )
    if (first < 0) == (last < 0) or held < 2:
        return ()
    turn = 1 + floor_div(-first * (held - 1), last - first)
    return tuple(lots for lots in range(turn - 2, turn + 4) if 0 < lots < held)
