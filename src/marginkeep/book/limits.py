"""Limits that make overflow impossible: proved when a rulebook, a price or a quantity enters, never inside.

A term is what one position or balance adds to an account, in reporting units. Terms are bounded by 2^52 and an
account has at most 256 of them; a requirement is at most four times its term (`RATE_MAX`), so no sum passes 2^63,
and every product inside a term stays below 2^62.
Money of 6 decimals may thus reach 4.5 billion in one position.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.margin.tiered import payoff_pair
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.tables import FLOOR_MAX
from marginkeep.units import INT64_SAFE, RATE_ONE, ceil_div

if TYPE_CHECKING:
    from marginkeep.rulebook import AssetTable, MarketTable, Tables

TERM_MAX: Final = 2**52
TERMS_MAX: Final = 256
"""Most positions and balances of one account, together."""

ORDERS_MAX: Final = 1_000
"""Most open orders of one account."""

PRICE_TICKS_DEFAULT: Final = 10**8
"""Default `max_price` of a market, in ticks; of an asset at least as many."""

ASSET_PRICE_DEFAULT: Final = 10**6
"""Default `max_price` of an asset, in whole units of the reporting asset, where columns can hold it."""

INVERSE_RANGE_DEFAULT: Final = 10**5
"""Default ratio of `max_price` to `min_price` of an inverse market, whose coin value grows as the price falls."""

_LOTS_MAX: Final = INT64_SAFE // RATE_ONE


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
    RulebookError : a stated limit could overflow, or nothing fits; names the largest value that does, or the cure
    """
    assets = tuple(_asset_limits(table, tables) for table in tables.assets)
    markets = tuple(_market_limits(table, tables, assets) for table in tables.markets)
    return Limits(assets, markets)


def _asset_limits(table: AssetTable, tables: Tables) -> AssetLimits:
    asset, path = table.asset, f"assets.{table.name}"
    price = 1
    if table.index != tables.reporting:
        # the smallest unit's value is a term, and the product of its pair stays below 2^62
        largest = min(
            TERM_MAX * table.denominator // table.numerator, INT64_SAFE // (table.numerator * table.denominator)
        )
        if largest < 1:
            raise _no_asset_price(table, tables)
        price = asset.max_price or min(max(PRICE_TICKS_DEFAULT, int(ASSET_PRICE_DEFAULT / asset.tick)), largest)
        if price > largest:
            raise _too_large(
                f"{path}.max_price", price, largest, asset.tick, "make tick coarser, or give it fewer digits"
            )
    most = min(TERM_MAX * table.denominator // (price * table.numerator), INT64_SAFE)
    balance = asset.max_balance or most
    if balance > most:
        lower = "" if table.index == tables.reporting else "max_price lower, or "
        raise _too_large(f"{path}.max_balance", balance, most, asset.unit, f"make {lower}decimals fewer")
    return AssetLimits(price, balance)


def _no_asset_price(table: AssetTable, tables: Tables) -> RulebookError:
    tick, scale = table.asset.tick, Fraction(tables.assets[tables.reporting].asset.unit, table.asset.unit)
    lowest, highest = scale * Fraction(1, 10**18), scale * TERM_MAX
    cure = "make it finer" if tick > highest else "make it coarser" if tick < lowest else "give it fewer digits"
    return RulebookError(
        f"assets.{table.name}.tick is {exact_text(tick)}: with {table.asset.decimals} decimals no price at all fits "
        f"exact 64-bit columns: {cure}; every power of ten from {exact_text(lowest)} to {exact_text(highest)} fits"
    )


def _market_limits(table: MarketTable, tables: Tables, assets: tuple[AssetLimits, ...]) -> MarketLimits:
    market, path = table.market, f"markets.{table.name}"
    _check_floors(table)
    lowest, highest = _price_range(table, tables, assets)
    if lowest > highest:
        raise _no_market_price(table, _price_cure(table, tables, assets, max(1, highest)))
    max_price = market.max_price or PRICE_TICKS_DEFAULT
    if max_price > highest:
        cure = _price_cure(table, tables, assets, max_price)
        raise _too_large(f"{path}.max_price", max_price, highest, market.tick, cure)
    min_price = _min_price(table, max_price, lowest, _price_cure(table, tables, assets, 1))
    most = _largest_position(table, tables, assets, min_price, max_price)
    position = market.max_position or most
    if position > most:
        raise _too_large(f"{path}.max_position", position, most, market.lot, _position_cure(table, most))
    return MarketLimits(min_price, max_price, position)


def _min_price(table: MarketTable, max_price: int, lowest: int, cure: str) -> int:
    market, path = table.market, f"markets.{table.name}.min_price"
    price = market.min_price or (max(1, max_price // INVERSE_RANGE_DEFAULT) if table.sign < 0 else 1)
    if price > max_price:
        raise RulebookError(
            f"{path} is {exact_text(price * market.tick)}, above max_price {exact_text(max_price * market.tick)}: "
            f"lower it, or raise max_price"
        )
    if price < lowest:
        raise RulebookError(
            f"{path} is {exact_text(price * market.tick)}, at which one lot is worth more than exact 64-bit columns "
            f"hold: at least {exact_text(lowest * market.tick)}; or {cure}"
        )
    return price


def _position_cure(table: MarketTable, most: int) -> str:
    if most == _LOTS_MAX:
        return "make lot coarser"
    if table.sign > 0:
        return "make max_price lower"
    return "make tick coarser" if most == INT64_SAFE // (8 * table.numerator) else "make min_price higher"


def _check_floors(table: MarketTable) -> None:
    """Refuse tiers that columns cannot hold: only the tables of a case have them, see `build_tables`."""
    for index, (floor, *_) in enumerate(table.tiers[0]):
        if floor > FLOOR_MAX:
            raise RulebookError(
                f"markets.{table.name}.tiers[{index}].floor is {exact_text(table.market.tiers[index].floor)}, beyond "
                f"every position that exact 64-bit columns hold: leave this tier out"
            )


def _price_range(table: MarketTable, tables: Tables, assets: tuple[AssetLimits, ...]) -> tuple[int, int]:
    """Return the lowest and highest price in ticks at which one lot fits, by the bounds of `_largest_position`."""
    x, y = table.numerator, table.denominator
    settle_x, settle_y = _settle_pair(table, tables, assets)
    highest = INT64_SAFE // max(x, y)
    if table.sign > 0:
        by_term = min(TERM_MAX * y // x, TERM_MAX * settle_y * y // (x * settle_x))
        return 1, min(highest, by_term, INT64_SAFE // (8 * x))
    if 8 * x > INT64_SAFE:
        return 1, 0
    return max(1, ceil_div(x, TERM_MAX * y), ceil_div(x * settle_x, TERM_MAX * settle_y * y)), highest


def _settle_pair(table: MarketTable, tables: Tables, assets: tuple[AssetLimits, ...]) -> tuple[int, int]:
    """Return (x, y) of the settle asset at its highest price."""
    settle = tables.assets[table.settle]
    return assets[table.settle].max_price * settle.numerator, settle.denominator


def _no_market_price(table: MarketTable, cure: str) -> RulebookError:
    market = table.market
    return RulebookError(
        f"markets.{table.name}.lot is {exact_text(market.lot)}: with tick {exact_text(market.tick)} and contract_size "
        f"{exact_text(market.contract_size)} no price at all fits exact 64-bit columns; {cure}"
    )


def _price_cure(table: MarketTable, tables: Tables, assets: tuple[AssetLimits, ...], price: int) -> str:
    """Say what makes room for a price: one lot is worth too much there, or has too many digits."""
    x, y = payoff_at(table, price)
    settle_x, settle_y = _settle_pair(table, tables, assets)
    if x > TERM_MAX * y or x * settle_x > TERM_MAX * y * settle_y:
        lower = f", or assets.{table.market.settle}.max_price lower" if table.settle != tables.reporting else ""
        return f"make lot finer{lower}"
    direction = "finer" if table.sign < 0 and table.numerator > table.denominator else "coarser"
    return f"make lot {direction}, or give lot, tick and contract_size fewer digits"


def _largest_position(
    table: MarketTable, tables: Tables, assets: tuple[AssetLimits, ...], min_price: int, max_price: int
) -> int:
    """Return the largest size in lots whose value, at the worst allowed prices, is a term within bounds."""
    x, y = payoff_at(table, min_price if table.sign < 0 else max_price)
    settle_x, settle_y = _settle_pair(table, tables, assets)
    by_value = TERM_MAX * settle_y * y // (x * settle_x)
    return min(by_value, TERM_MAX * y // x, INT64_SAFE // (8 * x), _LOTS_MAX)


def payoff_at(table: MarketTable, price: int) -> tuple[int, int]:
    """Return the pair (x, y) of a market at a price in ticks: value = sign * size * x / y."""
    return payoff_pair(table.sign, table.numerator, table.denominator, price)


def _too_large(path: str, stated: int, most: int, unit: Fraction, cure: str) -> RulebookError:
    return RulebookError(
        f"{path} is too large for exact 64-bit columns: at most {exact_text(most * unit)}, "
        f"not {exact_text(stated * unit)}; or {cure}"
    )
