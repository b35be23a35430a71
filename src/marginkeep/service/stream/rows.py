"""Rows of the coalesced channels and what a subscription starts with: the state as it is now, ready for the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.book.account import SYSTEM
from marginkeep.book.health import equity, measure
from marginkeep.clearing.state import BAD_DEBT, FUND, INSURANCE_FUND
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.liquidation.rungs import health_factor
from marginkeep.rulebook.ladder_rules import HEALTHY, RUNGS
from marginkeep.rulebook.model import INITIAL, MAINTENANCE
from marginkeep.service.wire.amounts import units_of
from marginkeep.units import RATE_ONE, format_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marginkeep.clearing.state import State
    from marginkeep.service.stream.channels import Narrowing, Viewer

Row = dict[str, Any]

RATIO_DECIMALS: Final = 9


def account_row(state: State, name: str) -> Row | None:
    """Return an account's health; None where there is no such account, or it is a system account."""
    index = state.index.get(name)
    if index is None:
        return None
    account = state.book.read(index)
    if account.mode == SYSTEM:
        return None
    money = units_of(state.rulebook).grid("reporting", "").format
    initial, held = (measure(account, state.valuation, level) for level in (INITIAL, MAINTENANCE))
    ill = state.ill.get(name)
    return {
        "account": name,
        "equity": money(equity(account, state.valuation)),
        "collateral": money(held.collateral),
        "requirement": money(held.requirement),
        "health": money(held.health),
        "initial_health": money(initial.health),
        "health_factor": format_ratio(health_factor(held), RATE_ONE, RATIO_DECIMALS) if held.requirement else None,
        "rung": RUNGS[ill.rung if ill is not None else HEALTHY],
        "deadline_ns": ill.deadline_ns or 0 if ill is not None else 0,
        "waits_for": list(state.called.get(name, ())),
    }


def mark_rows(state: State) -> dict[str, Row]:
    """Return every market's mark and every asset's price that is known."""
    units = units_of(state.rulebook)
    rows = {
        table.name: {"market": table.name, "mark": units.grid("ticks", table.name).format(ticks)}
        for table, ticks in zip(state.tables.markets, state.valuation.marks, strict=True)
        if ticks
    }
    for asset, ticks in zip(state.tables.assets, state.valuation.prices, strict=True):
        if ticks and asset.index != state.tables.reporting:
            rows[f"asset:{asset.name}"] = {
                "asset": asset.name,
                "price": units.grid("ticks", asset.name).format(ticks),
            }
    return rows


def fund_rows(state: State) -> dict[str, Row]:
    """Return what each insurance fund holds, and what nobody has paid for yet."""
    units = units_of(state.rulebook)
    rows = {}
    for (name, asset), balance in sorted(state.ledger.items()):
        if name in (INSURANCE_FUND, BAD_DEBT) or name.startswith(FUND):
            asset_name = state.tables.assets[asset].name
            amount = units.grid("amount", asset_name).format(balance)
            rows[f"{name}:{asset_name}"] = {"fund": name, "asset": asset_name, "balance": amount}
    return rows


def visible_accounts(state: State, viewer: Viewer, narrowing: Narrowing) -> list[str]:
    """Return the existing accounts that a subscription's rows are of: those chosen, or all that the viewer owns."""
    found: set[str] = set()
    for name in narrowing.names or viewer.owners:
        if owner_of(name) == name:
            found.update(state.names[index] for index in state.accounts_of(name))
        elif name in state.index:
            found.add(name)
    return sorted(found)


def event_snapshot(state: State, channel: str, viewer: Viewer, narrowing: Narrowing) -> list[Row]:
    """Return the rows that an event channel starts with."""
    if channel == "calls":
        return list(_ill_rows(state, viewer, narrowing))
    if channel == "oracle":
        return _oracle_rows(state)
    if channel == "auctions":
        return list(_auction_rows(state, viewer, narrowing))
    return [{"now_ns": state.now_ns, "rulebook": state.rulebook_hash, "halted": bool(state.halted)}]


def _ill_rows(state: State, viewer: Viewer, narrowing: Narrowing) -> Iterator[Row]:
    """Yield where accounts stand that are called, or on the ladder."""
    for name in sorted({*state.ill, *state.called}):
        if _is_shown(name, viewer, narrowing):
            ill = state.ill.get(name)
            yield {
                "account": name,
                "rung": RUNGS[ill.rung if ill is not None else HEALTHY],
                "since_ns": ill.since_ns if ill is not None else 0,
                "deadline_ns": (ill.deadline_ns or 0) if ill is not None else 0,
                "waits_for": list(state.called.get(name, ())),
            }


def _auction_rows(state: State, viewer: Viewer, narrowing: Narrowing) -> Iterator[Row]:
    for name, ill in sorted(state.ill.items()):
        if ill.auction is not None and (viewer.sees_auctions or _is_shown(name, viewer, narrowing)):
            yield {"account": name, "since_ns": ill.since_ns}


def _oracle_rows(state: State) -> list[Row]:
    if state.oracle is None:
        return []
    lines = [*state.oracle.markets.values(), *state.oracle.assets.values()]
    return [{"name": line.name, "quality": line.quality, "state": line.state_name} for line in lines]


def _is_shown(name: str, viewer: Viewer, narrowing: Narrowing) -> bool:
    may = viewer.sees_all or owner_of(name) in viewer.owners
    return may and narrowing.keeps(frozenset((name,)))
