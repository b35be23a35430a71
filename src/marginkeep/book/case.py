"""Case files: a rulebook excerpt, prices and accounts in one TOML or JSON file (design section 9).

A case is a what-if, so it is more lenient than a rulebook where that is harmless: lots and ticks that it leaves out
are taken as fine as its own numbers need, and maintenance may equal initial.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marginkeep.book.account import CROSS, ISOLATED, Account, Position
from marginkeep.book.limits import TERMS_MAX
from marginkeep.book.valuation import Valuation
from marginkeep.errors import PrecisionError, RulebookError
from marginkeep.rulebook.fields import Fields
from marginkeep.rulebook.model import Asset, LiquidationTerms, Market, Rulebook
from marginkeep.rulebook.reading import (
    check_names,
    find_reporting,
    parse_file,
    read_asset,
    read_market,
    read_shares,
    read_terms,
)
from marginkeep.rulebook.tables import Tables, build_tables
from marginkeep.units import RATE_ONE, decimals_of, parse_decimal, to_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """A case ready to evaluate: accounts by id, in file order, isolated positions as accounts `owner/market`."""

    rulebook: Rulebook
    tables: Tables
    valuation: Valuation
    accounts: Mapping[str, Account]


def load_case(path: Path, prices: Mapping[str, str] | None = None) -> Case:
    """Read a case file.

    Parameters
    ----------
    path : ``.toml`` or ``.json``
    prices : market or asset -> decimal price that replaces the file's, for a what-if

    Raises
    ------
    RulebookError, PrecisionError : naming path, value, bound and cure
    """
    return read_case(parse_file(path), prices, path.stem)


def read_case(table: dict[str, Any], prices: Mapping[str, str] | None = None, name: str = "case") -> Case:
    """Read a parsed case; see `load_case`."""
    fields = Fields(table, "")
    stated = _stated_prices(fields, prices or {})
    rulebook = _read_excerpt(fields, stated, name)
    tables = build_tables(rulebook)
    valuation = _read_valuation(tables, stated)
    accounts: dict[str, Account] = {}
    for row in fields.rows("accounts"):
        for key, account in _read_account(row, rulebook, valuation):
            if key in accounts:
                raise RulebookError(f"{row.at('id')} is {key!r}, which another account has: ids must be unique")
            accounts[key] = account
    fields.finish()
    return Case(rulebook, tables, valuation, accounts)


def _stated_prices(fields: Fields, replaced: Mapping[str, str]) -> dict[str, tuple[str, Fraction]]:
    """Gather name -> (path, price) from asset tables, the prices table and what-ifs, the later winning."""
    stated: dict[str, tuple[str, Fraction]] = {}
    for name, row in fields.tables("assets"):
        if row.has("price"):
            stated[name] = (row.at("price"), row.positive("price"))
    prices = fields.sub("prices", {})
    names = [*Fields(fields.take("assets", {}), "assets").table, *Fields(fields.take("markets", {}), "markets").table]
    for name in prices.table:
        _require_known(name, names, prices.at(name))
        stated[name] = (prices.at(name), prices.positive(name))
    for name, value in replaced.items():
        _require_known(name, names, "--price")
        price = parse_decimal(value, f"price of {name}")
        if price <= 0:
            raise PrecisionError(f"price of {name} is {value}: it must be above 0")
        stated[name] = ("--price", price)
    return stated


def _require_known(name: str, names: Iterable[str], path: str) -> None:
    known = list(names)
    if name not in known:
        match = difflib.get_close_matches(name, known, n=1)
        cure = f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known[:12])}"
        raise RulebookError(f"{path}: {name!r} is neither a market nor an asset of this case: {cure}")


def _read_excerpt(fields: Fields, stated: Mapping[str, tuple[str, Fraction]], default_name: str) -> Rulebook:
    name = fields.text("name", default_name)
    shares = read_shares(fields)
    terms = read_terms(fields, LiquidationTerms(0, 0, RATE_ONE // 2))
    rows = list(fields.tables("assets"))
    if not rows:
        raise RulebookError("assets is missing: name at least the reporting asset, for example [assets.USD]")
    reporting = find_reporting(fields, [name for name, _ in rows])
    assets: dict[str, Asset] = {}
    for key, row in rows:
        row.take("price", None)
        tick = Fraction(1, 10 ** max(4, decimals_of(stated[key][1]) if key in stated else 0))
        assets[key] = read_asset(key, row, reporting, shares, terms, strict=False, default_tick=tick)
    accounts = fields.take("accounts", [])
    markets: dict[str, Market] = {}
    for key, row in fields.tables("markets"):
        _infer_steps(row, key, stated, accounts)
        markets[key] = read_market(key, row, assets, shares, terms, strict=False)
    check_names(assets, markets)
    return Rulebook(name, reporting, assets, markets)


def _infer_steps(row: Fields, market: str, stated: Mapping[str, tuple[str, Fraction]], accounts: Any) -> None:
    """Fill in a lot and a tick as fine as the case's own sizes and prices of this market need."""
    used = [item for item in _items(accounts) if item.get("market") == market]
    if not row.has("lot"):
        row.table["lot"] = _finest(item.get("size") for item in used)
    if not row.has("tick"):
        mark = [stated[market][1]] if market in stated else []
        row.table["tick"] = _finest([*mark, *(item.get("price") for item in used)])


def _items(accounts: Any) -> list[dict[str, Any]]:
    rows = [row for row in accounts if isinstance(row, dict)] if isinstance(accounts, list) else []
    lists = [row.get(name, []) for row in rows for name in ("positions", "orders")]
    return [item for entries in lists if isinstance(entries, list) for item in entries if isinstance(item, dict)]


def _finest(numbers: Iterable[Any]) -> Decimal:
    """Return the coarsest power of ten, at most 1, of which every number is a multiple; bad ones are left to others."""
    decimals = 0
    for number in numbers:
        try:
            exact = number if isinstance(number, Fraction) else parse_decimal(number)
        except PrecisionError:
            continue
        decimals = max(decimals, decimals_of(exact))
    return Decimal(1).scaleb(-decimals)


def _read_valuation(tables: Tables, stated: Mapping[str, tuple[str, Fraction]]) -> Valuation:
    valuation = Valuation(tables)
    for name, (path, price) in stated.items():
        asset = tables.asset_index.get(name)
        if asset is None:
            tick = tables.rulebook.markets[name].tick
            valuation.set_mark(tables.market_index[name], _ticks(price, tick, path))
        elif asset == tables.reporting and price != 1:
            raise RulebookError(f"{path} is {price}: {name} is the reporting asset, its price is 1")
        else:
            valuation.set_price(asset, _ticks(price, tables.rulebook.assets[name].tick, path))
    for asset_table in tables.assets:
        if not valuation.prices[asset_table.index]:
            raise RulebookError(f'assets.{asset_table.name}.price is missing: give it, as in price = "1.00"')
    return valuation


def _ticks(price: Fraction, tick: Fraction, path: str) -> int:
    decimals = decimals_of(price)
    return to_units(str(Decimal(int(price * 10**decimals)).scaleb(-decimals)), tick, path, "tick")


def _read_account(row: Fields, rulebook: Rulebook, valuation: Valuation) -> list[tuple[str, Account]]:
    """Return the account and, for positions with a margin of their own, one isolated account each."""
    name = row.text("id")
    mode = row.choice("mode", ("cross", "isolated"), "cross")
    account = Account(mode=CROSS if mode == "cross" else ISOLATED)
    account.balances = _read_balances(row, valuation)
    children: list[tuple[str, Account]] = []
    for item in row.rows("positions", []):
        index, position = _read_position(item, rulebook, valuation)
        owner = account
        if item.take("mode", mode if item.has("margin") else "cross") == "isolated":
            owner = _isolated(item, rulebook, valuation, index)
            children.append((f"{name}/{rulebook.markets[item.take('market')].name}", owner))
        item.finish()
        _hold(owner, index, position, item)
    for item in row.rows("orders", []):
        _read_order(item, rulebook, valuation, account, dict(children), name)
    row.finish()
    _check_shape(row, account)
    return [(name, account), *children]


def _check_shape(row: Fields, account: Account) -> None:
    if account.mode == ISOLATED and len(account.positions) > 1:
        raise RulebookError(
            f"{row.at('positions')}: an isolated account backs one position; give each position its own margin "
            f'(margin = "...") or use mode = "cross"'
        )
    if len(account.positions) + len(account.balances) > TERMS_MAX:
        raise RulebookError(f"{row.path} has more than {TERMS_MAX} positions and balances: split it")


def _isolated(item: Fields, rulebook: Rulebook, valuation: Valuation, market: int) -> Account:
    settle = valuation.tables.markets[market].settle
    asset = rulebook.assets[valuation.tables.assets[settle].name]
    margin = to_units(item.take("margin"), asset.unit, item.at("margin"), "smallest unit")
    return Account(mode=ISOLATED, balances={settle: margin})


def _hold(owner: Account, market: int, position: Position, item: Fields) -> None:
    if market in owner.positions:
        raise RulebookError(f"{item.at('market')} stands twice in one account: net the positions into one")
    owner.positions[market] = position


def _read_balances(row: Fields, valuation: Valuation) -> dict[int, int]:
    table = row.sub("balances", {})
    balances = {}
    for name in table.table:
        _require_known(name, valuation.tables.asset_index, table.at(name))
        asset = valuation.tables.rulebook.assets[name]
        amount = to_units(table.take(name), asset.unit, table.at(name), "smallest unit")
        balances[valuation.tables.asset_index[name]] = amount
    return balances


def _read_market_name(item: Fields, rulebook: Rulebook, valuation: Valuation) -> Market:
    name = item.text("market")
    if name not in rulebook.markets:
        match = difflib.get_close_matches(name, rulebook.markets, n=1)
        cure = f"did you mean {match[0]!r}?" if match else f"known: {', '.join(list(rulebook.markets)[:12])}"
        raise RulebookError(f"{item.at('market')} is {name!r}, which is not a market of this case: {cure}")
    if not valuation.marks[valuation.tables.market_index[name]]:
        raise RulebookError(f'prices.{name} is missing: its mark is needed, as in [prices] {name} = "100"')
    return rulebook.markets[name]


def _read_position(item: Fields, rulebook: Rulebook, valuation: Valuation) -> tuple[int, Position]:
    market = _read_market_name(item, rulebook, valuation)
    size = to_units(item.take("size"), market.lot, item.at("size"), "lot")
    if size == 0:
        raise RulebookError(f"{item.at('size')} is 0: leave the position out")
    if item.take("cost", None) is not None:
        asset = rulebook.assets[market.settle]
        cost = to_units(item.take("cost"), asset.unit, item.at("cost"), "smallest unit")
    else:
        cost = fill_cost(market, rulebook.assets[market.settle], size, item.positive("entry"))
    return valuation.tables.market_index[market.name], Position(size=size, cost=cost)


def _read_order(
    item: Fields,
    rulebook: Rulebook,
    valuation: Valuation,
    account: Account,
    children: Mapping[str, Account],
    name: str,
) -> None:
    market = _read_market_name(item, rulebook, valuation)
    side = item.choice("side", ("buy", "sell"))
    size = to_units(item.take("size"), market.lot, item.at("size"), "lot")
    if size <= 0:
        raise RulebookError(f"{item.at('size')} is {item.take('size')}: an order's size must be above 0")
    price = item.positive("price")
    _ticks(price, market.tick, item.at("price"))
    item.finish()
    owner = children.get(f"{name}/{market.name}", account)
    position = owner.positions.setdefault(valuation.tables.market_index[market.name], Position())
    if side == "buy":
        position.bid_size += size
        position.bid_cost += fill_cost(market, rulebook.assets[market.settle], size, price)
    else:
        position.ask_size += size
        position.ask_cost += fill_cost(market, rulebook.assets[market.settle], -size, price)


def fill_cost(market: Market, settle: Asset, size: int, price: Fraction) -> int:
    """Return what `size` lots cost at a price, in settle units, signed like their value and rounded up."""
    contracts = size * market.lot * market.contract_size
    value = contracts * price if market.payoff == "linear" else -contracts / price
    units = value / settle.unit
    return -(-units.numerator // units.denominator)
