"""How much of a market may be closed now: impact budgets by interval, and the share of a soft step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from marginkeep.liquidation import Allowance, Close, plan_reduction
from marginkeep.liquidation.impact import interval_began_ns, most_lots
from marginkeep.margin.tiered import convert_floor, notional
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

    Holdings are kept while a budget bounds the closes: they are sold only when no position is left.

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
            lots[index] = _without_dust(state, index, abs(position.size), most, most_lots(impact) or 0)
            names.append(state.tables.markets[index].name)
            ends_ns = interval_began_ns(impact, state.now_ns) + impact.interval_ns
            renews_ns = min(renews_ns or ends_ns, ends_ns)
    dust = ladder.dust if ladder else 0
    kept = _every_asset(state) if names else allowance.kept
    changed = replace(allowance, lots=lots, kept=kept, impacts=impacts, closed=closed, dust=dust)
    return changed, tuple(names), renews_ns


def _every_asset(state: State) -> frozenset[int]:
    return frozenset(range(len(state.tables.assets)))


def _without_dust(state: State, market: int, held: int, most: int, budget: int) -> int:
    """Return the most lots to close now of `held`, at most `most`, so that what is left is no dust.

    A position that is little more than dust waits for a whole interval's budget; where even that does not close it
    whole, it is closed bit by bit.
    """
    if not is_dust(state, market, held - most):
        return most
    low, high = 0, most
    while high - low > 1:  # the more is closed the less is left
        middle = (low + high) // 2
        low, high = (low, middle) if is_dust(state, market, held - middle) else (middle, high)
    return low if low or budget >= held else most


def is_dust(state: State, market: int, lots: int) -> bool:
    """Tell whether so many lots are worth less than the ladder's dust."""
    ladder, valuation = state.rulebook.ladder, state.valuation
    if not lots or ladder is None:
        return False
    settle = state.tables.markets[market].settle
    value = notional(lots, valuation.market_x[market], valuation.market_y[market])
    return convert_floor(value, valuation.asset_x[settle], valuation.asset_y[settle]) < ladder.dust


def soft_step(state: State, account: Account, allowance: Allowance, due: int, done: int) -> Allowance:
    """Bound an allowance to the part of the reduction that a soft step takes: what is due beyond what was done.

    A step that would leave dust closes the position. Holdings are kept until all is due.
    """
    if due >= RATE_ONE:
        return allowance
    share = ceil_div((due - done) * RATE_ONE, RATE_ONE - done) if done < RATE_ONE else RATE_ONE
    plan = plan_reduction(account, state.valuation, allowance)
    lots = {step.market: abs(step.size) for step in plan.steps if isinstance(step, Close)}
    part = {}
    for index, position in sorted(account.positions.items()):
        whole, held = lots.get(index, 0), abs(position.size)
        step = ceil_div(whole * share, RATE_ONE)
        part[index] = whole if whole == held and is_dust(state, index, held - step) else step
    return replace(allowance, lots=part, kept=_every_asset(state))
