"""Case files: a rulebook excerpt, prices and accounts in one TOML or JSON file (design section 9).

A case is a what-if, so it is more lenient than a rulebook where that is harmless: lots and ticks that it leaves out
are taken as fine as its own numbers need, and maintenance may equal initial.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marginkeep.book.account import CROSS, ISOLATED, Account, Position
from marginkeep.book.case_rules import read_excerpt, read_valuation, require_known, stated_prices, ticks_of
from marginkeep.book.limits import TERMS_MAX
from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import Fields, shown
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.reading import parse_file
from marginkeep.rulebook.tables import Tables, build_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction
    from pathlib import Path

    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook.model import Asset, Market, Rulebook


@dataclass(frozen=True, slots=True)
class Case:
    """A case ready to evaluate: accounts by id, in file order, isolated positions as accounts `owner/market`.

    An isolated account whose positions all have a margin of their own is these accounts, and none besides.
    """

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
    stated = stated_prices(fields, prices or {})
    rulebook = read_excerpt(fields, stated, name)
    tables = build_tables(rulebook, every_tier=True)
    valuation = read_valuation(tables, stated)
    accounts: dict[str, Account] = {}
    left_out: set[str] = set()
    for row in fields.rows("accounts"):
        read = _read_account(row, rulebook, valuation)
        for key, account in read:
            if key in accounts or key in left_out:
                raise RulebookError(f"{row.at('id')} is {key!r}, which another account has: ids must be unique")
            if len(read) > 1 and _holds_nothing_itself(account):
                left_out.add(key)
            else:
                accounts[key] = account
    fields.finish()
    return Case(rulebook, tables, valuation, accounts)


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
        if _has_own_margin(item, mode):
            owner = _isolated(item, rulebook, valuation, index)
            children.append((f"{name}/{rulebook.markets[item.take('market')].name}", owner))
        item.finish()
        _hold(owner, index, position, item)
    for item in row.rows("orders", []):
        _read_order(item, rulebook, valuation, account, dict(children), name)
    row.finish()
    _check_shape(row, account, children)
    return [(name, account), *children]


def _holds_nothing_itself(account: Account) -> bool:
    """Tell whether an isolated account is only the owner of others."""
    return account.mode == ISOLATED and not account.positions and not account.balances


def _check_shape(row: Fields, account: Account, children: Sequence[object]) -> None:
    if account.mode == ISOLATED and children and account.balances and not account.positions:
        raise RulebookError(
            f"{row.at('balances')}: the account is isolated and its positions have margins of their own, so nothing "
            f'would use the balances; add them to a margin, leave them out, or use mode = "cross"'
        )
    if account.mode == ISOLATED and len(account.positions) > 1:
        raise RulebookError(
            f"{row.at('positions')}: an isolated account backs one position; give each position its own margin "
            f'(margin = "...") or use mode = "cross"'
        )
    if len(account.positions) + len(account.balances) > TERMS_MAX:
        raise RulebookError(f"{row.path} has more than {TERMS_MAX} positions and balances: split it")


def _has_own_margin(item: Fields, account_mode: str) -> bool:
    """Tell whether a position is an account of its own: by its mode, else as the mode of an account with a margin."""
    mode = item.choice("mode", ("cross", "isolated"), account_mode if item.has("margin") else "cross")
    if item.has("margin") and mode == "cross":
        raise RulebookError(
            f"{item.at('margin')} is {shown(item.take('margin'))}, but a cross position has no margin of its own: "
            f'add mode = "isolated", or leave the margin out'
        )
    return bool(mode == "isolated")


def _isolated(item: Fields, rulebook: Rulebook, valuation: Valuation, market: int) -> Account:
    settle = valuation.tables.markets[market].settle
    asset = rulebook.assets[valuation.tables.assets[settle].name]
    margin = item.units("margin", asset.unit, "smallest unit")
    if margin < 0:
        raise RulebookError(f"{item.at('margin')} is {shown(item.take('margin'))}: collateral must be 0 or more")
    return Account(mode=ISOLATED, balances={settle: margin})


def _hold(owner: Account, market: int, position: Position, item: Fields) -> None:
    if market in owner.positions:
        raise RulebookError(f"{item.at('market')} stands twice in one account: net the positions into one")
    owner.positions[market] = position


def _read_balances(row: Fields, valuation: Valuation) -> dict[int, int]:
    table = row.sub("balances", {})
    balances = {}
    for name in table.table:
        require_known(name, valuation.tables.asset_index, table.at(name))
        asset = valuation.tables.rulebook.assets[name]
        balances[valuation.tables.asset_index[name]] = table.units(name, asset.unit, "smallest unit")
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
    size = item.units("size", market.lot, "lot", ", or a finer lot", zero=False)
    if size == 0:
        raise RulebookError(f"{item.at('size')} is 0: leave the position out")
    cost = _read_cost(item, market, rulebook.assets[market.settle], size)
    return valuation.tables.market_index[market.name], Position(size=size, cost=cost)


def _read_cost(item: Fields, market: Market, settle: Asset, size: int) -> int:
    if item.take("cost", None) is None:
        return fill_cost(market, settle, size, item.positive("entry"))
    if item.take("entry", None) is not None:
        raise RulebookError(
            f"{item.at('cost')} and {item.at('entry')} are both given: the cost is size at entry; leave one of them out"
        )
    return item.units("cost", settle.unit, "smallest unit")


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
    if (stated := item.decimal("size")) <= 0:
        raise RulebookError(f"{item.at('size')} is {exact_text(stated)}: an order's size must be above 0")
    size = item.units("size", market.lot, "lot", ", or a finer lot", zero=False)
    price = item.positive("price")
    ticks_of(price, market.tick, item.at("price"))
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
