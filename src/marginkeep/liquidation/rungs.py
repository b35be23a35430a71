"""Where on the ladder an account stands: its state machine as a pure function.

Danger moves an account up at once, however many rungs it skips. It comes down only when it has healed: back to healthy
when both the call and the target level hold, never to a milder rung on the way. That is the hysteresis by which an
account on the edge of a level is not called, paced and released by turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.book.health import equity, measure
from marginkeep.errors import InvariantViolation
from marginkeep.rulebook.ladder_rules import AUCTION, BANKRUPT, CALLED, CLOSED, HEALTHY, PARTIAL, RUNGS, SOFT
from marginkeep.rulebook.model import CALL, MAINTENANCE, TARGET
from marginkeep.units import RATE_ONE, floor_div

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.margin.solvency import Measure
    from marginkeep.rulebook.ladder_rules import LadderRules

LEGAL: Final[tuple[tuple[int, ...], ...]] = (
    (CALLED, SOFT, PARTIAL, AUCTION, BANKRUPT),  # healthy: a price may jump past any level
    (HEALTHY, SOFT, PARTIAL, AUCTION, BANKRUPT),  # called: cured, the deadline over, or worse
    (HEALTHY, PARTIAL, AUCTION, BANKRUPT, CLOSED),  # soft
    (HEALTHY, AUCTION, BANKRUPT, CLOSED),  # partial
    (HEALTHY, PARTIAL, BANKRUPT, CLOSED),  # auction: partial only where adopted rules hold no auctions any more
    (HEALTHY, PARTIAL, AUCTION, CLOSED),  # bankrupt: recovered before the loss could be covered, or done with
    (HEALTHY, CALLED, SOFT, PARTIAL, AUCTION, BANKRUPT),  # closed: its owner has begun anew
)
"""The rungs to which an account may go from each, beside staying."""


class Standing(NamedTuple):
    """All that decides where an account belongs: its measure at three levels, and its equity, in reporting units."""

    call: Measure
    maintenance: Measure
    target: Measure
    equity: int

    @property
    def is_healed(self) -> bool:
        """Tell whether both the call and the target level hold."""
        return self.call.health >= 0 and self.target.health >= 0

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is held, nothing owed and no position open."""
        return self.equity == 0 and not any(self.maintenance) and not any(self.call) and not any(self.target)


def standing_of(account: Account, valuation: Valuation) -> Standing:
    """Measure an account at the levels that decide its rung."""
    call, maintenance, target = (measure(account, valuation, level) for level in (CALL, MAINTENANCE, TARGET))
    return Standing(call, maintenance, target, equity(account, valuation))


def health_factor(found: Measure) -> int:
    """Return collateral / requirement as a rate rounded down, at least 0; 0 where collateral is owed and nothing else.

    An account that requires nothing has no ratio; one that also owes nothing is as healthy as can be told, 1.
    """
    if found.requirement == 0:
        return RATE_ONE if found.collateral >= 0 else 0
    return max(0, floor_div(found.collateral * RATE_ONE, found.requirement))


def next_rung(
    now: int, standing: Standing, factor: int, rules: LadderRules, now_ns: int, deadline_ns: int | None = None
) -> int:
    """Return the rung on which an account belongs.

    Parameters
    ----------
    now : the rung on which it stands
    factor : its health factor at maintenance, a rate
    deadline_ns : when its call expires; a called account has one. A call once issued stands, whatever rules are
        adopted meanwhile

    Raises
    ------
    InvariantViolation : a called account without a deadline, or a step that is not legal
    """
    found = _belongs(now, standing, factor, rules, now_ns, deadline_ns)
    require_legal(now, found)
    return found


def require_legal(now: int, after: int) -> None:
    """Refuse a transition that the table does not name; staying is none."""
    if after != now and after not in LEGAL[now]:
        raise InvariantViolation(f"an account cannot go from {RUNGS[now]} to {RUNGS[after]}")


def _belongs(
    now: int, standing: Standing, factor: int, rules: LadderRules, now_ns: int, deadline_ns: int | None
) -> int:
    if now == CLOSED and standing.is_empty:
        return CLOSED
    if now == CLOSED:
        now = HEALTHY
    if standing.equity < 0:
        return BANKRUPT
    if now >= SOFT and standing.is_empty:
        return CLOSED
    if standing.is_healed or (rules.calls is None and standing.target.health >= 0):
        return HEALTHY
    if standing.maintenance.health < 0:
        return _forced(now, factor, rules)
    if now >= SOFT:
        return _still_forced(now, rules)
    return _called(now, standing, rules, now_ns, deadline_ns)


def _forced(now: int, factor: int, rules: LadderRules) -> int:
    """Return the rung of an account below maintenance: by its health factor, never milder than it was."""
    if rules.auctions is not None and (now == AUCTION or factor < rules.auctions.below_factor):
        return AUCTION
    if rules.soft is None or now > SOFT or factor < rules.soft.hard_factor:
        return PARTIAL
    return SOFT


def _still_forced(now: int, rules: LadderRules) -> int:
    """Return the rung of an account above maintenance that forced action has not yet brought to its target."""
    if (now == SOFT and rules.soft is not None) or (now == AUCTION and rules.auctions is not None):
        return now
    return PARTIAL


def _called(now: int, standing: Standing, rules: LadderRules, now_ns: int, deadline_ns: int | None) -> int:
    if now == CALLED:
        if deadline_ns is None:
            raise InvariantViolation("a called account has no deadline")
        if now_ns < deadline_ns:
            return CALLED
        return PARTIAL if rules.soft is None else SOFT
    return CALLED if standing.call.health < 0 and rules.calls is not None else HEALTHY
