"""Where a replay starts: prices as integer ticks, the market each symbol feeds, and the book that meets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from marginkeep.book.account import CROSS, ISOLATED, SYSTEM, Account, Position
from marginkeep.book.columns import Book
from marginkeep.clearing.clearinghouse import NAME_LENGTH_MAX, Clearinghouse
from marginkeep.clearing.state import EXTERNAL, LIQUIDATOR, RESERVED_NAMES
from marginkeep.errors import InputError
from marginkeep.lab.example_rules import base_of, chosen_symbols
from marginkeep.units import format_exact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    from marginkeep.book.case import Case
    from marginkeep.book.valuation import Valuation
    from marginkeep.lab.candles import Candles
    from marginkeep.rulebook import Market, Rulebook

PathKind = Literal["close", "ohlc"]


@dataclass(frozen=True, slots=True)
class PricePath:
    """What the engine will be told, tick by tick.

    Attributes
    ----------
    times_ns : int64[T], nanoseconds UTC
    markets, assets : names in column order
    mark_ticks : int64[T, M]; asset_ticks : int64[T, A]
    unused : symbols of the file that feed no market
    rounded : how many prices were not whole ticks and were rounded to the nearest
    raised : how many prices were below half a tick and were raised to one tick
    """

    times_ns: NDArray[np.int64]
    markets: tuple[str, ...]
    assets: tuple[str, ...]
    mark_ticks: NDArray[np.int64]
    asset_ticks: NDArray[np.int64]
    unused: tuple[str, ...]
    rounded: int
    raised: int = 0


def price_path(candles: Candles, rulebook: Rulebook, kind: PathKind, needed: Sequence[str] = ()) -> PricePath:
    """Turn candles into marks of the rulebook's markets and prices of its assets.

    Parameters
    ----------
    candles : filled: no missing bar
    kind : ``close``: one tick a bar; ``ohlc``: four, open, the nearer extreme, the other, close
    needed : markets that must have a price, because accounts hold them

    Raises
    ------
    InputError : a needed market or an asset without a symbol in the file
    """
    times, prices = _expand(candles, kind)
    exact = {symbol: index for index, symbol in enumerate(candles.symbols)}
    columns = {base: exact[symbol] for base, symbol in chosen_symbols(candles.symbols).items()}
    markets = {
        name: exact.get(market.symbol or "", columns.get(_base_of_market(name, market.symbol)))
        for name, market in rulebook.markets.items()
    }
    fed = {name: column for name, column in markets.items() if column is not None}
    _require_fed(needed, fed, candles)
    assets = {name: columns[name] for name in rulebook.assets if name != rulebook.reporting and name in columns}
    marks = _ticks(prices, fed, [float(rulebook.markets[name].tick) for name in fed])
    coins = _ticks(prices, assets, [float(rulebook.assets[name].tick) for name in assets])
    used = {*fed.values(), *assets.values()}
    unused = tuple(symbol for index, symbol in enumerate(candles.symbols) if index not in used)
    rounded, raised = marks[1] + coins[1], marks[2] + coins[2]
    return PricePath(times, tuple(fed), tuple(assets), marks[0], coins[0], unused, rounded, raised)


def _base_of_market(name: str, symbol: str | None) -> str:
    return base_of(symbol) if symbol else name.split("-", 1)[0]


def _require_fed(needed: Sequence[str], fed: dict[str, int], candles: Candles) -> None:
    missing = [name for name in needed if name not in fed]
    if missing:
        raise InputError(
            f"the price file has no prices for {', '.join(missing)}: it holds {', '.join(candles.symbols[:12])}; "
            f'name the symbol in the rulebook (symbol = "BTC/USDT:USDT") or give another file'
        )
    if not fed:
        raise InputError(
            f"no market of the rulebook has prices in the file, which holds {', '.join(candles.symbols[:12])}"
        )


def _expand(candles: Candles, kind: PathKind) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return times and prices; within a bar that rose the low is taken before the high, in one that fell after."""
    if kind == "close":
        return candles.times_ns + candles.step_ns, candles.close
    rose = candles.close >= candles.open
    first = np.where(rose, candles.low, candles.high)
    second = np.where(rose, candles.high, candles.low)
    prices = np.stack([candles.open, first, second, candles.close], axis=1).reshape(-1, len(candles.symbols))
    quarter = candles.step_ns // 4
    times = (candles.times_ns[:, None] + quarter * np.arange(1, 5)[None, :]).reshape(-1)
    return times, prices


def _ticks(
    prices: NDArray[np.float64], columns: dict[str, int], steps: list[float]
) -> tuple[NDArray[np.int64], int, int]:
    """Return prices in whole ticks, rounded to the nearest but at least one, how many were rounded, how many raised."""
    chosen = prices[:, list(columns.values())]
    exact = chosen / np.array(steps)
    nearest = np.rint(exact).astype(np.int64)
    raised = nearest < 1
    rounded = (np.abs(exact - nearest) > 1e-6) & ~raised
    return np.maximum(nearest, 1), int(np.count_nonzero(rounded)), int(np.count_nonzero(raised))


def set_opening_prices(valuation: Valuation, path: PricePath) -> None:
    """Set the first prices of a path."""
    for column, name in enumerate(path.markets):
        valuation.set_mark(valuation.tables.market_index[name], int(path.mark_ticks[0, column]))
    for column, name in enumerate(path.assets):
        valuation.set_price(valuation.tables.asset_index[name], int(path.asset_ticks[0, column]))


def keep_case_prices(valuation: Valuation, case: Case, path: PricePath) -> tuple[str, ...]:
    """Set the case's own prices for assets that the path does not move; return those that accounts hold."""
    held = {case.tables.assets[index].name for account in case.accounts.values() for index in account.balances}
    kept = []
    for table in valuation.tables.assets:
        own = case.tables.asset_index.get(table.name)
        if own is None or table.name in path.assets or table.index == valuation.tables.reporting:
            continue
        price = case.valuation.prices[own] * case.tables.assets[own].asset.tick
        valuation.set_price(table.index, _in_units(price, table.asset.tick, f"price of {table.name}"))
        if table.name in held:
            kept.append(table.name)
    return tuple(kept)


def open_case(case: Case, rulebook: Rulebook) -> Clearinghouse:
    """Return a clearinghouse that starts from a case's accounts; `external` takes the other side of each market.

    Raises
    ------
    InputError : an account name that the clearinghouse reserves, or a market or asset that the rulebook lacks
    """
    other = Account(mode=SYSTEM)
    book = Book()
    book.add(other)
    book.add(Account(mode=SYSTEM))
    names = [EXTERNAL, LIQUIDATOR]
    for name, account in case.accounts.items():
        _require_free(name, names)
        moved = _translate(case, account, rulebook)
        if "/" in name:
            moved.parent = _owner_of(name, account, case, book, names)
        _oppose(other, moved)
        book.add(moved)
        names.append(name)
    book.write(0, other)
    return Clearinghouse.opened_with(rulebook, book, names)


def _require_free(name: str, taken: Sequence[str]) -> None:
    """Refuse an account whose name the clearinghouse would take for something else, or would not take at all."""
    owner = name.partition("/")[0]
    if not 0 < len(owner) <= NAME_LENGTH_MAX or not name.isprintable():
        raise InputError(f"account {name!r:.100}: an id has 1 to {NAME_LENGTH_MAX} printable characters; rename it")
    if name in taken or owner in (EXTERNAL, LIQUIDATOR, *RESERVED_NAMES) or ":" in owner:
        raise InputError(f"account {name!r}: the name is reserved for the clearinghouse; rename it")


def _owner_of(name: str, account: Account, case: Case, book: Book, names: list[str]) -> int:
    """Return the index of an isolated account's owner; a case leaves out an owner that has nothing else."""
    owner, _, market = name.partition("/")
    if owner in names:
        return names.index(owner)
    held = [case.tables.markets[index].name for index in account.positions]
    if account.mode != ISOLATED or held != [market] or owner in case.accounts:
        raise InputError(f"account {name!r}: '/' is reserved for the isolated accounts of an owner; rename it")
    names.append(owner)
    return book.add(Account(mode=CROSS))


def _translate(case: Case, account: Account, rulebook: Rulebook) -> Account:
    """Return the account in the units and indices of another rulebook.

    Its orders are left out: nobody matches them in a replay.

    Raises
    ------
    InputError : a market or asset that the rulebook lacks, or a quantity that its units cannot hold exactly
    """
    markets = {name: index for index, name in enumerate(rulebook.markets)}
    assets = {name: index for index, name in enumerate(rulebook.assets)}
    moved = Account(mode=account.mode)
    for index, amount in account.balances.items():
        old = case.tables.assets[index].asset
        moved.balances[assets[rulebook.asset(old.name).name]] = _in_units(
            amount * old.unit, rulebook.asset(old.name).unit, f"balance of {old.name}"
        )
    for index, position in account.positions.items():
        if not position.size:
            continue
        table = case.tables.markets[index]
        new = rulebook.market(table.name)
        _require_same_terms(table.market, new)
        unit = rulebook.asset(new.settle).unit
        moved.positions[markets[table.name]] = Position(
            size=_in_units(position.size * table.market.lot, new.lot, f"size in {table.name}"),
            cost=_in_units(position.cost * case.rulebook.asset(new.settle).unit, unit, f"cost in {table.name}"),
        )
    return moved


def _require_same_terms(old: Market, new: Market) -> None:
    for name in ("settle", "payoff", "contract_size"):
        if getattr(old, name) != getattr(new, name):
            raise InputError(
                f"market {old.name} has {name} {getattr(old, name)} in the book, {getattr(new, name)} in the rulebook: "
                f"its positions cannot be carried over; use the book's own rules"
            )


def _in_units(exact: Fraction, unit: Fraction, what: str) -> int:
    count = exact / unit
    if count.denominator != 1:
        raise InputError(
            f"{what} is {format_exact(exact)} in the book, no multiple of the rulebook's {format_exact(unit)}: "
            f"make the rulebook's unit finer"
        )
    return int(count)


def _oppose(other: Account, account: Account) -> None:
    for market, position in account.positions.items():
        opposite = other.positions.setdefault(market, Position())
        opposite.size -= position.size
        opposite.cost -= position.cost
