"""Accounts and marks of the usual house, without a clearinghouse."""

from tests.houses import prices, rules, usd

from marginkeep.book import Valuation
from marginkeep.book.account import Account, Position
from marginkeep.book.fills import fill_position
from marginkeep.rulebook import build_tables


def valued(btc=50_000, eth=3_000, **changes):
    """The marks of the usual house."""
    valuation = Valuation(build_tables(rules(**changes)))
    stated = prices(btc, eth)
    for name, ticks in stated.marks.items():
        valuation.set_mark(valuation.tables.market_index[name], ticks)
    for name, ticks in stated.prices.items():
        valuation.set_price(valuation.tables.asset_index[name], ticks)
    return valuation


def holding(valuation, cash, *positions, **balances):
    """An account with so many USD, units of other assets, and positions of (market, size, price)."""
    indices = valuation.tables.asset_index
    account = Account(balances={indices["USD"]: usd(cash)})
    account.balances |= {indices[name]: amount for name, amount in balances.items()}
    for name, size, price in positions:
        market = valuation.tables.markets[valuation.tables.market_index[name]]
        account.positions[market.index] = Position(funding_entry=valuation.funding[market.index])
        fill_position(market, account.positions[market.index], size, price)
    return account
