"""Changing the rules of a running house: what may change, and what must stay so that no quantity changes meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.book.columns import AMOUNT, ASSET, MARKET, SIZE
from marginkeep.book.limits import prove_limits
from marginkeep.book.valuation import Valuation
from marginkeep.clearing import auctioning
from marginkeep.clearing.events import RulebookAdopted, RungChanged
from marginkeep.clearing.funds import retire_funds
from marginkeep.clearing.quoting import apply_pegs
from marginkeep.clearing.state import make_funding_machines, make_oracle, rules_of_positions
from marginkeep.clearing.transaction import Transaction, refuse
from marginkeep.errors import InputError
from marginkeep.rulebook import build_tables, read_rulebook, rulebook_hash
from marginkeep.rulebook.ladder_rules import HEALTHY, RUNGS
from marginkeep.rulebook.reading import parse_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.book.limits import Limits
    from marginkeep.clearing.commands import AdoptRulebook
    from marginkeep.clearing.state import State
    from marginkeep.rulebook import Asset, Market, Rulebook, Tables

_FIXED_OF_ASSETS: Final = ("decimals", "tick")
_FIXED_OF_MARKETS: Final = ("kind", "payoff", "settle", "contract_size", "lot", "tick", "expiry")


def adopt_rulebook(tx: Transaction, command: AdoptRulebook) -> None:
    """Replace the rulebook, if every existing quantity keeps its meaning and fits the new limits.

    Assets and markets may be added after the existing ones; none may be removed or reordered, and the units of an
    existing one may not change. Whoever the new rules put below maintenance is liquidated at once.
    """
    rulebook = _read(command)
    state = tx.state
    _require_units_kept("assets", state.rulebook.assets, rulebook.assets, _FIXED_OF_ASSETS)
    _require_units_kept("markets", state.rulebook.markets, rulebook.markets, _FIXED_OF_MARKETS)
    if rulebook.reporting != state.rulebook.reporting:
        refuse("rulebook", f"reporting would change to {rulebook.reporting}: accounts are kept in one reporting asset")
    tables = build_tables(rulebook)
    limits = _proved(tables)
    _require_holdings_fit(state, tables, limits)
    before = state.rulebook_hash
    retire_funds(tx, rulebook)
    _install(state, rulebook, tables, limits)
    tx.events.append(RulebookAdopted(before=before, after=state.rulebook_hash, postings=tx.take_postings()))
    if rulebook.ladder is None:
        _leave_ladder(tx)


def _leave_ladder(tx: Transaction) -> None:
    """Forget who stands on a ladder that is no more: calls and auctions end, and maintenance alone decides again."""
    state = tx.state
    for name, ill in sorted(state.ill.items()):
        tx.events.append(RungChanged(account=name, before=RUNGS[ill.rung], after=RUNGS[HEALTHY]))
    state.ill.clear()
    state.closed_lots.clear()


def _read(command: AdoptRulebook) -> Rulebook:
    try:
        return read_rulebook(parse_text(command.rules, ".toml", "the rulebook"))
    except InputError as error:
        refuse("rulebook", str(error))


def _proved(tables: Tables) -> Limits:
    try:
        return prove_limits(tables)
    except InputError as error:
        refuse("rulebook", str(error))


def _require_units_kept(
    what: str,
    old: Mapping[str, Asset] | Mapping[str, Market],
    new: Mapping[str, Asset] | Mapping[str, Market],
    fixed: tuple[str, ...],
) -> None:
    if list(new)[: len(old)] != list(old):
        refuse("rulebook", f"{what} must keep their order: add new ones at the end and remove none")
    for name, before in old.items():
        for field in fixed:
            if getattr(new[name], field) != getattr(before, field):
                refuse("rulebook", f"{what}.{name}.{field} may not change: it is the unit of what accounts hold")


def _require_holdings_fit(state: State, tables: Tables, limits: Limits) -> None:
    """Refuse limits that an existing position, balance or price is already beyond; system accounts have none."""
    rows = state.book.position_rows()
    for index, bound in enumerate(limits.markets[: len(state.valuation.marks)]):
        held = np.abs(rows[rows[:, MARKET] == index, SIZE])
        mark = state.valuation.marks[index]
        system = sum(_system_size(state, account, index) for account in range(min(2, state.book.count)))
        if len(held) and int(held.max()) > bound.max_position and int(held.max()) > system:
            refuse("rulebook", f"{tables.markets[index].name}: a position of {int(held.max())} lots is open")
        if mark and not bound.min_price <= mark <= bound.max_price:
            refuse("rulebook", f"{tables.markets[index].name}: the mark of {mark} ticks is outside the new limits")
    rows = state.book.balance_rows()
    for index, limit in enumerate(limits.assets[: len(state.valuation.prices)]):
        amounts = np.abs(rows[rows[:, ASSET] == index, AMOUNT])
        if len(amounts) and int(amounts.max()) > limit.max_balance:
            refuse("rulebook", f"{tables.assets[index].name}: a balance of {int(amounts.max())} units is held")
        if state.valuation.prices[index] > limit.max_price:
            refuse("rulebook", f"{tables.assets[index].name}: its price is above the new limit")


def _system_size(state: State, account: int, market: int) -> int:
    position = state.book.read(account).positions.get(market)
    return abs(position.size) if position else 0


def _install(state: State, rulebook: Rulebook, tables: Tables, limits: Limits) -> None:
    old = state.valuation
    valuation = Valuation(tables)
    for index, ticks in enumerate(old.marks):
        valuation.set_mark(index, ticks)
    for index, ticks in enumerate(old.prices):
        valuation.set_price(index, ticks)
    valuation.funding[: len(old.funding)] = old.funding
    valuation.funding_short[: len(old.funding)] = old.funding_short
    state.open_interest += [0] * (len(tables.markets) - len(state.open_interest))
    state.funding_dust += [0] * (len(tables.markets) - len(state.funding_dust))
    state.rulebook, state.tables, state.limits = rulebook, tables, limits
    state.rulebook_hash = rulebook_hash(rulebook)
    state.valuation = valuation
    state.position_rules = rules_of_positions(tables)
    _install_oracle(state)
    _install_funding(state)
    auctioning.follow_rules(state)


def _install_oracle(state: State) -> None:
    """Put the new rules' oracle in the place of the old one, which hands over what it knows."""
    old = state.oracle
    state.oracle = make_oracle(state.tables, state.limits)
    state.opening = None
    if state.oracle is None:
        return
    if old is not None:
        state.oracle.carry_over(old)
    state.oracle.start_from(state.valuation.marks, state.valuation.prices)
    apply_pegs(state)


def _install_funding(state: State) -> None:
    """Begin the funding of markets whose rules are new or changed; that of the others goes on."""
    old = state.funding_machines
    state.funding_machines = make_funding_machines(state.tables)
    for index, machine in state.funding_machines.items():
        if index in old and old[index].rules == machine.rules:
            state.funding_machines[index] = old[index]
