"""The engine's integers written as the decimals that the oracle reads."""

from __future__ import annotations

from fractions import Fraction

from marginkeep.book import SYSTEM, Account, Position, Valuation
from marginkeep.rulebook import Market, Rulebook
from tests.oracle.exact import PART, ExactAccount, ExactPosition, ExactPrices


def exact_prices(valuation: Valuation) -> ExactPrices:
    """Return marks and prices in decimals."""
    rulebook = valuation.tables.rulebook
    marks = zip(rulebook.markets.values(), valuation.marks, strict=True)
    prices = zip(rulebook.assets.values(), valuation.prices, strict=True)
    return ExactPrices(
        {market.name: ticks * market.tick for market, ticks in marks},
        {asset.name: ticks * asset.tick for asset, ticks in prices},
    )


def exact_account(account: Account, valuation: Valuation) -> ExactAccount:
    """Return an account in whole assets and contracts."""
    rulebook = valuation.tables.rulebook
    assets, markets = list(rulebook.assets.values()), list(rulebook.markets.values())
    return ExactAccount(
        {assets[index].name: amount * assets[index].unit for index, amount in account.balances.items()},
        {
            markets[index].name: _position(
                position, markets[index], rulebook, valuation.funding_index(index, position.size)
            )
            for index, position in account.positions.items()
        },
        margined=account.mode != SYSTEM,
    )


def _position(position: Position, market: Market, rulebook: Rulebook, funding_index: int) -> ExactPosition:
    unit = rulebook.assets[market.settle].unit
    funding_a_lot = Fraction(funding_index - position.funding_entry) * PART * unit
    return ExactPosition(
        size=position.size * market.lot,
        cost=position.cost * unit,
        funding=funding_a_lot / market.lot,
        bid_size=position.bid_size * market.lot,
        bid_cost=position.bid_cost * unit,
        ask_size=position.ask_size * market.lot,
        ask_cost=position.ask_cost * unit,
    )
