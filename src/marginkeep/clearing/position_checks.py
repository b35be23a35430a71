"""The rulebook's limits of positions, applied to orders and trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from marginkeep.book.account import SYSTEM
from marginkeep.clearing.pacing import impacts_of
from marginkeep.clearing.transaction import Transaction, refuse
from marginkeep.liquidation.position_limits import (
    Growth,
    Reach,
    account_growth,
    group_growth,
    owner_of,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.clearing.state import State
    from marginkeep.liquidation.position_limits import LimitRefusal
    from marginkeep.rulebook import MarketTable

    Growths = tuple[Growth | None, Growth | None, Growth | None]


def reach_of(tx: Transaction, name: str, market: int) -> Reach:
    """Return how large an account's position can become, as staged."""
    position = tx.look(name).positions.get(market)
    return Reach(0) if position is None else Reach(position.size, position.bid_size, position.ask_size)


def note_reaches(tx: Transaction, market: MarketTable, names: Iterable[str]) -> dict[str, Reach]:
    """Return the reach of users' accounts before a change, for `require_within_limits`; nothing without limits."""
    if market.index not in tx.state.position_rules:
        return {}
    return {name: reach_of(tx, name, market.index) for name in names if tx.account(name).mode != SYSTEM}


def require_within_limits(tx: Transaction, market: MarketTable, before: dict[str, Reach]) -> None:
    """Refuse positions that have grown past the limits of an account, of an owner's accounts, of the market.

    To be called once all sides have changed: an owner's accounts may trade with each other.

    Parameters
    ----------
    before : the reach of every account that has changed, see `note_reaches`
    """
    rules = tx.state.position_rules.get(market.index)
    if rules is None:
        return
    growths: list[Growths] = []
    for name, reach in before.items():
        own = account_growth(name, reach, reach_of(tx, name, market.index))
        growths.append((own, _group_growth(tx, market.index, owner_of(name), before), None))
    opened = Growth(market.name, tx.state.open_interest[market.index], tx.open_interest(market.index))
    growths.append((None, None, opened))
    impact = impacts_of(tx.state).get(market.index)
    depth, value = None if impact is None else impact.depth, lot_value(tx.state, market)
    for growth in growths:
        found = refusal(rules, *growth, depth, value)
        if found is not None:
            _refuse(market, found)


def lot_value(state: State, market: MarketTable) -> tuple[int, int]:
    """Return (x, y): a lot is worth x / y reporting units at the mark."""
    valuation, index = state.valuation, market.index
    return (
        valuation.market_x[index] * valuation.asset_x[market.settle],
        valuation.market_y[index] * valuation.asset_y[market.settle],
    )


def _group_growth(tx: Transaction, market: int, owner: str, before: dict[str, Reach]) -> Growth | None:
    """Return how the larger side of an owner's accounts changes; None where no limit asks for it."""
    if tx.state.position_rules[market].group.is_open:
        return None
    names = [tx.state.names[index] for index in tx.state.accounts_of(owner)]
    after = {name: reach_of(tx, name, market) for name in names}
    return group_growth(owner, [before.get(name, reach) for name, reach in after.items()], after.values())


def _refuse(market: MarketTable, found: LimitRefusal) -> NoReturn:
    reason = f"{market.name}: {found.reason}"
    if found.code == "group_limit":
        refuse("group_limit", reason, reach=found.reach, bound=found.bound)
    if found.code == "interest_limit":
        refuse("interest_limit", reason, reach=found.reach, bound=found.bound)
    refuse("position_limit", reason, reach=found.reach, bound=found.bound)
