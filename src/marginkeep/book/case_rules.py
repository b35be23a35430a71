"""The rules and prices of a case file: what it states, and the lots and ticks that it leaves out."""

from __future__ import annotations

import difflib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marginkeep.book.valuation import Valuation
from marginkeep.errors import PrecisionError, RulebookError
from marginkeep.rulebook.assets import DEFAULT_ASSET_TICK, read_asset
from marginkeep.rulebook.grid import count_units, exact_text
from marginkeep.rulebook.levels import read_shares
from marginkeep.rulebook.markets import read_market
from marginkeep.rulebook.model import Asset, Market, Rulebook
from marginkeep.rulebook.reading import check_names, find_reporting
from marginkeep.rulebook.terms import NO_COST, read_terms
from marginkeep.units import decimals_of, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marginkeep.rulebook.fields import Fields
    from marginkeep.rulebook.tables import Tables

StatedPrices = dict[str, tuple[str, Fraction]]
"""Market or asset -> (where its price is stated, price)."""


def stated_prices(fields: Fields, replaced: Mapping[str, str]) -> StatedPrices:
    """Gather prices from asset tables, the prices table and what-ifs, the later winning."""
    stated: StatedPrices = {}
    for name, row in fields.tables("assets"):
        if row.has("price"):
            stated[name] = (row.at("price"), row.positive("price"))
    prices = fields.sub("prices", {})
    names = [*fields.sub("assets", {}).table, *fields.sub("markets", {}).table]
    for name in prices.table:
        require_known(name, names, prices.at(name))
        stated[name] = (prices.at(name), prices.positive(name))
    for name, value in replaced.items():
        require_known(name, names, "--price")
        price = parse_decimal(value, f"price of {name}")
        if price <= 0:
            raise PrecisionError(f"price of {name} is {value}: it must be above 0")
        stated[name] = (f"--price {name}", price)
    return stated


def require_known(name: str, names: Iterable[str], path: str) -> None:
    """Refuse a name that is not among those of the case."""
    known = list(names)
    if name not in known:
        match = difflib.get_close_matches(name, known, n=1)
        cure = f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known[:12])}"
        raise RulebookError(f"{path}: {name!r} is neither a market nor an asset of this case: {cure}")


def read_excerpt(fields: Fields, stated: StatedPrices, default_name: str) -> Rulebook:
    """Read the rulebook excerpt of a case; lots and ticks that it leaves out are as fine as its numbers need."""
    name = fields.text("name", default_name)
    shares = read_shares(fields)
    terms = read_terms(fields, NO_COST)
    rows = list(fields.tables("assets"))
    if not rows:
        raise RulebookError("assets is missing: name at least the reporting asset, for example [assets.USD]")
    reporting = find_reporting(fields, [name for name, _ in rows])
    assets: dict[str, Asset] = {}
    for key, row in rows:
        row.take("price", None)
        tick = min(DEFAULT_ASSET_TICK, _finest([stated[key][1]] if key in stated else []))
        assets[key] = read_asset(key, row, reporting, shares, terms, strict=False, default_tick=tick)
    items = _items(fields.take("accounts", []))
    markets: dict[str, Market] = {}
    for key, row in fields.tables("markets"):
        lot, tick = _inferred_steps(key, stated, items)
        markets[key] = read_market(key, row, assets, shares, terms, strict=False, default_lot=lot, default_tick=tick)
    check_names(assets, markets)
    return Rulebook(name, reporting, assets, markets)


def _inferred_steps(market: str, stated: StatedPrices, items: list[dict[str, Any]]) -> tuple[Fraction, Fraction]:
    """Return a lot and a tick as fine as the case's own sizes and prices of a market need."""
    used = [item for item in items if item.get("market") == market]
    mark = [stated[market][1]] if market in stated else []
    return _finest(item.get("size") for item in used), _finest([*mark, *(item.get("price") for item in used)])


def _items(accounts: Any) -> list[dict[str, Any]]:
    rows = [row for row in accounts if isinstance(row, dict)] if isinstance(accounts, list) else []
    lists = [row.get(name, []) for row in rows for name in ("positions", "orders")]
    return [item for entries in lists if isinstance(entries, list) for item in entries if isinstance(item, dict)]


def _finest(numbers: Iterable[Any]) -> Fraction:
    """Return the coarsest power of ten, at most 1, of which every number is a multiple; bad ones are left to others."""
    decimals = 0
    for number in numbers:
        try:
            exact = number if isinstance(number, Fraction) else parse_decimal(number)
        except PrecisionError:
            continue
        decimals = max(decimals, decimals_of(exact))
    return Fraction(1, 10**decimals)


def read_valuation(tables: Tables, stated: StatedPrices) -> Valuation:
    """Return the case's marks and prices; every asset needs one, a market only where it is used."""
    valuation = Valuation(tables)
    for name, (path, price) in stated.items():
        asset = tables.asset_index.get(name)
        if asset is None:
            tick = tables.rulebook.markets[name].tick
            valuation.set_mark(tables.market_index[name], ticks_of(price, tick, path))
        elif asset == tables.reporting and price != 1:
            raise RulebookError(f"{path} is {exact_text(price)}: {name} is the reporting asset, its price is 1")
        else:
            valuation.set_price(asset, ticks_of(price, tables.rulebook.assets[name].tick, path))
    for asset_table in tables.assets:
        if not valuation.prices[asset_table.index]:
            raise RulebookError(f'assets.{asset_table.name}.price is missing: give it, as in price = "1.00"')
    return valuation


def ticks_of(price: Fraction, tick: Fraction, path: str) -> int:
    """Return a price above 0 in ticks; refuse one between two ticks."""
    return count_units(price, tick, path, "tick", ", or a finer tick", zero=False)
