"""How much of a guarded market may be liquidated in one interval, so that a price spike cannot feed on itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marginkeep.units import rate_floor

if TYPE_CHECKING:
    from marginkeep.rulebook.oracle_rules import BreakerRules


class LiquidationBudget:
    """Lots liquidated in the present interval; the first use starts one, the first use after its end the next."""

    __slots__ = ("_spent", "_started_ns")

    def __init__(self) -> None:
        self._spent = 0
        self._started_ns = -1  # never used

    def left(self, now_ns: int, open_interest_lots: int, rules: BreakerRules) -> int:
        """Return how many lots may still be liquidated now.

        The share is of the open interest as it is now, so as a cascade shrinks the market the bound shrinks too. At
        least one lot an interval is allowed, else a small market could never be liquidated at all.
        """
        allowed = max(1, rate_floor(open_interest_lots, rules.liquidation_share))
        spent = 0 if self._is_over(now_ns, rules) else self._spent
        return max(0, allowed - spent)

    def spend(self, lots: int, now_ns: int, rules: BreakerRules) -> None:
        """Record lots liquidated."""
        assert lots >= 0, f"{lots} lots liquidated"
        if lots == 0:
            return
        if self._is_over(now_ns, rules):
            self._started_ns, self._spent = now_ns, 0
        self._spent += lots

    def renews_ns(self, rules: BreakerRules) -> int:
        """Return when the interval of the last use ends and the whole budget is back; 0 = never used."""
        return 0 if self._started_ns < 0 else self._started_ns + rules.liquidation_interval_ns

    def save(self) -> list[Any]:
        """Return start and use of the interval."""
        return [self._started_ns, self._spent]

    def restore(self, saved: list[Any]) -> None:
        """Take over what `save` returned."""
        self._started_ns, self._spent = saved

    def _is_over(self, now_ns: int, rules: BreakerRules) -> bool:
        return self._started_ns < 0 or now_ns >= self._started_ns + rules.liquidation_interval_ns
