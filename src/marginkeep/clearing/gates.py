"""What a price's quality or a market's state forbids: every action asks here before it uses a price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.book.account import SYSTEM
from marginkeep.book.health import measure
from marginkeep.clearing.transaction import refuse
from marginkeep.liquidation import EVERYTHING, Allowance
from marginkeep.rulebook.model import MAINTENANCE
from marginkeep.rulebook.oracle_rules import GUARDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.book.account import Account
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.oracle.lines import Line
    from marginkeep.oracle.price_seen import PriceSeen
    from marginkeep.rulebook import MarketTable


def require_action(tx: Transaction, action: str, market: MarketTable, what: str) -> None:
    """Refuse an action that the mark of a market, or for new risk the price of its settle asset, does not allow."""
    oracle = tx.state.oracle
    if oracle is None:
        return
    lines: list[Line | None] = [oracle.markets.get(market.index)]
    if action == "open":
        lines.append(oracle.assets.get(market.settle))
    for line in lines:
        if line is not None:
            _require(tx, action, line, what)


def require_withdrawable(tx: Transaction, name: str, what: str) -> None:
    """Refuse to take from an account that depends on a price which does not allow it.

    Those are the marks of its positions, and the prices of what these settle in and of what it owes. Holdings whose
    price does not allow it need no gate: they count nothing.
    """
    oracle = tx.state.oracle
    if oracle is None:
        return
    account, markets = tx.account(name), tx.state.tables.markets
    held = sorted(index for index, position in account.positions.items() if not position.is_empty)
    owed = {asset for asset, amount in account.balances.items() if amount < 0}
    needed: list[Line | None] = [oracle.markets.get(index) for index in held]
    needed += [oracle.assets.get(asset) for asset in sorted(owed | {markets[index].settle for index in held})]
    for line in needed:
        if line is not None:
            _require(tx, "withdraw", line, what)


def _require(tx: Transaction, action: str, line: Line, what: str) -> None:
    why = line.obstacle(action)
    if why:
        oracle = tx.state.oracle
        assert oracle is not None
        seen = oracle.evidence.seen(line, tx.state.now_ns, f"{what}: {why}")
        sources = oracle.evidence.describe_sources(line, tx.state.now_ns)
        refuse("price", f"{what} needs {line.name}, but {why}; its sources: {sources}", (seen,))


def action_of(account: Account, before: int, after: int) -> str:
    """Return ``reduce`` when a position's size only came nearer to zero, else ``open``; the system's always reduces."""
    if account.mode == SYSTEM:
        return "reduce"
    return "reduce" if before and abs(after) < abs(before) and after * before >= 0 else "open"


class Seen(NamedTuple):
    """What a liquidation may use of an account, the evidence of every price in it, and the names that block a part."""

    allowance: Allowance
    prices: tuple[PriceSeen, ...]
    blocked: tuple[str, ...]


_UNGATED: Final = Seen(EVERYTHING, (), ())


def liquidation_gate(state: State, account: Account, action: str = "liquidate") -> Seen:
    """Return what the prices of an account's holdings allow a liquidation to do now."""
    oracle = state.oracle
    if oracle is None:
        return _UNGATED
    lots: dict[int, int] = {}
    kept: list[int] = []
    prices: list[PriceSeen] = []
    blocked: list[str] = []
    for line, index, is_market in _lines_held(state, account):
        why = line.obstacle(action)
        if is_market and not why:
            left = _budget(state, index)
            if left is not None:
                lots[index] = left
                why = "" if left else "the share of open interest that may be liquidated in this interval is used up"
        elif why and is_market:
            lots[index] = 0
        elif why:
            kept.append(index)
        if why:
            blocked.append(line.name)
        prices.append(oracle.evidence.seen(line, state.now_ns, f"liquidation: {why}" if why else ""))
    return Seen(Allowance(lots, frozenset(kept)), tuple(prices), tuple(blocked))


def is_ill_at_best(state: State, account: Account) -> bool:
    """Tell whether an account is below maintenance even if each price that blocks is the better one for it.

    A line that liquidation may not use has an old trusted price and a newer one in doubt. Only who is ill at both may
    lose what its other, good prices are worth: old and new prices of different names do not add up to a verdict.
    """
    best = state.valuation.copy()
    for line, index, is_market in _lines_held(state, account):
        if not line.obstacle("liquidate") or line.latest in (0, line.trusted):
            continue
        healths = []
        for ticks in (line.trusted, line.latest):
            (best.set_mark if is_market else best.set_price)(index, ticks)
            healths.append((measure(account, best, MAINTENANCE).health, ticks))
        (best.set_mark if is_market else best.set_price)(index, max(healths)[1])
    return measure(account, best, MAINTENANCE).health < 0


def _lines_held(state: State, account: Account) -> Iterator[tuple[Line, int, bool]]:
    """Yield the lines behind an account's positions and balances, with index and whether it is a market."""
    oracle = state.oracle
    assert oracle is not None
    for index in sorted(account.positions):
        market = oracle.markets.get(index)
        if market is not None and account.positions[index].size:
            yield market, index, True
    for index in sorted(account.balances):
        asset = oracle.assets.get(index)
        if asset is not None and account.balances[index]:
            yield asset, index, False


def _budget(state: State, index: int) -> int | None:
    """Return how many lots of a guarded market may still be liquidated in this interval; None = any number."""
    assert state.oracle is not None
    line = state.oracle.markets[index]
    if line.state < GUARDED or not line.breaker_rules.liquidation_share:
        return None
    return line.budget.left(state.now_ns, state.open_interest[index], line.breaker_rules)


def guarded_names(state: State) -> frozenset[str]:
    """Return the guarded markets in which liquidation is bounded, whose budget may have been renewed."""
    if state.oracle is None:
        return frozenset()
    lines = state.oracle.markets.values()
    return frozenset(line.name for line in lines if line.state >= GUARDED and line.breaker_rules.liquidation_share)


def waiting_names(state: State) -> frozenset[str]:
    """Return the lines whose latest price liquidation may not use."""
    if state.oracle is None:
        return frozenset()
    markets, assets = state.oracle.waiting()
    return frozenset(line.name for line in (*markets, *assets))


def spend_budget(state: State, index: int, lots: int) -> None:
    """Note what was liquidated in a guarded market."""
    line = state.oracle.markets.get(index) if state.oracle is not None else None
    if line is not None and line.state >= GUARDED and line.breaker_rules.liquidation_share:
        line.budget.spend(lots, state.now_ns, line.breaker_rules)
