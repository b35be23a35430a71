"""How much of a market may be closed now: impact budgets by interval, and the share of a soft step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from marginkeep.liquidation import Allowance, Close, plan_reduction
from marginkeep.liquidation.impact import interval_began_ns, most_lots
from marginkeep.units import RATE_ONE, ceil_div

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.clearing.state import State
    from marginkeep.rulebook.ladder_rules import ImpactRules


def impacts_of(state: State) -> dict[int, ImpactRules]:
    """Return the depth that the rulebook states, by market index."""
    ladder = state.rulebook.ladder
    if ladder is None:
        return {}
    return {state.tables.market_index[impact.market]: impact for impact in ladder.impacts}


def closed_lots(state: State, market: int, impact: ImpactRules) -> int:
    """Return the lots that forced closes have taken out of a market in the present interval."""
    began_ns, lots = state.closed_lots.get(market, (0, 0))
    return lots if began_ns == interval_began_ns(impact, state.now_ns) else 0


def note_closed(state: State, market: int, lots: int) -> None:
    """Record a forced close against the market's budget."""
    impact = impacts_of(state).get(market)
    if impact is not None:
        began_ns = interval_began_ns(impact, state.now_ns)
        state.closed_lots[market] = (began_ns, closed_lots(state, market, impact) + lots)


def bounded(state: State, account: Account, allowance: Allowance) -> tuple[Allowance, tuple[str, ...], int]:
    """Bound an allowance by the impact budgets of the account's markets.

    Returns
    -------
    (allowance, names, renews_ns) : the markets whose budget bounds it to fewer lots than the account holds, and when
        the first of these budgets is renewed; 0 = none
    """
    ladder = state.rulebook.ladder
    impacts = impacts_of(state)
    lots, closed, names, renews_ns = dict(allowance.lots), {}, [], 0
    for index, position in sorted(account.positions.items()):
        impact = impacts.get(index)
        if impact is None or not position.size:
            continue
        closed[index] = closed_lots(state, index, impact)
        most = most_lots(impact, closed[index])
        assert most is not None
        if most < min(abs(position.size), lots.get(index, abs(position.size))):
            lots[index] = most
            names.append(state.tables.markets[index].name)
            ends_ns = interval_began_ns(impact, state.now_ns) + impact.interval_ns
            renews_ns = min(renews_ns or ends_ns, ends_ns)
    dust = ladder.dust if ladder else 0
    return replace(allowance, lots=lots, impacts=impacts, closed=closed, dust=dust), tuple(names), renews_ns


def soft_step(state: State, account: Account, allowance: Allowance, due: int, done: int) -> Allowance:
    """Bound an allowance to the part of the reduction that a soft step takes: what is due beyond what was done."""
    share = ceil_div((due - done) * RATE_ONE, RATE_ONE - done) if done < RATE_ONE else RATE_ONE
    plan = plan_reduction(account, state.valuation, allowance)
    lots = {step.market: abs(step.size) for step in plan.steps if isinstance(step, Close)}
    return replace(
        allowance,
        lots={
            index: ceil_div(lots.get(index, 0) * share, RATE_ONE)
            for index, position in account.positions.items()
            if position.size
        },
    )
