"""A small house cut out of the large one: some owners' accounts under the same rules and prices, to try things on.

What is done to it is done to nobody: it shares nothing that may change with the house that it was cut from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from marginkeep.book.account import NO_PARENT, SYSTEM, Account
from marginkeep.clearing import Clearinghouse
from marginkeep.clearing.ill import Ill
from marginkeep.clearing.quoting import apply_pegs
from marginkeep.clearing.state import State
from marginkeep.oracle.feed_price import VALID_BIT
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marginkeep.book.valuation import Valuation


class Excerpt(NamedTuple):
    """A small house, and where its accounts stand in the large one.

    Nobody stands on the ladder in the small house itself, so nothing is done to them but what is asked.
    """

    house: Clearinghouse
    ill: dict[str, Ill]
    called: dict[str, tuple[str, ...]]


def excerpt(state: State, names: Iterable[str]) -> Excerpt:
    """Return a house of the system's accounts, emptied, and of some accounts as they are.

    Parameters
    ----------
    names : with every isolated account its owner must be among them, where it exists
    """
    house = Clearinghouse(state.rulebook)
    cut = house.state
    cut.sequence, cut.now_ns, cut.halted = state.sequence, state.now_ns, state.halted
    cut.rulebook_hash, cut.open_interest = state.rulebook_hash, list(state.open_interest)
    _copy_prices(state, cut)
    for name in sorted(names, key=state.index.__getitem__):
        account = state.book.read(state.index[name])
        if account.mode != SYSTEM:
            _add(state, cut, name, account)
    known = cut.index.keys()
    ill = {name: replace(state.ill[name]) for name in known if name in state.ill}
    called = {name: state.called[name] for name in known if name in state.called}
    return Excerpt(house, ill, called)


def _copy_prices(state: State, cut: State) -> None:
    """Take over marks, prices and funding, and what the oracle knows."""
    for market, ticks in enumerate(state.valuation.marks):
        cut.valuation.set_mark(market, ticks)
    for asset, ticks in enumerate(state.valuation.prices):
        cut.valuation.set_price(asset, ticks)
    cut.valuation.funding[:] = state.valuation.funding
    cut.valuation.funding_short[:] = state.valuation.funding_short
    if cut.oracle is not None and state.oracle is not None:
        cut.oracle.restore(msgspec.json.decode(msgspec.json.encode(state.oracle.save())))
        apply_pegs(cut)


def _add(state: State, cut: State, name: str, account: Account) -> None:
    """Add an account with its orders; indices are those of the excerpt."""
    if account.parent != NO_PARENT:
        account.parent = cut.index.get(state.names[account.parent], NO_PARENT)
    index = cut.add_account(name, account)
    orders = state.orders.get(state.index[name])
    if orders:
        cut.orders[index] = dict(orders)


def reprice(state: State, prices: Mapping[str, str]) -> None:
    """Set prices of markets and assets in an excerpt, as though they were good ones of this moment.

    Raises
    ------
    Problem : ``rejected`` for a name or a price that the rulebook does not have room for, ``bad_request`` for the
        reporting asset, whose price is 1
    """
    ticks = stated_ticks(state.valuation, state, prices)
    set_prices(state.valuation, ticks)
    oracle = state.oracle
    if oracle is None:
        return
    tables = state.tables
    for name, price in ticks.items():
        market = tables.market_index.get(name)
        line = oracle.markets.get(market) if market is not None else oracle.assets.get(tables.asset_index[name])
        if line is not None:
            line.latest = line.trusted = price
            line.flags = VALID_BIT


def stated_ticks(valuation: Valuation, state: State, prices: Mapping[str, str]) -> dict[str, int]:
    """Return stated prices in ticks, each within what the books can hold; see `reprice`."""
    tables, units = valuation.tables, units_of(state.rulebook)
    found = {}
    for name, text in prices.items():
        ticks = units.grid("ticks", name).parse(text, f"the price of {name}")
        market = tables.market_index.get(name)
        if market is None and tables.asset_index[name] == tables.reporting:
            raise Problem("bad_request", f"{name} is the reporting asset, its price is 1: leave it out")
        if market is not None:
            limit = state.limits.markets[market]
            lowest, highest = limit.min_price, limit.max_price
        else:
            lowest, highest = 1, state.limits.assets[tables.asset_index[name]].max_price
        if not lowest <= ticks <= highest:
            grid = units.grid("ticks", name)
            bounds = {"lowest": grid.format(lowest), "highest": grid.format(highest)}
            reason = f"price {text} of {name} is outside {bounds['lowest']} to {bounds['highest']}"
            raise Problem("rejected", reason, refusal="bad_price", numbers=bounds)
        found[name] = ticks
    return found


def set_prices(valuation: Valuation, ticks: Mapping[str, int]) -> None:
    """Set prices in ticks, by the names of markets and assets."""
    tables = valuation.tables
    for name, price in ticks.items():
        market = tables.market_index.get(name)
        if market is not None:
            valuation.set_mark(market, price)
        else:
            valuation.set_price(tables.asset_index[name], price)
