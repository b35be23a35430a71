"""Limits that make overflow impossible: proved when a rulebook, a price or a quantity enters, never inside.

A term is what one position or balance adds to an account, in reporting units. Terms are bounded by 2^52 and an
account has at most 256 of them; a requirement is at most four times its term (`RATE_MAX`), so no sum passes 2^63,
and every product inside a term stays below 2^62.
Money of 6 decimals may thus reach 4.5 billion in one position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from marginkeep.errors import PrecisionError, RulebookError
from marginkeep.units import INT64_SAFE, RATE_ONE, format_exact

if TYPE_CHECKING:
    from marginkeep.rulebook import AssetTable, MarketTable, Tables

TERM_MAX: Final = 2**52
TERMS_MAX: Final = 256
"""Most positions and balances of one account, together."""

ORDERS_MAX: Final = 1_000
"""Most open orders of one account."""

PRICE_TICKS_DEFAULT: Final = 10**8
"""Default `max_price` in ticks."""

INVERSE_RANGE_DEFAULT: Final = 10**5
"""Default ratio of `max_price` to `min_price` of an inverse market, whose coin value grows as the price falls."""


@dataclass(frozen=True, slots=True)
class MarketLimits:
    """What a market's columns can hold: prices in ticks, positions in lots."""

    min_price: int
    max_price: int
    max_position: int


@dataclass(frozen=True, slots=True)
class AssetLimits:
    """What an asset's columns can hold: price in ticks, balance in smallest units."""

    max_price: int
    max_balance: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The proven limits of a rulebook, by asset and market index."""

    assets: tuple[AssetLimits, ...]
    markets: tuple[MarketLimits, ...]


def prove_limits(tables: Tables) -> Limits:
    """Derive the limits that a rulebook leaves open, and prove that those it states fit int64.

    Raises
    ------
    RulebookError : a stated limit could overflow; names the largest value that fits
    """
    assets = tuple(_asset_limits(table) for table in tables.assets)
    markets = tuple(_market_limits(table, tables, assets) for table in tables.markets)
    return Limits(assets, markets)


def _asset_limits(table: AssetTable) -> AssetLimits:
    reporting = table.numerator == table.denominator == 1
    most = INT64_SAFE // (table.numerator * table.denominator)
    price = 1 if reporting else table.asset.max_price or min(PRICE_TICKS_DEFAULT, most)
    if price > most:
        raise _too_large(f"assets.{table.name}.max_price", most, table.asset.tick)
    most = min(TERM_MAX * table.denominator // (price * table.numerator), INT64_SAFE)
    balance = table.asset.max_balance or most
    if balance > most:
        raise _too_large(f"assets.{table.name}.max_balance", most, table.asset.unit)
    return AssetLimits(price, balance)


def _market_limits(table: MarketTable, tables: Tables, assets: tuple[AssetLimits, ...]) -> MarketLimits:
    market = table.market
    max_price = market.max_price or PRICE_TICKS_DEFAULT
    default_min = max(1, max_price // INVERSE_RANGE_DEFAULT) if table.sign < 0 else 1
    min_price = market.min_price or default_min
    if min_price > max_price:
        raise RulebookError(f"markets.{table.name}.min_price is above max_price: lower it")
    if max_price * max(table.numerator, table.denominator) > INT64_SAFE:
        most = INT64_SAFE // max(table.numerator, table.denominator)
        raise _too_large(f"markets.{table.name}.max_price", most, market.tick)
    most = _largest_position(table, tables, assets, min_price, max_price)
    if most < 1:
        raise RulebookError(
            f"markets.{table.name}: one lot at max_price does not fit: make lot or tick coarser, or max_price lower"
        )
    position = market.max_position or most
    if position > most:
        raise _too_large(f"markets.{table.name}.max_position", most, market.lot)
    return MarketLimits(min_price, max_price, position)


def _largest_position(
    table: MarketTable, tables: Tables, assets: tuple[AssetLimits, ...], min_price: int, max_price: int
) -> int:
    """Return the largest size in lots whose value, at the worst allowed prices, is a term within bounds."""
    x, y = payoff_at(table, min_price if table.sign < 0 else max_price)
    settle = tables.assets[table.settle]
    settle_x = assets[table.settle].max_price * settle.numerator
    by_value = TERM_MAX * settle.denominator * y // (x * settle_x)
    return min(by_value, TERM_MAX * y // x, INT64_SAFE // (8 * x), INT64_SAFE // RATE_ONE)


def payoff_at(table: MarketTable, price: int) -> tuple[int, int]:
    """Return the pair (x, y) of a market at a price in ticks: value = sign * size * x / y."""
    if table.sign > 0:
        return price * table.numerator, table.denominator
    return table.numerator, price * table.denominator


def check_price(name: str, price: int, lowest: int, highest: int) -> None:
    """Refuse a price outside the limits of its market or asset."""
    if not lowest <= price <= highest:
        raise PrecisionError(
            f"price of {name} is {price} ticks, outside {lowest} to {highest}: raise max_price (or lower min_price) "
            f"in the rulebook if the price is right"
        )


def _too_large(path: str, most: int, unit: object) -> RulebookError:
    from fractions import Fraction

    assert isinstance(unit, Fraction)
    return RulebookError(
        f"{path} is too large for exact 64-bit columns: at most {format_exact(most * unit)}; "
        f"or make lot and tick coarser, or another limit of it lower"
    )
